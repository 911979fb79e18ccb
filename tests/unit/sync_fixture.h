/* A database whose syncs, writes and allocations fail on demand. The linker puts this file between
 * it and the system calls. */
#ifndef TEST_SYNC_FIXTURE_H
#define TEST_SYNC_FIXTURE_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#include <lmdb.h>

#include "../../modules/db/db.h"
#include "store_fixture.h"

enum {
	INTERVAL = 100,
	IDLE = 250,   /* ms without a turn after which LMDB's transaction is committed */
	AGE = 5000,   /* the same, however many turns there are */
	LONG = 10000, /* ms after which a test is stuck */
};

/* ---- System calls that fail on demand: with this errno, 0 for not ---- */

static struct {
	int fdatasync_data; /* of the data file */
	int fdatasync_log;  /* of the log */
	int pwritev;        /* of the log */
	size_t pwrite_most; /* bytes that are written, where that is less than asked; 0: all */
	int fallocate;
	bool full; /* the disk: nothing is free, nothing can be allocated */
	int pthread_create;
	int txn_begin;              /* of LMDB */
	int txn_commit;             /* the same, of what was written */
	unsigned put;               /* calls of mdb_put until one fails, 0: none does */
	unsigned syncs;             /* calls of fdatasync for the log */
	_Atomic unsigned all_syncs; /* of fdatasync for any file, also by threads */
} faults;

/* Who holds it keeps the data file's syncs from ending. */
static pthread_mutex_t busy_disk = PTHREAD_MUTEX_INITIALIZER;

/* Whether a descriptor is that of a file whose name begins so. */
static inline bool is_file(int fd, const char *name) {
	char link[64];
	char path[PATH_SIZE * 2];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	const ssize_t len = readlink(link, path, sizeof(path) - 1);
	REQUIRE(len > 0);
	path[len] = '\0';
	return strncmp(strrchr(path, '/') + 1, name, strlen(name)) == 0;
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
ssize_t __real_pwrite(int fd, const void *bytes, size_t len, off_t at);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t len, off_t at);
ssize_t __real_pwritev(int fd, const struct iovec *parts, int count, off_t at);
ssize_t __wrap_pwritev(int fd, const struct iovec *parts, int count, off_t at);
int __real_fallocate(int fd, int mode, off_t from, off_t len);
int __wrap_fallocate(int fd, int mode, off_t from, off_t len);
int __real_fstatvfs(int fd, struct statvfs *disk);
int __wrap_fstatvfs(int fd, struct statvfs *disk);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *argument);
int __real_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags, MDB_txn **txn);
int __wrap_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags, MDB_txn **txn);
int __real_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn);
int __real_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags);
int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags);

int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags) {
	const bool fails = faults.put > 0 && --faults.put == 0;
	return fails ? ENOMEM : __real_mdb_put(txn, dbi, key, value, flags);
}

int __wrap_mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags, MDB_txn **txn) {
	return faults.txn_begin != 0 ? faults.txn_begin
				     : __real_mdb_txn_begin(env, parent, flags, txn);
}

static inline bool writes(MDB_txn *txn) {
	MDB_envinfo info;
	REQUIRE(mdb_env_info(mdb_txn_env(txn), &info) == 0);
	return mdb_txn_id(txn) > info.me_last_txnid;
}

int __wrap_mdb_txn_commit(MDB_txn *txn) {
	if (faults.txn_commit == 0 || !writes(txn))
		return __real_mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return faults.txn_commit;
}

int __wrap_fdatasync(int fd) {
	const bool log = is_file(fd, "log.");
	faults.syncs += log ? 1 : 0;
	faults.all_syncs++;
	if (!log) {
		pthread_mutex_lock(&busy_disk);
		pthread_mutex_unlock(&busy_disk);
	}
	errno = log ? faults.fdatasync_log : is_file(fd, "data.mdb") ? faults.fdatasync_data : 0;
	return errno != 0 ? -1 : __real_fdatasync(fd);
}

ssize_t __wrap_pwritev(int fd, const struct iovec *parts, int count, off_t at) {
	errno = faults.pwritev;
	return errno != 0 ? -1 : __real_pwritev(fd, parts, count, at);
}

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t len, off_t at) {
	const bool cut = faults.pwrite_most > 0 && faults.pwrite_most < len;
	return __real_pwrite(fd, bytes, cut ? faults.pwrite_most : len, at);
}

int __wrap_fallocate(int fd, int mode, off_t from, off_t len) {
	const bool allocated = is_file(fd, "lock.mdb"); /* before */
	errno = faults.full && !allocated ? ENOSPC : faults.fallocate;
	return errno != 0 ? -1 : __real_fallocate(fd, mode, from, len);
}

int __wrap_fstatvfs(int fd, struct statvfs *disk) {
	const int result = __real_fstatvfs(fd, disk);
	if (faults.full)
		disk->f_bavail = 0;
	return result;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *argument) {
	return faults.pthread_create != 0 ? faults.pthread_create
					  : __real_pthread_create(thread, attr, run, argument);
}

/* ---- Fixture ---- */

static inline void setup_interval(struct fixture *f, unsigned interval) {
	memset(&faults, 0, sizeof(faults));
	setup_with(f, (struct pn_db_options){.interval = interval});
}

/* The same, with an event loop: LMDB's transaction stays open. */
static inline void setup_open(struct fixture *f, unsigned interval) {
	setup_interval(f, interval);
	pn_db_keep_open(f->db);
}

static inline void repair(void) {
	const unsigned syncs = faults.syncs;
	memset(&faults, 0, sizeof(faults));
	faults.syncs = syncs;
}

static inline void write_one(struct fixture *f, const char *value) {
	CHECK(put(f, JULIET, "key", value) == PN_OK);
	commit(f);
}

static inline bool is_durable(struct fixture *f) {
	return pn_db_durable(f->db) == pn_db_committed(f->db);
}

/* Calls pn_db_sync(). */
static inline int sync_at(struct fixture *f, uint64_t now, int *wait) {
	*wait = -2;
	const int err = pn_db_sync(f->db, now, wait);
	CHECK(*wait >= -1);
	return err;
}

/* Whether the event tells of something within `ms`; takes it back. */
static inline bool event(struct fixture *f, int ms) {
	struct pollfd fd = {.fd = pn_db_event_fd(f->db), .events = POLLIN};
	const bool readable = poll(&fd, 1, ms) == 1;
	pn_db_event_clear(f->db);
	CHECK(poll(&fd, 1, 0) == 0);
	return readable;
}

#endif
