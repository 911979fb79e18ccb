/* The one file of the database that uses OpenSSL: digests of names, and a block cipher. */
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "db.h"

struct pn_crypt {
	EVP_MD_CTX *digest;
	EVP_CIPHER_CTX *encipher; /* both ciphers have the secret as key, and no padding */
	EVP_CIPHER_CTX *decipher;
};

int pn_crypt_new(struct pn_crypt **crypt) {
	struct pn_crypt *made = pn_malloc(sizeof(*made));
	if (made == NULL)
		return PN_ENOMEM;
	*made = (struct pn_crypt){
		.digest = EVP_MD_CTX_new(),
		.encipher = EVP_CIPHER_CTX_new(),
		.decipher = EVP_CIPHER_CTX_new(),
	};
	if (made->digest == NULL || made->encipher == NULL || made->decipher == NULL ||
	    EVP_DigestInit_ex(made->digest, EVP_sha256(), NULL) != 1) {
		pn_crypt_free(made);
		return PN_ENOMEM;
	}
	*crypt = made;
	return PN_OK;
}

void pn_crypt_free(struct pn_crypt *crypt) {
	if (crypt == NULL)
		return;
	EVP_MD_CTX_free(crypt->digest);
	EVP_CIPHER_CTX_free(crypt->encipher);
	EVP_CIPHER_CTX_free(crypt->decipher);
	pn_free(crypt);
}

int pn_crypt_key(struct pn_crypt *crypt, const unsigned char secret[PN_SECRET]) {
	const EVP_CIPHER *aes = EVP_aes_128_ecb();
	if (EVP_EncryptInit_ex(crypt->encipher, aes, NULL, secret, NULL) != 1 ||
	    EVP_DecryptInit_ex(crypt->decipher, aes, NULL, secret, NULL) != 1)
		return PN_ENOMEM;
	EVP_CIPHER_CTX_set_padding(crypt->encipher, 0);
	EVP_CIPHER_CTX_set_padding(crypt->decipher, 0);
	return PN_OK;
}

int pn_crypt_random(void *bytes, size_t len) {
	return RAND_bytes(bytes, (int)len) == 1 ? PN_OK : PN_EIO;
}

/* ---- Digests ---- */

static bool digest_names(EVP_MD_CTX *ctx, const EVP_MD *type, const struct pn_str *names,
			 size_t count, unsigned char *out) {
	if (EVP_DigestInit_ex(ctx, type, NULL) != 1)
		return false;
	for (size_t i = 0; i < count; i++) {
		/* one more than the length, so that no name (0) differs from the empty name */
		const uint64_t len = names[i].bytes != NULL ? names[i].len + 1 : 0;
		if (EVP_DigestUpdate(ctx, &len, sizeof(len)) != 1 ||
		    EVP_DigestUpdate(ctx, names[i].bytes, names[i].len) != 1)
			return false;
	}
	return EVP_DigestFinal_ex(ctx, out, NULL) == 1;
}

int pn_db_digest(struct pn_db *db, const struct pn_str *names, size_t count, pn_digest digest) {
	unsigned char full[EVP_MAX_MD_SIZE];
	bool done;
	if (db != NULL) {
		done = digest_names(db->crypt->digest, NULL, names, count, full);
	} else {
		EVP_MD_CTX *ctx = EVP_MD_CTX_new();
		done = ctx != NULL && digest_names(ctx, EVP_sha256(), names, count, full);
		EVP_MD_CTX_free(ctx);
	}
	if (!done)
		return PN_ENOMEM;
	memcpy(digest, full, PN_DIGEST);
	return PN_OK;
}

/* ---- One block ---- */

int pn_db_encipher(struct pn_db *db, const unsigned char plain[PN_BLOCK],
		   unsigned char block[PN_BLOCK]) {
	int len;
	const int done = EVP_EncryptUpdate(db->crypt->encipher, block, &len, plain, PN_BLOCK);
	return done == 1 && len == PN_BLOCK ? PN_OK : PN_ENOMEM;
}

int pn_db_decipher(struct pn_db *db, const unsigned char block[PN_BLOCK],
		   unsigned char plain[PN_BLOCK]) {
	int len;
	const int done = EVP_DecryptUpdate(db->crypt->decipher, plain, &len, block, PN_BLOCK);
	return done == 1 && len == PN_BLOCK ? PN_OK : PN_ENOMEM;
}
