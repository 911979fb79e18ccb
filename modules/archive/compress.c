/* Compressing the messages of a copy: those that an earlier version has stored. */
#include <pn/err.h>
#include <pn/pack.h>

#include "archive.h"

/* Whether the record is a message whose stanza is not compressed. Sets the stanza. */
static bool is_plain_message(struct pn_str key, struct pn_str value, struct pn_str *stanza) {
	struct pn_wire wire = pn_wire_open(value.bytes, value.len);
	struct pn_stored stored;
	uint32_t archive;
	uint64_t seq;
	if (!pn_key_read_seq(key, PN_KIND_MESSAGE, &archive, &seq) ||
	    pn_wire_u8(&wire) != PN_VALUE_VERSION || !pn_stored_parse(wire, &stored))
		return false;
	*stanza = stored.stanza;
	return stanza->len > 0 && stanza->bytes[0] == PN_PACK_VERSION;
}

int pn_archive_compress(void *context, struct pn_str key, struct pn_str *value) {
	struct pn_archive_compression *const compression = context;
	struct pn_buf *const buf = &compression->value;
	struct pn_str stanza, stored;
	if (!is_plain_message(key, *value, &stanza))
		return PN_OK;
	const int err = pn_compress(&compression->compressor, stanza, &stored);
	if (err != PN_OK || stored.len >= stanza.len)
		return err;
	pn_buf_reset(buf, SIZE_MAX);
	pn_buf_append(buf, value->bytes, value->len - stanza.len);
	pn_buf_append(buf, stored.bytes, stored.len);
	if (buf->err != PN_OK)
		return buf->err;
	*value = (struct pn_str){(char *)buf->data, buf->len};
	compression->messages++;
	return PN_OK;
}

void pn_archive_compression_free(struct pn_archive_compression *compression) {
	pn_compressor_free(&compression->compressor);
	pn_buf_free(&compression->value);
}
