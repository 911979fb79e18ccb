/* Making the data file durable: sync it, name the state, keep its pages. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "checkpoint.h"
#include "db.h"
#include "durable.h"
#include "lmdb_layout.h"
#include "worker.h"

enum { RECORD_WAIT = 5000 /* ms; the process that holds the lock writes 8 KB */ };

/* `record`, `room`, `data`, `file` and `locks` belong to the worker while it is busy. */
struct pn_checkpoint {
	MDB_env *env;
	int data;  /* descriptor of the data file, LMDB's */
	int file;  /* descriptor of "durable" */
	int locks; /* descriptor of the lock file, borrowed */
	int error;
	bool failed; /* for good */
	enum pn_structure structure;
	uint64_t durable; /* last turn of the durable state, which `pin` keeps */
	uint64_t number;  /* last turn of the state that `next` keeps */
	MDB_txn *pin;
	MDB_txn *next;
	struct pn_durable record; /* of `next` */
	struct pn_room room;      /* to allocate; once the worker is done, what was allocated */
	struct pn_worker worker;
};

int pn_checkpoint_allocate(int fd, struct pn_room room) {
	const off_t from = (off_t)room.from, end = (off_t)room.end;
	if (end == 0 || fallocate(fd, FALLOC_FL_KEEP_SIZE, from, end - from) == 0 ||
	    errno == EOPNOTSUPP)
		return PN_OK;
	return pn_db_error(errno);
}

static int make_durable(struct pn_checkpoint *checkpoint) {
	if (fdatasync(checkpoint->data) != 0)
		return PN_EIO; /* whatever it was: the kernel does not write the pages again */
	int err = pn_lock_take(checkpoint->locks, PN_LOCK_RECORD, false, RECORD_WAIT);
	if (err == PN_OK) {
		err = pn_durable_write(checkpoint->file, &checkpoint->record);
		pn_lock_drop(checkpoint->locks, PN_LOCK_RECORD);
	}
	return err;
}

/* In the thread: allocating waits for the file system's journal, too. If it fails, the thread that
 * needs the space tries again, and tells why. */
static int run_job(void *context) {
	struct pn_checkpoint *const checkpoint = context;
	if (pn_checkpoint_allocate(checkpoint->data, checkpoint->room) != PN_OK)
		checkpoint->room.end = 0;
	return make_durable(checkpoint);
}

/* Begins a reader at the last commit, and copies its meta page. Needs the writer's lock. */
static int capture(struct pn_checkpoint *checkpoint, uint64_t number) {
	struct pn_durable *const record = &checkpoint->record;
	int dead;
	int rc = mdb_reader_check(checkpoint->env, &dead); /* a dead one keeps old pages for ever */
	if (rc == MDB_SUCCESS)
		rc = checkpoint->next != NULL
			     ? mdb_txn_renew(checkpoint->next)
			     : mdb_txn_begin(checkpoint->env, NULL, MDB_RDONLY, &checkpoint->next);
	if (rc != MDB_SUCCESS)
		return pn_db_error(rc);
	memset(record, 0, sizeof(*record));
	record->txnid = mdb_txn_id(checkpoint->next);
	record->structure = (unsigned char)checkpoint->structure;
	checkpoint->number = number;
	const off_t at = (off_t)((record->txnid & 1) * lmdb_page_size());
	if (pread(checkpoint->data, record->meta, PN_META, at) == PN_META &&
	    meta_txnid(record->meta) == record->txnid)
		return PN_OK;
	mdb_txn_reset(checkpoint->next);
	return PN_EIO;
}

/* After an attempt: keeps its state in the place of the one before, or gives it up. */
static void settle(struct pn_checkpoint *checkpoint, int result) {
	MDB_txn *const before = checkpoint->pin;
	if (result == PN_OK) {
		checkpoint->pin = checkpoint->next;
		checkpoint->next = before;
		checkpoint->durable = checkpoint->number;
	}
	if (checkpoint->next != NULL)
		mdb_txn_reset(checkpoint->next);
	if (result == PN_EIO)
		checkpoint->failed = true;
}

static void collect(struct pn_checkpoint *checkpoint, bool wait) {
	int result;
	if (!pn_worker_collect(&checkpoint->worker, wait, &result))
		return;
	settle(checkpoint, result);
	checkpoint->error = result;
}

int pn_checkpoint_begin(struct pn_checkpoint *checkpoint, uint64_t number, struct pn_room room) {
	collect(checkpoint, false);
	if (checkpoint->failed)
		return PN_EIO;
	if (pn_worker_is_busy(&checkpoint->worker))
		return PN_OK;
	int err = capture(checkpoint, number);
	if (err != PN_OK)
		return err;
	checkpoint->room = room;
	err = pn_worker_ask(&checkpoint->worker);
	if (err == PN_OK)
		return PN_OK;
	checkpoint->room.end = 0;
	mdb_txn_reset(checkpoint->next);
	return err;
}

int pn_checkpoint_now(struct pn_checkpoint *checkpoint, uint64_t number) {
	collect(checkpoint, true);
	if (checkpoint->failed)
		return PN_EIO;
	int err = capture(checkpoint, number);
	if (err != PN_OK)
		return err;
	err = make_durable(checkpoint);
	settle(checkpoint, err);
	return err;
}

bool pn_checkpoint_is_last(struct pn_checkpoint *checkpoint) {
	MDB_envinfo info;
	collect(checkpoint, false);
	return checkpoint->pin != NULL && mdb_env_info(checkpoint->env, &info) == MDB_SUCCESS &&
	       info.me_last_txnid == mdb_txn_id(checkpoint->pin);
}

int pn_checkpoint_finish(struct pn_checkpoint *checkpoint, uint64_t number) {
	collect(checkpoint, true);
	return pn_checkpoint_is_last(checkpoint) ? PN_OK : pn_checkpoint_now(checkpoint, number);
}

uint64_t pn_checkpoint_durable(struct pn_checkpoint *checkpoint) {
	collect(checkpoint, false);
	return checkpoint->durable;
}

bool pn_checkpoint_is_busy(struct pn_checkpoint *checkpoint) {
	collect(checkpoint, false);
	return pn_worker_is_busy(&checkpoint->worker);
}

uint64_t pn_checkpoint_allocated(struct pn_checkpoint *checkpoint) {
	if (pn_checkpoint_is_busy(checkpoint))
		return 0;
	const uint64_t end = checkpoint->room.end;
	checkpoint->room.end = 0;
	return end;
}

int pn_checkpoint_error(struct pn_checkpoint *checkpoint) {
	collect(checkpoint, false);
	const int error = checkpoint->error;
	checkpoint->error = PN_OK;
	return error;
}

int pn_checkpoint_state(const struct pn_checkpoint *checkpoint) {
	return checkpoint->failed ? PN_EIO : PN_OK;
}

void pn_checkpoint_set_structure(struct pn_checkpoint *checkpoint, enum pn_structure structure) {
	checkpoint->structure = structure;
}

void pn_checkpoint_release(struct pn_checkpoint *checkpoint) {
	collect(checkpoint, true);
	mdb_txn_abort(checkpoint->pin);
	mdb_txn_abort(checkpoint->next);
	checkpoint->pin = NULL;
	checkpoint->next = NULL;
}

/* ---- Making and freeing ---- */

int pn_checkpoint_new(struct pn_checkpoint **out, MDB_env *env, int directory, int locks,
		      int event) {
	struct pn_checkpoint *const checkpoint = pn_malloc(sizeof(*checkpoint));
	if (checkpoint == NULL)
		return PN_ENOMEM;
	*checkpoint = (struct pn_checkpoint){.env = env, .locks = locks};
	int err = pn_db_error(mdb_env_get_fd(env, &checkpoint->data));
	if (err == PN_OK) {
		checkpoint->file = pn_durable_open(directory);
		err = checkpoint->file < 0 ? checkpoint->file : PN_OK;
	}
	if (err != PN_OK) {
		pn_free(checkpoint);
		return err;
	}
	pn_worker_init(&checkpoint->worker, run_job, checkpoint, event);
	*out = checkpoint;
	return PN_OK;
}

void pn_checkpoint_free(struct pn_checkpoint *checkpoint) {
	if (checkpoint == NULL)
		return;
	pn_worker_stop(&checkpoint->worker);
	mdb_txn_abort(checkpoint->pin);
	mdb_txn_abort(checkpoint->next);
	close(checkpoint->file);
	pn_free(checkpoint);
}

void pn_checkpoint_forget(struct pn_checkpoint *checkpoint) {
	if (checkpoint == NULL)
		return;
	close(checkpoint->file); /* the thread stayed in the parent */
	pn_free(checkpoint);
}
