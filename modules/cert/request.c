/* Requests for certificates: PKCS #10, RFC 2986. */
#include <string.h>

#include <openssl/pem.h>

#include "cert.h"

enum { RSA_BITS = 3072, COMMON_NAME_MAX = 64 };

/* Takes ownership of the name, also after a failure. */
static int push(GENERAL_NAMES *names, GENERAL_NAME *name) {
	if (name != NULL && sk_GENERAL_NAME_push(names, name) > 0)
		return PN_OK;
	GENERAL_NAME_free(name);
	return PN_ENOMEM;
}

static ASN1_IA5STRING *ia5(const char *bytes, size_t len) {
	ASN1_IA5STRING *string = ASN1_IA5STRING_new();
	if (string != NULL && ASN1_STRING_set(string, bytes, (int)len) == 1)
		return string;
	ASN1_IA5STRING_free(string);
	return NULL;
}

static GENERAL_NAME *dns_id(struct pn_str domain) {
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_IA5STRING *value = ia5(domain.bytes, domain.len);
	if (name != NULL && value != NULL) {
		GENERAL_NAME_set0_value(name, GEN_DNS, value);
		return name;
	}
	GENERAL_NAME_free(name);
	ASN1_IA5STRING_free(value);
	return NULL;
}

/* "_service.domain", RFC 4985. */
static GENERAL_NAME *srv_id(const char *service, struct pn_str domain) {
	struct pn_buf text = {0};
	pn_buf_append(&text, "_", 1);
	pn_buf_append(&text, service, strlen(service));
	pn_buf_append(&text, ".", 1);
	pn_buf_append(&text, domain.bytes, domain.len);
	ASN1_IA5STRING *value = text.err == PN_OK ? ia5((const char *)text.data, text.len) : NULL;
	pn_buf_free(&text);
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_TYPE *typed = ASN1_TYPE_new();
	if (name != NULL && typed != NULL && value != NULL) {
		ASN1_TYPE_set(typed, V_ASN1_IA5STRING, value);
		value = NULL;
		if (GENERAL_NAME_set0_othername(name, OBJ_nid2obj(NID_SRVName), typed) == 1)
			return name;
	}
	ASN1_IA5STRING_free(value);
	ASN1_TYPE_free(typed);
	GENERAL_NAME_free(name);
	return NULL;
}

static int add_names(const struct pn_request *request, GENERAL_NAMES *names) {
	int err = PN_OK;
	for (size_t i = 0; i < request->count && err == PN_OK; i++)
		err = push(names, dns_id(request->domains[i]));
	for (size_t i = 0; i < request->count; i++) {
		for (size_t s = 0; request->services[s] != NULL && err == PN_OK; s++)
			err = push(names, srv_id(request->services[s], request->domains[i]));
	}
	return err;
}

static int set_names(X509_REQ *csr, const struct pn_request *request) {
	STACK_OF(X509_EXTENSION) *extensions = NULL;
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	int err = names != NULL ? add_names(request, names) : PN_ENOMEM;
	if (err == PN_OK && (X509V3_add1_i2d(&extensions, NID_subject_alt_name, names, 0, 0) != 1 ||
			     X509_REQ_add_extensions(csr, extensions) != 1))
		err = PN_ENOMEM;
	GENERAL_NAMES_free(names);
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	return err;
}

/* Names are not matched with a common name any more, but some authorities require one. */
static int set_subject(X509_REQ *csr, struct pn_str domain) {
	if (domain.len > COMMON_NAME_MAX)
		return PN_OK;
	return X509_NAME_add_entry_by_NID(X509_REQ_get_subject_name(csr), NID_commonName,
					  MBSTRING_UTF8, (const unsigned char *)domain.bytes,
					  (int)domain.len, -1, 0) == 1
		       ? PN_OK
		       : PN_ENOMEM;
}

static int make_request(const struct pn_request *request, EVP_PKEY *key, X509_REQ *csr) {
	int err = X509_REQ_set_pubkey(csr, key) == 1 ? PN_OK : PN_ENOMEM;
	if (err == PN_OK)
		err = set_subject(csr, request->domains[0]);
	if (err == PN_OK)
		err = set_names(csr, request);
	if (err == PN_OK && X509_REQ_sign(csr, key, EVP_sha256()) <= 0)
		err = request->key.len > 0 && !pn_openssl_no_memory() ? PN_EKEY : PN_ENOMEM;
	return err;
}

static int write_pem(EVP_PKEY *key, X509_REQ *csr, struct pn_buf *key_out, struct pn_buf *csr_out) {
	BIO *secret = BIO_new(BIO_s_secmem());
	BIO *public = BIO_new(BIO_s_mem());
	char *key_bytes, *csr_bytes;
	int err = PN_ENOMEM;
	if (secret != NULL && public != NULL &&
	    PEM_write_bio_PKCS8PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL) == 1 &&
	    PEM_write_bio_X509_REQ(public, csr) == 1) {
		const size_t key_len = (size_t)BIO_get_mem_data(secret, &key_bytes);
		const size_t csr_len = (size_t)BIO_get_mem_data(public, &csr_bytes);
		err = pn_buf_reserve(key_out, key_len);
		if (err == PN_OK)
			err = pn_buf_reserve(csr_out, csr_len);
		if (err == PN_OK) {
			pn_buf_append(key_out, key_bytes, key_len);
			pn_buf_append(csr_out, csr_bytes, csr_len);
		}
	}
	BIO_free(secret);
	BIO_free(public);
	return err;
}

/* The key of the request: the given one, or a new one. */
static int take_key(const struct pn_request *request, EVP_PKEY **pair) {
	if (request->key.len > 0)
		return pn_key_read_private(request->key, pair);
	*pair = request->rsa ? EVP_RSA_gen(RSA_BITS) : EVP_EC_gen("P-256");
	return *pair != NULL ? PN_OK : PN_ENOMEM;
}

int pn_cert_request(const struct pn_request *request, struct pn_buf *key, struct pn_buf *csr) {
	for (size_t i = 0; i < request->count; i++) {
		if (pn_domain_fault(request->domains[i], true) != NULL)
			return PN_EINVAL;
	}
	if (request->count == 0)
		return PN_EINVAL;
	pn_openssl_enter();
	EVP_PKEY *pair = NULL;
	int err = take_key(request, &pair);
	X509_REQ *made = err == PN_OK ? X509_REQ_new() : NULL;
	if (err == PN_OK)
		err = made != NULL ? make_request(request, pair, made) : PN_ENOMEM;
	if (err == PN_OK)
		err = write_pem(pair, made, key, csr);
	X509_REQ_free(made);
	EVP_PKEY_free(pair);
	return pn_openssl_leave(err);
}
