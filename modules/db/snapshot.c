/* Snapshots: read transactions for work in several steps. */
#include <pn/err.h>

#include "turn.h"

int pn_txn_snapshot(struct pn_db *db, struct pn_txn *txn) {
	*txn = (struct pn_txn){.db = db};
	db->users++;
	db->snapshots++;
	pn_txn_fail(txn, pn_db_commit(db));
	pn_txn_fail(txn, pn_turn_checkpoint(db));
	if (txn->err == PN_OK)
		pn_txn_fail(txn, pn_db_error(mdb_txn_begin(db->env, NULL, MDB_RDONLY, &txn->mdb)));
	return txn->err;
}

void pn_txn_close(struct pn_txn *txn) {
	mdb_txn_abort(txn->mdb);
	txn->db->snapshots--;
	pn_db_close(txn->db);
}
