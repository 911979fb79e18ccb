/* Collections: the records of one user in one store. For the cores that keep records in them. */
#ifndef PN_COLLECTION_H
#define PN_COLLECTION_H

#include <pn/store.h>

/* Returns the number of the user's collection in the store; 0 if there is none, or on error. */
uint32_t pn_collection_find(struct pn_txn *txn, const struct pn_store *store, struct pn_user user);

/* The same, but creates the collection if there is none. */
uint32_t pn_collection_make(struct pn_txn *txn, const struct pn_store *store, struct pn_user user);

/* Removes a collection from the directory. pn_store_erase() erases its records later. */
void pn_collection_drop(struct pn_txn *txn, uint32_t collection);

/* The owner of a collection, as its record c names it; borrowed. */
struct pn_owner {
	enum pn_type type;
	struct pn_str host;
	struct pn_str store;
	struct pn_user user;
};

/* Read the owner from the value of a record c, or of a collection. Return true; or false if it
 * cannot be read, and the operation fails with PN_ECORRUPT. */
bool pn_owner_read(struct pn_txn *txn, struct pn_wire value, struct pn_owner *owner);
bool pn_collection_owner(struct pn_txn *txn, uint32_t collection, struct pn_owner *owner);

/* Sets *digest to the digest of one name. */
void pn_name_digest(struct pn_txn *txn, struct pn_str name, pn_digest digest);

/* Returns the key of kind v or k for a name in a collection. */
struct pn_key pn_name_key(struct pn_txn *txn, uint32_t collection, enum pn_kind kind,
			  struct pn_str name);

/*
 * A walk over the collections of a store, which may change meanwhile. *position starts as
 * pn_directory_start() returns it. pn_directory_next() sets *collection to the number of the next
 * collection and moves *position behind it; it returns false at the end. A damaged entry fails the
 * operation, but *position moves behind it as well.
 */
struct pn_key pn_directory_start(const struct pn_store *store);
bool pn_directory_next(struct pn_txn *txn, const struct pn_store *store, struct pn_key *position,
		       uint32_t *collection);

#endif
