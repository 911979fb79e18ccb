/* The format record, and the creation of a data file that has only this record. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "db.h"
#include "sync.h"

enum { FORMAT_VERSION = 1 };

static const char MAGIC[] = "pn-store";
static const char NEW_FILE[] = "data.mdb.new";

/* ---- Format record: version u8 (of the value), format u32, magic, secret(16) ---- */

static int put_format(struct pn_buf *buf, unsigned char secret[PN_SECRET]) {
	const int err = pn_crypt_random(secret, PN_SECRET);
	if (err != PN_OK)
		return err;
	pn_wire_put_u8(buf, PN_VALUE_VERSION);
	pn_wire_put_u32(buf, FORMAT_VERSION);
	pn_buf_append(buf, MAGIC, sizeof(MAGIC));
	pn_buf_append(buf, secret, PN_SECRET);
	return buf->err;
}

/* For an empty database: earlier versions created it first, and left it so if they were killed. */
static int write_format(struct pn_db *db, unsigned char secret[PN_SECRET]) {
	const struct pn_key key = pn_format_key();
	struct pn_txn txn;
	struct pn_buf buf = {0};
	const int err = put_format(&buf, secret);
	if (err != PN_OK) {
		pn_buf_free(&buf);
		return err;
	}
	pn_txn_write(db, &txn, (struct pn_claim){.puts = 1, .bytes = buf.len});
	pn_put(&txn, &key, &buf);
	const int written = pn_txn_end(&txn, PN_OK);
	return written == PN_OK ? pn_db_commit(db) : written;
}

/* Sets the secret and returns true; or returns false for an empty database. */
static bool read_format(struct pn_txn *txn, unsigned char secret[PN_SECRET]) {
	const struct pn_key key = pn_format_key();
	struct pn_wire value;
	if (!pn_get(txn, &key, &value)) {
		if (pn_txn_entries(txn) > 0)
			pn_txn_fail(txn, PN_EFOREIGN);
		return false;
	}
	const uint32_t format = pn_wire_u32(&value);
	const char *magic = pn_wire_take(&value, sizeof(MAGIC));
	const char *bytes = pn_wire_take(&value, PN_SECRET);
	if (bytes == NULL || memcmp(magic, MAGIC, sizeof(MAGIC)) != 0)
		pn_txn_fail(txn, PN_EFOREIGN);
	else if (format != FORMAT_VERSION)
		pn_txn_fail(txn, PN_EVERSION);
	else
		memcpy(secret, bytes, PN_SECRET);
	return true;
}

int pn_format_open(struct pn_db *db) {
	unsigned char secret[PN_SECRET] = {0};
	struct pn_txn txn;
	bool found = false;
	if (pn_txn_read(db, &txn) == PN_OK)
		found = read_format(&txn, secret);
	int err = pn_txn_end(&txn, PN_OK);
	if (err == PN_ECORRUPT)
		return PN_EFOREIGN; /* the record is of another program */
	if (err == PN_OK && !found)
		err = write_format(db, secret);
	return err == PN_OK ? pn_crypt_key(db->crypt, secret) : err;
}

/* ---- A new file ---- */

static int write_record(MDB_env *env, const struct pn_buf *value) {
	const struct pn_key format = pn_format_key();
	MDB_val key = {.mv_size = format.len, .mv_data = (void *)format.bytes};
	MDB_val data = {.mv_size = value->len, .mv_data = value->data};
	MDB_txn *txn;
	MDB_dbi dbi;
	int rc = mdb_txn_begin(env, NULL, 0, &txn);
	if (rc != MDB_SUCCESS)
		return rc;
	rc = mdb_dbi_open(txn, NULL, 0, &dbi);
	if (rc == MDB_SUCCESS)
		rc = mdb_put(txn, dbi, &key, &data, 0);
	if (rc == MDB_SUCCESS)
		return mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return rc;
}

/* Writes and syncs the file, but not its name. */
static int write_file(const char *path, const struct pn_buf *value) {
	const unsigned flags = MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC | MDB_NOTLS;
	MDB_env *env;
	int rc = mdb_env_create(&env);
	if (rc != MDB_SUCCESS)
		return pn_db_error(rc);
	rc = mdb_env_open(env, path, flags, FILE_MODE);
	if (rc == MDB_SUCCESS)
		rc = write_record(env, value);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_sync(env, 1);
	mdb_env_close(env);
	return pn_db_error(rc);
}

static int write_at(const char *directory, const struct pn_buf *value) {
	const size_t len = strlen(directory);
	char *const path = pn_malloc(len + 1 + sizeof(NEW_FILE));
	if (path == NULL)
		return PN_ENOMEM;
	memcpy(path, directory, len);
	path[len] = '/';
	memcpy(path + len + 1, NEW_FILE, sizeof(NEW_FILE));
	const int err = write_file(path, value);
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
	int err = pn_sync_drop_record(directory);
	if (err == PN_OK)
		err = sync_parent(directory);
	if (err != PN_OK)
		return err;
	if (fsync(directory) != 0 || renameat(directory, NEW_FILE, directory, "data.mdb") != 0)
		return pn_db_error(errno);
	return PN_OK;
}

static int remove_remains(int directory) {
	return unlinkat(directory, NEW_FILE, 0) == 0 || errno == ENOENT ? PN_OK
									: pn_db_error(errno);
}

static int create(int directory, const char *path) {
	unsigned char secret[PN_SECRET];
	struct pn_buf value = {0};
	int err = put_format(&value, secret);
	if (err == PN_OK)
		err = write_at(path, &value);
	pn_buf_free(&value);
	if (err == PN_OK)
		err = put_in_place(directory);
	if (err != PN_OK)
		(void)remove_remains(directory);
	return err;
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
