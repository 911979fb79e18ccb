#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include <pn/alloc.h>

#include "cert.h"

/* ---- OpenSSL's errors ---- */

void pn_openssl_enter(void) {
	ERR_set_mark();
}

bool pn_openssl_no_memory(void) {
	return ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE;
}

int pn_openssl_leave(int err) {
	const bool memory = err != PN_OK && pn_openssl_no_memory();
	ERR_pop_to_mark();
	return memory ? PN_ENOMEM : err;
}

/* ---- Chains ---- */

/* A block of an enciphered certificate makes OpenSSL ask for a pass phrase: there is none. */
static int no_pass_phrase(char *buf, int size, int writing, void *context) {
	(void)buf, (void)size, (void)writing, (void)context;
	return -1;
}

/* Appends the next certificate. Returns 1, 0 at the end of the text, or PN_ECERT. */
static int read_next(BIO *text, STACK_OF(X509) * certs) {
	X509 *cert = PEM_read_bio_X509(text, NULL, no_pass_phrase, NULL);
	if (cert == NULL) {
		const unsigned long err = ERR_peek_last_error();
		const bool end = ERR_GET_LIB(err) == ERR_LIB_PEM &&
				 ERR_GET_REASON(err) == PEM_R_NO_START_LINE;
		return end ? 0 : PN_ECERT;
	}
	if (sk_X509_push(certs, cert) > 0)
		return 1;
	X509_free(cert);
	return PN_ENOMEM;
}

static int read_all(struct pn_str pem, STACK_OF(X509) * certs) {
	BIO *text = BIO_new_mem_buf(pem.bytes, (int)pem.len);
	int err = text != NULL ? 1 : PN_ENOMEM;
	while (err > 0)
		err = read_next(text, certs);
	BIO_free(text);
	return err == PN_OK && sk_X509_num(certs) == 0 ? PN_ECERT : err;
}

int pn_chain_new(struct pn_chain **chain, struct pn_str pem) {
	if (pem.len > INT_MAX)
		return PN_ECERT;
	struct pn_chain *made = pn_malloc(sizeof(*made));
	if (made == NULL)
		return PN_ENOMEM;
	pn_openssl_enter();
	made->certs = sk_X509_new_null();
	const int err =
		pn_openssl_leave(made->certs != NULL ? read_all(pem, made->certs) : PN_ENOMEM);
	if (err != PN_OK)
		pn_chain_free(made);
	else
		*chain = made;
	return err;
}

void pn_chain_free(struct pn_chain *chain) {
	if (chain == NULL)
		return;
	sk_X509_pop_free(chain->certs, X509_free);
	pn_free(chain);
}

size_t pn_chain_count(const struct pn_chain *chain) {
	return (size_t)sk_X509_num(chain->certs);
}

/* ---- What a certificate says ---- */

unsigned char *pn_cert_der(X509 *cert, unsigned selector, size_t *len) {
	unsigned char *der = NULL;
	const int size = selector == PN_TLSA_SPKI
				 ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der)
				 : i2d_X509(cert, &der);
	*len = size > 0 ? (size_t)size : 0;
	return size > 0 ? der : NULL;
}

static int digest_of(X509 *cert, unsigned selector, unsigned char digest[PN_DIGEST_LEN]) {
	size_t len;
	unsigned char *der = pn_cert_der(cert, selector, &len);
	const bool done =
		der != NULL && EVP_Digest(der, len, digest, NULL, EVP_sha256(), NULL) == 1;
	OPENSSL_free(der);
	return done ? PN_OK : PN_ECERT;
}

/* The C1 control characters, which terminals obey, are C2 80 to C2 9F in UTF-8. */
static void append_printable(struct pn_buf *out, const char *bytes, size_t len) {
	for (size_t i = 0; i < len; i++) {
		const unsigned char next = i + 1 < len ? (unsigned char)bytes[i + 1] : 0;
		if ((unsigned char)bytes[i] == 0xc2 && next >= 0x80 && next < 0xa0) {
			pn_buf_append(out, "?", 1);
			i++;
		} else {
			pn_buf_append(out, bytes + i, 1);
		}
	}
}

int pn_print_name(const X509_NAME *name, struct pn_buf *out) {
	static const char unreadable[] = "(cannot be read)";
	const unsigned long flags = XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB;
	BIO *text = BIO_new(BIO_s_mem());
	char *bytes = NULL;
	if (text == NULL)
		return PN_ENOMEM;
	const bool readable = X509_NAME_print_ex(text, name, 0, flags) >= 0;
	const bool memory = !readable && pn_openssl_no_memory();
	const long len = BIO_get_mem_data(text, &bytes);
	if (readable && len > 0)
		append_printable(out, bytes, (size_t)len);
	else if (!readable)
		pn_buf_append(out, unreadable, sizeof(unreadable) - 1);
	BIO_free(text);
	return memory ? PN_ENOMEM : out->err;
}

static int print_serial(X509 *cert, struct pn_buf *out) {
	BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	char *text = number != NULL ? BN_bn2hex(number) : NULL;
	if (text != NULL)
		pn_buf_append(out, text, strlen(text));
	BN_free(number);
	OPENSSL_free(text);
	return text != NULL ? out->err : PN_ECERT;
}

/* Returns false for a date that is none. */
static bool read_time(const ASN1_TIME *time, int64_t *seconds) {
	struct tm parts;
	if (time == NULL || ASN1_TIME_to_tm(time, &parts) != 1)
		return false;
	*seconds = timegm(&parts);
	return true;
}

static void describe_key(X509 *cert, struct pn_cert_info *info) {
	const EVP_PKEY *key = X509_get0_pubkey(cert);
	const char *type = key != NULL ? EVP_PKEY_get0_type_name(key) : NULL;
	if (type == NULL)
		return;
	snprintf(info->key_type, sizeof(info->key_type), "%s", type);
	info->key_bits = EVP_PKEY_get_bits(key);
}

static int describe(X509 *cert, struct pn_cert_info *info) {
	int err = pn_print_name(X509_get_subject_name(cert), &info->subject);
	if (err == PN_OK)
		err = pn_print_name(X509_get_issuer_name(cert), &info->issuer);
	if (err == PN_OK)
		err = print_serial(cert, &info->serial);
	if (err == PN_OK)
		err = digest_of(cert, PN_TLSA_CERT, info->sha256);
	if (err == PN_OK)
		err = digest_of(cert, PN_TLSA_SPKI, info->spki_sha256);
	info->has_not_before = read_time(X509_get0_notBefore(cert), &info->not_before);
	info->has_not_after = read_time(X509_get0_notAfter(cert), &info->not_after);
	info->authority = X509_check_ca(cert) == 1;
	info->self_issued =
		X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0;
	describe_key(cert, info);
	return err;
}

int pn_cert_describe(const struct pn_chain *chain, size_t index, struct pn_cert_info *info) {
	*info = (struct pn_cert_info){0};
	if (index >= pn_chain_count(chain))
		return PN_EINVAL;
	pn_openssl_enter();
	return pn_openssl_leave(describe(sk_X509_value(chain->certs, (int)index), info));
}

void pn_cert_info_free(struct pn_cert_info *info) {
	pn_buf_free(&info->subject);
	pn_buf_free(&info->issuer);
	pn_buf_free(&info->serial);
}
