/* What the files of this folder share: the environment, and access to records inside a call. */
#ifndef PN_STORE_STORE_H
#define PN_STORE_STORE_H

#include <sys/types.h>

#include <lmdb.h>

#include <pn/store.h>
#include <pn/wire.h>

#include "crypt.h"
#include "keys.h"

enum { PN_VALUE_VERSION = 1 };

struct pn_sync;

/* The writes of the open transaction, see redo.c. */
struct pn_redo {
	struct pn_buf changes; /* of all calls, in order */
	size_t kept;           /* bytes of these: of calls that have ended well */
};

/*
 * Invariants: while `write` is open this process holds the writer's lock. `lost` is set when
 * `write` had to be undone; then `write` is NULL until pn_store_commit(). `txn` is set inside a
 * call only.
 */
struct pn_store {
	struct pn_store *next; /* in the process's registry */
	unsigned users;        /* how often it was opened */
	unsigned views;        /* copies and checks under way */
	dev_t device;          /* of the directory, as is inode: what the registry compares */
	ino_t inode;
	pid_t process;

	int directory; /* descriptor */
	int locks;     /* descriptor of the lock file */
	int data;      /* descriptor of the data file, LMDB's */
	MDB_env *env;
	MDB_dbi dbi;
	unsigned page_size;
	uint64_t max_bytes;
	uint64_t map_bytes;
	uint64_t recovered;

	MDB_txn *write;
	MDB_txn *read; /* kept between calls, reset */
	MDB_txn *txn;  /* the one that the current call uses */
	bool lost;
	bool wrote;             /* the current call has changed something */
	unsigned pending;       /* calls that have written in `write` */
	uint64_t estimate;      /* bytes that `write` may add to the file */
	uint64_t kept_estimate; /* the same, without the current call */
	struct pn_redo redo;
	uint64_t reserved; /* bytes of the file that are sure to have a place on the disk */
	uint64_t file_end; /* first byte after the last page, when `write` was begun */

	uint64_t durable; /* as it was when `durable_end` was where the file ended */
	uint64_t durable_end;
	uint64_t committed;
	bool moved_on; /* the last commit was made for room alone */
	struct pn_sync *sync;
	struct pn_crypt *crypt;
	uint32_t epoch;
	uint32_t last_collection; /* that was numbered since the store was opened */
};

/* The code for a result of LMDB, or for an errno that LMDB handed through. */
int pn_store_error(int rc);

struct pn_readers {
	unsigned count; /* of all processes, also the one that keeps the durable state */
	size_t oldest;  /* transaction; SIZE_MAX if nobody reads */
};

/* Who reads just now. */
struct pn_readers pn_store_readers(const struct pn_store *store);

/* ---- Locks of the store's lock file, each a byte, held by this process ---- */

enum pn_lock {
	PN_LOCK_WRITER = 0,  /* who writes */
	PN_LOCK_PRESENT = 1, /* shared by all who have it open */
	PN_LOCK_RECORD = 2,  /* who writes the file "durable" */
};

/* Returns 0, or PN_EBUSY after `wait` ms. */
int pn_lock_take(int fd, enum pn_lock lock, bool shared, unsigned wait);
void pn_lock_drop(int fd, enum pn_lock lock);

/* ---- The file's format ---- */

/*
 * Creates the data file if it is missing or empty. `directory` is a descriptor of `path`. The
 * file's content is durable before it gets its name; the caller syncs the directory. No other
 * process may have the store open. Removes the remains of an interrupted attempt.
 */
int pn_format_create(int directory, const char *path);

/* Reads the format record, or writes it in an empty database. Sets the secret. */
int pn_format_open(struct pn_store *store);

/* ---- Calls: every function that reads or writes records stands between begin and end ---- */

int pn_call_read(struct pn_store *store);

/* At most what a call writes. */
struct pn_claim {
	unsigned puts;
	size_t bytes;   /* of all records together, and what changing them moves */
	size_t largest; /* of one record: LMDB keeps it on pages side by side */
	bool removes;   /* it makes room, and may use what was set aside for that */
};

int pn_call_write(struct pn_store *store, struct pn_claim claim);

/* On opening, reserves what calls that make room need. */
void pn_call_set_aside(struct pn_store *store);

/* Counts puts that a call does rarely, and that what is set aside has room for. */
void pn_call_estimate(struct pn_store *store, unsigned puts);

/* Takes back bytes that pn_call_write() was told of, and that were not needed after all. */
void pn_call_refund(struct pn_store *store, size_t bytes);

/*
 * Ends the call, and returns `result`. If the call has failed and has written, or has left LMDB's
 * transaction unusable, it is undone: the transaction is begun again, and the writes of the earlier
 * calls are repeated. If that fails, the transaction is lost.
 */
int pn_call_end(struct pn_store *store, int result);

/* ---- The writes of the open transaction, for pn_call_end() ---- */

void pn_redo_clear(struct pn_redo *redo);
void pn_redo_free(struct pn_redo *redo);

/* Note a change of the current call. Return 0 or PN_ENOMEM. */
int pn_redo_put(struct pn_redo *redo, struct pn_str key, struct pn_str value);
int pn_redo_remove(struct pn_redo *redo, struct pn_str key);

/* The current call has ended well. */
void pn_redo_keep(struct pn_redo *redo);

/* Drops the changes of the current call, and repeats those of the earlier calls in `txn`. */
int pn_redo_run(struct pn_redo *redo, MDB_txn *txn, MDB_dbi dbi);

/* ---- Records. Values are borrowed until the next change or the end of the call. ---- */

/* Returns 1, or 0 if there is none. `value` is a cursor behind the version byte. */
int pn_get(struct pn_store *store, const struct pn_key *key, struct pn_wire *value);

/* The value begins with PN_VALUE_VERSION, and does not point into a record. */
int pn_put(struct pn_store *store, const struct pn_key *key, const void *value, size_t len);

/* The value is the version byte and a u32. */
int pn_put_u32(struct pn_store *store, const struct pn_key *key, uint32_t number);

/* Returns 1, or 0 if there was none. */
int pn_remove(struct pn_store *store, const struct pn_key *key);

/* A place in the database. Close it before the call ends. */
struct pn_cursor {
	MDB_cursor *mdb;
	struct pn_str key;
	struct pn_wire value; /* behind the version byte; with err set where that is wrong */
	size_t size;          /* bytes of key and value */
};

int pn_cursor_open(struct pn_store *store, struct pn_cursor *cursor);
void pn_cursor_close(struct pn_cursor *cursor);

/* The first record at or after the key, or the last one before it. Return 1, 0 or an error. */
int pn_cursor_seek(struct pn_cursor *cursor, const struct pn_key *key);
int pn_cursor_seek_before(struct pn_cursor *cursor, const struct pn_key *key);
int pn_cursor_next(struct pn_cursor *cursor);
int pn_cursor_previous(struct pn_cursor *cursor);
int pn_cursor_remove(struct pn_store *store, struct pn_cursor *cursor);

/* ---- Collections ---- */

/* Finds the collection of the user in the space: 1 and *collection, or 0. */
int pn_collection_find(struct pn_store *store, const struct pn_space *space, struct pn_user user,
		       uint32_t *collection);

/* The same, and makes it where there is none. */
int pn_collection_make(struct pn_store *store, const struct pn_space *space, struct pn_user user,
		       uint32_t *collection);

/* Takes a collection out of the directory, and lets its records be erased. */
int pn_collection_drop(struct pn_store *store, uint32_t collection);

/* What the record c of a collection says; borrowed. */
struct pn_names {
	enum pn_type type;
	struct pn_str host;
	struct pn_str store;
	struct pn_user user;
};

int pn_names_read(struct pn_wire value, struct pn_names *names);
int pn_collection_names(struct pn_store *store, uint32_t collection, struct pn_names *names);

/* The digest of the user's name. */
int pn_user_digest(struct pn_store *store, struct pn_user user, pn_digest digest);

#endif
