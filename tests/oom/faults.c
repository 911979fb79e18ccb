#include <unistd.h>

#include <zstd.h>

#include "faults.h"

struct faults faults;
unsigned char fault_ways[FAULT_CALLS];

void faults_begin(struct faults plan) {
	faults = plan;
}

struct faults faults_end(void) {
	const struct faults seen = faults;
	faults = (struct faults){.calls = FAULT_CALLS};
	return seen;
}

static void note_ways(const int ways[FAULT_WAYS]) {
	unsigned char count = 0;
	while (count < FAULT_WAYS && ways[count] != 0)
		count++;
	if (faults.at == 0 && faults.calls < FAULT_CALLS)
		fault_ways[faults.calls] = count;
}

/* Whether the call that was counted last is to fail. */
static bool is_due(const int ways[FAULT_WAYS]) {
	const bool now = faults.lasting ? faults.calls >= faults.at : faults.calls == faults.at;
	return faults.at > 0 && now && ways[faults.way] != 0;
}

/*
 * Counts a call in a transaction, or in none (NULL). Returns 0, or the error with which it is to
 * fail.
 */
static int fault(const char *name, const int ways[FAULT_WAYS], const MDB_txn *txn) {
	if (txn != NULL && txn == faults.spoilt)
		return MDB_BAD_TXN;
	faults.calls++;
	note_ways(ways);
	if (!is_due(ways))
		return 0;
	if (faults.spoils)
		faults.spoilt = txn;
	faults.name = name;
	return faults.failed = ways[faults.way];
}

/* LMDB may use the memory of a transaction that has ended for the next one. */
static void ended(const MDB_txn *txn) {
	if (txn == faults.spoilt)
		faults.spoilt = NULL;
}

static const int WRITING[FAULT_WAYS] = {ENOMEM, MDB_MAP_FULL, MDB_CORRUPTED, ENOSPC, EIO};
static const int READING[FAULT_WAYS] = {ENOMEM, MDB_CORRUPTED};
static const int BEGINNING[FAULT_WAYS] = {ENOMEM, MDB_READERS_FULL, MDB_MAP_RESIZED, EIO, EAGAIN};
static const int COMMITTING[FAULT_WAYS] = {ENOMEM, MDB_MAP_FULL, ENOSPC, EIO};
static const int OPENING[FAULT_WAYS] = {ENOMEM, MDB_INVALID, MDB_VERSION_MISMATCH, EACCES, EROFS};
static const int ASKING[FAULT_WAYS] = {EINVAL};
static const int CHECKING[FAULT_WAYS] = {ENOMEM, EIO};

/* Defines the function that stands before `name`. */
#define WRAP(name, ways, txn, parameters, arguments)                                               \
	int __real_##name parameters;                                                              \
	int __wrap_##name parameters;                                                              \
	int __wrap_##name parameters {                                                             \
		const int err = fault(#name, ways, txn);                                           \
		return err != 0 ? err : __real_##name arguments;                                   \
	}

WRAP(mdb_put, WRITING, txn,
     (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags),
     (txn, dbi, key, data, flags))
WRAP(mdb_del, WRITING, txn, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data),
     (txn, dbi, key, data))
WRAP(mdb_cursor_del, WRITING, mdb_cursor_txn(cursor), (MDB_cursor * cursor, unsigned flags),
     (cursor, flags))
WRAP(mdb_get, READING, txn, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data),
     (txn, dbi, key, data))
WRAP(mdb_cursor_get, READING, mdb_cursor_txn(cursor),
     (MDB_cursor * cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op), (cursor, key, data, op))
WRAP(mdb_cursor_open, CHECKING, txn, (MDB_txn * txn, MDB_dbi dbi, MDB_cursor **cursor),
     (txn, dbi, cursor))
WRAP(mdb_txn_begin, BEGINNING, NULL,
     (MDB_env * env, MDB_txn *parent, unsigned flags, MDB_txn **txn), (env, parent, flags, txn))
WRAP(mdb_txn_renew, BEGINNING, NULL, (MDB_txn * txn), (txn))
WRAP(mdb_env_create, CHECKING, NULL, (MDB_env * *env), (env))
WRAP(mdb_env_open, OPENING, NULL,
     (MDB_env * env, const char *path, unsigned flags, mdb_mode_t mode), (env, path, flags, mode))
WRAP(mdb_env_sync, CHECKING, NULL, (MDB_env * env, int force), (env, force))
WRAP(mdb_env_set_mapsize, ASKING, NULL, (MDB_env * env, size_t size), (env, size))
WRAP(mdb_env_info, ASKING, NULL, (MDB_env * env, MDB_envinfo *info), (env, info))
WRAP(mdb_env_get_fd, ASKING, NULL, (MDB_env * env, mdb_filehandle_t *fd), (env, fd))
WRAP(mdb_dbi_open, CHECKING, txn, (MDB_txn * txn, const char *name, unsigned flags, MDB_dbi *dbi),
     (txn, name, flags, dbi))
WRAP(mdb_stat, ASKING, txn, (MDB_txn * txn, MDB_dbi dbi, MDB_stat *stat), (txn, dbi, stat))
WRAP(mdb_reader_check, CHECKING, NULL, (MDB_env * env, int *dead), (env, dead))

static const int CREATING[FAULT_WAYS] = {ENOMEM};

/* Contexts of zstd, which are created when they are first needed. */
#define WRAP_CREATE(type, name)                                                                    \
	type *__real_##name(void);                                                                 \
	type *__wrap_##name(void);                                                                 \
	type *__wrap_##name(void) {                                                                \
		return fault(#name, CREATING, NULL) != 0 ? NULL : __real_##name();                 \
	}

WRAP_CREATE(ZSTD_CCtx, ZSTD_createCCtx)
WRAP_CREATE(ZSTD_DCtx, ZSTD_createDCtx)

void __real_mdb_txn_abort(MDB_txn *txn);
void __wrap_mdb_txn_abort(MDB_txn *txn);
void __real_mdb_txn_reset(MDB_txn *txn);
void __wrap_mdb_txn_reset(MDB_txn *txn);
int __real_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn);

void __wrap_mdb_txn_abort(MDB_txn *txn) {
	ended(txn);
	__real_mdb_txn_abort(txn);
}

void __wrap_mdb_txn_reset(MDB_txn *txn) {
	ended(txn);
	__real_mdb_txn_reset(txn);
}

/* One that has failed has ended its transaction as well. */
int __wrap_mdb_txn_commit(MDB_txn *txn) {
	const int err = fault("mdb_txn_commit", COMMITTING, txn);
	ended(txn);
	if (err == 0)
		return __real_mdb_txn_commit(txn);
	__real_mdb_txn_abort(txn);
	return err;
}

/*
 * What the disk does is not tried here, and waiting for it takes long. These stand in the place of
 * libc's, also for LMDB.
 */
#define EXPORTED __attribute__((visibility("default")))

EXPORTED int fdatasync(int fd) {
	(void)fd;
	return 0;
}

EXPORTED int fsync(int fd) {
	(void)fd;
	return 0;
}
