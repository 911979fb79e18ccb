/*
 * A store: one LMDB environment for all hosts, its transactions, and key-value records.
 *
 * A store belongs to one thread and to the process that opened it. All writes since
 * pn_store_begin() are one transaction: after a crash all of them are there, or none. Where a call
 * finds no room otherwise, what was written before it is committed, and it begins another one.
 *
 * Everything lies in one unnamed database. A key begins with the letter of its kind; integers are
 * big-endian, so that byte order is numeric order. digest: the first 16 bytes of the SHA-256 of a
 * sequence of names, each preceded by its length; so names may be long and hold any bytes.
 *
 *      kind  key                                        value (after a version byte)
 *      F                                                format, secret
 *      d     digest(host, store) type digest(user)      collection
 *      u     digest(host, user) type digest(store)      collection
 *      s     digest(host) type digest(store)            number of users, store
 *      c     collection                                 type, host, store, user
 *      x     collection                                 type: removed, still to be erased
 *      r     collection v tag key                       a value of a key-value collection
 *      r     collection e|h|k|m|n|p|q|w ...             archives, see pn/archive.h
 *
 *      collection  u32, not used again while anything of it is left      type  u8, enum pn_type
 *      tag         u8: 0 key as it is; 1 digest(key), the value begins with bytes key
 *
 * A collection exists exactly while it has at least one entry.
 *
 * Durability. A commit leaves its pages with the operating system: a killed process loses nothing.
 * A thread makes them durable (fdatasync) and then writes into a file of its own, "durable", which
 * state of the database that was; a reader's transaction keeps the pages of that state from being
 * used again. After a power failure, pn_store_open() goes back to that state, of which every page
 * is on the disk. A new store is written under another name, made durable, and renamed: after a
 * power failure it exists as a whole or not at all, and pn_store_open() creates it in the latter
 * case. Once pn_store_open() has returned, the store survives.
 *
 * A call that fails changes nothing, and the writes of other calls in the same transaction stand: a
 * damaged record affects the calls that use it. If the failed call has already written, the
 * transaction is aborted, begun again, and the writes of the earlier calls are repeated from a copy
 * in memory. If that fails too, because memory or the disk fails, the transaction is lost: every
 * later write returns PN_ELOST until pn_store_commit() has returned it.
 *
 * Errors of every function, unless it says otherwise: PN_ENOMEM, PN_EFULL, PN_ENOSPACE,
 * PN_EREADONLY, PN_EBUSY, PN_ECORRUPT, PN_EVERSION, PN_EIO; and PN_ELOST where the open transaction
 * is lost.
 */
#ifndef PN_STORE_H
#define PN_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pn/buf.h>
#include <pn/stanza.h>

struct pn_store;

enum pn_type {
	PN_TYPE_KEYVAL = 1,
	PN_TYPE_ARCHIVE = 2,
};

/* ---- Opening ---- */

struct pn_store_options {
	const char *directory; /* created (mode 0700) if it is missing; its parent must exist */
	uint64_t max_bytes;    /* of the data file, 0: as much as can be mapped (1 TiB) */
	unsigned interval; /* ms between a commit and its fdatasync; 0: each commit waits for it */
	bool verify;       /* the first process to open it checks the whole file's structure */
};

/*
 * Opens a store, or gives the one that this process has open in that directory, whatever its
 * options; each is closed once. *store is set on success. An older state is restored where the
 * machine has stopped since the last state that was made durable, see pn_store_recovered().
 *
 * Errors also: PN_EACCESS, PN_EFOREIGN (the file is no LMDB database, or not of this program),
 * PN_EVERSION (its format is newer).
 */
int pn_store_open(struct pn_store **store, const struct pn_store_options *options);

/* Commits, makes durable, closes. NULL is allowed. Errors of the last commit are lost. */
void pn_store_close(struct pn_store *store);

/* Whether this process opened the store: a forked child must not use it, only forget it. */
bool pn_store_mine(const struct pn_store *store);

/* Forgets the store in a forked child, without touching the parent's. */
void pn_store_forget(struct pn_store *store);

/* Commits that a power failure had undone, and that were dropped on opening. */
uint64_t pn_store_recovered(const struct pn_store *store);

/* ---- Transactions ---- */

/* Begins a write transaction, if none is open. Waits up to a second for another process's. */
int pn_store_begin(struct pn_store *store);

/*
 * Commits what is open. After an error nothing of the transaction is stored; PN_ELOST: an earlier
 * call has failed and could not be undone alone. With an interval of 0 it is durable when this
 * returns, or else pn_store_durable() has not grown, and pn_store_sync() tells why.
 */
int pn_store_commit(struct pn_store *store);

/* Undoes what is open. */
void pn_store_abort(struct pn_store *store);

/*
 * What is open: how many calls have written in it, 0 if none is open or nothing was written. 1 for
 * what is lost, until pn_store_commit() has told so.
 */
unsigned pn_store_pending(const struct pn_store *store);

/* ---- Durability ---- */

/*
 * Number of the last transaction that was committed by this process; everything written so far is
 * durable once pn_store_durable() has reached it and nothing is pending.
 */
uint64_t pn_store_committed(const struct pn_store *store);
uint64_t pn_store_durable(const struct pn_store *store);

/*
 * Starts making durable what was committed, in the background, where that is due `now` (ms of a
 * monotonic clock) and not under way. Sets *wait to the ms until it should be called again, -1: not
 * before the next commit or event. Returns 0, or the error of an earlier attempt (once).
 */
int pn_store_sync(struct pn_store *store, uint64_t now, int *wait);

/* Makes durable what was committed, before it returns. */
int pn_store_flush(struct pn_store *store);

/* A descriptor that becomes readable when pn_store_durable() grows or an attempt fails. */
int pn_store_event_fd(const struct pn_store *store);

/* Takes back the readability of the descriptor. */
void pn_store_event_clear(struct pn_store *store);

/* ---- Spaces: one store of one host ---- */

/* All its fields are private. Made once, given to every call. */
struct pn_space {
	enum pn_type type;
	struct pn_str host; /* borrowed, as is store: for as long as the space is used */
	struct pn_str store;
	unsigned char place[16]; /* digest(host, store) */
};

/* Returns 0 or PN_ENOMEM. */
int pn_space_init(struct pn_space *space, enum pn_type type, struct pn_str host,
		  struct pn_str store);

/* A user's name; bytes = NULL is the host itself, which is another than the empty name. */
struct pn_user {
	const char *bytes;
	size_t len;
};

/*
 * Appends the names of the users that have a collection in the space, the host itself left out, as
 * bytes of pn/wire.h each.
 */
int pn_space_users(struct pn_store *store, const struct pn_space *space, struct pn_buf *names);

/* Removes every collection of the user on the host. What it held is erased by pn_store_erase(). */
int pn_store_purge(struct pn_store *store, struct pn_str host, struct pn_user user);

/* Appends u8 type and bytes name for each store of the user on the host. */
int pn_store_list(struct pn_store *store, struct pn_str host, struct pn_user user,
		  struct pn_buf *out);

/* The same for the stores of all users of the host; the host's own are left out. */
int pn_store_list_all(struct pn_store *store, struct pn_str host, struct pn_buf *out);

/*
 * Erases what is left of removed collections, at most `limit` entries. Returns 1 if there is more,
 * else 0.
 */
int pn_store_erase(struct pn_store *store, unsigned limit);

/* ---- Key-value records. Keys and values are any bytes. ---- */

/* Appends the value to `value`. Returns 1, or 0 if there is none. */
int pn_kv_get(struct pn_store *store, const struct pn_space *space, struct pn_user user,
	      struct pn_str key, struct pn_buf *value);

/* Appends bytes key, bytes value for each record of the user. Returns their number. */
int pn_kv_load(struct pn_store *store, const struct pn_space *space, struct pn_user user,
	       struct pn_buf *out);

struct pn_record {
	struct pn_str key;
	struct pn_str value;
};

/* Sets each key to its value, or removes it where value.bytes is NULL. All of them, or none. */
int pn_kv_set(struct pn_store *store, const struct pn_space *space, struct pn_user user,
	      const struct pn_record *records, size_t count);

/*
 * Makes `records` all that the user has; none removes the collection. Sorts them by key. Writes
 * only what differs. Keys must not repeat.
 */
int pn_kv_replace(struct pn_store *store, const struct pn_space *space, struct pn_user user,
		  struct pn_record *records, size_t count);

/* Appends bytes user, bytes value for each user that has the key. */
int pn_kv_get_all(struct pn_store *store, const struct pn_space *space, struct pn_str key,
		  struct pn_buf *out);

/* Removes the key from all users. */
int pn_kv_delete_all(struct pn_store *store, const struct pn_space *space, struct pn_str key);

/* ---- For operators ---- */

struct pn_store_info {
	uint64_t file_bytes;  /* size of the data file */
	uint64_t used_bytes;  /* pages in use */
	uint64_t max_bytes;   /* the limit */
	uint64_t transaction; /* number of the last one */
	uint64_t durable;     /* number of the last one that is known to be durable */
	uint64_t erasing;     /* removed collections still to be erased */
	uint64_t records;     /* of all kinds, indexes among them */
	uint64_t readers;     /* read transactions of all processes: one keeps the durable state */
};

int pn_store_info(struct pn_store *store, struct pn_store_info *info);

/* What pn_store_collections() tells of each; borrowed for the call. */
struct pn_collection {
	enum pn_type type;
	struct pn_str host;
	struct pn_str store;
	struct pn_user user;
	uint64_t entries;
	uint64_t bytes;
};

/*
 * Calls `each` for every collection after number *position, in order, at most `limit` of them; sets
 * *position to the last. Returns 1 while there is more, else 0. Entries and bytes of key-value
 * collections are counted by walking them; without `counted` they are left at 0. `each` must not
 * call the store.
 */
int pn_store_collections(struct pn_store *store, uint32_t *position, unsigned limit, bool counted,
			 void (*each)(void *context, const struct pn_collection *collection),
			 void *context);

/* How far a copy or a check has come: both go on in slices, so that progress can be shown. */
struct pn_progress {
	uint64_t done;  /* records */
	uint64_t total; /* of the store, at the beginning */
};

/*
 * Writes all records, as they are now, to a new data file: in order, in full pages, and nothing
 * else. Others may read and write the store meanwhile; what they delete takes up room until the
 * copy is freed. `file` must not exist (PN_EBUSY).
 */
struct pn_copy;
int pn_copy_new(struct pn_copy **copy, struct pn_store *store, const char *file);

/* Copies some records. Returns 1 while there is more; 0 once the copy is complete and durable. */
int pn_copy_step(struct pn_copy *copy, struct pn_progress *progress);

/* Removes the file unless it is complete. NULL is allowed. */
void pn_copy_free(struct pn_copy *copy);

/*
 * Moves the data file `file`, which is on the same file system and was written by a copy, to the
 * place of that of the store in `directory`. No process may have the store open (PN_EBUSY), this
 * one included. What was there before is gone.
 */
int pn_store_replace(const char *directory, const char *file);

/*
 * Compares the records that depend on one another, as they are now, and tells `problem` of each
 * that is wrong, in a sentence. `problem` must not call the store.
 */
struct pn_check;
int pn_check_new(struct pn_check **check, struct pn_store *store,
		 void (*problem)(void *context, const char *text), void *context);

/* Checks some records. Returns 1 while there is more, then 0. */
int pn_check_step(struct pn_check *check, struct pn_progress *progress);

void pn_check_free(struct pn_check *check);

#endif
