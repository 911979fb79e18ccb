#include <limits.h>
#include <string.h>

#include <openssl/evp.h>

#include "cert.h"

enum { SHA256_LEN = 32, SHA512_LEN = 64 };

/* Whether the value is what the selector says, to the last byte: 1, 0, or PN_ENOMEM. */
static int is_whole(const struct pn_tlsa *record) {
	const unsigned char *at = (const unsigned char *)record->data.bytes;
	const unsigned char *const end = at + record->data.len;
	bool readable;
	if (record->data.len == 0 || record->data.len > LONG_MAX)
		return 0;
	pn_openssl_enter();
	if (record->selector == PN_TLSA_CERT) {
		X509 *cert = d2i_X509(NULL, &at, (long)record->data.len);
		readable = cert != NULL && X509_get0_pubkey(cert) != NULL;
		X509_free(cert);
	} else {
		X509_PUBKEY *key = d2i_X509_PUBKEY(NULL, &at, (long)record->data.len);
		readable = key != NULL && X509_PUBKEY_get0(key) != NULL;
		X509_PUBKEY_free(key);
	}
	const bool memory = !readable && pn_openssl_no_memory();
	(void)pn_openssl_leave(PN_OK);
	return memory ? PN_ENOMEM : readable && at == end;
}

/*
 * OpenSSL does not always tell when memory was missing. A record that is called unusable has no
 * effect, and that must not come from one allocation that failed: so it is asked twice.
 */
static int is_surely_whole(const struct pn_tlsa *record) {
	const int whole = is_whole(record);
	return whole != 0 ? whole : is_whole(record);
}

static const char *length_fault(const struct pn_tlsa *record) {
	if (record->match == PN_TLSA_SHA256)
		return record->data.len == SHA256_LEN ? NULL : "a SHA-256 digest has 32 bytes";
	if (record->match == PN_TLSA_SHA512)
		return record->data.len == SHA512_LEN ? NULL : "a SHA-512 digest has 64 bytes";
	return "the matching type is none of 0 to 2";
}

int pn_tlsa_check(const struct pn_tlsa *record, const char **fault) {
	*fault = NULL;
	if (record->usage > PN_TLSA_DANE_EE) {
		*fault = "the usage is none of 0 to 3";
	} else if (record->selector > PN_TLSA_SPKI) {
		*fault = "the selector is neither 0 nor 1";
	} else if (record->match != PN_TLSA_FULL) {
		*fault = length_fault(record);
	} else {
		const int whole = is_surely_whole(record);
		if (whole < 0)
			return whole;
		*fault = whole ? NULL
			       : "the data is no certificate or key, as the selector asks for";
	}
	return PN_OK;
}

const char *pn_tlsa_fault(const struct pn_tlsa *record) {
	const char *fault;
	return pn_tlsa_check(record, &fault) == PN_OK ? fault : pn_err_text(PN_ENOMEM);
}

int pn_tlsa_outdone(const struct pn_tlsa *records, size_t count, size_t index) {
	const struct pn_tlsa *own = &records[index];
	if (own->match != PN_TLSA_SHA256)
		return 0;
	for (size_t i = 0; i < count; i++) {
		if (records[i].match == PN_TLSA_SHA512 && records[i].usage == own->usage &&
		    records[i].selector == own->selector && pn_tlsa_fault(&records[i]) == NULL)
			return 1;
	}
	return 0;
}

int pn_tlsa_associate(struct pn_str encoding, unsigned match, struct pn_buf *data) {
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned size = 0;
	if (match == PN_TLSA_FULL) {
		pn_buf_append(data, encoding.bytes, encoding.len);
		return data->err;
	}
	const EVP_MD *type = match == PN_TLSA_SHA256 ? EVP_sha256() : EVP_sha512();
	if (EVP_Digest(encoding.bytes, encoding.len, digest, &size, type, NULL) != 1)
		return PN_ENOMEM;
	pn_buf_append(data, digest, size);
	return data->err;
}

int pn_cert_tlsa(const struct pn_chain *chain, size_t index, unsigned selector, unsigned match,
		 struct pn_buf *data) {
	if (index >= pn_chain_count(chain) || selector > PN_TLSA_SPKI || match > PN_TLSA_SHA512)
		return PN_EINVAL;
	pn_openssl_enter();
	return pn_openssl_leave(
		pn_tlsa_associate(chain->certs[index].parts.encoding[selector], match, data));
}
