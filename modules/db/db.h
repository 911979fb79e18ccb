/* What the files of this folder share: the environment. */
#ifndef PN_DB_DB_H
#define PN_DB_DB_H

#include <sys/types.h>

#include <lmdb.h>

#include <pn/db.h>
#include <pn/log.h>

#include "crypt.h"

struct pn_checkpoint;
struct pn_sync;

/* The changes since LMDB's last commit, see redo.c: those of whole turns, then those of this one.
 */
struct pn_redo {
	struct pn_buf changes; /* of all operations, in order */
	size_t logged;         /* bytes of these: of turns that are in the log */
	size_t kept;           /* the same, and of operations of this turn that have succeeded */
	unsigned count;        /* how many changes */
};

/*
 * LMDB's transaction `write` stays open over many turns: it holds what the log has and the last
 * commit has not, and the turn.
 *
 * Invariants: while `write` is open this process holds the writer's lock, and `log` is open. `lost`
 * is set when the turn had to be undone as a whole, until pn_db_commit(). `behind` is set when
 * `write` had to be given up with turns that are in the log: it is rebuilt before anything is read.
 */
struct pn_db {
	struct pn_db *next; /* in the process's registry */
	unsigned users;     /* how often it was opened */
	unsigned snapshots; /* copies and checks under way */
	dev_t device;       /* of the directory, as is inode: what the registry compares */
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
	uint64_t replayed; /* turns that were in the log alone */
	bool rejected;     /* a log was set aside */

	MDB_txn *write;
	MDB_txn *read; /* kept between operations, reset */
	bool lost;
	bool behind;
	int checkpoint_error;   /* of a commit to LMDB, until it was told */
	bool wrote;             /* the current operation has changed something */
	unsigned pending;       /* operations that have written in `write` */
	uint64_t estimate;      /* bytes that `write` may add to the file */
	uint64_t kept_estimate; /* the same, without the current operation */
	struct pn_redo redo;
	uint64_t reserved; /* bytes of the file that are sure to have a place on the disk */
	uint64_t file_end; /* first byte after the last page, when `write` was begun */

	uint64_t durable_end; /* where the file ended when `checkpointed` was durable */
	uint64_t checkpointed;
	uint64_t cut;  /* number of the last turn that was cut from the log */
	bool advanced; /* the last commit was made for space alone */
	int event;     /* eventfd: a sync or a checkpoint has ended */
	struct pn_log_id id;
	struct pn_log *log;
	struct pn_sync *sync;
	struct pn_checkpoint *checkpoint;
	struct {
		bool on;          /* pn_db_sync() is called: a transaction may stay open */
		uint64_t began;   /* ms, when that of `write` was seen first; 0: not yet */
		uint64_t turn;    /* number of the last turn that was seen */
		uint64_t changed; /* ms, when it was seen first */
	} pace;
	struct pn_crypt *crypt;
	uint32_t epoch;
	uint32_t high_mark;
};

/* The code for a result of LMDB, or for an errno that LMDB handed through. */
int pn_db_error(int rc);

/* Begins, or renews, the reader that is kept between operations. Returns a result of LMDB. */
int pn_db_renew_reader(struct pn_db *db);

struct pn_readers {
	unsigned count; /* of all processes, also the one that keeps the durable state */
	size_t oldest;  /* transaction; SIZE_MAX if nobody reads */
};

/* Who reads just now. */
struct pn_readers pn_db_readers(const struct pn_db *db);

/*
 * Another process has made the map larger. The caller holds the writer's lock, so that nothing is
 * committed while no reader keeps the durable state.
 */
int pn_db_grow_map(struct pn_db *db);

/* ---- Locks of the database's lock file, each a byte, held by this process ---- */

enum pn_lock {
	PN_LOCK_WRITER = 0,  /* who writes */
	PN_LOCK_PRESENT = 1, /* shared by all who have it open */
	PN_LOCK_RECORD = 2,  /* who writes the file "durable" */
	PN_LOCK_WAITING = 3, /* shared by all who wait for the writer's lock */
};

/* Returns 0, or PN_EBUSY after `wait` ms. */
int pn_lock_take(int fd, enum pn_lock lock, bool shared, unsigned wait);
void pn_lock_drop(int fd, enum pn_lock lock);

/* Whether another process holds the lock as a shared one. */
bool pn_lock_is_shared(int fd, enum pn_lock lock);

/* ---- The file's format ---- */

/*
 * Creates the data file if it is missing or empty. `directory` is a descriptor of `path`. The
 * file's content is durable before it gets its name; the caller syncs the directory. No other
 * process may have the database open. Removes the remains of an interrupted attempt.
 */
int pn_format_create(int directory, const char *path);

/* Reads the format record, or writes it in an empty database. Sets the secret. */
int pn_format_open(struct pn_db *db);

/* ---- The log ---- */

/* The record in LMDB that says which turns a commit holds: epoch u64, number of the last one u64.
 * Returns 0, PN_ECORRUPT and the like. */
int pn_position_put(MDB_txn *txn, MDB_dbi dbi, uint64_t epoch, uint64_t number);
int pn_position_put_new(MDB_txn *txn, MDB_dbi dbi); /* of a new epoch */
int pn_position_get(MDB_txn *txn, MDB_dbi dbi, uint64_t *epoch, uint64_t *number);

/* The key of the format record. */
static inline struct pn_key pn_format_key(void) {
	return (struct pn_key){.len = 1, .bytes = {'F'}};
}

/* ---- Space on the disk, see room.c ---- */

/* Finds where the file ends. Returns a result of LMDB. */
int pn_room_find_end(struct pn_db *db);

/* On opening, reserves what operations that free space need. */
void pn_room_set_aside(struct pn_db *db);

/*
 * Reserves space for `bytes` more, which an operation may add. Returns 0, PN_EFULL, PN_ENOSPACE and
 * the like.
 */
int pn_room_reserve(struct pn_db *db, const struct pn_claim *claim, uint64_t bytes);

/* Whether there is space for `bytes` more once a newer state than the last one is durable. */
bool pn_room_after_advance(struct pn_db *db, const struct pn_claim *claim, uint64_t bytes);

/*
 * Releases what was reserved for a large turn and not needed. The caller holds the writer's lock:
 * nobody else makes the file longer.
 */
void pn_room_release_surplus(struct pn_db *db);

/* LMDB says EIO where the disk took a part of what it was to write: PN_ENOSPACE or PN_EIO. */
int pn_room_explain_io(const struct pn_db *db);

/* ---- Changes ---- */

void pn_redo_clear(struct pn_redo *redo);
void pn_redo_free(struct pn_redo *redo);

/* Note a change of the current operation. Return 0 or PN_ENOMEM. */
int pn_redo_put(struct pn_redo *redo, struct pn_str key, struct pn_str value);
int pn_redo_remove(struct pn_redo *redo, struct pn_str key);

/* The current operation has succeeded. */
void pn_redo_keep(struct pn_redo *redo);

/* The changes of the turn, as the log has them; and that they are in the log. */
struct pn_str pn_redo_turn(const struct pn_redo *redo);
void pn_redo_logged(struct pn_redo *redo);

/* Drops the changes of the current operation, or those of the turn; and repeats the others. */
int pn_redo_undo_operation(struct pn_redo *redo, MDB_txn *txn, MDB_dbi dbi);
int pn_redo_undo_turn(struct pn_redo *redo, MDB_txn *txn, MDB_dbi dbi);

/* Notes changes that the log has. Returns 0 or PN_ENOMEM. */
int pn_redo_note(struct pn_redo *redo, const void *changes, size_t len);

/* Makes changes that the log has. PN_ECORRUPT: that is no list of changes. */
int pn_redo_apply(const void *changes, size_t len, MDB_txn *txn, MDB_dbi dbi);

#endif
