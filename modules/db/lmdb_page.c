#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "lmdb_page.h"

enum {
	/* Pages that are read at once, as many as the system reads around a page of a map. With
	 * fewer a copy from a disk takes twice the time, with more it is not faster. */
	WINDOW = 32,
};

static const uint64_t MAX_VALUE = UINT32_MAX; /* the size field of a node has 32 bits */

int pn_pages_init(struct pages *pages, int fd, const unsigned char *instead, size_t levels) {
	*pages = (struct pages){.fd = fd, .page_size = lmdb_page_size(), .instead = instead};
	pages->buffers = pn_malloc((levels + 1) * pages->page_size);
	pages->node_sizes = pn_malloc(pages->page_size);
	if (pages->buffers == NULL || pages->node_sizes == NULL)
		return PN_ENOMEM;
	memset(pages->node_sizes, 0, pages->page_size);
	return PN_OK;
}

void pn_pages_free(struct pages *pages) {
	pn_free(pages->buffers);
	pn_free(pages->node_sizes);
	pn_free(pages->asked);
}

int pn_pages_damaged(struct pages *pages, uint64_t number, const char *problem) {
	pages->bad_page = number;
	pages->problem = problem;
	return PN_ECORRUPT;
}

/* With read() and not through a map: if the disk fails, a map kills the process with SIGBUS. */
ssize_t pn_pages_read_some(const struct pages *pages, void *to, size_t size, uint64_t offset) {
	size_t done = 0;
	if (pages->instead != NULL && offset + size <= METAS * pages->page_size) {
		memcpy(to, pages->instead + offset, size);
		return (ssize_t)size;
	}
	while (done < size) {
		const ssize_t n =
			pread(pages->fd, (char *)to + done, size - done, (off_t)(offset + done));
		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			return PN_EIO;
		done += n > 0 ? (size_t)n : 0;
	}
	return (ssize_t)done;
}

int pn_pages_read(const struct pages *pages, void *to, size_t size, uint64_t offset) {
	return pn_pages_read_some(pages, to, size, offset) == (ssize_t)size ? PN_OK : PN_EIO;
}

/* ---- Nodes ---- */

/* The size of a node. Its header is within the page, the rest may not be. */
static size_t node_size(const struct page *page, const uint8_t *node) {
	const size_t size = NODE_HEADER + get_u16(node + NODE_KEY_SIZE);
	if (!page->leaf)
		return size;
	return size + (is_in_run(node) ? NUMBER : get_u32(node + NODE_VALUE_SIZE));
}

static bool key_size_is_valid(const struct tree *tree, const struct page *page, size_t index,
			      size_t size) {
	if (!page->leaf && index == 0)
		return size <= MAX_KEY_SIZE;
	return tree->is_free_list ? size == NUMBER : size >= 1 && size <= MAX_KEY_SIZE;
}

/* Half of a page, so that two nodes fit: LMDB moves a longer value to a run. */
static size_t max_node_size(const struct pages *pages) {
	return (pages->page_size - PAGE_HEADER) / 2 / 2 * 2 - 2;
}

/* Checks a node by itself, and records its size. */
static int check_node(const struct tree *tree, const struct page *page, size_t index) {
	struct pages *const pages = tree->pages;
	const size_t offset = get_u16(page->bytes + PAGE_HEADER + index * 2);
	if (offset % 2 != 0 || offset < get_u16(page->bytes + PAGE_UPPER) ||
	    offset > pages->page_size - NODE_HEADER)
		return pn_pages_damaged(pages, page->number, "has a node at an impossible place");
	const uint8_t *node = page->bytes + offset;
	if (!key_size_is_valid(tree, page, index, get_u16(node + NODE_KEY_SIZE)))
		return pn_pages_damaged(pages, page->number, "has a key of an impossible size");
	if (page->leaf && (get_u16(node + NODE_FLAGS) & ~VALUE_IN_RUN) != 0)
		return pn_pages_damaged(pages, page->number, "has a node with unknown flags");
	const size_t size = node_size(page, node);
	if (size > max_node_size(pages))
		return pn_pages_damaged(pages, page->number, "has a node of an impossible size");
	if (pages->node_sizes[offset / 2] != 0)
		return pn_pages_damaged(pages, page->number, "has two nodes at one place");
	pages->node_sizes[offset / 2] = (uint16_t)(size + size % 2);
	return PN_OK;
}

/* Checks that the nodes fill the page from `upper` on: LMDB relies on it when it moves them. */
static int check_nodes(const struct tree *tree, const struct page *page) {
	struct pages *const pages = tree->pages;
	int err = PN_OK;
	for (size_t i = 0; i < page->nodes && err == PN_OK; i++)
		err = check_node(tree, page, i);
	if (err != PN_OK) {
		memset(pages->node_sizes, 0, pages->page_size);
		return err;
	}
	size_t offset = get_u16(page->bytes + PAGE_UPPER);
	size_t met = 0;
	while (offset < pages->page_size && pages->node_sizes[offset / 2] != 0) {
		const size_t at = offset / 2;
		offset += pages->node_sizes[at];
		pages->node_sizes[at] = 0;
		met++;
	}
	if (offset == pages->page_size && met == page->nodes)
		return PN_OK;
	memset(pages->node_sizes, 0, pages->page_size);
	return pn_pages_damaged(pages, page->number, "has nodes that overlap or leave a gap");
}

int pn_page_compare(const struct tree *tree, struct key a, struct key b) {
	if (tree->is_free_list) {
		const uint64_t x = get_u64(a.bytes);
		const uint64_t y = get_u64(b.bytes);
		return (x > y) - (x < y);
	}
	const int order = memcmp(a.bytes, b.bytes, a.size < b.size ? a.size : b.size);
	return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* ---- Pages ---- */

static int check_header(const struct tree *tree, uint64_t number, struct page *page) {
	struct pages *const pages = tree->pages;
	const uint8_t *const bytes = page->bytes;
	if (get_u64(bytes + PAGE_NUMBER) != number)
		return pn_pages_damaged(pages, number, "has the number of another page");
	if (get_u16(bytes + PAGE_FLAGS) != (page->leaf ? IS_LEAF : IS_BRANCH))
		return pn_pages_damaged(pages, number,
					"has the wrong type for its level in the tree");
	const size_t lower = get_u16(bytes + PAGE_LOWER);
	const size_t upper = get_u16(bytes + PAGE_UPPER);
	if (lower < PAGE_HEADER || lower % 2 != 0 || upper % 2 != 0 || lower > upper ||
	    upper > pages->page_size)
		return pn_pages_damaged(pages, number, "has impossible bounds of its free space");
	page->nodes = (lower - PAGE_HEADER) / 2;
	if (page->nodes < (page->leaf ? 1 : 2))
		return pn_pages_damaged(pages, number, "has too few nodes");
	return PN_OK;
}

int pn_page_read(const struct tree *tree, uint64_t number, size_t level, struct page *page) {
	struct pages *const pages = tree->pages;
	uint8_t *const bytes = pages->buffers + level * pages->page_size;
	struct page found = {.bytes = bytes, .number = number, .leaf = level + 1 == tree->depth};
	int err = pn_pages_read(pages, bytes, pages->page_size, number * pages->page_size);
	if (err != PN_OK)
		(void)pn_pages_damaged(pages, number, "cannot be read");
	if (err == PN_OK)
		err = check_header(tree, number, &found);
	if (err == PN_OK)
		err = check_nodes(tree, &found);
	if (err == PN_OK)
		*page = found;
	return err;
}

int pn_page_read_run(struct pages *pages, uint64_t first, size_t size, uint32_t *length) {
	uint8_t header[PAGE_HEADER];
	const int err = pn_pages_read(pages, header, sizeof(header), first * pages->page_size);
	if (err != PN_OK) {
		(void)pn_pages_damaged(pages, first, "cannot be read");
		return err;
	}
	if (get_u64(header + PAGE_NUMBER) != first || get_u16(header + PAGE_FLAGS) != IS_OVERFLOW)
		return pn_pages_damaged(pages, first, "is not the first page of a run");
	*length = get_u32(header + RUN_PAGES);
	const uint64_t room = (uint64_t)*length * pages->page_size;
	if (room < PAGE_HEADER + size || room > PAGE_HEADER + MAX_VALUE + pages->page_size)
		return pn_pages_damaged(pages, first, "is a run of pages of the wrong length");
	return PN_OK;
}

/* ---- Memory ---- */

int pn_pages_init_ahead(struct pages *pages) {
	const size_t windows = pages->count / WINDOW + 1;
	pages->asked = pn_malloc(windows / 8 + 1);
	if (pages->asked == NULL)
		return PN_ENOMEM;
	memset(pages->asked, 0, windows / 8 + 1);
	return PN_OK;
}

static void advise(const struct pages *pages, uint64_t first, uint64_t count, int advice) {
	if (count > 0)
		(void)posix_fadvise(pages->fd, (off_t)(first * pages->page_size),
				    (off_t)(count * pages->page_size), advice);
}

void pn_page_read_ahead(struct pages *pages, const struct page *branch) {
	for (size_t i = 0; i < branch->nodes && pages->asked != NULL; i++) {
		const uint64_t window = child_of(node_at(branch, i)) / WINDOW;
		const uint8_t bit = (uint8_t)(1u << window % 8);
		if (window > pages->count / WINDOW || (pages->asked[window / 8] & bit) != 0)
			continue;
		pages->asked[window / 8] |= bit;
		advise(pages, window * WINDOW, WINDOW, POSIX_FADV_WILLNEED);
	}
}

void pn_page_drop(const struct pages *pages, const struct page *branch) {
	uint64_t first = 0, count = 0;
	for (size_t i = 0; i < branch->nodes; i++) {
		const uint64_t child = child_of(node_at(branch, i));
		if (child != first + count) {
			advise(pages, first, count, POSIX_FADV_DONTNEED);
			first = child;
			count = 0;
		}
		count++;
	}
	advise(pages, first, count, POSIX_FADV_DONTNEED);
}
