/* A copy of a database in steps (pn/db.h), for copy.c and compact.c. */
#ifndef PN_DB_COPY_H
#define PN_DB_COPY_H

#include "db.h"

struct pn_ahead;

/*
 * `from` and `cursor` read one state of the database, `to` is the environment of the copy. `txn` is
 * open within a step alone.
 *
 * Invariant: `unsynced` is 0 only if everything in the file is durable.
 */
struct pn_copy {
	struct pn_txn from; /* its db is NULL once all records are copied */
	MDB_cursor *cursor;
	struct pn_ahead *ahead;
	MDB_env *to;
	MDB_txn *txn;
	MDB_dbi target;
	const struct pn_copy_change *change; /* NULL: none */
	struct pn_progress progress;
	struct pn_key last; /* of the records that are copied */
	uint64_t epoch;     /* of the log that continues the state */
	uint64_t number;    /* number of the last turn in the copy */
	uint64_t unsynced;  /* bytes */
	bool owned;         /* the file exists, and is removed with the copy */
	bool complete;
	char *file;
};

/*
 * Steps of a copy; another thread may take them, one at a time. Return 0 or an error, after which
 * the copy can only be freed.
 *
 * pn_copy_records() copies some records of the state, and returns 1 while any are left. Then
 * pn_copy_turns() adds some turns of the log in `directory`, up to number `last`, which is
 * complete; it returns 1 while any are left. pn_copy_sync() makes the copy durable.
 */
int pn_copy_records(struct pn_copy *copy);
int pn_copy_turns(struct pn_copy *copy, int directory, const unsigned char store[PN_LOG_STORE],
		  uint64_t last);
int pn_copy_sync(struct pn_copy *copy);

/* Ends the reading of the state. Its pages can be used again. */
void pn_copy_release(struct pn_copy *copy);

/* Writes a stamp of its own to the file, see durable.h. */
int pn_copy_stamp(struct pn_copy *copy);

/* Begins a new epoch, in which the next turn has the number after `number`; then the copy is
 * complete and durable, and closed. */
int pn_copy_finish(struct pn_copy *copy, uint64_t number);

#endif
