/*
 * Compaction of an open database: a copy in steps, then the turns since, then the switch to it.
 *
 * Until the switch the data file, the log and the file "durable" are as without it, so a killed
 * process or a power failure loses nothing. The switch makes the old data file whole by itself
 * before it removes the log, and that before the copy takes its name: at each moment one of both
 * files is complete, and no log lies beside a file that it does not belong to.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "checkpoint.h"
#include "copy.h"
#include "durable.h"
#include "sync.h"
#include "turn.h"
#include "worker.h"

enum {
	/* Turns that the switch itself may add to the copy: some ms. Each round of catching up may
	 * leave twice as many as the one before, so that it ends also where a sync takes long. */
	FEW_TURNS = 100,
};

/*
 * `copy` belongs to the worker while it is busy. PN_LOCK_COMPACT and db->kept are set, and the
 * database is open, until the compaction is freed.
 */
struct pn_compaction {
	struct pn_db *db;
	struct pn_copy *copy;
	int (*job)(struct pn_compaction *compaction);
	uint64_t last; /* turns up to this number are added to the copy */
	uint64_t few;  /* the switch adds at most this number */
	struct pn_progress progress;
	bool background;
	bool ready; /* for the switch */
	int err;    /* that has ended it */
	struct pn_worker worker;
};

/* ---- Steps ---- */

static int copy_records(struct pn_compaction *compaction) {
	return pn_copy_records(compaction->copy);
}

static int add_turns(struct pn_compaction *compaction) {
	const struct pn_db *const db = compaction->db;
	return pn_copy_turns(compaction->copy, db->directory, db->id.store, compaction->last);
}

static int sync_copy(struct pn_compaction *compaction) {
	return pn_copy_sync(compaction->copy);
}

static int run_job(void *context) {
	struct pn_compaction *const compaction = context;
	return compaction->job(compaction);
}

/* Once the records are copied. */
static void choose_job(struct pn_compaction *compaction) {
	const struct pn_copy *const copy = compaction->copy;
	compaction->last = pn_db_committed(compaction->db);
	const bool near = compaction->last <= copy->number + compaction->few;
	compaction->ready = near && copy->unsynced == 0;
	compaction->job = near ? sync_copy : add_turns;
	if (near && !compaction->ready)
		compaction->few *= 2;
}

static void settle(struct pn_compaction *compaction, int result) {
	compaction->progress = compaction->copy->progress;
	if (result < 0)
		compaction->err = result;
	if (result != PN_OK)
		return; /* or the same job goes on */
	if (compaction->job == copy_records)
		pn_copy_release(compaction->copy);
	choose_job(compaction);
}

static void run_next(struct pn_compaction *compaction) {
	if (!compaction->background)
		settle(compaction, run_job(compaction));
	else if (!pn_worker_is_busy(&compaction->worker))
		compaction->err = pn_worker_ask(&compaction->worker);
}

int pn_compact_step(struct pn_compaction *compaction, struct pn_progress *progress) {
	int result;
	if (pn_worker_collect(&compaction->worker, false, &result))
		settle(compaction, result);
	else if (compaction->ready)
		choose_job(compaction); /* more turns may have come */
	if (compaction->err == PN_OK && !compaction->ready)
		run_next(compaction);
	*progress = compaction->progress;
	return compaction->err != PN_OK ? compaction->err : !compaction->ready;
}

void pn_compact_place(const struct pn_compaction *compaction, char text[PN_COPY_PLACE]) {
	pn_copy_place(compaction->copy, text);
}

/* ---- The switch. No other process has the database open. ---- */

/* The directory may have been renamed since it was opened: it is opened by its name again. */
static bool is_in_place(const struct pn_db *db) {
	struct stat about;
	return stat(db->path, &about) == 0 && about.st_ino == db->inode &&
	       about.st_dev == db->device;
}

/* Commits all turns, also those of a process that was killed, and adds the last ones to the copy.
 * Returns 1 if there are too many. */
static int add_last_turns(struct pn_compaction *compaction) {
	struct pn_db *const db = compaction->db;
	int more = pn_db_begin(db);
	if (more == PN_OK)
		more = pn_turn_checkpoint(db);
	if (more != PN_OK)
		return more;
	compaction->last = pn_db_committed(db);
	if (compaction->last > compaction->copy->number + compaction->few)
		return 1;
	while (compaction->copy->number < compaction->last) {
		more = add_turns(compaction);
		if (more < 0)
			return more;
	}
	return PN_OK;
}

static void close_database(struct pn_db *db) {
	pn_env_close(db);
	pn_sync_set_log(db->sync, NULL);
	pn_log_close(db->log);
	db->log = NULL;
}

static int open_database(struct pn_db *db, bool replaced) {
	if (replaced)
		db->structure = PN_STRUCTURE_SOUND; /* LMDB has just written all of its pages */
	int err = pn_env_open(db);
	if (err == PN_OK)
		err = pn_db_begin(db); /* opens the log */
	if (err == PN_OK)
		pn_turn_release(db);
	return err;
}

static int change_files(struct pn_compaction *compaction) {
	struct pn_db *const db = compaction->db;
	struct pn_copy *const copy = compaction->copy;
	int err = pn_copy_stamp(copy);
	if (err == PN_OK)
		err = pn_copy_finish(copy, compaction->last);
	copy->complete = false; /* it is removed if anything fails */
	if (err == PN_OK)
		err = pn_checkpoint_finish(db->checkpoint, compaction->last);
	if (err != PN_OK)
		return err; /* nothing has changed; a failed sync is remembered */
	close_database(db);
	err = pn_durable_drop(db->directory);
	if (err == PN_OK)
		err = pn_log_remove(db->directory);
	if (err == PN_OK)
		err = pn_replace_move(db->directory, copy->file);
	copy->complete = err == PN_OK;
	const int opened = open_database(db, copy->complete);
	return err != PN_OK ? err : opened;
}

int pn_compact_switch(struct pn_compaction *compaction) {
	struct pn_db *const db = compaction->db;
	if (compaction->err != PN_OK || !compaction->ready)
		return compaction->err != PN_OK ? compaction->err : 1;
	int err = pn_db_commit(db);
	if (err == PN_OK && db->snapshots > 0)
		err = PN_EBUSY;
	if (err == PN_OK && !is_in_place(db))
		err = PN_EACCESS;
	if (err == PN_OK)
		err = pn_lock_take(db->locks, PN_LOCK_PRESENT, false, 0);
	if (err != PN_OK)
		return err;
	int result = add_last_turns(compaction);
	if (result == PN_OK)
		result = change_files(compaction);
	if (result < 0)
		compaction->err = result;
	err = pn_lock_take(db->locks, PN_LOCK_PRESENT, true, 0);
	return result != PN_OK ? result : err;
}

/* ---- Beginning and ending ---- */

static int check_room(struct pn_db *db) {
	struct pn_db_info info;
	struct statvfs disk;
	const int err = pn_db_info(db, &info);
	if (err != PN_OK)
		return err;
	if (fstatvfs(db->directory, &disk) != 0)
		return pn_db_error(errno);
	return disk.f_bavail * disk.f_frsize < info.used_bytes ? PN_ENOSPACE : PN_OK;
}

/* Its file, if there is one, is that of a process that was killed. */
static int make_copy(struct pn_compaction *compaction, const struct pn_copy_change *change) {
	struct pn_db *const db = compaction->db;
	const size_t size = strlen(db->path) + sizeof("/" PN_COMPACT_FILE);
	char *const file = pn_malloc(size);
	if (file == NULL)
		return PN_ENOMEM;
	snprintf(file, size, "%s/" PN_COMPACT_FILE, db->path);
	const int unlinked = unlinkat(db->directory, PN_COMPACT_FILE, 0);
	const int err = unlinked != 0 && errno != ENOENT
				? pn_db_error(errno)
				: pn_copy_new(&compaction->copy, db, file, change);
	pn_free(file);
	return err;
}

int pn_compact_new(struct pn_compaction **out, struct pn_db *db, bool background,
		   const struct pn_copy_change *change) {
	if (db->kept != UINT64_MAX)
		return PN_EBUSY; /* this process compacts it */
	if (db->damage.problem != NULL || db->structure == PN_STRUCTURE_DAMAGED)
		return PN_EDAMAGED;
	if (db->verifier != NULL)
		return PN_EBUSY; /* a thread reads the records: every page must be sound */
	int err = pn_lock_take(db->locks, PN_LOCK_COMPACT, false, 0);
	if (err != PN_OK)
		return err;
	struct pn_compaction *const compaction = pn_malloc(sizeof(*compaction));
	if (compaction == NULL) {
		pn_lock_drop(db->locks, PN_LOCK_COMPACT);
		return PN_ENOMEM;
	}
	*compaction = (struct pn_compaction){
		.db = db,
		.job = copy_records,
		.few = FEW_TURNS,
		.background = background,
	};
	pn_worker_init(&compaction->worker, run_job, compaction, db->event);
	db->users++;
	db->kept = 0; /* until its position is known */
	err = check_room(db);
	if (err == PN_OK)
		err = make_copy(compaction, change);
	if (err != PN_OK) {
		pn_compact_free(compaction);
		return err;
	}
	db->kept = compaction->copy->number;
	compaction->progress = compaction->copy->progress;
	*out = compaction;
	return PN_OK;
}

void pn_compact_free(struct pn_compaction *compaction) {
	if (compaction == NULL)
		return;
	struct pn_db *const db = compaction->db;
	if (!pn_db_mine(db)) {
		pn_db_forget(db); /* a forked child: the thread and the file are the parent's */
		return;
	}
	pn_worker_stop(&compaction->worker);
	pn_copy_free(compaction->copy);
	pn_free(compaction);
	db->kept = UINT64_MAX;
	db->cut = 0; /* the log behind it may be cut now */
	pn_lock_drop(db->locks, PN_LOCK_COMPACT);
	pn_db_close(db);
}
