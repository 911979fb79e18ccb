/* Snapshots: read transactions for work in several steps. */
#include <pn/err.h>

#include "turn.h"

/* Commits to LMDB what any process has logged: another one keeps its transaction open, and a killed
 * one has left it in the log. */
static int commit_all(struct pn_db *db) {
	int err = pn_db_commit(db);
	if (err == PN_OK)
		err = pn_db_begin(db);
	if (err == PN_OK && db->redo.logged > 0)
		return pn_turn_checkpoint(db);
	pn_turn_release(db);
	return err;
}

int pn_txn_snapshot(struct pn_db *db, struct pn_txn *txn) {
	*txn = (struct pn_txn){.db = db};
	db->users++;
	db->snapshots++;
	pn_txn_fail(txn, commit_all(db));
	if (txn->err == PN_OK)
		pn_txn_fail(txn, pn_db_error(mdb_txn_begin(db->env, NULL, MDB_RDONLY, &txn->mdb)));
	return txn->err;
}

void pn_txn_close(struct pn_txn *txn) {
	mdb_txn_abort(txn->mdb);
	txn->db->snapshots--;
	pn_db_close(txn->db);
}
