/* The turn, for the operations in it. */
#ifndef PN_DB_TURN_H
#define PN_DB_TURN_H

#include "db.h"

/* An operation has succeeded: its writes are kept. */
void pn_turn_keep(struct pn_db *db);

/*
 * An operation has failed: LMDB's transaction is begun again, and the writes of the earlier
 * operations are repeated. If that fails, the turn is lost.
 */
void pn_turn_undo(struct pn_db *db);

/* Ends LMDB's transaction, and gives the writer's lock back, if nothing was written in it. */
void pn_turn_release(struct pn_db *db);

/* Commits LMDB's transaction; no turn is open. What fails is told by pn_db_sync(), too: the log has
 * the turns. */
int pn_turn_checkpoint(struct pn_db *db);

/* Before reading: begins LMDB's transaction anew if it had to be given up. */
int pn_turn_rebuild(struct pn_db *db);

/* Brings `db->write` up to the log, and opens that, if another process has written or this one has
 * given a transaction up. PN_ECORRUPT: a turn that was durable is missing. See catch_up.c. */
int pn_catch_up(struct pn_db *db);

/*
 * Logs the writes so far, commits them, and begins a new transaction: what a transaction writes
 * keeps the pages of the state before it from being used again, and is counted for more than it
 * needs.
 */
int pn_turn_commit_part(struct pn_db *db);

/*
 * What the last transaction has freed can be used once there is a newer one that is durable. Where
 * nothing else is free, nobody would ever make one: so it is made here. Once: what is not free then
 * is kept by somebody who reads. Afterwards a turn is open, or db->write is NULL.
 */
int pn_turn_advance(struct pn_db *db);

#endif
