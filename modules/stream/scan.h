/*
 * Where tokens of XML end: so much of the grammar that incomplete tags, comments, processing
 * instructions, references and beginnings of CDATA sections can be held back.
 *
 * Bytes that no XML has at their place end a token, so that expat reports them at once.
 */
#ifndef PN_STREAM_SCAN_H
#define PN_STREAM_SCAN_H

#include <stdbool.h>
#include <stddef.h>

struct pn_scan {
	unsigned char state; /* enum state of scan.c; 0 at the beginning of a document */
	unsigned char quote; /* in a quoted value: the quotation mark */
	unsigned char count; /* of '-', ']', '?' or letters that were seen in sequence */
};

/*
 * Scans on from *pos to at most `len`, and stops where at least `enough` bytes end with a token.
 * Sets *pos to the number of bytes that are scanned. Returns the number of bytes at the beginning
 * that can be parsed: the rest belongs to an incomplete token. If it stops before `len`, the two
 * are equal.
 */
size_t pn_scan(struct pn_scan *scan, const char *bytes, size_t *pos, size_t len, size_t enough);

/* Whether the last byte ended a token, or was text outside a CDATA section. */
bool pn_scan_is_between_tokens(const struct pn_scan *scan);

#endif
