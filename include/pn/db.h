/*
 * The database: one LMDB environment for all hosts, its transactions, and access to its records.
 *
 * A database belongs to one thread and to the process that opened it.
 *
 * A turn is one pass of Prosody's event loop. All writes of a turn, from pn_db_begin() to
 * pn_db_commit(), are one record of the log (pn/log.h): after a crash all of them are there, or
 * none. If space runs out, the writes so far are committed and the operation continues in a new
 * turn. Where another process takes the space on the disk before LMDB's commit, the log keeps the
 * turns, and pn_db_sync() returns the error. Near the limit of the file, pages become free in the
 * background: an operation that finds none fails with PN_EFULL, after a wait of 0.1 s now and then,
 * and is possible again once the disk is done. Without an event loop (pn_db_keep_open()) it waits
 * as long as the disk needs.
 *
 * Records are in one unnamed LMDB database. pn/keys.h draws the keys; every value begins with a
 * version byte.
 *
 * The log and LMDB. LMDB's transaction stays open over many turns: committing it writes every
 * changed page. It is a checkpoint, made after some thousand changes, after some seconds, when no
 * turn comes for a while, and when another process waits. Whoever takes the writer's lock first
 * applies what only the log has, and has committed before it gives the lock back.
 *
 * Durability. An appended record is with the operating system, so a killed process loses nothing.
 * A thread syncs the log: then a power failure loses nothing either. Another thread syncs the data
 * file after a checkpoint, and then writes to the file "durable" which state of it is durable; a
 * read transaction keeps the pages of that state from being reused. The log before it is cut. After
 * a power failure pn_db_open() rolls back to that state, all pages of which are on the disk, and
 * applies the log. A new database is written under another name, synced and renamed: after a power
 * failure it is complete or absent, and if it is absent pn_db_open() creates it. Once pn_db_open()
 * has returned, the database survives a power failure.
 *
 * Errors. An operation that fails changes nothing, and the writes of other operations in the turn
 * stand: a damaged record only affects the operations that use it. If the failed operation has
 * written, LMDB's transaction is aborted, a new one begun, and the writes of the earlier operations
 * are repeated from a copy in memory. If that fails too, for lack of memory or because of the disk,
 * the turn is lost: every later write returns PN_ELOST, and so does the next pn_db_commit().
 *
 * Errors of every function, unless it says otherwise: PN_ENOMEM, PN_EFULL, PN_ENOSPACE,
 * PN_EREADONLY, PN_EBUSY, PN_ECORRUPT, PN_EDAMAGED, PN_EVERSION, PN_EIO, and PN_ELOST in a lost
 * turn.
 */
#ifndef PN_DB_H
#define PN_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <pn/buf.h>
#include <pn/compress.h>
#include <pn/str.h>
#include <pn/wire.h>

struct pn_db;

/* ---- Opening ---- */

struct pn_db_options {
	const char *directory; /* created (mode 0700) if it is missing; its parent must exist */
	uint64_t max_bytes;    /* limit of the data file, 0: the largest map possible (1 TiB) */
	unsigned interval; /* ms between a commit and its sync; 0: a commit waits for its sync */
	bool verify;       /* LMDB reads no page that is not known to be sound, see below */
	bool anew;         /* known by this process, or by one that has it open now */
	bool reads_all; /* the system reads ahead: the process reads large parts of the database */
};

/*
 * Opens the database in a directory and sets *db. If this process has it open already, returns the
 * same handle and ignores the options; pn_db_close() is called once for each pn_db_open(). Rolls
 * back after an unclean shutdown of the machine, see pn_db_replayed(). Waits up to 2 s for another
 * process that is opening the database.
 *
 * Errors also: PN_ECORRUPT (with `verify`: a page that everything needs is damaged), PN_ELOG,
 * PN_EOUTDATED (another process has a database of an older format open),
 * PN_EACCESS, PN_EFOREIGN (data.mdb is not an LMDB database, or not one of this program),
 * PN_EVERSION (written by a newer version).
 */
int pn_db_open(struct pn_db **db, const struct pn_db_options *options);

/*
 * The structure of the data file. LMDB trusts its pages: a damaged one can make it read and write
 * anywhere. A killed process does not damage pages, so the file is verified once in each boot of
 * the machine, by pread() in a thread, after the first call of pn_db_sync(); the state that was
 * found when the database was opened is kept meanwhile. Until that is done, with `verify`, the
 * pages that an operation needs are verified before LMDB reads them, those of the free list when
 * the database is opened. Nothing else is read, so opening takes as long for any size.
 *
 * Once a damaged page was found, operations that write return PN_EDAMAGED, also after the database
 * was opened again, until a verification finds no damage. What was logged is kept, and everything
 * but the records on damaged pages can be read: an operation that needs them returns
 * PN_ECORRUPT.
 */
enum pn_structure {
	PN_STRUCTURE_UNKNOWN,
	PN_STRUCTURE_SOUND,
	PN_STRUCTURE_DAMAGED,
};

struct pn_verification {
	enum pn_structure structure;
	bool running;   /* in the background */
	uint64_t done;  /* pages that were verified, by the one that is running or was the last */
	uint64_t total; /* pages of the file */
	uint64_t bad_page;   /* the damaged page; 0 if it is not known which */
	const char *problem; /* a clause about it, in static storage; NULL if it is not known */
};

void pn_db_verification(struct pn_db *db, struct pn_verification *now);

/* Verifies the structure of the last committed state before it returns, also if it was found sound
 * or damaged before. Returns 0; PN_ECORRUPT or PN_EIO: it is damaged; or another error. */
int pn_db_verify(struct pn_db *db);

/*
 * Changes the limit of the data file, as in the options. A higher one allows writes at once. Below
 * the size of the file nothing is appended to it any more: a write has to fit into its free pages,
 * or fails with PN_EFULL; deletions go on. Other processes have limits of their own.
 */
void pn_db_set_max(struct pn_db *db, uint64_t max_bytes);

/* Whether damage was found in the data file of a directory, and by no later verification its
 * absence. Opens no database; false too where nothing can be read. */
bool pn_db_is_damaged(const char *directory);

/* Commits, syncs and closes. NULL is allowed. Errors are dropped: see pn_db_flush(). */
void pn_db_close(struct pn_db *db);

/* Whether this process opened the database. A forked child may only forget it. */
bool pn_db_mine(const struct pn_db *db);

/* Frees the handle in a forked child, without an effect on the parent's. */
void pn_db_forget(struct pn_db *db);

/* Turns that only the log had: they were done again. */
uint64_t pn_db_replayed(const struct pn_db *db);

/* Whether a log was found that belongs to another data file: it was set aside, see pn/log.h. */
bool pn_db_rejected(const struct pn_db *db);

/* ---- The turn ---- */

/* Begins the turn's transaction, if it is not open. Waits up to 1 s for a writing process. */
int pn_db_begin(struct pn_db *db);

/*
 * Commits the turn. After an error nothing of it is stored; PN_ELOST: the turn was lost before.
 * With an interval of 0 this waits for the sync; if that fails, pn_db_durable() does not increase
 * and pn_db_sync() returns the error.
 */
int pn_db_commit(struct pn_db *db);

/* Rolls the turn back. */
void pn_db_abort(struct pn_db *db);

/*
 * The number of operations that have written in the turn, 0 if no turn is open. 1 for a lost turn,
 * until pn_db_commit() has returned the error.
 */
unsigned pn_db_pending(const struct pn_db *db);

/* ---- Durability ---- */

/*
 * The number of the last transaction that this process committed, and of the last one that is
 * durable. All writes so far are durable if pn_db_durable() >= pn_db_committed() and
 * pn_db_pending() is 0.
 */
uint64_t pn_db_committed(const struct pn_db *db);
uint64_t pn_db_durable(const struct pn_db *db);

/*
 * From now on an event loop calls pn_db_sync(), as that asks: LMDB's transaction may stay open over
 * many turns. Without it each turn is committed to LMDB at its end, and other processes need not
 * wait for this one.
 */
void pn_db_keep_open(struct pn_db *db);

/*
 * Starts a sync in the background, if there is something to sync, none is running, and the interval
 * has passed at `now` (ms of a monotonic clock). Sets *wait to the ms after which to call it again;
 * -1: not before the next commit or event. Returns 0, or the error of an earlier sync, once.
 */
int pn_db_sync(struct pn_db *db, uint64_t now, int *wait);

/* Whether a sync of the log is under way in the background: its duration tells about the disk. */
bool pn_db_is_syncing(struct pn_db *db);

/* Commits the turn and waits until everything is durable. */
int pn_db_flush(struct pn_db *db);

/* A descriptor that becomes readable when a sync has ended. Borrowed. */
int pn_db_event_fd(const struct pn_db *db);

/* Makes the descriptor unreadable again. */
void pn_db_event_clear(struct pn_db *db);

/* ---- Operations ---- */

/*
 * A transaction, as one operation sees it: a view of the turn's transaction, or of the last
 * committed state. It does not own LMDB's transaction.
 *
 * Its error is sticky: after the first error every function that takes the transaction does nothing
 * and finds nothing, and pn_txn_end() returns the error. So an operation checks for errors once, at
 * its end, and earlier only where a loop would not end or a result would be used.
 */
struct pn_txn {
	struct pn_db *db;
	struct MDB_txn *mdb; /* NULL if it could not be begun: see err */
	int err;             /* 0, or the first error */
};

/* An upper bound of what an operation writes: without room for it the operation is refused. */
struct pn_claim {
	unsigned puts;  /* records that are written or removed */
	size_t bytes;   /* of all records together, and of the records moved along with them */
	size_t largest; /* of one record: LMDB keeps it on adjacent pages */
	bool removes;   /* the operation frees space, and may use the space set aside for that */
};

/* Begin an operation that reads, or one that may write. Both return txn->err. */
int pn_txn_read(struct pn_db *db, struct pn_txn *txn);
int pn_txn_write(struct pn_db *db, struct pn_txn *txn, struct pn_claim claim);

/*
 * Ends the operation; to be called also if it could not be begun. Returns txn->err if it is set,
 * otherwise `result`. A failed operation is undone, see the top of this file.
 */
int pn_txn_end(struct pn_txn *txn, int result);

/* Sets the error, unless one is set or err is 0. Returns txn->err. */
int pn_txn_fail(struct pn_txn *txn, int err);

/* Returns whether the value was read without an error; otherwise fails with PN_ECORRUPT. */
bool pn_txn_sound(struct pn_txn *txn, const struct pn_wire *value);

/* Returns the error and clears it, for a walk that continues after a damaged record. Only for
 * operations that read. */
int pn_txn_take(struct pn_txn *txn);

/* Adds to the claim of a running operation, for writes that are rare. They use the space that is
 * set aside. */
void pn_txn_claim_more(struct pn_txn *txn, unsigned puts, uint64_t bytes);

/* Returns bytes of the claim that were not needed. */
void pn_txn_refund(struct pn_txn *txn, size_t bytes);

/*
 * Begins a read transaction of its own, for work in several steps. Its state has all turns that any
 * process has logged until now. It keeps the database open. End it with pn_txn_close(), and not
 * with pn_txn_end().
 */
int pn_txn_snapshot(struct pn_db *db, struct pn_txn *txn);
void pn_txn_close(struct pn_txn *txn);

/* The number of records in the database; 0 after an error. */
uint64_t pn_txn_entries(struct pn_txn *txn);

/* ---- Records. Values are borrowed until the next write or the end of the operation. ---- */

enum {
	PN_KEY_MAX = 511,     /* bytes of a key: LMDB's limit */
	PN_VALUE_VERSION = 1, /* first byte of each value */
};

struct pn_key {
	size_t len;
	unsigned char bytes[PN_KEY_MAX];
};

/* Returns whether the record exists, and opens *value behind the version byte. */
bool pn_get(struct pn_txn *txn, const struct pn_key *key, struct pn_wire *value);

/* Returns a new value that holds the version byte. Free it, or give it to pn_put(). */
struct pn_buf pn_value(void);

/* Writes the record, and frees the value. Returns the bytes of key and value. */
size_t pn_put(struct pn_txn *txn, const struct pn_key *key, struct pn_buf *value);

/* The same, for a value that is one u8 or u32. */
void pn_put_u8(struct pn_txn *txn, const struct pn_key *key, uint8_t number);
void pn_put_u32(struct pn_txn *txn, const struct pn_key *key, uint32_t number);

/*
 * To be called when a record was put behind all others of a series, neighbours in the order of keys
 * to which more will be added. `end`: the greatest key that the series may get, no other record's
 * key begins with it. `bytes`: about as long as the series is now. Keeps the pages of a long series
 * full.
 */
void pn_series_extended(struct pn_txn *txn, const struct pn_key *key, const struct pn_key *end,
			uint64_t bytes);

/* Removes the record. Returns whether it existed. */
bool pn_remove(struct pn_txn *txn, const struct pn_key *key);

/*
 * A walk over the records whose keys begin with a prefix. Every open cursor must be closed before
 * the operation ends, also after an error.
 */
struct pn_cursor {
	struct pn_txn *txn;
	struct MDB_cursor *mdb;
	struct pn_key prefix;
	bool stays;           /* private: pn_cursor_remove() has moved on already */
	struct pn_str key;    /* borrowed; bytes = NULL: no record */
	struct pn_wire value; /* behind the version byte; its err is set if that is wrong */
	size_t size;          /* bytes of key and value */
};

void pn_cursor_open(struct pn_txn *txn, struct pn_cursor *cursor, const struct pn_key *prefix);
void pn_cursor_close(struct pn_cursor *cursor);

/* Move the cursor and return whether it is at a record with the prefix: the first one; the first
 * one at or after the key; the last one before the key; the next one; the previous one. */
bool pn_cursor_first(struct pn_cursor *cursor);
bool pn_cursor_seek(struct pn_cursor *cursor, const struct pn_key *key);
bool pn_cursor_seek_before(struct pn_cursor *cursor, const struct pn_key *key);
bool pn_cursor_next(struct pn_cursor *cursor);
bool pn_cursor_previous(struct pn_cursor *cursor);

/* Removes the record at the cursor. pn_cursor_next() then moves to the record after it. */
void pn_cursor_remove(struct pn_cursor *cursor);

/* Opens a cursor at the first record with the prefix, or the first at or after `key` if that is not
 * NULL. Returns true, and the caller closes the cursor; or false if there is none. */
bool pn_cursor_find(struct pn_txn *txn, struct pn_cursor *cursor, const struct pn_key *prefix,
		    const struct pn_key *key);

/* ---- Digests and ciphers ---- */

enum {
	PN_DIGEST = 16, /* bytes of a digest */
	PN_BLOCK = 16,  /* bytes of a block of AES */
};

typedef unsigned char pn_digest[PN_DIGEST];

/*
 * Sets *digest to the first 16 bytes of the SHA-256 of `count` names, each preceded by its length.
 * A name with bytes = NULL differs from an empty name. db: NULL is allowed, but slower.
 * Returns 0 or PN_ENOMEM.
 */
int pn_db_digest(struct pn_db *db, const struct pn_str *names, size_t count, pn_digest digest);

/* Encrypts or decrypts one block with the database's secret, AES-128. Returns 0 or PN_ENOMEM. */
int pn_db_encipher(struct pn_db *db, const unsigned char plain[PN_BLOCK],
		   unsigned char block[PN_BLOCK]);
int pn_db_decipher(struct pn_db *db, const unsigned char block[PN_BLOCK],
		   unsigned char plain[PN_BLOCK]);

/* A number that is random when the database is opened, and changes when a turn is undone: it tells
 * a message from an undone one that had the same seq. */
uint32_t pn_db_epoch(const struct pn_db *db);

/* A number above 0 that stays the same only if nothing is written in between, and LMDB's
 * transaction goes on: what a write operation has read is right in the next one. */
uint64_t pn_db_moment(const struct pn_db *db);

/* The number of LMDB's transaction, above 0. */
uint64_t pn_db_transaction(const struct pn_db *db);

/* What the stores keep with a database while it is open; all zero at first. */
struct pn_db_notes {
	uint32_t high_mark; /* the highest number of a collection that was used */
	enum { PN_COUNT_UNKNOWN, PN_COUNT_OFF, PN_COUNT_ALL } count; /* of the bytes of hosts */
	uint64_t uncounted; /* the transaction in which no bytes of hosts are counted */
	void *recent;       /* of modules/archive; freed with pn_free() */
};

/* Borrowed until it is closed. */
struct pn_db_notes *pn_db_notes(struct pn_db *db);
/* Compresses the stanzas of the database's records. Borrowed until it is closed. */
struct pn_compressor *pn_db_compressor(struct pn_db *db);

/* ---- For operators ---- */

/* The version of LMDB as text. Static storage. */
const char *pn_db_lmdb_version(void);

struct pn_db_info {
	uint64_t file_bytes;  /* size of the data file, at least used_bytes */
	uint64_t used_bytes;  /* of pages in use, also of those that are not committed yet */
	uint64_t max_bytes;   /* the limit of the data file */
	uint64_t log_bytes;   /* size of the log */
	uint64_t transaction; /* number of the last turn */
	uint64_t durable;     /* number of the last turn that is known to be durable */
	uint64_t records;     /* of all kinds, indexes included */
	uint64_t readers;     /* read transactions of all processes; one keeps the durable state */
};

int pn_db_info(struct pn_db *db, struct pn_db_info *info);

/* The progress of a copy or a check, which work in steps. */
struct pn_progress {
	uint64_t done;  /* records */
	uint64_t total; /* records in the database at the beginning */
};

/* Sets `pids` to those of the other processes that have the database open. Returns their number, at
 * most `most`. */
size_t pn_db_others(struct pn_db *db, pid_t *pids, size_t most);

/* Gives a record another value on its way to a copy: *value, which is borrowed until the next call;
 * perhaps in another thread. Returns 0, or an error that ends the copy. */
struct pn_copy_change {
	int (*change)(void *context, struct pn_str key, struct pn_str *value);
	void *context;
};

/*
 * Starts a copy of all records, as they are now, to a new data file: in order, in full pages, and
 * nothing else. It has all turns that any process has logged until now, and an epoch of its own
 * (pn/log.h). The database may be read and written meanwhile, but space that is freed in it is not
 * reused until the copy is freed. `change`: NULL, or borrowed until then. Sets *copy, which the
 * caller frees. PN_EBUSY: `file` exists.
 */
struct pn_copy;
int pn_copy_new(struct pn_copy **copy, struct pn_db *db, const char *file,
		const struct pn_copy_change *change);

/* Copies some records. Returns 1 while records are left; 0 once the copy is durable. */
int pn_copy_step(struct pn_copy *copy, struct pn_progress *progress);

/* Writes how far it has come, for an operator: after PN_ECORRUPT, the record before the damage. */
enum { PN_COPY_PLACE = 256 };
void pn_copy_place(const struct pn_copy *copy, char text[PN_COPY_PLACE]);

/* Removes the file unless it is complete. NULL is allowed. */
void pn_copy_free(struct pn_copy *copy);

/*
 * Replaces the data file in `directory` by `file`, which a copy has written and which is on the
 * same file system: begins a new epoch in it, durably, and moves it there. The old data file and
 * its log are gone. PN_EBUSY: a process, perhaps this one, has the database open.
 */
int pn_db_replace(const char *directory, const char *file);

/*
 * Compaction: replaces the data file of an open database by a copy of it, with everything that is
 * written meanwhile, and in a new epoch. Reading and writing go on; handles and stores stay valid.
 * Until it is freed, the log is kept, and space that is freed is not reused while records are
 * copied. The copy is the file "compact.part" in the directory of the database.
 *
 * Sets *compaction, which the caller frees. With `background` a thread does the work of a step, and
 * pn_db_event_fd() becomes readable at its end; otherwise it is done before pn_compact_step()
 * returns. `change` is that of pn_copy_new(). PN_EBUSY: it is being compacted, or its structure is
 * not verified yet; PN_EDAMAGED; PN_ENOSPACE: the disk has no room for a copy.
 */
struct pn_compaction;
int pn_compact_new(struct pn_compaction **compaction, struct pn_db *db, bool background,
		   const struct pn_copy_change *change);

/* Does some of the work. Returns 1 while there is any left, or 0: pn_compact_switch() may be
 * called. PN_ELOG: a turn is missing in the log. After an error it can only be freed. */
int pn_compact_step(struct pn_compaction *compaction, struct pn_progress *progress);

/* As pn_copy_place(), after an error. */
void pn_compact_place(const struct pn_compaction *compaction, char text[PN_COPY_PLACE]);

/*
 * Commits the turn, and makes the copy the data file; it waits for the disk, for some small syncs.
 * Returns 0 once that is done; or 1 if many turns have come meanwhile: go on with
 * pn_compact_step(). PN_EBUSY: another process has the database open, see pn_db_others(), or a copy
 * or check is running; it may be tried again. After another error the old file is in use.
 */
int pn_compact_switch(struct pn_compaction *compaction);

/* Waits for the step, and removes the copy unless it is the data file. NULL is allowed. */
void pn_compact_free(struct pn_compaction *compaction);

#endif
