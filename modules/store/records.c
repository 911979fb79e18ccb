/* Records inside a call: reading, writing, walking. What is written is noted, see redo.c. */
#include <pn/err.h>

#include "store.h"

static MDB_val to_val(const struct pn_key *key) {
	return (MDB_val){.mv_size = key->len, .mv_data = (void *)key->bytes};
}

static struct pn_str to_str(const struct pn_key *key) {
	return (struct pn_str){(const char *)key->bytes, key->len};
}

static int open_value(MDB_val data, struct pn_wire *value) {
	*value = pn_wire_open(data.mv_data, data.mv_size);
	const uint8_t version = pn_wire_u8(value);
	if (version == PN_VALUE_VERSION)
		return 1;
	return version > PN_VALUE_VERSION ? PN_EVERSION : PN_ECORRUPT;
}

int pn_get(struct pn_store *store, const struct pn_key *key, struct pn_wire *value) {
	MDB_val name = to_val(key);
	MDB_val data;
	const int rc = mdb_get(store->txn, store->dbi, &name, &data);
	if (rc == MDB_NOTFOUND)
		return 0;
	return rc == MDB_SUCCESS ? open_value(data, value) : pn_store_error(rc);
}

int pn_put(struct pn_store *store, const struct pn_key *key, const void *value, size_t len) {
	MDB_val name = to_val(key);
	MDB_val data = {.mv_size = len, .mv_data = (void *)value};
	const int err = pn_redo_put(&store->redo, to_str(key), (struct pn_str){value, len});
	if (err != PN_OK)
		return err;
	store->wrote = true;
	return pn_store_error(mdb_put(store->txn, store->dbi, &name, &data, 0));
}

int pn_put_u32(struct pn_store *store, const struct pn_key *key, uint32_t number) {
	const unsigned char value[5] = {PN_VALUE_VERSION, (unsigned char)(number >> 24),
					(unsigned char)(number >> 16), (unsigned char)(number >> 8),
					(unsigned char)number};
	return pn_put(store, key, value, sizeof(value));
}

int pn_remove(struct pn_store *store, const struct pn_key *key) {
	MDB_val name = to_val(key);
	const int rc = mdb_del(store->txn, store->dbi, &name, NULL);
	if (rc == MDB_NOTFOUND)
		return 0;
	store->wrote = true;
	const int err =
		rc == MDB_SUCCESS ? pn_redo_remove(&store->redo, to_str(key)) : pn_store_error(rc);
	return err == PN_OK ? 1 : err;
}

int pn_cursor_open(struct pn_store *store, struct pn_cursor *cursor) {
	*cursor = (struct pn_cursor){0};
	return pn_store_error(mdb_cursor_open(store->txn, store->dbi, &cursor->mdb));
}

void pn_cursor_close(struct pn_cursor *cursor) {
	if (cursor->mdb != NULL)
		mdb_cursor_close(cursor->mdb);
	cursor->mdb = NULL;
}

/* A value that cannot be opened is an error to whoever reads it, not to who passes by. */
static int move(struct pn_cursor *cursor, MDB_val name, MDB_cursor_op op) {
	MDB_val data;
	const int rc = mdb_cursor_get(cursor->mdb, &name, &data, op);
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc != MDB_SUCCESS)
		return pn_store_error(rc);
	cursor->key = (struct pn_str){name.mv_data, name.mv_size};
	cursor->size = name.mv_size + data.mv_size;
	const int err = open_value(data, &cursor->value);
	if (err < 0)
		cursor->value = (struct pn_wire){.pos = data.mv_data, .err = err};
	return 1;
}

int pn_cursor_seek(struct pn_cursor *cursor, const struct pn_key *key) {
	return move(cursor, to_val(key), MDB_SET_RANGE);
}

int pn_cursor_seek_before(struct pn_cursor *cursor, const struct pn_key *key) {
	const int found = move(cursor, to_val(key), MDB_SET_RANGE);
	if (found < 0)
		return found;
	return move(cursor, (MDB_val){0}, found > 0 ? MDB_PREV : MDB_LAST);
}

int pn_cursor_next(struct pn_cursor *cursor) {
	return move(cursor, (MDB_val){0}, MDB_NEXT);
}

int pn_cursor_previous(struct pn_cursor *cursor) {
	return move(cursor, (MDB_val){0}, MDB_PREV);
}

int pn_cursor_remove(struct pn_store *store, struct pn_cursor *cursor) {
	const int err = pn_redo_remove(&store->redo, cursor->key);
	if (err != PN_OK)
		return err;
	store->wrote = true;
	return pn_store_error(mdb_cursor_del(cursor->mdb, 0));
}
