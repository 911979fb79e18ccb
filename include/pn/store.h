/*
 * Stores, in Prosody's sense: `archive` or `roster` of one host. A store has a collection for each
 * user: an archive (pn/archive.h), or key-value records.
 *
 * Errors of every function, unless it says otherwise: those of pn/db.h.
 */
#ifndef PN_STORE_H
#define PN_STORE_H

#include <pn/keys.h>

/* Made once and passed to every operation. All its fields but host_limit are private. */
struct pn_store {
	uint64_t host_limit; /* bytes that the host may hold, 0 (at first): no limit. Operations
			      * that add bytes beyond it fail with PN_EHOST. */
	struct pn_db *db;    /* borrowed: it stays open as long as the store is used */
	enum pn_type type;
	struct pn_str host; /* borrowed, as is name, as long as the store is used */
	struct pn_str name;
	pn_digest digest;      /* digest(host, name) */
	pn_digest host_digest; /* digest(host) */
};

/* Makes a store of a database. Returns 0 or PN_ENOMEM. */
int pn_store_init(struct pn_store *store, struct pn_db *db, enum pn_type type, struct pn_str host,
		  struct pn_str name);

/* The name of a user. bytes = NULL is the host itself, which differs from the empty name. */
struct pn_user {
	const char *bytes;
	size_t len;
};

/*
 * Appends the name, as bytes of pn/wire.h, of each user who has a collection in the store. The host
 * itself is left out.
 */
int pn_store_users(const struct pn_store *store, struct pn_buf *names);

/* ---- All stores of a user, or of a host ---- */

/* Removes every collection of the user on the host. pn_store_erase() erases their records. */
int pn_store_purge(struct pn_db *db, struct pn_str host, struct pn_user user);

/* Appends u8 type and bytes name for each store of the user on the host. */
int pn_store_list(struct pn_db *db, struct pn_str host, struct pn_user user, struct pn_buf *out);

/* The same for the stores of all users of the host. Stores that only the host itself has are left
 * out. */
int pn_store_list_all(struct pn_db *db, struct pn_str host, struct pn_buf *out);

/*
 * Erases records of removed collections, and of deleted messages (pn_archive_delete()): about
 * `limit` of them. Returns 1 if records are left, otherwise 0. Damaged archives are skipped;
 * PN_ECORRUPT: nothing was erased, because these are all that is left.
 */
int pn_store_erase(struct pn_db *db, unsigned limit);

/* Sets *count to the number of collections, removed or not, that have records left to erase. */
int pn_store_erasing(struct pn_db *db, uint64_t *count);

/* ---- The bytes of a host: of its messages and key-value records, with their keys ---- */

/* Sets *bytes. Returns 1, or 0 if they are not counted, or not all of them are. */
int pn_store_host_bytes(struct pn_db *db, struct pn_str host, uint64_t *bytes);

/*
 * Counting: from the first call on the bytes of every host are counted, by all processes. Each call
 * counts at most `limit` of the collections that are there. Returns 1 while collections are left,
 * then 0. Limits compare what is counted so far.
 */
int pn_store_count(struct pn_db *db, unsigned limit);

/* Ends the counting, which costs a tenth of an append. */
int pn_store_stop_counting(struct pn_db *db);

/* ---- Key-value records. Keys and values are any bytes. ---- */

/* Appends the value of the key. Returns 1, or 0 if there is none. */
int pn_kv_get(const struct pn_store *store, struct pn_user user, struct pn_str key,
	      struct pn_buf *value);

/* Appends bytes key, bytes value for each record of the user. Returns their number. */
int pn_kv_load(const struct pn_store *store, struct pn_user user, struct pn_buf *out);

struct pn_record {
	struct pn_str key;
	struct pn_str value;
};

/* Sets each key to its value, or removes it if value.bytes is NULL. Sets all of them or none. */
int pn_kv_set(const struct pn_store *store, struct pn_user user, const struct pn_record *records,
	      size_t count);

/*
 * Replaces all records of the user; count 0 removes the collection. Sorts `records` by key, and
 * writes the differences only. Keys must not repeat.
 */
int pn_kv_replace(const struct pn_store *store, struct pn_user user, struct pn_record *records,
		  size_t count);

/* Appends bytes user, bytes value for each user that has the key. */
int pn_kv_get_all(const struct pn_store *store, struct pn_str key, struct pn_buf *out);

/* Removes the key from all users. */
int pn_kv_delete_all(const struct pn_store *store, struct pn_str key);

/* ---- For operators ---- */

/* The size of a collection; borrowed for the call. */
struct pn_stat {
	enum pn_type type;
	struct pn_str host;
	struct pn_str store;
	struct pn_user user;
	uint64_t entries; /* messages, or keys */
	uint64_t bytes;   /* of their records; of messages before compression */
};

/*
 * Calls `each` for at most `limit` collections, in order of their numbers, starting after *position
 * (0 at first), and sets *position to the last one. Returns 1 while collections are left, then 0.
 * The entries and bytes of key-value collections are counted by walking them; if `counted` is false
 * they are 0. `each` must not use the database.
 */
int pn_store_stat(struct pn_db *db, uint32_t *position, unsigned limit, bool counted,
		  void (*each)(void *context, const struct pn_stat *stat), void *context);

/*
 * A check of all records, as they are now, against the records that depend on them. Sets *check,
 * which the caller frees. pn_check_step() calls `problem` with a sentence for each record that is
 * wrong; it must not use the database.
 */
struct pn_check;
int pn_check_new(struct pn_check **check, struct pn_db *db,
		 void (*problem)(void *context, const char *text), void *context);

/* Checks some records. Returns 1 while records are left, then 0. */
int pn_check_step(struct pn_check *check, struct pn_progress *progress);

/* NULL is allowed. */
void pn_check_free(struct pn_check *check);

#endif
