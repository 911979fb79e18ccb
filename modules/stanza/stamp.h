/* Private to this folder: times as text. */
#ifndef PN_STANZA_STAMP_H
#define PN_STANZA_STAMP_H

#include <stdint.h>

#include <pn/str.h>

enum {
	PN_STAMP_SIZE = 96, /* bytes for any seven ints, so that -Wformat-truncation is content */
	PN_STAMP_WHOLE = -1,
};

/*
 * Writes a time of XEP-0082, section 3.2, to `text` and sets *out to it: CCYY-MM-DDThh:mm:ss, six
 * digits of a fraction unless micros is PN_STAMP_WHOLE, and Z. The one time formatter.
 * Returns 0; or PN_EINVAL for a year that has not four digits.
 */
int pn_stamp(int64_t seconds, int micros, char text[PN_STAMP_SIZE], struct pn_str *out);

#endif
