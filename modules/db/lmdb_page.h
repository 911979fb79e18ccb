/* Single pages of an LMDB data file (lmdb_layout.h): reading them without a map, and checking each
 * by itself. */
#ifndef PN_DB_LMDB_PAGE_H
#define PN_DB_LMDB_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lmdb_layout.h"

enum {
	/* LMDB's cursors have room for 32 levels, and a tree may grow while it is used. A branch
	 * has at least two children: a tree of this depth has more than a hundred million pages. */
	MAX_DEPTH = 28,
};

struct key {
	const uint8_t *bytes; /* NULL: no key */
	size_t size;
};

/* Keys k with low <= k < high; a bound without a key does not apply. */
struct key_range {
	struct key low, high;
};

struct page {
	const uint8_t *bytes;
	uint64_t number;
	size_t nodes;
	bool leaf;
};

/* The file that is read, and what was found. */
struct pages {
	int fd;
	size_t page_size;
	const unsigned char *instead; /* replaces the first two pages; or NULL */
	uint64_t count;               /* pages of the file; some free ones may be missing in it */
	uint8_t *buffers;             /* a page for each level, then one for part of a free list */
	uint16_t *node_sizes; /* of the node at each even offset of a page; all 0 between pages */
	uint8_t *asked;       /* a bit for each window that the system was asked to read; or NULL */
	uint64_t bad_page;    /* after PN_ECORRUPT, or PN_EIO for a page of a tree */
	const char *problem;
};

/* A tree of the file. */
struct tree {
	struct pages *pages;
	bool is_free_list;
	size_t depth;
};

/* Allocates the buffers, for trees of `levels`. Returns 0 or PN_ENOMEM; free them also then. */
int pn_pages_init(struct pages *pages, int fd, const unsigned char *instead, size_t levels);
void pn_pages_free(struct pages *pages);

/* Notes a damaged page. Returns PN_ECORRUPT. */
int pn_pages_damaged(struct pages *pages, uint64_t number, const char *problem);

/* Reads up to `size` bytes at `offset`. Returns the number of bytes, or PN_EIO. */
ssize_t pn_pages_read_some(const struct pages *pages, void *to, size_t size, uint64_t offset);

/* Reads `size` bytes at `offset`. Returns 0 or PN_EIO. */
int pn_pages_read(const struct pages *pages, void *to, size_t size, uint64_t offset);

/*
 * Reads a page of a tree into the buffer of its level (0: the root), and checks it by itself: its
 * header, and that each node is within it. Its keys may be in any order.
 */
int pn_page_read(const struct tree *tree, uint64_t number, size_t level, struct page *page);

/* The first page of a run with a value of `size` bytes. Sets *length to the pages of the run. */
int pn_page_read_run(struct pages *pages, uint64_t first, size_t size, uint32_t *length);

/* Below, at or above 0, as memcmp(). */
int pn_page_compare(const struct tree *tree, struct key a, struct key b);

static inline const uint8_t *node_at(const struct page *page, size_t index) {
	return page->bytes + get_u16(page->bytes + PAGE_HEADER + index * 2);
}

static inline struct key key_of(const uint8_t *node) {
	return (struct key){node + NODE_HEADER, get_u16(node + NODE_KEY_SIZE)};
}

static inline uint64_t child_of(const uint8_t *branch_node) {
	return get_u32(branch_node + NODE_CHILD_LOW) |
	       (uint64_t)get_u16(branch_node + NODE_CHILD_HIGH) << 32;
}

/* The keys below a child of a branch whose own keys are in `range`. */
static inline struct key_range range_of(const struct page *branch, size_t index,
					struct key_range range) {
	if (index > 0)
		range.low = key_of(node_at(branch, index));
	if (index + 1 < branch->nodes)
		range.high = key_of(node_at(branch, index + 1));
	return range;
}

static inline bool is_in_run(const uint8_t *leaf_node) {
	return get_u16(leaf_node + NODE_FLAGS) == VALUE_IN_RUN;
}

static inline const uint8_t *value_of(const uint8_t *leaf_node) {
	return leaf_node + NODE_HEADER + get_u16(leaf_node + NODE_KEY_SIZE);
}

/*
 * For a walk that reads all pages: asks the system to read the leaves below a branch ahead, each
 * with its neighbours in the file. A disk reads a window as fast as a page, and the walk needs the
 * others later. Asks once for each window: if memory is short, the others are read one by one.
 */
int pn_pages_init_ahead(struct pages *pages);
void pn_page_read_ahead(struct pages *pages, const struct page *branch);

/* Lets the system drop the children of a branch from memory, except those that a process has
 * mapped. */
void pn_page_drop(const struct pages *pages, const struct page *branch);

#endif
