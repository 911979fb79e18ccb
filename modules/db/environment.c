/* LMDB's environment: opened with the database, and anew where a compaction has replaced the file.
 */
#include <errno.h>
#include <unistd.h>

#include <pn/err.h>

#include "checkpoint.h"
#include "db.h"
#include "durable.h"
#include "verify.h"

/* Sizes of the map, the largest first: less if the address space is limited (ulimit -v). */
static const uint64_t MAP_BYTES[] = {1ull << 40, 1ull << 36, 1ull << 33, 1ull << 30};

static int open_env(struct pn_db *db) {
	const unsigned flags = MDB_NOSYNC | MDB_NOTLS | (db->reads_all ? 0 : MDB_NORDAHEAD);
	int rc = ENOMEM;
	for (size_t i = 0; i < sizeof(MAP_BYTES) / sizeof(MAP_BYTES[0]); i++) {
		if (MAP_BYTES[i] > SIZE_MAX)
			continue;
		rc = mdb_env_create(&db->env);
		if (rc != MDB_SUCCESS)
			return pn_db_error(rc);
		rc = mdb_env_set_mapsize(db->env, (size_t)MAP_BYTES[i]);
		if (rc == MDB_SUCCESS)
			rc = mdb_env_open(db->env, db->path, flags, FILE_MODE);
		if (rc == MDB_SUCCESS) {
			db->map_bytes = MAP_BYTES[i];
			return PN_OK;
		}
		mdb_env_close(db->env);
		db->env = NULL;
		if (rc != ENOMEM && rc != EINVAL)
			break; /* not a lack of address space */
	}
	return pn_db_error(rc);
}

static int open_database(struct pn_db *db) {
	MDB_txn *txn;
	MDB_stat stat;
	int dead;
	int rc = mdb_reader_check(db->env, &dead);
	if (rc == MDB_SUCCESS)
		rc = mdb_txn_begin(db->env, NULL, MDB_RDONLY, &txn);
	if (rc != MDB_SUCCESS)
		return pn_db_error(rc);
	rc = mdb_dbi_open(txn, NULL, 0, &db->dbi);
	if (rc == MDB_SUCCESS)
		rc = mdb_stat(txn, db->dbi, &stat);
	if (rc == MDB_SUCCESS)
		rc = mdb_txn_commit(txn);
	else
		mdb_txn_abort(txn);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_get_fd(db->env, &db->data);
	if (rc == MDB_SUCCESS)
		db->page_size = stat.ms_psize;
	return pn_db_error(rc);
}

/* From now on there is a durable state, with a reader that keeps it: see durable.h. */
static int make_durable(struct pn_db *db) {
	int err = pn_lock_take_writer(db->locks, OPEN_WAIT);
	if (err != PN_OK)
		return err;
	err = pn_checkpoint_now(db->checkpoint, 0);
	pn_lock_drop(db->locks, PN_LOCK_WRITER);
	if (err == PN_OK && fsync(db->directory) != 0)
		err = pn_db_error(errno); /* the name of "durable" may be new */
	return err;
}

int pn_env_open(struct pn_db *db) {
	int err = open_env(db);
	if (err == PN_OK)
		err = open_database(db);
	if (err == PN_OK)
		err = pn_checkpoint_new(&db->checkpoint, db->env, db->directory, db->locks,
					db->event);
	if (err == PN_OK) {
		pn_checkpoint_set_structure(db->checkpoint, db->structure);
		err = make_durable(db);
	}
	if (err != PN_OK) {
		pn_env_close(db);
		return err;
	}
	db->allocated = 0; /* what is known of the file before it */
	db->durable_end = 0;
	db->checkpointed = 0;
	db->cut = 0;
	pn_room_set_aside(db);
	return PN_OK;
}

int pn_env_stamp(struct pn_db *db) {
	const uint64_t number = db->log != NULL ? pn_log_last(db->log) : 0;
	int err = pn_lock_take_writer(db->locks, OPEN_WAIT);
	if (err != PN_OK)
		return err;
	err = pn_checkpoint_now(db->checkpoint, number);
	if (err == PN_OK)
		err = pn_durable_stamp(db->data);
	if (err == PN_OK)
		err = pn_checkpoint_now(db->checkpoint, number);
	pn_lock_drop(db->locks, PN_LOCK_WRITER);
	return err;
}

void pn_env_close(struct pn_db *db) {
	if (db->env == NULL)
		return;
	mdb_txn_abort(db->read);
	pn_verify_close(db);
	pn_checkpoint_free(db->checkpoint);
	mdb_env_close(db->env);
	db->read = NULL;
	db->checkpoint = NULL;
	db->env = NULL;
}
