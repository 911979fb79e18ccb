/* Transactions, the room that they need on the disk, and calls. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <pn/err.h>

#include "store.h"
#include "sync.h"

enum {
	LOCK_WAIT = 1000, /* ms */
	PAGE_MIN = 512,   /* bytes: more than the format record */
	GROWTH_MAX =
		256 * 1024 * 1024, /* bytes by which the file may grow between two durable states */
	PER_PUT = 2, /* pages that a put changes: its leaf, and its share of splits and branches */
	PER_TRANSACTION =
		32, /* pages more: the branches at the top, and LMDB's list of free pages */
	SET_ASIDE = 1024 * 1024,     /* bytes for calls that make room; less in a small store: */
	SET_ASIDE_PART = 32,         /* one in so many of its limit */
	AHEAD_PART = 8,              /* the file is grown by one in so many of its bytes at once, */
	AHEAD_MAX = 4 * 1024 * 1024, /* at most this */
	SURPLUS_PART = 4,            /* of the file's bytes, one in so many may stay reserved, */
	SURPLUS_MIN = 2 * 1024 * 1024,
	SURPLUS_MAX = 32 * 1024 * 1024,
	SPARE = 2,       /* of the pages that are free, one in so many is counted on */
	ODD_BLOCKS = 16, /* with no more left on the disk, a write that was cut short means full */
};

int pn_store_error(int rc) {
	switch (rc) {
	case MDB_SUCCESS:
		return PN_OK;
	case ENOMEM:
		return PN_ENOMEM;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
		return PN_EFULL;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return PN_ENOSPACE;
	case EROFS:
		return PN_EREADONLY;
	case EACCES:
	case EPERM:
	case ENOENT:
	case ENOTDIR:
		return PN_EACCESS;
	case EBUSY:
	case EAGAIN:
	case MDB_READERS_FULL:
		return PN_EBUSY;
	case MDB_INVALID:
	case MDB_INCOMPATIBLE:
		return PN_EFOREIGN;
	case MDB_VERSION_MISMATCH:
		return PN_EVERSION;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_PAGE_FULL:
	case MDB_CURSOR_FULL:
	case MDB_PANIC:
		return PN_ECORRUPT;
	default:
		return PN_EIO;
	}
}

/* ---- Room on the disk. A commit must not fail for want of it: then the turn's writes, which have
 *      been reported stored, would be lost. So a place for the pages is made sure of before. ----
 */

static int renew_reader(struct pn_store *store) {
	return store->read != NULL ? mdb_txn_renew(store->read)
				   : mdb_txn_begin(store->env, NULL, MDB_RDONLY, &store->read);
}

/* For mdb_reader_list(): a line "PID THREAD TRANSACTION", or "-" for one that reads nothing. */
static int note_reader(const char *line, void *context) {
	struct pn_readers *const readers = context;
	size_t transaction;
	if (sscanf(line, "%*s %*s %zu", &transaction) != 1)
		return 0;
	readers->count++;
	if (transaction < readers->oldest)
		readers->oldest = transaction;
	return 0;
}

struct pn_readers pn_store_readers(const struct pn_store *store) {
	struct pn_readers readers = {.count = 0, .oldest = SIZE_MAX};
	(void)mdb_reader_list(store->env, note_reader, &readers);
	return readers;
}

/*
 * Pages of a list of LMDB's (their number, then they, descending) that lie in runs of `run` or
 * more. It need not be aligned for more than size_t.
 */
static uint64_t count_runs(const MDB_val *list, size_t run) {
	const size_t *const pages = (const size_t *)list->mv_data + 1;
	const size_t count = pages[-1];
	uint64_t sum = 0;
	for (size_t first = 0, next; first < count; first = next) {
		for (next = first + 1; next < count && pages[next] == pages[next - 1] - 1; next++)
			;
		sum += next - first >= run ? next - first : 0;
	}
	return sum;
}

/* What may be counted on of the pages that are in the file and used by nothing. */
struct room {
	size_t run;      /* pages that one value needs side by side: LMDB splits none */
	uint64_t enough; /* pages after which counting may end */
	bool soon;       /* also those that only the durable state or a reader keeps */
};

/*
 * Counts pages that are used by nothing: neither by the last state, nor by an older one that
 * somebody reads, or that is the durable one. LMDB shows its list to readers alone.
 */
static int count_free(struct pn_store *store, struct room room, uint64_t *pages) {
	MDB_cursor *cursor;
	MDB_val key, data;
	int rc = renew_reader(store);
	if (rc != MDB_SUCCESS)
		return pn_store_error(rc);
	*pages = 0;
	const size_t oldest = pn_store_readers(store).oldest;
	rc = mdb_cursor_open(store->read, 0, &cursor);
	if (rc == MDB_SUCCESS) {
		while (*pages < room.enough &&
		       (rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == MDB_SUCCESS &&
		       (room.soon || *(const size_t *)key.mv_data < oldest))
			*pages += count_runs(&data, room.run);
		mdb_cursor_close(cursor);
	}
	mdb_txn_reset(store->read);
	return rc == MDB_NOTFOUND ? PN_OK : pn_store_error(rc);
}

/* Whether there is room for `bytes` inside the file, of which one record has `largest`. */
static bool has_room(struct pn_store *store, uint64_t bytes, uint64_t largest, bool soon) {
	const struct room room = {
		.run = (size_t)(largest / store->page_size) + 1,
		.enough = SPARE * (bytes / store->page_size + 1),
		.soon = soon,
	};
	uint64_t pages = 0;
	return count_free(store, room, &pages) == PN_OK && pages >= room.enough;
}

/* Makes sure of a place for the file up to `end`. Returns 0, or PN_ENOSPACE and the like. */
static int allocate(struct pn_store *store, uint64_t end) {
	if (end <= store->reserved)
		return PN_OK;
	const off_t from = (off_t)store->file_end;
	if (fallocate(store->data, FALLOC_FL_KEEP_SIZE, from, (off_t)end - from) != 0 &&
	    errno != EOPNOTSUPP)
		return pn_store_error(errno);
	store->reserved = end; /* not every file system can: then the commit will tell */
	return PN_OK;
}

static uint64_t ahead(const struct pn_store *store) {
	const uint64_t part = store->file_end / AHEAD_PART;
	return part < AHEAD_MAX ? part : AHEAD_MAX;
}

static uint64_t surplus(const struct pn_store *store) {
	const uint64_t part = store->file_end / SURPLUS_PART;
	return part < SURPLUS_MIN ? SURPLUS_MIN : part < SURPLUS_MAX ? part : SURPLUS_MAX;
}

static uint64_t set_aside(const struct pn_store *store) {
	const uint64_t part = store->max_bytes / SET_ASIDE_PART;
	return part < SET_ASIDE ? part : SET_ASIDE;
}

/*
 * Makes sure of a place for what the call may add, `bytes` in all. Where the
 * file may not grow, what is free inside has to do; but LMDB takes pages from the end all the same,
 * now and then, so there must be some there as well.
 */
static int reserve(struct pn_store *store, const struct pn_claim *claim, uint64_t bytes) {
	const uint64_t needed = store->estimate + bytes;
	const uint64_t wanted = needed + (claim->removes ? 0 : set_aside(store));
	const uint64_t end = store->file_end + wanted;
	if (end <= store->reserved && end <= store->max_bytes && end <= store->map_bytes)
		return PN_OK;
	const bool full = end > store->map_bytes || (end > store->max_bytes && !claim->removes);
	if (!full &&
	    (allocate(store, end + ahead(store)) == PN_OK || allocate(store, end) == PN_OK))
		return PN_OK;
	if (!has_room(store, wanted, claim->largest, false))
		return full ? PN_EFULL : allocate(store, end);
	return allocate(store, store->file_end + needed);
}

/* Sets file_end. Returns a result of LMDB. */
static int find_end(struct pn_store *store) {
	MDB_envinfo info;
	const int rc = mdb_env_info(store->env, &info);
	if (rc == MDB_SUCCESS)
		store->file_end = (info.me_last_pgno + 1) * (uint64_t)store->page_size;
	return rc;
}

/* What a call that makes room needs is there from the beginning, also on a disk that is full. */
void pn_call_set_aside(struct pn_store *store) {
	if (find_end(store) == MDB_SUCCESS)
		(void)allocate(store, store->file_end + set_aside(store) + set_aside(store) / 2);
}

/* ---- Transactions ---- */

/*
 * Another process has made the map larger. The caller holds the writer's lock, so that nothing is
 * committed while no reader keeps the durable state.
 */
static int grow_map(struct pn_store *store) {
	MDB_envinfo info;
	if (store->views > 0)
		return PN_EBUSY; /* a copy or a check reads the old map */
	mdb_txn_abort(store->read);
	store->read = NULL;
	pn_sync_release(store->sync);
	int rc = mdb_env_set_mapsize(store->env, 0);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_info(store->env, &info);
	if (rc != MDB_SUCCESS)
		return pn_store_error(rc);
	store->map_bytes = info.me_mapsize;
	return pn_sync_now(store->sync);
}

/*
 * Until a state is durable, no page of the one before is used again, and the file grows with each
 * commit. Where the disk is too slow for what is written, the writer has to wait for it.
 */
static int bound_growth(struct pn_store *store) {
	const uint64_t durable = pn_sync_durable(store->sync);
	if (durable != store->durable) {
		store->durable = durable;
		store->durable_end = store->file_end;
	}
	if (store->file_end < store->durable_end + GROWTH_MAX)
		return PN_OK;
	store->durable_end = store->file_end;
	return pn_sync_now(store->sync);
}

int pn_store_begin(struct pn_store *store) {
	if (store->write != NULL)
		return PN_OK;
	if (store->lost)
		return PN_ELOST;
	int err = pn_sync_state(store->sync);
	if (err != PN_OK)
		return err;
	err = pn_lock_take(store->locks, PN_LOCK_WRITER, false, LOCK_WAIT);
	if (err != PN_OK)
		return err;

	int rc = mdb_txn_begin(store->env, NULL, 0, &store->write);
	if (rc == MDB_MAP_RESIZED && grow_map(store) == PN_OK)
		rc = mdb_txn_begin(store->env, NULL, 0, &store->write);
	if (rc != MDB_SUCCESS) {
		store->write = NULL;
		pn_lock_drop(store->locks, PN_LOCK_WRITER);
		return pn_store_error(rc);
	}
	rc = find_end(store);
	if (rc != MDB_SUCCESS) {
		pn_store_abort(store); /* not only forgotten: LMDB holds a lock for it */
		return pn_store_error(rc);
	}
	store->pending = 0;
	store->estimate = PER_TRANSACTION * (uint64_t)store->page_size;
	store->kept_estimate = store->estimate;
	store->wrote = false;
	return bound_growth(store);
}

/* Once LMDB's transaction has ended. */
static void end_turn(struct pn_store *store) {
	store->write = NULL;
	pn_redo_clear(&store->redo);
	pn_lock_drop(store->locks, PN_LOCK_WRITER);
}

/* The ids of messages that are undone may be known already: they must not be given again. */
static void forget_ids(struct pn_store *store) {
	store->epoch += store->pending > 0;
}

void pn_store_abort(struct pn_store *store) {
	if (store->write == NULL)
		return;
	mdb_txn_abort(store->write);
	forget_ids(store);
	end_turn(store);
}

/*
 * Gives back what was reserved for a large turn and not needed. The caller holds the writer's lock:
 * nobody else makes the file longer.
 */
static void give_back(struct pn_store *store) {
	struct stat file;
	if (store->reserved < store->file_end + surplus(store))
		return;
	store->reserved = 0;
	if (fstat(store->data, &file) == 0)
		(void)!ftruncate(store->data, file.st_size); /* drops the blocks behind the end */
	pn_call_set_aside(store);
}

/* LMDB says EIO where the disk took a part of what it was to write. */
static int explain_io(const struct pn_store *store) {
	struct statvfs disk;
	const bool full = fstatvfs(store->directory, &disk) == 0 && disk.f_bavail < ODD_BLOCKS;
	return full ? PN_ENOSPACE : PN_EIO;
}

int pn_store_commit(struct pn_store *store) {
	if (store->lost) {
		store->lost = false;
		return PN_ELOST;
	}
	if (store->write == NULL)
		return PN_OK;
	if (store->pending == 0) {
		pn_store_abort(store);
		return PN_OK;
	}
	const uint64_t number = mdb_txn_id(store->write);
	const int rc = mdb_txn_commit(store->write);
	store->write = NULL;
	int err = rc == EIO ? explain_io(store) : pn_store_error(rc);
	if (err == PN_OK) {
		store->committed = number;
		store->moved_on = false;
		give_back(store);
		pn_sync_committed(store->sync);
	} else {
		store->reserved = 0;
		forget_ids(store);
	}
	end_turn(store);
	return err;
}

unsigned pn_store_pending(const struct pn_store *store) {
	if (store->lost)
		return 1;
	return store->write != NULL ? store->pending : 0;
}

/* ---- Calls ---- */

int pn_call_read(struct pn_store *store) {
	if (store->write != NULL) {
		store->txn = store->write;
		return PN_OK;
	}
	int rc = renew_reader(store);
	if (rc == MDB_MAP_RESIZED) {
		const int err = pn_lock_take(store->locks, PN_LOCK_WRITER, false, LOCK_WAIT);
		if (err != PN_OK)
			return err;
		const int grown = grow_map(store);
		pn_lock_drop(store->locks, PN_LOCK_WRITER);
		if (grown != PN_OK)
			return grown;
		rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &store->read);
	}
	if (rc != MDB_SUCCESS)
		return pn_store_error(rc);
	store->txn = store->read;
	return PN_OK;
}

/*
 * What the last transaction has freed can be used once there is a newer one that is durable. Where
 * nothing else is free, nobody would ever make one: so it is made here, and changes nothing. Once:
 * what is not free then is kept by somebody who reads.
 */
static int move_on(struct pn_store *store, const struct pn_claim *claim, uint64_t bytes) {
	const struct pn_key key = pn_key_format();
	MDB_val name = {.mv_size = key.len, .mv_data = (void *)key.bytes};
	MDB_val data;
	unsigned char copy[PAGE_MIN];
	if (store->moved_on ||
	    !has_room(store, store->estimate + bytes + set_aside(store), claim->largest, true))
		return PN_EFULL;
	int rc = mdb_get(store->write, store->dbi, &name, &data);
	if (rc != MDB_SUCCESS || data.mv_size > sizeof(copy))
		return PN_EFULL;
	memcpy(copy, data.mv_data, data.mv_size);
	data.mv_data = copy;
	rc = mdb_put(store->write, store->dbi, &name, &data, 0);
	if (rc != MDB_SUCCESS)
		return pn_store_error(rc);
	store->pending = 1;
	int err = pn_store_flush(store);
	if (err == PN_OK)
		err = pn_store_begin(store);
	if (err != PN_OK)
		return err;
	store->moved_on = true;
	return pn_sync_now(store->sync);
}

/*
 * What was written in this turn keeps the pages of the state before it from being used again, and
 * is counted for more than it needs: where nothing else helps, it becomes a transaction of its own.
 */
static int commit_part(struct pn_store *store) {
	const int err = pn_store_commit(store);
	store->lost = err != PN_OK;
	return err == PN_OK ? pn_store_begin(store) : err;
}

static bool wants_room(int err) {
	return err == PN_EFULL || err == PN_ENOSPACE;
}

int pn_call_write(struct pn_store *store, struct pn_claim claim) {
	const int begun = pn_store_begin(store);
	if (begun != PN_OK)
		return begun;
	const uint64_t bytes = (uint64_t)claim.puts * PER_PUT * store->page_size + claim.bytes;
	int err = reserve(store, &claim, bytes);
	if (wants_room(err) && store->pending > 0) {
		err = commit_part(store);
		if (err == PN_OK)
			err = reserve(store, &claim, bytes);
	}
	if (store->write != NULL && wants_room(err) && move_on(store, &claim, bytes) == PN_OK)
		err = reserve(store, &claim, bytes);
	if (err != PN_OK) {
		if (store->write != NULL && store->pending == 0)
			pn_store_abort(store);
		return err;
	}
	store->estimate += bytes;
	store->wrote = false;
	store->txn = store->write;
	return PN_OK;
}

void pn_call_estimate(struct pn_store *store, unsigned puts) {
	store->estimate += (uint64_t)puts * PER_PUT * store->page_size;
}

void pn_call_refund(struct pn_store *store, size_t bytes) {
	store->estimate -= store->estimate < bytes ? store->estimate : bytes;
}

/* After some errors, also of reading, LMDB refuses all further use of a transaction. */
static bool is_spoilt(struct pn_store *store) {
	MDB_stat stat;
	return mdb_stat(store->write, store->dbi, &stat) != MDB_SUCCESS;
}

static void keep_call(struct pn_store *store) {
	store->pending++;
	store->kept_estimate = store->estimate;
	pn_redo_keep(&store->redo);
}

/* The writer's lock is held throughout, so the writes are repeated on the same state. */
static void undo_call(struct pn_store *store) {
	if (store->pending == 0) {
		pn_store_abort(store);
		return;
	}
	mdb_txn_abort(store->write);
	store->write = NULL;
	int err = pn_store_error(mdb_txn_begin(store->env, NULL, 0, &store->write));
	if (err == PN_OK)
		err = pn_redo_run(&store->redo, store->write, store->dbi);
	store->estimate = store->kept_estimate;
	store->lost = err != PN_OK;
	if (store->write != NULL && store->lost) {
		pn_store_abort(store);
	} else if (store->lost) {
		forget_ids(store);
		end_turn(store);
	}
}

int pn_call_end(struct pn_store *store, int result) {
	const bool writing = store->write != NULL && store->txn == store->write;
	store->txn = NULL;
	if (!writing) {
		mdb_txn_reset(store->read);
		return result;
	}
	if (result < 0 && (store->wrote || is_spoilt(store)))
		undo_call(store);
	else if (store->wrote)
		keep_call(store);
	else if (store->pending == 0)
		pn_store_abort(store);
	else
		store->estimate = store->kept_estimate; /* the call wrote nothing */
	store->wrote = false;
	return result;
}
