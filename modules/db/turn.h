/* The turn (pn/db.h), for the operations in it. */
#ifndef PN_DB_TURN_H
#define PN_DB_TURN_H

#include "db.h"

/* Keeps the writes of an operation that has succeeded. */
void pn_turn_keep(struct pn_db *db);

/*
 * Undoes an operation that has failed: begins LMDB's transaction again, and repeats the writes of
 * the earlier operations. If that fails, the turn is lost.
 */
void pn_turn_undo(struct pn_db *db);

/* Ends LMDB's transaction, and gives the writer's lock back, if nothing was written in it. */
void pn_turn_release(struct pn_db *db);

/* Commits LMDB's transaction; no turn is open. What fails is told by pn_db_sync(), too: the log has
 * the turns. */
int pn_turn_checkpoint(struct pn_db *db);

/* Removes the log up to turn `last`, unless a compaction reads it. The caller holds the writer's
 * lock. */
int pn_turn_cut_log(struct pn_db *db, uint64_t last, unsigned most);

/* Before reading: opens the environment if that has failed, and begins LMDB's transaction anew if
 * it had to be given up. */
int pn_turn_rebuild(struct pn_db *db);

/* Brings `db->write` up to the log, and opens that, if another process has written or this one has
 * given a transaction up. PN_ELOG: a turn that was durable is missing. See catch_up.c. */
int pn_catch_up(struct pn_db *db);

/*
 * Logs the writes so far, commits them, and begins a new transaction: what a transaction writes
 * keeps the pages of the state before it from being used again, and is counted for more than it
 * needs.
 */
int pn_turn_commit_part(struct pn_db *db);

/*
 * Pages that the last transaction has freed can be reused once a newer one is durable. If no other
 * space is left, no operation could create that newer one, so this commits one that changes
 * nothing, and syncs it. Does so once: space that is still not free then is kept by a reader.
 * Afterwards a turn is open, or db->write is NULL.
 */
int pn_turn_advance(struct pn_db *db);

#endif
