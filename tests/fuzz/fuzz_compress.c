/*
 * The input is a stored stanza, as a damaged or hostile file may have it. Either it is refused, or
 * it has the size that it says; and what was read is stored and read again without loss.
 */
#include <pn/compress.h>
#include <pn/err.h>

#include "fuzz.h"

static void store_again(struct pn_compressor *compressor, const struct pn_buf *packed) {
	struct pn_str stored;
	struct pn_buf again = {0};
	FUZZ_ASSERT(pn_compress(compressor, (struct pn_str){(char *)packed->data, packed->len},
				&stored) == PN_OK);
	FUZZ_ASSERT(stored.len <= packed->len);
	FUZZ_ASSERT(pn_decompressed_size(stored) == (int)packed->len);
	FUZZ_ASSERT(pn_decompress(compressor, stored, &again) == PN_OK);
	FUZZ_ASSERT(again.len == packed->len && memcmp(again.data, packed->data, again.len) == 0);
	pn_buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static struct pn_compressor compressor; /* as long as the process: it is used again */
	const struct pn_str stored = {(const char *)data, size};
	struct pn_buf packed = {0};
	const int expected = pn_decompressed_size(stored);
	const int err = pn_decompress(&compressor, stored, &packed);
	FUZZ_ASSERT(err == PN_OK || err == PN_ECORRUPT);
	FUZZ_ASSERT(err == PN_OK ? expected == (int)packed.len : packed.len == 0);
	if (packed.len > 0)
		store_again(&compressor, &packed);
	pn_buf_free(&packed);
	return 0;
}
