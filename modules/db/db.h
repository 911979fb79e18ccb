/* Private to this folder: the environment, and the interfaces between its files. */
#ifndef PN_DB_DB_H
#define PN_DB_DB_H

#include <sys/types.h>

#include <lmdb.h>

#include <pn/db.h>
#include <pn/log.h>

#include "crypt.h"

enum {
	FILE_MODE = 0600,
	OPEN_WAIT = 2000, /* ms to wait, on opening, for another process that opens or writes */
};

/* Written by a compaction, beside the data file. */
#define PN_COMPACT_FILE "compact.part"

struct pn_checkpoint;
struct pn_room;
struct pn_sync;
struct pn_verifier;

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
	struct pn_db *next; /* in the registry of the process */
	unsigned users;     /* calls of pn_db_open() minus those of pn_db_close() */
	unsigned snapshots; /* copies and checks that are running */
	dev_t device;       /* of the directory, as is inode: the key of the registry */
	ino_t inode;
	pid_t process;  /* that opened it */
	char *path;     /* of the directory */
	bool reads_all; /* see struct pn_db_options */

	int directory; /* descriptor */
	int locks;     /* descriptor of the lock file */
	int data;      /* descriptor of the data file, LMDB's */
	MDB_env *env;
	MDB_dbi dbi;
	unsigned page_size;
	uint64_t max_bytes;
	uint64_t map_bytes;
	bool stamped; /* the file "durable" was that of the data file, or another process has it
			 open */
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
	uint64_t allocated; /* end of the space that is allocated on the disk for the file */
	uint64_t disk_end;  /* up to here the file may grow: the disk has the space */
	uint64_t file_end;  /* end of the last page, when `write` was begun or committed */
	size_t leaf_pages;  /* when the operation began, or pn_series_extended() was called */

	uint64_t durable_end; /* where the file ended when `checkpointed` was durable */
	uint64_t checkpointed;
	uint64_t cut;  /* number of the last turn that was cut from the log */
	uint64_t kept; /* the log behind this turn is kept: a compaction reads it */
	bool advanced; /* the last commit was made for space alone */
	/* The file may hardly grow, and free pages are few: what is committed is made durable all
	 * the time, so that others become free. */
	bool scarce;
	unsigned impatient; /* commits during which no write waits for free pages */
	int event;          /* eventfd: a sync or a checkpoint has ended */
	struct pn_log_id id;
	struct pn_log *log;
	struct pn_sync *sync;
	struct pn_checkpoint *checkpoint;
	enum pn_structure structure;
	bool structure_changed;       /* and the file "durable" does not say so yet */
	struct pn_verifier *verifier; /* NULL: LMDB may read any page */
	struct {
		uint64_t page;
		const char *problem;
	} damage;
	struct {
		bool on;          /* a transaction may stay open, see pn_db_keep_open() */
		uint64_t began;   /* ms, when that of `write` was seen first; 0: not yet */
		uint64_t turn;    /* number of the last turn that was seen */
		uint64_t changed; /* ms, when it was seen first */
	} pace;
	struct pn_crypt *crypt;
	struct pn_compressor compressor;
	uint32_t epoch;
	uint64_t transactions; /* of `write` that were begun */
	struct pn_db_notes notes;
};

/* The code for a result of LMDB, which may be an errno. */
int pn_db_error(int rc);

/*
 * Opens LMDB's environment, and makes its state durable: to be done before the first write. No
 * other process prepares the file. After an error db->env is NULL, and the next turn or operation
 * opens it.
 */
int pn_env_open(struct pn_db *db);

/* Stamps the data file, so that a file "durable" of another one is known, see durable.h. Meanwhile
 * nothing is committed: all of the file is durable while its stamp and that of the record differ.
 */
int pn_env_stamp(struct pn_db *db);

/* Closes it; no transaction of `write` or of a snapshot is open. Makes nothing durable. */
void pn_env_close(struct pn_db *db);

/* Begins or renews db->read. Returns a result of LMDB. */
int pn_db_renew_reader(struct pn_db *db);

struct pn_readers {
	unsigned count; /* of all processes, including the one that keeps the durable state */
	size_t oldest;  /* the oldest transaction that is read; SIZE_MAX if none is */
};

/* Sets db->leaf_pages to the number of pages with records that the open transaction sees. Returns 0
 * or an error. */
static inline int pn_db_count_leaf_pages(struct pn_db *db) {
	MDB_stat stat;
	const int rc = mdb_stat(db->write, db->dbi, &stat);
	if (rc == MDB_SUCCESS)
		db->leaf_pages = stat.ms_leaf_pages;
	return pn_db_error(rc);
}

/* The read transactions of all processes. */
struct pn_readers pn_db_readers(const struct pn_db *db);

/*
 * Adopts the larger map of another process (MDB_MAP_RESIZED). The caller holds the writer's lock,
 * so nothing is committed while no reader keeps the durable state.
 */
int pn_db_grow_map(struct pn_db *db);

/* ---- Locks: each is a byte of the file "lock" ---- */

enum pn_lock {
	PN_LOCK_WRITER = 0,  /* who writes */
	PN_LOCK_PRESENT = 1, /* shared by all who have it open */
	PN_LOCK_RECORD = 2,  /* who writes the file "durable" */
	PN_LOCK_WAITING = 3, /* shared by all who wait for the writer's lock */
	PN_LOCK_COMPACT = 4, /* who compacts: nobody cuts the log meanwhile */
};

/* Takes a lock, shared or exclusive. Returns 0, or PN_EBUSY after `wait` ms. */
int pn_lock_take(int fd, enum pn_lock lock, bool shared, unsigned wait);
void pn_lock_drop(int fd, enum pn_lock lock);

/* Takes the writer's lock. Another process that holds it commits at the end of its turn, or when
 * pn_db_sync() is called. Returns 0, or PN_EBUSY after `wait` ms. */
int pn_lock_take_writer(int fd, unsigned wait);

/* Whether another process holds the lock. */
bool pn_lock_is_taken(int fd, enum pn_lock lock);

/* ---- The file's format ---- */

/*
 * Creates the data file if it is missing or empty, and removes the remains of an interrupted
 * attempt, and of a compaction. `directory` is a descriptor of `path`. The content is synced before
 * the file gets its name; the caller syncs the directory. No other process may have the database
 * open. Returns 1 if it created the file, otherwise 0.
 */
int pn_format_create(int directory, const char *path);

/* Reads the format record, or writes it to an empty database. Sets the secret. */
int pn_format_open(struct pn_db *db);

/* ---- The log ---- */

/* The record in LMDB that says which turns a commit holds: epoch u64, number of the last one u64.
 * Returns 0, PN_ECORRUPT and the like. */
int pn_position_put(MDB_txn *txn, MDB_dbi dbi, uint64_t epoch, uint64_t number);
int pn_position_put_new(MDB_txn *txn, MDB_dbi dbi, uint64_t number); /* of a new epoch */
int pn_position_get(MDB_txn *txn, MDB_dbi dbi, uint64_t *epoch, uint64_t *number);

/* ---- Replacing the data file. `directory` is a descriptor, no process has the database open. ----
 */

/* Gives `file`, which is synced, the name of the data file, durably. The present one is synced. */
int pn_replace_move(int directory, const char *file);

/* Writes to a data file that nobody has open, and syncs it, but not its name. A missing file is
 * created. Errors of `write`. */
typedef int pn_file_write(MDB_txn *txn, MDB_dbi dbi, const void *context);
int pn_replace_write(const char *file, pn_file_write *write, const void *context);

/* The key of the format record. */
static inline struct pn_key pn_format_key(void) {
	return (struct pn_key){.len = 1, .bytes = {'F'}};
}

/* ---- Space on the disk (room.c) ---- */

/* Sets db->file_end. Returns a result of LMDB. */
int pn_room_find_end(struct pn_db *db);

/* The same, from the size of the file, once it was opened or has grown; and allocates the space
 * that is set aside for operations that free space. */
void pn_room_set_aside(struct pn_db *db);

/* Whether there is space for `bytes` more, which an operation may add to the file. Returns 0,
 * PN_EFULL, or an error of the file system. */
int pn_room_reserve(struct pn_db *db, const struct pn_claim *claim, uint64_t bytes);

/* Whether there is space for `bytes` more once a state newer than the last one is durable. */
bool pn_room_after_advance(struct pn_db *db, const struct pn_claim *claim, uint64_t bytes);

/* The space that should be allocated now. */
struct pn_room pn_room_ahead(const struct pn_db *db);

/* LMDB returns EIO after a short write. Returns its cause: PN_ENOSPACE or PN_EIO. `fd`: of any file
 * on that disk. */
int pn_room_explain_io(int fd);

/* ---- Changes ---- */

void pn_redo_clear(struct pn_redo *redo);
void pn_redo_free(struct pn_redo *redo);

/* Record a write of the current operation. Return 0 or PN_ENOMEM. */
int pn_redo_put(struct pn_redo *redo, struct pn_str key, struct pn_str value);
int pn_redo_remove(struct pn_redo *redo, struct pn_str key);

/* Keeps the writes of the current operation: it has succeeded. */
void pn_redo_keep(struct pn_redo *redo);

/* The changes of the turn, as the log has them; and that they are in the log. */
struct pn_str pn_redo_turn(const struct pn_redo *redo);
void pn_redo_logged(struct pn_redo *redo);

/* Drops the changes of the current operation, or those of the turn; and repeats the others. */
int pn_redo_undo_operation(struct pn_redo *redo, MDB_txn *txn, MDB_dbi dbi);
int pn_redo_undo_turn(struct pn_redo *redo, MDB_txn *txn, MDB_dbi dbi);

/* Notes changes that the log has. Returns 0 or PN_ENOMEM. */
int pn_redo_note(struct pn_redo *redo, const void *changes, size_t len);

/* Makes changes that the log has, in db->write. PN_ECORRUPT: that is no list of changes, or the
 * data file is damaged. */
int pn_redo_apply(const void *changes, size_t len, struct pn_db *db);

/* The same in another database, of which every page is sound. */
int pn_redo_apply_to(const void *changes, size_t len, MDB_txn *txn, MDB_dbi dbi);

#endif
