/*
 * The structure of an LMDB data file, verified before LMDB sees it.
 *
 * LMDB trusts the pages of its file: a damaged one makes it read outside of its map, write outside
 * of a page in memory, or call abort(). Whatever the bytes of a file are, verifying it is safe; and
 * a file that passes gives LMDB no cause for any of these. What the values say is not looked at:
 * that is the business of whoever decodes them.
 *
 * It is LMDB 0.9's format, data version 1, as a 64-bit machine of this byte order writes it, with
 * the system's page size. Integers have the machine's byte order. We use one unnamed database:
 * no duplicates, no named databases.
 *
 * A file is pages of `psize` bytes; all numbers that follow are offsets in bytes.
 *
 *      page 0   meta      transaction N writes meta page N % 2; the newer one is in force
 *      page 1   meta
 *      page 2 ... last    each used once by a tree, or listed as free, or lost. Free pages at the
 *                         end need not be in the file
 *
 *      every page but the 2nd, 3rd ... of a run:
 *      0 own number (8)   8 unused (2)   10 flags (2)   12 lower (2)   14 upper (2)   16 ...
 *
 *      flags    one of branch 1, leaf 2, overflow 4, meta 8, and nothing else
 *
 *      meta     16 magic (4)  20 version (4)  24 address (8)  32 size of the map (8)
 *               40 the free tree's record (48)  88 the main tree's (48)
 *               136 last page (8)  144 transaction (8)
 *
 *      tree's record
 *               0 page size in the free tree's, 0 in the main tree's (4)   4 flags (2)  6 depth (2)
 *               8 branch pages (8)  16 leaf pages (8)  24 overflow pages (8)  32 entries (8)
 *               40 root page (8), all ones where the tree is empty
 *
 *      branch, leaf
 *               16 offset of each node in order of keys (2 each), up to `lower`; free space; nodes
 *               in any order, without a gap, from `upper` to the end of the page
 *
 *      node     0 size of the value (4)  4 flags (2)  6 size of the key (2)  8 key, value, and a
 *               byte where that makes the size even. In a branch bytes 0 to 5 are the number of
 *               the child, which has the keys from this one up to the next node's; there is no
 *               value, and the first node's key stands for "lowest", whatever it is
 *
 *      flags    1: in place of the value stands the number of the first page of a run (8)
 *
 *      run      12 number of its pages (4)  16 the value, across the pages
 *
 *      The free tree's keys are numbers of transactions (8); a value is a count of pages, and
 *      their numbers in descending order (8 each). LMDB may reserve a longer value than it then
 *      needs, and leaves a count of 0 in it.
 */
#ifndef PN_STORE_PAGES_H
#define PN_STORE_PAGES_H

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

#endif
