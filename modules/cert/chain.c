/* Chains of certificates: parsing, decoding, description. */
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

/* There is no pass phrase for an encrypted block; without this callback OpenSSL would prompt. */
static int no_pass_phrase(char *buf, int size, int writing, void *context) {
	(void)buf, (void)size, (void)writing, (void)context;
	return -1;
}

/* Takes ownership of the encoding, also after a failure. Returns 1 or a negative code. */
static int append(struct pn_chain *chain, unsigned char *der, size_t len) {
	struct pn_certificate cert = {.der = der};
	if (!pn_der_find((struct pn_str){(const char *)der, len}, &cert.parts)) {
		OPENSSL_free(der);
		return PN_ECERT;
	}
	struct pn_certificate *grown =
		pn_realloc(chain->certs, (chain->count + 1) * sizeof(*chain->certs));
	if (grown == NULL) {
		OPENSSL_free(der);
		return PN_ENOMEM;
	}
	chain->certs = grown;
	chain->certs[chain->count++] = cert;
	return 1;
}

/* Appends the next certificate. Returns 1, 0 at the end of the text, or a negative code. */
static int read_next(BIO *text, struct pn_chain *chain) {
	unsigned char *der = NULL;
	long len = 0;
	if (BIO_eof(text))
		return 0;
	if (PEM_bytes_read_bio(&der, &len, NULL, PEM_STRING_X509, text, no_pass_phrase, NULL) !=
	    1) {
		const unsigned long err = ERR_peek_last_error();
		const bool end = ERR_GET_LIB(err) == ERR_LIB_PEM &&
				 ERR_GET_REASON(err) == PEM_R_NO_START_LINE;
		return end ? 0 : PN_ECERT;
	}
	return append(chain, der, (size_t)len);
}

static int read_all(struct pn_str pem, struct pn_chain *chain) {
	BIO *text = BIO_new_mem_buf(pem.bytes, (int)pem.len);
	int err = text != NULL ? 1 : PN_ENOMEM;
	while (err > 0)
		err = read_next(text, chain);
	BIO_free(text);
	return err == PN_OK && chain->count == 0 ? PN_ECERT : err;
}

int pn_chain_new(struct pn_chain **chain, struct pn_str pem) {
	if (pem.len > INT_MAX)
		return PN_ECERT;
	struct pn_chain *made = pn_malloc(sizeof(*made));
	if (made == NULL)
		return PN_ENOMEM;
	*made = (struct pn_chain){0};
	pn_openssl_enter();
	const int err = pn_openssl_leave(read_all(pem, made));
	if (err != PN_OK)
		pn_chain_free(made);
	else
		*chain = made;
	return err;
}

void pn_chain_free(struct pn_chain *chain) {
	if (chain == NULL)
		return;
	for (size_t i = 0; i < chain->count; i++) {
		OPENSSL_free(chain->certs[i].der);
		X509_free(chain->certs[i].x509);
	}
	pn_free(chain->certs);
	pn_free(chain);
}

size_t pn_chain_count(const struct pn_chain *chain) {
	return chain->count;
}

int pn_chain_x509(const struct pn_chain *chain, size_t index, X509 **x509) {
	struct pn_certificate *cert = &chain->certs[index];
	const struct pn_str der = cert->parts.encoding[PN_TLSA_CERT];
	const unsigned char *at = cert->der;
	if (cert->x509 == NULL)
		cert->x509 = d2i_X509(NULL, &at, (long)der.len);
	*x509 = cert->x509;
	if (cert->x509 == NULL)
		return pn_openssl_no_memory() ? PN_ENOMEM : PN_ECERT;
	return PN_OK;
}

/* ---- Descriptions ---- */

static int digest_of(struct pn_str encoding, unsigned char digest[PN_DIGEST_LEN]) {
	return EVP_Digest(encoding.bytes, encoding.len, digest, NULL, EVP_sha256(), NULL) == 1
		       ? PN_OK
		       : PN_ENOMEM;
}

/* Replaces the C1 control characters, which terminals obey: C2 80 to C2 9F in UTF-8. OpenSSL
 * escapes the others. */
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

/* Returns false if the date is invalid. */
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

static int describe_digests(const struct pn_der_parts *parts, struct pn_cert_info *info) {
	const int err = digest_of(parts->encoding[PN_TLSA_CERT], info->sha256);
	return err == PN_OK ? digest_of(parts->encoding[PN_TLSA_SPKI], info->spki_sha256) : err;
}

static int describe_fields(X509 *cert, struct pn_cert_info *info) {
	int err = pn_print_name(X509_get_subject_name(cert), &info->subject);
	if (err == PN_OK)
		err = pn_print_name(X509_get_issuer_name(cert), &info->issuer);
	if (err == PN_OK)
		err = print_serial(cert, &info->serial);
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
	X509 *cert;
	pn_openssl_enter();
	int err = pn_chain_x509(chain, index, &cert);
	if (err == PN_OK)
		err = describe_digests(&chain->certs[index].parts, info);
	if (err == PN_OK)
		err = describe_fields(cert, info);
	return pn_openssl_leave(err);
}

void pn_cert_info_free(struct pn_cert_info *info) {
	pn_buf_free(&info->subject);
	pn_buf_free(&info->issuer);
	pn_buf_free(&info->serial);
}
