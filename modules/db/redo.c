/*
 * Changes in order: for the log, and so that they can be repeated without those of the last
 * operation, or of the turn. A nested transaction of LMDB for each operation would double the cost
 * of an append.
 */
#include <string.h>

#include <pn/err.h>

#include "verify.h"

enum {
	PUT = 'p',
	REMOVE = 'r',
	/* Bytes of memory that are kept between turns: more than a usual turn writes. */
	KEEP = 256 * 1024,
};

void pn_redo_clear(struct pn_redo *redo) {
	pn_buf_reset(&redo->changes, KEEP);
	redo->logged = 0;
	redo->kept = 0;
	redo->count = 0;
}

void pn_redo_free(struct pn_redo *redo) {
	pn_buf_free(&redo->changes);
}

/* ---- Recording. A change: u8 PUT or REMOVE, bytes key, and for PUT bytes value ---- */

int pn_redo_put(struct pn_redo *redo, struct pn_str key, struct pn_str value) {
	struct pn_buf *const changes = &redo->changes;
	pn_wire_put_u8(changes, PUT);
	pn_wire_put_bytes(changes, key.bytes, (uint32_t)key.len);
	pn_wire_put_bytes(changes, value.bytes, (uint32_t)value.len);
	redo->count++;
	return changes->err;
}

int pn_redo_remove(struct pn_redo *redo, struct pn_str key) {
	struct pn_buf *const changes = &redo->changes;
	pn_wire_put_u8(changes, REMOVE);
	pn_wire_put_bytes(changes, key.bytes, (uint32_t)key.len);
	redo->count++;
	return changes->err;
}

void pn_redo_keep(struct pn_redo *redo) {
	redo->kept = redo->changes.len;
}

struct pn_str pn_redo_turn(const struct pn_redo *redo) {
	const char *const changes = (const char *)redo->changes.data;
	return (struct pn_str){changes + redo->logged, redo->kept - redo->logged};
}

void pn_redo_logged(struct pn_redo *redo) {
	redo->logged = redo->kept;
}

int pn_redo_note(struct pn_redo *redo, const void *changes, size_t len) {
	pn_buf_append(&redo->changes, changes, len);
	pn_redo_keep(redo);
	pn_redo_logged(redo);
	return redo->changes.err;
}

/* ---- Writing again ---- */

static MDB_val read_bytes(struct pn_wire *wire) {
	MDB_val val;
	val.mv_data = (void *)pn_wire_bytes(wire, &val.mv_size);
	return val;
}

/* A record that is removed twice, or was never there, is an error of the log. `db`: NULL if these
 * keys were written before. */
static int apply_one(struct pn_wire *wire, struct pn_db *db, MDB_txn *txn, MDB_dbi dbi) {
	const uint8_t what = pn_wire_u8(wire);
	MDB_val key = read_bytes(wire);
	MDB_val value = {0};
	if (what == PUT)
		value = read_bytes(wire);
	if (wire->err != PN_OK || (what != PUT && what != REMOVE) || key.mv_size > PN_KEY_MAX)
		return PN_ECORRUPT;
	const int err =
		db != NULL ? pn_verify_touch(db, (struct pn_str){key.mv_data, key.mv_size}, true)
			   : PN_OK;
	if (err != PN_OK)
		return err;
	const int rc =
		what == PUT ? mdb_put(txn, dbi, &key, &value, 0) : mdb_del(txn, dbi, &key, NULL);
	return rc == MDB_NOTFOUND ? PN_ECORRUPT : pn_db_error(rc);
}

static int apply(const void *changes, size_t len, struct pn_db *db, MDB_txn *txn, MDB_dbi dbi) {
	struct pn_wire wire = pn_wire_open(changes, len);
	int err = PN_OK;
	while (err == PN_OK && wire.left > 0)
		err = apply_one(&wire, db, txn, dbi);
	return err;
}

int pn_redo_apply(const void *changes, size_t len, struct pn_db *db) {
	return apply(changes, len, db, db->write, db->dbi);
}

int pn_redo_apply_to(const void *changes, size_t len, MDB_txn *txn, MDB_dbi dbi) {
	return apply(changes, len, NULL, txn, dbi);
}

static int cut(struct pn_redo *redo, size_t len, MDB_txn *txn, MDB_dbi dbi) {
	redo->changes.len = len;
	redo->changes.err = PN_OK;
	redo->kept = len;
	return pn_redo_apply_to(redo->changes.data, len, txn, dbi);
}

int pn_redo_undo_operation(struct pn_redo *redo, MDB_txn *txn, MDB_dbi dbi) {
	return cut(redo, redo->kept, txn, dbi);
}

int pn_redo_undo_turn(struct pn_redo *redo, MDB_txn *txn, MDB_dbi dbi) {
	return cut(redo, redo->logged, txn, dbi);
}
