/*
 * The input is a packed stanza. Either it is refused, or its tokens are one element, and packing
 * them again results in the same stanza (not always the same bytes: a word may be spelled out).
 */
#include <pn/err.h>
#include <pn/pack.h>

#include "fuzz.h"

/* Writes the tokens again, and checks the guarantees for a builder. */
static void pack_again(struct pn_wire wire, struct pn_buf *out) {
	struct pn_pack pack;
	uint32_t depth = 0;
	int before = 0;
	pn_pack_init(&pack, out);
	while (wire.left > 0) {
		struct pn_str first = {"", 0};
		struct pn_str second = {"", 0};
		const int token = pn_wire_u8(&wire);
		if (token != PN_TOKEN_END)
			FUZZ_ASSERT(pn_unpack_string(&wire, &first) < PN_PACK_WORDS);
		if (token == PN_TOKEN_ATTR)
			FUZZ_ASSERT(pn_unpack_string(&wire, &second) < PN_PACK_WORDS);
		FUZZ_ASSERT(first.bytes != NULL && second.bytes != NULL);
		FUZZ_ASSERT(token == PN_TOKEN_START ? depth > 0 || before == 0 : depth > 0);
		switch (token) {
		case PN_TOKEN_START:
			depth++;
			pn_pack_start(&pack, first);
			break;
		case PN_TOKEN_ATTR:
			FUZZ_ASSERT(before == PN_TOKEN_START || before == PN_TOKEN_ATTR);
			pn_pack_attr(&pack, first, second);
			break;
		case PN_TOKEN_TEXT:
			pn_pack_text(&pack, first);
			break;
		default:
			FUZZ_ASSERT(token == PN_TOKEN_END);
			depth--;
			pn_pack_end(&pack);
		}
		before = token;
	}
	FUZZ_ASSERT(wire.err == PN_OK && depth == 0 && before == PN_TOKEN_END);
	FUZZ_ASSERT(pn_pack_error(&pack) == PN_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct pn_wire wire;
	const int err = pn_unpack((struct pn_str){(const char *)data, size}, &wire);
	FUZZ_ASSERT(err == PN_OK || err == PN_ECORRUPT || err == PN_EVERSION);
	if (err != PN_OK)
		return 0;
	struct pn_buf first = {0};
	struct pn_buf second = {0};
	pack_again(wire, &first);
	FUZZ_ASSERT(first.len <= size);
	FUZZ_ASSERT(pn_unpack((struct pn_str){(const char *)first.data, first.len}, &wire) ==
		    PN_OK);
	pack_again(wire, &second);
	FUZZ_ASSERT(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
	pn_buf_free(&first);
	pn_buf_free(&second);
	return 0;
}
