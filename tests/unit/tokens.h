/* The tokens of a decoded stanza, made readable or given to an encoder. */
#ifndef TEST_TOKENS_H
#define TEST_TOKENS_H

#include <stdbool.h>
#include <stdlib.h>

#include <pn/buf.h>
#include <pn/err.h>
#include <pn/stanza.h>
#include <pn/wire.h>

static inline struct pn_str str(const char *text) {
	return (struct pn_str){text, strlen(text)};
}

static inline struct pn_str tokens_str(struct pn_wire *wire) {
	struct pn_str read;
	read.bytes = pn_wire_bytes(wire, &read.len);
	return read;
}

/* What can be done with each token. */
struct token_sink {
	void (*start)(void *ctx, struct pn_str name);
	void (*attr)(void *ctx, struct pn_str key, struct pn_str value);
	void (*text)(void *ctx, struct pn_str text);
	void (*end)(void *ctx);
};

/*
 * Gives every token to the sink. Returns whether they are one element, as pn/stanza.h draws it:
 * attributes right after a start, no text that is empty or follows another, balanced, nothing
 * after.
 */
static inline bool tokens_walk(const struct pn_buf *tokens, const struct token_sink *sink,
			       void *ctx) {
	struct pn_wire wire = pn_wire_open(tokens->data, tokens->len);
	struct pn_str *spaces = malloc((tokens->len + 2) * sizeof(*spaces)); /* by depth */
	size_t depth = 0;
	uint8_t last = PN_TOKEN_END;
	bool valid = true;
	bool ended = false;
	spaces[0] = (struct pn_str){0};
	while (wire.left > 0 && valid && !ended) {
		const uint8_t token = pn_wire_u8(&wire);
		struct pn_str first = {"xmlns", 5};
		struct pn_str second = {0};
		if (token != PN_TOKEN_END && token != PN_TOKEN_XMLNS)
			first = tokens_str(&wire);
		if (token == PN_TOKEN_ATTR)
			second = tokens_str(&wire);
		valid = wire.err == PN_OK && (depth > 0 || token == PN_TOKEN_START);
		if (!valid)
			break;
		switch (token) {
		case PN_TOKEN_START:
			spaces[++depth] = (struct pn_str){0};
			sink->start(ctx, first);
			break;
		case PN_TOKEN_XMLNS:
			second = spaces[depth - 1];
			valid = last == PN_TOKEN_START && second.bytes != NULL;
			/* fall through */
		case PN_TOKEN_ATTR:
			if (first.len == 5 && memcmp(first.bytes, "xmlns", 5) == 0)
				spaces[depth] = second;
			valid = valid && (last == PN_TOKEN_START || last == PN_TOKEN_ATTR ||
					  last == PN_TOKEN_XMLNS);
			if (valid)
				sink->attr(ctx, first, second);
			break;
		case PN_TOKEN_TEXT:
			valid = last != PN_TOKEN_TEXT && first.len > 0;
			sink->text(ctx, first);
			break;
		case PN_TOKEN_END:
			ended = --depth == 0;
			sink->end(ctx);
			break;
		default:
			valid = false;
		}
		last = token;
	}
	free(spaces);
	return valid && ended && wire.left == 0;
}

/* ---- As text: (name key=value key=value "text" (child)) ---- */

static inline void dump_put(struct pn_buf *out, const char *before, struct pn_str s,
			    const char *after) {
	pn_buf_append(out, before, strlen(before));
	pn_buf_append(out, s.bytes, s.len);
	pn_buf_append(out, after, strlen(after));
}

static inline void dump_start(void *ctx, struct pn_str name) {
	dump_put(ctx, "(", name, "");
}

static inline void dump_attr(void *ctx, struct pn_str key, struct pn_str value) {
	dump_put(ctx, " ", key, "=");
	dump_put(ctx, "", value, "");
}

static inline void dump_text(void *ctx, struct pn_str text) {
	dump_put(ctx, " \"", text, "\"");
}

static inline void dump_end(void *ctx) {
	dump_put(ctx, ")", str(""), "");
}

/* Appends the dump and a NUL to out, which then is a C string. "malformed" if it is not an element.
 */
static inline void tokens_dump(struct pn_buf *out, const struct pn_buf *tokens) {
	static const struct token_sink sink = {dump_start, dump_attr, dump_text, dump_end};
	const bool good = tokens_walk(tokens, &sink, out);
	dump_put(out, good ? "" : "malformed", str(""), "");
	pn_buf_append(out, "", 1);
}

/* ---- To an encoder ---- */

static inline void encode_start(void *ctx, struct pn_str name) {
	pn_encoder_start(ctx, name);
}

static inline void encode_attr(void *ctx, struct pn_str key, struct pn_str value) {
	pn_encoder_attr(ctx, key, value);
}

static inline void encode_text(void *ctx, struct pn_str text) {
	pn_encoder_text(ctx, text);
}

static inline void encode_end(void *ctx) {
	pn_encoder_end(ctx);
}

/* Appends the XML of the tokens to out. Returns the encoder's verdict; PN_EINVAL for no element. */
static inline int tokens_encode(struct pn_buf *out, const struct pn_buf *tokens) {
	static const struct token_sink sink = {encode_start, encode_attr, encode_text, encode_end};
	struct pn_encoder enc;
	pn_encoder_init(&enc, out);
	const bool good = tokens_walk(tokens, &sink, &enc);
	const int err = pn_encoder_finish(&enc);
	return good ? err : PN_EINVAL;
}

#endif
