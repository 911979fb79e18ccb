#include "escape.h"

static const struct pn_str ENTITIES[256] = {
	['\''] = {"&apos;", 6}, ['"'] = {"&quot;", 6}, ['<'] = {"&lt;", 4},
	['>'] = {"&gt;", 4},    ['&'] = {"&amp;", 5},
};

void pn_escape(struct pn_buf *out, struct pn_str str) {
	size_t plain = 0; /* where the bytes begin that are still to be copied as they are */
	for (size_t i = 0; i < str.len; i++) {
		const struct pn_str *entity = &ENTITIES[(unsigned char)str.bytes[i]];
		if (entity->len == 0)
			continue;
		pn_buf_append(out, str.bytes + plain, i - plain);
		pn_buf_append(out, entity->bytes, entity->len);
		plain = i + 1;
	}
	pn_buf_append(out, str.bytes + plain, str.len - plain);
}
