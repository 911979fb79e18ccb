#include <string.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "ahead.h"
#include "lmdb_page.h"

/* The path to the last branch whose leaves were asked for, and the lowest key below that: once the
 * walk is there, the next branch is due. */
struct pn_ahead {
	struct pages pages;
	struct tree tree;
	struct page path[MAX_DEPTH];
	size_t index[MAX_DEPTH]; /* of the child that is on the path */
	bool ended;
	struct key due; /* its bytes are those below; NULL: at once */
	uint8_t bytes[MAX_KEY_SIZE];
};

/* The level of the branches above the leaves. */
static size_t lowest(const struct pn_ahead *ahead) {
	return ahead->tree.depth - 2;
}

/* Reads the path's pages from a level down, each the first child, and asks for the leaves. */
static bool descend(struct pn_ahead *ahead, uint64_t number, size_t level) {
	for (;; level++) {
		struct page *const page = &ahead->path[level];
		if (number < METAS || number >= ahead->pages.count ||
		    pn_page_read(&ahead->tree, number, level, page) != PN_OK)
			return false; /* whoever uses the page reports it */
		if (level == lowest(ahead)) {
			pn_page_read_ahead(&ahead->pages, page);
			return true;
		}
		ahead->index[level] = 0;
		number = child_of(node_at(page, 0));
	}
}

/* Moves on to the next branch. Returns false at the end. */
static bool advance(struct pn_ahead *ahead) {
	for (size_t level = lowest(ahead); level-- > 0;) {
		const struct page *const page = &ahead->path[level];
		if (ahead->index[level] + 1 >= page->nodes)
			continue;
		const uint8_t *const node = node_at(page, ++ahead->index[level]);
		const struct key low = key_of(node);
		memcpy(ahead->bytes, low.bytes, low.size);
		ahead->due = (struct key){ahead->bytes, low.size};
		return descend(ahead, child_of(node), level + 1);
	}
	return false;
}

void pn_ahead_move(struct pn_ahead *ahead, struct pn_str name) {
	const struct key key = {(const uint8_t *)name.bytes, name.len};
	while (ahead != NULL && !ahead->ended &&
	       (ahead->due.bytes == NULL || pn_page_compare(&ahead->tree, ahead->due, key) <= 0))
		ahead->ended = !advance(ahead);
}

int pn_ahead_new(struct pn_ahead **out, int fd, MDB_txn *txn) {
	unsigned char meta[META_END];
	const uint64_t txnid = mdb_txn_id(txn);
	const off_t at = (off_t)((txnid & 1) * lmdb_page_size());
	*out = NULL;
	if (pread(fd, meta, META_END, at) != META_END || meta_txnid(meta) != txnid ||
	    get_u16(meta + META_MAIN_TREE + TREE_DEPTH) < 2)
		return PN_OK;
	struct pn_ahead *const ahead = pn_malloc(sizeof(*ahead));
	if (ahead == NULL)
		return PN_ENOMEM;
	*ahead = (struct pn_ahead){0};
	int err = pn_pages_init(&ahead->pages, fd, NULL, MAX_DEPTH);
	ahead->pages.count = get_u64(meta + META_LAST_PAGE) + 1;
	ahead->tree =
		(struct tree){&ahead->pages, false, get_u16(meta + META_MAIN_TREE + TREE_DEPTH)};
	if (err == PN_OK)
		err = pn_pages_init_ahead(&ahead->pages);
	if (err == PN_OK && ahead->tree.depth <= MAX_DEPTH &&
	    descend(ahead, get_u64(meta + META_MAIN_TREE + TREE_ROOT), 0))
		*out = ahead;
	else
		pn_ahead_free(ahead);
	return err;
}

void pn_ahead_free(struct pn_ahead *ahead) {
	if (ahead == NULL)
		return;
	pn_pages_free(&ahead->pages);
	pn_free(ahead);
}
