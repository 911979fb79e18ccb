/*
 * The layout of an LMDB data file: LMDB 0.9's, data version 1, as a 64-bit machine of this byte
 * order writes it, with the system's page size. Integers have the machine's byte order. The file
 * has one unnamed database: no duplicates, no named databases.
 *
 * A file is a sequence of pages of `psize` bytes. The numbers below are offsets in bytes, with the
 * size of the field in parentheses.
 *
 *      page 0   meta      transaction N writes meta page N % 2; the newer one is in force
 *      page 1   meta
 *      page 2 ... last    each is used once by a tree, or listed as free, or lost. Free pages at
 *                         the end may be missing from the file
 *
 *      every page, except the 2nd, 3rd ... of a run:
 *      0 own number (8)   8 unused (2)   10 flags (2)   12 lower (2)   14 upper (2)   16 ...
 *
 *      flags    exactly one of branch 1, leaf 2, overflow 4, meta 8
 *
 *      meta     16 magic (4)  20 version (4)  24 address (8)  32 map size (8)
 *               40 record of the free tree (48)  88 record of the main tree (48)
 *               136 last page (8)  144 transaction (8)
 *
 *      record of a tree
 *               0 page size in the free tree's, 0 in the main tree's (4)   4 flags (2)  6 depth (2)
 *               8 branch pages (8)  16 leaf pages (8)  24 overflow pages (8)  32 entries (8)
 *               40 root page (8), all ones if the tree is empty
 *
 *      branch, leaf
 *               16 offset of each node in order of keys (2 each), up to `lower`; free space; nodes
 *               in any order and without gaps, from `upper` to the end of the page
 *
 *      node     0 value size (4)  4 flags (2)  6 key size (2)  8 key, value, and one byte of
 *               padding if the size would be odd. In a branch bytes 0 to 5 are the number of the
 *               child, which has the keys from this one up to the next node's; a branch node has
 *               no value, and the key of the first one is ignored: it stands for "lowest"
 *
 *      node flags
 *               1: the value is in a run; the number of its first page (8) replaces the value
 *
 *      run      12 number of pages (4)  16 the value, across the pages
 *
 *      The keys of the free tree are transactions (8). A value is a count of pages, and their
 *      numbers in descending order (8 each). LMDB may reserve a longer value than it needs in the
 *      end; its count is then 0.
 */
#ifndef PN_DB_LMDB_LAYOUT_H
#define PN_DB_LMDB_LAYOUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

_Static_assert(sizeof(size_t) == 8, "this is the layout of files of 64-bit machines");

enum { PAGE_NUMBER = 0, PAGE_FLAGS = 10, PAGE_LOWER = 12, PAGE_UPPER = 14, PAGE_HEADER = 16 };
enum { RUN_PAGES = 12 };
enum { NODE_VALUE_SIZE = 0, NODE_FLAGS = 4, NODE_KEY_SIZE = 6, NODE_HEADER = 8 };
enum { NODE_CHILD_LOW = 0, NODE_CHILD_HIGH = 4 };
enum { META_MAGIC = 16, META_VERSION = 20, META_ADDRESS = 24, META_MAP_SIZE = 32 };
enum { META_FREE_TREE = 40, META_MAIN_TREE = 88, META_LAST_PAGE = 136, META_TXNID = 144 };
enum { META_END = 152 };
enum { TREE_PAGE_SIZE = 0, TREE_FLAGS = 4, TREE_DEPTH = 6, TREE_BRANCH_PAGES = 8 };
enum { TREE_LEAF_PAGES = 16, TREE_OVERFLOW_PAGES = 24, TREE_ENTRIES = 32, TREE_ROOT = 40 };

enum {
	METAS = 2,
	NUMBER = 8, /* bytes of a page's or a transaction's number */
	MAX_KEY_SIZE = 511,

	IS_BRANCH = 1,
	IS_LEAF = 2,
	IS_OVERFLOW = 4,
	IS_META = 8,
	VALUE_IN_RUN = 1,
	INTEGER_KEYS = 0x08,
	NO_SUBDIRECTORY = 0x4000, /* how the environment was opened; has no effect on the file */

	DATA_VERSION = 1,
};

static const uint32_t LMDB_MAGIC = 0xBEEFC0DE;
static const uint64_t NO_ROOT = UINT64_MAX;

static inline uint16_t get_u16(const uint8_t *at) {
	uint16_t value;
	memcpy(&value, at, sizeof(value));
	return value;
}

static inline uint32_t get_u32(const uint8_t *at) {
	uint32_t value;
	memcpy(&value, at, sizeof(value));
	return value;
}

static inline uint64_t get_u64(const uint8_t *at) {
	uint64_t value;
	memcpy(&value, at, sizeof(value));
	return value;
}

/* LMDB makes files with the system's page size, up to the largest that 16-bit offsets reach. */
static inline size_t lmdb_page_size(void) {
	const size_t size = (size_t)sysconf(_SC_PAGESIZE);
	return size < 32768 ? size : 32768;
}

static inline int is_meta(const uint8_t *page) {
	return get_u16(page + PAGE_FLAGS) == IS_META;
}

static inline uint64_t meta_txnid(const uint8_t *meta) {
	return get_u64(meta + META_TXNID);
}

#endif
