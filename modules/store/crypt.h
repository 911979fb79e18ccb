/* The one place of the store that uses OpenSSL: digests of names, and opaque ids. */
#ifndef PN_STORE_CRYPT_H
#define PN_STORE_CRYPT_H

#include <pn/archive.h>

#include "keys.h"

enum { PN_SECRET = 16 };

struct pn_crypt; /* owned by a store */

int pn_crypt_new(struct pn_crypt **crypt);
void pn_crypt_free(struct pn_crypt *crypt);

/* Gives the store's secret, without which there are no ids. Returns 0 or PN_ENOMEM. */
int pn_crypt_key(struct pn_crypt *crypt, const unsigned char secret[PN_SECRET]);

/* Fills with random bytes. Returns 0 or PN_EIO. */
int pn_crypt_random(void *bytes, size_t len);

/* The digest of `count` names. crypt may be NULL, which costs more. Returns 0 or PN_ENOMEM. */
int pn_crypt_digest(struct pn_crypt *crypt, const struct pn_str *names, size_t count,
		    pn_digest digest);

/* Where a message is: what an opaque id says. */
struct pn_place {
	uint32_t archive;
	uint64_t seq;
	uint32_t epoch;
};

int pn_crypt_id(struct pn_crypt *crypt, struct pn_place place, char id[PN_ARCHIVE_ID_LEN]);

/* Returns 1, 0 if it is no id of this store, or PN_ENOMEM. */
int pn_crypt_read_id(struct pn_crypt *crypt, struct pn_str id, struct pn_place *place);

#endif
