/* The one file of the database that uses OpenSSL: digests of names, and a block cipher. */
#ifndef PN_DB_CRYPT_H
#define PN_DB_CRYPT_H

#include <stddef.h>

enum { PN_SECRET = 16 }; /* bytes: a key of AES-128 */

struct pn_crypt; /* owned by a database */

int pn_crypt_new(struct pn_crypt **crypt);
void pn_crypt_free(struct pn_crypt *crypt);

/* Sets the key of the cipher, the database's secret. Returns 0 or PN_ENOMEM. */
int pn_crypt_key(struct pn_crypt *crypt, const unsigned char secret[PN_SECRET]);

/* Fills `bytes` with random bytes. Returns 0 or PN_EIO. */
int pn_crypt_random(void *bytes, size_t len);

#endif
