/*
 * The bytes of each host, changed in the operation that changes them: so they are right after a
 * crash, and for every process. This costs a tenth of an append, so only a server with a limit for
 * a host counts. Their records are beside the one that each commit changes anyway.
 *
 * pn_store_count() counts the collections in order of their numbers; changes of a collection count
 * once it was counted.
 */
#include <pn/collection.h>
#include <pn/err.h>

/* Sets *value, borrowed; its error is set if it is damaged, which must not fail an operation.
 * Returns whether the record exists. */
static bool get_lenient(struct pn_txn *txn, const struct pn_key *key, struct pn_wire *value) {
	struct pn_cursor cursor;
	if (!pn_cursor_find(txn, &cursor, key, NULL)) /* the first one that begins with it */
		return false;
	const bool found = cursor.key.len == key->len;
	*value = cursor.value;
	pn_cursor_close(&cursor);
	return found;
}

uint32_t pn_host_counted(struct pn_txn *txn) {
	struct pn_db_notes *const notes = pn_db_notes(txn->db);
	const struct pn_key key = pn_key_host(NULL);
	struct pn_wire value;
	if (notes->count != PN_COUNT_UNKNOWN)
		return notes->count == PN_COUNT_ALL ? PN_COUNTED_ALL : 0;
	uint32_t counted = get_lenient(txn, &key, &value) ? pn_wire_u32(&value) : 0;
	if (counted > 0 && (value.err != PN_OK || value.left > 0))
		counted = 0; /* damaged: it is counted anew */
	if (counted == PN_COUNTED_ALL && pn_db_pending(txn->db) == 0)
		notes->count = PN_COUNT_ALL; /* in an earlier turn, so that it stays */
	return counted;
}

void pn_host_set_counted(struct pn_txn *txn, uint32_t collection) {
	const struct pn_key key = pn_key_host(NULL);
	pn_db_notes(txn->db)->uncounted = 0;
	pn_put_u32(txn, &key, collection);
}

/* Returns false for a record that cannot be read. */
static bool read_bytes(struct pn_txn *txn, const struct pn_key *key, uint64_t *bytes) {
	struct pn_wire value;
	*bytes = 0;
	if (!get_lenient(txn, key, &value))
		return txn->err == PN_OK;
	*bytes = pn_wire_u64(&value);
	return value.err == PN_OK && value.left == 0;
}

uint64_t pn_host_bytes(struct pn_txn *txn, const pn_digest host) {
	const struct pn_key key = pn_key_host(host);
	uint64_t bytes;
	return read_bytes(txn, &key, &bytes) ? bytes : 0;
}

/* A count that cannot be right: pn_store_count() begins again. */
static void count_again(struct pn_txn *txn) {
	const struct pn_key key = pn_key_host(NULL);
	pn_db_notes(txn->db)->count = PN_COUNT_UNKNOWN;
	pn_remove(txn, &key);
}

void pn_host_add(struct pn_txn *txn, const pn_digest host, int64_t difference) {
	const struct pn_key key = pn_key_host(host);
	uint64_t bytes;
	if (!read_bytes(txn, &key, &bytes) || (difference < 0 && bytes < (uint64_t)-difference)) {
		count_again(txn);
		return;
	}
	bytes += (uint64_t)difference;
	if (bytes == 0) {
		pn_remove(txn, &key);
		return;
	}
	struct pn_buf value = pn_value();
	pn_wire_put_u64(&value, bytes);
	pn_put(txn, &key, &value);
}

void pn_host_changed(struct pn_txn *txn, const pn_digest host, uint32_t collection,
		     int64_t difference) {
	struct pn_db_notes *const notes = pn_db_notes(txn->db);
	const uint64_t transaction = pn_db_transaction(txn->db);
	if (difference == 0 || txn->err != PN_OK || notes->uncounted == transaction)
		return;
	const uint32_t counted = pn_host_counted(txn);
	if (collection <= counted)
		pn_host_add(txn, host, difference);
	else if (counted == 0 && txn->err == PN_OK)
		notes->uncounted = transaction; /* no other process changes that meanwhile */
}

bool pn_host_has_room(struct pn_txn *txn, const struct pn_store *store, uint64_t more) {
	return store == NULL || store->host_limit == 0 ||
	       pn_host_bytes(txn, store->host_digest) + more <= store->host_limit;
}

void pn_host_check(struct pn_txn *txn, const struct pn_store *store, uint64_t before,
		   uint64_t after) {
	if (after > before && !pn_host_has_room(txn, store, after - before))
		pn_txn_fail(txn, PN_EHOST);
}
