/* The record in LMDB that says which turns of the log it has: version u8 (of the value), epoch u64,
 * number u64. */
#include <pn/err.h>
#include <pn/keys.h>

#include "db.h"

static const struct pn_key POSITION = {.len = 1, .bytes = {PN_KIND_POSITION}};

int pn_position_put(MDB_txn *txn, MDB_dbi dbi, uint64_t epoch, uint64_t number) {
	MDB_val key = {.mv_size = POSITION.len, .mv_data = (void *)POSITION.bytes};
	struct pn_buf value = {0};
	pn_wire_put_u8(&value, PN_VALUE_VERSION);
	pn_wire_put_u64(&value, epoch);
	pn_wire_put_u64(&value, number);
	MDB_val data = {.mv_size = value.len, .mv_data = value.data};
	const int err =
		value.err != PN_OK ? value.err : pn_db_error(mdb_put(txn, dbi, &key, &data, 0));
	pn_buf_free(&value);
	return err;
}

int pn_position_get(MDB_txn *txn, MDB_dbi dbi, uint64_t *epoch, uint64_t *number) {
	MDB_val key = {.mv_size = POSITION.len, .mv_data = (void *)POSITION.bytes};
	MDB_val data;
	const int rc = mdb_get(txn, dbi, &key, &data);
	if (rc != MDB_SUCCESS)
		return rc == MDB_NOTFOUND ? PN_ECORRUPT : pn_db_error(rc);
	struct pn_wire value = pn_wire_open(data.mv_data, data.mv_size);
	const uint8_t version = pn_wire_u8(&value);
	*epoch = pn_wire_u64(&value);
	*number = pn_wire_u64(&value);
	return value.err == PN_OK && version == PN_VALUE_VERSION ? PN_OK : PN_ECORRUPT;
}

int pn_position_put_new(MDB_txn *txn, MDB_dbi dbi, uint64_t number) {
	uint64_t epoch;
	const int err = pn_crypt_random(&epoch, sizeof(epoch));
	return err == PN_OK ? pn_position_put(txn, dbi, epoch, number) : err;
}
