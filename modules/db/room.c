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

#include "checkpoint.h"
#include "db.h"
#include "lmdb_file.h"

enum {
	/* Bytes set aside for operations that free space, so that a full database can be emptied:
	 * more than the largest claims, PN_BATCH_CLAIM of archive.h (590 KB). Less
	 * in a small database, or most of it would be set aside. Tests: "sync: a full disk is an
	 * error before any write is accepted and passes", "sync: on a full disk scattered messages
	 * are deleted". */
	SET_ASIDE = 1024 * 1024,
	SET_ASIDE_PART = 32, /* of max_bytes: 3 percent are not worth a setting */
	/* With less than this part of max_bytes to grow, and less than so many times the free pages
	 * that a transaction needs, pages are made free before they are needed. */
	NEAR_PART = 16,
	AMPLE = 2,
	/* The file is extended by a part of its size, so that fallocate() is rare: it may wait for
	 * the journal of the file system. A thread extends it by more, before that is needed. */
	AHEAD_PART = 8,
	AHEAD_MAX = 4 * 1024 * 1024,
	AHEAD_THREAD = 32 * 1024 * 1024,
	/* Bytes that may stay allocated after a large turn: more than a transaction of CHANGES_MAX
	 * changes reserves, and what the thread has allocated. With less, usual transactions would
	 * allocate and release all the time. Test: "room: unused space reserved by a large turn is
	 * released". */
	SURPLUS = 20 * 1024 * 1024 + AHEAD_THREAD,
	/* One in two free pages is counted on: LMDB skips lists of free pages whose runs are too
	 * short for a large value, and writes its own lists to free pages too. A margin: no case is
	 * known in which all of it is needed. */
	SPARE = 2,
	/* Bytes of the disk that the log may have: two segments. What is reserved for the file
	 * is several times what a transaction needs. Integration test: "storage compact: without
	 * room on the disk it fails, and the server goes on". */
	FOR_LOG = 2 * 1024 * 1024,
	/* A file system keeps a few blocks for itself: after a short write with fewer blocks free
	 * than this, the disk is full. Integration test: "storage faults: on a full disk writes
	 * fail and reads go on". */
	ODD_BLOCKS = 16,
};

/* The free pages that an operation needs. */
struct need {
	size_t run;      /* adjacent pages that the largest value needs */
	uint64_t enough; /* pages after which counting may end */
	bool soon;       /* count pages too that the durable state or a reader still keeps */
};

/*
 * Counts the pages that no state uses: neither the last one, nor one that is read, nor the durable
 * one. LMDB shows its free lists to read transactions only.
 */
static int count_free(struct pn_db *db, struct need need, uint64_t *pages) {
	MDB_cursor *cursor;
	MDB_val key, data;
	int rc = pn_db_renew_reader(db);
	if (rc != MDB_SUCCESS)
		return pn_db_error(rc);
	*pages = 0;
	const size_t oldest = pn_db_readers(db).oldest;
	rc = mdb_cursor_open(db->read, 0, &cursor);
	if (rc == MDB_SUCCESS) {
		while (*pages < need.enough &&
		       (rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == MDB_SUCCESS &&
		       (need.soon || *(const size_t *)key.mv_data < oldest))
			*pages += pn_lmdb_count_free(data.mv_data, need.run);
		mdb_cursor_close(cursor);
	}
	mdb_txn_reset(db->read);
	return rc == MDB_NOTFOUND ? PN_OK : pn_db_error(rc);
}

/* Whether the free pages of the file have room for `bytes`, and for one record of `largest`. */
static bool has_room(struct pn_db *db, uint64_t bytes, uint64_t largest, bool soon) {
	const struct need need = {
		.run = (size_t)(largest / db->page_size) + 1,
		.enough = SPARE * (bytes / db->page_size + 1),
		.soon = soon,
	};
	uint64_t pages = 0;
	return count_free(db, need, &pages) == PN_OK && pages >= need.enough;
}

/* Whether the disk has space for the log, too, once the file is allocated up to `end`. */
static bool spares_log(const struct pn_db *db, uint64_t end) {
	const uint64_t from = db->reserved > db->file_end ? db->reserved : db->file_end;
	const uint64_t log = db->log != NULL ? pn_log_bytes(db->log) : 0;
	struct statvfs disk;
	if (end <= from || fstatvfs(db->directory, &disk) != 0)
		return true;
	return disk.f_bavail * (uint64_t)disk.f_frsize >=
	       end - from + (log < FOR_LOG ? FOR_LOG - log : 0);
}

/* Allocates space on the disk for the file up to `end`. Returns 0, or an error. */
static int allocate(struct pn_db *db, uint64_t end) {
	if (end <= db->reserved)
		return PN_OK;
	const off_t from = (off_t)db->file_end;
	if (fallocate(db->data, FALLOC_FL_KEEP_SIZE, from, (off_t)end - from) != 0 &&
	    errno != EOPNOTSUPP)
		return pn_db_error(errno);
	db->reserved = end; /* if the file system cannot allocate, a commit may fail */
	return PN_OK;
}

static int extend(struct pn_db *db, const struct pn_claim *claim, uint64_t end) {
	return claim->removes || spares_log(db, end) ? allocate(db, end) : PN_ENOSPACE;
}

static uint64_t ahead(const struct pn_db *db, uint64_t most) {
	const uint64_t part = db->file_end / AHEAD_PART;
	return part < most ? part : most;
}

static uint64_t set_aside(const struct pn_db *db) {
	const uint64_t part = db->max_bytes / SET_ASIDE_PART;
	return part < SET_ASIDE ? part : SET_ASIDE;
}

/* Near the limit of the file, before its free pages are needed. */
static void notice_scarcity(struct pn_db *db, const struct pn_claim *claim, uint64_t wanted) {
	const uint64_t end = db->file_end + wanted;
	db->scarce = end + db->max_bytes / NEAR_PART > db->max_bytes &&
		     !has_room(db, AMPLE * wanted, claim->largest, false);
}

/*
 * If the file may not grow, its free pages have to suffice. LMDB may still take pages from the end
 * now and then, so some must be allocated there as well.
 */
int pn_room_reserve(struct pn_db *db, const struct pn_claim *claim, uint64_t bytes) {
	const uint64_t needed = db->estimate + bytes;
	const uint64_t wanted = needed + (claim->removes ? 0 : set_aside(db));
	const uint64_t end = db->file_end + wanted;
	notice_scarcity(db, claim, wanted);
	if (end <= db->reserved && end <= db->max_bytes && end <= db->map_bytes)
		return PN_OK;
	const bool full = end > db->map_bytes || (end > db->max_bytes && !claim->removes);
	if (!full && (extend(db, claim, end + ahead(db, AHEAD_MAX)) == PN_OK ||
		      extend(db, claim, end) == PN_OK))
		return PN_OK;
	if (!has_room(db, wanted, claim->largest, false))
		return full ? PN_EFULL : extend(db, claim, end);
	return extend(db, claim, db->file_end + needed);
}

int pn_room_find_end(struct pn_db *db) {
	MDB_envinfo info;
	const int rc = mdb_env_info(db->env, &info);
	if (rc != MDB_SUCCESS)
		return rc;
	db->file_end = (info.me_last_pgno + 1) * (uint64_t)db->page_size;
	const uint64_t allocated = pn_checkpoint_allocated(db->checkpoint);
	if (allocated > db->reserved)
		db->reserved = allocated;
	return MDB_SUCCESS;
}

void pn_room_set_aside(struct pn_db *db) {
	struct stat file;
	if (fstat(db->data, &file) != 0)
		return;
	db->file_end = (uint64_t)file.st_size;
	(void)allocate(db, db->file_end + set_aside(db) + set_aside(db) / 2);
}

void pn_room_release_surplus(struct pn_db *db) {
	struct stat file;
	if (db->reserved < db->file_end + SURPLUS || pn_checkpoint_is_busy(db->checkpoint))
		return;
	(void)pn_checkpoint_allocated(db->checkpoint);
	db->reserved = 0;
	if (fstat(db->data, &file) == 0)
		(void)!ftruncate(db->data, file.st_size); /* frees the blocks beyond the end */
	pn_room_set_aside(db);
}

struct pn_room pn_room_ahead(const struct pn_db *db) {
	const uint64_t bytes = ahead(db, AHEAD_THREAD), end = db->file_end + bytes;
	const bool wanted = db->reserved < db->file_end + bytes / 2 && end <= db->max_bytes &&
			    spares_log(db, end + bytes);
	return wanted ? (struct pn_room){db->file_end, end} : (struct pn_room){0};
}

bool pn_room_after_advance(struct pn_db *db, const struct pn_claim *claim, uint64_t bytes) {
	return has_room(db, db->estimate + bytes + set_aside(db), claim->largest, true);
}

int pn_room_explain_io(int fd) {
	struct statvfs disk;
	const bool full = fstatvfs(fd, &disk) == 0 && disk.f_bavail < ODD_BLOCKS;
	return full ? PN_ENOSPACE : PN_EIO;
}
