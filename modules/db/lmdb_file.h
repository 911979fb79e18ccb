/*
 * The structure of an LMDB data file, verified before LMDB sees it.
 *
 * LMDB trusts the pages of its file: a damaged one makes it read outside of its map, write outside
 * of a page in memory, or call abort(). Whatever the bytes of a file are, verifying it is safe; and
 * a file that passes gives LMDB no cause for any of these. What the values say is not looked at:
 * that is the business of whoever decodes them.
 */
#ifndef PN_DB_LMDB_FILE_H
#define PN_DB_LMDB_FILE_H

#include <stddef.h>
#include <stdint.h>

/* Pages that are neither used nor free are lost: pages - used - free_pages. Harmless to LMDB, but
 * its compacting copy refuses a file that has lost some. */
struct pn_lmdb_report {
	uint64_t pages;      /* up to the last one that LMDB counts; 0 for an empty file */
	uint64_t used;       /* of these by the metas and the trees */
	uint64_t free_pages; /* of these on the free list */
	uint64_t entries;    /* of the main tree */
	uint64_t txnid;      /* of the meta that is in force */
	uint64_t bad_page;   /* with PN_ECORRUPT: where the problem is; else 0 */
	const char *problem; /* with PN_ECORRUPT: a clause in static storage; else NULL */
};

/*
 * Verifies both metas, and each page that the newer one's trees use. fd is open for reading, and
 * nobody writes to the file meanwhile. Memory: a bit a page, and a page a level of the trees.
 *
 * Returns PN_OK, also for a file of no bytes
 *         PN_EFOREIGN   this is no LMDB file, or one of another word size, byte order or page size
 *         PN_EVERSION   of another data version
 *         PN_ECORRUPT   damaged
 *         PN_EIO        reading failed
 *         PN_ENOMEM
 * The report is all zero unless the result is PN_OK, or PN_ECORRUPT, with which it tells bad_page
 * and problem alone.
 */
int pn_lmdb_verify(int fd, struct pn_lmdb_report *report);

/* The same, as if `metas` (two pages; NULL: what the file has) stood in the place of pages 0 and 1.
 */
int pn_lmdb_verify_state(int fd, const unsigned char *metas, struct pn_lmdb_report *report);

/*
 * Counts the pages of a free list (a value of the free tree, as LMDB returns it) that lie side by
 * side with at least run - 1 others: LMDB does not split a long value.
 */
uint64_t pn_lmdb_count_free(const void *list, size_t run);

#endif
