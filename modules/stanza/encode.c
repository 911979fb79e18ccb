#include <string.h>
#include <stdio.h>

#include <pn/alloc.h>
#include <pn/err.h>
#include <pn/stanza.h>

#include "escape.h"

struct pn_element {
	struct pn_str name;
	struct pn_str xmlns;   /* its own xmlns attribute; bytes is NULL where it has none */
	unsigned int prefixes; /* ns1, ns2, ... declared on it so far */
};

enum { FIRST_CAP = 16 };

static const struct pn_str XMLNS = {"xmlns", 5};
static const struct pn_str DELAY = {"delay", 5};
static const struct pn_str DELAY_NS = {"urn:xmpp:delay", 14};

static bool str_equal(struct pn_str a, struct pn_str b) {
	return a.bytes != NULL && b.bytes != NULL && a.len == b.len &&
	       memcmp(a.bytes, b.bytes, a.len) == 0;
}

static void put(struct pn_encoder *enc, const char *bytes, size_t len) {
	pn_buf_append(enc->out, bytes, len);
}

static void put_str(struct pn_encoder *enc, struct pn_str str) {
	put(enc, str.bytes, str.len);
}

static bool push_element(struct pn_encoder *enc, struct pn_str name) {
	if (enc->depth == enc->cap) {
		const size_t cap = enc->cap > 0 ? enc->cap * 2 : FIRST_CAP;
		struct pn_element *grown = pn_realloc(enc->elements, cap * sizeof(*grown));
		if (grown == NULL) {
			enc->err = PN_ENOMEM;
			return false;
		}
		enc->elements = grown;
		enc->cap = cap;
	}
	enc->elements[enc->depth++] = (struct pn_element){.name = name};
	return true;
}

static void close_tag(struct pn_encoder *enc) {
	if (enc->tag_open)
		put(enc, ">", 1);
	enc->tag_open = false;
}

void pn_encoder_init(struct pn_encoder *enc, struct pn_buf *out) {
	*enc = (struct pn_encoder){.out = out};
}

void pn_encoder_start(struct pn_encoder *enc, struct pn_str name) {
	if (enc->err != PN_OK)
		return;
	if (enc->depth == 0 && enc->splice != 0) {
		enc->err = PN_EINVAL;
		return;
	}
	close_tag(enc);
	if (!push_element(enc, name))
		return;
	put(enc, "<", 1);
	put_str(enc, name);
	enc->tag_open = true;
}

static void put_value(struct pn_encoder *enc, struct pn_str value) {
	put(enc, "='", 2);
	pn_escape(enc->out, value);
	put(enc, "'", 1);
}

/* " xmlns:nsN='NS' nsN:NAME='VALUE'" for the key "NS\1NAME" */
static void put_prefixed(struct pn_encoder *enc, struct pn_element *element, struct pn_str key,
			 size_t ns_len, struct pn_str value) {
	char prefix[16];
	const int len = snprintf(prefix, sizeof(prefix), "ns%u", ++element->prefixes);
	put(enc, " xmlns:", 7);
	put(enc, prefix, (size_t)len);
	put_value(enc, (struct pn_str){key.bytes, ns_len});
	put(enc, " ", 1);
	put(enc, prefix, (size_t)len);
	put(enc, ":", 1);
	put(enc, key.bytes + ns_len + 1, key.len - ns_len - 1);
	put_value(enc, value);
}

/* Notes the element's xmlns. Returns whether it has to be written. */
static bool take_xmlns(struct pn_encoder *enc, struct pn_element *element, struct pn_str value) {
	element->xmlns = value;
	if (enc->depth == 1)
		return true;
	if (enc->depth == 2 && str_equal(element->name, DELAY) && str_equal(value, DELAY_NS))
		enc->delayed = true;
	return !str_equal(value, element[-1].xmlns);
}

void pn_encoder_attr(struct pn_encoder *enc, struct pn_str key, struct pn_str value) {
	if (enc->err != PN_OK)
		return;
	if (!enc->tag_open) {
		enc->err = PN_EINVAL;
		return;
	}
	struct pn_element *element = &enc->elements[enc->depth - 1];
	const char *separator = memchr(key.bytes, '\1', key.len);
	if (separator != NULL) {
		put_prefixed(enc, element, key, (size_t)(separator - key.bytes), value);
		return;
	}
	if (str_equal(key, XMLNS) && !take_xmlns(enc, element, value))
		return;
	put(enc, " ", 1);
	put_str(enc, key);
	put_value(enc, value);
}

void pn_encoder_text(struct pn_encoder *enc, struct pn_str text) {
	if (enc->err != PN_OK)
		return;
	if (enc->depth == 0) {
		enc->err = PN_EINVAL;
		return;
	}
	close_tag(enc);
	pn_escape(enc->out, text);
}

void pn_encoder_end(struct pn_encoder *enc) {
	if (enc->err != PN_OK)
		return;
	if (enc->depth == 0) {
		enc->err = PN_EINVAL;
		return;
	}
	const struct pn_element *element = &enc->elements[--enc->depth];
	if (enc->depth == 0)
		enc->splice = enc->out->len;
	if (enc->tag_open) {
		put(enc, "/>", 2);
		enc->tag_open = false;
		return;
	}
	put(enc, "</", 2);
	put_str(enc, element->name);
	put(enc, ">", 1);
}

int pn_encoder_finish(struct pn_encoder *enc) {
	pn_free(enc->elements);
	enc->elements = NULL;
	enc->cap = 0;
	if (enc->err != PN_OK)
		return enc->err;
	if (enc->out != NULL && enc->out->err != PN_OK)
		return enc->out->err;
	return enc->depth == 0 && enc->splice != 0 ? PN_OK : PN_EINVAL;
}
