/*
 * Positions of the parts of a certificate in its encoding (RFC 5280 section 4.1). Digests of the
 * certificate and of its key, and its names, need only these. Decoding by OpenSSL 3 takes
 * hundreds of times longer, most of it for the key, so chain.c delays it.
 *
 * Both must find the same elements in the same fields: elements of indefinite length, or out of
 * order, are rejected here.
 */
#include "cert.h"

/* Tags of optional fields. */
enum { VERSION = 0, ISSUER_ID = 1, SUBJECT_ID = 2, EXTENSIONS = 3 };

/* An element with its header, and its content. */
struct element {
	struct pn_str whole, content;
};

/* Removes the next element from *from. Returns false, and removes nothing, if it does not have this
 * class and tag, or is malformed. */
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

/* Unique identifiers and extensions; false if anything else follows. */
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
