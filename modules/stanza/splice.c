/* Adding a child to an encoded stanza, and the <delay/> that is added most. */
#include <string.h>

#include <pn/err.h>
#include <pn/stanza.h>

#include "escape.h"
#include "stamp.h"

/* The name of the root: from its '<' to the first white space, '/' or '>'. */
static struct pn_str root_name(struct pn_str xml) {
	size_t end = 1;
	while (end < xml.len && strchr(" \t\r\n/>", xml.bytes[end]) == NULL)
		end++;
	return (struct pn_str){xml.bytes + 1, end - 1};
}

static void append(struct pn_buf *out, struct pn_str str) {
	pn_buf_append(out, str.bytes, str.len);
}

/* Whether xml from `splice` on is exactly the end of the root. Sets *childless if that is "/>". */
static bool is_root_end(struct pn_str xml, size_t splice, bool *childless) {
	if (xml.len < 4 || splice < 2 || splice > xml.len - 2)
		return false;
	const char *end = xml.bytes + splice;
	const size_t len = xml.len - splice;
	const struct pn_str name = root_name(xml);
	if (xml.bytes[0] != '<' || name.len == 0 || splice <= name.len)
		return false;
	*childless = len == 2 && memcmp(end, "/>", 2) == 0;
	return *childless || (len == name.len + 3 && memcmp(end, "</", 2) == 0 &&
			      memcmp(end + 2, name.bytes, name.len) == 0);
}

int pn_stanza_splice(struct pn_buf *out, struct pn_str xml, size_t splice, struct pn_str child) {
	bool childless;
	if (!is_root_end(xml, splice, &childless))
		return PN_EINVAL;
	pn_buf_append(out, xml.bytes, splice);
	pn_buf_append(out, ">", childless ? 1 : 0);
	append(out, child);
	pn_buf_append(out, "</", 2);
	append(out, root_name(xml));
	pn_buf_append(out, ">", 1);
	return out->err;
}

int pn_stanza_delay(struct pn_buf *out, struct pn_str from, int64_t stamp) {
	static const struct pn_str head = {"<delay xmlns='urn:xmpp:delay' from='", 36};
	static const struct pn_str middle = {"' stamp='", 9};
	char text[PN_STAMP_SIZE];
	struct pn_str time;
	const int err = pn_stamp(stamp, PN_STAMP_WHOLE, text, &time);
	if (err != PN_OK)
		return err;
	append(out, head);
	pn_escape(out, from);
	append(out, middle);
	append(out, time);
	pn_buf_append(out, "'/>", 3);
	return out->err;
}
