/*
 * Stanzas as bytes: an encoder that is told of elements, attributes and text, and a decoder that
 * turns XML into tokens for the same. Neither knows Lua; neither keeps anything between two
 * stanzas.
 *
 * An encoded stanza is its XML (RFC 6120) and one offset:
 *
 *      <message to='a@b'><body>hi</body></message>        <presence to='a@b'/>
 *                                       ^ splice                            ^ splice
 *
 * At `splice` the root element's end begins: "</name>", or "/>" where it has no children. A child
 * can be added there without parsing.
 */
#ifndef PN_STANZA_H
#define PN_STANZA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pn/buf.h>
#include <pn/str.h>

/* ---- Encoder ---- */

/* The most that the encoder writes and the decoder reads. */
enum {
	PN_STANZA_MAX_BYTES = 64 * 1024 * 1024,
	PN_STANZA_MAX_DEPTH = 100000,     /* of nested elements, the root being 1 */
	PN_STANZA_MAX_ELEMENTS = 5000000, /* decoder only */
};

struct pn_element; /* an open element */

/*
 * Writes what tostring() of a Prosody stanza writes: the same escaping (' " < > & in text and in
 * attributes alike), xmlns left out where it repeats the parent's own, an attribute "ns\1name" as
 * a prefix declared on the spot. One thing it does not write, which is no XML: another prefix for,
 * or a default of, the namespace that belongs to the prefix xml. Names are written as they are, as
 * tostring() does; text and attribute values may be any bytes.
 *
 * Calls come in document order: start, its attrs, then text and further elements, end.
 * Errors are sticky in `err`; pn_encoder_finish() gives the first.
 */
struct pn_encoder {
	struct pn_buf *out;          /* borrowed; appended to */
	size_t begin;                /* where the stanza begins in it */
	struct pn_element *elements; /* owned: the stack of open elements */
	size_t depth;                /* open elements */
	size_t cap;                  /* elements allocated */
	size_t splice;               /* offset in the stanza; valid once the root has ended */
	bool tag_open;               /* the last start tag may still get attributes */
	bool delayed;                /* the root has a child <delay xmlns='urn:xmpp:delay'/> */
	int err;
};

void pn_encoder_init(struct pn_encoder *enc, struct pn_buf *out);
void pn_encoder_start(struct pn_encoder *enc, struct pn_str name);
void pn_encoder_attr(struct pn_encoder *enc, struct pn_str key, struct pn_str value);
void pn_encoder_text(struct pn_encoder *enc, struct pn_str text);
void pn_encoder_end(struct pn_encoder *enc);

/*
 * Frees the stack; safe to call again, and on an encoder that is all zero.
 * Returns 0, PN_ENOMEM, PN_ESIZE, PN_EDEPTH, or PN_EINVAL if elements are open, none was started,
 * or calls came out of order.
 */
int pn_encoder_finish(struct pn_encoder *enc);

/*
 * Appends the stanza `xml` to out with `child` (bytes of XML) added as the root's last child.
 * Returns 0, PN_ENOMEM, or PN_EINVAL if no end of a root element begins at `splice`.
 */
int pn_stanza_splice(struct pn_buf *out, struct pn_str xml, size_t splice, struct pn_str child);

/*
 * Appends <delay xmlns='urn:xmpp:delay' from='FROM' stamp='STAMP'/> (XEP-0203).
 * stamp: seconds since 1970-01-01T00:00Z, within the years 0 to 9999, else PN_EINVAL.
 */
int pn_stanza_delay(struct pn_buf *out, struct pn_str from, int64_t stamp);

/* ---- Decoder ---- */

/*
 * Tokens in document order, written with pn/wire.h. Every START is followed by its ATTRs, among
 * them "xmlns" where Prosody's stream parser sets one. Adjacent text is one TEXT.
 *
 *      START  u8 1  bytes name
 *      ATTR   u8 2  bytes key     bytes value
 *      TEXT   u8 3  bytes text
 *      END    u8 4
 *      XMLNS  u8 5                               in the place of ATTR "xmlns": as the parent's
 */
enum pn_token {
	PN_TOKEN_START = 1,
	PN_TOKEN_ATTR = 2,
	PN_TOKEN_TEXT = 3,
	PN_TOKEN_END = 4,
	PN_TOKEN_XMLNS = 5,
};

/* 0 means the maximum. Reaching a limit is allowed, passing it is not. */
struct pn_decode_limits {
	size_t bytes;      /* of XML, at most PN_STANZA_MAX_BYTES */
	uint32_t depth;    /* at most PN_STANZA_MAX_DEPTH */
	uint32_t elements; /* at most PN_STANZA_MAX_ELEMENTS */
};

/*
 * Decodes exactly one element, read as the child of a stream with the default namespace
 * jabber:client and the prefix "stream" (RFC 6120, section 4.8): an element of jabber:client
 * carries no xmlns unless it is inside an element of another namespace, an attribute of a namespace
 * is "ns\1name", and those of the xml: namespace keep their prefix.
 *
 * Appends tokens to out. Returns 0, PN_ENOMEM, PN_EXML, PN_ERESTRICTED, PN_ESIZE, PN_EDEPTH or
 * PN_EELEMENTS (PN_ESIZE also if the tokens of a long namespace's attributes would take more than
 * twice PN_STANZA_MAX_BYTES); after a failure what was appended is meaningless. Without memory,
 * expat may call a prefix unbound: then PN_EXML stands for PN_ENOMEM.
 */
int pn_stanza_decode(struct pn_buf *out, struct pn_str xml, struct pn_decode_limits limits);

#endif
