/* Syncs in a thread, the file "durable", and recovery from it. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "db.h"
#include "lmdb_file.h"
#include "lmdb_layout.h"
#include "sync.h"

/* ---- The record ---- */

enum {
	META = 4096, /* bytes of a meta page that the record keeps: more than its fields need */
	RECORD = 2 * META,
	BOOT_ID = 16,
	RETRY = 1000,       /* ms until the next attempt after a failed one */
	RECORD_WAIT = 5000, /* ms to wait for another process that writes its record of 8 KB */
};

static const char FILE_NAME[] = "durable";
static const char MAGIC[16] = "pn-durable 1";

struct durable_record {
	char magic[16];
	unsigned char digest[PN_DIGEST];
	unsigned char boot[BOOT_ID];
	uint64_t txnid;
	unsigned char zero[META - 16 - PN_DIGEST - BOOT_ID - 8];
	unsigned char meta[META];
};

_Static_assert(sizeof(struct durable_record) == RECORD, "the record has no padding");

/* Reads the id of this boot of the machine; all zero if it is unknown. */
static void read_boot_id(unsigned char boot[BOOT_ID]) {
	char text[64];
	size_t have = 0;
	memset(boot, 0, BOOT_ID);
	const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	const ssize_t len = read(fd, text, sizeof(text));
	close(fd);
	for (ssize_t i = 0; i < len && have < (size_t)BOOT_ID * 2; i++) {
		const char c = text[i];
		const int digit = c >= '0' && c <= '9'   ? c - '0'
				  : c >= 'a' && c <= 'f' ? c - 'a' + 10
							 : -1;
		if (digit < 0)
			continue;
		boot[have / 2] = (unsigned char)(boot[have / 2] << 4 | digit);
		have++;
	}
}

static bool same_boot(const unsigned char boot[BOOT_ID]) {
	static const unsigned char unknown[BOOT_ID] = {0};
	unsigned char now[BOOT_ID];
	read_boot_id(now);
	return memcmp(now, unknown, BOOT_ID) != 0 && memcmp(now, boot, BOOT_ID) == 0;
}

static int record_digest(const struct durable_record *record, pn_digest digest) {
	const char *rest = (const char *)record->boot;
	const struct pn_str bytes = {rest, sizeof(*record) - offsetof(struct durable_record, boot)};
	return pn_db_digest(NULL, &bytes, 1, digest);
}

/* Reads the record in `slot`. Returns 1, or 0 if there is no intact one. */
static int read_slot(int fd, int slot, struct durable_record *record) {
	pn_digest digest;
	if (pread(fd, record, sizeof(*record), (off_t)slot * RECORD) != (ssize_t)sizeof(*record))
		return 0;
	if (memcmp(record->magic, MAGIC, sizeof(MAGIC)) != 0)
		return 0;
	const int err = record_digest(record, digest);
	if (err != PN_OK)
		return err;
	return memcmp(digest, record->digest, PN_DIGEST) == 0;
}

/* Reads the newer record and sets *slot to its slot. Returns 1, or 0 if there is no intact one. */
static int read_record(int fd, struct durable_record *record, int *slot) {
	struct durable_record other;
	const int first = read_slot(fd, 0, record);
	const int second = read_slot(fd, 1, &other);
	if (first < 0 || second < 0)
		return PN_ENOMEM;
	*slot = second > 0 && (first == 0 || other.txnid > record->txnid);
	if (*slot == 1)
		*record = other;
	return first > 0 || second > 0;
}

/* Writes the record, unless another process has written one of a later transaction. */
static int write_record(int fd, struct durable_record *record) {
	struct durable_record old;
	int slot;
	const int found = read_record(fd, &old, &slot);
	if (found < 0)
		return found;
	read_boot_id(record->boot);
	if (found > 0 && old.txnid > record->txnid && memcmp(old.boot, record->boot, BOOT_ID) == 0)
		return PN_OK;
	memcpy(record->magic, MAGIC, sizeof(MAGIC));
	const int err = record_digest(record, record->digest);
	if (err != PN_OK)
		return err;
	const off_t at = found > 0 ? (off_t)(1 - slot) * RECORD : 0;
	const ssize_t len = pwrite(fd, record, sizeof(*record), at);
	if (len != (ssize_t)sizeof(*record))
		return len < 0 ? pn_db_error(errno) : PN_ENOSPACE;
	return fdatasync(fd) == 0 ? PN_OK : pn_db_error(errno);
}

/* ---- Recovery ---- */

/*
 * Makes both meta pages from the record's, one of them as that of the transaction before: LMDB
 * overwrites that one next. In a file without transactions both are equal.
 */
static void make_metas(const unsigned char *meta, unsigned char *metas, size_t page_size) {
	const uint64_t txnid = meta_txnid(meta);
	memset(metas, 0, 2 * page_size);
	for (uint64_t i = 0; i < 2; i++) {
		const uint64_t number = i == (txnid & 1) || txnid == 0 ? txnid : txnid - 1;
		unsigned char *const page = metas + i * page_size;
		memcpy(page, meta, META);
		memcpy(page, &i, sizeof(i));
		memcpy(page + META_TXNID, &number, sizeof(number));
	}
}

/*
 * Rolls back to the record's state, if the file has all pages of it. If somebody has replaced the
 * data file by hand, the record belongs to another file, and this one is left unchanged.
 */
static int roll_back(int fd, const struct durable_record *record, uint64_t newest,
		     uint64_t *undone) {
	const size_t page_size = lmdb_page_size();
	struct pn_lmdb_report report;
	unsigned char *metas = pn_malloc(2 * page_size);
	if (metas == NULL)
		return PN_ENOMEM;
	make_metas(record->meta, metas, page_size);
	int err = pn_lmdb_verify_state(fd, metas, &report);
	if (err == PN_OK) {
		if (pwrite(fd, metas, 2 * page_size, 0) != (ssize_t)(2 * page_size) ||
		    fsync(fd) != 0)
			err = pn_db_error(errno);
		*undone = newest - record->txnid;
	}
	pn_free(metas);
	return err == PN_ECORRUPT ? PN_OK : err;
}

static int recover(int fd, int record_fd, uint64_t *undone) {
	unsigned char meta[META];
	struct durable_record record;
	uint64_t newest = 0;
	int slot;
	const int found = read_record(record_fd, &record, &slot);
	if (found <= 0)
		return found;
	if (same_boot(record.boot))
		return PN_OK;
	for (size_t i = 0; i < METAS; i++) {
		if (pread(fd, meta, META, (off_t)(i * lmdb_page_size())) != META)
			return PN_OK; /* not a database: opening it will fail */
		if (is_meta(meta) && meta_txnid(meta) > newest)
			newest = meta_txnid(meta);
	}
	return newest > record.txnid ? roll_back(fd, &record, newest, undone) : PN_OK;
}

int pn_sync_recover(int directory, uint64_t *undone) {
	int err = PN_OK;
	*undone = 0;
	const int record_fd = openat(directory, FILE_NAME, O_RDONLY | O_CLOEXEC);
	if (record_fd < 0)
		return errno == ENOENT ? PN_OK : pn_db_error(errno);
	const int fd = openat(directory, "data.mdb", O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		err = recover(fd, record_fd, undone);
		close(fd);
	} else if (errno != ENOENT) {
		err = pn_db_error(errno);
	}
	close(record_fd);
	return err;
}

int pn_sync_drop_record(int directory) {
	if (unlinkat(directory, FILE_NAME, 0) != 0 && errno != ENOENT)
		return pn_db_error(errno);
	return PN_OK;
}

/* ---- The thread ---- */

enum state { IDLE, ASKED, DONE };

/*
 * The thread uses the fields below the mutex while it holds it, and `record`, `data`, `file` and
 * `locks` while the state is ASKED. All other fields belong to the main thread.
 */
struct pn_sync {
	MDB_env *env;
	int data;  /* descriptor of the data file, LMDB's */
	int file;  /* descriptor of "durable" */
	int locks; /* descriptor of the lock file, borrowed */
	int event; /* eventfd */
	unsigned interval;
	uint64_t due;     /* time of the next attempt, 0: at once */
	bool failed;      /* permanently, see pn_sync_state() */
	int error;        /* of the last attempt, until it has been returned */
	uint64_t durable; /* last transaction that is known to be durable */
	MDB_txn *pin;     /* reads the durable state, to keep its pages */
	MDB_txn *next;    /* reads the state that is being synced */
	bool running;     /* the thread exists */
	pthread_t thread;
	struct durable_record record; /* of `next` */

	pthread_mutex_t mutex;
	pthread_cond_t change;
	enum state state;
	bool stop;
	int result; /* of the attempt, with DONE */
};

/* Syncs the state of sync->record. Runs in either thread. */
static int make_durable(struct pn_sync *sync) {
	if (fdatasync(sync->data) != 0)
		return PN_EIO; /* whatever errno says: the kernel does not retry the pages */
	int err = pn_lock_take(sync->locks, PN_LOCK_RECORD, false, RECORD_WAIT);
	if (err == PN_OK) {
		err = write_record(sync->file, &sync->record);
		pn_lock_drop(sync->locks, PN_LOCK_RECORD);
	}
	return err;
}

static void *run(void *argument) {
	struct pn_sync *sync = argument;
	const uint64_t one = 1;
	pthread_mutex_lock(&sync->mutex);
	while (!sync->stop) {
		if (sync->state != ASKED) {
			pthread_cond_wait(&sync->change, &sync->mutex);
			continue;
		}
		pthread_mutex_unlock(&sync->mutex);
		const int result = make_durable(sync);
		pthread_mutex_lock(&sync->mutex);
		sync->state = DONE;
		sync->result = result;
		pthread_cond_broadcast(&sync->change);
		(void)!write(sync->event, &one, sizeof(one));
	}
	pthread_mutex_unlock(&sync->mutex);
	return NULL;
}

/* Blocks all signals in the thread: the main thread handles them. */
static int start_thread(struct pn_sync *sync) {
	sigset_t all, before;
	if (sync->running)
		return PN_OK;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	sync->running = pthread_create(&sync->thread, NULL, run, sync) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return sync->running ? PN_OK : PN_ENOMEM;
}

/* ---- The main thread ---- */

/* Begins a read transaction at the last commit, and copies its meta page. The caller holds the
 * writer's lock. */
static int capture(struct pn_sync *sync) {
	const size_t page_size = lmdb_page_size();
	int rc = sync->next != NULL ? mdb_txn_renew(sync->next)
				    : mdb_txn_begin(sync->env, NULL, MDB_RDONLY, &sync->next);
	if (rc != MDB_SUCCESS)
		return pn_db_error(rc);
	memset(&sync->record, 0, sizeof(sync->record));
	sync->record.txnid = mdb_txn_id(sync->next);
	const off_t at = (off_t)((sync->record.txnid & 1) * page_size);
	if (pread(sync->data, sync->record.meta, META, at) == META &&
	    meta_txnid(sync->record.meta) == sync->record.txnid)
		return PN_OK;
	mdb_txn_reset(sync->next);
	return PN_EIO;
}

/* After an attempt: pins its state instead of the one before, or drops it if the attempt failed. */
static void settle(struct pn_sync *sync, int result) {
	MDB_txn *const before = sync->pin;
	if (result == PN_OK) {
		sync->pin = sync->next;
		sync->next = before;
		/* only now: LMDB may reuse pages of states before it */
		sync->durable = sync->record.txnid;
	}
	if (sync->next != NULL)
		mdb_txn_reset(sync->next);
	if (result == PN_EIO)
		sync->failed = true;
}

/* Collects the result of an attempt that has ended. wait: waits for a running one. */
static void collect(struct pn_sync *sync, bool wait) {
	pthread_mutex_lock(&sync->mutex);
	while (wait && sync->state == ASKED)
		pthread_cond_wait(&sync->change, &sync->mutex);
	if (sync->state == DONE) {
		sync->state = IDLE;
		sync->error = sync->result;
		pthread_mutex_unlock(&sync->mutex);
		settle(sync, sync->error);
		return;
	}
	pthread_mutex_unlock(&sync->mutex);
}

static bool is_busy(struct pn_sync *sync) {
	pthread_mutex_lock(&sync->mutex);
	const bool busy = sync->state == ASKED;
	pthread_mutex_unlock(&sync->mutex);
	return busy;
}

int pn_sync_now(struct pn_sync *sync) {
	collect(sync, true);
	if (sync->failed)
		return PN_EIO;
	int err = capture(sync);
	if (err != PN_OK)
		return err;
	err = make_durable(sync);
	settle(sync, err);
	return err;
}

void pn_sync_committed(struct pn_sync *sync) {
	if (sync->interval == 0)
		(void)pn_sync_now(sync); /* pn_sync_run() tries again, and returns the error */
}

static int begin_attempt(struct pn_sync *sync) {
	int dead;
	int err = start_thread(sync);
	if (err == PN_OK) /* the reader of a killed process would keep old pages */
		err = pn_db_error(mdb_reader_check(sync->env, &dead));
	if (err == PN_OK)
		err = capture(sync);
	if (err != PN_OK)
		return err;
	pthread_mutex_lock(&sync->mutex);
	sync->state = ASKED;
	pthread_cond_broadcast(&sync->change);
	pthread_mutex_unlock(&sync->mutex);
	return PN_OK;
}

/* Begins an attempt; or sets *wait if another process is writing. */
static int try_attempt(struct pn_sync *sync, uint64_t now, int *wait) {
	int err = pn_lock_take(sync->locks, PN_LOCK_WRITER, false, 0);
	if (err == PN_EBUSY) {
		*wait = 1;
		return PN_OK;
	}
	if (err != PN_OK)
		return err;
	sync->due = now + sync->interval;
	err = begin_attempt(sync);
	pn_lock_drop(sync->locks, PN_LOCK_WRITER);
	return err;
}

/* Returns the error of the last attempt once, and a permanent one as long as commits wait. */
static int take_error(struct pn_sync *sync, uint64_t committed) {
	const int err = sync->error;
	sync->error = PN_OK;
	return err == PN_OK && sync->failed && sync->durable < committed ? PN_EIO : err;
}

int pn_sync_run(struct pn_sync *sync, uint64_t committed, uint64_t now, int *wait) {
	*wait = -1;
	collect(sync, false);
	int err = take_error(sync, committed);
	if (err == PN_OK) {
		if (is_busy(sync) || pn_sync_durable(sync) >= committed)
			return PN_OK;
		if (now < sync->due) {
			*wait = (int)(sync->due - now);
			return PN_OK;
		}
		err = try_attempt(sync, now, wait);
	}
	if (err != PN_OK) {
		sync->due = now + RETRY;
		*wait = RETRY;
	}
	return err;
}

uint64_t pn_sync_durable(struct pn_sync *sync) {
	collect(sync, false);
	return sync->durable;
}

int pn_sync_event_fd(const struct pn_sync *sync) {
	return sync->event;
}

int pn_sync_state(const struct pn_sync *sync) {
	return sync->failed ? PN_EIO : PN_OK;
}

void pn_sync_release(struct pn_sync *sync) {
	collect(sync, true);
	mdb_txn_abort(sync->pin);
	mdb_txn_abort(sync->next);
	sync->pin = NULL;
	sync->next = NULL;
}

/* ---- Making and freeing ---- */

int pn_sync_new(struct pn_sync **out, MDB_env *env, int directory, int locks, unsigned interval) {
	struct pn_sync *sync = pn_malloc(sizeof(*sync));
	if (sync == NULL)
		return PN_ENOMEM;
	*sync = (struct pn_sync){.env = env, .locks = locks, .interval = interval};
	pthread_mutex_init(&sync->mutex, NULL);
	pthread_cond_init(&sync->change, NULL);
	sync->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	sync->file = openat(directory, FILE_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (sync->file >= 0) /* so that records can be written when the disk is full */
		(void)fallocate(sync->file, 0, 0, 2 * RECORD);
	int err = sync->event < 0 || sync->file < 0 ? pn_db_error(errno) : PN_OK;
	if (err == PN_OK)
		err = pn_db_error(mdb_env_get_fd(env, &sync->data));
	if (err != PN_OK) {
		pn_sync_free(sync);
		return err;
	}
	*out = sync;
	return PN_OK;
}

static void stop_thread(struct pn_sync *sync) {
	pthread_mutex_lock(&sync->mutex);
	sync->stop = true;
	pthread_cond_broadcast(&sync->change);
	pthread_mutex_unlock(&sync->mutex);
	if (sync->running)
		pthread_join(sync->thread, NULL);
}

static void close_files(struct pn_sync *sync) {
	if (sync->event >= 0)
		close(sync->event);
	if (sync->file >= 0)
		close(sync->file);
	pn_free(sync);
}

void pn_sync_free(struct pn_sync *sync) {
	if (sync == NULL)
		return;
	stop_thread(sync);
	pn_sync_release(sync);
	pthread_cond_destroy(&sync->change);
	pthread_mutex_destroy(&sync->mutex);
	close_files(sync);
}

void pn_sync_forget(struct pn_sync *sync) {
	if (sync != NULL)
		close_files(sync); /* the child has no thread */
}
