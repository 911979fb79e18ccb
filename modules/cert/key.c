/* Keys in PEM texts, and whether a certificate is for one. */
#include <limits.h>
#include <string.h>

#include <openssl/pem.h>

#include "cert.h"

/* Without this callback OpenSSL would prompt on the terminal. */
static int give_password(char *buf, int size, int writing, void *context) {
	const struct pn_str *password = context;
	(void)writing;
	if (password->len == 0 || password->len > (size_t)size)
		return -1;
	memcpy(buf, password->bytes, password->len);
	return (int)password->len;
}

static EVP_PKEY *read_private(BIO *text, struct pn_str *password) {
	return PEM_read_bio_PrivateKey(text, NULL, give_password, password);
}

static EVP_PKEY *read_public(BIO *text, struct pn_str *password) {
	return PEM_read_bio_PUBKEY(text, NULL, give_password, password);
}

static EVP_PKEY *read_requested(BIO *text, struct pn_str *password) {
	X509_REQ *request = PEM_read_bio_X509_REQ(text, NULL, give_password, password);
	EVP_PKEY *key = request != NULL ? X509_REQ_get_pubkey(request) : NULL;
	X509_REQ_free(request);
	return key;
}

typedef EVP_PKEY *reader(BIO *text, struct pn_str *password);

/* Sets *key, owned by the caller; NULL after a failure. */
static int read_with(reader *read, struct pn_str pem, struct pn_str password, EVP_PKEY **key) {
	*key = NULL;
	if (pem.len > INT_MAX)
		return PN_EKEY;
	BIO *text = BIO_new_mem_buf(pem.bytes, (int)pem.len);
	if (text == NULL)
		return PN_ENOMEM;
	*key = read(text, &password);
	BIO_free(text);
	if (*key != NULL)
		return PN_OK;
	return pn_openssl_no_memory() ? PN_ENOMEM : PN_EKEY;
}

int pn_key_read_private(struct pn_str pem, EVP_PKEY **key) {
	return read_with(read_private, pem, (struct pn_str){NULL, 0}, key);
}

static int read_key(struct pn_str pem, struct pn_str password, EVP_PKEY **key) {
	reader *const readers[] = {read_private, read_public, read_requested};
	int err = PN_EKEY;
	for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]) && err == PN_EKEY; i++)
		err = read_with(readers[i], pem, password, key);
	return err;
}

static int append_encoding(const EVP_PKEY *key, struct pn_buf *spki) {
	unsigned char *der = NULL;
	const int len = i2d_PUBKEY(key, &der);
	if (len <= 0)
		return pn_openssl_no_memory() ? PN_ENOMEM : PN_EKEY;
	const int err = pn_buf_reserve(spki, (size_t)len);
	if (err == PN_OK)
		pn_buf_append(spki, der, (size_t)len);
	OPENSSL_free(der);
	return err;
}

int pn_public_key(struct pn_str pem, struct pn_str password, struct pn_buf *spki) {
	EVP_PKEY *key;
	pn_openssl_enter();
	int err = read_key(pem, password, &key);
	if (err == PN_OK)
		err = append_encoding(key, spki);
	EVP_PKEY_free(key);
	return pn_openssl_leave(err);
}

/* Encodings cannot be compared by their bytes: one key has several. */
static int compare(const struct pn_chain *chain, const EVP_PKEY *key, bool *fits) {
	X509 *leaf;
	const int err = pn_chain_x509(chain, 0, &leaf);
	if (err != PN_OK)
		return err;
	EVP_PKEY *own = X509_get0_pubkey(leaf);
	if (own == NULL)
		return PN_ECERT;
	*fits = EVP_PKEY_eq(own, key) == 1;
	return !*fits && pn_openssl_no_memory() ? PN_ENOMEM : PN_OK;
}

int pn_key_fits(const struct pn_chain *chain, struct pn_str pem, struct pn_str password,
		bool *fits) {
	EVP_PKEY *key;
	pn_openssl_enter();
	int err = read_key(pem, password, &key);
	if (err == PN_OK)
		err = compare(chain, key, fits);
	EVP_PKEY_free(key);
	return pn_openssl_leave(err);
}
