/*
 * The input is XML. For any input the decoder returns a documented result; accepted input is one
 * element within the limits, which is the same after encoding and decoding, except for white space
 * that XML normalises. The same input as a document is refused, or becomes a packed stanza.
 */
#include <pn/err.h>
#include <pn/pack.h>
#include <pn/stanza.h>

#include "fuzz.h"
#include "../unit/tokens.h"

enum { SMALL = 4 }; /* a limit that inputs of a fuzzer's size reach */

/* The parts of a stanza. */
struct shape {
	uint32_t depth, deepest, elements;
	bool fragile; /* see is_fragile() */
};

/*
 * Names and values that do not survive tostring(), and so not the encoder, which does the same:
 * white space in attributes is normalised, and the namespaces of XML itself cannot be declared.
 */
static bool is_fragile(struct pn_str s) {
	static const char www[] = "http://www.w3.org/";
	for (size_t i = 0; i < s.len; i++) {
		if (memchr("\t\n\r", s.bytes[i], 3) != NULL)
			return true;
	}
	return s.len >= sizeof(www) - 1 && memcmp(s.bytes, www, sizeof(www) - 1) == 0;
}

static void shape_start(void *ctx, struct pn_str name) {
	struct shape *shape = ctx;
	FUZZ_ASSERT(name.len > 0);
	shape->elements++;
	shape->depth++;
	if (shape->depth > shape->deepest)
		shape->deepest = shape->depth;
}

static void shape_attr(void *ctx, struct pn_str key, struct pn_str value) {
	struct shape *shape = ctx;
	FUZZ_ASSERT(key.len > 0);
	shape->fragile = shape->fragile || is_fragile(key) || is_fragile(value);
}

static void shape_text(void *ctx, struct pn_str text) {
	struct shape *shape = ctx;
	shape->fragile = shape->fragile || memchr(text.bytes, '\r', text.len) != NULL;
}

static void shape_end(void *ctx) {
	((struct shape *)ctx)->depth--;
}

static struct shape shape_of(const struct pn_buf *tokens) {
	static const struct token_sink sink = {shape_start, shape_attr, shape_text, shape_end};
	struct shape shape = {0};
	FUZZ_ASSERT(tokens_walk(tokens, &sink, &shape));
	return shape;
}

static void check_limits(struct pn_str xml, struct shape shape) {
	static const struct pn_decode_limits small = {.depth = SMALL, .elements = SMALL};
	struct pn_buf tokens = {0};
	const int err = pn_stanza_decode(&tokens, xml, small);
	const bool within = shape.deepest <= SMALL && shape.elements <= SMALL;
	FUZZ_ASSERT(within ? err == PN_OK : err == PN_EDEPTH || err == PN_EELEMENTS);
	pn_buf_free(&tokens);

	const struct pn_decode_limits shorter = {.bytes = xml.len - 1};
	FUZZ_ASSERT(pn_stanza_decode(&tokens, xml, shorter) == PN_ESIZE);
}

static void check_round_trip(const struct pn_buf *tokens, bool fragile) {
	struct pn_buf xml = {0};
	struct pn_buf again = {0};
	FUZZ_ASSERT(tokens_encode(&xml, tokens) == PN_OK);
	const struct pn_str encoded = {(const char *)xml.data, xml.len};
	const int err = pn_stanza_decode(&again, encoded, (struct pn_decode_limits){0});
	FUZZ_ASSERT(err == PN_OK || (err == PN_EXML && fragile));
	if (!fragile) {
		FUZZ_ASSERT(again.len == tokens->len);
		FUZZ_ASSERT(memcmp(again.data, tokens->data, tokens->len) == 0);
	}
	pn_buf_free(&xml);
	pn_buf_free(&again);
}

static void check_document(struct pn_str xml) {
	struct pn_buf packed = {0};
	struct pn_wire tokens;
	const int err = pn_pack_document(&packed, xml);
	FUZZ_ASSERT(err == PN_OK || err == PN_EXML || err == PN_ERESTRICTED);
	const struct pn_str bytes = {(const char *)packed.data, packed.len};
	FUZZ_ASSERT(err != PN_OK || pn_unpack(bytes, &tokens) == PN_OK);
	pn_buf_free(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	const struct pn_str xml = {(const char *)data, size};
	struct pn_buf tokens = {0};
	const int err = pn_stanza_decode(&tokens, xml, (struct pn_decode_limits){0});
	FUZZ_ASSERT(err == PN_OK || err == PN_EXML || err == PN_ERESTRICTED);
	if (err == PN_OK) {
		const struct shape shape = shape_of(&tokens);
		check_limits(xml, shape);
		check_round_trip(&tokens, shape.fragile);
	}
	pn_buf_free(&tokens);
	check_document(xml);
	return 0;
}
