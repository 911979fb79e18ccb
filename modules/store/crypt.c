#include <string.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "crypt.h"

enum { BLOCK = 16, CHECK = 3 };

struct pn_crypt {
	EVP_MD_CTX *digest;
	EVP_CIPHER_CTX *encipher; /* both with the secret, and no padding */
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
		/* one more than the length, so that no name is another than the empty name */
		const uint64_t len = names[i].bytes != NULL ? names[i].len + 1 : 0;
		if (EVP_DigestUpdate(ctx, &len, sizeof(len)) != 1 ||
		    EVP_DigestUpdate(ctx, names[i].bytes, names[i].len) != 1)
			return false;
	}
	return EVP_DigestFinal_ex(ctx, out, NULL) == 1;
}

int pn_crypt_digest(struct pn_crypt *crypt, const struct pn_str *names, size_t count,
		    pn_digest digest) {
	unsigned char whole[EVP_MAX_MD_SIZE];
	bool done;
	if (crypt != NULL) {
		done = digest_names(crypt->digest, NULL, names, count, whole);
	} else {
		EVP_MD_CTX *ctx = EVP_MD_CTX_new();
		done = ctx != NULL && digest_names(ctx, EVP_sha256(), names, count, whole);
		EVP_MD_CTX_free(ctx);
	}
	if (!done)
		return PN_ENOMEM;
	memcpy(digest, whole, PN_DIGEST);
	return PN_OK;
}

/* ---- Ids ---- */

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void to_text(const unsigned char block[BLOCK], char *text) {
	uint32_t bits = 0;
	int have = 0;
	for (int i = 0; i < BLOCK; i++) {
		bits = bits << 8 | block[i];
		for (have += 8; have >= 6; have -= 6)
			*text++ = ALPHABET[bits >> (have - 6) & 63];
	}
	*text = ALPHABET[bits << (6 - have) & 63];
}

static int letter_value(char letter) {
	if (letter >= 'A' && letter <= 'Z')
		return letter - 'A';
	if (letter >= 'a' && letter <= 'z')
		return letter - 'a' + 26;
	if (letter >= '0' && letter <= '9')
		return letter - '0' + 52;
	return letter == '-' ? 62 : letter == '_' ? 63 : -1;
}

static bool from_text(struct pn_str text, unsigned char block[BLOCK]) {
	uint32_t bits = 0;
	int have = 0;
	size_t n = 0;
	if (text.len != PN_ARCHIVE_ID_LEN)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		const int value = letter_value(text.bytes[i]);
		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t)value;
		have += 6;
		if (have >= 8) {
			have -= 8;
			block[n++] = (unsigned char)(bits >> have);
		}
	}
	return (bits & ((1u << have) - 1)) == 0; /* one spelling for each id */
}

static void put_uint(unsigned char *bytes, uint64_t value, int size) {
	for (int i = size - 1; i >= 0; i--, value >>= 8)
		bytes[i] = (unsigned char)value;
}

static uint64_t get_uint(const unsigned char *bytes, int size) {
	uint64_t value = 0;
	for (int i = 0; i < size; i++)
		value = value << 8 | bytes[i];
	return value;
}

int pn_crypt_id(struct pn_crypt *crypt, struct pn_place place, char id[PN_ARCHIVE_ID_LEN]) {
	unsigned char plain[BLOCK] = {0};
	unsigned char block[BLOCK];
	int len;
	put_uint(plain, place.archive, 4);
	put_uint(plain + 4, place.seq, 5);
	put_uint(plain + 9, place.epoch, 4);
	if (EVP_EncryptUpdate(crypt->encipher, block, &len, plain, BLOCK) != 1 || len != BLOCK)
		return PN_ENOMEM;
	to_text(block, id);
	return PN_OK;
}

int pn_crypt_read_id(struct pn_crypt *crypt, struct pn_str id, struct pn_place *place) {
	static const unsigned char zero[CHECK] = {0};
	unsigned char plain[BLOCK];
	unsigned char block[BLOCK];
	int len;
	if (!from_text(id, block))
		return 0;
	if (EVP_DecryptUpdate(crypt->decipher, plain, &len, block, BLOCK) != 1 || len != BLOCK)
		return PN_ENOMEM;
	if (memcmp(plain + BLOCK - CHECK, zero, CHECK) != 0)
		return 0;
	place->archive = (uint32_t)get_uint(plain, 4);
	place->seq = get_uint(plain + 4, 5);
	place->epoch = (uint32_t)get_uint(plain + 9, 4);
	return 1;
}
