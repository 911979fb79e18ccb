/* pn/log.h: records come back as they were written, in order; segments, syncs, a full disk. */
#include <limits.h>

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

int main(void) {
	return test_run("log");
}
