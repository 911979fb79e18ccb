#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "lmdb_file.h"
#include "lmdb_layout.h"

enum {
	/* LMDB's cursors have room for 32 levels, and a tree may grow while it is used. A branch
	 * has at least two children: a tree of this depth has more than a hundred million pages. */
	MAX_DEPTH = 28,
};

static const uint64_t MAX_VALUE = UINT32_MAX;    /* the size field of a node has 32 bits */
static const uint64_t MAX_MAP_SIZE = 1ULL << 46; /* what fits in half of the address space */
static const uint64_t MAX_TXNID = 1ULL << 62;    /* leaves room to count on without overflow */

/* ---- Parts of a file ---- */

struct key {
	const uint8_t *bytes; /* NULL: no key */
	size_t size;
};

/* Keys k with low <= k < high; a bound without a key does not apply. */
struct key_range {
	struct key low, high;
};

struct tree_counts {
	uint64_t branch_pages, leaf_pages, overflow_pages, entries;
};

struct page {
	const uint8_t *bytes;
	uint64_t number;
	size_t nodes;
	bool leaf;
};

struct value {
	uint64_t offset; /* in the file */
	size_t size;
};

struct verifier {
	int fd;
	size_t page_size;
	uint64_t file_size;
	uint64_t file_pages; /* pages that are completely in the file */
	uint64_t pages;      /* number of pages; some free ones may be missing in the file */
	const unsigned char *instead; /* replaces the first two pages; or NULL */
	uint8_t metas[METAS][META_END];
	uint64_t newest;      /* number of the meta in force */
	uint64_t txnid;       /* its transaction */
	uint8_t *claimed;     /* a bit for each page: used or free */
	uint64_t used;        /* pages claimed as used */
	uint64_t free_pages;  /* pages claimed as free */
	uint64_t free_behind; /* of these: beyond the end of the file */
	uint8_t *buffers;     /* a page for each level, then one for part of a free list */
	uint16_t *node_sizes; /* of the node at each even offset of a page; all 0 between pages */
	uint64_t bad_page;
	const char *problem;
};

/* The walk of a tree. */
struct tree {
	struct verifier *v;
	bool is_free_list;
	size_t depth;
	struct tree_counts counted;
};

static int damaged(struct verifier *v, uint64_t page, const char *problem) {
	v->bad_page = page;
	v->problem = problem;
	return PN_ECORRUPT;
}

/* Reads up to `size` bytes at `offset`. Returns the number of bytes, or PN_EIO. */
static ssize_t read_some(const struct verifier *v, void *to, size_t size, uint64_t offset) {
	size_t done = 0;
	if (v->instead != NULL && offset + size <= METAS * v->page_size) {
		memcpy(to, v->instead + offset, size);
		return (ssize_t)size;
	}
	while (done < size) {
		const ssize_t n =
			pread(v->fd, (char *)to + done, size - done, (off_t)(offset + done));
		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			return PN_EIO;
		done += n > 0 ? (size_t)n : 0;
	}
	return (ssize_t)done;
}

/* With read() and not through a map: if the disk fails, a map kills the process with SIGBUS. */
static int read_all(const struct verifier *v, void *to, size_t size, uint64_t offset) {
	return read_some(v, to, size, offset) == (ssize_t)size ? PN_OK : PN_EIO;
}

/* ---- Each page is used once ---- */

static int claim(struct verifier *v, uint64_t page, uint64_t found_in) {
	if (page < METAS || page >= v->pages)
		return damaged(v, found_in, "refers to an impossible page");
	const uint8_t bit = (uint8_t)(1u << page % 8);
	if ((v->claimed[page / 8] & bit) != 0)
		return damaged(v, page, "is used twice, or is both used and free");
	v->claimed[page / 8] |= bit;
	return PN_OK;
}

static int claim_used(struct verifier *v, uint64_t page, uint64_t found_in) {
	const int err = claim(v, page, found_in);
	if (err != PN_OK)
		return err;
	if (page >= v->file_pages)
		return damaged(v, page, "is beyond the end of the file");
	v->used++;
	return PN_OK;
}

static int claim_free(struct verifier *v, uint64_t page, uint64_t found_in) {
	const int err = claim(v, page, found_in);
	if (err != PN_OK)
		return err;
	v->free_pages++;
	v->free_behind += page >= v->file_pages ? 1 : 0;
	return PN_OK;
}

/* ---- Nodes ---- */

static const uint8_t *node_at(const struct page *page, size_t index) {
	return page->bytes + get_u16(page->bytes + PAGE_HEADER + index * 2);
}

static struct key key_of(const uint8_t *node) {
	return (struct key){node + NODE_HEADER, get_u16(node + NODE_KEY_SIZE)};
}

static uint64_t child_of(const uint8_t *branch_node) {
	return get_u32(branch_node + NODE_CHILD_LOW) |
	       (uint64_t)get_u16(branch_node + NODE_CHILD_HIGH) << 32;
}

/* The size of a node. Its header is within the page, the rest may not be. */
static size_t node_size(const struct page *page, const uint8_t *node) {
	const size_t size = NODE_HEADER + get_u16(node + NODE_KEY_SIZE);
	if (!page->leaf)
		return size;
	return size + (get_u16(node + NODE_FLAGS) == VALUE_IN_RUN
			       ? NUMBER
			       : get_u32(node + NODE_VALUE_SIZE));
}

static bool key_size_is_valid(const struct tree *tree, const struct page *page, size_t index,
			      size_t size) {
	if (!page->leaf && index == 0)
		return size <= MAX_KEY_SIZE;
	return tree->is_free_list ? size == NUMBER : size >= 1 && size <= MAX_KEY_SIZE;
}

/* Half of a page, so that two nodes fit: LMDB moves a longer value to a run. */
static size_t max_node_size(const struct verifier *v) {
	return (v->page_size - PAGE_HEADER) / 2 / 2 * 2 - 2;
}

/* Checks a node by itself, and records its size. */
static int check_node(struct tree *tree, const struct page *page, size_t index) {
	struct verifier *v = tree->v;
	const size_t offset = get_u16(page->bytes + PAGE_HEADER + index * 2);
	if (offset % 2 != 0 || offset < get_u16(page->bytes + PAGE_UPPER) ||
	    offset > v->page_size - NODE_HEADER)
		return damaged(v, page->number, "has a node at an impossible place");
	const uint8_t *node = page->bytes + offset;
	if (!key_size_is_valid(tree, page, index, get_u16(node + NODE_KEY_SIZE)))
		return damaged(v, page->number, "has a key of an impossible size");
	if (page->leaf && (get_u16(node + NODE_FLAGS) & ~VALUE_IN_RUN) != 0)
		return damaged(v, page->number, "has a node with unknown flags");
	const size_t size = node_size(page, node);
	if (size > max_node_size(v))
		return damaged(v, page->number, "has a node of an impossible size");
	if (v->node_sizes[offset / 2] != 0)
		return damaged(v, page->number, "has two nodes at one place");
	v->node_sizes[offset / 2] = (uint16_t)(size + size % 2);
	return PN_OK;
}

/* Checks that the nodes fill the page from `upper` on: LMDB relies on it when it moves them. */
static int check_nodes(struct tree *tree, const struct page *page) {
	struct verifier *v = tree->v;
	for (size_t i = 0; i < page->nodes; i++) {
		const int err = check_node(tree, page, i);
		if (err != PN_OK)
			return err;
	}
	size_t offset = get_u16(page->bytes + PAGE_UPPER);
	size_t met = 0;
	while (offset < v->page_size && v->node_sizes[offset / 2] != 0) {
		const size_t at = offset / 2;
		offset += v->node_sizes[at];
		v->node_sizes[at] = 0;
		met++;
	}
	if (offset != v->page_size || met != page->nodes)
		return damaged(v, page->number, "has nodes that overlap or leave a gap");
	return PN_OK;
}

/* Returns below, at or above 0, as memcmp(). */
static int compare(const struct tree *tree, struct key a, struct key b) {
	if (tree->is_free_list) {
		const uint64_t x = get_u64(a.bytes);
		const uint64_t y = get_u64(b.bytes);
		return (x > y) - (x < y);
	}
	const int order = memcmp(a.bytes, b.bytes, a.size < b.size ? a.size : b.size);
	return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* ---- Values ---- */

/* Claims the pages of a run with a value of `size` bytes. */
static int check_run(struct tree *tree, uint64_t first, size_t size, uint64_t found_in) {
	struct verifier *v = tree->v;
	uint8_t header[PAGE_HEADER];
	int err = claim_used(v, first, found_in);
	if (err == PN_OK)
		err = read_all(v, header, sizeof(header), first * v->page_size);
	if (err != PN_OK)
		return err;
	if (get_u64(header + PAGE_NUMBER) != first || get_u16(header + PAGE_FLAGS) != IS_OVERFLOW)
		return damaged(v, first, "is not the first page of a run");
	const uint32_t pages = get_u32(header + RUN_PAGES);
	const uint64_t room = (uint64_t)pages * v->page_size;
	if (room < PAGE_HEADER + size || room > PAGE_HEADER + MAX_VALUE + v->page_size)
		return damaged(v, first, "is a run of pages of the wrong length");
	for (uint64_t i = 1; i < pages && err == PN_OK; i++)
		err = claim_used(v, first + i, first);
	tree->counted.overflow_pages += pages;
	return err;
}

static int check_value(struct tree *tree, const struct page *page, const uint8_t *node,
		       struct value *value) {
	const uint64_t page_size = tree->v->page_size;
	const uint8_t *bytes = node + NODE_HEADER + get_u16(node + NODE_KEY_SIZE);
	value->size = get_u32(node + NODE_VALUE_SIZE);
	value->offset = page->number * page_size + (size_t)(bytes - page->bytes);
	if (get_u16(node + NODE_FLAGS) != VALUE_IN_RUN)
		return PN_OK;
	const uint64_t first = get_u64(bytes);
	value->offset = first * page_size + PAGE_HEADER;
	return check_run(tree, first, value->size, page->number);
}

/* Claims free pages, whose numbers must descend from *last; sets *last to the last one. */
static int claim_free_list(struct verifier *v, const uint8_t *numbers, size_t count, uint64_t *last,
			   uint64_t found_in) {
	for (size_t i = 0; i < count; i++) {
		const uint64_t number = get_u64(numbers + i * NUMBER);
		if (number >= *last)
			return damaged(v, found_in, "has a free list out of order");
		*last = number;
		const int err = claim_free(v, number, found_in);
		if (err != PN_OK)
			return err;
	}
	return PN_OK;
}

static int check_free_list(struct tree *tree, const struct page *page, struct key key,
			   const struct value *value) {
	struct verifier *v = tree->v;
	const uint64_t txnid = get_u64(key.bytes);
	if (txnid == 0 || txnid > v->txnid)
		return damaged(v, page->number, "has a free list of an impossible transaction");
	if (value->size < NUMBER || value->size % NUMBER != 0)
		return damaged(v, page->number, "has a free list of an impossible size");
	uint8_t *part = v->buffers + tree->depth * v->page_size;
	int err = read_all(v, part, NUMBER, value->offset);
	if (err != PN_OK)
		return err;
	const uint64_t count = get_u64(part);
	if (count != 0 && count != value->size / NUMBER - 1)
		return damaged(v, page->number, "has a free list whose count is wrong");
	uint64_t last = UINT64_MAX;
	for (size_t done = 0; done < count && err == PN_OK;) {
		const size_t left = count - done;
		const size_t n = left < v->page_size / NUMBER ? left : v->page_size / NUMBER;
		err = read_all(v, part, n * NUMBER, value->offset + (1 + done) * NUMBER);
		if (err == PN_OK)
			err = claim_free_list(v, part, n, &last, page->number);
		done += n;
	}
	return err;
}

/* ---- Trees ---- */

static int read_page(struct tree *tree, uint64_t number, uint64_t parent, size_t level,
		     struct page *page) {
	struct verifier *v = tree->v;
	uint8_t *bytes = v->buffers + level * v->page_size;
	int err = claim_used(v, number, parent);
	if (err == PN_OK)
		err = read_all(v, bytes, v->page_size, number * v->page_size);
	if (err != PN_OK)
		return err;
	const bool leaf = level + 1 == tree->depth;
	if (get_u64(bytes + PAGE_NUMBER) != number)
		return damaged(v, number, "has the number of another page");
	if (get_u16(bytes + PAGE_FLAGS) != (leaf ? IS_LEAF : IS_BRANCH))
		return damaged(v, number, "has the wrong type for its level in the tree");
	const size_t lower = get_u16(bytes + PAGE_LOWER);
	const size_t upper = get_u16(bytes + PAGE_UPPER);
	if (lower < PAGE_HEADER || lower % 2 != 0 || upper % 2 != 0 || lower > upper ||
	    upper > v->page_size)
		return damaged(v, number, "has impossible bounds of its free space");
	const size_t nodes = (lower - PAGE_HEADER) / 2;
	if (nodes < (leaf ? 1 : 2))
		return damaged(v, number, "has too few nodes");
	*page = (struct page){.bytes = bytes, .number = number, .nodes = nodes, .leaf = leaf};
	return PN_OK;
}

static int walk_leaf(struct tree *tree, const struct page *page, struct key_range range) {
	struct verifier *v = tree->v;
	struct key last = range.low;
	tree->counted.leaf_pages++;
	tree->counted.entries += page->nodes;
	for (size_t i = 0; i < page->nodes; i++) {
		const uint8_t *node = node_at(page, i);
		const struct key key = key_of(node);
		const int order = last.bytes != NULL ? compare(tree, last, key) : -1;
		if (order > 0 || (order == 0 && i > 0))
			return damaged(v, page->number, "has keys out of order");
		last = key;
		struct value value;
		int err = check_value(tree, page, node, &value);
		if (err == PN_OK && tree->is_free_list)
			err = check_free_list(tree, page, key, &value);
		if (err != PN_OK)
			return err;
	}
	if (range.high.bytes != NULL && compare(tree, last, range.high) >= 0)
		return damaged(v, page->number, "has keys that belong in another page");
	return PN_OK;
}

static int walk_page(struct tree *tree, uint64_t number, uint64_t parent, size_t level,
		     struct key_range range);

/* Does not check the order of the keys: each child has keys, and all must lie between its two. */
static int walk_branch(struct tree *tree, const struct page *page, size_t level,
		       struct key_range range) {
	tree->counted.branch_pages++;
	for (size_t i = 0; i < page->nodes; i++) {
		struct key_range below = range;
		if (i > 0)
			below.low = key_of(node_at(page, i));
		if (i + 1 < page->nodes)
			below.high = key_of(node_at(page, i + 1));
		const uint64_t child = child_of(node_at(page, i));
		const int err = walk_page(tree, child, page->number, level + 1, below);
		if (err != PN_OK)
			return err;
	}
	return PN_OK;
}

/* Recurses at most MAX_DEPTH deep. Each level has a buffer, so the keys in `range` stay valid. */
static int walk_page(struct tree *tree, uint64_t number, uint64_t parent, size_t level,
		     struct key_range range) {
	struct page page;
	int err = read_page(tree, number, parent, level, &page);
	if (err == PN_OK)
		err = check_nodes(tree, &page);
	if (err != PN_OK)
		return err;
	return page.leaf ? walk_leaf(tree, &page, range) : walk_branch(tree, &page, level, range);
}

static int walk_tree(struct verifier *v, const uint8_t *record, bool is_free_list) {
	const uint64_t root = get_u64(record + TREE_ROOT);
	struct tree tree = {.v = v, .is_free_list = is_free_list};
	tree.depth = get_u16(record + TREE_DEPTH);
	if (tree.depth > MAX_DEPTH || (root == NO_ROOT) != (tree.depth == 0))
		return damaged(v, v->newest, "has a tree whose depth is wrong");
	if (root != NO_ROOT) {
		const int err = walk_page(&tree, root, v->newest, 0, (struct key_range){0});
		if (err != PN_OK)
			return err;
	}
	if (get_u64(record + TREE_BRANCH_PAGES) != tree.counted.branch_pages ||
	    get_u64(record + TREE_LEAF_PAGES) != tree.counted.leaf_pages ||
	    get_u64(record + TREE_OVERFLOW_PAGES) != tree.counted.overflow_pages ||
	    get_u64(record + TREE_ENTRIES) != tree.counted.entries)
		return damaged(v, v->newest, "has a tree whose counts are wrong");
	return PN_OK;
}

/* ---- Metas ---- */

/* Tells a damaged file from a foreign one, in which neither meta is ours. */
static int check_format(struct verifier *v) {
	bool ours[METAS];
	bool other_version = false;
	for (size_t i = 0; i < METAS; i++) {
		const uint8_t *meta = v->metas[i];
		const uint32_t page_size = get_u32(meta + META_FREE_TREE + TREE_PAGE_SIZE);
		const bool magic = get_u32(meta + META_MAGIC) == LMDB_MAGIC;
		const bool version = get_u32(meta + META_VERSION) == DATA_VERSION;
		ours[i] = magic && version && page_size == v->page_size;
		other_version = other_version || (magic && !version);
	}
	if (!ours[0] && !ours[1])
		return other_version ? PN_EVERSION : PN_EFOREIGN;
	if (!ours[0] || !ours[1])
		return damaged(v, ours[0] ? 1 : 0, "is not a meta page, but the other one is");
	return PN_OK;
}

/* Checks that apply to both metas. */
static int check_meta(struct verifier *v, uint64_t number) {
	const uint8_t *meta = v->metas[number];
	if (get_u64(meta + PAGE_NUMBER) != number || !is_meta(meta))
		return damaged(v, number, "has the number or the kind of another page");
	const uint64_t txnid = meta_txnid(meta);
	if (txnid > MAX_TXNID || (txnid != 0 && txnid % METAS != number))
		return damaged(v, number, "is of an impossible transaction");
	if (get_u64(meta + META_ADDRESS) != 0)
		return damaged(v, number, "asks for a map at a fixed address");
	return PN_OK;
}

/* Checks that apply to the meta in force. */
static int check_newest(struct verifier *v, uint64_t number) {
	const uint8_t *meta = v->metas[number];
	const uint8_t *free_tree = meta + META_FREE_TREE;
	const uint8_t *main_tree = meta + META_MAIN_TREE;
	const uint64_t map_size = get_u64(meta + META_MAP_SIZE);
	const uint64_t last = get_u64(meta + META_LAST_PAGE);
	if (map_size > MAX_MAP_SIZE)
		return damaged(v, number, "has an impossible size of the map");
	if (last < METAS - 1 || last >= map_size / v->page_size)
		return damaged(v, number, "has an impossible number of pages");
	/* Pages beyond the end of the file are on the free list, which is in the file. */
	v->pages = last + 1;
	if (v->pages > v->file_pages + v->file_size / NUMBER)
		return damaged(v, number, "counts more pages than the file has");
	if ((get_u16(free_tree + TREE_FLAGS) & ~NO_SUBDIRECTORY) != INTEGER_KEYS ||
	    get_u16(main_tree + TREE_FLAGS) != 0 || get_u32(main_tree + TREE_PAGE_SIZE) != 0)
		return damaged(v, number, "has a tree of an unknown kind");
	return PN_OK;
}

/* Reads the metas, and chooses the one in force as LMDB does. */
static int read_metas(struct verifier *v) {
	for (size_t i = 0; i < METAS; i++) {
		if (read_some(v, v->metas[i], META_END, i * v->page_size) < 0)
			return PN_EIO;
	}
	int err = check_format(v);
	for (size_t i = 0; i < METAS && err == PN_OK; i++)
		err = check_meta(v, i);
	if (err != PN_OK)
		return err;
	const uint64_t txnids[] = {meta_txnid(v->metas[0]), meta_txnid(v->metas[1])};
	v->newest = txnids[0] < txnids[1] ? 1 : 0;
	v->txnid = txnids[v->newest];
	return check_newest(v, v->newest);
}

/* ---- The whole file ---- */

static int allocate(struct verifier *v) {
	const size_t bitmap_size = v->pages / 8 + 1;
	v->buffers = pn_malloc((MAX_DEPTH + 1) * v->page_size);
	v->node_sizes = pn_malloc(v->page_size);
	v->claimed = pn_malloc(bitmap_size);
	if (v->buffers == NULL || v->node_sizes == NULL || v->claimed == NULL)
		return PN_ENOMEM;
	memset(v->node_sizes, 0, v->page_size);
	memset(v->claimed, 0, bitmap_size);
	return PN_OK;
}

static int verify(struct verifier *v, struct pn_lmdb_report *report) {
	int err = read_metas(v);
	if (err == PN_OK)
		err = allocate(v);
	if (err != PN_OK)
		return err;
	const uint8_t *meta = v->metas[v->newest];
	err = walk_tree(v, meta + META_FREE_TREE, true);
	if (err == PN_OK)
		err = walk_tree(v, meta + META_MAIN_TREE, false);
	if (err != PN_OK)
		return err;
	if (v->pages > v->file_pages && v->free_behind != v->pages - v->file_pages)
		return damaged(v, v->file_pages, "is beyond the end of the file");
	report->pages = v->pages;
	report->used = METAS + v->used;
	report->free_pages = v->free_pages;
	report->entries = get_u64(meta + META_MAIN_TREE + TREE_ENTRIES);
	report->txnid = v->txnid;
	return PN_OK;
}

int pn_lmdb_verify(int fd, struct pn_lmdb_report *report) {
	return pn_lmdb_verify_state(fd, NULL, report);
}

int pn_lmdb_verify_state(int fd, const unsigned char *metas, struct pn_lmdb_report *report) {
	*report = (struct pn_lmdb_report){0};
	struct stat st;
	if (fstat(fd, &st) != 0)
		return PN_EIO;
	if (st.st_size == 0)
		return PN_OK;
	struct verifier v = {.fd = fd,
			     .page_size = lmdb_page_size(),
			     .file_size = (uint64_t)st.st_size,
			     .instead = metas};
	v.file_pages = v.file_size / v.page_size;
	const int err = verify(&v, report);
	pn_free(v.buffers);
	pn_free(v.node_sizes);
	pn_free(v.claimed);
	if (err == PN_ECORRUPT) {
		report->bad_page = v.bad_page;
		report->problem = v.problem;
	}
	return err;
}

uint64_t pn_lmdb_count_free(const void *list, size_t run) {
	const uint8_t *const numbers = (const uint8_t *)list + NUMBER;
	const size_t count = get_u64(list);
	uint64_t sum = 0;
	for (size_t first = 0, next; first < count; first = next) {
		const uint64_t number = get_u64(numbers + first * NUMBER);
		next = first + 1;
		while (next < count && get_u64(numbers + next * NUMBER) == number - (next - first))
			next++;
		sum += next - first >= run ? next - first : 0;
	}
	return sum;
}
