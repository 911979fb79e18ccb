#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "guard.h"

int pn_guard_init(struct pn_guard *guard, int fd, const unsigned char *meta) {
	const uint8_t *const record = meta + META_MAIN_TREE;
	*guard = (struct pn_guard){.root = get_u64(record + TREE_ROOT)};
	const int err = pn_pages_init(&guard->pages, fd, NULL, MAX_DEPTH);
	guard->pages.count = get_u64(meta + META_LAST_PAGE) + 1;
	guard->tree = (struct tree){&guard->pages, false, get_u16(record + TREE_DEPTH)};
	guard->checked = pn_malloc(guard->pages.count / 8 + 1);
	if (err != PN_OK || guard->checked == NULL)
		return PN_ENOMEM;
	memset(guard->checked, 0, guard->pages.count / 8 + 1);
	return PN_OK;
}

void pn_guard_free(struct pn_guard *guard) {
	pn_pages_free(&guard->pages);
	pn_free(guard->checked);
}

/* ---- One page ---- */

static bool is_checked(const struct pn_guard *guard, uint64_t number) {
	return (guard->checked[number / 8] & 1u << number % 8) != 0;
}

/* Its keys ascend, and are in the range. The first key of a branch does not count. */
static int check_keys(const struct tree *tree, const struct page *page, struct key_range range) {
	const size_t first = page->leaf ? 0 : 1;
	struct key last = range.low;
	for (size_t i = first; i < page->nodes; i++) {
		const struct key key = key_of(node_at(page, i));
		const int order = last.bytes != NULL ? pn_page_compare(tree, last, key) : -1;
		if (order > 0 || (order == 0 && i > first))
			return pn_pages_damaged(tree->pages, page->number, "has keys out of order");
		last = key;
	}
	if (range.high.bytes != NULL && pn_page_compare(tree, last, range.high) >= 0)
		return pn_pages_damaged(tree->pages, page->number,
					"has keys that belong in another page");
	return PN_OK;
}

static int check_number(struct pn_guard *guard, uint64_t number, uint64_t found_in) {
	if (number >= METAS && number < guard->pages.count)
		return PN_OK;
	return pn_pages_damaged(&guard->pages, found_in, "refers to an impossible page");
}

static int check_runs(struct pn_guard *guard, const struct page *leaf) {
	int err = PN_OK;
	for (size_t i = 0; i < leaf->nodes && err == PN_OK; i++) {
		const uint8_t *const node = node_at(leaf, i);
		uint32_t length = 0;
		if (!is_in_run(node))
			continue;
		const uint64_t first = get_u64(value_of(node));
		err = check_number(guard, first, leaf->number);
		if (err == PN_OK)
			err = pn_page_read_run(&guard->pages, first,
					       get_u32(node + NODE_VALUE_SIZE), &length);
		if (err == PN_OK)
			err = check_number(guard, first + length - 1, first);
	}
	return err;
}

/* Reads a page into the buffer of its level, and checks it unless that was done. */
static int check_page(struct pn_guard *guard, uint64_t number, uint64_t found_in, size_t level,
		      struct key_range range, struct page *page) {
	int err = check_number(guard, number, found_in);
	if (err == PN_OK)
		err = pn_page_read(&guard->tree, number, level, page);
	if (err != PN_OK || is_checked(guard, number))
		return err;
	err = check_keys(&guard->tree, page, range);
	if (err == PN_OK && page->leaf)
		err = check_runs(guard, page);
	if (err == PN_OK)
		guard->checked[number / 8] |= (uint8_t)(1u << number % 8);
	return err;
}

/* ---- From the root to the leaf ---- */

static size_t find_child(const struct tree *tree, const struct page *branch, struct key key) {
	size_t i = 1;
	while (i < branch->nodes && pn_page_compare(tree, key_of(node_at(branch, i)), key) <= 0)
		i++;
	return i - 1;
}

static int check_path(struct pn_guard *guard, struct key key) {
	struct key_range range = {0};
	uint64_t number = guard->root, found_in = METAS - 1;
	for (size_t level = 0; level < guard->tree.depth; level++) {
		struct page *const page = &guard->path[level];
		const int err = check_page(guard, number, found_in, level, range, page);
		if (err != PN_OK)
			return err;
		guard->ranges[level] = range;
		if (page->leaf)
			break;
		guard->index[level] = find_child(&guard->tree, page, key);
		range = range_of(page, guard->index[level], range);
		found_in = number;
		number = child_of(node_at(page, guard->index[level]));
	}
	return PN_OK;
}

/* ---- Neighbours. They are read into the buffers of the levels below the branch. ---- */

/* Checks a child of the path's branch on that level, and below it the first page of each level, or
 * the last one. */
static int check_edge(struct pn_guard *guard, size_t level, size_t index, bool last) {
	struct page page = guard->path[level];
	struct key_range range = guard->ranges[level];
	for (level++; level < guard->tree.depth; level++) {
		const uint64_t parent = page.number, child = child_of(node_at(&page, index));
		int err = check_number(guard, child, parent);
		if (err == PN_OK && level + 1 == guard->tree.depth && is_checked(guard, child))
			return PN_OK;
		range = range_of(&page, index, range);
		if (err == PN_OK)
			err = check_page(guard, child, parent, level, range, &page);
		if (err != PN_OK)
			return err;
		index = last ? page.nodes - 1 : 0;
	}
	return PN_OK;
}

/* The leaves before and behind the path's leaf. */
static int check_leaves_beside(struct pn_guard *guard) {
	bool before = false, behind = false;
	int err = PN_OK;
	for (size_t level = guard->tree.depth - 1; level-- > 0 && err == PN_OK;) {
		const size_t index = guard->index[level];
		if (!before && index > 0) {
			before = true;
			err = check_edge(guard, level, index - 1, true);
		}
		if (err == PN_OK && !behind && index + 1 < guard->path[level].nodes) {
			behind = true;
			err = check_edge(guard, level, index + 1, false);
		}
	}
	return err;
}

/* All that a write may merge. */
static int check_around(struct pn_guard *guard) {
	int err = PN_OK;
	for (size_t level = guard->tree.depth - 1; level-- > 0 && err == PN_OK;) {
		const size_t index = guard->index[level];
		err = check_edge(guard, level, index, false);
		if (err == PN_OK && index > 0)
			err = check_edge(guard, level, index - 1, false);
		if (err == PN_OK && index > 0)
			err = check_edge(guard, level, index - 1, true);
		if (err == PN_OK && index + 1 < guard->path[level].nodes)
			err = check_edge(guard, level, index + 1, false);
	}
	return err;
}

/* ---- The last leaf ---- */

static bool is_in_leaf(const struct pn_guard *guard, struct key key) {
	const struct key_range *const leaf = &guard->leaf;
	return guard->has_leaf &&
	       (leaf->low.bytes == NULL || pn_page_compare(&guard->tree, leaf->low, key) <= 0) &&
	       (leaf->high.bytes == NULL || pn_page_compare(&guard->tree, key, leaf->high) < 0);
}

static struct key keep_key(struct key key, uint8_t *bytes) {
	if (key.bytes == NULL)
		return key;
	memcpy(bytes, key.bytes, key.size);
	return (struct key){bytes, key.size};
}

static void keep_leaf(struct pn_guard *guard) {
	const struct key_range range = guard->ranges[guard->tree.depth - 1];
	guard->leaf = (struct key_range){keep_key(range.low, guard->low),
					 keep_key(range.high, guard->high)};
}

int pn_guard_touch(struct pn_guard *guard, struct pn_str name, bool writes) {
	const struct key key = {(const uint8_t *)(name.len > 0 ? name.bytes : ""), name.len};
	if (guard->tree.depth == 0 || (is_in_leaf(guard, key) && (guard->for_write || !writes)))
		return PN_OK;
	guard->has_leaf = false;
	int err = check_path(guard, key);
	if (err != PN_OK)
		return err;
	keep_leaf(guard);
	err = writes ? check_around(guard) : check_leaves_beside(guard);
	guard->has_leaf = err == PN_OK;
	guard->for_write = writes;
	return err;
}
