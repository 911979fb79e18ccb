/* Copying a database, in steps. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "ahead.h"
#include "copy.h"
#include "durable.h"
#include "verify.h"

enum {
	/* A step takes some 10 ms: short enough for progress to be shown, long enough for the
	 * commit at its end not to matter. LMDB keeps its bytes in memory until then. */
	STEP_RECORDS = 2000,
	STEP_BYTES = 4 * 1024 * 1024,
	/* Bytes after which the file is synced: a sync of the log, with which a server waits, may
	 * have to wait for whatever else the file system has to write. */
	SYNC_BYTES = 16 * 1024 * 1024,
	ENOUGH = 1, /* a step has done its work */
};

/* ---- Transactions of the copy ---- */

static int explain(const struct pn_copy *copy, int rc) {
	int fd;
	if (rc == EIO && mdb_env_get_fd(copy->to, &fd) == MDB_SUCCESS)
		return pn_room_explain_io(fd);
	return rc == MDB_MAP_FULL ? PN_ENOMEM : pn_db_error(rc);
}

static int begin(struct pn_copy *copy) {
	return explain(copy, mdb_txn_begin(copy->to, NULL, 0, &copy->txn));
}

/* Ends the transaction: commits it unless there is an error. Returns the error. */
static int end(struct pn_copy *copy, int err) {
	MDB_txn *const txn = copy->txn;
	copy->txn = NULL;
	if (err == PN_OK)
		return explain(copy, mdb_txn_commit(txn));
	mdb_txn_abort(txn);
	return err;
}

int pn_copy_sync(struct pn_copy *copy) {
	const int err = explain(copy, mdb_env_sync(copy->to, 1));
	if (err == PN_OK)
		copy->unsynced = 0;
	return err;
}

static int sync_many(struct pn_copy *copy) {
	return copy->unsynced >= SYNC_BYTES ? pn_copy_sync(copy) : PN_OK;
}

/* ---- The records of the state ---- */

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

static int copy_record(struct pn_copy *copy, MDB_val *key, MDB_val *value) {
	const int err = change_value(copy, key, value);
	if (err != PN_OK)
		return err;
	return explain(copy, mdb_put(copy->txn, copy->target, key, value, MDB_APPEND));
}

static struct pn_str last_key(const struct pn_copy *copy) {
	return (struct pn_str){(const char *)copy->last.bytes, copy->last.len};
}

static void note_record(struct pn_copy *copy, const MDB_val *key, const MDB_val *value) {
	copy->unsynced += key->mv_size + value->mv_size;
	copy->progress.done++;
	copy->last.len = key->mv_size;
	memcpy(copy->last.bytes, key->mv_data, key->mv_size);
	pn_ahead_move(copy->ahead, last_key(copy));
}

/* Copies some records within a transaction. Returns 1 while any are left, then 0. */
static int copy_some(struct pn_copy *copy) {
	MDB_val key, value;
	size_t bytes = 0;
	for (int i = 0; i < STEP_RECORDS && bytes < STEP_BYTES; i++) {
		int err = pn_verify_touch(copy->from.db, last_key(copy), false);
		if (err != PN_OK)
			return err;
		const int rc = mdb_cursor_get(copy->cursor, &key, &value, MDB_NEXT);
		if (rc == MDB_NOTFOUND)
			return copy->progress.done == copy->progress.total ? 0 : PN_ECORRUPT;
		err = rc == MDB_SUCCESS ? copy_record(copy, &key, &value) : pn_db_error(rc);
		if (err != PN_OK)
			return err;
		bytes += key.mv_size + value.mv_size;
		note_record(copy, &key, &value);
	}
	return 1;
}

int pn_copy_records(struct pn_copy *copy) {
	int err = begin(copy);
	if (err != PN_OK)
		return err;
	const int more = copy_some(copy);
	err = end(copy, more < 0 ? more : PN_OK);
	if (err == PN_OK)
		err = sync_many(copy);
	return err != PN_OK ? err : more;
}

/* ---- Turns of the log after it ---- */

struct turns {
	struct pn_copy *copy;
	uint64_t last;
	size_t count;
	size_t bytes;
};

static int apply_turn(void *context, uint64_t number, const void *payload, size_t len) {
	struct turns *const turns = context;
	struct pn_copy *const copy = turns->copy;
	if (number > turns->last || turns->count >= STEP_RECORDS || turns->bytes >= STEP_BYTES)
		return ENOUGH;
	const int err = pn_redo_apply_to(payload, len, copy->txn, copy->target);
	if (err != PN_OK)
		return err;
	turns->count++;
	turns->bytes += len;
	copy->number = number;
	copy->unsynced += len;
	return PN_OK;
}

/* Turns behind the last one may be written meanwhile: what is read of them does not matter. */
static int apply_some(struct turns *turns, int directory, const struct pn_log_id *id) {
	uint64_t read;
	const int err = pn_log_read(directory, id, turns->copy->number, apply_turn, turns, &read);
	if (turns->copy->number == turns->last || err == ENOUGH)
		return PN_OK;
	const bool missing = err == PN_OK || err == PN_EFOREIGN || err == PN_ECORRUPT;
	return missing ? PN_ELOG : err;
}

int pn_copy_turns(struct pn_copy *copy, int directory, const unsigned char store[PN_LOG_STORE],
		  uint64_t last) {
	struct turns turns = {.copy = copy, .last = last};
	struct pn_log_id id = {.epoch = copy->epoch};
	memcpy(id.store, store, PN_LOG_STORE);
	int err = begin(copy);
	if (err != PN_OK)
		return err;
	err = end(copy, apply_some(&turns, directory, &id));
	if (err == PN_OK)
		err = sync_many(copy);
	return err != PN_OK ? err : copy->number < last;
}

/* ---- Beginning and ending ---- */

static int open_source(struct pn_copy *copy) {
	struct pn_txn *const from = &copy->from;
	const MDB_dbi source = from->db->dbi;
	copy->progress.total = pn_txn_entries(from);
	if (from->err == PN_OK)
		pn_txn_fail(from, pn_position_get(from->mdb, source, &copy->epoch, &copy->number));
	if (from->err == PN_OK)
		pn_txn_fail(from, pn_db_error(mdb_cursor_open(from->mdb, source, &copy->cursor)));
	pn_txn_fail(from, pn_ahead_new(&copy->ahead, from->db->data, from->mdb));
	return from->err;
}

/* The address space may be limited: room for all records, and for as many and more that are written
 * meanwhile. */
static size_t map_size(const struct pn_copy *copy, const MDB_stat *stat) {
	const size_t more = 1 << 30;
	const size_t most = (size_t)copy->from.db->map_bytes;
	const size_t pages = stat->ms_branch_pages + stat->ms_leaf_pages + stat->ms_overflow_pages;
	const size_t size = 2 * pages * stat->ms_psize + more;
	return size < most ? size : most;
}

static int open_target(struct pn_copy *copy) {
	const unsigned flags = MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC | MDB_NOTLS;
	MDB_stat stat;
	int rc = mdb_stat(copy->from.mdb, copy->from.db->dbi, &stat);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_create(&copy->to);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_set_mapsize(copy->to, map_size(copy, &stat));
	if (rc == MDB_SUCCESS)
		rc = mdb_env_open(copy->to, copy->file, flags, FILE_MODE);
	if (rc != MDB_SUCCESS)
		return pn_db_error(rc);
	const int err = begin(copy);
	return err == PN_OK
		       ? end(copy, explain(copy, mdb_dbi_open(copy->txn, NULL, 0, &copy->target)))
		       : err;
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
	copy->owned = true;
	return PN_OK;
}

int pn_copy_new(struct pn_copy **out, struct pn_db *db, const char *file,
		const struct pn_copy_change *change) {
	struct pn_copy *copy = pn_malloc(sizeof(*copy));
	if (copy == NULL)
		return PN_ENOMEM;
	*copy = (struct pn_copy){.change = change, .unsynced = 1 /* the file itself */};
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

static void close_target(struct pn_copy *copy) {
	if (copy->to != NULL)
		mdb_env_close(copy->to);
	copy->to = NULL;
}

int pn_copy_stamp(struct pn_copy *copy) {
	int fd;
	const int err = pn_db_error(mdb_env_get_fd(copy->to, &fd));
	return err == PN_OK ? pn_durable_stamp(fd) : err;
}

int pn_copy_finish(struct pn_copy *copy, uint64_t number) {
	int err = begin(copy);
	if (err == PN_OK)
		err = end(copy, pn_position_put_new(copy->txn, copy->target, number));
	if (err == PN_OK)
		err = pn_copy_sync(copy);
	copy->complete = err == PN_OK;
	close_target(copy);
	return err;
}

/* The copy has an epoch of its own: the log of the original must never continue it. */
int pn_copy_step(struct pn_copy *copy, struct pn_progress *progress) {
	if (copy->to == NULL)
		return copy->complete ? 0 : PN_EIO;
	int more = pn_copy_records(copy);
	*progress = copy->progress;
	if (more == 0)
		more = pn_copy_finish(copy, 0);
	if (more < 0)
		close_target(copy);
	return more;
}

/* A key holds letters, numbers and names: bytes that are not printable are \xNN. */
static void print_key(const struct pn_key *key, char *text, size_t size) {
	size_t at = 0;
	for (size_t i = 0; i < key->len && at + sizeof("\\xNN") <= size; i++) {
		const unsigned char byte = key->bytes[i];
		const bool plain = byte > ' ' && byte < 127 && byte != '\\';
		at += (size_t)snprintf(text + at, size - at, plain ? "%c" : "\\x%02x", byte);
	}
	text[at] = '\0';
}

void pn_copy_place(const struct pn_copy *copy, char text[PN_COPY_PLACE]) {
	char key[PN_COPY_PLACE / 2] = "";
	print_key(&copy->last, key, sizeof(key));
	snprintf(text, PN_COPY_PLACE,
		 "after %" PRIu64 " of %" PRIu64 " records, the last one is %s",
		 copy->progress.done, copy->progress.total, copy->last.len > 0 ? key : "none");
}

void pn_copy_release(struct pn_copy *copy) {
	if (copy->cursor != NULL)
		mdb_cursor_close(copy->cursor);
	copy->cursor = NULL;
	pn_ahead_free(copy->ahead);
	copy->ahead = NULL;
	if (copy->from.db != NULL)
		pn_txn_close(&copy->from);
	copy->from.db = NULL;
}

void pn_copy_free(struct pn_copy *copy) {
	if (copy == NULL)
		return;
	close_target(copy);
	if (copy->owned && !copy->complete)
		(void)unlink(copy->file);
	pn_copy_release(copy);
	pn_free(copy->file);
	pn_free(copy);
}
