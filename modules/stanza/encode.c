/* The encoder: elements, attributes and text to XML. */
#include <stdio.h>
#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>
#include <pn/stanza.h>

#include "escape.h"

/* A part of the output. Offsets stay valid when the buffer moves. */
struct span {
	size_t at;
	size_t len;
};

struct pn_element {
	struct span name;
	struct span xmlns; /* " xmlns='...'", its own or an equal one of the parent; len 0: none */
	unsigned int prefixes; /* number of prefixes ns1, ns2, ... declared on it */
};

enum { FIRST_CAP = 16 }; /* stanzas are rarely deeper; doubles when they are */

static const struct pn_str XMLNS = {"xmlns", 5};
static const struct pn_str DELAY = {"delay", 5};
static const struct pn_str DELAY_NS = {"urn:xmpp:delay", 14};
static const struct pn_str XML_NS = {"http://www.w3.org/XML/1998/namespace", 36};

static bool str_equal(struct pn_str a, struct pn_str b) {
	return a.len == b.len && memcmp(a.bytes, b.bytes, a.len) == 0;
}

static struct pn_str written(const struct pn_encoder *enc, struct span range) {
	return (struct pn_str){(const char *)enc->out->data + range.at, range.len};
}

static void put(struct pn_encoder *enc, const char *bytes, size_t len) {
	pn_buf_append(enc->out, bytes, len);
}

static void put_str(struct pn_encoder *enc, struct pn_str str) {
	put(enc, str.bytes, str.len);
}

/* Checks the output, and returns whether there was no error so far. */
static bool works(struct pn_encoder *enc) {
	if (enc->err == PN_OK)
		enc->err = enc->out->err;
	if (enc->err == PN_OK && enc->out->len - enc->begin > PN_STANZA_MAX_BYTES)
		enc->err = PN_ESIZE;
	return enc->err == PN_OK;
}

static bool push_element(struct pn_encoder *enc) {
	if (enc->depth == PN_STANZA_MAX_DEPTH) {
		enc->err = PN_EDEPTH;
		return false;
	}
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
	enc->elements[enc->depth++] = (struct pn_element){0};
	return true;
}

static void close_tag(struct pn_encoder *enc) {
	if (enc->tag_open)
		put(enc, ">", 1);
	enc->tag_open = false;
}

void pn_encoder_init(struct pn_encoder *enc, struct pn_buf *out) {
	*enc = (struct pn_encoder){.out = out, .begin = out->len};
}

void pn_encoder_start(struct pn_encoder *enc, struct pn_str name) {
	if (!works(enc))
		return;
	if (enc->depth == 0 && enc->splice != 0) {
		enc->err = PN_EINVAL;
		return;
	}
	close_tag(enc);
	if (!push_element(enc))
		return;
	put(enc, "<", 1);
	enc->elements[enc->depth - 1].name = (struct span){enc->out->len, name.len};
	put_str(enc, name);
	enc->tag_open = true;
}

static void put_value(struct pn_encoder *enc, struct pn_str value) {
	put(enc, "='", 2);
	pn_escape(enc->out, value);
	put(enc, "'", 1);
}

/*
 * Writes " xmlns:nsN='NS' nsN:NAME='VALUE'" for the key "NS\1NAME". The namespace of the prefix xml
 * must not have another prefix (Namespaces in XML 1.0, section 3): tostring() declares one, and
 * clients close the stream because of it.
 */
static void put_namespaced(struct pn_encoder *enc, struct pn_element *element, struct pn_str key,
			   size_t ns_len, struct pn_str value) {
	const struct pn_str ns = {key.bytes, ns_len};
	const struct pn_str name = {key.bytes + ns_len + 1, key.len - ns_len - 1};
	char prefix[16] = "xml";
	if (enc->as_tostring || !str_equal(ns, XML_NS)) {
		snprintf(prefix, sizeof(prefix), "ns%u", ++element->prefixes);
		put(enc, " xmlns:", 7);
		put(enc, prefix, strlen(prefix));
		put_value(enc, ns);
	}
	put(enc, " ", 1);
	put(enc, prefix, strlen(prefix));
	put(enc, ":", 1);
	put_str(enc, name);
	put_value(enc, value);
}

/* Writes the element's xmlns, and removes it again if it repeats the parent's. */
static void put_xmlns(struct pn_encoder *enc, struct pn_element *element, struct pn_str value) {
	const size_t start = enc->out->len;
	if (!enc->as_tostring && str_equal(value, XML_NS))
		return; /* it must not be a default namespace either */
	put(enc, " xmlns", 6);
	put_value(enc, value);
	if (enc->out->err != PN_OK)
		return;
	element->xmlns = (struct span){start, enc->out->len - start};
	if (enc->depth == 1)
		return;
	if (enc->depth == 2 && str_equal(written(enc, element->name), DELAY) &&
	    str_equal(value, DELAY_NS))
		enc->delayed = true;
	if (element[-1].xmlns.len > 0 &&
	    str_equal(written(enc, element->xmlns), written(enc, element[-1].xmlns))) {
		element->xmlns = element[-1].xmlns;
		enc->out->len = start;
	}
}

void pn_encoder_attr(struct pn_encoder *enc, struct pn_str key, struct pn_str value) {
	if (!works(enc))
		return;
	if (!enc->tag_open) {
		enc->err = PN_EINVAL;
		return;
	}
	struct pn_element *element = &enc->elements[enc->depth - 1];
	const char *separator = memchr(key.bytes, '\1', key.len);
	if (separator != NULL) {
		put_namespaced(enc, element, key, (size_t)(separator - key.bytes), value);
		return;
	}
	if (str_equal(key, XMLNS)) {
		put_xmlns(enc, element, value);
		return;
	}
	put(enc, " ", 1);
	put_str(enc, key);
	put_value(enc, value);
}

void pn_encoder_text(struct pn_encoder *enc, struct pn_str text) {
	if (!works(enc))
		return;
	if (enc->depth == 0) {
		enc->err = PN_EINVAL;
		return;
	}
	close_tag(enc);
	pn_escape(enc->out, text);
}

void pn_encoder_end(struct pn_encoder *enc) {
	if (!works(enc))
		return;
	if (enc->depth == 0) {
		enc->err = PN_EINVAL;
		return;
	}
	const struct span name = enc->elements[--enc->depth].name;
	if (enc->depth == 0)
		enc->splice = enc->out->len - enc->begin;
	if (enc->tag_open) {
		put(enc, "/>", 2);
		enc->tag_open = false;
		return;
	}
	put(enc, "</", 2);
	if (pn_buf_reserve(enc->out, name.len) == PN_OK) /* so that the copied bytes do not move */
		put_str(enc, written(enc, name));
	put(enc, ">", 1);
}

int pn_encoder_finish(struct pn_encoder *enc) {
	pn_free(enc->elements);
	enc->elements = NULL;
	enc->cap = 0;
	if (enc->out != NULL && works(enc) && (enc->depth > 0 || enc->splice == 0))
		enc->err = PN_EINVAL; /* sticky: the open elements are freed */
	return enc->out != NULL ? enc->err : PN_EINVAL;
}
