/* Packed stanzas: the dictionary, the writer and the reader. */
#include <string.h>

#include <pn/err.h>
#include <pn/pack.h>

/*
 * The dictionary: the most frequent strings of messages and PEP items, sorted by length, so that a
 * string is compared to the few words of its length only.
 */
enum { LONGEST = 39 }; /* bytes of the longest word */

static const char *const WORDS[PN_PACK_WORDS] = {
	"p",
	"x",
	"by",
	"en",
	"id",
	"iq",
	"iv",
	"to",
	"end",
	"for",
	"jid",
	"kex",
	"key",
	"rid",
	"sid",
	"uri",
	"url",
	"var",
	"body",
	"chat",
	"code",
	"data",
	"form",
	"from",
	"gone",
	"href",
	"html",
	"item",
	"keys",
	"lang",
	"list",
	"name",
	"node",
	"span",
	"true",
	"type",
	"OMEMO",
	"begin",
	"delay",
	"error",
	"event",
	"false",
	"field",
	"items",
	"photo",
	"query",
	"stamp",
	"start",
	"store",
	"value",
	"xmlns",
	"active",
	"anchor",
	"device",
	"fasten",
	"header",
	"hidden",
	"markup",
	"normal",
	"paused",
	"prekey",
	"result",
	"thread",
	"devices",
	"message",
	"no-copy",
	"payload",
	"publish",
	"replace",
	"request",
	"retract",
	"storage",
	"subject",
	"apply-to",
	"fallback",
	"headline",
	"inactive",
	"markable",
	"metadata",
	"no-store",
	"presence",
	"reaction",
	"received",
	"xml:lang",
	"composing",
	"displayed",
	"encrypted",
	"groupchat",
	"namespace",
	"origin-id",
	"reactions",
	"reference",
	"stanza-id",
	"encryption",
	"occupant-id",
	"jabber:x:oob",
	"jabber:client",
	"jabber:x:data",
	"urn:xmpp:delay",
	"urn:xmpp:eme:0",
	"urn:xmpp:hints",
	"urn:xmpp:sid:0",
	"urn:xmpp:omemo:2",
	"urn:xmpp:reply:0",
	"urn:xmpp:receipts",
	"jabber:x:conference",
	"urn:xmpp:fallback:0",
	"urn:xmpp:reactions:0",
	"urn:xmpp:reference:0",
	"urn:xmpp:occupant-id:0",
	"urn:xmpp:chat-markers:0",
	"urn:xmpp:avatar:metadata",
	"urn:xmpp:jingle-message:0",
	"urn:xmpp:message-correct:0",
	"urn:xmpp:message-retract:1",
	"http://www.w3.org/1999/xhtml",
	"eu.siacs.conversations.axolotl",
	"http://jabber.org/protocol/pubsub",
	"http://jabber.org/protocol/muc#user",
	"http://jabber.org/protocol/xhtml-im",
	"http://jabber.org/protocol/chatstates",
	"http://jabber.org/protocol/pubsub#event",
};

/* FIRST[l]: index of the first word of at least l bytes. Test: "pack: ...". */
static const unsigned char FIRST[LONGEST + 2] = {
	0,   0,   2,   8,   18,  36,  51,  63,  73,  84,  93,  94,  95,  96,
	98,  102, 102, 104, 105, 105, 107, 109, 109, 110, 111, 112, 113, 115,
	115, 116, 116, 117, 117, 117, 118, 118, 120, 120, 121, 121, 122,
};

enum {
	WORD = 0x80,           /* flag in the first byte: a word of the dictionary */
	LONG = 0x40,           /* flag: the length has four bytes */
	SHORT_MAX = LONG - 1,  /* longest string whose length has one byte */
	LONG_MAX = 0x3fffffff, /* longest string: 30 bits */
};

struct pn_str pn_pack_word(int index) {
	return (struct pn_str){WORDS[index], strlen(WORDS[index])};
}

/* The index of the string in the dictionary, or -1. */
static int find_word(struct pn_str str) {
	if (str.len > LONGEST)
		return -1;
	for (int i = FIRST[str.len]; i < FIRST[str.len + 1]; i++) {
		if (memcmp(WORDS[i], str.bytes, str.len) == 0)
			return i;
	}
	return -1;
}

/* ---- Writing ---- */

void pn_pack_init(struct pn_pack *pack, struct pn_buf *out) {
	*pack = (struct pn_pack){.out = out, .begin = out->len};
	pn_wire_put_u8(out, PN_PACK_VERSION);
}

static void put_string(struct pn_pack *pack, struct pn_str str) {
	const int word = find_word(str);
	if (word >= 0) {
		pn_wire_put_u8(pack->out, (uint8_t)(WORD | word));
		return;
	}
	if (str.len > LONG_MAX || pack->out->len - pack->begin + str.len > PN_STANZA_MAX_BYTES) {
		pack->err = PN_ESIZE;
		return;
	}
	if (str.len <= SHORT_MAX)
		pn_wire_put_u8(pack->out, (uint8_t)str.len);
	else
		pn_wire_put_u32(pack->out, (uint32_t)LONG << 24 | (uint32_t)str.len);
	pn_buf_append(pack->out, str.bytes, str.len);
}

void pn_pack_start(struct pn_pack *pack, struct pn_str name) {
	if (++pack->depth > PN_STANZA_MAX_DEPTH)
		pack->err = PN_EDEPTH;
	pn_wire_put_u8(pack->out, PN_TOKEN_START);
	put_string(pack, name);
}

void pn_pack_attr(struct pn_pack *pack, struct pn_str key, struct pn_str value) {
	pn_wire_put_u8(pack->out, PN_TOKEN_ATTR);
	put_string(pack, key);
	put_string(pack, value);
}

void pn_pack_text(struct pn_pack *pack, struct pn_str text) {
	pn_wire_put_u8(pack->out, PN_TOKEN_TEXT);
	put_string(pack, text);
}

void pn_pack_end(struct pn_pack *pack) {
	pack->depth--;
	pn_wire_put_u8(pack->out, PN_TOKEN_END);
}

int pn_pack_error(const struct pn_pack *pack) {
	return pack->err != PN_OK ? pack->err : pack->out->err;
}

/* ---- Reading ---- */

int pn_unpack_string(struct pn_wire *tokens, struct pn_str *str) {
	const uint8_t first = pn_wire_u8(tokens);
	if (first & WORD) {
		const int word = first & ~WORD;
		if (word >= PN_PACK_WORDS) {
			tokens->err = PN_ECORRUPT;
			*str = (struct pn_str){"", 0};
			return -1;
		}
		*str = pn_pack_word(word);
		return word;
	}
	size_t len = first;
	if (first & LONG) {
		len = (size_t)(first & SHORT_MAX) << 24 | (size_t)pn_wire_u8(tokens) << 16;
		len |= (size_t)pn_wire_u8(tokens) << 8;
		len |= pn_wire_u8(tokens);
	}
	const char *bytes = pn_wire_take(tokens, len);
	*str = bytes != NULL ? (struct pn_str){bytes, len} : (struct pn_str){"", 0};
	return -1;
}

/* Whether `token` may follow the token `before` (0: none) at this depth. */
static int check_token(uint8_t token, uint8_t before, uint32_t depth) {
	switch (token) {
	case PN_TOKEN_START:
		return depth > 0 || before == 0;
	case PN_TOKEN_ATTR:
		return before == PN_TOKEN_START || before == PN_TOKEN_ATTR;
	case PN_TOKEN_TEXT:
	case PN_TOKEN_END:
		return depth > 0;
	default:
		return 0;
	}
}

int pn_unpack(struct pn_str packed, struct pn_wire *tokens) {
	struct pn_wire wire = pn_wire_open(packed.bytes, packed.len);
	const uint8_t version = pn_wire_u8(&wire);
	if (version != PN_PACK_VERSION)
		return version > PN_PACK_VERSION ? PN_EVERSION : PN_ECORRUPT;
	const struct pn_wire start = wire;
	uint32_t depth = 0;
	uint8_t before = 0;
	while (wire.left > 0) {
		struct pn_str str;
		const uint8_t token = pn_wire_u8(&wire);
		if (!check_token(token, before, depth))
			return PN_ECORRUPT;
		if (token == PN_TOKEN_START && ++depth > PN_STANZA_MAX_DEPTH)
			return PN_ECORRUPT;
		if (token == PN_TOKEN_END)
			depth--;
		else
			(void)pn_unpack_string(&wire, &str);
		if (token == PN_TOKEN_ATTR)
			(void)pn_unpack_string(&wire, &str);
		if (wire.err != PN_OK)
			return PN_ECORRUPT;
		before = token;
	}
	if (depth != 0 || before != PN_TOKEN_END)
		return PN_ECORRUPT;
	*tokens = start;
	return PN_OK;
}
