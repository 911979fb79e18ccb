/* pn/log.h: records come back as they were written, in order; segments, syncs, a full disk. */
#include <limits.h>
#include <sys/resource.h>

#include "log_fixture.h"

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
	CHECK(pn_log_cut(f.log, 5, UINT_MAX) == PN_OK);
	CHECK(!has_file(&f, FIRST) && has_file(&f, "log.0000000000000004"));
	CHECK(has_file(&f, PN_LOG_NEXT));
	CHECK(pn_log_cut(f.log, 8, UINT_MAX) == PN_OK); /* there is space in the newest one */
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
	CHECK(pn_log_cut(f.log, 4, UINT_MAX) == PN_OK);
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
	CHECK(pn_log_cut(f.log, 1, UINT_MAX) == PN_OK);
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

/* ---- Beside another process, which has the log open as well. The writer's lock is passed on. ----
 */

/* Fills a segment, and prepares the next one. */
static struct fixture_log make_full(void) {
	struct fixture_log f = make();
	write_large(&f, 'a', SEGMENT - LARGE);
	CHECK(pn_log_reserve(f.log, LARGE, false) == PN_OK);
	CHECK(has_file(&f, PN_LOG_NEXT));
	return f;
}

TEST(a_prepared_segment_that_another_process_has_removed_is_prepared_again) {
	struct fixture_log f = make_full();
	struct pn_log *const own = f.log;
	open_log(&f, 1, 0);
	CHECK(!has_file(&f, PN_LOG_NEXT));
	pn_log_close(f.log);
	f.log = own;
	write_large(&f, 'b', LARGE);
	CHECK_READ(&f, 0, 2, "1:ax741376 2:bx307200 ");
	finish(&f);
}

TEST(a_prepared_segment_of_another_process_is_not_used) {
	struct fixture_log f = make_full();
	struct pn_log *const own = f.log;
	open_log(&f, 1, 0);
	struct pn_log *const other = f.log;
	CHECK(pn_log_reserve(other, SEGMENT / 2, false) == PN_OK);
	CHECK(has_file(&f, PN_LOG_NEXT));
	f.log = own;
	write_large(&f, 'b', LARGE);
	CHECK_READ(&f, 0, 2, "1:ax741376 2:bx307200 ");
	CHECK(!pn_log_may_be_continued(own) && pn_log_may_be_continued(other));
	pn_log_close(other);
	finish(&f);
}

TEST(a_log_of_more_segments_than_files_may_be_open_is_opened_and_cut) {
	enum { SEGMENTS = 40, FILES = 30 };
	struct fixture_log f = make();
	struct rlimit limit, few;
	for (int i = 0; i < SEGMENTS; i++)
		write_large(&f, 'x', SEGMENT - LARGE);
	while (pn_log_synced(f.log) < pn_log_last(f.log))
		CHECK(sync_log(&f) == PN_OK);
	pn_log_close(f.log);
	REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	few = limit;
	few.rlim_cur = FILES;
	REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
	open_log(&f, SEGMENTS, SEGMENTS);
	write_text(&f, "one");
	CHECK(sync_log(&f) == PN_OK);
	CHECK(pn_log_cut(f.log, SEGMENTS, UINT_MAX) == PN_OK);
	CHECK_READ(&f, SEGMENTS, SEGMENTS + 1, "41:one ");
	REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
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
	CHECK(sync_log(&f) == PN_OK && pn_log_cut(f.log, 2, UINT_MAX) == PN_OK);
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

/* As a tool does that is run beside the server. */
TEST(a_prepared_file_that_another_process_has_removed_is_prepared_again) {
	struct fixture_log f = make();
	for (int i = 0; i < 2; i++) {
		struct pn_log *other;
		while (pn_log_bytes(f.log) < 2 * SEGMENT) /* one is written, and one prepared */
			write_large(&f, 'a', LARGE);
		CHECK(sync_log(&f) == PN_OK);
		const uint64_t last = pn_log_last(f.log);
		CHECK(pn_log_cut(f.log, last, UINT_MAX) == PN_OK && pn_log_bytes(f.log) > 0);
		REQUIRE(pn_log_open(&other, f.directory, &ID, last, last) == PN_OK);
		if (i == 1)
			CHECK(pn_log_reserve(other, 1, false) == PN_OK);
		for (int records = 0; records < 4; records++)
			write_large(&f, 'b', LARGE);
		pn_log_close(other);
		struct seen seen = {0};
		uint64_t read = 0;
		CHECK(read_log(&f, last, &seen, &read) == PN_OK && read == last + 4);
	}
	finish(&f);
}

int main(void) {
	return test_run("log");
}
