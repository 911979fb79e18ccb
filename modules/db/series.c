/*
 * Series of records that grow at their end. A page that is full is split by LMDB in the middle,
 * unless the new record is the last one on it: then the page stays full. A series that is followed
 * by other records on its last page would leave half-empty pages behind. So the page on which a
 * long series ends is made to end with it: two records of half a page each are put behind the end
 * of the series, of which one replaces the record that follows. LMDB has to split before one of
 * them. Then both are undone. The log has nothing of this: the records stay as they were.
 */
#include <string.h>

#include <pn/err.h>

#include "lmdb_layout.h"
#include "verify.h"

enum {
	/* Pages of a series that is long. The last page of one is half empty in the mean, and that
	 * of a short one is shared with others, which change along with it. Measured with archives
	 * of 10 to 100 messages: 4 writes and takes least.
	 */
	LONG_PAGES = 4,
	PUTS = 2, /* that it may cost: the pages of a split, and a neighbour that is merged */
};

/* The record after the last one of a series. */
struct follower {
	struct pn_key key;
	struct pn_buf value;
};

/* The size of a node's value with which two do not fit on a page with others, but each is on it. */
static size_t half_page(const struct pn_db *db, size_t key_len) {
	const size_t node = ((db->page_size - PAGE_HEADER) / 2 & ~(size_t)1) - sizeof(uint16_t);
	return node - NODE_HEADER - key_len;
}

static const unsigned char *node_of(size_t key_len, MDB_val value) {
	return (unsigned char *)value.mv_data - key_len - NODE_HEADER;
}

/*
 * Whether the record behind `last` is on the same page. A split has just written the nodes of both
 * pages, in order, each below the one before: neighbours on one page are neighbours in memory, and
 * between two pages there is at least a header.
 */
static bool shares_page(size_t key_len, MDB_val last, MDB_val name, MDB_val value) {
	const size_t size = NODE_HEADER + name.mv_size + value.mv_size;
	return node_of(name.mv_size, value) + size + size % 2 == node_of(key_len, last);
}

/* Before LMDB uses the pages around a key. Returns txn->err. */
static int touch(struct pn_txn *txn, const struct pn_key *key) {
	const struct pn_str name = {(const char *)key->bytes, key->len};
	return pn_txn_fail(txn, pn_verify_touch(txn->db, name, true));
}

/* Sets *follower to a copy of the record behind `key`. Returns whether there is one that is to be
 * separated from it. */
static bool find_follower(struct pn_txn *txn, const struct pn_key *key, struct follower *follower) {
	MDB_val at = {key->len, (void *)key->bytes};
	MDB_val last = {0}, name = {0}, value = {0};
	MDB_cursor *cursor;
	if (touch(txn, key) != PN_OK)
		return false;
	int rc = mdb_cursor_open(txn->mdb, txn->db->dbi, &cursor);
	if (pn_txn_fail(txn, pn_db_error(rc)) != PN_OK)
		return false;
	rc = mdb_cursor_get(cursor, &at, &last, MDB_SET_KEY);
	if (rc == MDB_SUCCESS)
		rc = mdb_cursor_get(cursor, &name, &value, MDB_NEXT);
	bool found = rc == MDB_SUCCESS && shares_page(key->len, last, name, value);
	if (rc != MDB_NOTFOUND)
		pn_txn_fail(txn, pn_db_error(rc));
	if (found && value.mv_size < half_page(txn->db, name.mv_size)) {
		follower->key.len = name.mv_size;
		memcpy(follower->key.bytes, name.mv_data, name.mv_size);
		pn_buf_append(&follower->value, value.mv_data, value.mv_size);
		pn_txn_fail(txn, follower->value.err);
	} else {
		found = false;
	}
	mdb_cursor_close(cursor);
	return found && txn->err == PN_OK;
}

static int put_half_page(struct pn_txn *txn, const struct pn_key *key) {
	MDB_val name = {key->len, (void *)key->bytes};
	MDB_val value = {half_page(txn->db, key->len), NULL};
	const int rc = mdb_put(txn->mdb, txn->db->dbi, &name, &value, MDB_RESERVE);
	if (rc == MDB_SUCCESS)
		memset(value.mv_data, 0, value.mv_size);
	return rc;
}

/* Behind all of the series, also of what will be added, and before the record that follows it. */
static struct pn_key key_behind(const struct pn_key *end) {
	struct pn_key behind = {.len = end->len + 1};
	memcpy(behind.bytes, end->bytes, end->len);
	return behind;
}

static int separate(struct pn_txn *txn, const struct pn_key *end, const struct follower *follower) {
	const struct pn_key between = key_behind(end);
	MDB_val padding = {between.len, (void *)between.bytes};
	MDB_val name = {follower->key.len, (void *)follower->key.bytes};
	MDB_val value = {follower->value.len, follower->value.data};
	int rc = put_half_page(txn, &between);
	if (rc == MDB_SUCCESS)
		rc = put_half_page(txn, &follower->key);
	/* first, or LMDB would merge the page of a short follower with that of the series */
	if (rc == MDB_SUCCESS)
		rc = mdb_del(txn->mdb, txn->db->dbi, &padding, NULL);
	if (rc == MDB_SUCCESS)
		rc = mdb_put(txn->mdb, txn->db->dbi, &name, &value, 0);
	return pn_db_error(rc);
}

/* Whether the operation has split a page since the last call. */
static bool was_split(struct pn_txn *txn) {
	struct pn_db *const db = txn->db;
	const size_t before = db->leaf_pages;
	if (txn->err == PN_OK)
		pn_txn_fail(txn, pn_db_count_leaf_pages(db));
	return txn->err == PN_OK && db->leaf_pages > before;
}

void pn_series_extended(struct pn_txn *txn, const struct pn_key *key, const struct pn_key *end,
			uint64_t bytes) {
	struct follower follower = {0};
	if (!was_split(txn) || bytes < (uint64_t)LONG_PAGES * txn->db->page_size ||
	    end->len >= PN_KEY_MAX)
		return;
	if (find_follower(txn, key, &follower) && touch(txn, &follower.key) == PN_OK) {
		pn_txn_claim_more(txn, PUTS, 0);
		pn_txn_fail(txn, separate(txn, end, &follower));
	}
	pn_buf_free(&follower.value);
}
