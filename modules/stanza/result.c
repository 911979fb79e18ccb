/* Results of archive queries: packed stanzas, wrapped as XML. */
#include <math.h>
#include <string.h>

#include <pn/err.h>
#include <pn/pack.h>
#include <pn/result.h>

#include "stamp.h"

enum { MICROSECONDS = 1000000 };

static struct pn_str literal(const char *text) {
	return (struct pn_str){text, strlen(text)};
}

static void put_attr(struct pn_encoder *enc, const char *name, struct pn_str value) {
	if (value.bytes != NULL)
		pn_encoder_attr(enc, literal(name), value);
}

static void start(struct pn_encoder *enc, const char *name, const char *xmlns) {
	pn_encoder_start(enc, literal(name));
	pn_encoder_attr(enc, literal("xmlns"), literal(xmlns));
}

/* As util.datetime: whole seconds have no fraction, others are truncated to microseconds. */
static int put_delay(struct pn_encoder *enc, double when, bool whole_seconds) {
	char text[PN_STAMP_SIZE];
	struct pn_str stamp;
	const double second = floor(when);
	const bool whole = whole_seconds || when == second;
	const int micros = whole ? PN_STAMP_WHOLE : (int)((when - second) * MICROSECONDS);
	if (!(fabs(second) < 1e15))
		return PN_EINVAL;
	const int err = pn_stamp((int64_t)second, micros, text, &stamp);
	if (err != PN_OK)
		return err;
	start(enc, "delay", "urn:xmpp:delay");
	put_attr(enc, "stamp", stamp);
	pn_encoder_end(enc);
	return PN_OK;
}

static bool is_named(struct pn_str key, const char *name) {
	return key.len == strlen(name) && memcmp(key.bytes, name, key.len) == 0;
}

/* Appends an attribute, unless it is one of the root that is left out. Its namespace is given. */
static void put_packed_attr(struct pn_encoder *enc, struct pn_wire *tokens, bool is_root,
			    bool without_to) {
	struct pn_str key, value;
	(void)pn_unpack_string(tokens, &key);
	(void)pn_unpack_string(tokens, &value);
	if (is_root && (is_named(key, "xmlns") || (without_to && is_named(key, "to"))))
		return;
	pn_encoder_attr(enc, key, value);
}

static void put_packed_start(struct pn_encoder *enc, struct pn_wire *tokens, bool is_root) {
	struct pn_str name;
	(void)pn_unpack_string(tokens, &name);
	pn_encoder_start(enc, name);
	if (is_root)
		pn_encoder_attr(enc, literal("xmlns"), literal("jabber:client"));
}

static void put_packed(struct pn_encoder *enc, struct pn_wire tokens, bool without_to) {
	struct pn_str text;
	uint32_t depth = 0;
	while (tokens.left > 0) {
		switch ((enum pn_token)pn_wire_u8(&tokens)) {
		case PN_TOKEN_START:
			put_packed_start(enc, &tokens, depth++ == 0);
			break;
		case PN_TOKEN_ATTR:
			put_packed_attr(enc, &tokens, depth == 1, without_to);
			break;
		case PN_TOKEN_TEXT:
			(void)pn_unpack_string(&tokens, &text);
			pn_encoder_text(enc, text);
			break;
		case PN_TOKEN_END:
			depth--;
			pn_encoder_end(enc);
			break;
		case PN_TOKEN_XMLNS: /* not in packed stanzas */
			break;
		}
	}
}

static int put_result(struct pn_encoder *enc, const struct pn_result *result) {
	struct pn_wire tokens;
	int err = pn_unpack(result->stanza, &tokens);
	if (err != PN_OK)
		return err;
	pn_encoder_start(enc, literal("message"));
	put_attr(enc, "to", result->to);
	put_attr(enc, "from", result->from);
	start(enc, "result", "urn:xmpp:mam:2");
	put_attr(enc, "queryid", result->query);
	put_attr(enc, "id", result->id);
	start(enc, "forwarded", "urn:xmpp:forward:0");
	err = put_delay(enc, result->when, result->whole_seconds);
	if (err != PN_OK)
		return err;
	put_packed(enc, tokens, result->without_to);
	for (int open = 0; open < 3; open++)
		pn_encoder_end(enc);
	return PN_OK;
}

int pn_result_encode(struct pn_buf *out, const struct pn_result *result) {
	struct pn_encoder enc;
	pn_encoder_init(&enc, out);
	const int err = put_result(&enc, result);
	const int finished = pn_encoder_finish(&enc);
	return err != PN_OK ? err : finished;
}
