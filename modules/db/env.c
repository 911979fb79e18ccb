/* Opening and closing a database, and the registry of the databases that this process has open. */
#include <errno.h>
#include <limits.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "lmdb_file.h"
#include "db.h"
#include "checkpoint.h"
#include "durable.h"
#include "sync.h"
#include "turn.h"
#include "verify.h"

enum {
	/* Bytes: LMDB's default of 126 readers takes 64 each, and a header. Rounded up to twice. */
	LOCK_FILE = 16 * 1024,
	DIRECTORY_MODE = 0700,
};

/* LMDB does not allow opening an environment twice in a process: all hosts share the handle. */
static struct pn_db *registry;

/* ---- Preparing the file ---- */

/* Syncs the names of files: a removed "durable" must not reappear after a power failure. */
static int sync_directory(const struct pn_db *db) {
	return fsync(db->directory) == 0 ? PN_OK : pn_db_error(errno);
}

/*
 * LMDB maps its lock file: on a full disk, writing to a page without a block kills the process with
 * SIGBUS. To be called before the environment is opened: closing the file releases LMDB's locks.
 */
static int allocate_lock_file(const struct pn_db *db) {
	const int fd = openat(db->directory, "lock.mdb", O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
	if (fd < 0)
		return pn_db_error(errno);
	const bool failed = fallocate(fd, 0, 0, LOCK_FILE) != 0 && errno != EOPNOTSUPP;
	const int err = failed ? pn_db_error(errno) : PN_OK;
	close(fd);
	return err;
}

/* What every process needs before LMDB opens the file. */
static int verify_metas(int fd) {
	struct pn_lmdb_report report;
	return pn_lmdb_verify_state(&(struct pn_lmdb_state){.fd = fd, .without_records = true},
				    &report);
}

/* Makes the newest state durable, as the last one that the file "durable" can be about. */
static int make_file_durable(struct pn_db *db, bool verify) {
	const int fd = openat(db->directory, "data.mdb", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return pn_db_error(errno);
	int err = fdatasync(fd) == 0 ? PN_OK : pn_db_error(errno);
	if (err == PN_OK && verify)
		err = verify_metas(fd);
	close(fd);
	return err;
}

/*
 * The work of the first process to open the database, while no other one has it open. It syncs the
 * file, so the file "durable" is no longer needed; it could even describe another data file.
 */
static int prepare_file(struct pn_db *db, const struct pn_db_options *options,
			enum pn_structure *structure) {
	const int created = pn_format_create(db->directory, options->directory);
	int err = created;
	if (err >= 0)
		err = pn_durable_recover(db->directory, structure);
	db->stamped = err == 1;
	if (err >= 0)
		err = allocate_lock_file(db);
	if (err == PN_OK)
		err = make_file_durable(db, options->verify);
	if (err == PN_OK)
		err = pn_durable_drop(db->directory);
	if (created == 1)
		*structure = PN_STRUCTURE_SOUND;
	else if (options->anew && *structure == PN_STRUCTURE_SOUND)
		*structure = PN_STRUCTURE_UNKNOWN;
	return err == PN_OK ? sync_directory(db) : err;
}

/*
 * Processes that have the database open share the lock. The one that gets it exclusively prepares
 * the file; if that fails, the next process that waits does.
 */
static int lock_presence(struct pn_db *db, const struct pn_db_options *options,
			 enum pn_structure *structure) {
	int err = PN_EBUSY;
	for (int waited = 0; err == PN_EBUSY && waited < OPEN_WAIT; waited++) {
		err = pn_lock_take(db->locks, PN_LOCK_PRESENT, false, 0);
		if (err == PN_OK) {
			err = prepare_file(db, options, structure);
			break;
		}
		if (err == PN_EBUSY)
			err = pn_lock_take(db->locks, PN_LOCK_PRESENT, true, 1);
		if (err == PN_OK) {
			*structure = pn_durable_structure(db->directory);
			db->stamped = true;
		}
	}
	return err == PN_OK ? pn_lock_take(db->locks, PN_LOCK_PRESENT, true, 0) : err;
}

/* The log has been put into the data file. */
static int sync_once(struct pn_db *db) {
	int err = pn_lock_take_writer(db->locks, OPEN_WAIT);
	if (err != PN_OK)
		return err;
	err = pn_checkpoint_now(db->checkpoint, pn_db_committed(db));
	if (err == PN_OK)
		err = pn_turn_cut_log(db, pn_db_committed(db), UINT_MAX);
	pn_lock_drop(db->locks, PN_LOCK_WRITER);
	return err;
}

/* Does again what only the log has; then the data file has it, durably, and the log is cut. Without
 * space on the disk the log keeps it: pn_db_sync() tells. */
static int catch_up(struct pn_db *db) {
	int err = pn_db_begin(db);
	if (err == PN_OK && db->replayed == 0) {
		pn_turn_release(db);
		return PN_OK;
	}
	if (err == PN_OK)
		err = pn_turn_checkpoint(db);
	if (err == PN_OK)
		err = pn_sync_now(db->sync);
	if (err == PN_OK)
		err = sync_once(db);
	return err == PN_ENOSPACE ? PN_OK : err;
}

static int copy_path(struct pn_db *db, const char *path) {
	db->path = pn_malloc(strlen(path) + 1);
	if (db->path == NULL)
		return PN_ENOMEM;
	memcpy(db->path, path, strlen(path) + 1);
	return PN_OK;
}

void pn_db_set_max(struct pn_db *db, uint64_t max_bytes) {
	db->max_bytes = max_bytes != 0 ? max_bytes : UINT64_MAX;
}

static int open_all(struct pn_db *db, const struct pn_db_options *options) {
	pn_db_set_max(db, options->max_bytes);
	db->locks = openat(db->directory, "lock", O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
	db->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (db->locks < 0 || db->event < 0)
		return pn_db_error(errno);
	enum pn_structure structure = PN_STRUCTURE_UNKNOWN;
	db->reads_all = options->reads_all;
	int err = copy_path(db, options->directory);
	if (err == PN_OK)
		err = lock_presence(db, options, &structure);
	if (err == PN_OK)
		err = pn_sync_new(&db->sync, options->interval, db->event);
	if (err == PN_OK)
		err = pn_crypt_new(&db->crypt);
	if (err == PN_OK)
		err = pn_crypt_random(&db->epoch, sizeof(db->epoch));
	if (err == PN_OK)
		err = pn_env_open(db);
	if (err == PN_OK && options->verify)
		err = pn_verify_open(db, structure);
	if (err == PN_OK)
		err = pn_format_open(db);
	if (err == PN_OK && !db->stamped)
		err = pn_env_stamp(db);
	return err == PN_OK ? catch_up(db) : err;
}

/* The handle, and what is not LMDB's. */
static void free_handle(struct pn_db *db) {
	pn_log_close(db->log);
	pn_crypt_free(db->crypt);
	pn_compressor_free(&db->compressor);
	pn_redo_free(&db->redo);
	pn_free(db->notes.recent);
	if (db->event >= 0)
		close(db->event);
	if (db->locks >= 0)
		close(db->locks);
	if (db->directory >= 0)
		close(db->directory);
	pn_free(db->path);
	pn_free(db);
}

static void close_all(struct pn_db *db) {
	if (db->write != NULL)
		mdb_txn_abort(db->write);
	pn_env_close(db);
	pn_sync_free(db->sync);
	free_handle(db);
}

static struct pn_db *find_open(const struct stat *directory) {
	struct pn_db *db = registry;
	while (db != NULL && (db->inode != directory->st_ino || db->device != directory->st_dev ||
			      !pn_db_mine(db)))
		db = db->next;
	return db;
}

static int open_directory(const char *path, struct stat *about) {
	if (mkdir(path, DIRECTORY_MODE) != 0 && errno != EEXIST)
		return pn_db_error(errno);
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return pn_db_error(errno);
	if (fstat(fd, about) != 0) {
		const int err = pn_db_error(errno);
		close(fd);
		return err;
	}
	return fd;
}

int pn_db_open(struct pn_db **out, const struct pn_db_options *options) {
	struct stat about;
	const int directory = open_directory(options->directory, &about);
	if (directory < 0)
		return directory;
	struct pn_db *db = find_open(&about);
	if (db != NULL) {
		close(directory);
		db->users++;
		*out = db;
		return PN_OK;
	}
	db = pn_malloc(sizeof(*db));
	if (db == NULL) {
		close(directory);
		return PN_ENOMEM;
	}
	*db = (struct pn_db){
		.users = 1,
		.device = about.st_dev,
		.inode = about.st_ino,
		.process = getpid(),
		.directory = directory,
		.locks = -1,
		.event = -1,
		.kept = UINT64_MAX,
	};
	const int err = open_all(db, options);
	if (err != PN_OK) {
		close_all(db);
		return err;
	}
	db->next = registry;
	registry = db;
	*out = db;
	return PN_OK;
}

static void unregister(const struct pn_db *db) {
	struct pn_db **link = &registry;
	while (*link != NULL && *link != db)
		link = &(*link)->next;
	if (*link != NULL)
		*link = db->next;
}

static int find_turn(void *context, uint64_t number, const void *payload, size_t len) {
	(void)context, (void)number, (void)payload, (void)len;
	return PN_EBUSY;
}

/* Whether the data file has all turns of the log: another process may have been killed just now. */
static bool has_all_turns(const struct pn_db *db) {
	uint64_t last;
	return pn_log_read(db->directory, &db->id, pn_db_committed(db), find_turn, NULL, &last) ==
	       PN_OK;
}

/* With the writer's lock: makes the data file durable. Then a log that nobody else has open is of
 * no more use. */
static int finish(struct pn_db *db) {
	const int err = pn_checkpoint_now(db->checkpoint, pn_db_committed(db));
	if (err == PN_OK && pn_lock_take(db->locks, PN_LOCK_PRESENT, false, 0) == PN_OK &&
	    has_all_turns(db))
		(void)pn_log_remove(db->directory);
	return err;
}

/* All turns go to the data file: the next opening finds nothing to do. */
static int put_away(struct pn_db *db) {
	int err = pn_db_begin(db); /* also with those of a process that was killed */
	if (err == PN_OK && db->redo.logged > 0)
		err = pn_turn_checkpoint(db);
	else
		pn_turn_release(db);
	if (err == PN_OK)
		err = pn_lock_take_writer(db->locks, OPEN_WAIT);
	if (err == PN_OK) {
		err = finish(db);
		pn_lock_drop(db->locks, PN_LOCK_WRITER);
	}
	return err == PN_OK ? PN_OK : pn_sync_now(db->sync);
}

void pn_db_close(struct pn_db *db) {
	if (db == NULL || --db->users > 0)
		return;
	unregister(db);
	(void)pn_db_commit(db);
	(void)put_away(db);
	close_all(db);
}

bool pn_db_mine(const struct pn_db *db) {
	return db->process == getpid();
}

/* LMDB's structures are leaked: a forked child may not use them, not even to close them. */
void pn_db_forget(struct pn_db *db) {
	if (--db->users > 0)
		return;
	unregister(db);
	pn_sync_forget(db->sync);
	pn_verify_forget(db);
	pn_checkpoint_forget(db->checkpoint);
	free_handle(db);
}

uint64_t pn_db_replayed(const struct pn_db *db) {
	return db->replayed;
}

bool pn_db_rejected(const struct pn_db *db) {
	return db->rejected;
}

/* ---- Events ---- */

int pn_db_event_fd(const struct pn_db *db) {
	return db->event;
}

void pn_db_event_clear(struct pn_db *db) {
	uint64_t count;
	(void)!read(db->event, &count, sizeof(count));
}

uint32_t pn_db_epoch(const struct pn_db *db) {
	return db->epoch;
}

struct pn_db_notes *pn_db_notes(struct pn_db *db) {
	return &db->notes;
}

struct pn_compressor *pn_db_compressor(struct pn_db *db) {
	return &db->compressor;
}
