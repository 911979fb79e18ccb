/*
 * pn/log.h: records come back as they were written, in order; whatever part of the log is missing,
 * old or damaged is never taken for a record. The linker puts this file between the log and the
 * system calls.
 */
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

static void open_log(struct fixture_log *f, uint64_t last, uint64_t synced) {
	REQUIRE(pn_log_open(&f->log, f->directory, &ID, last, synced) == PN_OK);
}

static struct fixture_log make(void) {
	struct fixture_log f = {0};
	memset(&faults, 0, sizeof(faults));
	directory_make(f.path);
	f.directory = open(f.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	REQUIRE(f.directory >= 0);
	open_log(&f, 0, 0);
	return f;
}

static void finish(struct fixture_log *f) {
	pn_log_close(f->log);
	close(f->directory);
	directory_remove(f->path);
}

static void write_text(struct fixture_log *f, const char *text) {
	REQUIRE(pn_log_append(f->log, text, (uint32_t)strlen(text)) == PN_OK);
}

/* Appends a record of `len` bytes, all of them `filler`. */
static void write_large(struct fixture_log *f, char filler, uint32_t len) {
	char *const bytes = malloc(len + 1);
	REQUIRE(bytes != NULL);
	memset(bytes, filler, len);
	REQUIRE(pn_log_append(f->log, bytes, len) == PN_OK);
	free(bytes);
}

static int sync_log(struct fixture_log *f) {
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

static int note(void *context, uint64_t number, const void *payload, size_t len) {
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

static int read_log(const struct fixture_log *f, uint64_t after, struct seen *seen,
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

static void check_refused(const struct fixture_log *f, uint64_t after, int want,
			  uint64_t want_last) {
	struct seen seen = {0};
	uint64_t last = 0;
	CHECK(read_log(f, after, &seen, &last) == want);
	CHECK(last == want_last);
}

/* ---- Files ---- */

static bool has_file(const struct fixture_log *f, const char *name) {
	return faccessat(f->directory, name, F_OK, 0) == 0;
}

static void overwrite(const struct fixture_log *f, const char *name, off_t at, const void *bytes,
		      size_t len) {
	const int fd = openat(f->directory, name, O_RDWR | O_CLOEXEC);
	REQUIRE(fd >= 0 && pwrite(fd, bytes, len, at) == (ssize_t)len);
	close(fd);
}

static void flip(const struct fixture_log *f, const char *name, off_t at) {
	unsigned char byte;
	const int fd = openat(f->directory, name, O_RDWR | O_CLOEXEC);
	REQUIRE(fd >= 0 && pread(fd, &byte, 1, at) == 1);
	byte ^= 1;
	REQUIRE(pwrite(fd, &byte, 1, at) == 1);
	close(fd);
}

#define FIRST "log.0000000000000001"

/* ---- Reading what was written ---- */

TEST(a_log_without_files_holds_nothing) {
	struct fixture_log f = make();
	CHECK_READ(&f, 0, 0, "");
	CHECK_READ(&f, 7, 7, "");
	finish(&f);
}

TEST(records_come_back_in_order) {
	struct fixture_log f = make();
	write_text(&f, "one");
	write_text(&f, "two");
	write_text(&f, "");
	write_text(&f, "four");
	CHECK(pn_log_last(f.log) == 4);
	CHECK_READ(&f, 0, 4, "1:one 2:two 3: 4:four ");
	finish(&f);
}

TEST(records_that_the_reader_has_are_passed_over) {
	struct fixture_log f = make();
	write_text(&f, "one");
	write_text(&f, "two");
	write_text(&f, "three");
	CHECK_READ(&f, 2, 3, "3:three ");
	CHECK_READ(&f, 3, 3, "");
	finish(&f);
}

TEST(a_data_file_may_be_ahead_of_the_log) {
	struct fixture_log f = make();
	write_text(&f, "one");
	CHECK_READ(&f, 9, 9, "");
	finish(&f);
}

TEST(an_error_of_the_visit_ends_the_reading) {
	struct fixture_log f = make();
	struct seen seen = {.refuse = PN_ENOSPACE};
	uint64_t last;
	write_text(&f, "one");
	CHECK(pn_log_read(f.directory, &ID, 0, note, &seen, &last) == PN_ENOSPACE);
	finish(&f);
}

TEST(a_log_is_written_further_by_the_next_opening) {
	struct fixture_log f = make();
	write_text(&f, "one");
	pn_log_close(f.log);
	open_log(&f, 1, 0);
	write_text(&f, "two");
	pn_log_close(f.log);
	open_log(&f, 2, 0);
	write_text(&f, "three");
	CHECK_READ(&f, 0, 3, "1:one 2:two 3:three ");
	CHECK_READ(&f, 1, 3, "2:two 3:three ");
	finish(&f);
}

/* ---- Segments ---- */

TEST(records_fill_one_segment_after_another) {
	struct fixture_log f = make();
	for (char c = 'a'; c <= 'h'; c++)
		write_large(&f, c, LARGE);
	CHECK(has_file(&f, FIRST) && has_file(&f, "log.0000000000000004"));
	CHECK(has_file(&f, "log.0000000000000007"));
	CHECK_READ(&f, 0, 8,
		   "1:ax307200 2:bx307200 3:cx307200 4:dx307200 5:ex307200 6:fx307200 7:gx307200 "
		   "8:hx307200 ");
	CHECK_READ(&f, 6, 8, "7:gx307200 8:hx307200 ");
	CHECK(pn_log_bytes(f.log) == 3 * SEGMENT);
	finish(&f);
}

TEST(a_record_may_be_larger_than_a_segment) {
	struct fixture_log f = make();
	write_text(&f, "small");
	write_large(&f, 'L', 3 * SEGMENT + 5);
	write_text(&f, "small again");
	CHECK_READ(&f, 0, 3, "1:small 2:Lx3145733 3:small again ");
	finish(&f);
}

TEST(segments_that_nobody_needs_are_removed_and_one_is_written_again) {
	struct fixture_log f = make();
	for (char c = 'a'; c <= 'h'; c++)
		write_large(&f, c, LARGE);
	CHECK(sync_log(&f) == PN_OK);
	CHECK(pn_log_cut(f.log, 5) == PN_OK);
	CHECK(!has_file(&f, FIRST) && has_file(&f, "log.0000000000000004"));
	CHECK(has_file(&f, PN_LOG_NEXT));
	CHECK(pn_log_cut(f.log, 8) == PN_OK); /* there is space in the newest one */
	CHECK(!has_file(&f, "log.0000000000000004") && has_file(&f, "log.0000000000000007"));
	CHECK(pn_log_bytes(f.log) == 2 * SEGMENT);
	write_large(&f, 'i', LARGE);
	write_text(&f, "in the file that was the first");
	write_large(&f, 'k', LARGE);
	CHECK(!has_file(&f, PN_LOG_NEXT));
	CHECK_READ(&f, 8, 11, "9:ix307200 10:in the file that was the first 11:kx307200 ");
	finish(&f);
}

TEST(a_segment_that_is_not_durable_is_not_removed) {
	struct fixture_log f = make();
	for (char c = 'a'; c <= 'd'; c++)
		write_large(&f, c, LARGE);
	CHECK(pn_log_cut(f.log, 4) == PN_OK);
	CHECK(has_file(&f, FIRST));
	finish(&f);
}

TEST(a_segment_of_an_earlier_opening_is_removed) {
	struct fixture_log f = make();
	write_text(&f, "one");
	pn_log_close(f.log);
	open_log(&f, 1, 1);
	write_text(&f, "two");
	CHECK(sync_log(&f) == PN_OK);
	CHECK(pn_log_cut(f.log, 1) == PN_OK);
	CHECK(!has_file(&f, FIRST));
	CHECK_READ(&f, 1, 2, "2:two ");
	finish(&f);
}

/* The power failed before the file got its name, and again before its new content was there. */
TEST(a_segment_that_was_prepared_by_another_opening_is_not_used) {
	struct fixture_log f = make();
	write_text(&f, "old");
	pn_log_close(f.log);
	REQUIRE(renameat(f.directory, FIRST, f.directory, PN_LOG_NEXT) == 0);
	open_log(&f, 0, 0);
	CHECK(!has_file(&f, PN_LOG_NEXT));
	write_text(&f, "new");
	CHECK_READ(&f, 0, 1, "1:new ");
	finish(&f);
}

/* ---- The end of the log ---- */

/* Where each record of "one", "two", "three" begins: each takes 40 bytes. */
enum { ONE = PN_LOG_HEADER, TWO = ONE + 40, THREE = TWO + 40, END = THREE + 40 };

static void write_three(struct fixture_log *f) {
	write_text(f, "one");
	write_text(f, "two");
	write_text(f, "three");
}

TEST(a_file_that_ends_anywhere_has_the_records_before) {
	static const char *const want[] = {"", "1:one ", "1:one 2:two ", "1:one 2:two 3:three "};
	const off_t padding = 5;
	for (off_t end = 0; end <= END; end++) {
		struct fixture_log f = make();
		write_three(&f);
		const int fd = openat(f.directory, FIRST, O_RDWR | O_CLOEXEC);
		REQUIRE(fd >= 0 && ftruncate(fd, end) == 0);
		close(fd);
		const uint64_t count = end < TWO - padding     ? 0
				       : end < THREE - padding ? 1
				       : end < END - 3         ? 2
							       : 3;
		CHECK_READ(&f, 0, count, want[count]);
		finish(&f);
	}
}

TEST(a_damaged_byte_ends_the_log_before_its_record) {
	static const char *const want[] = {"", "1:one ", "1:one 2:two "};
	for (off_t at = 0; at < END; at++) {
		struct fixture_log f = make();
		write_three(&f);
		flip(&f, FIRST, at);
		const uint64_t count = at < TWO ? 0 : at < THREE ? 1 : 2;
		const off_t padding = 5; /* of "one" and "two"; no check covers it */
		const bool harmless = (at >= TWO - padding && at < TWO) ||
				      (at >= THREE - padding && at < THREE) || at >= END - 3;
		if (!harmless)
			CHECK_READ(&f, 0, count, want[count]);
		finish(&f);
	}
}

TEST(what_was_dropped_never_comes_back) {
	struct fixture_log f = make();
	write_three(&f);
	flip(&f, FIRST, TWO);
	pn_log_close(f.log);
	open_log(&f, 1, 0);
	write_text(&f, "new");
	CHECK_READ(&f, 0, 2, "1:one 2:new ");
	flip(&f, FIRST, TWO); /* as it was */
	CHECK_READ(&f, 0, 2, "1:one 2:new ");
	finish(&f);
}

TEST(segments_behind_the_end_are_dropped) {
	struct fixture_log f = make();
	for (char c = 'a'; c <= 'h'; c++)
		write_large(&f, c, LARGE);
	flip(&f, FIRST, ONE + 40);
	CHECK_READ(&f, 0, 0, "");
	pn_log_close(f.log);
	open_log(&f, 0, 0);
	CHECK(!has_file(&f, FIRST) && !has_file(&f, "log.0000000000000007"));
	write_text(&f, "new");
	CHECK_READ(&f, 0, 1, "1:new ");
	finish(&f);
}

TEST(a_renamed_segment_that_was_not_written_holds_nothing) {
	struct fixture_log f = make();
	write_three(&f);
	REQUIRE(renameat(f.directory, FIRST, f.directory, "log.0000000000000004") == 0);
	CHECK_READ(&f, 3, 3, "");
	finish(&f);
}

/* ---- Damage ---- */

TEST(a_durable_record_that_is_damaged_is_an_error) {
	struct fixture_log f = make();
	write_text(&f, "one");
	write_text(&f, "two");
	CHECK(sync_log(&f) == PN_OK);
	write_text(&f, "three");
	flip(&f, FIRST, ONE);
	check_refused(&f, 0, PN_ECORRUPT, 0);
	flip(&f, FIRST, ONE);
	flip(&f, FIRST, TWO + 33);
	check_refused(&f, 0, PN_ECORRUPT, 1);
	CHECK_READ(&f, 2, 2, ""); /* nobody needs it any more */
	finish(&f);
}

TEST(damage_is_found_from_later_segments_too) {
	struct fixture_log f = make();
	for (char c = 'a'; c <= 'f'; c++)
		write_large(&f, c, LARGE);
	CHECK(sync_log(&f) == PN_OK);
	write_large(&f, 'g', LARGE);
	flip(&f, FIRST, ONE + 40);
	check_refused(&f, 0, PN_ECORRUPT, 0);
	flip(&f, FIRST, 20); /* and its header */
	check_refused(&f, 0, PN_ECORRUPT, 0);
	finish(&f);
}

TEST(a_log_of_another_file_is_refused) {
	static const struct pn_log_id others[] = {{"0123456789abcde", 8}, {"1123456789abcde", 7}};
	struct fixture_log f = make();
	struct seen seen = {0};
	uint64_t last;
	write_text(&f, "one");
	for (int i = 0; i < 2; i++) {
		CHECK(pn_log_read(f.directory, &others[i], 0, note, &seen, &last) == PN_EFOREIGN);
		CHECK(last == 0 && seen.len == 0);
	}
	finish(&f);
}

TEST(a_log_with_a_gap_is_refused) {
	struct fixture_log f = make();
	for (char c = 'a'; c <= 'h'; c++)
		write_large(&f, c, LARGE);
	REQUIRE(unlinkat(f.directory, FIRST, 0) == 0);
	check_refused(&f, 0, PN_EFOREIGN, 0);
	check_refused(&f, 2, PN_EFOREIGN, 2);
	CHECK_READ(&f, 7, 8, "8:hx307200 ");
	finish(&f);
}

TEST(a_log_of_a_newer_format_is_refused) {
	struct fixture_log f = make();
	struct pn_buf header = {0};
	uint64_t seed;
	write_text(&f, "one");
	REQUIRE(pn_log_write_header(&header, &ID, 1, &seed) == PN_OK);
	header.data[11] = 2;
	header.len = PN_LOG_HEADER - 8;
	seed = pn_log_seed(header.data);
	pn_wire_put_u64(&header, seed);
	overwrite(&f, FIRST, 0, header.data, header.len);
	pn_buf_free(&header);
	check_refused(&f, 0, PN_EVERSION, 0);
	finish(&f);
}

TEST(a_rejected_log_is_read_no_more) {
	struct fixture_log f = make();
	write_text(&f, "one");
	pn_log_close(f.log);
	CHECK(pn_log_reject(f.directory) == PN_OK);
	CHECK(has_file(&f, "rejected.0000000000000001"));
	CHECK_READ(&f, 0, 0, "");
	open_log(&f, 0, 0);
	write_text(&f, "new");
	CHECK_READ(&f, 0, 1, "1:new ");
	finish(&f);
}

/* ---- Syncing ---- */

TEST(records_are_durable_once_they_are_synced) {
	struct fixture_log f = make();
	struct pn_log_sync sync;
	write_text(&f, "one");
	REQUIRE(pn_log_sync_begin(f.log, &sync));
	write_text(&f, "two"); /* while the thread waits for the disk */
	pn_log_sync_end(f.log, &sync, pn_log_sync_run(&sync));
	CHECK(pn_log_synced(f.log) == 1);
	CHECK(sync_log(&f) == PN_OK);
	CHECK(pn_log_synced(f.log) == 2);
	CHECK(!pn_log_sync_begin(f.log, &sync));
	finish(&f);
}

TEST(many_segments_are_synced_in_steps) {
	struct fixture_log f = make();
	for (int i = 0; i < 3 * PN_LOG_SYNC_FILES * 2; i++)
		write_large(&f, 'x', LARGE);
	CHECK(sync_log(&f) == PN_OK);
	CHECK(pn_log_synced(f.log) == 3 * PN_LOG_SYNC_FILES);
	CHECK(sync_log(&f) == PN_OK);
	CHECK(pn_log_synced(f.log) == pn_log_last(f.log));
	finish(&f);
}

TEST(after_a_failed_sync_nothing_is_appended) {
	struct fixture_log f = make();
	write_text(&f, "one");
	faults.fdatasync = EIO;
	CHECK(sync_log(&f) == PN_EIO);
	faults.fdatasync = 0;
	CHECK(pn_log_append(f.log, "two", 3) == PN_EIO);
	CHECK(pn_log_synced(f.log) == 0);
	finish(&f);
}

/* ---- A full disk ---- */

TEST(a_full_disk_is_told_before_the_record) {
	struct fixture_log f = make();
	faults.fallocate = ENOSPC;
	CHECK(pn_log_reserve(f.log, 100, false) == PN_ENOSPACE);
	CHECK(pn_log_append(f.log, "one", 3) == PN_ENOSPACE);
	faults.fallocate = 0;
	write_text(&f, "one");
	faults.fallocate = ENOSPC;
	write_text(&f, "two"); /* inside the segment */
	CHECK(pn_log_reserve(f.log, SEGMENT, true) == PN_ENOSPACE);
	CHECK_READ(&f, 0, 2, "1:one 2:two ");
	finish(&f);
}

TEST(on_a_full_disk_space_is_kept_for_operations_that_free_some) {
	struct fixture_log f = make();
	write_large(&f, 'a', SEGMENT - LARGE);
	faults.fallocate = ENOSPC;
	CHECK(pn_log_reserve(f.log, LARGE / 2, false) == PN_ENOSPACE);
	CHECK(pn_log_reserve(f.log, LARGE / 2, true) == PN_OK);
	write_large(&f, 'b', LARGE / 2);
	CHECK(pn_log_reserve(f.log, LARGE, true) == PN_ENOSPACE);
	CHECK(sync_log(&f) == PN_OK && pn_log_cut(f.log, 2) == PN_OK);
	CHECK(pn_log_reserve(f.log, LARGE, false) == PN_OK); /* the segment is written again */
	write_large(&f, 'c', LARGE);
	CHECK_READ(&f, 2, 3, "3:cx307200 ");
	finish(&f);
}

TEST(space_that_was_reserved_suffices) {
	struct fixture_log f = make();
	CHECK(pn_log_reserve(f.log, 2 * SEGMENT, false) == PN_OK);
	faults.fallocate = ENOSPC;
	write_large(&f, 'a', 2 * SEGMENT);
	CHECK_READ(&f, 0, 1, "1:ax2097152 ");
	finish(&f);
}

TEST(a_file_system_that_allocates_nothing_is_used_all_the_same) {
	struct fixture_log f = make();
	faults.fallocate = EOPNOTSUPP;
	for (char c = 'a'; c <= 'd'; c++)
		write_large(&f, c, LARGE);
	CHECK_READ(&f, 2, 4, "3:cx307200 4:dx307200 ");
	finish(&f);
}

TEST(a_record_that_was_not_written_whole_is_not_there) {
	struct fixture_log f = make();
	write_text(&f, "one");
	faults.pwritev_most = 20;
	CHECK(pn_log_append(f.log, "cut short", 9) == PN_ENOSPACE);
	faults.pwritev_most = 0;
	faults.pwritev = EIO;
	CHECK(pn_log_append(f.log, "refused", 7) == PN_EIO);
	faults.pwritev = 0;
	CHECK(pn_log_last(f.log) == 1);
	CHECK_READ(&f, 0, 1, "1:one ");
	write_text(&f, "two");
	CHECK_READ(&f, 0, 2, "1:one 2:two ");
	finish(&f);
}

/* ---- Memory ---- */

static int use_log(struct fixture_log *f) {
	struct seen seen = {0};
	uint64_t last;
	int err = pn_log_open(&f->log, f->directory, &ID, 1, 0);
	if (err == PN_OK)
		err = pn_log_append(f->log, "two", 3);
	if (err == PN_OK)
		err = pn_log_read(f->directory, &ID, 0, note, &seen, &last);
	if (err == PN_OK)
		CHECK_STR(seen.text, "1:one 2:two ");
	return err;
}

TEST(a_failing_allocation_is_an_error_and_loses_nothing) {
	int err = PN_ENOMEM;
	for (size_t n = 1; err == PN_ENOMEM; n++) {
		struct fixture_log f = make();
		write_text(&f, "one");
		pn_log_close(f.log);
		f.log = NULL;
		test_alloc_fail(n, false);
		err = use_log(&f);
		test_alloc_fail(0, false);
		CHECK(err == PN_OK || err == PN_ENOMEM);
		struct seen seen = {0};
		uint64_t last;
		CHECK(read_log(&f, 0, &seen, &last) == PN_OK && last >= 1);
		finish(&f);
	}
	CHECK(err == PN_OK);
}

int main(void) {
	return test_run("log");
}
