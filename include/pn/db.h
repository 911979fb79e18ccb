/*
 * The database: one LMDB environment for all hosts, its transactions, and access to its records.
 *
 * A database belongs to one thread and to the process that opened it. All writes since
 * pn_db_begin() are one transaction of LMDB, that of the turn (one pass of Prosody's event loop):
 * after a crash all of them are there, or none. If space runs out, the writes so far are committed
 * and the operation continues in a new transaction.
 *
 * Records lie in one unnamed LMDB database. pn/keys.h draws the keys; every value begins with a
 * version byte.
 *
 * Durability. A commit leaves its pages with the operating system: a killed process loses nothing.
 * A thread makes them durable (fdatasync) and then writes into a file of its own, "durable", which
 * state of the database that was; a reader's transaction keeps the pages of that state from being
 * used again. After a power failure, pn_db_open() rolls back to that state, of which every page is
 * on the disk. A new database is written under another name, made durable, and renamed: after a
 * power failure it exists as a whole or not at all, and pn_db_open() creates it in the latter case.
 * Once pn_db_open() has returned, the database survives.
 *
 * An operation that fails changes nothing, and the writes of other operations of the same turn
 * stand: a damaged record affects the operations that use it. If the failed operation has already
 * written, LMDB's transaction is aborted, begun again, and the writes of the earlier operations are
 * repeated from a copy in memory. If that fails too, because memory or the disk fails, the turn is
 * lost: every later write returns PN_ELOST until pn_db_commit() has returned it.
 *
 * Errors of every function, unless it says otherwise: PN_ENOMEM, PN_EFULL, PN_ENOSPACE,
 * PN_EREADONLY, PN_EBUSY, PN_ECORRUPT, PN_EVERSION, PN_EIO; and PN_ELOST where the turn is lost.
 */
#ifndef PN_DB_H
#define PN_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pn/buf.h>
#include <pn/str.h>
#include <pn/wire.h>

struct pn_db;

/* ---- Opening ---- */

struct pn_db_options {
	const char *directory; /* created (mode 0700) if it is missing; its parent must exist */
	uint64_t max_bytes;    /* of the data file, 0: as much as can be mapped (1 TiB) */
	unsigned interval; /* ms between a commit and its fdatasync; 0: each commit waits for it */
	bool verify;       /* the first process to open it checks the whole file's structure */
};

/*
 * Opens a database, or gives the one that this process has open in that directory, whatever its
 * options; each is closed once. *db is set on success. The last durable state is restored where the
 * machine has stopped since, see pn_db_recovered().
 *
 * Errors also: PN_EACCESS, PN_EFOREIGN (the file is not an LMDB database, or not of this program),
 * PN_EVERSION (its format is newer).
 */
int pn_db_open(struct pn_db **db, const struct pn_db_options *options);

/* Commits, makes durable, closes. NULL is allowed. Errors of the last commit are lost. */
void pn_db_close(struct pn_db *db);

/* Whether this process opened the database: a forked child must not use it, only forget it. */
bool pn_db_mine(const struct pn_db *db);

/* Forgets the database in a forked child, without touching the parent's. */
void pn_db_forget(struct pn_db *db);

/* Turns that only the log had: they were done again. */
uint64_t pn_db_replayed(const struct pn_db *db);

/* Whether a log was found that belongs to another data file: it was set aside, see pn/log.h. */
bool pn_db_rejected(const struct pn_db *db);

/* ---- The turn ---- */

/* Begins the turn's transaction, if none is open. Waits up to a second for another process's. */
int pn_db_begin(struct pn_db *db);

/*
 * Commits the turn. After an error nothing of it is stored; PN_ELOST: an earlier operation has
 * failed and could not be undone alone. With an interval of 0 it is durable when this returns, or
 * else pn_db_durable() has not grown, and pn_db_sync() says why.
 */
int pn_db_commit(struct pn_db *db);

/* Undoes the turn. */
void pn_db_abort(struct pn_db *db);

/*
 * How many operations have written in the turn, 0 if none is open or nothing was written. 1 for a
 * turn that is lost, until pn_db_commit() has said so.
 */
unsigned pn_db_pending(const struct pn_db *db);

/* ---- Durability ---- */

/*
 * Number of the last transaction that was committed by this process; everything written so far is
 * durable once pn_db_durable() has reached it and nothing is pending.
 */
uint64_t pn_db_committed(const struct pn_db *db);
uint64_t pn_db_durable(const struct pn_db *db);

/*
 * Starts making durable what was committed, in the background, where that is due `now` (ms of a
 * monotonic clock) and not under way. Sets *wait to the ms until it should be called again, -1: not
 * before the next commit or event. Returns 0, or the error of an earlier attempt (once).
 */
int pn_db_sync(struct pn_db *db, uint64_t now, int *wait);

/* Commits the turn, and makes durable what was committed, before it returns. */
int pn_db_flush(struct pn_db *db);

/* A descriptor that becomes readable when pn_db_durable() grows or an attempt fails. */
int pn_db_event_fd(const struct pn_db *db);

/* Takes back the readability of the descriptor. */
void pn_db_event_clear(struct pn_db *db);

/* ---- Operations ---- */

/*
 * A transaction as one operation sees it: a view of the turn's transaction, or of the last state
 * that was committed. It does not own LMDB's transaction.
 *
 * Its error is sticky: after the first one every function that takes it does nothing, "finds"
 * nothing, and pn_txn_end() returns the error. So an operation looks at the error once, at its end;
 * before, only where a loop would not end or a result would be used.
 */
struct pn_txn {
	struct pn_db *db;
	struct MDB_txn *mdb; /* NULL: it could not be begun, `err` says why */
	int err;             /* 0, or the first error */
};

/* A bound of what an operation writes. */
struct pn_claim {
	unsigned puts;
	size_t bytes;   /* of all records together, and what changing them moves */
	size_t largest; /* of one record: LMDB keeps it on pages side by side */
	bool removes;   /* it frees space, and may use the space that is reserved for that */
};

/* Begin an operation that reads, or that may write. Both return txn->err. */
int pn_txn_read(struct pn_db *db, struct pn_txn *txn);
int pn_txn_write(struct pn_db *db, struct pn_txn *txn, struct pn_claim claim);

/*
 * Ends the operation, in any case. Returns txn->err, or else `result`. If it has failed and has
 * written, or has left LMDB's transaction unusable, it is undone, and the writes of the earlier
 * operations are repeated.
 */
int pn_txn_end(struct pn_txn *txn, int result);

/* Sets the error, unless there is one or err is 0. Returns txn->err. */
int pn_txn_fail(struct pn_txn *txn, int err);

/* Fails with PN_ECORRUPT unless the value was read without an error. Returns whether it was. */
bool pn_txn_sound(struct pn_txn *txn, const struct pn_wire *value);

/* Takes the error back, for a walk that goes on past a damaged record. Reading only. */
int pn_txn_take(struct pn_txn *txn);

/* Counts writes that an operation does rarely, and that the reserved space has room for. */
void pn_txn_claim_more(struct pn_txn *txn, unsigned puts, uint64_t bytes);

/* Takes back bytes of the claim that were not needed. */
void pn_txn_refund(struct pn_txn *txn, size_t bytes);

/*
 * A read transaction of its own, at the state that is committed now, for work in several steps; it
 * keeps the database open. pn_txn_close() ends it, and pn_txn_end() must not.
 */
int pn_txn_snapshot(struct pn_db *db, struct pn_txn *txn);
void pn_txn_close(struct pn_txn *txn);

/* The number of records of the database. */
uint64_t pn_txn_entries(struct pn_txn *txn);

/* ---- Records. Values are borrowed until the next change or the end of the operation. ---- */

enum { PN_KEY_MAX = 511 /* LMDB's limit */, PN_VALUE_VERSION = 1 };

struct pn_key {
	size_t len;
	unsigned char bytes[PN_KEY_MAX];
};

/* Whether there is the record. `value` is a cursor behind the version byte. */
bool pn_get(struct pn_txn *txn, const struct pn_key *key, struct pn_wire *value);

/* A value to be written: holds the version byte. */
struct pn_buf pn_value(void);

/* Writes the record, and frees the value. Returns the bytes of key and value. */
size_t pn_put(struct pn_txn *txn, const struct pn_key *key, struct pn_buf *value);

/* The same, of a value that is a u8 or a u32. */
void pn_put_u8(struct pn_txn *txn, const struct pn_key *key, uint8_t number);
void pn_put_u32(struct pn_txn *txn, const struct pn_key *key, uint32_t number);

/* Whether there was the record. */
bool pn_remove(struct pn_txn *txn, const struct pn_key *key);

/*
 * A walk over the records whose keys begin with a prefix. Every cursor that was opened is closed
 * before the operation ends, also after an error.
 */
struct pn_cursor {
	struct pn_txn *txn;
	struct MDB_cursor *mdb;
	struct pn_key prefix;
	bool stays; /* pn_cursor_remove() has moved it already */
	struct pn_str key;
	struct pn_wire value; /* behind the version byte; with err set where that is wrong */
	size_t size;          /* bytes of key and value */
};

void pn_cursor_open(struct pn_txn *txn, struct pn_cursor *cursor, const struct pn_key *prefix);
void pn_cursor_close(struct pn_cursor *cursor);

/* The first record with the prefix, at or after the key; the last one with it, before the key. */
bool pn_cursor_first(struct pn_cursor *cursor);
bool pn_cursor_seek(struct pn_cursor *cursor, const struct pn_key *key);
bool pn_cursor_seek_before(struct pn_cursor *cursor, const struct pn_key *key);
bool pn_cursor_next(struct pn_cursor *cursor);
bool pn_cursor_previous(struct pn_cursor *cursor);

/* Removes the record; pn_cursor_next() moves to the one after it. */
void pn_cursor_remove(struct pn_cursor *cursor);

/* Opens a cursor for one look: the first record with the prefix that is at or after the key. `key`
 * may be NULL. On true the caller closes the cursor, on false it is closed. */
bool pn_cursor_find(struct pn_txn *txn, struct pn_cursor *cursor, const struct pn_key *prefix,
		    const struct pn_key *key);

/* ---- Digests and ciphers. ---- */

enum { PN_DIGEST = 16, PN_BLOCK = 16 };

typedef unsigned char pn_digest[PN_DIGEST];

/* The digest of `count` names: the first 16 bytes of the SHA-256 of them, each preceded by its
 * length. A name of bytes = NULL is another than the empty one. db may be NULL, which costs more.
 * Returns 0 or PN_ENOMEM. */
int pn_db_digest(struct pn_db *db, const struct pn_str *names, size_t count, pn_digest digest);

/* One block with the database's secret, AES-128. Return 0 or PN_ENOMEM. */
int pn_db_encipher(struct pn_db *db, const unsigned char plain[PN_BLOCK],
		   unsigned char block[PN_BLOCK]);
int pn_db_decipher(struct pn_db *db, const unsigned char block[PN_BLOCK],
		   unsigned char plain[PN_BLOCK]);

/* Drawn at random when the database is opened, and another after a turn was undone: what is
 * numbered with it is not taken for something that was undone. */
uint32_t pn_db_epoch(const struct pn_db *db);

/* A number that the caller keeps with the open database; 0 at first. */
uint32_t *pn_db_high_mark(struct pn_db *db);

/* ---- For operators ---- */

/* LMDB's, for people. */
const char *pn_db_lmdb_version(void);

struct pn_db_info {
	uint64_t file_bytes;  /* size of the data file */
	uint64_t used_bytes;  /* pages in use */
	uint64_t max_bytes;   /* the limit */
	uint64_t transaction; /* number of the last one */
	uint64_t durable;     /* number of the last one that is known to be durable */
	uint64_t records;     /* of all kinds, indexes among them */
	uint64_t readers;     /* read transactions of all processes: one keeps the durable state */
};

int pn_db_info(struct pn_db *db, struct pn_db_info *info);

/* How far a copy or a check has come: both go on in slices, so that progress can be shown. */
struct pn_progress {
	uint64_t done;  /* records */
	uint64_t total; /* of the database, at the beginning */
};

/*
 * Writes all records, as they are now, to a new data file: in order, in full pages, and nothing
 * else. Others may read and write the database meanwhile; the space of what they delete is not used
 * again until the copy is freed. `file` must not exist (PN_EBUSY).
 */
struct pn_copy;
int pn_copy_new(struct pn_copy **copy, struct pn_db *db, const char *file);

/* Copies some records. Returns 1 while there is more; 0 once the copy is complete and durable. */
int pn_copy_step(struct pn_copy *copy, struct pn_progress *progress);

/* Removes the file unless it is complete. NULL is allowed. */
void pn_copy_free(struct pn_copy *copy);

/*
 * Moves the data file `file`, which is on the same file system and was written by a copy, to the
 * place of that of the database in `directory`. No process may have the database open (PN_EBUSY),
 * this one included. The data file that was there before is gone.
 */
int pn_db_replace(const char *directory, const char *file);

#endif
