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

/*
 * Commits the writes so far, and begins a new transaction. That frees space: the estimate of a turn
 * is higher than its need, and its pages cannot be reused within it.
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
