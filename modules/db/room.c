/*
 * Space for the data file. An operation is refused before it writes, where the file may not grow by
 * its pages or the disk has no space for them: then what is reported as stored can also be
 * committed. Nothing is allocated for that. If another process takes the space meanwhile, the
 * commit fails, and the log keeps the turns until there is space again.
 */
#include <sys/stat.h>
#include <sys/statvfs.h>

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
	/* Twice as much is allocated behind the end of the file, so that a thread can do that
	 * before it is needed: fallocate() may wait for the journal of the file system. */
	ALLOCATED = 2,
	/* Bytes that the disk is known to have are asked for again after so many. */
	LOOK_AHEAD = 8 * 1024 * 1024,
	/* With less than this part of max_bytes to grow, and less than so many times the free pages
	 * that a transaction needs, pages are made free before they are needed. */
	NEAR_PART = 16,
	AMPLE = 2,
	/* One in two free pages is counted on: LMDB skips lists of free pages whose runs are too
	 * short for a large value, and writes its own lists to free pages too. A margin: no case is
	 * known in which all of it is needed. */
	SPARE = 2,
	/* Bytes of the disk that the log may have: two segments. What is predicted for the file
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

static uint64_t set_aside(const struct pn_db *db) {
	const uint64_t part = db->max_bytes / SET_ASIDE_PART;
	return part < SET_ASIDE ? part : SET_ASIDE;
}

struct pn_room pn_room_ahead(const struct pn_db *db) {
	const uint64_t part = set_aside(db), end = db->file_end + ALLOCATED * part;
	return db->allocated < end - part / 2 ? (struct pn_room){db->file_end, end}
					      : (struct pn_room){0};
}

/* What is allocated stays with the file: no other process takes it. */
static int allocate(struct pn_db *db) {
	const struct pn_room room = pn_room_ahead(db);
	const int err = pn_checkpoint_allocate(db->data, room);
	if (err == PN_OK && room.end > 0)
		db->allocated = room.end;
	return err;
}

static int keep_set_aside(struct pn_db *db) {
	return db->allocated >= db->file_end + set_aside(db) ? PN_OK : allocate(db);
}

/* Bytes of the disk that the log may still take. */
static uint64_t for_log(const struct pn_db *db) {
	const uint64_t log = db->log != NULL ? pn_log_bytes(db->log) : 0;
	return log < FOR_LOG ? FOR_LOG - log : 0;
}

/* Whether the disk has space for the file up to `end`, beside that for the log. */
static int find_space(struct pn_db *db, const struct pn_claim *claim, uint64_t end) {
	const uint64_t from = db->allocated > db->file_end ? db->allocated : db->file_end;
	struct statvfs disk;
	if (end <= from || end <= db->disk_end || fstatvfs(db->directory, &disk) != 0)
		return PN_OK;
	const uint64_t has = disk.f_bavail * (uint64_t)disk.f_frsize, log = for_log(db);
	if (has >= end + LOOK_AHEAD - from + log)
		db->disk_end = end + LOOK_AHEAD;
	return has >= end - from + (claim->removes ? 0 : log) ? PN_OK : PN_ENOSPACE;
}

/* Near the limit of the file, before its free pages are needed. */
static void notice_scarcity(struct pn_db *db, const struct pn_claim *claim, uint64_t wanted) {
	const uint64_t end = db->file_end + wanted;
	db->scarce = end + db->max_bytes / NEAR_PART > db->max_bytes &&
		     !has_room(db, AMPLE * wanted, claim->largest, false);
}

/*
 * If the file may not grow, its free pages have to suffice. LMDB may still take pages from the end
 * now and then, so there must be space for some there as well.
 */
int pn_room_reserve(struct pn_db *db, const struct pn_claim *claim, uint64_t bytes) {
	const uint64_t needed = db->estimate + bytes;
	const uint64_t wanted = needed + (claim->removes ? 0 : set_aside(db));
	const uint64_t end = db->file_end + wanted;
	notice_scarcity(db, claim, wanted);
	const bool full = end > db->map_bytes || (end > db->max_bytes && !claim->removes);
	int err = full ? PN_EFULL : claim->removes ? PN_OK : keep_set_aside(db);
	if (err == PN_OK)
		err = find_space(db, claim, end);
	if (err == PN_OK || !has_room(db, wanted, claim->largest, false))
		return err;
	return find_space(db, claim, db->file_end + needed);
}

int pn_room_find_end(struct pn_db *db) {
	MDB_envinfo info;
	const int rc = mdb_env_info(db->env, &info);
	if (rc != MDB_SUCCESS)
		return rc;
	db->file_end = (info.me_last_pgno + 1) * (uint64_t)db->page_size;
	db->disk_end = 0;
	const uint64_t allocated = pn_checkpoint_allocated(db->checkpoint);
	if (allocated > db->allocated)
		db->allocated = allocated;
	return MDB_SUCCESS;
}

void pn_room_set_aside(struct pn_db *db) {
	struct stat file;
	if (fstat(db->data, &file) != 0)
		return;
	db->file_end = (uint64_t)file.st_size;
	(void)keep_set_aside(db); /* or the next operation that needs it */
}

bool pn_room_after_advance(struct pn_db *db, const struct pn_claim *claim, uint64_t bytes) {
	return has_room(db, db->estimate + bytes + set_aside(db), claim->largest, true);
}

int pn_room_explain_io(int fd) {
	struct statvfs disk;
	const bool full = fstatvfs(fd, &disk) == 0 && disk.f_bavail < ODD_BLOCKS;
	return full ? PN_ENOSPACE : PN_EIO;
}
