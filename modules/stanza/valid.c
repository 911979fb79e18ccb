/* Which strings are names and text. */
#include <string.h>

#include <pn/stanza.h>

enum { SEPARATOR = '\1' }; /* between namespace and local name of an attribute */

/* Reads the continuation bytes of a character whose first byte is `first`. Returns the bytes of the
 * character, or 0 if it is not one of XML. */
static size_t wide(const unsigned char *at, size_t left, unsigned char first) {
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
	if (first < 0xc2 || first > 0xf4 || len > left)
		return 0;
	uint32_t code = first & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (at[i] & 0x3fu);
	}
	const bool surrogate = code >= 0xd800 && code < 0xe000;
	if (code < least[len] || code > 0x10ffff || surrogate || code == 0xfffe || code == 0xffff)
		return 0;
	return len;
}

bool pn_stanza_is_text(struct pn_str text) {
	const unsigned char *at = (const unsigned char *)text.bytes;
	for (size_t left = text.len; left > 0;) {
		size_t len = 1;
		if (*at >= 0x80)
			len = wide(at, left, *at);
		else if (*at < 0x20 && *at != '\t' && *at != '\n' && *at != '\r')
			len = 0;
		if (len == 0)
			return false;
		at += len;
		left -= len;
	}
	return true;
}

/* Whether a part of a name has characters only that may be there. */
static bool is_plain(struct pn_str part) {
	for (size_t i = 0; i < part.len; i++) {
		if (strchr("<>&'\" \t\n\r", part.bytes[i]) != NULL)
			return false;
	}
	return pn_stanza_is_text(part);
}

bool pn_stanza_is_name(struct pn_str name, bool attribute) {
	const char *separator = attribute ? memchr(name.bytes, SEPARATOR, name.len) : NULL;
	const size_t head = separator != NULL ? (size_t)(separator - name.bytes) : name.len;
	if (separator == NULL)
		return name.len > 0 && is_plain(name);
	const struct pn_str local = {separator + 1, name.len - head - 1};
	return head > 0 && local.len > 0 && is_plain((struct pn_str){name.bytes, head}) &&
	       is_plain(local);
}
