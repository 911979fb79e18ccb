/* Turns that the log has and the data file has not: of a process that was killed, or that could not
 * commit. */
#include <pn/err.h>

#include "checkpoint.h"
#include "sync.h"
#include "turn.h"

/* Redone changes are noted: LMDB's transaction goes on with them. */
static int apply(void *context, uint64_t number, const void *payload, size_t len) {
	struct pn_db *const db = context;
	(void)number;
	const int err = pn_redo_note(&db->redo, payload, len);
	return err == PN_OK ? pn_redo_apply(payload, len, db) : err;
}

static bool is_current(const struct pn_db *db, uint64_t epoch, uint64_t number) {
	return db->log != NULL && epoch == db->id.epoch && number == pn_log_last(db->log) &&
	       !pn_log_may_be_continued(db->log);
}

static void close_log(struct pn_db *db) {
	pn_sync_set_log(db->sync, NULL);
	pn_log_close(db->log);
	db->log = NULL;
}

static int open_log(struct pn_db *db, uint64_t last, uint64_t synced) {
	const int err = pn_log_open(&db->log, db->directory, &db->id, last, synced);
	if (err == PN_OK)
		pn_sync_set_log(db->sync, db->log);
	return err;
}

/* A log of another data file is set aside; one that continues ours is damage. */
static int reject(struct pn_db *db, bool is_ours) {
	if (is_ours)
		return PN_ELOG;
	db->rejected = true;
	return pn_log_reject(db->directory);
}

int pn_catch_up(struct pn_db *db) {
	uint64_t epoch = 0, number = 0, last = 0;
	int err = pn_position_get(db->write, db->dbi, &epoch, &number);
	if (err != PN_OK || is_current(db, epoch, number))
		return err;
	uint64_t synced = db->log != NULL ? pn_log_synced(db->log) : 0;
	if (synced < number && pn_checkpoint_is_last(db->checkpoint))
		synced = number;
	close_log(db);
	db->id.epoch = epoch;
	err = pn_log_read(db->directory, &db->id, number, apply, db, &last);
	if (err == PN_ECORRUPT)
		err = PN_ELOG;
	if (err == PN_EFOREIGN)
		err = reject(db, last > number);
	if (err != PN_OK)
		return err;
	db->replayed += last - number;
	return open_log(db, last, synced < last ? synced : last);
}
