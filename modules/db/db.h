/* Private to this folder: the environment, and the interfaces between its files. */
#ifndef PN_DB_DB_H
#define PN_DB_DB_H

#include <sys/types.h>

#include <lmdb.h>

#include <pn/db.h>

#include "crypt.h"

enum { FILE_MODE = 0600 };

struct pn_sync;

/* A copy of the writes of the turn, see redo.c. */
struct pn_redo {
	struct pn_buf changes; /* of all operations, in order */
	size_t kept;           /* bytes of `changes`: those of the operations that have succeeded */
};

/*
 * Invariants: while `write` is open, this process holds the writer's lock. While `lost` is set,
 * `write` is NULL; pn_db_commit() clears it.
 */
struct pn_db {
	struct pn_db *next; /* in the registry of the process */
	unsigned users;     /* calls of pn_db_open() minus those of pn_db_close() */
	unsigned snapshots; /* copies and checks that are running */
	dev_t device;       /* of the directory, as is inode: the key of the registry */
	ino_t inode;
	pid_t process; /* that opened it */

	int directory; /* descriptor */
	int locks;     /* descriptor of the lock file */
	int data;      /* descriptor of the data file, LMDB's */
	MDB_env *env;
	MDB_dbi dbi;
	unsigned page_size; /* bytes */
	uint64_t max_bytes; /* limit of the data file; UINT64_MAX: none */
	uint64_t map_bytes; /* size of the map */
	uint64_t recovered; /* transactions that were rolled back */

	MDB_txn *write;         /* of the turn; NULL: no turn is open */
	MDB_txn *read;          /* reset between operations, and renewed */
	bool lost;              /* the turn is lost, see pn/db.h */
	bool wrote;             /* the current operation has written */
	unsigned pending;       /* operations that have written in the turn */
	uint64_t estimate;      /* bytes that the turn may add to the file */
	uint64_t kept_estimate; /* the same, without the current operation */
	struct pn_redo redo;
	uint64_t reserved; /* end of the space that is allocated on the disk for the file */
	uint64_t file_end; /* end of the last page, when the turn was begun */

	uint64_t durable;     /* last durable transaction, see bound_growth() */
	uint64_t durable_end; /* file_end when `durable` was first seen */
	uint64_t committed;   /* last transaction that this process committed */
	bool advanced;        /* the last commit was made by pn_turn_advance() */
	struct pn_sync *sync;
	struct pn_crypt *crypt;
	uint32_t epoch;
	uint32_t high_mark;
};

/* The code for a result of LMDB, which may be an errno. */
int pn_db_error(int rc);

/* Begins or renews db->read. Returns a result of LMDB. */
int pn_db_renew_reader(struct pn_db *db);

struct pn_readers {
	unsigned count; /* of all processes, including the one that keeps the durable state */
	size_t oldest;  /* the oldest transaction that is read; SIZE_MAX if none is */
};

/* The read transactions of all processes. */
struct pn_readers pn_db_readers(const struct pn_db *db);

/*
 * Adopts the larger map of another process (MDB_MAP_RESIZED). The caller holds the writer's lock,
 * so nothing is committed while no reader keeps the durable state.
 */
int pn_db_grow_map(struct pn_db *db);

/* ---- Locks: each is a byte of the file "lock" ---- */

enum pn_lock {
	PN_LOCK_WRITER = 0,  /* the process that writes */
	PN_LOCK_PRESENT = 1, /* shared by the processes that have the database open */
	PN_LOCK_RECORD = 2,  /* the process that writes the file "durable" */
};

/* Takes a lock, shared or exclusive. Returns 0, or PN_EBUSY after `wait` ms. */
int pn_lock_take(int fd, enum pn_lock lock, bool shared, unsigned wait);
void pn_lock_drop(int fd, enum pn_lock lock);

/* ---- The file's format ---- */

/*
 * Creates the data file if it is missing or empty, and removes the remains of an interrupted
 * attempt. `directory` is a descriptor of `path`. The content is synced before the file gets its
 * name; the caller syncs the directory. No other process may have the database open.
 */
int pn_format_create(int directory, const char *path);

/* Reads the format record, or writes it to an empty database. Sets the secret. */
int pn_format_open(struct pn_db *db);

/* The key of the format record. */
static inline struct pn_key pn_format_key(void) {
	return (struct pn_key){.len = 1, .bytes = {'F'}};
}

/* ---- Space on the disk (room.c) ---- */

/* Sets db->file_end. Returns a result of LMDB. */
int pn_room_find_end(struct pn_db *db);

/* On opening, reserves the space that is set aside for operations that free space. */
void pn_room_set_aside(struct pn_db *db);

/*
 * Reserves space for `bytes` more, which an operation may add to the file. Returns 0, PN_EFULL, or
 * an error of the file system.
 */
int pn_room_reserve(struct pn_db *db, const struct pn_claim *claim, uint64_t bytes);

/* Whether there is space for `bytes` more once a state newer than the last one is durable. */
bool pn_room_after_advance(struct pn_db *db, const struct pn_claim *claim, uint64_t bytes);

/*
 * Releases space that was reserved for a large turn and not used. The caller holds the writer's
 * lock, so no other process extends the file.
 */
void pn_room_release_surplus(struct pn_db *db);

/* LMDB returns EIO after a short write. Returns its cause: PN_ENOSPACE or PN_EIO. */
int pn_room_explain_io(const struct pn_db *db);

/* ---- The writes of the turn, for pn_txn_end() (redo.c) ---- */

void pn_redo_clear(struct pn_redo *redo);
void pn_redo_free(struct pn_redo *redo);

/* Record a write of the current operation. Return 0 or PN_ENOMEM. */
int pn_redo_put(struct pn_redo *redo, struct pn_str key, struct pn_str value);
int pn_redo_remove(struct pn_redo *redo, struct pn_str key);

/* Keeps the writes of the current operation: it has succeeded. */
void pn_redo_keep(struct pn_redo *redo);

/* Drops the writes of the current operation, and repeats those of the earlier ones in `txn`. */
int pn_redo_run(struct pn_redo *redo, MDB_txn *txn, MDB_dbi dbi);

#endif
