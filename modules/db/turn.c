/* Turns: begun, logged, undone; and LMDB's transaction, which stays open over many of them. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <pn/err.h>

#include "checkpoint.h"
#include "sync.h"
#include "turn.h"
#include "verify.h"

enum {
	/* ms to wait for another process that writes: a step of prosodyctl takes less, and the
	 * server stands still meanwhile. */
	LOCK_WAIT = 1000,
	/* Bytes that the file may grow between two durable states. No page of a state is reused
	 * until a newer one is durable, so the file would grow without bound on a disk that is
	 * slower than the writes. Test: "room: the file stops growing if nothing is synced". */
	GROWTH_MAX = 256 * 1024 * 1024,
	/* The same, after which a tool begins to make the file durable in the background: it has no
	 * event loop, and most tools write little. */
	STEP = 4 * 1024 * 1024,
	/* Segments of the log that are removed at once: that takes a millisecond each. */
	CUT = 2,
	/* Pages that a transaction changes in addition to those of its puts: the branches near the
	 * root, and LMDB's list of free pages. Test: "room: deletions of neighbours". */
	PER_TRANSACTION = 32,
	/* Changes and bytes after which LMDB's transaction is committed: that takes some ms. */
	CHANGES_MAX = 2000,
	BYTES_MAX = 8 * 1024 * 1024,
	/* ms after which it is committed, and after which without a turn: other processes read what
	 * is committed, and wait for the writer's lock. */
	AGE_MAX = 5000,
	IDLE_MAX = 250,
	REOPEN = 1000, /* ms until LMDB's environment is opened again, if that has failed */
	/* ms that a write waits for free pages near the limit of the file: the server stands still
	 * meanwhile. A disk needs some ms. If one is slower, writes fail without a wait during so
	 * many commits: no more than one in some minutes waits. */
	FREE_WAIT = 100,
	IMPATIENT = 1000,
};

int pn_db_grow_map(struct pn_db *db) {
	MDB_envinfo info;
	if (db->snapshots > 0)
		return PN_EBUSY; /* a copy or a check reads the old map */
	mdb_txn_abort(db->read);
	db->read = NULL;
	pn_checkpoint_release(db->checkpoint);
	int rc = mdb_env_set_mapsize(db->env, 0);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_info(db->env, &info);
	if (rc != MDB_SUCCESS)
		return pn_db_error(rc);
	db->map_bytes = info.me_mapsize;
	return pn_checkpoint_now(db->checkpoint, db->log != NULL ? pn_log_last(db->log) : 0);
}

/* ---- LMDB's transaction ---- */

static int begin_transaction(struct pn_db *db) {
	int rc = mdb_txn_begin(db->env, NULL, 0, &db->write);
	if (rc == MDB_MAP_RESIZED && pn_db_grow_map(db) == PN_OK)
		rc = mdb_txn_begin(db->env, NULL, 0, &db->write);
	if (rc != MDB_SUCCESS) {
		db->write = NULL;
		return pn_db_error(rc);
	}
	rc = pn_room_find_end(db);
	if (rc != MDB_SUCCESS) {
		mdb_txn_abort(db->write);
		db->write = NULL;
		return pn_db_error(rc);
	}
	db->estimate = PER_TRANSACTION * (uint64_t)db->page_size;
	db->kept_estimate = db->estimate;
	db->wrote = false;
	db->transactions++;
	return PN_OK;
}

uint64_t pn_db_transaction(const struct pn_db *db) {
	return db->transactions;
}

uint64_t pn_db_moment(const struct pn_db *db) {
	return db->transactions << 32 | db->redo.count;
}

/* With what the log has; of the turn nothing is left. */
static int commit_transaction(struct pn_db *db) {
	MDB_txn *const write = db->write;
	int err = pn_position_put(write, db->dbi, db->id.epoch, pn_log_last(db->log));
	db->write = NULL;
	if (err != PN_OK) {
		mdb_txn_abort(write);
		return err;
	}
	const int rc = mdb_txn_commit(write);
	err = rc == EIO ? pn_room_explain_io(db->directory) : pn_db_error(rc);
	if (err == PN_OK) {
		db->advanced = false;
		db->impatient -= db->impatient > 0;
		pn_room_set_aside(db);
	}
	return err;
}

/* Once `write` is closed. What the log has, and no commit, is read from there when it is needed. */
static void end_transaction(struct pn_db *db, bool committed) {
	db->behind = committed ? false : db->behind || db->redo.logged > 0;
	db->pace.began = 0;
	pn_redo_clear(&db->redo);
	pn_lock_drop(db->locks, PN_LOCK_WRITER);
}

/* Without the turn. */
static void give_up_transaction(struct pn_db *db) {
	mdb_txn_abort(db->write);
	db->write = NULL;
	end_transaction(db, false);
}

/* Begins LMDB's transaction with all turns that any process has logged. The caller holds the
 * writer's lock. */
static int begin_caught_up(struct pn_db *db) {
	int err = begin_transaction(db);
	if (err != PN_OK)
		return err;
	err = pn_catch_up(db);
	if (err != PN_OK) {
		mdb_txn_abort(db->write);
		db->write = NULL;
		pn_redo_clear(&db->redo);
	}
	return err;
}

static int bound_growth(struct pn_db *db) {
	const uint64_t checkpointed = pn_checkpoint_durable(db->checkpoint);
	if (checkpointed != db->checkpointed) {
		db->checkpointed = checkpointed;
		db->durable_end = db->file_end;
	}
	if (db->file_end < db->durable_end + GROWTH_MAX)
		return PN_OK;
	db->durable_end = db->file_end;
	return pn_checkpoint_now(db->checkpoint, pn_log_last(db->log));
}

static int open_transaction(struct pn_db *db) {
	if (pn_checkpoint_state(db->checkpoint) != PN_OK)
		return PN_EIO;
	int err = pn_lock_take_writer(db->locks, LOCK_WAIT);
	if (err != PN_OK)
		return err;
	err = begin_caught_up(db);
	if (err != PN_OK) {
		pn_lock_drop(db->locks, PN_LOCK_WRITER);
		return err;
	}
	db->behind = false;
	return bound_growth(db);
}

/* Again, if that has failed after a compaction. */
static int open_environment(struct pn_db *db) {
	return db->env != NULL ? PN_OK : pn_env_open(db);
}

int pn_turn_rebuild(struct pn_db *db) {
	const int err = open_environment(db);
	return err == PN_OK && db->behind ? open_transaction(db) : err;
}

/* ---- Checkpoints: the turns of the log are committed to LMDB ---- */

int pn_turn_cut_log(struct pn_db *db, uint64_t last, unsigned most) {
	if (pn_lock_is_taken(db->locks, PN_LOCK_COMPACT))
		return PN_OK; /* another process reads it */
	return pn_log_cut(db->log, last < db->kept ? last : db->kept, most);
}

int pn_turn_checkpoint(struct pn_db *db) {
	if (db->write == NULL)
		return PN_OK;
	const int err = commit_transaction(db);
	if (err == PN_OK && (db->pace.on || db->file_end >= db->durable_end + STEP)) {
		(void)pn_checkpoint_begin(db->checkpoint, pn_log_last(db->log),
					  pn_room_ahead(db)); /* or the next one */
		(void)pn_turn_cut_log(db, pn_checkpoint_durable(db->checkpoint), CUT);
	}
	end_transaction(db, err == PN_OK);
	if (err != PN_OK)
		db->checkpoint_error = err;
	return err;
}

static bool is_due(const struct pn_db *db) {
	return !db->pace.on || (db->scarce && !pn_checkpoint_is_busy(db->checkpoint)) ||
	       db->redo.count >= CHANGES_MAX || db->redo.changes.len >= BYTES_MAX ||
	       pn_lock_is_taken(db->locks, PN_LOCK_WAITING);
}

/* Sets *wait to the ms until the transaction has to be looked at again, -1: there is none. */
static void pace(struct pn_db *db, uint64_t now, int *wait) {
	const uint64_t turn = db->log != NULL ? pn_log_last(db->log) : 0;
	*wait = -1;
	if (db->write == NULL || db->pending > 0)
		return;
	if (db->pace.began == 0)
		db->pace.began = now;
	if (db->pace.turn != turn || db->pace.began == now) {
		db->pace.turn = turn;
		db->pace.changed = now;
	}
	const uint64_t aged = db->pace.began + AGE_MAX, idle = db->pace.changed + IDLE_MAX;
	const uint64_t due = aged < idle ? aged : idle;
	if (now >= due)
		(void)pn_turn_checkpoint(db);
	else
		*wait = (int)(due - now);
}

/* Turns that are in the durable data file leave the log. */
static void cut_log(struct pn_db *db) {
	const uint64_t durable = pn_checkpoint_durable(db->checkpoint);
	if (db->log == NULL || db->cut == durable)
		return;
	if (db->write == NULL && pn_lock_take(db->locks, PN_LOCK_WRITER, false, 0) != PN_OK)
		return; /* another process writes */
	if (pn_turn_cut_log(db, durable, CUT) == PN_OK)
		db->cut = durable;
	if (db->write == NULL)
		pn_lock_drop(db->locks, PN_LOCK_WRITER);
}

/* What was found of the structure of the data file is written with the next durable state. */
static void keep_structure(struct pn_db *db) {
	if (db->pending > 0 || db->behind || db->log == NULL ||
	    pn_checkpoint_is_busy(db->checkpoint))
		return;
	if (db->write != NULL) {
		db->structure_changed = pn_turn_checkpoint(db) != PN_OK;
	} else if (pn_lock_take(db->locks, PN_LOCK_WRITER, false, 0) == PN_OK) {
		db->structure_changed = pn_checkpoint_begin(db->checkpoint, pn_db_committed(db),
							    pn_room_ahead(db)) != PN_OK;
		pn_lock_drop(db->locks, PN_LOCK_WRITER);
	}
}

void pn_db_keep_open(struct pn_db *db) {
	db->pace.on = true;
}

int pn_db_sync(struct pn_db *db, uint64_t now, int *wait) {
	int checkpoint;
	int err = open_environment(db);
	*wait = REOPEN;
	if (err != PN_OK)
		return err;
	err = pn_sync_run(db->sync, now, wait);
	cut_log(db);
	pace(db, now, &checkpoint);
	if (db->pace.on)
		pn_verify_run(db, now);
	if (db->structure_changed)
		keep_structure(db);
	if (checkpoint >= 0 && (*wait < 0 || checkpoint < *wait))
		*wait = checkpoint;
	if (err == PN_OK)
		err = db->checkpoint_error;
	if (err == PN_OK)
		err = pn_checkpoint_error(db->checkpoint);
	db->checkpoint_error = PN_OK;
	return err;
}

/* ---- Turns ---- */

int pn_db_begin(struct pn_db *db) {
	if (db->lost)
		return PN_ELOST;
	int err = pn_sync_state(db->sync);
	if (err == PN_OK)
		err = open_environment(db);
	if (err != PN_OK || db->write != NULL)
		return err;
	return open_transaction(db);
}

/* The ids of messages that are undone may be known already: they must not be given again. */
static void change_epoch(struct pn_db *db) {
	db->epoch += db->pending > 0;
	db->pending = 0;
}

/* Begins LMDB's transaction again, with the changes that `repeat` makes. The writer's lock is held
 * throughout, so they are made on the same state. */
static int repeat_transaction(struct pn_db *db,
			      int (*repeat)(struct pn_redo *redo, MDB_txn *txn, MDB_dbi dbi)) {
	const uint64_t estimate = db->kept_estimate;
	mdb_txn_abort(db->write);
	db->write = NULL;
	int err = begin_transaction(db);
	if (err == PN_OK)
		err = repeat(&db->redo, db->write, db->dbi);
	db->estimate = estimate;
	db->kept_estimate = estimate;
	if (err == PN_OK)
		return PN_OK;
	if (db->write != NULL)
		mdb_txn_abort(db->write);
	db->write = NULL;
	end_transaction(db, false);
	return err;
}

void pn_turn_release(struct pn_db *db) {
	if (db->write != NULL && db->redo.logged == 0 && db->pending == 0)
		give_up_transaction(db);
}

void pn_db_abort(struct pn_db *db) {
	if (db->write == NULL)
		return;
	if (db->redo.logged == 0)
		give_up_transaction(db);
	else if (db->pending > 0)
		(void)repeat_transaction(db, pn_redo_undo_turn); /* or it is behind */
	change_epoch(db);
}

/* Appends the turn to the log; if that fails, undoes it. */
static int log_turn(struct pn_db *db) {
	const struct pn_str turn = pn_redo_turn(&db->redo);
	const int err = pn_log_append(db->log, turn.bytes, (uint32_t)turn.len);
	if (err != PN_OK) {
		pn_db_abort(db);
		return err;
	}
	pn_redo_logged(&db->redo);
	db->pending = 0;
	pn_sync_appended(db->sync);
	return PN_OK;
}

int pn_db_commit(struct pn_db *db) {
	int err = PN_OK;
	if (db->lost) {
		db->lost = false;
		return PN_ELOST;
	}
	if (db->pending > 0)
		err = log_turn(db);
	else
		pn_turn_release(db);
	if (db->write != NULL && is_due(db))
		(void)pn_turn_checkpoint(db); /* the log has the turn */
	return err;
}

int pn_db_flush(struct pn_db *db) {
	const int committed = pn_db_commit(db);
	const int err = pn_sync_now(db->sync);
	return committed != PN_OK ? committed : err;
}

unsigned pn_db_pending(const struct pn_db *db) {
	return db->lost ? 1 : db->pending;
}

uint64_t pn_db_committed(const struct pn_db *db) {
	return db->log != NULL ? pn_log_last(db->log) : 0;
}

uint64_t pn_db_durable(const struct pn_db *db) {
	return pn_sync_durable(db->sync);
}

bool pn_db_is_syncing(struct pn_db *db) {
	return pn_sync_is_running(db->sync);
}

/* ---- The end of an operation ---- */

void pn_turn_keep(struct pn_db *db) {
	db->pending++;
	db->kept_estimate = db->estimate;
	pn_redo_keep(&db->redo);
}

void pn_turn_undo(struct pn_db *db) {
	if (db->pending == 0 && db->redo.logged == 0) {
		give_up_transaction(db);
		return;
	}
	if (repeat_transaction(db, pn_redo_undo_operation) == PN_OK || db->pending == 0)
		return;
	change_epoch(db);
	db->lost = true;
}

/* ---- Space ---- */

int pn_turn_commit_part(struct pn_db *db) {
	if (db->pending > 0) {
		const int err = log_turn(db);
		db->lost = err != PN_OK;
		if (err != PN_OK)
			return err;
	}
	const int err = pn_turn_checkpoint(db);
	return err == PN_OK ? pn_db_begin(db) : err;
}

/* Waits for a sync or a checkpoint to end. Returns false once the time is over. */
static bool wait_for_event(struct pn_db *db, int timer) {
	struct pollfd fds[] = {
		{.fd = timer, .events = POLLIN},
		{.fd = db->event, .events = POLLIN},
	};
	uint64_t count;
	return poll(fds, 2, FREE_WAIT) > 0 && fds[1].revents != 0 &&
	       read(db->event, &count, sizeof(count)) > 0;
}

/* With an event loop: in the background, which goes on if that takes too long. A timer, because
 * many short waits take much longer than their sum on a busy machine. */
static int wait_for_checkpoint(struct pn_db *db) {
	const struct itimerspec limit = {.it_value.tv_nsec = FREE_WAIT * 1000 * 1000};
	uint64_t ended = 0;
	const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	int err = timer < 0 || timerfd_settime(timer, 0, &limit, NULL) != 0 ? pn_db_error(errno)
									    : PN_OK;
	while (err == PN_OK && !pn_checkpoint_is_last(db->checkpoint)) {
		err = pn_checkpoint_begin(db->checkpoint, pn_log_last(db->log), pn_room_ahead(db));
		if (err == PN_OK && db->impatient > 0)
			err = PN_EFULL;
		else if (err == PN_OK && wait_for_event(db, timer))
			ended = 1;
		else if (err == PN_OK)
			db->impatient = IMPATIENT;
	}
	if (timer >= 0)
		close(timer);
	if (ended > 0)
		(void)!write(db->event, &ended, sizeof(ended)); /* for the loop, too */
	return err;
}

int pn_turn_advance(struct pn_db *db) {
	const bool background = db->pace.on && db->scarce;
	if (db->advanced)
		return background ? wait_for_checkpoint(db) : PN_EFULL;
	int err = pn_turn_commit_part(db);
	if (err != PN_OK)
		return err;
	db->advanced = true;
	if (background)
		return wait_for_checkpoint(db);
	err = pn_checkpoint_now(db->checkpoint, pn_log_last(db->log));
	if (err == PN_OK)
		err = pn_sync_now(db->sync);
	return err == PN_OK ? pn_turn_cut_log(db, pn_log_last(db->log), UINT_MAX) : err;
}
