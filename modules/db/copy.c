/* Copying a database, and replacing it by a copy. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "ahead.h"
#include "verify.h"

enum {
	/* A step takes some 10 ms: short enough for progress to be shown, long enough for the
	 * commit at its end not to matter. LMDB keeps its bytes in memory until then. */
	STEP_RECORDS = 2000,
	STEP_BYTES = 4 * 1024 * 1024,
};

/* `from` and `cursor` read one state of the database; `to` and `txn` write the copy. */
struct pn_copy {
	struct pn_txn from;
	MDB_cursor *cursor;
	MDB_val key; /* of the last record */
	struct pn_ahead *ahead;
	MDB_env *to;
	MDB_txn *txn;
	MDB_dbi source;
	MDB_dbi target;
	const struct pn_copy_change *change; /* NULL: none */
	struct pn_progress progress;
	bool complete;
	char *file;
};

static struct pn_str key_str(const struct pn_copy *copy) {
	return (struct pn_str){copy->key.mv_data, copy->key.mv_size};
}

static int open_source(struct pn_copy *copy) {
	struct pn_txn *const from = &copy->from;
	copy->source = from->db->dbi;
	copy->progress.total = pn_txn_entries(from);
	if (from->err == PN_OK)
		pn_txn_fail(from,
			    pn_db_error(mdb_cursor_open(from->mdb, copy->source, &copy->cursor)));
	pn_txn_fail(from, pn_ahead_new(&copy->ahead, from->db->data, from->mdb));
	return from->err;
}

static int open_target(struct pn_copy *copy) {
	const unsigned flags = MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC | MDB_NOTLS;
	int rc = mdb_env_create(&copy->to);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_set_mapsize(copy->to, (size_t)copy->from.db->map_bytes);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_open(copy->to, copy->file, flags, FILE_MODE);
	if (rc == MDB_SUCCESS)
		rc = mdb_txn_begin(copy->to, NULL, 0, &copy->txn);
	if (rc == MDB_SUCCESS)
		rc = mdb_dbi_open(copy->txn, NULL, 0, &copy->target);
	return pn_db_error(rc);
}

/* Creates the file here and not by LMDB, which would open an existing one. */
static int create_file(struct pn_copy *copy, const char *file) {
	copy->file = pn_malloc(strlen(file) + 1);
	if (copy->file == NULL)
		return PN_ENOMEM;
	memcpy(copy->file, file, strlen(file) + 1);
	const int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
	if (fd < 0)
		return errno == EEXIST ? PN_EBUSY : pn_db_error(errno);
	close(fd);
	copy->complete = false;
	return PN_OK;
}

int pn_copy_new(struct pn_copy **out, struct pn_db *db, const char *file,
		const struct pn_copy_change *change) {
	struct pn_copy *copy = pn_malloc(sizeof(*copy));
	if (copy == NULL)
		return PN_ENOMEM;
	*copy = (struct pn_copy){
		.change = change,
		.complete = true, /* until the file exists, and is ours to remove */
	};
	int err = pn_txn_snapshot(db, &copy->from);
	if (err == PN_OK)
		err = create_file(copy, file);
	if (err == PN_OK)
		err = open_source(copy);
	if (err == PN_OK)
		err = open_target(copy);
	if (err != PN_OK) {
		pn_copy_free(copy);
		return err;
	}
	*out = copy;
	return PN_OK;
}

/* The copy has an epoch of its own: the log of the original must never continue it. */
static int finish(struct pn_copy *copy) {
	const int err = pn_position_put_new(copy->txn, copy->target);
	if (err != PN_OK)
		return err;
	int rc = mdb_txn_commit(copy->txn);
	copy->txn = NULL;
	if (rc == MDB_SUCCESS)
		rc = mdb_env_sync(copy->to, 1);
	copy->complete = rc == MDB_SUCCESS;
	return pn_db_error(rc);
}

/* Commits the copied records: LMDB keeps them in memory until then. */
static int flush(struct pn_copy *copy) {
	int rc = mdb_txn_commit(copy->txn);
	copy->txn = NULL;
	if (rc == MDB_SUCCESS)
		rc = mdb_txn_begin(copy->to, NULL, 0, &copy->txn);
	return rc == MDB_SUCCESS ? 1 : pn_db_error(rc);
}

/* Sets *value to the one that the copy gets. */
static int change_value(const struct pn_copy *copy, const MDB_val *key, MDB_val *value) {
	struct pn_str changed = {value->mv_data, value->mv_size};
	const struct pn_str name = {key->mv_data, key->mv_size};
	if (copy->change == NULL)
		return PN_OK;
	const int err = copy->change->change(copy->change->context, name, &changed);
	*value = (MDB_val){changed.len, (void *)changed.bytes};
	return err;
}

/* Copies the next record. Returns 1, 0 if there is none, or an error. */
static int copy_record(struct pn_copy *copy, size_t *bytes) {
	MDB_val *const key = &copy->key;
	MDB_val value;
	const int err = pn_verify_touch(copy->from.db, key_str(copy), false);
	if (err != PN_OK)
		return err;
	int rc = mdb_cursor_get(copy->cursor, key, &value, MDB_NEXT);
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc == MDB_SUCCESS) {
		const int failed = change_value(copy, key, &value);
		if (failed != PN_OK)
			return failed;
		rc = mdb_put(copy->txn, copy->target, key, &value, MDB_APPEND);
	}
	if (rc != MDB_SUCCESS)
		return pn_db_error(rc);
	pn_ahead_move(copy->ahead, key_str(copy));
	*bytes += key->mv_size + value.mv_size;
	copy->progress.done++;
	return 1;
}

int pn_copy_step(struct pn_copy *copy, struct pn_progress *progress) {
	size_t bytes = 0;
	int more = 1;
	if (copy->txn == NULL)
		return copy->complete ? 0 : PN_EIO;
	for (int i = 0; i < STEP_RECORDS && bytes < STEP_BYTES && more == 1; i++)
		more = copy_record(copy, &bytes);
	*progress = copy->progress;
	return more == 1 ? flush(copy) : more == 0 ? finish(copy) : more;
}

void pn_copy_free(struct pn_copy *copy) {
	if (copy == NULL)
		return;
	if (copy->cursor != NULL)
		mdb_cursor_close(copy->cursor);
	mdb_txn_abort(copy->txn);
	if (copy->to != NULL)
		mdb_env_close(copy->to);
	pn_ahead_free(copy->ahead);
	if (!copy->complete)
		(void)unlink(copy->file);
	pn_txn_close(&copy->from);
	pn_free(copy->file);
	pn_free(copy);
}

/* ---- Replacing ---- */

/*
 * Removes "durable" first: it describes the old data file. That file is intact without it, because
 * it is synced here.
 */
static int move_file(int directory, const char *file) {
	const int fd = openat(directory, "data.mdb", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		const int synced = fsync(fd);
		close(fd);
		if (synced != 0)
			return pn_db_error(errno);
	}
	if (unlinkat(directory, "durable", 0) != 0 && errno != ENOENT)
		return pn_db_error(errno);
	if (fsync(directory) != 0 || renameat(AT_FDCWD, file, directory, "data.mdb") != 0 ||
	    fsync(directory) != 0)
		return pn_db_error(errno);
	return pn_log_remove(directory);
}

int pn_db_replace(const char *path, const char *file) {
	const int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return pn_db_error(errno);
	const int locks = openat(directory, "lock", O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
	int err = locks < 0 ? pn_db_error(errno) : pn_lock_take(locks, PN_LOCK_PRESENT, false, 0);
	if (err == PN_OK)
		err = move_file(directory, file);
	if (locks >= 0)
		close(locks);
	close(directory);
	return err;
}
