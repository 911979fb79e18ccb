/* Figures for operators. */
#include <errno.h>
#include <sys/stat.h>

#include <pn/err.h>

#include "db.h"

const char *pn_db_lmdb_version(void) {
	return mdb_version(NULL, NULL, NULL);
}

int pn_db_info(struct pn_db *db, struct pn_db_info *info) {
	MDB_stat stat = {0};
	struct stat file;
	struct pn_txn txn;
	uint64_t epoch = 0, number = 0;
	struct pn_db_info found = {
		.max_bytes = db->max_bytes < db->map_bytes ? db->max_bytes : db->map_bytes,
		.readers = pn_db_readers(db).count, /* before this operation reads */
	};
	if (fstatat(db->directory, "data.mdb", &file, 0) != 0)
		return pn_db_error(errno);
	if (pn_txn_read(db, &txn) == PN_OK)
		pn_txn_fail(&txn, pn_db_error(mdb_stat(txn.mdb, db->dbi, &stat)));
	if (txn.err == PN_OK)
		pn_txn_fail(&txn, pn_position_get(txn.mdb, db->dbi, &epoch, &number));
	found.used_bytes = (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) *
			   (uint64_t)stat.ms_psize;
	found.file_bytes = (uint64_t)file.st_size;
	if (found.file_bytes < found.used_bytes) /* the next commit makes a young file longer */
		found.file_bytes = found.used_bytes;
	found.transaction = number > pn_db_committed(db) ? number : pn_db_committed(db);
	found.durable = pn_db_durable(db);
	found.log_bytes = db->log != NULL ? pn_log_bytes(db->log) : 0;
	found.records = stat.ms_entries;
	const int err = pn_txn_end(&txn, PN_OK);
	if (err == PN_OK)
		*info = found;
	return err;
}
