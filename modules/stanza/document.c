/* XML documents as packed stanzas. */
#include <pn/err.h>
#include <pn/pack.h>

static struct pn_str take_string(struct pn_wire *tokens) {
	struct pn_str str;
	str.bytes = pn_wire_bytes(tokens, &str.len);
	return str;
}

/* A namespace before the name of an attribute may be any text for XML, but not for util.stanza. */
static struct pn_str take_key(struct pn_pack *pack, struct pn_wire *tokens) {
	const struct pn_str key = take_string(tokens);
	if (!pn_stanza_is_name(key, true))
		pack->err = PN_EXML;
	return key;
}

static void pack_token(struct pn_pack *pack, struct pn_wire *tokens) {
	struct pn_str key;
	switch ((enum pn_token)pn_wire_u8(tokens)) {
	case PN_TOKEN_START:
		pn_pack_start(pack, take_string(tokens));
		break;
	case PN_TOKEN_ATTR:
		key = take_key(pack, tokens);
		pn_pack_attr(pack, key, take_string(tokens));
		break;
	case PN_TOKEN_TEXT:
		pn_pack_text(pack, take_string(tokens));
		break;
	case PN_TOKEN_END:
		pn_pack_end(pack);
		break;
	case PN_TOKEN_XMLNS: /* not in a document */
		break;
	}
}

int pn_pack_document(struct pn_buf *out, struct pn_str xml) {
	struct pn_buf buf = {0};
	struct pn_pack pack;
	int err = pn_stanza_decode_document(&buf, xml);
	pn_pack_init(&pack, out);
	if (err == PN_OK) {
		struct pn_wire tokens = pn_wire_open(buf.data, buf.len);
		while (tokens.left > 0)
			pack_token(&pack, &tokens);
		err = pn_pack_error(&pack);
	}
	pn_buf_free(&buf);
	return err;
}
