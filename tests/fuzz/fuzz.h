/* What the fuzz targets share: the input as a cursor, and an assertion that no build leaves out. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_ASSERT(condition) fuzz_assert((condition), #condition, __FILE__, __LINE__)

static inline void fuzz_assert(int condition, const char *text, const char *file, int line) {
	if (condition)
		return;
	fprintf(stderr, "%s:%d: %s\n", file, line, text);
	abort();
}

struct fuzz_input {
	const uint8_t *pos;
	size_t left;
};

/* The next byte; 0 once there is none. */
static inline uint8_t fuzz_u8(struct fuzz_input *in) {
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->pos++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
