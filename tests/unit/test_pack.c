/* pn/pack.h */
#include <pn/err.h>
#include <pn/pack.h>

#include "../oom/alloc.h"
#include "guard.h"
#include "test.h"
#include "tokens.h"

enum { SHORT = 63 }; /* the longest string whose length takes one byte */

/* ---- Reading as the builder does: it checks nothing ---- */

static bool before_attr(int token) {
	return token == PN_TOKEN_START || token == PN_TOKEN_ATTR;
}

/* Whether the tokens are one element, with attributes where they may be, and nothing behind it. */
static bool is_one_element(struct pn_wire wire) {
	uint32_t depth = 0;
	int before = 0;
	while (wire.left > 0) {
		struct pn_str text;
		const int token = pn_wire_u8(&wire);
		const int strings = token == PN_TOKEN_ATTR ? 2 : token == PN_TOKEN_END ? 0 : 1;
		if (token < PN_TOKEN_START || token > PN_TOKEN_END)
			return false;
		if ((depth == 0) != (before == 0) || (depth == 0 && token != PN_TOKEN_START))
			return false;
		if (token == PN_TOKEN_ATTR && !before_attr(before))
			return false;
		for (int i = 0; i < strings; i++) {
			const int word = pn_unpack_string(&wire, &text);
			if (word < -1 || word >= PN_PACK_WORDS || text.bytes == NULL)
				return false;
		}
		depth += token == PN_TOKEN_START ? 1 : 0;
		depth -= token == PN_TOKEN_END ? 1 : 0;
		before = token;
	}
	return wire.err == PN_OK && depth == 0 && before == PN_TOKEN_END;
}

/* Unpacks; an accepted stanza must be valid, a refused one does not move the cursor. */
static int unpack(const char *bytes, size_t len) {
	struct pn_wire wire = pn_wire_open("untouched", 9);
	const unsigned char *before = wire.pos;
	const int err = pn_unpack((struct pn_str){bytes, len}, &wire);
	CHECK(err == PN_OK || err == PN_ECORRUPT || err == PN_EVERSION);
	CHECK(err != PN_OK ? wire.pos == before : is_one_element(wire));
	return err;
}

static int unpack_buf(const struct pn_buf *buf) {
	return unpack((const char *)buf->data, buf->len);
}

/* ---- Samples ---- */

static void pack_element(struct pn_buf *out, struct pn_str name, struct pn_str text) {
	struct pn_pack pack;
	pn_pack_init(&pack, out);
	pn_pack_start(&pack, name);
	pn_pack_text(&pack, text);
	pn_pack_end(&pack);
	CHECK(pn_pack_error(&pack) == PN_OK);
}

/* Dictionary words, other strings, a long one, an empty one, attributes, depth. */
static void pack_sample(struct pn_buf *out) {
	char longer[SHORT + 1];
	struct pn_pack pack;
	memset(longer, 'l', sizeof(longer));
	pn_pack_init(&pack, out);
	pn_pack_start(&pack, str("message"));
	pn_pack_attr(&pack, str("to"), str("juliet@capulet.lit/balcony"));
	pn_pack_attr(&pack, str("unheard of"), str("chat"));
	pn_pack_start(&pack, str("body"));
	pn_pack_text(&pack, (struct pn_str){longer, sizeof(longer)});
	pn_pack_end(&pack);
	pn_pack_start(&pack, str(""));
	pn_pack_attr(&pack, str("xmlns"), str("urn:xmpp:sid:0"));
	pn_pack_text(&pack, str(""));
	pn_pack_text(&pack, str("body"));
	pn_pack_end(&pack);
	pn_pack_end(&pack);
	CHECK(pn_pack_error(&pack) == PN_OK);
}

/* Takes the next token and its first string. */
static void expect(struct pn_wire *wire, uint8_t token, const char *first, const char *second) {
	const char *const want[] = {first, second};
	CHECK(pn_wire_u8(wire) == token);
	for (int i = 0; i < 2 && want[i] != NULL; i++) {
		struct pn_str got;
		pn_unpack_string(wire, &got);
		CHECK(got.len == strlen(want[i]) && memcmp(got.bytes, want[i], got.len) == 0);
	}
}

/* ---- Strings ---- */

TEST(every_word_of_the_dictionary_takes_one_byte_and_comes_back) {
	for (int word = 0; word < PN_PACK_WORDS; word++) {
		struct pn_buf buf = {0};
		struct pn_wire wire;
		struct pn_str got;
		pack_element(&buf, pn_pack_word(word), pn_pack_word(word));
		CHECK(buf.len == 1 + 2 + 2 + 1);
		CHECK(unpack_buf(&buf) == PN_OK);
		wire = pn_wire_open(buf.data + 2, buf.len - 2);
		CHECK(pn_unpack_string(&wire, &got) == word);
		CHECK(got.len == pn_pack_word(word).len &&
		      memcmp(got.bytes, pn_pack_word(word).bytes, got.len) == 0);
		pn_buf_free(&buf);
	}
}

TEST(no_word_is_in_the_dictionary_twice) {
	for (int i = 0; i < PN_PACK_WORDS; i++) {
		for (int j = 0; j < i; j++)
			CHECK(strcmp(pn_pack_word(i).bytes, pn_pack_word(j).bytes) != 0);
	}
}

/* The dictionary is a part of the format: a word that moves makes all that is stored unreadable. */
TEST(the_dictionary_never_changes) {
	uint32_t sum = 0;
	for (int i = 0; i < PN_PACK_WORDS; i++) {
		for (const char *c = pn_pack_word(i).bytes; *c != '\0'; c++)
			sum = sum * 31 + (unsigned char)*c;
		sum = sum * 31;
	}
	CHECK(PN_PACK_WORDS == 122);
	CHECK(sum == 0xdca64623);
	CHECK_STR(pn_pack_word(0).bytes, "p");
	CHECK_STR(pn_pack_word(121).bytes, "http://jabber.org/protocol/pubsub#event");
}

TEST(a_string_that_only_begins_like_a_word_is_not_a_word) {
	struct pn_buf buf = {0};
	pack_element(&buf, str("messag"), str("messages"));
	CHECK(buf.len == 1 + (1 + 1 + 6) + (1 + 1 + 8) + 1);
	CHECK(unpack_buf(&buf) == PN_OK);
	pn_buf_free(&buf);
}

TEST(a_string_of_each_length_comes_back_and_63_is_the_last_with_a_short_length) {
	static const size_t lengths[] = {0,   1,     62,    63,    64,      65,     255,
					 256, 65535, 65536, 65537, 1 << 24, 1 << 25};
	char *bytes = malloc(1 << 25);
	REQUIRE(bytes != NULL);
	memset(bytes, 'Q', 1 << 25);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		const size_t len = lengths[i];
		struct pn_buf buf = {0};
		struct pn_str got;
		pack_element(&buf, str("Q"), (struct pn_str){bytes, len});
		CHECK(buf.len == 6 + (len <= SHORT ? 1u : 4u) + len);
		CHECK(unpack_buf(&buf) == PN_OK);
		struct pn_wire wire = pn_wire_open(buf.data + 5, buf.len - 5);
		CHECK(pn_unpack_string(&wire, &got) == -1);
		CHECK(got.len == len && memcmp(got.bytes, bytes, len) == 0);
		pn_buf_free(&buf);
	}
	free(bytes);
}

TEST(a_string_may_hold_any_bytes) {
	char all[256];
	struct pn_buf buf = {0};
	struct pn_str got;
	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	pack_element(&buf, (struct pn_str){all, 256}, (struct pn_str){all, 1});
	CHECK(unpack_buf(&buf) == PN_OK);
	struct pn_wire wire = pn_wire_open(buf.data + 2, buf.len - 2);
	(void)pn_unpack_string(&wire, &got);
	CHECK(got.len == 256 && memcmp(got.bytes, all, 256) == 0);
	pn_buf_free(&buf);
}

/* ---- Stanzas ---- */

TEST(a_stanza_comes_back_in_document_order) {
	struct pn_buf buf = {0};
	struct pn_wire wire;
	pn_buf_append(&buf, "before", 6);
	pack_sample(&buf);
	REQUIRE(pn_unpack((struct pn_str){(char *)buf.data + 6, buf.len - 6}, &wire) == PN_OK);
	expect(&wire, PN_TOKEN_START, "message", NULL);
	expect(&wire, PN_TOKEN_ATTR, "to", "juliet@capulet.lit/balcony");
	expect(&wire, PN_TOKEN_ATTR, "unheard of", "chat");
	expect(&wire, PN_TOKEN_START, "body", NULL);
	expect(&wire, PN_TOKEN_TEXT,
	       "llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll", NULL);
	expect(&wire, PN_TOKEN_END, NULL, NULL);
	expect(&wire, PN_TOKEN_START, "", NULL);
	expect(&wire, PN_TOKEN_ATTR, "xmlns", "urn:xmpp:sid:0");
	expect(&wire, PN_TOKEN_TEXT, "", NULL);
	expect(&wire, PN_TOKEN_TEXT, "body", NULL);
	expect(&wire, PN_TOKEN_END, NULL, NULL);
	expect(&wire, PN_TOKEN_END, NULL, NULL);
	CHECK(wire.left == 0 && wire.err == PN_OK);
	pn_buf_free(&buf);
	CHECK(test_alloc.blocks == 0);
}

TEST(a_stanza_may_be_as_deep_as_the_limit_and_no_deeper) {
	for (uint32_t depth = PN_STANZA_MAX_DEPTH; depth <= PN_STANZA_MAX_DEPTH + 1; depth++) {
		const bool allowed = depth <= PN_STANZA_MAX_DEPTH;
		struct pn_buf buf = {0};
		struct pn_pack pack;
		pn_pack_init(&pack, &buf);
		for (uint32_t i = 0; i < depth; i++)
			pn_pack_start(&pack, str("x"));
		for (uint32_t i = 0; i < depth; i++)
			pn_pack_end(&pack);
		CHECK(pn_pack_error(&pack) == (allowed ? PN_OK : PN_EDEPTH));
		CHECK(unpack_buf(&buf) == (allowed ? PN_OK : PN_ECORRUPT));
		pn_buf_free(&buf);
	}
}

TEST(a_stanza_may_be_as_long_as_the_limit_and_no_longer) {
	static const size_t before = 1 + 2 + 1; /* version, START and its word, TEXT */
	char *bytes = malloc(PN_STANZA_MAX_BYTES);
	REQUIRE(bytes != NULL);
	memset(bytes, 'l', PN_STANZA_MAX_BYTES);
	for (size_t more = 0; more <= 1; more++) {
		struct pn_buf buf = {0};
		struct pn_pack pack;
		pn_pack_init(&pack, &buf);
		pn_pack_start(&pack, str("body"));
		pn_pack_text(&pack, (struct pn_str){bytes, PN_STANZA_MAX_BYTES - before + more});
		CHECK(pn_pack_error(&pack) == (more == 0 ? PN_OK : PN_ESIZE));
		pn_buf_free(&buf);
	}
	free(bytes);
}

TEST(an_error_of_packing_stays) {
	struct pn_buf buf = {0};
	struct pn_pack pack;
	pn_pack_init(&pack, &buf);
	pn_pack_start(&pack, (struct pn_str){"", (size_t)1 << 30});
	CHECK(pn_pack_error(&pack) == PN_ESIZE);
	pn_pack_start(&pack, str("x"));
	CHECK(pn_pack_error(&pack) == PN_ESIZE);
	pn_buf_free(&buf);
}

TEST(packing_without_memory_is_an_error) {
	struct pn_buf buf = {0};
	struct pn_pack pack;
	test_alloc_fail(1, true);
	pn_pack_init(&pack, &buf);
	pn_pack_start(&pack, str("x"));
	pn_pack_end(&pack);
	CHECK(pn_pack_error(&pack) == PN_ENOMEM);
	test_alloc_fail(0, false);
	pn_buf_free(&buf);
}

/* ---- Damage ---- */

TEST(every_truncation_is_corrupt_and_none_is_read_past_its_end) {
	struct pn_buf buf = {0};
	pack_sample(&buf);
	struct guard guard = guard_new(buf.len);
	for (size_t len = 0; len < buf.len; len++)
		CHECK(unpack(guard_put(&guard, buf.data, len), len) == PN_ECORRUPT);
	CHECK(unpack(guard_put(&guard, buf.data, buf.len), buf.len) == PN_OK);
	guard_free(&guard);
	pn_buf_free(&buf);
}

TEST(the_builder_survives_every_value_of_every_byte) {
	struct pn_buf buf = {0};
	pack_sample(&buf);
	struct guard guard = guard_new(buf.len);
	unsigned int refused = 0;
	for (size_t i = 0; i < buf.len; i++) {
		const unsigned char right = buf.data[i];
		for (int value = 0; value < 256; value++) {
			buf.data[i] = (unsigned char)value;
			refused += unpack(guard_put(&guard, buf.data, buf.len), buf.len) != PN_OK;
		}
		buf.data[i] = right;
	}
	CHECK(refused > 1000 && refused < 256 * buf.len);
	guard_free(&guard);
	pn_buf_free(&buf);
}

TEST(the_builder_survives_random_damage) {
	struct pn_buf buf = {0};
	pack_sample(&buf);
	struct guard guard = guard_new(buf.len);
	char *damaged = malloc(buf.len);
	REQUIRE(damaged != NULL);
	srandom(test_seed());
	for (int round = 0; round < 20000; round++) {
		memcpy(damaged, buf.data, buf.len);
		for (long i = random() % 4; i >= 0; i--)
			damaged[1 + (size_t)random() % (buf.len - 1)] = (char)(random() % 6);
		unpack(guard_put(&guard, damaged, buf.len), buf.len);
	}
	free(damaged);
	guard_free(&guard);
	pn_buf_free(&buf);
}

TEST(data_that_no_writer_writes_are_corrupt) {
	static const struct {
		const char *bytes;
		size_t len;
	} cases[] = {
		{"", 0},
		{"\0\1\1x\4", 5},               /* version 0 */
		{"\1", 1},                      /* no element */
		{"\1\4", 2},                    /* an end without a start */
		{"\1\3\1x", 4},                 /* text outside */
		{"\1\2\1x\1y", 6},              /* an attribute of nothing */
		{"\1\1\1x", 4},                 /* no end */
		{"\1\1\1x\4\4", 6},             /* an end too many */
		{"\1\1\1x\4\1\1x\4", 9},        /* two elements */
		{"\1\1\1x\4\3\1y", 8},          /* text behind it */
		{"\1\1\1x\3\1y\2\1k\1v\4", 13}, /* an attribute behind text */
		{"\1\1\1x\5\4", 6},             /* a token of decoded stanzas only */
		{"\1\1\xfa\4", 4},              /* a word behind the dictionary's end */
		{"\1\1\x7f\xff\xff\xff\4", 7},  /* a length of 1 GiB */
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!CHECK(unpack(cases[i].bytes, cases[i].len) == PN_ECORRUPT))
			printf("# case %zu\n", i);
	}
	CHECK(unpack("\1\1\xf9\4", 4) == PN_OK);
	CHECK(unpack("\2\1\1x\4", 5) == PN_EVERSION);
	CHECK(unpack("\xff", 1) == PN_EVERSION);
}

int main(void) {
	return test_run("pack");
}
