#include <stdint.h>
#include <string.h>

#include <pn/alloc.h>
#include <pn/buf.h>
#include <pn/err.h>

enum { PN_BUF_MIN = 256 };

int pn_buf_reserve(struct pn_buf *buf, size_t extra) {
	if (buf->err != 0)
		return buf->err;
	if (extra <= buf->cap - buf->len)
		return PN_OK;
	if (extra > SIZE_MAX / 2 - buf->len)
		return buf->err = PN_ENOMEM;

	size_t cap = buf->cap > 0 ? buf->cap : PN_BUF_MIN;
	while (cap < buf->len + extra)
		cap *= 2;
	unsigned char *data = pn_realloc(buf->data, cap);
	if (data == NULL)
		return buf->err = PN_ENOMEM;
	buf->data = data;
	buf->cap = cap;
	return PN_OK;
}

void pn_buf_append(struct pn_buf *buf, const void *bytes, size_t n) {
	if (n == 0 || pn_buf_reserve(buf, n) != PN_OK)
		return;
	memcpy(buf->data + buf->len, bytes, n);
	buf->len += n;
}

void pn_buf_reset(struct pn_buf *buf, size_t keep) {
	if (buf->cap > keep) {
		pn_buf_free(buf);
		return;
	}
	buf->len = 0;
	buf->err = PN_OK;
}

void pn_buf_free(struct pn_buf *buf) {
	pn_free(buf->data);
	*buf = (struct pn_buf){0};
}
