#include "faults.h"

struct faults faults;
unsigned char fault_ways[FAULT_CALLS];

void faults_begin(size_t at, int way) {
	faults = (struct faults){.at = at, .way = way};
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

/* Counts a call. Returns 0, or the error with which it is to fail. */
static int fault(const char *name, const int ways[FAULT_WAYS]) {
	faults.calls++;
	note_ways(ways);
	if (faults.calls != faults.at || ways[faults.way] == 0)
		return 0;
	faults.name = name;
	return faults.failed = ways[faults.way];
}

static const int WRITING[FAULT_WAYS] = {ENOMEM, MDB_MAP_FULL, MDB_CORRUPTED, ENOSPC, EIO};
static const int READING[FAULT_WAYS] = {ENOMEM, MDB_CORRUPTED};
static const int BEGINNING[FAULT_WAYS] = {ENOMEM, MDB_READERS_FULL, MDB_MAP_RESIZED, EIO, EAGAIN};
static const int COMMITTING[FAULT_WAYS] = {ENOMEM, MDB_MAP_FULL, ENOSPC, EIO};
static const int OPENING[FAULT_WAYS] = {ENOMEM, MDB_INVALID, MDB_VERSION_MISMATCH, EACCES, EROFS};
static const int ASKING[FAULT_WAYS] = {EINVAL};
static const int CHECKING[FAULT_WAYS] = {ENOMEM, EIO};

/* Defines the function that stands before `name`. */
#define WRAP(name, ways, parameters, arguments)                                                    \
	int __real_##name parameters;                                                              \
	int __wrap_##name parameters;                                                              \
	int __wrap_##name parameters {                                                             \
		const int err = fault(#name, ways);                                                \
		return err != 0 ? err : __real_##name arguments;                                   \
	}

WRAP(mdb_put, WRITING, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags),
     (txn, dbi, key, data, flags))
WRAP(mdb_del, WRITING, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data),
     (txn, dbi, key, data))
WRAP(mdb_cursor_del, WRITING, (MDB_cursor * cursor, unsigned flags), (cursor, flags))
WRAP(mdb_get, READING, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data),
     (txn, dbi, key, data))
WRAP(mdb_cursor_get, READING, (MDB_cursor * cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op),
     (cursor, key, data, op))
WRAP(mdb_cursor_open, CHECKING, (MDB_txn * txn, MDB_dbi dbi, MDB_cursor **cursor),
     (txn, dbi, cursor))
WRAP(mdb_txn_begin, BEGINNING, (MDB_env * env, MDB_txn *parent, unsigned flags, MDB_txn **txn),
     (env, parent, flags, txn))
WRAP(mdb_txn_renew, BEGINNING, (MDB_txn * txn), (txn))
WRAP(mdb_env_create, CHECKING, (MDB_env * *env), (env))
WRAP(mdb_env_open, OPENING, (MDB_env * env, const char *path, unsigned flags, mdb_mode_t mode),
     (env, path, flags, mode))
WRAP(mdb_env_sync, CHECKING, (MDB_env * env, int force), (env, force))
WRAP(mdb_env_set_mapsize, ASKING, (MDB_env * env, size_t size), (env, size))
WRAP(mdb_env_info, ASKING, (MDB_env * env, MDB_envinfo *info), (env, info))
WRAP(mdb_env_get_fd, ASKING, (MDB_env * env, mdb_filehandle_t *fd), (env, fd))
WRAP(mdb_dbi_open, CHECKING, (MDB_txn * txn, const char *name, unsigned flags, MDB_dbi *dbi),
     (txn, name, flags, dbi))
WRAP(mdb_stat, ASKING, (MDB_txn * txn, MDB_dbi dbi, MDB_stat *stat), (txn, dbi, stat))
WRAP(mdb_reader_check, CHECKING, (MDB_env * env, int *dead), (env, dead))

/* One that has failed has ended its transaction as well. */
int __real_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn) {
	const int err = fault("mdb_txn_commit", COMMITTING);
	if (err == 0)
		return __real_mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return err;
}

/* What the disk does is not tried here, and waiting for it takes long. */
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);

int __wrap_fdatasync(int fd) {
	(void)fd;
	return 0;
}

int __wrap_fsync(int fd) {
	(void)fd;
	return 0;
}
