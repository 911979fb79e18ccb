/* Borrowed strings: a pointer and a length. */
#ifndef PN_STR_H
#define PN_STR_H

#include <stddef.h>

/* Unless a header says otherwise, borrowed for the duration of the call, not terminated by a NUL,
 * and `bytes` is not NULL. */
struct pn_str {
	const char *bytes;
	size_t len;
};

#endif
