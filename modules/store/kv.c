/* Key-value collections. */
#include <stdlib.h>
#include <string.h>

#include <pn/err.h>

#include "store.h"

enum { PUTS = 2 }; /* of a call; its bytes count threefold */

static int record_key(struct pn_store *store, uint32_t collection, struct pn_str name,
		      struct pn_key *key) {
	pn_digest digest = {0};
	if (name.len > PN_KEY_RAW) {
		const int err = pn_crypt_digest(store->crypt, &name, 1, digest);
		if (err != PN_OK)
			return err;
	}
	*key = pn_key_name(collection, PN_KIND_VALUE, name, digest);
	return PN_OK;
}

/* The value of a record; sets *name to its key too. */
static int open_record(struct pn_str name, bool hashed, struct pn_wire wire,
		       struct pn_record *record) {
	record->key = name;
	if (hashed)
		record->key.bytes = pn_wire_bytes(&wire, &record->key.len);
	if (wire.err != PN_OK)
		return PN_ECORRUPT;
	record->value = (struct pn_str){(const char *)wire.pos, wire.left};
	return PN_OK;
}

static int read_record(const struct pn_cursor *cursor, struct pn_record *record) {
	struct pn_str name;
	uint32_t collection;
	bool hashed;
	if (!pn_key_read_name(cursor->key, PN_KIND_VALUE, &collection, &hashed, &name))
		return PN_ECORRUPT;
	return open_record(name, hashed, cursor->value, record);
}

/* Looks a record up: 1 and *value, or 0. */
static int get_record(struct pn_store *store, uint32_t collection, struct pn_str name,
		      struct pn_str *value) {
	struct pn_key key;
	struct pn_wire wire;
	struct pn_record record;
	int err = record_key(store, collection, name, &key);
	if (err != PN_OK)
		return err;
	const int found = pn_get(store, &key, &wire);
	if (found <= 0)
		return found;
	err = open_record(name, name.len > PN_KEY_RAW, wire, &record);
	if (err != PN_OK)
		return err;
	*value = record.value;
	return 1;
}

static bool same(struct pn_str a, struct pn_str b) {
	return a.len == b.len && memcmp(a.bytes, b.bytes, a.len) == 0;
}

/* Writes a record, unless it is there already. */
static int put_record(struct pn_store *store, uint32_t collection, const struct pn_record *record) {
	struct pn_key key;
	struct pn_str before = {"", 0};
	struct pn_buf buf = {0};
	const int found = get_record(store, collection, record->key, &before);
	if (found < 0 || (found > 0 && same(before, record->value)))
		return found < 0 ? found : PN_OK;
	int err = record_key(store, collection, record->key, &key);
	if (err != PN_OK)
		return err;
	pn_wire_put_u8(&buf, PN_VALUE_VERSION);
	if (record->key.len > PN_KEY_RAW)
		pn_wire_put_bytes(&buf, record->key.bytes, (uint32_t)record->key.len);
	pn_buf_append(&buf, record->value.bytes, record->value.len);
	err = buf.err != PN_OK ? buf.err : pn_put(store, &key, buf.data, buf.len);
	pn_buf_free(&buf);
	return err;
}

/* Drops the collection if it has no record any more. */
static int drop_empty(struct pn_store *store, uint32_t collection) {
	const struct pn_key prefix = pn_key_record(collection, PN_KIND_VALUE);
	struct pn_cursor cursor;
	int err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = pn_cursor_seek(&cursor, &prefix);
	const bool empty = err == 0 || (err > 0 && !pn_key_starts_with(cursor.key, &prefix));
	pn_cursor_close(&cursor);
	if (err < 0)
		return err;
	return empty ? pn_collection_drop(store, collection) : PN_OK;
}

static int remove_record(struct pn_store *store, uint32_t collection, struct pn_str name) {
	struct pn_key key;
	int err = record_key(store, collection, name, &key);
	if (err == PN_OK)
		err = pn_remove(store, &key);
	if (err <= 0)
		return err;
	return drop_empty(store, collection);
}

/* ---- Single records ---- */

int pn_kv_get(struct pn_store *store, const struct pn_space *space, struct pn_user user,
	      struct pn_str key, struct pn_buf *value) {
	uint32_t collection;
	struct pn_str found_value = {"", 0};
	const int err = pn_call_read(store);
	if (err != PN_OK)
		return err;
	int found = pn_collection_find(store, space, user, &collection);
	if (found > 0)
		found = get_record(store, collection, key, &found_value);
	if (found > 0)
		pn_buf_append(value, found_value.bytes, found_value.len);
	return pn_call_end(store, value->err != PN_OK ? value->err : found);
}

static int set_record(struct pn_store *store, const struct pn_space *space, struct pn_user user,
		      const struct pn_record *record) {
	uint32_t collection;
	if (record->value.bytes == NULL) {
		const int found = pn_collection_find(store, space, user, &collection);
		return found > 0 ? remove_record(store, collection, record->key) : found;
	}
	const int err = pn_collection_make(store, space, user, &collection);
	return err == PN_OK ? put_record(store, collection, record) : err;
}

static struct pn_claim claim_for(const struct pn_record *records, size_t count) {
	struct pn_claim claim = {.puts = PUTS, .removes = true};
	for (size_t i = 0; i < count; i++) {
		const size_t len = records[i].key.len + records[i].value.len;
		claim.bytes += 3 * len;
		claim.largest = len > claim.largest ? len : claim.largest;
		claim.removes = claim.removes && records[i].value.bytes == NULL;
	}
	return claim;
}

int pn_kv_set(struct pn_store *store, const struct pn_space *space, struct pn_user user,
	      const struct pn_record *records, size_t count) {
	int err = pn_call_write(store, claim_for(records, count));
	if (err != PN_OK)
		return err;
	for (size_t i = 0; i < count && err == PN_OK; i++)
		err = set_record(store, space, user, &records[i]);
	return pn_call_end(store, err);
}

/* ---- All records of a user ---- */

int pn_kv_load(struct pn_store *store, const struct pn_space *space, struct pn_user user,
	       struct pn_buf *out) {
	struct pn_cursor cursor;
	uint32_t collection;
	int count = 0;
	int err = pn_call_read(store);
	if (err != PN_OK)
		return err;
	const int found = pn_collection_find(store, space, user, &collection);
	if (found <= 0)
		return pn_call_end(store, found);
	const struct pn_key prefix = pn_key_record(collection, PN_KIND_VALUE);
	err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = pn_cursor_seek(&cursor, &prefix);
	while (err > 0 && pn_key_starts_with(cursor.key, &prefix)) {
		struct pn_record record;
		err = read_record(&cursor, &record);
		if (err != PN_OK)
			break;
		pn_wire_put_bytes(out, record.key.bytes, (uint32_t)record.key.len);
		pn_wire_put_bytes(out, record.value.bytes, (uint32_t)record.value.len);
		count++;
		err = out->err != PN_OK ? out->err : pn_cursor_next(&cursor);
	}
	pn_cursor_close(&cursor);
	return pn_call_end(store, err < 0 ? err : count);
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

/* Removes the records whose keys are not among `records`, which are sorted. */
static int remove_others(struct pn_store *store, uint32_t collection,
			 const struct pn_record *records, size_t count) {
	const struct pn_key prefix = pn_key_record(collection, PN_KIND_VALUE);
	struct pn_cursor cursor;
	int err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = pn_cursor_seek(&cursor, &prefix);
	while (err > 0 && pn_key_starts_with(cursor.key, &prefix)) {
		struct pn_record record;
		err = read_record(&cursor, &record);
		if (err != PN_OK)
			break;
		if (bsearch(&record, records, count, sizeof(record), compare_records) == NULL) {
			struct pn_key at = {.len = cursor.key.len};
			memcpy(at.bytes, cursor.key.bytes, cursor.key.len);
			err = pn_cursor_remove(store, &cursor);
			if (err == PN_OK)
				err = pn_cursor_seek(&cursor, &at);
		} else {
			err = pn_cursor_next(&cursor);
		}
	}
	pn_cursor_close(&cursor);
	return err < 0 ? err : PN_OK;
}

static int replace(struct pn_store *store, const struct pn_space *space, struct pn_user user,
		   const struct pn_record *records, size_t count) {
	uint32_t collection;
	if (count == 0) {
		const int found = pn_collection_find(store, space, user, &collection);
		return found > 0 ? pn_collection_drop(store, collection) : found;
	}
	int err = pn_collection_make(store, space, user, &collection);
	for (size_t i = 0; i < count && err == PN_OK; i++)
		err = put_record(store, collection, &records[i]);
	return err == PN_OK ? remove_others(store, collection, records, count) : err;
}

int pn_kv_replace(struct pn_store *store, const struct pn_space *space, struct pn_user user,
		  struct pn_record *records, size_t count) {
	const int err = pn_call_write(store, claim_for(records, count));
	if (err != PN_OK)
		return err;
	if (count > 1)
		qsort(records, count, sizeof(records[0]), compare_records);
	return pn_call_end(store, replace(store, space, user, records, count));
}

/* ---- One key of all users ---- */

/* The collection at the cursor, which is on a record of the directory. */
static int next_value(struct pn_store *store, const struct pn_cursor *cursor, struct pn_str key,
		      struct pn_buf *out) {
	struct pn_wire value = cursor->value;
	const uint32_t collection = pn_wire_u32(&value);
	struct pn_names names;
	struct pn_str found_value;
	const int found = get_record(store, collection, key, &found_value);
	if (found <= 0)
		return found;
	const int err = pn_collection_names(store, collection, &names);
	if (err != PN_OK || names.user.bytes == NULL)
		return err;
	pn_wire_put_bytes(out, names.user.bytes, (uint32_t)names.user.len);
	pn_wire_put_bytes(out, found_value.bytes, (uint32_t)found_value.len);
	return out->err;
}

int pn_kv_get_all(struct pn_store *store, const struct pn_space *space, struct pn_str key,
		  struct pn_buf *out) {
	const struct pn_key prefix =
		pn_key_place(PN_KIND_DIRECTORY, space->place, space->type, NULL);
	struct pn_cursor cursor;
	int err = pn_call_read(store);
	if (err != PN_OK)
		return err;
	err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = pn_cursor_seek(&cursor, &prefix);
	while (err > 0 && pn_key_starts_with(cursor.key, &prefix)) {
		err = next_value(store, &cursor, key, out);
		if (err >= 0)
			err = pn_cursor_next(&cursor);
	}
	pn_cursor_close(&cursor);
	return pn_call_end(store, err < 0 ? err : PN_OK);
}

/*
 * The first collection of the space after *place that has the key: 1, 0 if there is none. A
 * removal changes the directory, so each is looked for anew.
 */
static int find_with_key(struct pn_store *store, const struct pn_key *prefix, struct pn_key *place,
			 struct pn_str key, uint32_t *collection) {
	struct pn_cursor cursor;
	struct pn_str value;
	int err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = pn_cursor_seek(&cursor, place);
	while (err > 0 && pn_key_is_place(cursor.key, prefix)) {
		*collection = pn_wire_u32(&cursor.value);
		memcpy(place->bytes, cursor.key.bytes, cursor.key.len);
		place->len = cursor.key.len;
		place->bytes[place->len++] = 0; /* just after it, next time */
		err = get_record(store, *collection, key, &value);
		if (err != 0)
			break;
		err = pn_cursor_next(&cursor);
	}
	if (err > 0 && !pn_key_is_place(cursor.key, prefix))
		err = pn_key_starts_with(cursor.key, prefix) ? PN_ECORRUPT : 0;
	pn_cursor_close(&cursor);
	return err;
}

int pn_kv_delete_all(struct pn_store *store, const struct pn_space *space, struct pn_str key) {
	const struct pn_key prefix =
		pn_key_place(PN_KIND_DIRECTORY, space->place, space->type, NULL);
	struct pn_key place = prefix;
	uint32_t collection = 0;
	int found;
	do {
		int err = pn_call_write(store, (struct pn_claim){.puts = PUTS, .removes = true});
		if (err != PN_OK)
			return err;
		found = find_with_key(store, &prefix, &place, key, &collection);
		err = found > 0 ? remove_record(store, collection, key) : found;
		err = pn_call_end(store, err);
		if (err != PN_OK)
			return err;
	} while (found > 0);
	return PN_OK;
}
