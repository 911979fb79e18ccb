#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "lmdb_file.h"
#include "lmdb_page.h"

static const uint64_t MAX_MAP_SIZE = 1ULL << 46; /* what fits in half of the address space */
static const uint64_t MAX_TXNID = 1ULL << 62;    /* leaves room to count on without overflow */

/* ---- Parts of a file ---- */

struct tree_counts {
	uint64_t branch_pages, leaf_pages, overflow_pages, entries;
};

struct value {
	uint64_t offset; /* in the file */
	size_t size;
};

struct verifier {
	struct pages pages;
	const struct pn_lmdb_state *state;
	uint64_t file_size;
	uint64_t file_pages; /* pages that are completely in the file */
	uint8_t metas[METAS][META_END];
	uint64_t newest;      /* number of the meta in force */
	uint64_t txnid;       /* its transaction */
	uint8_t *claimed;     /* a bit for each page: used or free */
	uint64_t used;        /* pages claimed as used */
	uint64_t free_pages;  /* pages claimed as free */
	uint64_t free_behind; /* of these: beyond the end of the file */
};

/* The walk of a tree. */
struct walk {
	struct tree tree;
	struct verifier *v;
	struct tree_counts counted;
};

static int damaged(struct verifier *v, uint64_t page, const char *problem) {
	return pn_pages_damaged(&v->pages, page, problem);
}

/* ---- Each page is used once ---- */

static int claim(struct verifier *v, uint64_t page, uint64_t found_in) {
	if (page < METAS || page >= v->pages.count)
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

/* ---- Values ---- */

/* Claims the pages of a run with a value of `size` bytes. */
static int check_run(struct walk *walk, uint64_t first, size_t size, uint64_t found_in) {
	struct verifier *v = walk->v;
	uint32_t length = 0;
	int err = claim_used(v, first, found_in);
	if (err == PN_OK)
		err = pn_page_read_run(&v->pages, first, size, &length);
	for (uint64_t i = 1; i < length && err == PN_OK; i++)
		err = claim_used(v, first + i, first);
	walk->counted.overflow_pages += length;
	return err;
}

static int check_value(struct walk *walk, const struct page *page, const uint8_t *node,
		       struct value *value) {
	const uint64_t page_size = walk->v->pages.page_size;
	const uint8_t *bytes = value_of(node);
	value->size = get_u32(node + NODE_VALUE_SIZE);
	value->offset = page->number * page_size + (size_t)(bytes - page->bytes);
	if (!is_in_run(node))
		return PN_OK;
	const uint64_t first = get_u64(bytes);
	value->offset = first * page_size + PAGE_HEADER;
	return check_run(walk, first, value->size, page->number);
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

static int check_free_list(struct walk *walk, const struct page *page, struct key key,
			   const struct value *value) {
	struct verifier *v = walk->v;
	const uint64_t txnid = get_u64(key.bytes);
	if (txnid == 0 || txnid > v->txnid)
		return damaged(v, page->number, "has a free list of an impossible transaction");
	if (value->size < NUMBER || value->size % NUMBER != 0)
		return damaged(v, page->number, "has a free list of an impossible size");
	uint8_t *part = v->pages.buffers + walk->tree.depth * v->pages.page_size;
	int err = pn_pages_read(&v->pages, part, NUMBER, value->offset);
	if (err != PN_OK)
		return err;
	const uint64_t count = get_u64(part);
	if (count != 0 && count != value->size / NUMBER - 1)
		return damaged(v, page->number, "has a free list whose count is wrong");
	uint64_t last = UINT64_MAX;
	for (size_t done = 0; done < count && err == PN_OK;) {
		const size_t left = count - done;
		const size_t n =
			left < v->pages.page_size / NUMBER ? left : v->pages.page_size / NUMBER;
		err = pn_pages_read(&v->pages, part, n * NUMBER,
				    value->offset + (1 + done) * NUMBER);
		if (err == PN_OK)
			err = claim_free_list(v, part, n, &last, page->number);
		done += n;
	}
	return err;
}

/* ---- Trees ---- */

static bool is_stopped(const struct verifier *v) {
	struct pn_lmdb_watch *const watch = v->state->watch;
	if (watch == NULL)
		return false;
	watch->done = v->used + v->free_pages;
	return watch->stop;
}

static int read_page(struct walk *walk, uint64_t number, uint64_t parent, size_t level,
		     struct page *page) {
	if (is_stopped(walk->v))
		return PN_EBUSY;
	const int err = claim_used(walk->v, number, parent);
	return err == PN_OK ? pn_page_read(&walk->tree, number, level, page) : err;
}

static int walk_leaf(struct walk *walk, const struct page *page, struct key_range range) {
	struct verifier *v = walk->v;
	struct key last = range.low;
	walk->counted.leaf_pages++;
	walk->counted.entries += page->nodes;
	for (size_t i = 0; i < page->nodes; i++) {
		const uint8_t *node = node_at(page, i);
		const struct key key = key_of(node);
		const int order = last.bytes != NULL ? pn_page_compare(&walk->tree, last, key) : -1;
		if (order > 0 || (order == 0 && i > 0))
			return damaged(v, page->number, "has keys out of order");
		last = key;
		struct value value;
		int err = check_value(walk, page, node, &value);
		if (err == PN_OK && walk->tree.is_free_list)
			err = check_free_list(walk, page, key, &value);
		if (err != PN_OK)
			return err;
	}
	if (range.high.bytes != NULL && pn_page_compare(&walk->tree, last, range.high) >= 0)
		return damaged(v, page->number, "has keys that belong in another page");
	return PN_OK;
}

static int walk_page(struct walk *walk, uint64_t number, uint64_t parent, size_t level,
		     struct key_range range);

/* Does not check the order of the keys: each child has keys, and all must lie between its two. */
static int walk_branch(struct walk *walk, const struct page *page, size_t level,
		       struct key_range range) {
	const bool above_leaves = level + 2 == walk->tree.depth;
	walk->counted.branch_pages++;
	if (above_leaves)
		pn_page_read_ahead(&walk->v->pages, page);
	for (size_t i = 0; i < page->nodes; i++) {
		const struct key_range below = range_of(page, i, range);
		const uint64_t child = child_of(node_at(page, i));
		const int err = walk_page(walk, child, page->number, level + 1, below);
		if (err != PN_OK)
			return err;
	}
	if (above_leaves && walk->v->state->passes)
		pn_page_drop(&walk->v->pages, page);
	return PN_OK;
}

/* Recurses at most MAX_DEPTH deep. Each level has a buffer, so the keys in `range` stay valid. */
static int walk_page(struct walk *walk, uint64_t number, uint64_t parent, size_t level,
		     struct key_range range) {
	struct page page;
	const int err = read_page(walk, number, parent, level, &page);
	if (err != PN_OK)
		return err;
	return page.leaf ? walk_leaf(walk, &page, range) : walk_branch(walk, &page, level, range);
}

static int walk_tree(struct verifier *v, const uint8_t *record, bool is_free_list) {
	const uint64_t root = get_u64(record + TREE_ROOT);
	struct walk walk = {.v = v};
	walk.tree = (struct tree){&v->pages, is_free_list, get_u16(record + TREE_DEPTH)};
	if (root != NO_ROOT) {
		const int err = walk_page(&walk, root, v->newest, 0, (struct key_range){0});
		if (err != PN_OK)
			return err;
	}
	if (get_u64(record + TREE_BRANCH_PAGES) != walk.counted.branch_pages ||
	    get_u64(record + TREE_LEAF_PAGES) != walk.counted.leaf_pages ||
	    get_u64(record + TREE_OVERFLOW_PAGES) != walk.counted.overflow_pages ||
	    get_u64(record + TREE_ENTRIES) != walk.counted.entries)
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
		ours[i] = magic && version && page_size == v->pages.page_size;
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

static bool depth_is_valid(const uint8_t *record) {
	const uint16_t depth = get_u16(record + TREE_DEPTH);
	return depth <= MAX_DEPTH && (get_u64(record + TREE_ROOT) == NO_ROOT) == (depth == 0);
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
	if (last < METAS - 1 || last >= map_size / v->pages.page_size)
		return damaged(v, number, "has an impossible number of pages");
	/* Pages beyond the end of the file are on the free list, which is in the file. */
	v->pages.count = last + 1;
	if (v->pages.count > v->file_pages + v->file_size / NUMBER)
		return damaged(v, number, "counts more pages than the file has");
	if ((get_u16(free_tree + TREE_FLAGS) & ~NO_SUBDIRECTORY) != INTEGER_KEYS ||
	    get_u16(main_tree + TREE_FLAGS) != 0 || get_u32(main_tree + TREE_PAGE_SIZE) != 0)
		return damaged(v, number, "has a tree of an unknown kind");
	if (!depth_is_valid(free_tree) || !depth_is_valid(main_tree))
		return damaged(v, number, "has a tree whose depth is wrong");
	return PN_OK;
}

/* Reads the metas, and chooses the one in force as LMDB does. */
static int read_metas(struct verifier *v) {
	for (size_t i = 0; i < METAS; i++) {
		if (pn_pages_read_some(&v->pages, v->metas[i], META_END, i * v->pages.page_size) <
		    0)
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

static int walk_trees(struct verifier *v) {
	const uint8_t *meta = v->metas[v->newest];
	v->claimed = pn_malloc(v->pages.count / 8 + 1);
	if (v->claimed == NULL)
		return PN_ENOMEM;
	memset(v->claimed, 0, v->pages.count / 8 + 1);
	if (!v->state->without_records && pn_pages_init_ahead(&v->pages) != PN_OK)
		return PN_ENOMEM;
	int err = walk_tree(v, meta + META_FREE_TREE, true);
	if (err == PN_OK && !v->state->without_records)
		err = walk_tree(v, meta + META_MAIN_TREE, false);
	if (err == PN_OK && v->pages.count > v->file_pages &&
	    v->free_behind != v->pages.count - v->file_pages)
		err = damaged(v, v->file_pages, "is beyond the end of the file");
	return err;
}

static int verify(struct verifier *v, struct pn_lmdb_report *report) {
	int err = read_metas(v);
	if (err == PN_OK)
		err = walk_trees(v);
	if (err != PN_OK)
		return err;
	report->pages = v->pages.count;
	report->used = METAS + v->used;
	report->free_pages = v->free_pages;
	report->entries = get_u64(v->metas[v->newest] + META_MAIN_TREE + TREE_ENTRIES);
	report->txnid = v->txnid;
	return PN_OK;
}

int pn_lmdb_verify(int fd, struct pn_lmdb_report *report) {
	return pn_lmdb_verify_state(&(struct pn_lmdb_state){.fd = fd}, report);
}

int pn_lmdb_verify_state(const struct pn_lmdb_state *state, struct pn_lmdb_report *report) {
	*report = (struct pn_lmdb_report){0};
	struct stat st;
	if (fstat(state->fd, &st) != 0)
		return PN_EIO;
	if (st.st_size == 0)
		return PN_OK;
	struct verifier v = {.state = state, .file_size = (uint64_t)st.st_size};
	int err = pn_pages_init(&v.pages, state->fd, state->metas, MAX_DEPTH);
	v.file_pages = v.file_size / v.pages.page_size;
	if (err == PN_OK)
		err = verify(&v, report);
	pn_pages_free(&v.pages);
	pn_free(v.claimed);
	if (err == PN_ECORRUPT || err == PN_EIO) {
		report->bad_page = v.pages.bad_page;
		report->problem = v.pages.problem;
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
