/* Key-value collections. */
#include <stdlib.h>
#include <string.h>

#include <pn/collection.h>
#include <pn/err.h>

enum {
	/* Of an operation with one record: the record, and the directory if it is the last one of
	 * its collection. Test: "room: emptied collections". */
	PUTS = 2,
	/* A record's bytes count fourfold: pages that are split are half empty, and those of the
	 * old records are changed, too. Test: "room: a table of many records". */
	BYTES_FACTOR = 4,
};

/* ---- One record ---- */

/* Reads the value of a record. Its key is `name`, or in the value if `name` is a digest. */
static bool open_record(struct pn_txn *txn, struct pn_str name, bool hashed, struct pn_wire wire,
			struct pn_record *record) {
	record->key = name;
	if (hashed)
		record->key.bytes = pn_wire_bytes(&wire, &record->key.len);
	record->value = (struct pn_str){(const char *)wire.pos, wire.left};
	return pn_txn_sound(txn, &wire);
}

static bool read_record(struct pn_txn *txn, const struct pn_cursor *cursor,
			struct pn_record *record) {
	struct pn_str name;
	uint32_t collection;
	bool hashed;
	if (!pn_key_read_name(cursor->key, PN_KIND_VALUE, &collection, &hashed, &name)) {
		pn_txn_fail(txn, PN_ECORRUPT);
		return false;
	}
	return open_record(txn, name, hashed, cursor->value, record);
}

/* Sets *value, and returns whether the record exists. */
static bool get_record(struct pn_txn *txn, uint32_t collection, struct pn_str name,
		       struct pn_str *value) {
	const struct pn_key key = pn_name_key(txn, collection, PN_KIND_VALUE, name);
	struct pn_wire wire;
	struct pn_record record;
	if (!pn_get(txn, &key, &wire) ||
	    !open_record(txn, name, name.len > PN_KEY_RAW, wire, &record))
		return false;
	*value = record.value;
	return true;
}

static bool same(struct pn_str a, struct pn_str b) {
	return a.len == b.len && memcmp(a.bytes, b.bytes, a.len) == 0;
}

/* The bytes of a record: of its key, as pn/keys.h draws it, and of its value. */
static size_t record_bytes(struct pn_str key, size_t value_len) {
	const size_t head = 7 + 1; /* of the key, and of the value */
	return head + value_len + (key.len > PN_KEY_RAW ? PN_DIGEST + 4 + key.len : key.len);
}

/* Writes a record, unless it is there already with the same value. Returns by how many bytes the
 * collection has grown. */
static int64_t put_record(struct pn_txn *txn, uint32_t collection, const struct pn_record *record) {
	struct pn_str before;
	int64_t grown = (int64_t)record_bytes(record->key, record->value.len);
	if (get_record(txn, collection, record->key, &before)) {
		if (same(before, record->value))
			return 0;
		grown -= (int64_t)record_bytes(record->key, before.len);
	}
	const struct pn_key key = pn_name_key(txn, collection, PN_KIND_VALUE, record->key);
	struct pn_buf value = pn_value();
	if (record->key.len > PN_KEY_RAW)
		pn_wire_put_bytes(&value, record->key.bytes, (uint32_t)record->key.len);
	pn_buf_append(&value, record->value.bytes, record->value.len);
	pn_put(txn, &key, &value);
	return grown;
}

/* Drops the collection if it has no records left. */
static void drop_empty(struct pn_txn *txn, uint32_t collection) {
	const struct pn_key prefix = pn_key_record(collection, PN_KIND_VALUE);
	struct pn_cursor cursor;
	if (pn_cursor_find(txn, &cursor, &prefix, NULL))
		pn_cursor_close(&cursor);
	else
		pn_collection_drop(txn, collection, 0);
}

static void remove_record(struct pn_txn *txn, const struct pn_store *store, uint32_t collection,
			  struct pn_str name) {
	const struct pn_key key = pn_name_key(txn, collection, PN_KIND_VALUE, name);
	struct pn_cursor cursor;
	size_t bytes = 0; /* also of a record that cannot be read */
	if (!pn_cursor_find(txn, &cursor, &key, NULL))
		return;
	if (cursor.key.len == key.len) {
		bytes = cursor.size;
		pn_cursor_remove(&cursor);
	}
	pn_cursor_close(&cursor);
	if (bytes == 0)
		return;
	pn_host_changed(txn, store->host_digest, collection, -(int64_t)bytes);
	drop_empty(txn, collection);
}

/* ---- Single records ---- */

int pn_kv_get(const struct pn_store *store, struct pn_user user, struct pn_str key,
	      struct pn_buf *value) {
	struct pn_txn txn;
	struct pn_str bytes;
	pn_txn_read(store->db, &txn);
	const uint32_t collection = pn_collection_find(&txn, store, user);
	const bool found = collection != 0 && get_record(&txn, collection, key, &bytes);
	if (found)
		pn_buf_append(value, bytes.bytes, bytes.len);
	pn_txn_fail(&txn, value->err);
	return pn_txn_end(&txn, found);
}

static void set_record(struct pn_txn *txn, const struct pn_store *store, struct pn_user user,
		       const struct pn_record *record) {
	if (record->value.bytes != NULL) {
		const uint32_t collection = pn_collection_make(txn, store, user);
		const int64_t grown = put_record(txn, collection, record);
		pn_host_changed(txn, store->host_digest, collection, grown);
		return;
	}
	const uint32_t collection = pn_collection_find(txn, store, user);
	if (collection != 0)
		remove_record(txn, store, collection, record->key);
}

static uint64_t bytes_of(const struct pn_record *records, size_t count) {
	uint64_t bytes = 0;
	for (size_t i = 0; i < count; i++) {
		if (records[i].value.bytes != NULL)
			bytes += record_bytes(records[i].key, records[i].value.len);
	}
	return bytes;
}

/* The bytes of the user's records with these keys, as they are now. */
static uint64_t bytes_before(struct pn_txn *txn, uint32_t collection,
			     const struct pn_record *records, size_t count) {
	struct pn_str value;
	uint64_t bytes = 0;
	for (size_t i = 0; i < count; i++) {
		if (get_record(txn, collection, records[i].key, &value))
			bytes += record_bytes(records[i].key, value.len);
	}
	return bytes;
}

/* Checks the limit of the host before anything is written. all: they replace all of the user's. */
static void check_host(struct pn_txn *txn, const struct pn_store *store, struct pn_user user,
		       const struct pn_record *records, size_t count, bool all) {
	const uint64_t after = bytes_of(records, count);
	if (pn_host_has_room(txn, store, after))
		return;
	const uint32_t collection = pn_collection_find(txn, store, user);
	const uint64_t before = all ? pn_collection_size(txn, collection, PN_TYPE_KEYVAL).bytes
				    : bytes_before(txn, collection, records, count);
	pn_host_check(txn, store, before, after);
}

/* apart: each record may be on a page of its own. */
static struct pn_claim claim_for(const struct pn_record *records, size_t count, bool apart) {
	struct pn_claim claim = {.puts = PUTS, .removes = true};
	if (apart && count > 1)
		claim.puts += (unsigned)count;
	for (size_t i = 0; i < count; i++) {
		const size_t len = records[i].key.len + records[i].value.len;
		claim.bytes += BYTES_FACTOR * len;
		claim.largest = len > claim.largest ? len : claim.largest;
		claim.removes = claim.removes && records[i].value.bytes == NULL;
	}
	return claim;
}

int pn_kv_set(const struct pn_store *store, struct pn_user user, const struct pn_record *records,
	      size_t count) {
	struct pn_txn txn;
	pn_txn_write(store->db, &txn, claim_for(records, count, true));
	check_host(&txn, store, user, records, count, false);
	for (size_t i = 0; i < count && txn.err == PN_OK; i++)
		set_record(&txn, store, user, &records[i]);
	return pn_txn_end(&txn, PN_OK);
}

/* ---- All records of a user ---- */

int pn_kv_load(const struct pn_store *store, struct pn_user user, struct pn_buf *out) {
	struct pn_txn txn;
	struct pn_cursor cursor;
	struct pn_record record;
	int count = 0;
	pn_txn_read(store->db, &txn);
	const uint32_t collection = pn_collection_find(&txn, store, user);
	if (collection == 0)
		return pn_txn_end(&txn, 0);
	const struct pn_key prefix = pn_key_record(collection, PN_KIND_VALUE);
	pn_cursor_open(&txn, &cursor, &prefix);
	for (bool any = pn_cursor_first(&cursor); any; any = pn_cursor_next(&cursor)) {
		if (!read_record(&txn, &cursor, &record))
			break;
		pn_wire_put_bytes(out, record.key.bytes, (uint32_t)record.key.len);
		pn_wire_put_bytes(out, record.value.bytes, (uint32_t)record.value.len);
		pn_txn_fail(&txn, out->err);
		count++;
	}
	pn_cursor_close(&cursor);
	return pn_txn_end(&txn, count);
}

static int compare_strings(struct pn_str a, struct pn_str b) {
	const size_t len = a.len < b.len ? a.len : b.len;
	const int order = memcmp(a.bytes, b.bytes, len);
	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_records(const void *a, const void *b) {
	const struct pn_record *first = a;
	const struct pn_record *second = b;
	return compare_strings(first->key, second->key);
}

/* Removes the records whose keys are not in `records`, which are sorted. Returns their bytes. */
static int64_t remove_others(struct pn_txn *txn, uint32_t collection,
			     const struct pn_record *records, size_t count) {
	int64_t bytes = 0;
	const struct pn_key prefix = pn_key_record(collection, PN_KIND_VALUE);
	struct pn_cursor cursor;
	struct pn_record record;
	pn_cursor_open(txn, &cursor, &prefix);
	for (bool any = pn_cursor_first(&cursor); any; any = pn_cursor_next(&cursor)) {
		if (!read_record(txn, &cursor, &record))
			break;
		if (bsearch(&record, records, count, sizeof(record), compare_records) == NULL) {
			bytes += (int64_t)cursor.size;
			pn_cursor_remove(&cursor);
		}
	}
	pn_cursor_close(&cursor);
	return bytes;
}

static void replace(struct pn_txn *txn, const struct pn_store *store, struct pn_user user,
		    const struct pn_record *records, size_t count) {
	if (count == 0) {
		const uint32_t found = pn_collection_find(txn, store, user);
		if (found != 0)
			pn_collection_drop(txn, found, pn_collection_counted(txn, found));
		return;
	}
	int64_t grown = 0;
	const uint32_t collection = pn_collection_make(txn, store, user);
	for (size_t i = 0; i < count && txn->err == PN_OK; i++)
		grown += put_record(txn, collection, &records[i]);
	grown -= remove_others(txn, collection, records, count);
	pn_host_changed(txn, store->host_digest, collection, grown);
}

int pn_kv_replace(const struct pn_store *store, struct pn_user user, struct pn_record *records,
		  size_t count) {
	struct pn_txn txn;
	pn_txn_write(store->db, &txn, claim_for(records, count, false));
	if (count > 1)
		qsort(records, count, sizeof(records[0]), compare_records);
	check_host(&txn, store, user, records, count, true);
	replace(&txn, store, user, records, count);
	return pn_txn_end(&txn, PN_OK);
}

/* ---- One key of all users ---- */

/* Appends the user and the value, if the collection has the key and does not belong to the host. */
static void append_value(struct pn_txn *txn, uint32_t collection, struct pn_str key,
			 struct pn_buf *out) {
	struct pn_owner owner;
	struct pn_str value;
	if (!get_record(txn, collection, key, &value) ||
	    !pn_collection_owner(txn, collection, &owner) || owner.user.bytes == NULL)
		return;
	pn_wire_put_bytes(out, owner.user.bytes, (uint32_t)owner.user.len);
	pn_wire_put_bytes(out, value.bytes, (uint32_t)value.len);
	pn_txn_fail(txn, out->err);
}

int pn_kv_get_all(const struct pn_store *store, struct pn_str key, struct pn_buf *out) {
	const struct pn_key prefix = pn_directory_start(store);
	struct pn_txn txn;
	struct pn_cursor cursor;
	pn_txn_read(store->db, &txn);
	pn_cursor_open(&txn, &cursor, &prefix);
	for (bool any = pn_cursor_first(&cursor); any; any = pn_cursor_next(&cursor))
		append_value(&txn, pn_wire_u32(&cursor.value), key, out);
	pn_cursor_close(&cursor);
	return pn_txn_end(&txn, PN_OK);
}

/* Finds the next collection of the store that has the key. Returns whether there is one. */
static bool find_with_key(struct pn_txn *txn, const struct pn_store *store, struct pn_key *position,
			  struct pn_str key, uint32_t *collection) {
	struct pn_str value;
	while (pn_directory_next(txn, store, position, collection)) {
		if (txn->err != PN_OK || get_record(txn, *collection, key, &value))
			return true;
	}
	return false;
}

/* Uses an operation for each user, to bound the claim. Skips users whose records are damaged, and
 * returns the error at the end. */
int pn_kv_delete_all(const struct pn_store *store, struct pn_str key) {
	struct pn_key position = pn_directory_start(store);
	uint32_t collection;
	int result = PN_OK;
	bool more;
	do {
		struct pn_txn txn;
		pn_txn_write(store->db, &txn, (struct pn_claim){.puts = PUTS, .removes = true});
		more = find_with_key(&txn, store, &position, key, &collection);
		if (more)
			remove_record(&txn, store, collection, key);
		const int err = pn_txn_end(&txn, PN_OK);
		if (err != PN_OK && (err != PN_ECORRUPT || !more))
			return err;
		result = err != PN_OK ? err : result;
	} while (more);
	return result;
}
