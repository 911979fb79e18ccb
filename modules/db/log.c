/* Writing the log: appending records, preparing and removing segments, syncing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "db.h"
#include "log_segment.h"

enum {
	/* Bytes of a segment, unless one record needs more: what a busy server writes in about a
	 * second. A small server keeps two. */
	SEGMENT = 1024 * 1024,
	/* Of the newest segment, with no other one prepared, so much is left to operations that
	 * free space: those of some thousand deletions. Test: "sync: a full disk is told ...". */
	SET_ASIDE = SEGMENT / 4,
	KEEP = 4096 /* bytes of memory that stay between two records */
};

struct segment {
	uint64_t first; /* number of its first record; 0: it is not in use yet */
	uint64_t size;
	int fd; /* -1: it is durable, and written no more */
};

/*
 * Invariants: `segments` are in order, and the newest one is written while `at` is not 0. The last
 * record of each is the one before the next one's first. `next.fd` is -1 or "log.next" is there.
 */
struct pn_log {
	int directory; /* borrowed */
	struct pn_log_id id;
	uint64_t last;
	uint64_t synced;
	struct segment *segments;
	size_t count;
	size_t capacity;
	struct segment next;
	uint64_t seed; /* of the newest segment */
	uint64_t at;   /* offset in it of the next record; 0: it was written by another opening */
	struct pn_buf frame; /* what stands before a payload */
	bool names_changed;
	bool failed; /* for good */
};

uint64_t pn_log_last(const struct pn_log *log) {
	return log->last;
}

uint64_t pn_log_synced(const struct pn_log *log) {
	return log->synced;
}

uint64_t pn_log_bytes(const struct pn_log *log) {
	uint64_t sum = log->next.fd >= 0 ? log->next.size : 0;
	for (size_t i = 0; i < log->count; i++)
		sum += log->segments[i].size;
	return sum;
}

static uint64_t last_of(const struct pn_log *log, size_t i) {
	return i + 1 < log->count ? log->segments[i + 1].first - 1 : log->last;
}

/* ---- Segments ---- */

/* Memory for the next record and segment, so that a turn that was accepted can be logged. */
static int reserve_memory(struct pn_log *log) {
	if (log->count == log->capacity) {
		const size_t capacity = log->capacity + 8;
		struct segment *const segments =
			pn_realloc(log->segments, capacity * sizeof(*segments));
		if (segments == NULL)
			return PN_ENOMEM;
		log->segments = segments;
		log->capacity = capacity;
	}
	pn_buf_reset(&log->frame, KEEP);
	return pn_buf_reserve(&log->frame, PN_LOG_HEADER);
}

static int allocate(int fd, uint64_t size) {
	const bool failed = fallocate(fd, 0, 0, (off_t)size) != 0 && errno != EOPNOTSUPP;
	return failed ? pn_db_error(errno) : PN_OK;
}

static int create_next(struct pn_log *log, uint64_t size) {
	const int fd = openat(log->directory, PN_LOG_NEXT, O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
	if (fd < 0)
		return pn_db_error(errno);
	const int err = allocate(fd, size);
	if (err != PN_OK)
		close(fd);
	else
		log->next = (struct segment){.size = size, .fd = fd};
	return err;
}

/* Allocates the file of the next segment for a record of `size` bytes. */
static int prepare(struct pn_log *log, uint64_t size) {
	const uint64_t wanted = PN_LOG_HEADER + size > SEGMENT ? PN_LOG_HEADER + size : SEGMENT;
	if (log->next.fd < 0)
		return create_next(log, wanted);
	if (log->next.size >= wanted)
		return PN_OK;
	const int err = allocate(log->next.fd, wanted);
	if (err == PN_OK)
		log->next.size = wanted;
	return err;
}

static int written(ssize_t len, size_t size) {
	if (len < 0)
		return pn_db_error(errno);
	return (size_t)len == size ? PN_OK : PN_ENOSPACE;
}

static int write_header(struct pn_log *log, uint64_t *seed) {
	pn_buf_reset(&log->frame, KEEP);
	const int err = pn_log_write_header(&log->frame, &log->id, log->last + 1, seed);
	if (err != PN_OK)
		return err;
	return written(pwrite(log->next.fd, log->frame.data, log->frame.len, 0), log->frame.len);
}

/* Takes the prepared file into use. */
static int begin_segment(struct pn_log *log) {
	char name[PN_LOG_NAME];
	uint64_t seed;
	struct segment segment = log->next;
	segment.first = log->last + 1;
	const int err = write_header(log, &seed);
	if (err != PN_OK)
		return err;
	pn_log_name(name, segment.first);
	if (renameat(log->directory, PN_LOG_NEXT, log->directory, name) != 0)
		return pn_db_error(errno);
	log->segments[log->count++] = segment;
	log->next = (struct segment){.fd = -1};
	log->names_changed = true;
	log->seed = seed;
	log->at = PN_LOG_HEADER;
	return PN_OK;
}

static bool fits(const struct pn_log *log, uint64_t size) {
	return log->at > 0 && log->segments[log->count - 1].size - log->at >= size;
}

/* ---- Appending ---- */

int pn_log_reserve(struct pn_log *log, size_t len, bool removes) {
	const size_t size = pn_log_record_size(len);
	if (log->failed)
		return PN_EIO;
	const int err = reserve_memory(log);
	if (err != PN_OK || fits(log, removes ? size : size + SET_ASIDE))
		return err;
	return prepare(log, size);
}

/* The parts of a record are written by one call. */
static int write_record(struct pn_log *log, const void *payload, uint32_t len, size_t size) {
	static const unsigned char zeros[PN_LOG_ALIGN];
	pn_buf_reset(&log->frame, KEEP);
	pn_log_write_head(&log->frame, log->seed, log->last + 1, log->synced, payload, len);
	if (log->frame.err != PN_OK)
		return log->frame.err;
	const struct iovec parts[] = {
		{log->frame.data, log->frame.len},
		{(void *)payload, len},
		{(void *)zeros, size - PN_LOG_RECORD - len},
	};
	const int fd = log->segments[log->count - 1].fd;
	return written(pwritev(fd, parts, 3, (off_t)log->at), size);
}

int pn_log_append(struct pn_log *log, const void *payload, uint32_t len) {
	const size_t size = pn_log_record_size(len);
	int err = pn_log_reserve(log, len, true); /* as a rule it is reserved */
	if (err == PN_OK && !fits(log, size))
		err = begin_segment(log);
	if (err == PN_OK)
		err = write_record(log, payload, len, size);
	if (err != PN_OK)
		return err;
	log->at += size;
	log->last++;
	return PN_OK;
}

/* ---- Removing ---- */

/* Keeps a file that was renamed to be written again: its space is allocated, also on a full disk.
 */
static int reuse(struct pn_log *log, struct segment segment) {
	if (segment.fd < 0)
		segment.fd = openat(log->directory, PN_LOG_NEXT, O_RDWR | O_CLOEXEC);
	if (segment.fd < 0)
		return pn_db_error(errno);
	if (segment.size > SEGMENT && ftruncate(segment.fd, SEGMENT) == 0)
		segment.size = SEGMENT;
	log->next = (struct segment){.size = segment.size, .fd = segment.fd};
	return PN_OK;
}

/* The oldest segment becomes the next one, if there is none. */
static int remove_oldest(struct pn_log *log) {
	char name[PN_LOG_NAME];
	const struct segment oldest = log->segments[0];
	const bool again = log->next.fd < 0;
	pn_log_name(name, oldest.first);
	const int changed = again ? renameat(log->directory, name, log->directory, PN_LOG_NEXT)
				  : unlinkat(log->directory, name, 0);
	if (changed != 0 && errno != ENOENT) /* another process may have cut it */
		return pn_db_error(errno);
	log->count--;
	memmove(log->segments, log->segments + 1, log->count * sizeof(oldest));
	if (log->count == 0)
		log->at = 0;
	log->names_changed = true;
	if (again && changed == 0)
		return reuse(log, oldest);
	if (oldest.fd >= 0)
		close(oldest.fd);
	return PN_OK;
}

/* The newest one is written further, unless it is nearly full: on a full disk there is no other. */
static bool is_spent(const struct pn_log *log) {
	return log->count > 1 || (log->count == 1 && !fits(log, SET_ASIDE));
}

int pn_log_cut(struct pn_log *log, uint64_t last, unsigned most) {
	const uint64_t end = last < log->synced ? last : log->synced;
	for (; is_spent(log) && last_of(log, 0) <= end; most--) {
		if (most == 0)
			return 1;
		const int err = remove_oldest(log);
		if (err != PN_OK)
			return err;
	}
	return PN_OK;
}

/* ---- Syncing ---- */

bool pn_log_sync_begin(struct pn_log *log, struct pn_log_sync *sync) {
	*sync = (struct pn_log_sync){.directory = -1, .last = log->synced};
	for (size_t i = 0; i < log->count && sync->count < PN_LOG_SYNC_FILES; i++) {
		if (last_of(log, i) <= log->synced)
			continue;
		sync->files[sync->count++] = log->segments[i].fd;
		sync->last = last_of(log, i);
	}
	if (sync->count == 0)
		return false; /* that a segment was removed needs no sync: it holds nothing new */
	if (log->names_changed)
		sync->directory = log->directory;
	log->names_changed = false;
	return true;
}

int pn_log_sync_run(const struct pn_log_sync *sync) {
	for (size_t i = 0; i < sync->count; i++)
		if (fdatasync(sync->files[i]) != 0)
			return PN_EIO;
	if (sync->directory >= 0 && fsync(sync->directory) != 0)
		return PN_EIO;
	return PN_OK;
}

void pn_log_sync_end(struct pn_log *log, const struct pn_log_sync *sync, int result) {
	if (result != PN_OK) {
		log->failed = log->failed || result == PN_EIO;
		log->names_changed = log->names_changed || sync->directory >= 0;
		return;
	}
	log->synced = sync->last;
	for (size_t i = 0; i + 1 < log->count; i++) {
		struct segment *const segment = &log->segments[i];
		if (segment->fd >= 0 && last_of(log, i) <= log->synced) {
			close(segment->fd);
			segment->fd = -1;
		}
	}
}

/* ---- Opening and closing ---- */

/* Adds a segment of an earlier opening, or removes one that has only what was dropped. */
static int take_over(struct pn_log *log, uint64_t first) {
	char name[PN_LOG_NAME];
	pn_log_name(name, first);
	if (first > log->last) {
		log->names_changed = true;
		return unlinkat(log->directory, name, 0) == 0 ? PN_OK : pn_db_error(errno);
	}
	struct segment segment = {.first = first};
	segment.fd = openat(log->directory, name, O_RDWR | O_CLOEXEC);
	if (segment.fd < 0)
		return pn_db_error(errno);
	const off_t size = lseek(segment.fd, 0, SEEK_END);
	segment.size = (uint64_t)size;
	const int err = size < 0 ? pn_db_error(errno) : reserve_memory(log);
	if (err == PN_OK)
		log->segments[log->count++] = segment;
	else
		close(segment.fd);
	return err;
}

/* What is prepared may have been in use: named again, its old records would be there again. */
static int take_over_all(struct pn_log *log) {
	struct pn_log_list list;
	if (unlinkat(log->directory, PN_LOG_NEXT, 0) != 0 && errno != ENOENT)
		return pn_db_error(errno);
	int err = pn_log_list(log->directory, &list);
	for (size_t i = 0; err == PN_OK && i < list.count; i++)
		err = take_over(log, list.firsts[i]);
	pn_free(list.firsts);
	return err;
}

bool pn_log_was_continued(const struct pn_log *log) {
	char name[PN_LOG_NAME];
	pn_log_name(name, log->last + 1);
	return faccessat(log->directory, name, F_OK, 0) == 0;
}

int pn_log_open(struct pn_log **out, int directory, const struct pn_log_id *id, uint64_t last,
		uint64_t synced) {
	struct pn_log *const log = pn_malloc(sizeof(*log));
	if (log == NULL)
		return PN_ENOMEM;
	*log = (struct pn_log){
		.directory = directory,
		.id = *id,
		.last = last,
		.synced = synced,
		.next = {.fd = -1},
		.names_changed = true, /* of segments whose writer was killed */
	};
	const int err = take_over_all(log);
	if (err != PN_OK) {
		pn_log_close(log);
		return err;
	}
	*out = log;
	return PN_OK;
}

void pn_log_close(struct pn_log *log) {
	if (log == NULL)
		return;
	for (size_t i = 0; i < log->count; i++)
		if (log->segments[i].fd >= 0)
			close(log->segments[i].fd);
	if (log->next.fd >= 0)
		close(log->next.fd);
	pn_free(log->segments);
	pn_buf_free(&log->frame);
	pn_free(log);
}
