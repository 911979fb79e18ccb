/* Replacing the data file by another one, which has an epoch of its own. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <pn/err.h>

#include "db.h"
#include "durable.h"

/* Without "durable" the present file is intact, because it is synced before. */
static int prepare(int directory) {
	const int fd = openat(directory, "data.mdb", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		const int synced = fsync(fd);
		close(fd);
		if (synced != 0)
			return pn_db_error(errno);
	}
	const int err = pn_durable_drop(directory);
	if (err != PN_OK)
		return err;
	return fsync(directory) == 0 ? PN_OK : pn_db_error(errno);
}

int pn_replace_move(int directory, const char *file) {
	if (renameat(AT_FDCWD, file, directory, "data.mdb") != 0 || fsync(directory) != 0)
		return pn_db_error(errno);
	return PN_OK;
}

/* ---- A file that a copy has written some time ago ---- */

static int write_in(MDB_env *env, pn_file_write *write, const void *context) {
	MDB_txn *txn;
	MDB_dbi dbi;
	int err = pn_db_error(mdb_txn_begin(env, NULL, 0, &txn));
	if (err != PN_OK)
		return err;
	err = pn_db_error(mdb_dbi_open(txn, NULL, 0, &dbi));
	if (err == PN_OK)
		err = write(txn, dbi, context);
	if (err == PN_OK)
		return pn_db_error(mdb_txn_commit(txn));
	mdb_txn_abort(txn);
	return err;
}

int pn_replace_write(const char *file, pn_file_write *write, const void *context) {
	const unsigned flags = MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC | MDB_NOTLS;
	MDB_env *env;
	const int rc = mdb_env_create(&env);
	if (rc != MDB_SUCCESS)
		return pn_db_error(rc);
	int err = pn_db_error(mdb_env_open(env, file, flags, FILE_MODE));
	if (err == PN_OK)
		err = write_in(env, write, context);
	if (err == PN_OK)
		err = pn_db_error(mdb_env_sync(env, 1));
	mdb_env_close(env);
	return err;
}

static int put_epoch(MDB_txn *txn, MDB_dbi dbi, const void *context) {
	(void)context;
	return pn_position_put_new(txn, dbi, 0);
}

/* Durably. The file may have been in use before, and a log of that time may still be there. LMDB
 * would create a missing file. */
static int begin_epoch(const char *file) {
	if (access(file, R_OK | W_OK) != 0)
		return pn_db_error(errno);
	return pn_replace_write(file, put_epoch, NULL);
}

/* The old log goes last: it belongs to the old file, and the new one never continues it. */
static int replace(int directory, const char *file) {
	int err = begin_epoch(file);
	if (err == PN_OK)
		err = prepare(directory);
	if (err == PN_OK)
		err = pn_replace_move(directory, file);
	return err == PN_OK ? pn_log_remove(directory) : err;
}

int pn_db_replace(const char *path, const char *file) {
	const int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return pn_db_error(errno);
	const int locks = openat(directory, "lock", O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
	int err = locks < 0 ? pn_db_error(errno) : pn_lock_take(locks, PN_LOCK_PRESENT, false, 0);
	if (err == PN_OK)
		err = replace(directory, file);
	if (locks >= 0)
		close(locks);
	close(directory);
	return err;
}
