/* pn/log.h: a part of the log that is missing, old or damaged is never taken for a record. */
#include "log_fixture.h"

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

int main(void) {
	return test_run("log damage");
}
