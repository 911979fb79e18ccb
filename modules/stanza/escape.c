/* The one escaper of XML. */
#include "escape.h"

enum { PLAIN = 0, APOS, QUOT, LT, GT, AMP };

static const unsigned char KIND[256] = {
	['\''] = APOS, ['"'] = QUOT, ['<'] = LT, ['>'] = GT, ['&'] = AMP,
};

static const struct pn_str ENTITIES[] = {
	[APOS] = {"&apos;", 6}, [QUOT] = {"&quot;", 6}, [LT] = {"&lt;", 4},
	[GT] = {"&gt;", 4},     [AMP] = {"&amp;", 5},
};

/* The number of bytes from p that need no entity. Tests eight at a time: most text is plain. */
static size_t plain_length(const unsigned char *p, const unsigned char *end) {
	const unsigned char *start = p;
	for (; end - p >= 8; p += 8) {
		if ((KIND[p[0]] | KIND[p[1]] | KIND[p[2]] | KIND[p[3]] | KIND[p[4]] | KIND[p[5]] |
		     KIND[p[6]] | KIND[p[7]]) != PLAIN)
			break;
	}
	while (p < end && KIND[*p] == PLAIN)
		p++;
	return (size_t)(p - start);
}

void pn_escape(struct pn_buf *out, struct pn_str str) {
	const unsigned char *p = (const unsigned char *)str.bytes;
	const unsigned char *end = p + str.len;
	while (p < end) {
		const size_t plain = plain_length(p, end);
		pn_buf_append(out, p, plain);
		p += plain;
		if (p < end) {
			const struct pn_str entity = ENTITIES[KIND[*p++]];
			pn_buf_append(out, entity.bytes, entity.len);
		}
	}
}
