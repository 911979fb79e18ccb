/* Names of a certificate: subjectAltName, RFC 5280 section 4.2.1.6. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <pn/alloc.h>

#include "cert.h"

enum { IPV4_LEN = 4, IPV6_LEN = 16 };

struct entry {
	struct pn_name name;
	struct pn_buf text; /* owned: a value that is not a string in the certificate */
};

struct pn_names {
	GENERAL_NAMES *names; /* owned; NULL if there are none */
	const char *fault;
	size_t count;
	struct entry entries[];
};

static const char *const TYPES[] = {
#define TYPE_TEXT(name, text) [PN_NAME_##name] = text,
	PN_NAME_TYPES(TYPE_TEXT)
#undef TYPE_TEXT
};

static struct pn_str bytes_of(const ASN1_STRING *string) {
	const char *data = (const char *)ASN1_STRING_get0_data(string);
	return (struct pn_str){data != NULL ? data : "", (size_t)ASN1_STRING_length(string)};
}

static bool is_utf8(struct pn_str text) {
	const unsigned char *at = (const unsigned char *)text.bytes;
	unsigned long point;
	for (size_t left = text.len; left > 0;) {
		const int len = UTF8_getc(at, (int)left, &point);
		if (len <= 0)
			return false;
		at += len;
		left -= (size_t)len;
	}
	return true;
}

static bool is_service(const char *bytes, size_t len) {
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)bytes[i]) && bytes[i] != '-')
			return false;
	}
	return len > 0;
}

static const char *srv_fault(struct pn_str value) {
	const char *dot = memchr(value.bytes, '.', value.len);
	if (value.len == 0 || value.bytes[0] != '_' || dot == NULL)
		return "SRVName lacks the _xmpp-server. part";
	const size_t service = (size_t)(dot + 1 - value.bytes);
	if (!is_service(value.bytes + 1, service - 2))
		return "SRVName has an invalid service";
	return pn_domain_fault((struct pn_str){dot + 1, value.len - service}, true);
}

static const char *xmpp_fault(struct pn_str value) {
	char ascii[PN_DOMAIN_MAX + 1];
	if (memchr(value.bytes, '\0', value.len) != NULL)
		return "it has a NUL byte";
	if (!is_utf8(value))
		return "it is not valid UTF-8";
	if (memchr(value.bytes, '@', value.len) != NULL ||
	    memchr(value.bytes, '/', value.len) != NULL)
		return "it is the address of an account, not of a server";
	if (!pn_domain_ascii(value, ascii))
		return "it is not a domain name";
	return pn_domain_is_idna(ascii) ? NULL : "it has a label that IDNA does not allow";
}

static void enter(struct entry *entry, enum pn_name_type type, struct pn_str value,
		  const char *fault) {
	entry->name.type = type;
	entry->name.value = value;
	entry->name.fault = fault;
	snprintf(entry->name.kind, sizeof(entry->name.kind), "%s", TYPES[type]);
}

static void enter_text(struct entry *entry, enum pn_name_type type, const char *fault) {
	const char *bytes = entry->text.len > 0 ? (const char *)entry->text.data : "";
	enter(entry, type, (struct pn_str){bytes, entry->text.len}, fault);
}

static int enter_ip(struct entry *entry, const ASN1_OCTET_STRING *address) {
	char text[INET6_ADDRSTRLEN] = "";
	const struct pn_str bytes = bytes_of(address);
	const char *fault = NULL;
	if (bytes.len == IPV4_LEN)
		inet_ntop(AF_INET, bytes.bytes, text, sizeof(text));
	else if (bytes.len == IPV6_LEN)
		inet_ntop(AF_INET6, bytes.bytes, text, sizeof(text));
	else
		fault = "an IP address has 4 or 16 bytes";
	pn_buf_append(&entry->text, text, strlen(text));
	enter_text(entry, PN_NAME_IP, fault);
	return entry->text.err;
}

/* An otherName may hold any ASN.1 type: check the tag before the value. */
static int enter_other(struct entry *entry, const OTHERNAME *other) {
	static const struct pn_str nothing = {"", 0};
	const int nid = OBJ_obj2nid(other->type_id);
	const ASN1_TYPE *value = other->value;
	const int tag = value != NULL ? ASN1_TYPE_get(value) : -1;
	if (nid == NID_SRVName) {
		const bool good = tag == V_ASN1_IA5STRING;
		const struct pn_str text = good ? bytes_of(value->value.ia5string) : nothing;
		enter(entry, PN_NAME_SRV, text,
		      good ? srv_fault(text) : "SRVName is not an IA5String");
	} else if (nid == NID_XmppAddr) {
		const bool good = tag == V_ASN1_UTF8STRING;
		const struct pn_str text = good ? bytes_of(value->value.utf8string) : nothing;
		enter(entry, PN_NAME_XMPP, text,
		      good ? xmpp_fault(text) : "XmppAddr is not a UTF8String");
	} else {
		enter(entry, PN_NAME_OTHER, nothing, NULL);
		OBJ_obj2txt(entry->name.kind, sizeof(entry->name.kind), other->type_id, 1);
	}
	return PN_OK;
}

static int enter_directory(struct entry *entry, const X509_NAME *name) {
	const int err = pn_print_name(name, &entry->text);
	enter_text(entry, PN_NAME_DIRECTORY, NULL);
	return err;
}

static int enter_name(struct entry *entry, const GENERAL_NAME *name) {
	switch (name->type) {
	case GEN_DNS: {
		const struct pn_str value = bytes_of(name->d.dNSName);
		enter(entry, PN_NAME_DNS, value, pn_domain_fault(value, true));
		return PN_OK;
	}
	case GEN_OTHERNAME:
		return enter_other(entry, name->d.otherName);
	case GEN_IPADD:
		return enter_ip(entry, name->d.iPAddress);
	case GEN_URI:
		enter(entry, PN_NAME_URI, bytes_of(name->d.uniformResourceIdentifier), NULL);
		return PN_OK;
	case GEN_EMAIL:
		enter(entry, PN_NAME_EMAIL, bytes_of(name->d.rfc822Name), NULL);
		return PN_OK;
	case GEN_DIRNAME:
		return enter_directory(entry, name->d.directoryName);
	default:
		enter(entry, PN_NAME_OTHER, (struct pn_str){"", 0}, NULL);
		return PN_OK;
	}
}

/* Returns 0, PN_ECERT or PN_ENOMEM. The caller frees *list. */
static int decode_extensions(struct pn_str encoding, X509_EXTENSIONS **list) {
	const unsigned char *at = (const unsigned char *)encoding.bytes;
	const unsigned char *const end = at + encoding.len;
	*list = NULL;
	if (encoding.len == 0)
		return PN_OK;
	*list = d2i_X509_EXTENSIONS(NULL, &at, (long)encoding.len);
	if (*list != NULL && at == end)
		return PN_OK;
	sk_X509_EXTENSION_pop_free(*list, X509_EXTENSION_free);
	return pn_openssl_no_memory() ? PN_ENOMEM : PN_ECERT;
}

/* Decodes the value of the extension. Sets *fault if it is malformed. Returns 0 or PN_ENOMEM. */
static int decode_names(const ASN1_OCTET_STRING *data, GENERAL_NAMES **found, const char **fault) {
	const unsigned char *at = ASN1_STRING_get0_data(data);
	const unsigned char *const end = at + ASN1_STRING_length(data);
	*found = d2i_GENERAL_NAMES(NULL, &at, ASN1_STRING_length(data));
	if (*found == NULL && pn_openssl_no_memory())
		return PN_ENOMEM;
	if (*found == NULL || at != end) {
		*fault = "the subjectAltName extension cannot be read";
		GENERAL_NAMES_free(*found);
		*found = NULL;
	}
	return PN_OK;
}

static int find_names(const X509_EXTENSIONS *list, GENERAL_NAMES **found, const char **fault) {
	const int index = X509v3_get_ext_by_NID(list, NID_subject_alt_name, -1);
	if (index < 0)
		return PN_OK;
	if (X509v3_get_ext_by_NID(list, NID_subject_alt_name, index) >= 0) {
		*fault = "there are two subjectAltName extensions";
		return PN_OK;
	}
	return decode_names(X509_EXTENSION_get_data(X509v3_get_ext(list, index)), found, fault);
}

static int enter_all(struct pn_names **names, GENERAL_NAMES *found, const char *fault) {
	const size_t count = found != NULL ? (size_t)sk_GENERAL_NAME_num(found) : 0;
	const size_t size = sizeof(struct pn_names) + count * sizeof(struct entry);
	struct pn_names *made = pn_malloc(size);
	int err = PN_OK;
	if (made == NULL) {
		GENERAL_NAMES_free(found);
		return PN_ENOMEM;
	}
	memset(made, 0, size);
	made->names = found;
	made->fault = fault;
	made->count = count;
	for (size_t i = 0; i < count && err == PN_OK; i++)
		err = enter_name(&made->entries[i], sk_GENERAL_NAME_value(found, (int)i));
	if (err != PN_OK)
		pn_names_free(made);
	else
		*names = made;
	return err;
}

int pn_names_new(struct pn_names **names, const struct pn_chain *chain, size_t index) {
	X509_EXTENSIONS *list;
	GENERAL_NAMES *found = NULL;
	const char *fault = NULL;
	if (index >= pn_chain_count(chain))
		return PN_EINVAL;
	pn_openssl_enter();
	int err = decode_extensions(chain->certs[index].parts.extensions, &list);
	if (err == PN_OK) {
		err = find_names(list, &found, &fault);
		sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	}
	if (err == PN_OK)
		err = enter_all(names, found, fault);
	return pn_openssl_leave(err);
}

void pn_names_free(struct pn_names *names) {
	if (names == NULL)
		return;
	for (size_t i = 0; i < names->count; i++)
		pn_buf_free(&names->entries[i].text);
	GENERAL_NAMES_free(names->names);
	pn_free(names);
}

size_t pn_names_count(const struct pn_names *names) {
	return names->count;
}

const char *pn_names_fault(const struct pn_names *names) {
	return names->fault;
}

const struct pn_name *pn_names_at(const struct pn_names *names, size_t index) {
	return &names->entries[index].name;
}
