#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>
#include <pn/keys.h>

#include "checkpoint.h"
#include "durable.h"
#include "guard.h"
#include "lmdb_file.h"
#include "verify.h"
#include "worker.h"

enum {
	RETRY = 10000, /* ms after a verification that could not be run, for lack of memory */
};

/* `state` and `report` belong to the worker while it is busy. The pages of the state are kept by
 * `pin`; they are read with `fd`, never through LMDB's map. */
struct pn_verifier {
	int fd;
	MDB_txn *pin;
	unsigned char *metas; /* two pages */
	struct pn_guard guard;
	struct pn_lmdb_watch watch;
	struct pn_lmdb_state state;
	struct pn_lmdb_report report;
	struct pn_worker worker;
	bool asked;
	uint64_t due;
	uint64_t total;
};

static int verify_all(void *context) {
	struct pn_verifier *const verifier = context;
	return pn_lmdb_verify_state(&verifier->state, &verifier->report);
}

/* ---- Results ---- */

static void set_structure(struct pn_db *db, enum pn_structure structure) {
	db->structure = structure;
	db->structure_changed = true;
	pn_checkpoint_set_structure(db->checkpoint, structure);
}

static void note_damage(struct pn_db *db, uint64_t page, const char *problem) {
	if (db->structure == PN_STRUCTURE_DAMAGED && db->damage.problem != NULL)
		return;
	db->damage.page = page;
	db->damage.problem = problem;
	set_structure(db, PN_STRUCTURE_DAMAGED);
}

/* A sound file needs no verifier any more. Returns whether there is a result. */
static bool settle(struct pn_db *db, int result) {
	struct pn_verifier *const verifier = db->verifier;
	if (result == PN_ECORRUPT || result == PN_EIO) {
		note_damage(db, verifier->report.bad_page, verifier->report.problem);
		return true;
	}
	if (result != PN_OK)
		return false;
	db->damage.page = 0;
	db->damage.problem = NULL;
	set_structure(db, PN_STRUCTURE_SOUND);
	pn_verify_close(db);
	return true;
}

void pn_verify_run(struct pn_db *db, uint64_t now) {
	struct pn_verifier *const verifier = db->verifier;
	int result = PN_OK;
	if (verifier == NULL)
		return;
	if (!verifier->asked && now >= verifier->due) {
		verifier->state.passes = true;
		result = pn_worker_ask(&verifier->worker);
		verifier->asked = result == PN_OK;
	} else if (!verifier->asked || !pn_worker_collect(&verifier->worker, false, &result) ||
		   settle(db, result)) {
		return;
	}
	if (result != PN_OK) {
		verifier->asked = false;
		verifier->due = now + RETRY;
	}
}

void pn_db_verification(struct pn_db *db, struct pn_verification *now) {
	struct pn_verifier *const verifier = db->verifier;
	*now = (struct pn_verification){
		.structure = db->structure,
		.bad_page = db->damage.page,
		.problem = db->damage.problem,
	};
	if (verifier == NULL)
		return;
	now->running = verifier->asked && pn_worker_is_busy(&verifier->worker);
	now->done = verifier->watch.done;
	now->total = verifier->total;
}

/* ---- One key ---- */

int pn_verify_key(struct pn_db *db, struct pn_str key, bool writes) {
	struct pn_guard *const guard = &db->verifier->guard;
	const int err = pn_guard_touch(guard, key, writes);
	if (err != PN_ECORRUPT && err != PN_EIO)
		return err;
	note_damage(db, guard->pages.bad_page, guard->pages.problem);
	return PN_ECORRUPT;
}

/* ---- Opening and closing ---- */

/* Begins a reader at the last commit, and makes the meta pages of that state. Needs the writer's
 * lock: another process could overwrite the meta page. */
static int pin_state(struct pn_db *db, struct pn_verifier *verifier) {
	unsigned char meta[PN_META];
	const int err = pn_db_error(mdb_txn_begin(db->env, NULL, MDB_RDONLY, &verifier->pin));
	if (err != PN_OK)
		return err;
	const uint64_t txnid = mdb_txn_id(verifier->pin);
	const off_t at = (off_t)((txnid & 1) * lmdb_page_size());
	if (pread(verifier->fd, meta, PN_META, at) != PN_META || meta_txnid(meta) != txnid)
		return PN_EIO;
	pn_durable_make_metas(meta, verifier->metas, lmdb_page_size());
	return PN_OK;
}

static int pin_locked(struct pn_db *db, struct pn_verifier *verifier) {
	if (db->write != NULL) /* this process has the lock */
		return pin_state(db, verifier);
	int err = pn_lock_take_writer(db->locks, OPEN_WAIT);
	if (err == PN_OK) {
		err = pin_state(db, verifier);
		pn_lock_drop(db->locks, PN_LOCK_WRITER);
	}
	return err;
}

/* The free tree, and the paths to the records of the database itself: every commit uses them. */
static int verify_common(struct pn_verifier *verifier, bool sound) {
	static const char position[] = {PN_KIND_POSITION}, format[] = {PN_KIND_FORMAT};
	struct pn_lmdb_state common = verifier->state;
	int err = PN_OK;
	common.without_records = true;
	if (!sound)
		err = pn_lmdb_verify_state(&common, &verifier->report);
	if (err == PN_OK)
		err = pn_guard_touch(&verifier->guard, (struct pn_str){format, 1}, true);
	if (err == PN_OK)
		err = pn_guard_touch(&verifier->guard, (struct pn_str){position, 1}, true);
	return err;
}

static int open_verifier(struct pn_db *db, struct pn_verifier *verifier) {
	verifier->metas = pn_malloc(METAS * lmdb_page_size());
	if (verifier->metas == NULL)
		return PN_ENOMEM;
	verifier->fd = openat(db->directory, "data.mdb", O_RDONLY | O_CLOEXEC);
	if (verifier->fd < 0)
		return pn_db_error(errno);
	verifier->state = (struct pn_lmdb_state){
		.fd = verifier->fd, .metas = verifier->metas, .watch = &verifier->watch};
	int err = pin_locked(db, verifier);
	if (err == PN_OK)
		err = pn_guard_init(&verifier->guard, verifier->fd, verifier->metas);
	verifier->total = verifier->guard.pages.count;
	return err;
}

int pn_verify_open(struct pn_db *db, enum pn_structure structure) {
	struct pn_verifier *const verifier = pn_malloc(sizeof(*verifier));
	if (verifier == NULL)
		return PN_ENOMEM;
	*verifier = (struct pn_verifier){.fd = -1};
	pn_worker_init(&verifier->worker, verify_all, verifier, db->event);
	db->verifier = verifier;
	db->structure = structure;
	int err = open_verifier(db, verifier);
	if (err != PN_OK) {
		pn_verify_close(db);
		return err;
	}
	err = verify_common(verifier, structure == PN_STRUCTURE_SOUND);
	pn_checkpoint_set_structure(db->checkpoint, structure);
	if (err == PN_OK && structure == PN_STRUCTURE_SOUND)
		pn_verify_close(db);
	return err;
}

void pn_verify_close(struct pn_db *db) {
	struct pn_verifier *const verifier = db->verifier;
	if (verifier == NULL)
		return;
	verifier->watch.stop = true;
	pn_worker_stop(&verifier->worker);
	mdb_txn_abort(verifier->pin);
	pn_verify_forget(db); /* what is left */
}

void pn_verify_forget(struct pn_db *db) {
	struct pn_verifier *const verifier = db->verifier;
	if (verifier == NULL)
		return;
	db->verifier = NULL;
	pn_guard_free(&verifier->guard);
	if (verifier->fd >= 0)
		close(verifier->fd);
	pn_free(verifier->metas);
	pn_free(verifier);
}

/* ---- At once ---- */

int pn_db_verify(struct pn_db *db) {
	int result = db->verifier == NULL ? pn_verify_open(db, PN_STRUCTURE_UNKNOWN) : PN_OK;
	struct pn_verifier *const verifier = db->verifier;
	if (result == PN_OK &&
	    (!verifier->asked || !pn_worker_collect(&verifier->worker, true, &result)))
		result = verify_all(verifier);
	if (verifier != NULL)
		(void)settle(db, result);
	return result;
}
