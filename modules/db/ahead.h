/*
 * Reading ahead for a walk over all records in order. LMDB's map is opened without readahead, which
 * would read megabytes for a page of an archive; and the leaves of a tree are not in order in the
 * file. So the branches above the leaves are read ahead of the walk, and the system is asked for
 * all leaves below one of them at a time: some hundred, while the walk is at those before.
 */
#ifndef PN_DB_AHEAD_H
#define PN_DB_AHEAD_H

#include <lmdb.h>

#include <pn/str.h>

struct pn_ahead;

/* For the state that a new read transaction sees, in a file that is open for reading. Sets *ahead,
 * to NULL if there is nothing to read ahead or it cannot be read: a walk goes on without. Returns 0
 * or PN_ENOMEM. */
int pn_ahead_new(struct pn_ahead **ahead, int fd, MDB_txn *txn);
void pn_ahead_free(struct pn_ahead *ahead);

/* The walk is at a key. NULL is allowed. */
void pn_ahead_move(struct pn_ahead *ahead, struct pn_str key);

#endif
