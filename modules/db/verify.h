/* Verification of the data file's structure (pn/db.h): the state that was found, its pages that
 * LMDB is about to use, and all of them in a thread. */
#ifndef PN_DB_VERIFY_H
#define PN_DB_VERIFY_H

#include "db.h"

/*
 * After the environment was opened, before LMDB reads a record: keeps the last committed state, and
 * verifies the pages that everything needs. `structure`: what is known of it; nothing is kept of a
 * sound one. PN_ECORRUPT, PN_EIO: it is damaged, and verified before it is used; after other errors
 * nothing is kept.
 */
int pn_verify_open(struct pn_db *db, enum pn_structure structure);

/* Ends the thread, and gives up the state. */
void pn_verify_close(struct pn_db *db);

/* Drops what a forked child inherited. */
void pn_verify_forget(struct pn_db *db);

/* Begins to verify everything in the background, or notes the result, at `now` (ms). */
void pn_verify_run(struct pn_db *db, uint64_t now);

/* Verifies the pages that LMDB may use for the key. PN_ECORRUPT also: one cannot be read. After an
 * error LMDB must not be called. */
int pn_verify_key(struct pn_db *db, struct pn_str key, bool writes);

static inline int pn_verify_touch(struct pn_db *db, struct pn_str key, bool writes) {
	return db->verifier == NULL ? 0 : pn_verify_key(db, key, writes);
}

#endif
