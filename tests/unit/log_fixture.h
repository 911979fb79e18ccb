/* A log in a directory of its own. The linker puts this file between it and the system calls. */
#ifndef TEST_LOG_FIXTURE_H
#define TEST_LOG_FIXTURE_H

#include <errno.h>
#include <sys/uio.h>

#include <pn/log.h>

#include "../../modules/db/log_segment.h"
#include "store_fixture.h"

enum { SEGMENT = 1024 * 1024, LARGE = 300 * 1024 };

/* ---- System calls that fail on demand: with this errno, 0 for not ---- */

static struct {
	int pwritev;
	size_t pwritev_most; /* bytes that are written, where that is less than asked; 0: all */
	int fallocate;
	int fdatasync;
} faults;

ssize_t __real_pwritev(int fd, const struct iovec *parts, int count, off_t at);
ssize_t __wrap_pwritev(int fd, const struct iovec *parts, int count, off_t at);
int __real_fallocate(int fd, int mode, off_t from, off_t len);
int __wrap_fallocate(int fd, int mode, off_t from, off_t len);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

ssize_t __wrap_pwritev(int fd, const struct iovec *parts, int count, off_t at) {
	if (faults.pwritev_most > 0)
		return pwrite(fd, parts[0].iov_base, faults.pwritev_most, at);
	errno = faults.pwritev;
	return errno != 0 ? -1 : __real_pwritev(fd, parts, count, at);
}

int __wrap_fallocate(int fd, int mode, off_t from, off_t len) {
	errno = faults.fallocate;
	return errno != 0 ? -1 : __real_fallocate(fd, mode, from, len);
}

int __wrap_fdatasync(int fd) {
	errno = faults.fdatasync;
	return errno != 0 ? -1 : __real_fdatasync(fd);
}

/* ---- A log in a directory of its own ---- */

static const struct pn_log_id ID = {"0123456789abcde", 7};

struct fixture_log {
	char path[PATH_SIZE];
	int directory;
	struct pn_log *log;
};

static inline void open_log(struct fixture_log *f, uint64_t last, uint64_t synced) {
	REQUIRE(pn_log_open(&f->log, f->directory, &ID, last, synced) == PN_OK);
}

static inline struct fixture_log make(void) {
	struct fixture_log f = {0};
	memset(&faults, 0, sizeof(faults));
	directory_make(f.path);
	f.directory = open(f.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	REQUIRE(f.directory >= 0);
	open_log(&f, 0, 0);
	return f;
}

static inline void finish(struct fixture_log *f) {
	pn_log_close(f->log);
	close(f->directory);
	directory_remove(f->path);
}

static inline void write_text(struct fixture_log *f, const char *text) {
	REQUIRE(pn_log_append(f->log, text, (uint32_t)strlen(text)) == PN_OK);
}

/* Appends a record of `len` bytes, all of them `filler`. */
static inline void write_large(struct fixture_log *f, char filler, uint32_t len) {
	char *const bytes = malloc(len + 1);
	REQUIRE(bytes != NULL);
	memset(bytes, filler, len);
	REQUIRE(pn_log_append(f->log, bytes, len) == PN_OK);
	free(bytes);
}

static inline int sync_log(struct fixture_log *f) {
	struct pn_log_sync sync;
	if (!pn_log_sync_begin(f->log, &sync))
		return PN_OK;
	const int result = pn_log_sync_run(&sync);
	pn_log_sync_end(f->log, &sync, result);
	return result;
}

/* ---- What is read: each record as NUMBER:TEXT, of a large one only the first byte and length ----
 */

struct seen {
	char text[4096];
	size_t len;
	int refuse; /* an error that the visit returns */
};

static inline int note(void *context, uint64_t number, const void *payload, size_t len) {
	struct seen *const seen = context;
	const char *const bytes = payload;
	if (seen->refuse != 0)
		return seen->refuse;
	const size_t room = sizeof(seen->text) - seen->len;
	char *const at = seen->text + seen->len;
	const int used = len < 64 ? snprintf(at, room, "%d:%.*s ", (int)number, (int)len, bytes)
				  : snprintf(at, room, "%d:%cx%zu ", (int)number, bytes[0], len);
	REQUIRE(used > 0 && (size_t)used < room);
	seen->len += (size_t)used;
	return PN_OK;
}

static inline int read_log(const struct fixture_log *f, uint64_t after, struct seen *seen,
			   uint64_t *last) {
	seen->text[0] = '\0';
	seen->len = 0;
	return pn_log_read(f->directory, &ID, after, note, seen, last);
}

#define CHECK_READ(f, after, want_last, want)                                                      \
	do {                                                                                       \
		struct seen seen = {0};                                                            \
		uint64_t last = 0;                                                                 \
		CHECK(read_log((f), (after), &seen, &last) == PN_OK);                              \
		CHECK_STR(seen.text, (want));                                                      \
		CHECK(last == (want_last));                                                        \
	} while (0)

static inline void check_refused(const struct fixture_log *f, uint64_t after, int want,
				 uint64_t want_last) {
	struct seen seen = {0};
	uint64_t last = 0;
	CHECK(read_log(f, after, &seen, &last) == want);
	CHECK(last == want_last);
}

/* ---- Files ---- */

static inline bool has_file(const struct fixture_log *f, const char *name) {
	return faccessat(f->directory, name, F_OK, 0) == 0;
}

static inline void overwrite(const struct fixture_log *f, const char *name, off_t at,
			     const void *bytes, size_t len) {
	const int fd = openat(f->directory, name, O_RDWR | O_CLOEXEC);
	REQUIRE(fd >= 0 && pwrite(fd, bytes, len, at) == (ssize_t)len);
	close(fd);
}

static inline void flip(const struct fixture_log *f, const char *name, off_t at) {
	unsigned char byte;
	const int fd = openat(f->directory, name, O_RDWR | O_CLOEXEC);
	REQUIRE(fd >= 0 && pread(fd, &byte, 1, at) == 1);
	byte ^= 1;
	REQUIRE(pwrite(fd, &byte, 1, at) == 1);
	close(fd);
}

#define FIRST "log.0000000000000001"

#endif
