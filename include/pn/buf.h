/* Growable bytes with a sticky error: write in a chain, check once at the end. */
#ifndef PN_BUF_H
#define PN_BUF_H

#include <stddef.h>

/*
 * All zero is a valid empty buffer.
 *
 * Invariants: len <= cap; data is NULL exactly when cap is 0; once err is not 0, appending does
 * nothing, and what was written before it stays readable.
 */
struct pn_buf {
	unsigned char *data; /* owned; not terminated by a NUL */
	size_t len;          /* bytes written */
	size_t cap;          /* bytes allocated */
	int err;             /* 0, or the PN_ENOMEM of the first append that failed */
};

/* Makes room for `extra` more bytes. Returns 0 or PN_ENOMEM (also if the sum overflows). */
int pn_buf_reserve(struct pn_buf *buf, size_t extra);

/* Appends n bytes. bytes may be NULL if n is 0; it must not point into buf. */
void pn_buf_append(struct pn_buf *buf, const void *bytes, size_t n);

/* Empties the buffer and its error. Keeps its memory, unless that is more than `keep` bytes. */
void pn_buf_reset(struct pn_buf *buf, size_t keep);

/* Frees the memory and leaves an empty buffer. Safe to call again. */
void pn_buf_free(struct pn_buf *buf);

#endif
