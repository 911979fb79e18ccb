/* Opening and closing a store, and the registry of those that this process has open. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "pages.h"
#include "store.h"
#include "sync.h"

enum {
	OPEN_WAIT = 2000, /* ms for those who are opening it, or compacting */
	FILE_MODE = 0600,
	LOCK_FILE = 16 * 1024, /* bytes: room for twice the readers that LMDB allows unless told */
	DIRECTORY_MODE = 0700,
};

static const uint64_t MAP_BYTES[] = {1ull << 40, 1ull << 36, 1ull << 33, 1ull << 30};

/* LMDB allows no environment to be open twice in a process: each is shared by all hosts. */
static struct pn_store *registry;

/* ---- The environment ---- */

static int open_env(struct pn_store *store, const char *path) {
	const unsigned flags = MDB_NOSYNC | MDB_NOTLS;
	int rc = ENOMEM;
	for (size_t i = 0; i < sizeof(MAP_BYTES) / sizeof(MAP_BYTES[0]); i++) {
		if (MAP_BYTES[i] > SIZE_MAX)
			continue;
		rc = mdb_env_create(&store->env);
		if (rc != MDB_SUCCESS)
			return pn_store_error(rc);
		rc = mdb_env_set_mapsize(store->env, (size_t)MAP_BYTES[i]);
		if (rc == MDB_SUCCESS)
			rc = mdb_env_open(store->env, path, flags, FILE_MODE);
		if (rc == MDB_SUCCESS) {
			store->map_bytes = MAP_BYTES[i];
			return PN_OK;
		}
		mdb_env_close(store->env);
		store->env = NULL;
		if (rc != ENOMEM && rc != EINVAL)
			break; /* not for want of address space */
	}
	return pn_store_error(rc);
}

static int open_database(struct pn_store *store) {
	MDB_txn *txn;
	MDB_stat stat;
	int dead;
	int rc = mdb_reader_check(store->env, &dead);
	if (rc == MDB_SUCCESS)
		rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
	if (rc != MDB_SUCCESS)
		return pn_store_error(rc);
	rc = mdb_dbi_open(txn, NULL, 0, &store->dbi);
	if (rc == MDB_SUCCESS)
		rc = mdb_stat(txn, store->dbi, &stat);
	if (rc == MDB_SUCCESS)
		rc = mdb_txn_commit(txn);
	else
		mdb_txn_abort(txn);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_get_fd(store->env, &store->data);
	if (rc == MDB_SUCCESS)
		store->page_size = stat.ms_psize;
	return pn_store_error(rc);
}

/* Makes the names of files durable: a record that was removed must not be there again. */
static int keep_names(const struct pn_store *store) {
	return fsync(store->directory) == 0 ? PN_OK : pn_store_error(errno);
}

/*
 * LMDB maps its lock file: on a full disk, a page of it that has no place yet would end the process
 * by a signal. Not while the environment is open, for closing the file gives up LMDB's locks.
 */
static int allocate_lock_file(const struct pn_store *store) {
	const int fd =
		openat(store->directory, "lock.mdb", O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
	if (fd < 0)
		return pn_store_error(errno);
	const bool failed = fallocate(fd, 0, 0, LOCK_FILE) != 0 && errno != EOPNOTSUPP;
	const int err = failed ? pn_store_error(errno) : PN_OK;
	close(fd);
	return err;
}

/*
 * What only the first process to open it does: nobody else may have it open meanwhile. The record
 * of what is durable is then of no more use; it may even be that of another file.
 */
static int prepare_file(struct pn_store *store, const char *path, bool verify) {
	struct pn_pages_report report;
	int err = pn_format_create(store->directory, path);
	if (err == PN_OK)
		err = pn_sync_recover(store->directory, &store->recovered);
	if (err == PN_OK)
		err = allocate_lock_file(store);
	if (err != PN_OK)
		return err;
	const int fd = openat(store->directory, "data.mdb", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return pn_store_error(errno);
	err = fdatasync(fd) == 0 ? PN_OK : pn_store_error(errno);
	if (err == PN_OK && verify)
		err = pn_pages_verify(fd, &report);
	close(fd);
	if (err == PN_OK)
		err = pn_sync_drop_record(store->directory);
	return err == PN_OK ? keep_names(store) : err;
}

/*
 * Processes that have the store open share the lock; the first one has prepared the file. If that
 * fails, the next process that waits prepares it.
 */
static int take_place(struct pn_store *store, const struct pn_store_options *options) {
	int err = PN_EBUSY;
	for (int waited = 0; err == PN_EBUSY && waited < OPEN_WAIT; waited++) {
		err = pn_lock_take(store->locks, PN_LOCK_PRESENT, false, 0);
		if (err == PN_OK) {
			err = prepare_file(store, options->directory, options->verify);
			break;
		}
		if (err == PN_EBUSY)
			err = pn_lock_take(store->locks, PN_LOCK_PRESENT, true, 1);
	}
	return err == PN_OK ? pn_lock_take(store->locks, PN_LOCK_PRESENT, true, 0) : err;
}

static int make_durable_once(struct pn_store *store) {
	int err = pn_lock_take(store->locks, PN_LOCK_WRITER, false, OPEN_WAIT);
	if (err != PN_OK)
		return err;
	err = pn_sync_now(store->sync);
	pn_lock_drop(store->locks, PN_LOCK_WRITER);
	return err;
}

static int open_all(struct pn_store *store, const struct pn_store_options *options) {
	store->max_bytes = options->max_bytes != 0 ? options->max_bytes : UINT64_MAX;
	store->locks = openat(store->directory, "lock", O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
	if (store->locks < 0)
		return pn_store_error(errno);
	int err = take_place(store, options);
	if (err == PN_OK)
		err = open_env(store, options->directory);
	if (err == PN_OK)
		err = open_database(store);
	if (err == PN_OK)
		err = pn_sync_new(&store->sync, store->env, store->directory, store->locks,
				  options->interval);
	if (err == PN_OK)
		err = pn_crypt_new(&store->crypt);
	if (err == PN_OK)
		err = pn_crypt_random(&store->epoch, sizeof(store->epoch));
	if (err == PN_OK)
		err = make_durable_once(store); /* before the first write: see sync.h */
	if (err == PN_OK)
		err = keep_names(store);
	if (err == PN_OK)
		pn_call_set_aside(store);
	if (err == PN_OK)
		err = pn_format_open(store);
	return err;
}

static void close_all(struct pn_store *store) {
	pn_store_abort(store);
	if (store->env != NULL) {
		mdb_txn_abort(store->read);
		pn_sync_free(store->sync);
		mdb_env_close(store->env);
	}
	pn_crypt_free(store->crypt);
	pn_redo_free(&store->redo);
	if (store->locks >= 0)
		close(store->locks);
	if (store->directory >= 0)
		close(store->directory);
	pn_free(store);
}

static struct pn_store *find_open(const struct stat *directory) {
	struct pn_store *store = registry;
	while (store != NULL && (store->inode != directory->st_ino ||
				 store->device != directory->st_dev || !pn_store_mine(store)))
		store = store->next;
	return store;
}

static int open_directory(const char *path, struct stat *about) {
	if (mkdir(path, DIRECTORY_MODE) != 0 && errno != EEXIST)
		return pn_store_error(errno);
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return pn_store_error(errno);
	if (fstat(fd, about) != 0) {
		const int err = pn_store_error(errno);
		close(fd);
		return err;
	}
	return fd;
}

int pn_store_open(struct pn_store **out, const struct pn_store_options *options) {
	struct stat about;
	const int directory = open_directory(options->directory, &about);
	if (directory < 0)
		return directory;
	struct pn_store *store = find_open(&about);
	if (store != NULL) {
		close(directory);
		store->users++;
		*out = store;
		return PN_OK;
	}
	store = pn_malloc(sizeof(*store));
	if (store == NULL) {
		close(directory);
		return PN_ENOMEM;
	}
	*store = (struct pn_store){
		.users = 1,
		.device = about.st_dev,
		.inode = about.st_ino,
		.process = getpid(),
		.directory = directory,
		.locks = -1,
	};
	const int err = open_all(store, options);
	if (err != PN_OK) {
		close_all(store);
		return err;
	}
	store->next = registry;
	registry = store;
	*out = store;
	return PN_OK;
}

static void unregister(const struct pn_store *store) {
	struct pn_store **link = &registry;
	while (*link != NULL && *link != store)
		link = &(*link)->next;
	if (*link != NULL)
		*link = store->next;
}

void pn_store_close(struct pn_store *store) {
	if (store == NULL || --store->users > 0)
		return;
	unregister(store);
	(void)pn_store_flush(store);
	close_all(store);
}

bool pn_store_mine(const struct pn_store *store) {
	return store->process == getpid();
}

/* LMDB's structures stay behind: in a child nothing may be done with them, not even closing. */
void pn_store_forget(struct pn_store *store) {
	if (--store->users > 0)
		return;
	unregister(store);
	pn_sync_forget(store->sync);
	pn_crypt_free(store->crypt);
	pn_redo_free(&store->redo);
	close(store->locks);
	close(store->directory);
	pn_free(store);
}

uint64_t pn_store_recovered(const struct pn_store *store) {
	return store->recovered;
}

/* ---- Durability ---- */

uint64_t pn_store_committed(const struct pn_store *store) {
	return store->committed;
}

uint64_t pn_store_durable(const struct pn_store *store) {
	return pn_sync_durable(store->sync);
}

int pn_store_sync(struct pn_store *store, uint64_t now, int *wait) {
	*wait = 1;
	if (store->write != NULL)
		return PN_OK; /* the writer's lock is taken, by us */
	return pn_sync_run(store->sync, store->committed, now, wait);
}

/* What was committed before is made durable also where the last commit has failed. */
int pn_store_flush(struct pn_store *store) {
	const int committed = pn_store_commit(store);
	if (pn_sync_durable(store->sync) >= store->committed)
		return committed;
	int err = pn_lock_take(store->locks, PN_LOCK_WRITER, false, OPEN_WAIT);
	if (err == PN_OK) {
		err = pn_sync_now(store->sync);
		pn_lock_drop(store->locks, PN_LOCK_WRITER);
	}
	return committed != PN_OK ? committed : err;
}

int pn_store_event_fd(const struct pn_store *store) {
	return pn_sync_event_fd(store->sync);
}

void pn_store_event_clear(struct pn_store *store) {
	uint64_t count;
	(void)!read(pn_sync_event_fd(store->sync), &count, sizeof(count));
}

int pn_store_info(struct pn_store *store, struct pn_store_info *info) {
	MDB_envinfo env;
	MDB_stat stat;
	struct pn_store_info found = {
		.max_bytes =
			store->max_bytes < store->map_bytes ? store->max_bytes : store->map_bytes,
		.readers = pn_store_readers(store).count, /* before this call reads */
	};
	struct pn_cursor cursor;
	struct stat file;
	const struct pn_key trash = pn_key_collection(PN_KIND_TRASH, 0);
	uint32_t collection;
	if (fstatat(store->directory, "data.mdb", &file, 0) != 0)
		return pn_store_error(errno);
	int err = pn_call_read(store);
	if (err != PN_OK)
		return err;
	err = pn_store_error(mdb_env_info(store->env, &env));
	if (err == PN_OK)
		err = pn_store_error(mdb_stat(store->txn, store->dbi, &stat));
	if (err == PN_OK)
		err = pn_cursor_open(store, &cursor);
	if (err != PN_OK)
		return pn_call_end(store, err);
	for (err = pn_cursor_seek(&cursor, &trash);
	     err > 0 && pn_key_read_collection(cursor.key, PN_KIND_TRASH, &collection);
	     err = pn_cursor_next(&cursor))
		found.erasing++;
	pn_cursor_close(&cursor);
	err = pn_call_end(store, err);
	found.file_bytes = (uint64_t)file.st_size;
	found.used_bytes = (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) *
			   (uint64_t)stat.ms_psize;
	found.transaction = env.me_last_txnid;
	found.durable = pn_store_durable(store);
	found.records = stat.ms_entries;
	if (err >= 0)
		*info = found;
	return err < 0 ? err : PN_OK;
}
