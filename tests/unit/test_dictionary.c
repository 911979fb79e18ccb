/*
 * modules/stanza/dictionary.c, and how it is made: "test_dictionary write" prints it. The test does
 * not compare its first bytes, the tables of entropy: another version of libzstd may count others,
 * and those in the tree are the format.
 */
#include <ctype.h>

#include <zdict.h>

#include <pn/buf.h>
#include <pn/err.h>
#include <pn/pack.h>
#include <pn/stanza.h>

#include "../../modules/stanza/dictionary.h"
#include "test.h"
#include "tokens.h"

enum {
	LINE = 4096,
	STANZA = 16384,
	VALUE = 512,
	STANZAS = 256,
	ROUNDS = 8,        /* how often each stanza is made up to count bytes */
	FREQUENT = 20,     /* how often more the last stanza is counted than the first one */
	SAMPLES = 100000,  /* at most */
	TABLES_MAX = 1024, /* bytes before the content */
	LEVEL = 3,         /* of the counting */
	WIDTH = 96,        /* of a line that is written */
};

/* ---- The source ---- */

static struct {
	struct pn_buf tokens[STANZAS]; /* decoded */
	size_t count;
} source;

static void add_stanza(const char *xml, size_t len) {
	const struct pn_decode_limits limits = {0};
	REQUIRE(source.count < STANZAS);
	REQUIRE(pn_stanza_decode(&source.tokens[source.count++], (struct pn_str){xml, len},
				 limits) == PN_OK);
}

/* A stanza begins at the margin; the lines that follow are indented. */
static void read_source(void) {
	static char stanza[STANZA];
	char line[LINE];
	size_t len = 0;
	FILE *const file = fopen("modules/stanza/dictionary.txt", "r");
	REQUIRE(file != NULL);
	while (fgets(line, sizeof(line), file) != NULL) {
		const size_t end = strcspn(line, "\n");
		const bool continued = line[0] == '\t';
		if (!continued && len > 0) {
			add_stanza(stanza, len);
			len = 0;
		}
		if (!continued && line[0] != '<')
			continue;
		REQUIRE(len + end < sizeof(stanza));
		memcpy(stanza + len, line + continued, end - continued);
		len += end - continued;
	}
	fclose(file);
	if (len > 0)
		add_stanza(stanza, len);
}

static void free_source(void) {
	for (size_t i = 0; i < source.count; i++)
		pn_buf_free(&source.tokens[i]);
	source.count = 0;
}

/* ---- Packing it ---- */

struct packer {
	struct pn_pack pack;
	uint64_t random; /* 0: placeholders are left out, but for their length */
};

static uint64_t draw(struct packer *packer, uint64_t below) {
	packer->random = packer->random * 6364136223846793005 + 1442695040888963407;
	return (packer->random >> 33) % below;
}

/* Digits for short strings, hexadecimal ones for identifiers, base64 for keys. */
static void make_up(struct packer *packer, char *made, size_t len) {
	static const char base64[] =
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/";
	const bool uuid = len == 36;
	const size_t alphabet = len <= 10 ? 10 : uuid || len == 40 ? 16 : len == 32 ? 36 : 64;
	for (size_t i = 0; i < len; i++)
		made[i] = base64[draw(packer, alphabet)];
	for (size_t i = 8; uuid && i < 24; i += 5)
		made[i] = '-';
}

/* The text of one of the sentences, and an address. */
static struct pn_str make_up_words(struct packer *packer, bool is_text) {
	static const char *const addresses[] = {"romeo@montague.example/orchard",
						"juliet@capulet.example",
						"nurse@capulet.example",
						"juliet@capulet.example/balcony.8Fz2",
						"verona@conference.example.org/mercutio",
						"verona@conference.example.org"};
	static const char *const sentences[] = {
		"I am not sure if this is what we want",
		"see you there at eight, then?",
		"ok",
		"Das ist doch kein Problem, danke",
		"thanks, that was very helpful!",
		"how do you know which version they are using on that machine"};
	return str(is_text ? sentences[draw(packer, 6)] : addresses[draw(packer, 6)]);
}

/* Sets *value to the string that is packed, and *omitted to the bytes of it that are cut then. */
static void replace(struct packer *packer, bool is_text, struct pn_str *value, size_t *omitted,
		    char made[VALUE]) {
	*omitted = 0;
	if (value->len == 0 || value->bytes[0] != '~')
		return;
	size_t len = 0;
	for (size_t i = 1; i < value->len && isdigit((unsigned char)value->bytes[i]); i++)
		len = len * 10 + (size_t)(value->bytes[i] - '0');
	REQUIRE(len < VALUE);
	memset(made, 0, len);
	if (packer->random != 0)
		make_up(packer, made, len);
	else
		*omitted = len > 0 ? len : 1; /* 1: the byte of a length that is not known */
	*value = len == 0 && packer->random != 0 ? make_up_words(packer, is_text)
						 : (struct pn_str){made, len};
}

static void pack_start(void *context, struct pn_str name) {
	struct packer *const packer = context;
	pn_pack_start(&packer->pack, name);
}

static void pack_attr(void *context, struct pn_str key, struct pn_str value) {
	struct packer *const packer = context;
	char made[VALUE];
	size_t omitted;
	replace(packer, false, &value, &omitted, made);
	pn_pack_attr(&packer->pack, key, value);
	packer->pack.out->len -= omitted;
}

static void pack_text(void *context, struct pn_str text) {
	struct packer *const packer = context;
	char made[VALUE];
	size_t omitted;
	replace(packer, true, &text, &omitted, made);
	pn_pack_text(&packer->pack, text);
	packer->pack.out->len -= omitted;
}

static void pack_end(void *context) {
	struct packer *const packer = context;
	pn_pack_end(&packer->pack);
}

static void pack_stanza(size_t index, uint64_t *random, struct pn_buf *out) {
	static const struct token_sink sink = {pack_start, pack_attr, pack_text, pack_end};
	struct packer packer = {.random = *random};
	pn_pack_init(&packer.pack, out);
	REQUIRE(tokens_walk(&source.tokens[index], &sink, &packer));
	REQUIRE(pn_pack_error(&packer.pack) == PN_OK);
	*random = packer.random;
}

static void pack_content(struct pn_buf *content) {
	uint64_t nothing = 0;
	for (size_t i = 0; i < source.count; i++)
		pack_stanza(i, &nothing, content);
}

/* ---- Writing the table ---- */

static struct {
	size_t sizes[SAMPLES];
	unsigned count;
	struct pn_buf bytes;
} samples;

static void pack_samples(void) {
	uint64_t random = 1;
	for (size_t i = 0; i < source.count; i++) {
		const size_t times = ROUNDS * (1 + FREQUENT * i / source.count);
		for (size_t n = 0; n < times; n++) {
			const size_t at = samples.bytes.len;
			REQUIRE(samples.count < SAMPLES);
			pack_stanza(i, &random, &samples.bytes);
			samples.sizes[samples.count++] = samples.bytes.len - at;
		}
	}
}

/* Appends the byte as a C string has it. Returns the characters. */
static int print_byte(unsigned char byte) {
	if (byte < ' ' || byte > '~' || byte == '?') /* ?: trigraphs */
		return printf("\\%03o", byte);
	return printf(byte == '"' || byte == '\\' ? "\\%c" : "%c", byte);
}

static void print_table(const unsigned char *bytes, size_t len) {
	printf("/* Written by `make dictionary` from dictionary.txt: part of the format on the "
	       "disk. "
	       "*/\n#include \"dictionary.h\"\n\n/* clang-format off */\n"
	       "const char pn_stanza_dictionary[PN_STANZA_DICTIONARY + 1] =\n");
	for (size_t i = 0; i < len;) {
		int width = printf("\"");
		while (i < len && width < WIDTH)
			width += print_byte(bytes[i++]);
		printf(i < len ? "\"\n" : "\";\n");
	}
}

static int write_table(void) {
	static unsigned char table[2 * PN_STANZA_DICTIONARY];
	const ZDICT_params_t params = {.compressionLevel = LEVEL};
	struct pn_buf content = {0};
	read_source();
	pack_content(&content);
	pack_samples();
	const size_t len =
		ZDICT_finalizeDictionary(table, sizeof(table), content.data, content.len,
					 samples.bytes.data, samples.sizes, samples.count, params);
	REQUIRE(!ZDICT_isError(len));
	print_table(table, len);
	fprintf(stderr, "%zu bytes: PN_STANZA_DICTIONARY in dictionary.h\n", len);
	pn_buf_free(&content);
	pn_buf_free(&samples.bytes);
	free_source();
	return 0;
}

/* ---- Tests ---- */

TEST(the_dictionary_is_the_one_that_its_source_describes) {
	struct pn_buf content = {0};
	read_source();
	pack_content(&content);
	const size_t tables = ZDICT_getDictHeaderSize(pn_stanza_dictionary, PN_STANZA_DICTIONARY);
	REQUIRE(!ZDICT_isError(tables) && tables < TABLES_MAX);
	CHECK(tables + content.len == PN_STANZA_DICTIONARY);
	CHECK(memcmp(pn_stanza_dictionary + tables, content.data, content.len) == 0);
	pn_buf_free(&content);
	free_source();
}

int main(int argc, char **argv) {
	if (argc > 1 && strcmp(argv[1], "write") == 0)
		return write_table();
	return test_run("dictionary");
}
