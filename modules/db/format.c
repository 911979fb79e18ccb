/* The format record, and the creation of a data file that has only this record. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "checkpoint.h"
#include "db.h"
#include "durable.h"

enum {
	FORMAT_VERSION = 2,
	FORMAT_WITHOUT_LOG = 1, /* its turns are commits */
};

static const char MAGIC[] = "pn-store";
static const char NEW_FILE[] = "data.mdb.new";

/* ---- Format record: version u8 (of the value), format u32, magic, secret(16) ---- */

static int put_format(struct pn_buf *buf, const unsigned char secret[PN_SECRET]) {
	pn_wire_put_u8(buf, PN_VALUE_VERSION);
	pn_wire_put_u32(buf, FORMAT_VERSION);
	pn_buf_append(buf, MAGIC, sizeof(MAGIC));
	pn_buf_append(buf, secret, PN_SECRET);
	return buf->err;
}

/* ---- Opening ---- */

static int put_both(MDB_txn *txn, MDB_dbi dbi, const void *context) {
	const struct pn_buf *const format = context;
	const struct pn_key name = pn_format_key();
	MDB_val key = {.mv_size = name.len, .mv_data = (void *)name.bytes};
	MDB_val data = {.mv_size = format->len, .mv_data = format->data};
	const int err = pn_db_error(mdb_put(txn, dbi, &key, &data, 0));
	return err == PN_OK ? pn_position_put_new(txn, dbi, 0) : err;
}

/* Writes the records that make a database one of this format, durably. */
static int write_format(struct pn_db *db, const struct pn_buf *format) {
	MDB_txn *txn;
	int err = pn_lock_take_writer(db->locks, OPEN_WAIT);
	if (err != PN_OK)
		return err;
	err = pn_db_error(mdb_txn_begin(db->env, NULL, 0, &txn));
	if (err == PN_OK) {
		err = put_both(txn, db->dbi, format);
		if (err == PN_OK)
			err = pn_db_error(mdb_txn_commit(txn));
		else
			mdb_txn_abort(txn);
	}
	if (err == PN_OK)
		err = pn_checkpoint_now(db->checkpoint, 0);
	pn_lock_drop(db->locks, PN_LOCK_WRITER);
	return err;
}

/*
 * A process of the version before would write turns that are not in the log, so the format changes
 * while nobody else has the database open. An earlier version also created the database first:
 * killed then, it left an empty one.
 */
static int upgrade(struct pn_db *db, unsigned char secret[PN_SECRET], bool is_empty) {
	struct pn_buf format = {0};
	int err = pn_lock_take(db->locks, PN_LOCK_PRESENT, false, 0);
	if (err != PN_OK)
		return err == PN_EBUSY ? PN_EOUTDATED : err;
	if (is_empty)
		err = pn_crypt_random(secret, PN_SECRET);
	if (err == PN_OK)
		err = put_format(&format, secret);
	if (err == PN_OK)
		err = write_format(db, &format);
	pn_buf_free(&format);
	const int shared = pn_lock_take(db->locks, PN_LOCK_PRESENT, true, 0);
	return err == PN_OK ? shared : err;
}

/* Sets the secret. Returns the format's version, 0 for an empty database. */
static uint32_t read_format(struct pn_txn *txn, unsigned char secret[PN_SECRET]) {
	const struct pn_key key = pn_format_key();
	struct pn_wire value;
	if (!pn_get(txn, &key, &value)) {
		if (pn_txn_entries(txn) > 0)
			pn_txn_fail(txn, PN_EFOREIGN);
		return 0;
	}
	const uint32_t format = pn_wire_u32(&value);
	const char *magic = pn_wire_take(&value, sizeof(MAGIC));
	const char *bytes = pn_wire_take(&value, PN_SECRET);
	if (bytes == NULL || memcmp(magic, MAGIC, sizeof(MAGIC)) != 0)
		pn_txn_fail(txn, PN_EFOREIGN);
	else if (format != FORMAT_VERSION && format != FORMAT_WITHOUT_LOG)
		pn_txn_fail(txn, PN_EVERSION);
	else
		memcpy(secret, bytes, PN_SECRET);
	return format;
}

/* The store's identity in its log: nobody who sees that learns the secret. */
static int set_identity(struct pn_db *db, const unsigned char secret[PN_SECRET]) {
	const struct pn_str name = {(const char *)secret, PN_SECRET};
	return pn_db_digest(NULL, &name, 1, db->id.store);
}

int pn_format_open(struct pn_db *db) {
	unsigned char secret[PN_SECRET] = {0};
	struct pn_txn txn;
	uint32_t format = 0;
	if (pn_txn_read(db, &txn) == PN_OK)
		format = read_format(&txn, secret);
	int err = pn_txn_end(&txn, PN_OK);
	if (err == PN_ECORRUPT)
		return PN_EFOREIGN; /* a record of another program */
	if (err == PN_OK && format != FORMAT_VERSION)
		err = upgrade(db, secret, format == 0);
	if (err == PN_OK)
		err = set_identity(db, secret);
	return err == PN_OK ? pn_crypt_key(db->crypt, secret) : err;
}

/* ---- A new file ---- */

static int write_at(const char *directory, const struct pn_buf *value) {
	const size_t len = strlen(directory);
	char *const path = pn_malloc(len + 1 + sizeof(NEW_FILE));
	if (path == NULL)
		return PN_ENOMEM;
	memcpy(path, directory, len);
	path[len] = '/';
	memcpy(path + len + 1, NEW_FILE, sizeof(NEW_FILE));
	const int err = pn_replace_write(path, put_both, value); /* not yet its name */
	pn_free(path);
	return err;
}

/* Syncs the name of the directory, which may be new. Impossible if its parent is not readable. */
static int sync_parent(int directory) {
	const int above = openat(directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (above < 0)
		return errno == EACCES ? PN_OK : pn_db_error(errno);
	const int err = fsync(above) == 0 ? PN_OK : pn_db_error(errno);
	close(above);
	return err;
}

/*
 * Removes the file "durable" first: it would describe an earlier data file. The caller syncs the
 * directory again before anything is stored.
 */
static int put_in_place(int directory) {
	int err = pn_durable_drop(directory);
	if (err == PN_OK)
		err = sync_parent(directory);
	if (err != PN_OK)
		return err;
	if (fsync(directory) != 0 || renameat(directory, NEW_FILE, directory, "data.mdb") != 0)
		return pn_db_error(errno);
	return PN_OK;
}

/* Of an interrupted creation or compaction. */
static int remove_remains(int directory) {
	static const char *const names[] = {NEW_FILE, PN_COMPACT_FILE};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (unlinkat(directory, names[i], 0) != 0 && errno != ENOENT)
			return pn_db_error(errno);
	return PN_OK;
}

static int create(int directory, const char *path) {
	unsigned char secret[PN_SECRET];
	struct pn_buf value = {0};
	int err = pn_crypt_random(secret, PN_SECRET);
	if (err == PN_OK)
		err = put_format(&value, secret);
	if (err == PN_OK)
		err = write_at(path, &value);
	pn_buf_free(&value);
	if (err == PN_OK)
		err = put_in_place(directory);
	if (err != PN_OK)
		(void)remove_remains(directory);
	return err == PN_OK ? 1 : err;
}

int pn_format_create(int directory, const char *path) {
	struct stat file;
	const int err = remove_remains(directory);
	if (err != PN_OK)
		return err;
	if (fstatat(directory, "data.mdb", &file, 0) != 0)
		return errno == ENOENT ? create(directory, path) : pn_db_error(errno);
	return file.st_size == 0 ? create(directory, path) : PN_OK;
}
