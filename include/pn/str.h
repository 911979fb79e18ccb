/* Strings that are borrowed: bytes and their number. */
#ifndef PN_STR_H
#define PN_STR_H

#include <stddef.h>

/* Borrowed for the call, unless a header says otherwise; it need not end with a NUL. `bytes` is not
 * NULL, unless a header gives NULL a meaning. */
struct pn_str {
	const char *bytes;
	size_t len;
};

#endif
