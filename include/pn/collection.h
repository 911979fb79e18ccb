/* Collections: the records of one user in one store. For the cores that keep records in them. */
#ifndef PN_COLLECTION_H
#define PN_COLLECTION_H

#include <pn/store.h>

/* Returns the number of the user's collection in the store; 0 if there is none, or on error. */
uint32_t pn_collection_find(struct pn_txn *txn, const struct pn_store *store, struct pn_user user);

/* The same, but creates the collection if there is none. */
uint32_t pn_collection_make(struct pn_txn *txn, const struct pn_store *store, struct pn_user user);

/* Removes a collection from the directory, and its bytes from those of the host. pn_store_erase()
 * erases its records later. */
void pn_collection_drop(struct pn_txn *txn, uint32_t collection, uint64_t bytes);

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

/* Sets *host to the digest of the name of a collection's host. Returns whether that could be read;
 * if not, the operation fails. */
bool pn_collection_host(struct pn_txn *txn, uint32_t collection, pn_digest host);

struct pn_size {
	uint64_t entries; /* messages, or keys */
	uint64_t bytes;   /* of their records */
};

/* The size of a collection. A key-value collection is walked. */
struct pn_size pn_collection_size(struct pn_txn *txn, uint32_t collection, enum pn_type type);

/* The bytes that the count of its host has of a collection. */
uint64_t pn_collection_counted(struct pn_txn *txn, uint32_t collection);

/* The prefix of the keys u of a user. */
struct pn_key pn_user_prefix(struct pn_txn *txn, struct pn_str host, struct pn_user user);

/* ---- The bytes of hosts, see host.c. `host` is the digest of the name. ---- */

uint64_t pn_host_bytes(struct pn_txn *txn, const pn_digest host);

/* Adds to the bytes of the host what an operation has changed in a collection. */
void pn_host_changed(struct pn_txn *txn, const pn_digest host, uint32_t collection,
		     int64_t difference);

/* The same, of a collection that is counted now. */
void pn_host_add(struct pn_txn *txn, const pn_digest host, int64_t difference);

/* The number of the last collection that was counted; PN_COUNTED_ALL; 0: nothing is counted. */
#define PN_COUNTED_ALL UINT32_MAX
uint32_t pn_host_counted(struct pn_txn *txn);
void pn_host_set_counted(struct pn_txn *txn, uint32_t collection);

/* Whether the host may hold so many bytes more. store = NULL: yes. */
bool pn_host_has_room(struct pn_txn *txn, const struct pn_store *store, uint64_t more);

/* Fails the operation with PN_EHOST if that would take the host beyond its limit: records of
 * `before` bytes are replaced by records of at most `after`. */
void pn_host_check(struct pn_txn *txn, const struct pn_store *store, uint64_t before,
		   uint64_t after);

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
