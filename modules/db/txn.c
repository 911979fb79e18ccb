/* Operations: their begin and end, errors and claims. */
#include <pn/err.h>

#include "turn.h"

enum {
	LOCK_WAIT = 1000, /* ms to wait for another process that writes, if the map has to grow */
	/* Pages that a put changes: its leaf, and its share of splits and branches. Test: "room:
	 * messages of many archives in one turn". */
	PER_PUT = 2,
	/* Bytes of a change in the log beside key and value: kind and lengths. */
	PER_CHANGE = 9,
	/* Bytes in the log of the largest operation that removes: a slice of some hundred keys.
	 * Test: "sync: on a full disk scattered messages are deleted". */
	REMOVAL = 64 * 1024,
};

int pn_txn_fail(struct pn_txn *txn, int err) {
	if (txn->err == PN_OK && err < 0)
		txn->err = err;
	return txn->err;
}

bool pn_txn_sound(struct pn_txn *txn, const struct pn_wire *value) {
	if (value->err != PN_OK)
		pn_txn_fail(txn, value->err == PN_EVERSION ? PN_EVERSION : PN_ECORRUPT);
	return txn->err == PN_OK;
}

int pn_txn_take(struct pn_txn *txn) {
	const int err = txn->err;
	txn->err = PN_OK;
	return err;
}

uint64_t pn_txn_entries(struct pn_txn *txn) {
	MDB_stat stat = {0};
	if (txn->err == PN_OK)
		pn_txn_fail(txn, pn_db_error(mdb_stat(txn->mdb, txn->db->dbi, &stat)));
	return stat.ms_entries;
}

/* ---- Beginning ---- */

static int renew_grown(struct pn_db *db) {
	int err = pn_lock_take(db->locks, PN_LOCK_WRITER, false, LOCK_WAIT);
	if (err != PN_OK)
		return err;
	err = pn_db_grow_map(db);
	pn_lock_drop(db->locks, PN_LOCK_WRITER);
	return err == PN_OK ? pn_db_error(pn_db_renew_reader(db)) : err;
}

int pn_txn_read(struct pn_db *db, struct pn_txn *txn) {
	*txn = (struct pn_txn){.db = db, .err = pn_turn_rebuild(db)};
	txn->mdb = txn->err == PN_OK ? db->write : NULL;
	if (txn->err != PN_OK || txn->mdb != NULL)
		return txn->err;
	const int rc = pn_db_renew_reader(db);
	txn->err = rc == MDB_MAP_RESIZED ? renew_grown(db) : pn_db_error(rc);
	if (txn->err == PN_OK)
		txn->mdb = db->read;
	return txn->err;
}

static bool wants_room(int err) {
	return err == PN_EFULL || err == PN_ENOSPACE;
}

/*
 * For the record that the turn's commit appends to the log. What a claim that removes counts is
 * mostly moved by LMDB: the log has keys and small index records of it.
 */
static int reserve_log(struct pn_db *db, const struct pn_claim *claim) {
	const size_t turn = db->redo.changes.len - db->redo.logged;
	const size_t most = claim->puts * PER_CHANGE + claim->bytes;
	return pn_log_reserve(db->log, turn + (claim->removes && most > REMOVAL ? REMOVAL : most),
			      claim->removes);
}

static int reserve_both(struct pn_db *db, const struct pn_claim *claim, uint64_t bytes) {
	const int err = pn_room_reserve(db, claim, bytes);
	return err == PN_OK ? reserve_log(db, claim) : err;
}

/* Whether there is space once a newer state is durable: then the log before it is cut. */
static bool helps_to_advance(struct pn_db *db, const struct pn_claim *claim, uint64_t bytes) {
	return pn_room_reserve(db, claim, bytes) == PN_OK ||
	       pn_room_after_advance(db, claim, bytes);
}

/* Reserves space for the operation. Commits the turn's writes so far if nothing else helps. */
static int reserve(struct pn_db *db, const struct pn_claim *claim, uint64_t bytes) {
	int err = reserve_both(db, claim, bytes);
	if (wants_room(err) && db->redo.changes.len > 0) {
		err = pn_turn_commit_part(db);
		if (err == PN_OK)
			err = reserve_both(db, claim, bytes);
	}
	if (db->write != NULL && wants_room(err) && helps_to_advance(db, claim, bytes) &&
	    pn_turn_advance(db) == PN_OK)
		err = reserve_both(db, claim, bytes);
	return err;
}

int pn_txn_write(struct pn_db *db, struct pn_txn *txn, struct pn_claim claim) {
	const uint64_t bytes = (uint64_t)claim.puts * PER_PUT * db->page_size + claim.bytes;
	*txn = (struct pn_txn){.db = db};
	txn->err = db->structure == PN_STRUCTURE_DAMAGED ? PN_EDAMAGED : pn_db_begin(db);
	if (txn->err != PN_OK)
		return txn->err;
	txn->err = reserve(db, &claim, bytes);
	if (txn->err != PN_OK) {
		pn_turn_release(db);
		return txn->err;
	}
	db->estimate += bytes;
	db->wrote = false;
	txn->mdb = db->write;
	return pn_txn_fail(txn, pn_db_count_leaf_pages(db));
}

void pn_txn_claim_more(struct pn_txn *txn, unsigned puts, uint64_t bytes) {
	if (txn->mdb != NULL)
		txn->db->estimate += (uint64_t)puts * PER_PUT * txn->db->page_size + bytes;
}

void pn_txn_refund(struct pn_txn *txn, size_t bytes) {
	struct pn_db *const db = txn->db;
	if (txn->mdb != NULL)
		db->estimate -= db->estimate < bytes ? db->estimate : bytes;
}

/* ---- Ending ---- */

/* After some errors, even of reads, LMDB refuses any further use of a transaction. */
static bool is_spoilt(struct pn_db *db) {
	MDB_stat stat;
	return mdb_stat(db->write, db->dbi, &stat) != MDB_SUCCESS;
}

int pn_txn_end(struct pn_txn *txn, int result) {
	struct pn_db *const db = txn->db;
	if (txn->mdb == NULL)
		return txn->err;
	if (txn->mdb != db->write)
		mdb_txn_reset(txn->mdb);
	else if (txn->err != PN_OK && (db->wrote || is_spoilt(db)))
		pn_turn_undo(db);
	else if (db->wrote)
		pn_turn_keep(db);
	else
		db->estimate = db->kept_estimate; /* the operation wrote nothing */
	if (db->write != NULL)
		pn_turn_release(db);
	db->wrote = false;
	txn->mdb = NULL;
	return txn->err != PN_OK ? txn->err : result;
}
