/* Sizes of collections, and the operations that need them: counting, and removing a user. */
#include <pn/archive.h>
#include <pn/collection.h>
#include <pn/err.h>

enum {
	PURGE_PUTS = 6, /* c, d, u, s, x, y */
	MORE_PUTS = 2,  /* for each collection of a user: d and s; the others are neighbours */
	COUNT_PUTS = 2, /* records b, which are neighbours */
};

/* ---- Sizes ---- */

static struct pn_size count_values(struct pn_txn *txn, uint32_t collection) {
	const struct pn_key prefix = pn_key_record(collection, PN_KIND_VALUE);
	struct pn_size size = {0};
	struct pn_cursor cursor;
	pn_cursor_open(txn, &cursor, &prefix);
	for (bool any = pn_cursor_first(&cursor); any; any = pn_cursor_next(&cursor)) {
		size.entries++;
		size.bytes += cursor.size;
	}
	pn_cursor_close(&cursor);
	return size;
}

struct pn_size pn_collection_size(struct pn_txn *txn, uint32_t collection, enum pn_type type) {
	struct pn_size size = {0};
	if (type == PN_TYPE_KEYVAL)
		return count_values(txn, collection);
	pn_archive_size(txn, collection, &size.entries, &size.bytes);
	return size;
}

/* The bytes of a collection; none if it cannot be read. */
static uint64_t readable_bytes(struct pn_txn *txn, uint32_t collection) {
	struct pn_owner owner;
	if (txn->err != PN_OK || !pn_collection_owner(txn, collection, &owner))
		return 0;
	const struct pn_size size = pn_collection_size(txn, collection, owner.type);
	if (txn->err != PN_ECORRUPT && txn->err != PN_EVERSION)
		return size.bytes;
	txn->err = PN_OK; /* nothing was written for it */
	return 0;
}

uint64_t pn_collection_counted(struct pn_txn *txn, uint32_t collection) {
	return collection <= pn_host_counted(txn) ? readable_bytes(txn, collection) : 0;
}

/* ---- Counting ---- */

/* Removes what an earlier count has left. */
static void forget_counts(struct pn_txn *txn) {
	const struct pn_key prefix = pn_key_host(NULL);
	struct pn_cursor cursor;
	pn_cursor_open(txn, &cursor, &prefix);
	for (bool any = pn_cursor_first(&cursor); any; any = pn_cursor_next(&cursor))
		pn_cursor_remove(&cursor);
	pn_cursor_close(&cursor);
}

/* The first collection behind the number, 0 if there is none. */
static uint32_t next_collection(struct pn_txn *txn, uint32_t number) {
	const struct pn_key prefix = {.len = 1, .bytes = {PN_KIND_COLLECTION}};
	const struct pn_key start = pn_key_collection(PN_KIND_COLLECTION, number + 1);
	struct pn_cursor cursor;
	uint32_t next = 0;
	if (!pn_cursor_find(txn, &cursor, &prefix, &start))
		return 0;
	if (!pn_key_read_collection(cursor.key, PN_KIND_COLLECTION, &next))
		next = 0;
	pn_cursor_close(&cursor);
	return next;
}

/* Counts the collection. An unreadable one has no bytes. */
static void count(struct pn_txn *txn, uint32_t collection) {
	pn_digest host;
	const uint64_t bytes = readable_bytes(txn, collection);
	if (bytes > 0 && pn_collection_host(txn, collection, host))
		pn_host_add(txn, host, (int64_t)bytes);
}

static int count_some(struct pn_db *db, unsigned limit) {
	struct pn_txn txn;
	pn_txn_write(db, &txn, (struct pn_claim){.puts = COUNT_PUTS, .removes = true});
	uint32_t collection = pn_host_counted(&txn);
	if (collection == 0)
		forget_counts(&txn);
	uint32_t next = next_collection(&txn, collection);
	for (; next != 0 && txn.err == PN_OK && limit > 0; limit--) {
		count(&txn, collection = next);
		next = next_collection(&txn, collection);
	}
	pn_host_set_counted(&txn, next != 0 ? collection : PN_COUNTED_ALL);
	return pn_txn_end(&txn, next != 0);
}

int pn_store_count(struct pn_db *db, unsigned limit) {
	struct pn_db_notes *const notes = pn_db_notes(db);
	struct pn_txn txn;
	if (notes->count == PN_COUNT_OFF)
		notes->count = PN_COUNT_UNKNOWN;
	pn_txn_read(db, &txn);
	const bool counted = pn_host_counted(&txn) == PN_COUNTED_ALL;
	const int err = pn_txn_end(&txn, PN_OK);
	return err != PN_OK || counted ? err : count_some(db, limit);
}

int pn_store_stop_counting(struct pn_db *db) {
	const struct pn_key key = pn_key_host(NULL);
	struct pn_txn txn;
	pn_db_notes(db)->count = PN_COUNT_UNKNOWN;
	pn_txn_read(db, &txn);
	const bool counts = pn_host_counted(&txn) != 0;
	int err = pn_txn_end(&txn, PN_OK);
	if (err == PN_OK && counts) {
		pn_txn_write(db, &txn, (struct pn_claim){.puts = COUNT_PUTS, .removes = true});
		pn_remove(&txn, &key);
		err = pn_txn_end(&txn, PN_OK);
	}
	if (err == PN_OK)
		pn_db_notes(db)->count = PN_COUNT_OFF;
	return err;
}

int pn_store_host_bytes(struct pn_db *db, struct pn_str host, uint64_t *bytes) {
	pn_digest digest = {0};
	struct pn_txn txn;
	pn_txn_read(db, &txn);
	pn_name_digest(&txn, host, digest);
	const uint64_t found = pn_host_bytes(&txn, digest);
	const bool complete = pn_host_counted(&txn) == PN_COUNTED_ALL;
	const int result = pn_txn_end(&txn, complete);
	if (result >= 0)
		*bytes = found;
	return result;
}

/* ---- Removing a user ---- */

/* The first collection of the user, 0 if there is none. */
static uint32_t first_of_user(struct pn_txn *txn, const struct pn_key *prefix) {
	struct pn_cursor cursor;
	if (!pn_cursor_find(txn, &cursor, prefix, NULL))
		return 0;
	const uint32_t collection = pn_wire_u32(&cursor.value);
	pn_txn_sound(txn, &cursor.value);
	pn_cursor_close(&cursor);
	return txn->err == PN_OK ? collection : 0;
}

int pn_store_purge(struct pn_db *db, struct pn_str host, struct pn_user user) {
	struct pn_txn txn;
	uint32_t collection;
	pn_txn_write(db, &txn, (struct pn_claim){.puts = PURGE_PUTS, .removes = true});
	const struct pn_key prefix = pn_user_prefix(&txn, host, user);
	while ((collection = first_of_user(&txn, &prefix)) != 0) {
		pn_txn_claim_more(&txn, MORE_PUTS, 0);
		pn_collection_drop(&txn, collection, pn_collection_counted(&txn, collection));
	}
	return pn_txn_end(&txn, PN_OK);
}
