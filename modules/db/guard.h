/*
 * Pages that LMDB is about to use: verified one by one, where the whole file is not yet.
 *
 * The guard knows one state of the data file, whose pages are kept. LMDB only meets pages of that
 * state, and pages that it has written since, from pages that it had met before. So an operation on
 * a key is safe if the pages of that state are sound that LMDB can reach from the key: those from
 * the root to the leaf; the neighbouring leaves, where a cursor may go; and, for a write, which may
 * merge pages, the neighbours on each level, with the first leaf below each. Later operations find
 * the neighbours of changed pages verified, also where pages between them are gone.
 */
#ifndef PN_DB_GUARD_H
#define PN_DB_GUARD_H

#include <pn/str.h>

#include "lmdb_page.h"

struct pn_guard {
	struct pages pages;
	struct tree tree;
	uint64_t root;
	uint8_t *checked; /* a bit for each page that is sound */
	struct page path[MAX_DEPTH];
	size_t index[MAX_DEPTH]; /* of the child that is on the path */
	struct key_range ranges[MAX_DEPTH];
	/* The last leaf, so that neighbouring keys cost nothing */
	bool has_leaf;
	bool for_write;
	struct key_range leaf; /* its bytes are those below */
	uint8_t low[MAX_KEY_SIZE], high[MAX_KEY_SIZE];
};

/* For the state of a meta page that has been verified, in a file that is open for reading. Returns
 * 0 or PN_ENOMEM; free it also then. */
int pn_guard_init(struct pn_guard *guard, int fd, const unsigned char *meta);
void pn_guard_free(struct pn_guard *guard);

/* Verifies the pages that an operation on the key may use. PN_ECORRUPT, PN_EIO: see guard->pages.
 */
int pn_guard_touch(struct pn_guard *guard, struct pn_str key, bool writes);

#endif
