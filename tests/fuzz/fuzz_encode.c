/*
 * The input is a series of calls to the encoder. A naive model of XML computes the expected result
 * of the decoder: these tokens, or an error if the calls are out of order or the bytes are not
 * characters of XML.
 *
 *      { u8 call  its arguments }*        each open element is ended after the last
 *
 *      0 start    u8 index of NAMES
 *      1 attr     u8 index of KEYS    u8 length  bytes
 *      2 xmlns    u8 index of SPACES
 *      3 text     u8 length  bytes
 *      4 end
 */
#include <stdbool.h>

#include <pn/err.h>
#include <pn/stanza.h>
#include <pn/wire.h>

#include "fuzz.h"
#include "../unit/tokens.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const char *const NAMES[] = {"message", "body", "delay", "x", "a.-_1", "\xc3\xa4"};
static const char *const KEYS[] = {"to",       "id",       "xml:lang", "xml:id",
				   "urn:p\1k", "urn:p\1l", "'<\1k"};
static const char *const SPACES[] = {"",      "jabber:client",  "urn:x",
				     "urn:y", "urn:xmpp:delay", "&'<\">"};

enum { MAX_DEPTH = 1000, CALLS = 5 };

struct level {
	const char *name;
	const char *own;      /* its own xmlns, or NULL */
	const char *ns;       /* the namespace that it is in */
	unsigned int foreign; /* elements from here outwards that carry an xmlns */
	unsigned int keys;    /* bits: those of KEYS that it has */
};

struct model {
	struct fuzz_input in;
	struct pn_encoder enc;
	struct level levels[MAX_DEPTH + 1]; /* 0 is the stream */
	size_t depth;
	bool in_tag; /* the last start tag may still get attributes */
	bool ended;  /* the root has ended */
	bool out_of_order;
	bool bad_characters;
	bool delayed;
	struct pn_buf attrs;  /* tokens of the open tag's attributes */
	struct pn_buf text;   /* the running text */
	struct pn_buf tokens; /* the expected result of the decoder */
};

/* The length of the character of XML 1.0 (section 2.2) that begins at s; 0 if none does. */
static size_t character(const unsigned char *s, size_t left) {
	static const uint32_t least[] = {0, 0x20, 0x80, 0x800, 0x10000};
	if (s[0] == '\t' || s[0] == '\n' || s[0] == '\r')
		return 1;
	const size_t len = s[0] < 0x80   ? 1
			   : s[0] < 0xc0 ? 0
			   : s[0] < 0xe0 ? 2
			   : s[0] < 0xf0 ? 3
			   : s[0] < 0xf8 ? 4
					 : 0;
	if (len == 0 || len > left)
		return 0;
	uint32_t code = len == 1 ? s[0] : s[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	const bool good = code >= least[len] && (code < 0xd800 || code > 0xdfff) &&
			  code != 0xfffe && code != 0xffff && code <= 0x10ffff;
	return good ? len : 0;
}

/* Appends these bytes as a parser reads them: with normalised line ends and, in values, spaces. */
static void put_read(struct model *m, struct pn_buf *out, struct pn_str s, bool value) {
	for (size_t i = 0; i < s.len;) {
		const unsigned char *c = (const unsigned char *)s.bytes + i;
		const size_t len = character(c, s.len - i);
		if (len == 0) {
			m->bad_characters = true;
			return;
		}
		i += len;
		if (*c == '\r' && i < s.len && s.bytes[i] == '\n')
			continue;
		if (*c == '\r' || (value && (*c == '\n' || *c == '\t')))
			pn_buf_append(out, value ? " " : "\n", 1);
		else
			pn_buf_append(out, c, len);
	}
}

static void put_token(struct pn_buf *out, enum pn_token token, const char *s) {
	pn_wire_put_u8(out, (uint8_t)token);
	pn_wire_put_bytes(out, s, (uint32_t)strlen(s));
}

static void end_tag(struct model *m) {
	if (!m->in_tag)
		return;
	m->in_tag = false;
	struct level *level = &m->levels[m->depth];
	put_token(&m->tokens, PN_TOKEN_START, level->name);
	const struct level *parent = level - 1;
	if (parent->foreign > 0 && strcmp(level->ns, parent->ns) == 0) {
		level->foreign++;
		pn_wire_put_u8(&m->tokens, PN_TOKEN_XMLNS);
	} else if (level->foreign > 0 || strcmp(level->ns, "jabber:client") != 0) {
		level->foreign++;
		put_token(&m->tokens, PN_TOKEN_ATTR, "xmlns");
		pn_wire_put_bytes(&m->tokens, level->ns, (uint32_t)strlen(level->ns));
	}
	pn_buf_append(&m->tokens, m->attrs.data, m->attrs.len);
	pn_buf_reset(&m->attrs, SIZE_MAX);
	if (m->depth == 2 && strcmp(level->name, "delay") == 0 && level->own != NULL &&
	    strcmp(level->own, "urn:xmpp:delay") == 0)
		m->delayed = true;
}

static void end_text(struct model *m) {
	struct pn_buf text = {0};
	put_read(m, &text, (struct pn_str){(const char *)m->text.data, m->text.len}, false);
	if (text.len > 0) {
		pn_wire_put_u8(&m->tokens, PN_TOKEN_TEXT);
		pn_wire_put_bytes(&m->tokens, text.data, (uint32_t)text.len);
	}
	pn_buf_free(&text);
	pn_buf_reset(&m->text, SIZE_MAX);
}

static void do_start(struct model *m) {
	const char *name = NAMES[fuzz_u8(&m->in) % COUNT(NAMES)];
	if (m->depth == MAX_DEPTH)
		return;
	pn_encoder_start(&m->enc, str(name));
	m->out_of_order = m->out_of_order || m->ended;
	end_tag(m);
	end_text(m);
	const struct level *parent = &m->levels[m->depth++];
	m->levels[m->depth] =
		(struct level){.name = name, .ns = parent->ns, .foreign = parent->foreign};
	m->in_tag = true;
}

static struct pn_str take_string(struct model *m) {
	size_t len = fuzz_u8(&m->in);
	len = len < m->in.left ? len : m->in.left;
	const struct pn_str s = {(const char *)m->in.pos, len};
	m->in.pos += len;
	m->in.left -= len;
	return s;
}

static void do_attr(struct model *m) {
	const size_t index = fuzz_u8(&m->in) % COUNT(KEYS);
	const struct pn_str value = take_string(m);
	struct level *level = &m->levels[m->depth];
	if (m->in_tag && (level->keys & 1u << index) != 0)
		return; /* a table has a key once */
	pn_encoder_attr(&m->enc, str(KEYS[index]), value);
	m->out_of_order = m->out_of_order || !m->in_tag;
	level->keys |= 1u << index;
	struct pn_buf read = {0};
	put_read(m, &read, value, true);
	put_token(&m->attrs, PN_TOKEN_ATTR, KEYS[index]);
	pn_wire_put_bytes(&m->attrs, read.data, (uint32_t)read.len);
	pn_buf_free(&read);
}

static void do_xmlns(struct model *m) {
	const char *ns = SPACES[fuzz_u8(&m->in) % COUNT(SPACES)];
	struct level *level = &m->levels[m->depth];
	if (m->in_tag && level->own != NULL)
		return;
	pn_encoder_attr(&m->enc, str("xmlns"), str(ns));
	m->out_of_order = m->out_of_order || !m->in_tag;
	if (m->in_tag)
		level->own = level->ns = ns;
}

static void do_text(struct model *m) {
	const struct pn_str text = take_string(m);
	pn_encoder_text(&m->enc, text);
	m->out_of_order = m->out_of_order || m->depth == 0;
	end_tag(m);
	pn_buf_append(&m->text, text.bytes, text.len);
}

static void do_end(struct model *m) {
	pn_encoder_end(&m->enc);
	m->out_of_order = m->out_of_order || m->depth == 0;
	if (m->depth == 0)
		return;
	end_tag(m);
	end_text(m);
	pn_wire_put_u8(&m->tokens, PN_TOKEN_END);
	m->ended = --m->depth == 0;
}

static void run(struct model *m) {
	static void (*const calls[CALLS])(struct model *) = {do_start, do_attr, do_xmlns, do_text,
							     do_end};
	while (m->in.left > 0)
		calls[fuzz_u8(&m->in) % CALLS](m);
	while (m->depth > 0)
		do_end(m);
}

static void check_decodes(struct pn_str xml, const struct pn_buf *want, bool bad_characters) {
	struct pn_buf tokens = {0};
	const int err = pn_stanza_decode(&tokens, xml, (struct pn_decode_limits){0});
	FUZZ_ASSERT(err == (bad_characters ? PN_EXML : PN_OK));
	if (err == PN_OK) {
		FUZZ_ASSERT(tokens.len == want->len);
		FUZZ_ASSERT(memcmp(tokens.data, want->data, want->len) == 0);
	}
	pn_buf_free(&tokens);
}

/* With a child spliced in, the decoder finds it behind all others. */
static void check_splice(struct model *m, struct pn_str xml) {
	struct pn_buf spliced = {0};
	FUZZ_ASSERT(pn_stanza_splice(&spliced, xml, m->enc.splice, str("<c xmlns='urn:c'/>")) ==
		    PN_OK);
	m->tokens.len--; /* the root's end */
	put_token(&m->tokens, PN_TOKEN_START, "c");
	put_token(&m->tokens, PN_TOKEN_ATTR, "xmlns");
	pn_wire_put_bytes(&m->tokens, "urn:c", 5);
	pn_wire_put_u8(&m->tokens, PN_TOKEN_END);
	pn_wire_put_u8(&m->tokens, PN_TOKEN_END);
	const struct pn_str bytes = {(const char *)spliced.data, spliced.len};
	check_decodes(bytes, &m->tokens, m->bad_characters);
	pn_buf_free(&spliced);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static struct model m;
	struct pn_buf out = {0};
	m = (struct model){.in = {data, size}, .levels = {{.ns = "jabber:client"}}};
	pn_encoder_init(&m.enc, &out);
	run(&m);
	const int err = pn_encoder_finish(&m.enc);
	FUZZ_ASSERT(err == (m.out_of_order || !m.ended ? PN_EINVAL : PN_OK));
	if (err == PN_OK) {
		const struct pn_str xml = {(const char *)out.data, out.len};
		FUZZ_ASSERT(m.enc.delayed == m.delayed);
		check_decodes(xml, &m.tokens, m.bad_characters);
		check_splice(&m, xml);
	}
	pn_buf_free(&out);
	pn_buf_free(&m.attrs);
	pn_buf_free(&m.text);
	pn_buf_free(&m.tokens);
	return 0;
}
