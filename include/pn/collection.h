/* Collections: what one user has in one store. For the cores that keep records in them. */
#ifndef PN_COLLECTION_H
#define PN_COLLECTION_H

#include <pn/store.h>

/* The number of the user's collection in the store, 0 if there is none (or after an error). */
uint32_t pn_collection_find(struct pn_txn *txn, const struct pn_store *store, struct pn_user user);

/* The same, and makes it where there is none. */
uint32_t pn_collection_make(struct pn_txn *txn, const struct pn_store *store, struct pn_user user);

/* Takes a collection out of the directory, and lets its records be erased. */
void pn_collection_drop(struct pn_txn *txn, uint32_t collection);

/* What the record c of a collection says; borrowed. */
struct pn_owner {
	enum pn_type type;
	struct pn_str host;
	struct pn_str store;
	struct pn_user user;
};

/* Whether it can be read; else the operation fails with PN_ECORRUPT. */
bool pn_owner_read(struct pn_txn *txn, struct pn_wire value, struct pn_owner *owner);
bool pn_collection_owner(struct pn_txn *txn, uint32_t collection, struct pn_owner *owner);

/* The digest of one name. */
void pn_name_digest(struct pn_txn *txn, struct pn_str name, pn_digest digest);

/* The key of kind v or k for a name in a collection. */
struct pn_key pn_name_key(struct pn_txn *txn, uint32_t collection, enum pn_kind kind,
			  struct pn_str name);

/*
 * A walk over the directory of a store, which may change meanwhile. `place` begins as
 * pn_directory_start() says, and is set behind the next collection, whose number is set too. False
 * at the end. An entry that is damaged fails the operation, and is passed nevertheless.
 */
struct pn_key pn_directory_start(const struct pn_store *store);
bool pn_directory_next(struct pn_txn *txn, const struct pn_store *store, struct pn_key *place,
		       uint32_t *collection);

#endif
