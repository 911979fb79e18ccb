/*
 * Space on the disk. A commit must not fail for lack of it: the writes of the turn would be lost,
 * though they were reported as stored. So an operation reserves space for its pages before it
 * writes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <pn/err.h>

#include "db.h"
#include "lmdb_file.h"

enum {
	/* For operations that free space, so that a full database can be emptied: more than the
	 * largest of them claims (a slice of scattered deletions, 200 pages). In a small database
	 * less, or the reserve would be most of it. Test: "sync: a full disk is told ...". */
	SET_ASIDE = 1024 * 1024,
	SET_ASIDE_PART = 32, /* of max_bytes */
	/* The file is grown by a part of its size at once, so that fallocate() is rare. */
	AHEAD_PART = 8,
	AHEAD_MAX = 4 * 1024 * 1024,
	/* Of the file's size, as much may stay reserved after a large turn before it is released.
	 */
	SURPLUS_PART = 4,
	SURPLUS_MIN = 2 * 1024 * 1024,
	SURPLUS_MAX = 32 * 1024 * 1024,
	/* Of the free pages one in two is counted on: LMDB may not use a list of free pages whose
	 * runs are too short for a large value, and writes its own list into free pages, too. */
	SPARE = 2,
	/* A file system keeps a few blocks back for itself: with fewer left than this a write that
	 * was cut short means that the disk is full. */
	ODD_BLOCKS = 16,
};

/* Which of the free pages in the file are counted. */
struct room {
	size_t run;      /* pages that one value needs side by side: LMDB splits none */
	uint64_t enough; /* pages after which counting may end */
	bool soon;       /* also those that only the durable state or a reader keeps */
};

/*
 * Counts pages that are used by nothing: neither by the last state, nor by an older one that
 * somebody reads, or that is the durable one. LMDB shows its list to readers alone.
 */
static int count_free(struct pn_db *db, struct room room, uint64_t *pages) {
	MDB_cursor *cursor;
	MDB_val key, data;
	int rc = pn_db_renew_reader(db);
	if (rc != MDB_SUCCESS)
		return pn_db_error(rc);
	*pages = 0;
	const size_t oldest = pn_db_readers(db).oldest;
	rc = mdb_cursor_open(db->read, 0, &cursor);
	if (rc == MDB_SUCCESS) {
		while (*pages < room.enough &&
		       (rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == MDB_SUCCESS &&
		       (room.soon || *(const size_t *)key.mv_data < oldest))
			*pages += pn_lmdb_count_free(data.mv_data, room.run);
		mdb_cursor_close(cursor);
	}
	mdb_txn_reset(db->read);
	return rc == MDB_NOTFOUND ? PN_OK : pn_db_error(rc);
}

/* Whether there is room for `bytes` inside the file, of which one record has `largest`. */
static bool has_room(struct pn_db *db, uint64_t bytes, uint64_t largest, bool soon) {
	const struct room room = {
		.run = (size_t)(largest / db->page_size) + 1,
		.enough = SPARE * (bytes / db->page_size + 1),
		.soon = soon,
	};
	uint64_t pages = 0;
	return count_free(db, room, &pages) == PN_OK && pages >= room.enough;
}

/* Reserves space for the file up to `end`. Returns 0, or PN_ENOSPACE and the like. */
static int allocate(struct pn_db *db, uint64_t end) {
	if (end <= db->reserved)
		return PN_OK;
	const off_t from = (off_t)db->file_end;
	if (fallocate(db->data, FALLOC_FL_KEEP_SIZE, from, (off_t)end - from) != 0 &&
	    errno != EOPNOTSUPP)
		return pn_db_error(errno);
	db->reserved = end; /* not every file system can: then the commit will tell */
	return PN_OK;
}

static uint64_t ahead(const struct pn_db *db) {
	const uint64_t part = db->file_end / AHEAD_PART;
	return part < AHEAD_MAX ? part : AHEAD_MAX;
}

static uint64_t surplus(const struct pn_db *db) {
	const uint64_t part = db->file_end / SURPLUS_PART;
	return part < SURPLUS_MIN ? SURPLUS_MIN : part < SURPLUS_MAX ? part : SURPLUS_MAX;
}

static uint64_t set_aside(const struct pn_db *db) {
	const uint64_t part = db->max_bytes / SET_ASIDE_PART;
	return part < SET_ASIDE ? part : SET_ASIDE;
}

/*
 * Where the file may not grow, what is free inside has to do; but LMDB takes pages from the end all
 * the same, now and then, so there must be some there as well.
 */
int pn_room_reserve(struct pn_db *db, const struct pn_claim *claim, uint64_t bytes) {
	const uint64_t needed = db->estimate + bytes;
	const uint64_t wanted = needed + (claim->removes ? 0 : set_aside(db));
	const uint64_t end = db->file_end + wanted;
	if (end <= db->reserved && end <= db->max_bytes && end <= db->map_bytes)
		return PN_OK;
	const bool full = end > db->map_bytes || (end > db->max_bytes && !claim->removes);
	if (!full && (allocate(db, end + ahead(db)) == PN_OK || allocate(db, end) == PN_OK))
		return PN_OK;
	if (!has_room(db, wanted, claim->largest, false))
		return full ? PN_EFULL : allocate(db, end);
	return allocate(db, db->file_end + needed);
}

int pn_room_find_end(struct pn_db *db) {
	MDB_envinfo info;
	const int rc = mdb_env_info(db->env, &info);
	if (rc == MDB_SUCCESS)
		db->file_end = (info.me_last_pgno + 1) * (uint64_t)db->page_size;
	return rc;
}

void pn_room_set_aside(struct pn_db *db) {
	if (pn_room_find_end(db) == MDB_SUCCESS)
		(void)allocate(db, db->file_end + set_aside(db) + set_aside(db) / 2);
}

void pn_room_release_surplus(struct pn_db *db) {
	struct stat file;
	if (db->reserved < db->file_end + surplus(db))
		return;
	db->reserved = 0;
	if (fstat(db->data, &file) == 0)
		(void)!ftruncate(db->data, file.st_size); /* drops the blocks behind the end */
	pn_room_set_aside(db);
}

bool pn_room_after_advance(struct pn_db *db, const struct pn_claim *claim, uint64_t bytes) {
	return has_room(db, db->estimate + bytes + set_aside(db), claim->largest, true);
}

int pn_room_explain_io(const struct pn_db *db) {
	struct statvfs disk;
	const bool full = fstatvfs(db->directory, &disk) == 0 && disk.f_bavail < ODD_BLOCKS;
	return full ? PN_ENOSPACE : PN_EIO;
}
