/*
 * Where the parts of a certificate stand in its encoding (RFC 5280 section 4.1). Most of what is
 * asked of a certificate is about bytes: digests of it and of its key, its names. OpenSSL decodes
 * all of it at once, the key with great effort, so only what needs that waits for it.
 *
 * OpenSSL takes the same elements for the same fields: whatever is not of definite length, or not
 * where it belongs, is refused here.
 */
#include "cert.h"

enum { VERSION = 0, ISSUER_ID = 1, SUBJECT_ID = 2, EXTENSIONS = 3 }; /* their tags */

/* An element with its head, and what it holds. */
struct element {
	struct pn_str whole, content;
};

/* Takes the next element off *from if it has this class and tag. False: it has not, or is none. */
static bool take(struct pn_str *from, int class, int tag, struct element *element) {
	const unsigned char *const start = (const unsigned char *)from->bytes;
	const unsigned char *at = start;
	long len;
	int found_tag, found_class;
	if (from->len == 0)
		return false;
	const int form = ASN1_get_object(&at, &len, &found_tag, &found_class, (long)from->len);
	const bool indefinite_or_bad = (form & ~V_ASN1_CONSTRUCTED) != 0;
	if (indefinite_or_bad || found_class != class || found_tag != tag)
		return false;
	const size_t size = (size_t)(at - start) + (size_t)len;
	element->content = (struct pn_str){(const char *)at, (size_t)len};
	element->whole = (struct pn_str){from->bytes, size};
	*from = (struct pn_str){from->bytes + size, from->len - size};
	return true;
}

static bool skip(struct pn_str *from, int class, int tag) {
	struct element ignored;
	return take(from, class, tag, &ignored);
}

static bool take_sequence(struct pn_str *from, struct element *element) {
	return take(from, V_ASN1_UNIVERSAL, V_ASN1_SEQUENCE, element);
}

static bool skip_sequences(struct pn_str *from, int count) {
	struct element ignored;
	bool found = true;
	while (found && count-- > 0)
		found = take_sequence(from, &ignored);
	return found;
}

/* Version, serial number; algorithm, issuer, validity, subject */
static bool skip_to_key(struct pn_str *fields) {
	skip(fields, V_ASN1_CONTEXT_SPECIFIC, VERSION);
	return skip(fields, V_ASN1_UNIVERSAL, V_ASN1_INTEGER) && skip_sequences(fields, 4);
}

/* Unique identifiers, extensions, and nothing more. */
static bool take_rest(struct pn_str *fields, struct pn_str *extensions) {
	struct element element = {.content = {"", 0}};
	skip(fields, V_ASN1_CONTEXT_SPECIFIC, ISSUER_ID);
	skip(fields, V_ASN1_CONTEXT_SPECIFIC, SUBJECT_ID);
	take(fields, V_ASN1_CONTEXT_SPECIFIC, EXTENSIONS, &element);
	*extensions = element.content;
	return fields->len == 0;
}

bool pn_der_find(struct pn_str der, struct pn_der_parts *parts) {
	struct pn_str rest = der;
	struct element cert, signed_part, key;
	if (der.len > PN_DER_MAX || !take_sequence(&rest, &cert) || rest.len > 0)
		return false;
	if (!take_sequence(&cert.content, &signed_part) || !skip_to_key(&signed_part.content) ||
	    !take_sequence(&signed_part.content, &key) ||
	    !take_rest(&signed_part.content, &parts->extensions))
		return false;
	parts->encoding[PN_TLSA_CERT] = der;
	parts->encoding[PN_TLSA_SPKI] = key.whole;
	return true;
}
