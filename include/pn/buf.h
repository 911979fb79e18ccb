/* A growable buffer with a sticky error: append in sequence, check once at the end. */
#ifndef PN_BUF_H
#define PN_BUF_H

#include <stddef.h>

/*
 * A zeroed struct is an empty buffer.
 *
 * Invariants: len <= cap; data is NULL if and only if cap is 0; once err is set, appending does
 * nothing, and the bytes written before stay readable.
 */
struct pn_buf {
	unsigned char *data; /* owned; without a terminating NUL */
	size_t len;          /* bytes written */
	size_t cap;          /* bytes allocated */
	int err;             /* 0, or PN_ENOMEM once an append has failed */
};

/* Makes room for `extra` more bytes. Returns 0 or PN_ENOMEM (also if the size overflows). */
int pn_buf_reserve(struct pn_buf *buf, size_t extra);

/* Appends n bytes. bytes may be NULL if n is 0; it must not point into buf. */
void pn_buf_append(struct pn_buf *buf, const void *bytes, size_t n);

/* Empties the buffer and clears its error. Keeps up to `keep` bytes of memory; frees more. */
void pn_buf_reset(struct pn_buf *buf, size_t keep);

/* Frees the memory and leaves an empty buffer. Safe to call again. */
void pn_buf_free(struct pn_buf *buf);

#endif
