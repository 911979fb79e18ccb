/*
 * Packed stanzas: the form in which they are stored. The tokens of pn/stanza.h with short strings:
 * reading one does not need an XML parser.
 *
 *      packed    u8 1, then tokens: exactly one element
 *      START     u8 1  string name
 *      ATTR      u8 2  string key  string value       directly after START or another ATTR
 *      TEXT      u8 3  string text
 *      END       u8 4
 *
 *      string    1xxxxxxx                             word x of the dictionary
 *                00llllll               bytes         l bytes
 *                01llllll llllllll x3   bytes         l bytes, most significant first
 *
 * The dictionary (pack.c) is part of the format: words may be added at its end, but not changed.
 */
#ifndef PN_PACK_H
#define PN_PACK_H

#include <stdint.h>

#include <pn/buf.h>
#include <pn/stanza.h>
#include <pn/wire.h>

enum {
	PN_PACK_VERSION = 1,
	PN_PACK_WORDS = 122, /* in the dictionary */
};

/* Appends one stanza to `out`. Errors are sticky. */
struct pn_pack {
	struct pn_buf *out; /* borrowed */
	size_t begin;       /* offset of the stanza in out */
	uint32_t depth;     /* number of open elements */
	int err;
};

/* Calls come in document order, as for struct pn_encoder. */
void pn_pack_init(struct pn_pack *pack, struct pn_buf *out);
void pn_pack_start(struct pn_pack *pack, struct pn_str name);
void pn_pack_attr(struct pn_pack *pack, struct pn_str key, struct pn_str value);
void pn_pack_text(struct pn_pack *pack, struct pn_str text);
void pn_pack_end(struct pn_pack *pack);

/* Returns 0, PN_ENOMEM, PN_ESIZE or PN_EDEPTH (the limits of pn/stanza.h). */
int pn_pack_error(const struct pn_pack *pack);

/*
 * Appends the stanza that an XML document is: see pn_stanza_decode_document(), also for errors.
 * PN_EXML also for a name that pn_stanza_is_name() refuses.
 * After an error the appended bytes are undefined.
 */
int pn_pack_document(struct pn_buf *out, struct pn_str xml);

/*
 * Checks the whole of `packed`, and sets *tokens to a cursor at its first token. Returns 0,
 * PN_EVERSION or PN_ECORRUPT. The functions below are for tokens that were checked.
 */
int pn_unpack(struct pn_str packed, struct pn_wire *tokens);

/*
 * Reads a string and sets *str, which is borrowed from the packed bytes or the dictionary. Returns
 * its index in the dictionary, or -1 if it is not a word of it.
 */
int pn_unpack_string(struct pn_wire *tokens, struct pn_str *str);

/* Word `index` of the dictionary, 0 to PN_PACK_WORDS - 1. Static storage. */
struct pn_str pn_pack_word(int index);

#endif
