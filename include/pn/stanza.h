/*
 * Stanzas as bytes: an encoder that writes elements, attributes and text as XML, and a decoder that
 * reads XML as tokens. Both handle one stanza at a time and keep no state between two.
 *
 * An encoded stanza is its XML (RFC 6120) and one offset:
 *
 *      <message to='a@b'><body>hi</body></message>        <presence to='a@b'/>
 *                                       ^ splice                            ^ splice
 *
 * `splice` is the offset of the end of the root element: "</name>", or "/>" if it has no children.
 * A child can be added there without parsing the stanza.
 */
#ifndef PN_STANZA_H
#define PN_STANZA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pn/buf.h>
#include <pn/str.h>

/* ---- Encoder ---- */

/*
 * Limits of the encoder and the decoder: far above the stanzas of real clients, and low enough that
 * offsets fit in 32 bits and that one stanza cannot exhaust the memory of a server.
 * Tests: "stanza: ...", "decode: ...".
 */
enum {
	PN_STANZA_MAX_BYTES = 64 * 1024 * 1024,
	PN_STANZA_MAX_DEPTH = 100000,     /* of nested elements, the root being 1 */
	PN_STANZA_MAX_ELEMENTS = 5000000, /* decoder only */
};

struct pn_element; /* an open element */

/*
 * Writes the same bytes as tostring() of a Prosody stanza: escapes ' " < > & in text and in
 * attributes, omits an xmlns that repeats the parent's, declares a prefix for an attribute
 * "ns\1name". One exception, where the output of tostring() is not XML: the namespace of the prefix
 * xml gets no other prefix, and is never the default namespace. `as_tostring` removes the
 * exception. Names are written unchanged, as tostring() does; text and attribute values may be any
 * bytes.
 *
 * Call in document order: start, its attrs, then text and further elements, end.
 * Errors are sticky in `err`; pn_encoder_finish() returns the first.
 */
struct pn_encoder {
	struct pn_buf *out;          /* borrowed */
	size_t begin;                /* offset of the stanza in out */
	struct pn_element *elements; /* owned: the stack of open elements */
	size_t depth;                /* number of open elements */
	size_t cap;                  /* number of allocated elements */
	size_t splice;               /* offset in the stanza; valid once the root has ended */
	bool tag_open;               /* the last start tag may still get attributes */
	bool delayed;                /* the root has a child <delay xmlns='urn:xmpp:delay'/> */
	bool as_tostring;            /* the same bytes as tostring() also where they are not XML;
					to set after pn_encoder_init() */
	int err;
};

void pn_encoder_init(struct pn_encoder *enc, struct pn_buf *out);
void pn_encoder_start(struct pn_encoder *enc, struct pn_str name);
void pn_encoder_attr(struct pn_encoder *enc, struct pn_str key, struct pn_str value);
void pn_encoder_text(struct pn_encoder *enc, struct pn_str text);
void pn_encoder_end(struct pn_encoder *enc);

/*
 * Frees the stack. May be called again, and on a zeroed encoder.
 * Returns 0, PN_ENOMEM, PN_ESIZE, PN_EDEPTH, or PN_EINVAL if elements are open, if there was none,
 * or if the calls were not in document order.
 */
int pn_encoder_finish(struct pn_encoder *enc);

/*
 * Appends the stanza `xml` to out with `child` (bytes of XML) added as the root's last child.
 * Returns 0, PN_ENOMEM, or PN_EINVAL if `splice` is not the offset of the root element's end.
 */
int pn_stanza_splice(struct pn_buf *out, struct pn_str xml, size_t splice, struct pn_str child);

/*
 * Appends <delay xmlns='urn:xmpp:delay' from='FROM' stamp='STAMP'/> (XEP-0203).
 * stamp: seconds since 1970-01-01T00:00Z, within the years 0 to 9999, else PN_EINVAL.
 */
int pn_stanza_delay(struct pn_buf *out, struct pn_str from, int64_t stamp);

/* ---- Decoder ---- */

/*
 * Tokens in document order, written with pn/wire.h. Every START is followed by its ATTRs, which
 * include "xmlns" if Prosody's stream parser sets it. Adjacent text is one TEXT.
 *
 *      START  u8 1  bytes name
 *      ATTR   u8 2  bytes key     bytes value
 *      TEXT   u8 3  bytes text
 *      END    u8 4
 *      XMLNS  u8 5                               replaces ATTR "xmlns": the same as the parent's
 */
enum pn_token {
	PN_TOKEN_START = 1,
	PN_TOKEN_ATTR = 2,
	PN_TOKEN_TEXT = 3,
	PN_TOKEN_END = 4,
	PN_TOKEN_XMLNS = 5,
};

/* The most that a stanza may have; 0: the maximum. */
struct pn_decode_limits {
	size_t bytes;      /* of XML; at most PN_STANZA_MAX_BYTES */
	uint32_t depth;    /* at most PN_STANZA_MAX_DEPTH */
	uint32_t elements; /* at most PN_STANZA_MAX_ELEMENTS */
};

/*
 * Decodes exactly one element as a child of a stream with the default namespace jabber:client and
 * the prefix "stream" (RFC 6120, section 4.8). An element of jabber:client has no xmlns, unless it
 * is inside an element of another namespace. An attribute with a namespace is "ns\1name"; those of
 * the namespace xml keep their prefix.
 *
 * Appends tokens to out; after an error the appended bytes are undefined. Returns 0, PN_ENOMEM,
 * PN_EXML, PN_ERESTRICTED, PN_ESIZE, PN_EDEPTH or PN_EELEMENTS. PN_ESIZE also if the tokens take
 * more than twice PN_STANZA_MAX_BYTES: many attributes can share one long namespace. If expat runs
 * out of memory, it may report an unbound prefix: then the result is PN_EXML instead of PN_ENOMEM.
 */
int pn_stanza_decode(struct pn_buf *out, struct pn_str xml, struct pn_decode_limits limits);

/*
 * Decodes a document as Prosody's util.xml does, with which mod_storage_sql reads stanzas: there is
 * no stream around it; every element with a namespace has its xmlns, and no token is an XMLNS; all
 * attributes of the namespace xml keep their prefix. An XML declaration is PN_ERESTRICTED, because
 * it may name an encoding. Otherwise as above, without limits but the maxima.
 */
int pn_stanza_decode_document(struct pn_buf *out, struct pn_str xml);

/* ---- Names and text, as strictly as XML 1.0 ---- */

/* Whether every character is one of XML 1.0: UTF-8, no control character but \t, \n and \r, and
 * neither U+FFFE nor U+FFFF. */
bool pn_stanza_is_text(struct pn_str text);

/* Whether a name is not empty, is text, and has none of < > & ' " and white space. "ns\1name" is a
 * name only if `attribute` is set. */
bool pn_stanza_is_name(struct pn_str name, bool attribute);

#endif
