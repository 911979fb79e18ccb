/* Domain names, and matching of presented with reference identifiers: RFC 9525 section 6. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <idn2.h>
#include <libpsl.h>

#include <pn/alloc.h>

#include "cert.h"

enum { LABEL_MAX = 63, UNICODE_MAX = 4 * PN_DOMAIN_MAX, SERVICE_MAX = 32 };

struct pn_reference {
	char domain[PN_DOMAIN_MAX + 1]; /* A-labels in small letters, or an IP address */
	bool is_ip;
	char service[SERVICE_MAX]; /* without its underscore */
};

/* ---- Domain names ---- */

static char lower(char c) {
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_label_byte(char c) {
	c = lower(c);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static const char *labels_fault(const char *at, size_t left) {
	size_t label = 0;
	for (; left > 0; at++, left--) {
		if (*at == '.' && label == 0)
			return "it has an empty label";
		label = *at == '.' ? 0 : label + 1;
		if (label > LABEL_MAX)
			return "it has a label of more than 63 bytes";
		if (*at == '*')
			return "\"*\" is allowed only as the whole left-most label";
		if ((unsigned char)*at >= 0x80)
			return "it is not written in A-labels";
		if (*at != '.' && !is_label_byte(*at))
			return "it has bytes that are not allowed in a domain name";
	}
	return label == 0 ? "it ends in a dot" : NULL;
}

/* Whether anybody may register names directly below the domain: then nobody owns all of them. */
static bool is_public(const char *domain, size_t len) {
	char name[PN_DOMAIN_MAX + 1];
	for (size_t i = 0; i < len; i++)
		name[i] = lower(domain[i]);
	name[len] = '\0';
	return psl_is_public_suffix2(psl_builtin(), name, PSL_TYPE_ICANN) != 0;
}

const char *pn_domain_fault(struct pn_str domain, bool wildcard) {
	if (domain.len == 0)
		return "it is empty";
	if (memchr(domain.bytes, '\0', domain.len) != NULL)
		return "it has a NUL byte";
	if (domain.len > PN_DOMAIN_MAX)
		return "it has more than 253 bytes";
	if (!wildcard || domain.len < 3 || strncmp(domain.bytes, "*.", 2) != 0)
		return labels_fault(domain.bytes, domain.len);
	const char *fault = labels_fault(domain.bytes + 2, domain.len - 2);
	if (fault == NULL && is_public(domain.bytes + 2, domain.len - 2))
		return "the wildcard matches every name below a public suffix";
	return fault;
}

bool pn_domain_ascii(struct pn_str domain, char ascii[PN_DOMAIN_MAX + 1]) {
	char unicode[UNICODE_MAX + 1];
	uint8_t *converted = NULL;
	bool is_ascii = true;
	if (domain.len == 0 || domain.len > UNICODE_MAX ||
	    memchr(domain.bytes, '\0', domain.len) != NULL)
		return false;
	memcpy(unicode, domain.bytes, domain.len);
	unicode[domain.len] = '\0';
	for (size_t i = 0; i < domain.len; i++)
		is_ascii = is_ascii && (unsigned char)unicode[i] < 0x80;
	if (!is_ascii && idn2_lookup_u8((const uint8_t *)unicode, &converted,
					IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		return false;
	const char *name = is_ascii ? unicode : (const char *)converted;
	const size_t len = strlen(name);
	const bool good = pn_domain_fault((struct pn_str){name, len}, false) == NULL;
	for (size_t i = 0; good && i <= len; i++)
		ascii[i] = lower(name[i]);
	idn2_free(converted);
	return good;
}

bool pn_domain_is_idna(const char *ascii) {
	char back[PN_DOMAIN_MAX + 1];
	char *unicode = NULL;
	if (strstr(ascii, "xn--") == NULL)
		return true;
	if (idn2_to_unicode_8z8z(ascii, &unicode, 0) != IDN2_OK)
		return false;
	const bool good = pn_domain_ascii((struct pn_str){unicode, strlen(unicode)}, back) &&
			  strcmp(back, ascii) == 0;
	idn2_free(unicode);
	return good;
}

/* ---- References ---- */

/* Writes the canonical text of an address, which may have brackets around it. */
static bool read_ip(struct pn_str text, char out[PN_DOMAIN_MAX + 1]) {
	char copy[INET6_ADDRSTRLEN];
	unsigned char address[16];
	if (text.len > 2 && text.bytes[0] == '[' && text.bytes[text.len - 1] == ']') {
		text.bytes++;
		text.len -= 2;
	}
	if (text.len >= sizeof(copy) || memchr(text.bytes, '\0', text.len) != NULL)
		return false;
	memcpy(copy, text.bytes, text.len);
	copy[text.len] = '\0';
	for (int i = 0; i < 2; i++) {
		const int family = i == 0 ? AF_INET : AF_INET6;
		if (inet_pton(family, copy, address) == 1)
			return inet_ntop(family, address, out, INET6_ADDRSTRLEN) != NULL;
	}
	return false;
}

int pn_reference_new(struct pn_reference **reference, struct pn_str domain, struct pn_str service) {
	if (service.len > 0 && service.bytes[0] == '_') {
		service.bytes++;
		service.len--;
	}
	if (service.len == 0 || service.len >= SERVICE_MAX)
		return PN_EINVAL;
	if (domain.len > 0 && domain.bytes[domain.len - 1] == '.')
		domain.len--;
	struct pn_reference *made = pn_malloc(sizeof(*made));
	if (made == NULL)
		return PN_ENOMEM;
	memset(made, 0, sizeof(*made));
	memcpy(made->service, service.bytes, service.len);
	made->is_ip = read_ip(domain, made->domain);
	if (!made->is_ip && !pn_domain_ascii(domain, made->domain)) {
		pn_free(made);
		return PN_EINVAL;
	}
	*reference = made;
	return PN_OK;
}

void pn_reference_free(struct pn_reference *reference) {
	pn_free(reference);
}

/* ---- Matching ---- */

static bool same(struct pn_str presented, const char *domain) {
	return presented.len == strlen(domain) &&
	       strncasecmp(presented.bytes, domain, presented.len) == 0;
}

static bool matches_domain(struct pn_str presented, const struct pn_reference *reference,
			   const char **reason) {
	*reason = "it is another domain";
	if (reference->is_ip) {
		*reason = "the reference is an IP address, not a domain";
		return false;
	}
	if (same(presented, reference->domain)) {
		*reason = "it is the domain";
		return true;
	}
	const char *dot = strchr(reference->domain, '.');
	if (presented.bytes[0] != '*' || dot == NULL)
		return false;
	const struct pn_str parent = {presented.bytes + 2, presented.len - 2};
	*reason = "the wildcard matches the left-most label";
	if (same(parent, dot + 1))
		return true;
	*reason = "the wildcard matches one label below another domain";
	return false;
}

static bool matches_srv(struct pn_str presented, const struct pn_reference *reference,
			const char **reason) {
	const size_t service = strlen(reference->service);
	const char *dot = memchr(presented.bytes, '.', presented.len);
	const size_t before = (size_t)(dot - presented.bytes) + 1;
	*reason = "it is for another service";
	if (before != service + 2 ||
	    strncasecmp(presented.bytes + 1, reference->service, service) != 0)
		return false;
	return matches_domain((struct pn_str){dot + 1, presented.len - before}, reference, reason);
}

static bool matches_xmpp(struct pn_str presented, const struct pn_reference *reference,
			 const char **reason) {
	char ascii[PN_DOMAIN_MAX + 1];
	const bool matches = pn_domain_ascii(presented, ascii) && !reference->is_ip &&
			     strcmp(ascii, reference->domain) == 0;
	*reason = matches ? "it is the domain" : "it is another domain";
	return matches;
}

bool pn_name_matches(const struct pn_name *name, const struct pn_reference *reference,
		     const char **reason) {
	if (name->fault != NULL) {
		*reason = name->fault;
		return false;
	}
	switch (name->type) {
	case PN_NAME_DNS:
		return matches_domain(name->value, reference, reason);
	case PN_NAME_SRV:
		return matches_srv(name->value, reference, reason);
	case PN_NAME_XMPP:
		return matches_xmpp(name->value, reference, reason);
	case PN_NAME_IP: {
		const bool matches = reference->is_ip && same(name->value, reference->domain);
		*reason = matches ? "it is the address" : "it is another address";
		return matches;
	}
	default:
		*reason = "a name of this type does not identify a service";
		return false;
	}
}
