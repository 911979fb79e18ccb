/*
 * The writes of the turn, in order, to repeat them without those of a failed operation. A nested
 * transaction of LMDB for each operation would double the cost of an append.
 */
#include <string.h>

#include <pn/err.h>

#include "db.h"

enum {
	PUT = 'p',
	REMOVE = 'r',
	/* Bytes of memory that are kept between turns: more than a usual turn writes. */
	KEEP = 256 * 1024,
};

void pn_redo_clear(struct pn_redo *redo) {
	pn_buf_reset(&redo->changes, KEEP);
	redo->kept = 0;
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
	return changes->err;
}

int pn_redo_remove(struct pn_redo *redo, struct pn_str key) {
	struct pn_buf *const changes = &redo->changes;
	pn_wire_put_u8(changes, REMOVE);
	pn_wire_put_bytes(changes, key.bytes, (uint32_t)key.len);
	return changes->err;
}

void pn_redo_keep(struct pn_redo *redo) {
	redo->kept = redo->changes.len;
}

/* ---- Repeating ---- */

static MDB_val read_bytes(struct pn_wire *wire) {
	MDB_val val;
	val.mv_data = (void *)pn_wire_bytes(wire, &val.mv_size);
	return val;
}

static int redo_one(struct pn_wire *wire, MDB_txn *txn, MDB_dbi dbi) {
	const uint8_t what = pn_wire_u8(wire);
	MDB_val key = read_bytes(wire);
	if (what == REMOVE)
		return mdb_del(txn, dbi, &key, NULL);
	MDB_val value = read_bytes(wire);
	return mdb_put(txn, dbi, &key, &value, 0);
}

int pn_redo_run(struct pn_redo *redo, MDB_txn *txn, MDB_dbi dbi) {
	redo->changes.len = redo->kept;
	redo->changes.err = PN_OK;
	struct pn_wire wire = pn_wire_open(redo->changes.data, redo->kept);
	int rc = MDB_SUCCESS;
	while (rc == MDB_SUCCESS && wire.left > 0)
		rc = redo_one(&wire, txn, dbi);
	return pn_db_error(rc);
}
