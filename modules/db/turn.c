/* The transaction of the turn: begin, commit, undo. */
#include <errno.h>
#include <string.h>

#include <pn/err.h>

#include "sync.h"
#include "turn.h"

enum {
	/* ms to wait for another process that writes: a step of prosodyctl takes less, and the
	 * server stands still meanwhile. */
	LOCK_WAIT = 1000,
	FLUSH_WAIT = 2000, /* ms; longer, because a flush is the last chance before a shutdown */
	/* Bytes that the file may grow between two durable states. No page of a state is reused
	 * until a newer one is durable, so the file would grow without bound on a disk that is
	 * slower than the writes. About a second of writes of a fast server. Test: "room: the
	 * file stops growing if nothing is synced". */
	GROWTH_MAX = 256 * 1024 * 1024,
	/* Pages that a turn changes in addition to those of its puts: the branches near the root,
	 * and LMDB's list of free pages. Test: "room: deletions of neighbours". */
	PER_TURN = 32,
};

int pn_db_grow_map(struct pn_db *db) {
	MDB_envinfo info;
	if (db->snapshots > 0)
		return PN_EBUSY; /* a copy or a check reads the old map */
	mdb_txn_abort(db->read);
	db->read = NULL;
	pn_sync_release(db->sync);
	int rc = mdb_env_set_mapsize(db->env, 0);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_info(db->env, &info);
	if (rc != MDB_SUCCESS)
		return pn_db_error(rc);
	db->map_bytes = info.me_mapsize;
	return pn_sync_now(db->sync);
}

static int bound_growth(struct pn_db *db) {
	const uint64_t durable = pn_sync_durable(db->sync);
	if (durable != db->durable) {
		db->durable = durable;
		db->durable_end = db->file_end;
	}
	if (db->file_end < db->durable_end + GROWTH_MAX)
		return PN_OK;
	db->durable_end = db->file_end;
	return pn_sync_now(db->sync);
}

int pn_db_begin(struct pn_db *db) {
	if (db->write != NULL)
		return PN_OK;
	if (db->lost)
		return PN_ELOST;
	int err = pn_sync_state(db->sync);
	if (err != PN_OK)
		return err;
	err = pn_lock_take(db->locks, PN_LOCK_WRITER, false, LOCK_WAIT);
	if (err != PN_OK)
		return err;

	int rc = mdb_txn_begin(db->env, NULL, 0, &db->write);
	if (rc == MDB_MAP_RESIZED && pn_db_grow_map(db) == PN_OK)
		rc = mdb_txn_begin(db->env, NULL, 0, &db->write);
	if (rc != MDB_SUCCESS) {
		db->write = NULL;
		pn_lock_drop(db->locks, PN_LOCK_WRITER);
		return pn_db_error(rc);
	}
	rc = pn_room_find_end(db);
	if (rc != MDB_SUCCESS) {
		pn_db_abort(db); /* releases LMDB's own lock too */
		return pn_db_error(rc);
	}
	db->pending = 0;
	db->estimate = PER_TURN * (uint64_t)db->page_size;
	db->kept_estimate = db->estimate;
	db->wrote = false;
	return bound_growth(db);
}

/* To be called when LMDB's transaction has ended. */
static void end_turn(struct pn_db *db) {
	db->write = NULL;
	pn_redo_clear(&db->redo);
	pn_lock_drop(db->locks, PN_LOCK_WRITER);
}

/* The ids of messages that are undone may be known to clients: they must not be used again. */
static void change_epoch(struct pn_db *db) {
	db->epoch += db->pending > 0;
}

void pn_db_abort(struct pn_db *db) {
	if (db->write == NULL)
		return;
	mdb_txn_abort(db->write);
	change_epoch(db);
	end_turn(db);
}

int pn_db_commit(struct pn_db *db) {
	if (db->lost) {
		db->lost = false;
		return PN_ELOST;
	}
	if (db->write == NULL)
		return PN_OK;
	if (db->pending == 0) {
		pn_db_abort(db);
		return PN_OK;
	}
	const uint64_t number = mdb_txn_id(db->write);
	const int rc = mdb_txn_commit(db->write);
	db->write = NULL;
	const int err = rc == EIO ? pn_room_explain_io(db) : pn_db_error(rc);
	if (err == PN_OK) {
		db->committed = number;
		db->advanced = false;
		pn_room_release_surplus(db);
		pn_sync_committed(db->sync);
	} else {
		db->reserved = 0;
		change_epoch(db);
	}
	end_turn(db);
	return err;
}

/* Syncs the earlier commits even if the last one has failed. */
int pn_db_flush(struct pn_db *db) {
	const int committed = pn_db_commit(db);
	if (pn_sync_durable(db->sync) >= db->committed)
		return committed;
	int err = pn_lock_take(db->locks, PN_LOCK_WRITER, false, FLUSH_WAIT);
	if (err == PN_OK) {
		err = pn_sync_now(db->sync);
		pn_lock_drop(db->locks, PN_LOCK_WRITER);
	}
	return committed != PN_OK ? committed : err;
}

unsigned pn_db_pending(const struct pn_db *db) {
	if (db->lost)
		return 1;
	return db->write != NULL ? db->pending : 0;
}

/* ---- The end of an operation ---- */

void pn_turn_keep(struct pn_db *db) {
	db->pending++;
	db->kept_estimate = db->estimate;
	pn_redo_keep(&db->redo);
}

/* The writer's lock is held all the time, so the writes are repeated on the same state. */
void pn_turn_undo(struct pn_db *db) {
	if (db->pending == 0) {
		pn_db_abort(db);
		return;
	}
	mdb_txn_abort(db->write);
	db->write = NULL;
	int err = pn_db_error(mdb_txn_begin(db->env, NULL, 0, &db->write));
	if (err == PN_OK)
		err = pn_redo_run(&db->redo, db->write, db->dbi);
	db->estimate = db->kept_estimate;
	db->lost = err != PN_OK;
	if (db->write != NULL && db->lost) {
		pn_db_abort(db);
	} else if (db->lost) {
		change_epoch(db);
		end_turn(db);
	}
}

/* ---- Space ---- */

int pn_turn_commit_part(struct pn_db *db) {
	const int err = pn_db_commit(db);
	db->lost = err != PN_OK;
	return err == PN_OK ? pn_db_begin(db) : err;
}

/* Writes the format record unchanged, so that there is a transaction to commit. */
static int touch(struct pn_db *db) {
	enum { MOST = 512 }; /* bytes; the format record has 30 */
	const struct pn_key key = pn_format_key();
	MDB_val name = {.mv_size = key.len, .mv_data = (void *)key.bytes};
	MDB_val data;
	unsigned char copy[MOST];
	int rc = mdb_get(db->write, db->dbi, &name, &data);
	if (rc != MDB_SUCCESS || data.mv_size > sizeof(copy))
		return PN_EFULL;
	memcpy(copy, data.mv_data, data.mv_size);
	data.mv_data = copy;
	rc = mdb_put(db->write, db->dbi, &name, &data, 0);
	if (rc != MDB_SUCCESS)
		return pn_db_error(rc);
	db->pending = 1;
	return PN_OK;
}

int pn_turn_advance(struct pn_db *db) {
	if (db->advanced)
		return PN_EFULL;
	int err = touch(db);
	if (err == PN_OK)
		err = pn_db_flush(db);
	if (err == PN_OK)
		err = pn_db_begin(db);
	if (err != PN_OK)
		return err;
	db->advanced = true;
	return pn_sync_now(db->sync);
}
