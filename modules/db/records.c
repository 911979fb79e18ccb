/* Records: get, put, remove, and cursors. Every write is also recorded for redo.c. */
#include <string.h>

#include <pn/err.h>

#include "verify.h"

static MDB_val to_val(const struct pn_key *key) {
	return (MDB_val){.mv_size = key->len, .mv_data = (void *)key->bytes};
}

static struct pn_str to_str(const struct pn_key *key) {
	return (struct pn_str){(const char *)key->bytes, key->len};
}

/* Before LMDB uses the pages around a key. Returns txn->err. */
static int touch(struct pn_txn *txn, struct pn_str key, bool writes) {
	if (txn->err == PN_OK && txn->db->verifier != NULL)
		pn_txn_fail(txn, pn_verify_key(txn->db, key, writes));
	return txn->err;
}

/* Opens a value behind its version byte. Sets the error if the version is not ours. */
static struct pn_wire open_value(MDB_val data) {
	struct pn_wire value = pn_wire_open(data.mv_data, data.mv_size);
	const uint8_t version = pn_wire_u8(&value);
	if (version > PN_VALUE_VERSION)
		value = (struct pn_wire){.pos = data.mv_data, .err = PN_EVERSION};
	else if (version != PN_VALUE_VERSION)
		value = (struct pn_wire){.pos = data.mv_data, .err = PN_ECORRUPT};
	return value;
}

bool pn_get(struct pn_txn *txn, const struct pn_key *key, struct pn_wire *value) {
	MDB_val name = to_val(key);
	MDB_val data;
	*value = (struct pn_wire){0};
	if (touch(txn, to_str(key), false) != PN_OK)
		return false;
	const int rc = mdb_get(txn->mdb, txn->db->dbi, &name, &data);
	if (rc == MDB_NOTFOUND)
		return false;
	pn_txn_fail(txn, pn_db_error(rc));
	if (rc == MDB_SUCCESS)
		*value = open_value(data);
	return pn_txn_sound(txn, value);
}

struct pn_buf pn_value(void) {
	struct pn_buf value = {0};
	pn_wire_put_u8(&value, PN_VALUE_VERSION);
	return value;
}

static void put(struct pn_txn *txn, const struct pn_key *key, const void *bytes, size_t len) {
	MDB_val name = to_val(key);
	MDB_val data = {.mv_size = len, .mv_data = (void *)bytes};
	struct pn_db *const db = txn->db;
	if (touch(txn, to_str(key), true) != PN_OK ||
	    pn_txn_fail(txn, pn_redo_put(&db->redo, to_str(key), (struct pn_str){bytes, len})) != 0)
		return;
	db->wrote = true;
	pn_txn_fail(txn, pn_db_error(mdb_put(txn->mdb, db->dbi, &name, &data, 0)));
}

size_t pn_put(struct pn_txn *txn, const struct pn_key *key, struct pn_buf *value) {
	const size_t len = value->len;
	pn_txn_fail(txn, value->err);
	put(txn, key, value->data, len);
	pn_buf_free(value);
	return key->len + len;
}

void pn_put_u8(struct pn_txn *txn, const struct pn_key *key, uint8_t number) {
	const unsigned char value[2] = {PN_VALUE_VERSION, number};
	put(txn, key, value, sizeof(value));
}

void pn_put_u32(struct pn_txn *txn, const struct pn_key *key, uint32_t number) {
	const unsigned char value[5] = {PN_VALUE_VERSION, (unsigned char)(number >> 24),
					(unsigned char)(number >> 16), (unsigned char)(number >> 8),
					(unsigned char)number};
	put(txn, key, value, sizeof(value));
}

bool pn_remove(struct pn_txn *txn, const struct pn_key *key) {
	MDB_val name = to_val(key);
	struct pn_db *const db = txn->db;
	if (touch(txn, to_str(key), true) != PN_OK)
		return false;
	const int rc = mdb_del(txn->mdb, db->dbi, &name, NULL);
	if (rc == MDB_NOTFOUND)
		return false;
	db->wrote = true;
	if (pn_txn_fail(txn, pn_db_error(rc)) == PN_OK)
		pn_txn_fail(txn, pn_redo_remove(&db->redo, to_str(key)));
	return txn->err == PN_OK;
}

/* ---- Cursors ---- */

void pn_cursor_open(struct pn_txn *txn, struct pn_cursor *cursor, const struct pn_key *prefix) {
	*cursor = (struct pn_cursor){.txn = txn, .prefix.len = prefix->len};
	memcpy(cursor->prefix.bytes, prefix->bytes, prefix->len);
	if (txn->err == PN_OK)
		pn_txn_fail(txn,
			    pn_db_error(mdb_cursor_open(txn->mdb, txn->db->dbi, &cursor->mdb)));
}

void pn_cursor_close(struct pn_cursor *cursor) {
	if (cursor->mdb != NULL)
		mdb_cursor_close(cursor->mdb);
	cursor->mdb = NULL;
}

/* The same before LMDB moves a cursor: from the key that is sought, or from the one where it is. */
static int touch_move(struct pn_cursor *cursor, MDB_val name, MDB_cursor_op op) {
	struct pn_txn *const txn = cursor->txn;
	struct pn_key last = {.len = PN_KEY_MAX};
	MDB_val data;
	int rc = op == MDB_FIRST || op == MDB_SET_RANGE ? MDB_SUCCESS : MDB_NOTFOUND;
	if (txn->err != PN_OK || txn->db->verifier == NULL)
		return txn->err;
	if (op == MDB_NEXT || op == MDB_PREV)
		rc = mdb_cursor_get(cursor->mdb, &name, &data, MDB_GET_CURRENT);
	if (rc == MDB_NOTFOUND) { /* behind the last record */
		memset(last.bytes, 0xff, sizeof(last.bytes));
		name = to_val(&last);
	} else if (rc != MDB_SUCCESS) {
		return pn_txn_fail(txn, pn_db_error(rc));
	}
	return touch(txn, (struct pn_str){name.mv_data, name.mv_size}, false);
}

/* Moves the cursor, regardless of its prefix. Returns whether there is a record. */
static bool move(struct pn_cursor *cursor, MDB_val name, MDB_cursor_op op) {
	MDB_val data;
	cursor->key = (struct pn_str){NULL, 0};
	cursor->stays = false;
	if (touch_move(cursor, name, op) != PN_OK)
		return false;
	const int rc = mdb_cursor_get(cursor->mdb, &name, &data, op);
	if (rc == MDB_NOTFOUND || pn_txn_fail(cursor->txn, pn_db_error(rc)) != PN_OK)
		return false;
	cursor->key = (struct pn_str){name.mv_data, name.mv_size};
	cursor->size = name.mv_size + data.mv_size;
	cursor->value = open_value(data); /* an error in it matters only if the value is read */
	return true;
}

static bool is_inside(struct pn_cursor *cursor) {
	const struct pn_key *const prefix = &cursor->prefix;
	const bool inside = cursor->key.len >= prefix->len &&
			    memcmp(cursor->key.bytes, prefix->bytes, prefix->len) == 0;
	if (!inside)
		cursor->key = (struct pn_str){NULL, 0};
	return inside;
}

bool pn_cursor_first(struct pn_cursor *cursor) {
	if (cursor->prefix.len == 0) /* LMDB cannot seek an empty key */
		return move(cursor, (MDB_val){0}, MDB_FIRST);
	return pn_cursor_seek(cursor, &cursor->prefix);
}

bool pn_cursor_seek(struct pn_cursor *cursor, const struct pn_key *key) {
	return move(cursor, to_val(key), MDB_SET_RANGE) && is_inside(cursor);
}

bool pn_cursor_seek_before(struct pn_cursor *cursor, const struct pn_key *key) {
	const bool any = move(cursor, to_val(key), MDB_SET_RANGE);
	return move(cursor, (MDB_val){0}, any ? MDB_PREV : MDB_LAST) && is_inside(cursor);
}

bool pn_cursor_next(struct pn_cursor *cursor) {
	if (cursor->stays) {
		cursor->stays = false;
		return cursor->txn->err == PN_OK && cursor->key.bytes != NULL;
	}
	return move(cursor, (MDB_val){0}, MDB_NEXT) && is_inside(cursor);
}

bool pn_cursor_previous(struct pn_cursor *cursor) {
	return move(cursor, (MDB_val){0}, MDB_PREV) && is_inside(cursor);
}

void pn_cursor_remove(struct pn_cursor *cursor) {
	struct pn_txn *const txn = cursor->txn;
	struct pn_key key = {.len = cursor->key.len};
	if (touch(txn, cursor->key, true) != PN_OK ||
	    pn_txn_fail(txn, pn_redo_remove(&txn->db->redo, cursor->key)) != 0)
		return;
	memcpy(key.bytes, cursor->key.bytes, key.len);
	txn->db->wrote = true;
	pn_txn_fail(txn, pn_db_error(mdb_cursor_del(cursor->mdb, 0)));
	(void)pn_cursor_seek(cursor, &key);
	cursor->stays = true;
}

bool pn_cursor_find(struct pn_txn *txn, struct pn_cursor *cursor, const struct pn_key *prefix,
		    const struct pn_key *key) {
	pn_cursor_open(txn, cursor, prefix);
	if (pn_cursor_seek(cursor, key != NULL ? key : prefix))
		return true;
	pn_cursor_close(cursor);
	return false;
}
