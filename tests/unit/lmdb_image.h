/* Files of LMDB in memory: create, copy and patch them, and use LMDB on them. */
#ifndef TEST_LMDB_IMAGE_H
#define TEST_LMDB_IMAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lmdb.h>

#include <pn/err.h>

#include "../../modules/db/lmdb_file.h"

enum { LMDB_MAP_SIZE = 1 << 30, LMDB_KEY_SIZE = 301, SAMPLE_TXNS = 6 };

/* The bytes of a file. */
struct image {
	uint8_t *bytes; /* owned */
	size_t size;
};

static inline void file_require(bool condition, const char *text) {
	if (condition)
		return;
	fprintf(stderr, "lmdb_image.h: %s\n", text);
	abort();
}

/* ---- Files ---- */

static inline int file_new(void) {
	const int fd = memfd_create("lmdb", MFD_CLOEXEC);
	file_require(fd >= 0, "memfd_create");
	return fd;
}

static inline int file_of(const struct image *image) {
	const int fd = file_new();
	const ssize_t written = write(fd, image->bytes, image->size);
	file_require(written == (ssize_t)image->size, "write");
	return fd;
}

static inline struct image image_of(int fd) {
	struct stat st;
	file_require(fstat(fd, &st) == 0, "fstat");
	struct image image = {.size = (size_t)st.st_size};
	image.bytes = malloc(image.size + 1);
	file_require(image.bytes != NULL, "malloc");
	file_require(pread(fd, image.bytes, image.size, 0) == st.st_size, "pread");
	return image;
}

static inline struct image image_copy(const struct image *image) {
	struct image copy = {.bytes = malloc(image->size + 1), .size = image->size};
	file_require(copy.bytes != NULL, "malloc");
	memcpy(copy.bytes, image->bytes, image->size);
	return copy;
}

static inline void image_free(struct image *image) {
	free(image->bytes);
	*image = (struct image){0};
}

static inline int image_verify(const struct image *image, struct pn_lmdb_report *report) {
	const int fd = file_of(image);
	const int err = pn_lmdb_verify(fd, report);
	close(fd);
	return err;
}

/* ---- LMDB ---- */

static inline MDB_env *lmdb_open_path(const char *path, unsigned int flags) {
	MDB_env *env;
	file_require(mdb_env_create(&env) == 0, "mdb_env_create");
	file_require(mdb_env_set_mapsize(env, LMDB_MAP_SIZE) == 0, "mdb_env_set_mapsize");
	flags |= MDB_NOSUBDIR | MDB_NOSYNC | MDB_NOTLS;
	file_require(mdb_env_open(env, path, flags, 0600) == 0, "mdb_env_open");
	return env;
}

/* The same file again, so without a lock beside it. */
static inline MDB_env *lmdb_open(int fd) {
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return lmdb_open_path(path, MDB_NOLOCK);
}

static inline MDB_txn *lmdb_begin(MDB_env *env, unsigned int flags, MDB_dbi *dbi) {
	MDB_txn *txn;
	file_require(mdb_txn_begin(env, NULL, flags, &txn) == 0, "mdb_txn_begin");
	file_require(mdb_dbi_open(txn, NULL, 0, dbi) == 0, "mdb_dbi_open");
	return txn;
}

/* Puts a value of `size` bytes under the key number i, or deletes it if that is 0. */
static inline void lmdb_put_one(MDB_txn *txn, MDB_dbi dbi, int i, size_t size) {
	static uint8_t bytes[20000];
	char name[LMDB_KEY_SIZE];
	memset(name, 'k', sizeof(name));
	name[0] = (char)('a' + i / 100);
	name[1] = (char)('a' + i / 10 % 10);
	name[2] = (char)('a' + i % 10);
	MDB_val key = {sizeof(name), name};
	MDB_val value = {size, bytes};
	const int err =
		size > 0 ? mdb_put(txn, dbi, &key, &value, 0) : mdb_del(txn, dbi, &key, NULL);
	file_require(err == 0, "lmdb_put_one");
}

/* A branch, leaves, runs, and free lists of transactions that left more than the next one took. */
static inline struct image lmdb_sample(void) {
	const int keys = (int)(sysconf(_SC_PAGESIZE) / 4096) * 60;
	const int fd = file_new();
	MDB_env *env = lmdb_open(fd);
	for (int t = 0; t < SAMPLE_TXNS; t++) {
		MDB_dbi dbi;
		MDB_txn *txn = lmdb_begin(env, 0, &dbi);
		for (int i = 0; t == 0 && i < keys; i++)
			lmdb_put_one(txn, dbi, i,
				     i % 3 == 0 ? 9000 + (size_t)i : 1 + (size_t)i % 3);
		for (int i = 0; t > 0 && i < 3; i++)
			lmdb_put_one(txn, dbi, 9 * t + i, 0);
		file_require(mdb_txn_commit(txn) == 0, "mdb_txn_commit");
	}
	mdb_env_close(env);
	const struct image image = image_of(fd);
	close(fd);
	return image;
}

/* ---- Using a file in full ---- */

/* Reads here and there in each page of a value, and its end, wherever that leads. */
static inline uint32_t lmdb_sum(MDB_val value) {
	const uint8_t *bytes = value.mv_data;
	uint32_t sum = 0;
	for (size_t i = 0; i < value.mv_size; i += 256)
		sum = sum * 31 + bytes[i];
	return value.mv_size > 0 ? sum * 31 + bytes[value.mv_size - 1] : sum;
}

/* Walks all entries there and back, and gets each by its key. Returns how many there are, or -1. */
static inline int64_t lmdb_walk(MDB_txn *txn, MDB_dbi dbi) {
	MDB_cursor *cursor;
	MDB_val key;
	MDB_val value;
	MDB_val got;
	if (mdb_cursor_open(txn, dbi, &cursor) != 0)
		return -1;
	int64_t count = 0;
	int64_t back = 0;
	uint32_t sum = 0;
	int err = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
	for (; err == 0; err = mdb_cursor_get(cursor, &key, &value, MDB_NEXT), count++) {
		if (mdb_get(txn, dbi, &key, &got) != 0 || got.mv_data != value.mv_data)
			break;
		sum += lmdb_sum(value);
	}
	const bool whole = err == MDB_NOTFOUND;
	err = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
	for (; err == 0; err = mdb_cursor_get(cursor, &key, &value, MDB_PREV), back++)
		sum -= lmdb_sum(value);
	mdb_cursor_close(cursor);
	return whole && err == MDB_NOTFOUND && back == count && sum == 0 ? count : -1;
}

/* Deletes every other entry. Returns how many it deleted, or -1. */
static inline int64_t lmdb_thin(MDB_txn *txn, MDB_dbi dbi) {
	MDB_cursor *cursor;
	MDB_val key;
	if (mdb_cursor_open(txn, dbi, &cursor) != 0)
		return -1;
	int64_t deleted = 0;
	int err = mdb_cursor_get(cursor, &key, NULL, MDB_FIRST);
	for (int i = 0; err == 0; err = mdb_cursor_get(cursor, &key, NULL, MDB_NEXT), i++) {
		if (i % 2 == 0)
			err = mdb_cursor_del(cursor, 0);
		if (err != 0)
			break;
		deleted += i % 2 == 0 ? 1 : 0;
	}
	mdb_cursor_close(cursor);
	return err == MDB_NOTFOUND ? deleted : -1;
}

/* Puts short and long values under keys among and behind those that are there. */
static inline bool lmdb_fill(MDB_txn *txn, MDB_dbi dbi, int count) {
	static uint8_t bytes[20000];
	for (int i = 0; i < count; i++) {
		char name[400];
		memset(name, 'a' + i % 26, sizeof(name));
		const int len = snprintf(name, sizeof(name), "%c%d", 'a' + i * 7 % 26, i);
		name[len] = 'x';
		MDB_val key = {i % 3 == 0 ? 300 : (size_t)len, name};
		MDB_val value = {i % 10 == 0 ? 5000 + (size_t)i * 40 : (size_t)i, bytes};
		if (mdb_put(txn, dbi, &key, &value, 0) != 0)
			return false;
	}
	return true;
}

/* Empties the database, a key at a time. */
static inline bool lmdb_clear(MDB_txn *txn, MDB_dbi dbi) {
	MDB_val key;
	MDB_val value;
	MDB_cursor *cursor;
	int err = mdb_cursor_open(txn, dbi, &cursor);
	while (err == 0) {
		err = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
		if (err == 0)
			err = mdb_cursor_del(cursor, 0);
	}
	mdb_cursor_close(cursor);
	return err == MDB_NOTFOUND;
}

static inline bool lmdb_compacts(MDB_env *env, uint64_t entries) {
	struct pn_lmdb_report report;
	const int fd = file_new();
	const bool right = mdb_env_copyfd2(env, fd, MDB_CP_COMPACT) == 0 &&
			   pn_lmdb_verify(fd, &report) == PN_OK && report.entries == entries &&
			   report.free_pages == 0 && report.used == report.pages;
	close(fd);
	return right;
}

/* Makes a change in a transaction. Returns the number of entries after it, or -1. */
static inline int64_t lmdb_change(MDB_txn *txn, MDB_dbi dbi, int step, uint64_t entries) {
	if (step == 0) {
		const int64_t deleted = lmdb_thin(txn, dbi);
		return deleted == (int64_t)(entries + 1) / 2 ? (int64_t)entries - deleted : -1;
	}
	if (step == 4)
		return lmdb_clear(txn, dbi) ? 0 : -1;
	return lmdb_fill(txn, dbi, step * 40) ? lmdb_walk(txn, dbi) : -1;
}

/*
 * Does everything with a verified file that LMDB can: walks, copies, deletes from, writes to, and
 * empties it. Returns NULL, or the step at which LMDB failed; or crashes with LMDB.
 */
static inline const char *lmdb_use(int fd, const struct pn_lmdb_report *report) {
	const char *failed = NULL;
	const bool lossless = report->used + report->free_pages == report->pages;
	MDB_dbi dbi;
	MDB_env *env = lmdb_open(fd);
	MDB_txn *txn = lmdb_begin(env, MDB_RDONLY, &dbi);
	if (lmdb_walk(txn, dbi) != (int64_t)report->entries)
		failed = "walk";
	mdb_txn_abort(txn);
	if (failed == NULL && lossless && !lmdb_compacts(env, report->entries))
		failed = "compact";
	struct pn_lmdb_report now = *report;
	for (int step = 0; step < 5 && failed == NULL; step++) {
		txn = lmdb_begin(env, 0, &dbi);
		const int64_t entries = lmdb_change(txn, dbi, step, now.entries);
		if (entries < 0)
			failed = "change";
		else if (lmdb_walk(txn, dbi) != entries)
			failed = "walk after a change";
		if (mdb_txn_commit(txn) != 0)
			failed = "commit";
		else if (failed == NULL && pn_lmdb_verify(fd, &now) != PN_OK)
			failed = now.problem;
		else if (failed == NULL && now.entries != (uint64_t)entries)
			failed = "count";
	}
	mdb_env_close(env);
	return failed;
}

#endif
