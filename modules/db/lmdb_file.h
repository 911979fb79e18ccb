/*
 * Verifies the structure of an LMDB data file (lmdb_layout.h) before LMDB opens it.
 *
 * LMDB trusts the pages of its file: a damaged one makes it read outside of its map, write outside
 * of a page in memory, or call abort(). Verifying is safe for any bytes, and a file that passes
 * does not make LMDB do any of these. Values are not checked: the functions that decode them do.
 */
#ifndef PN_DB_LMDB_FILE_H
#define PN_DB_LMDB_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Pages that are neither used nor free are lost: pages - used - free_pages. They do no harm, but
 * LMDB's compacting copy refuses such a file. */
struct pn_lmdb_report {
	uint64_t pages;      /* number of pages, 0 for an empty file */
	uint64_t used;       /* pages in the metas and the trees */
	uint64_t free_pages; /* pages on the free list */
	uint64_t entries;    /* records of the main tree */
	uint64_t txnid;      /* transaction of the meta in force */
	uint64_t bad_page; /* with PN_ECORRUPT or PN_EIO: the page with the problem; otherwise 0 */
	const char *problem; /* the same: a clause in static storage; otherwise, or if it is not a
				page of a tree that cannot be read, NULL */
};

/*
 * Verifies both metas, and each page that is used by the trees of the newer one. fd is open for
 * reading; the file must not be written meanwhile. Takes one bit of memory for each page, and a
 * page for each level of the trees.
 *
 * Returns PN_OK         intact, or a file of 0 bytes
 *         PN_EFOREIGN   not an LMDB file, or of another word size, byte order or page size
 *         PN_EVERSION   of another data version
 *         PN_ECORRUPT   damaged
 *         PN_EIO        reading failed
 *         PN_ENOMEM
 * With PN_ECORRUPT and PN_EIO only bad_page and problem of the report are set, with other errors
 * nothing.
 */
int pn_lmdb_verify(int fd, struct pn_lmdb_report *report);

/* Of a verification that runs in a thread. */
struct pn_lmdb_watch {
	_Atomic bool stop;     /* ends it with PN_EBUSY at the next page */
	_Atomic uint64_t done; /* pages, of all in the file */
};

/* The state of a file that is verified. */
struct pn_lmdb_state {
	int fd;
	const unsigned char *metas;  /* two pages in place of pages 0 and 1; NULL: the file's */
	bool without_records;        /* verify the metas and the free tree alone */
	bool passes;                 /* let the system drop from memory what has been read */
	struct pn_lmdb_watch *watch; /* NULL: none */
};

/* The same, for a state. The file may be written meanwhile, except for the state's pages. */
int pn_lmdb_verify_state(const struct pn_lmdb_state *state, struct pn_lmdb_report *report);

/*
 * Counts the pages of a free list (a value of the free tree, as LMDB returns it) that lie side by
 * side with at least run - 1 others: LMDB does not split a long value.
 */
uint64_t pn_lmdb_count_free(const void *list, size_t run);

#endif
