/* pn/archive.h: deleting, counts after deletions, and cursors during them */
#include <math.h>

#include "../../modules/archive/archive.h"
#include "archive_model.h"

/* ---- Counting ---- */

TEST(counts_of_a_long_archive_full_of_deleted_positions_are_exact) {
	model_open();
	for (int i = 0; i < MODEL_MAX; i++) {
		model_append(i);
		if (i % 500 == 0)
			commit(&model.f);
	}
	compare_counts(20, MODEL_MAX);
	for (int i = 0; i < 30000; i++)
		model_delete_one(below(MODEL_MAX));
	compare_counts(100, MODEL_MAX);
	for (int i = 0; i < 20; i++) {
		const double start = below(MODEL_MAX);
		struct pn_archive_query range = {.has_start = true, .has_end = true};
		range.start = start;
		range.end = start + below(3000);
		if (i % 3 == 0)
			range.peer = str("a@b/c");
		model_delete(&range);
	}
	compare_counts(200, MODEL_MAX);
	const struct pn_archive_query old = {.has_end = true, .end = MODEL_MAX / 3};
	const struct pn_archive_query new = {.has_start = true, .start = MODEL_MAX - 5000.5};
	model_delete(&old);
	model_delete(&new);
	compare_counts(100, MODEL_MAX);
	check_whole(&model.f);
	reopen(&model.f);
	compare_all(false);
	compare_all(true);
	model_truncate(20000);
	compare_counts(100, MODEL_MAX);
	model_truncate(0);
	compare_counts(1, MODEL_MAX);
	check_whole(&model.f);
	teardown(&model.f);
}

TEST(counts_are_exact_while_clocks_go_back_and_messages_come_and_go) {
	model_open();
	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 50; i++)
			model_append(below(4) == 0 ? below(1000) : 25 * round + i / 2);
		for (int i = 0; i < 15; i++)
			model_delete_one(below(model.count));
		if (round % 8 == 7) {
			struct pn_archive_query range = random_query(1000);
			range.has_start = range.has_end = true;
			range.end = range.start + 30;
			model_delete(&range);
		}
		compare_counts(10, 1000);
	}
	check_whole(&model.f);
	teardown(&model.f);
}

TEST(messages_of_the_last_peer_may_be_deleted_from_either_end) {
	for (int reverse = 0; reverse < 2; reverse++) {
		model_open();
		for (int i = 0; i < 1500; i++)
			model_append(i);
		for (int i = 0; i < 1500; i++) {
			const int at = reverse ? 1499 - i : i;
			if (model.messages[at].peer == 1)
				model_delete_one(at);
			if (i % 100 == 0)
				compare_counts(5, 1500);
		}
		const struct pn_archive_query full = {.peer = str("a@b/c")};
		CHECK(total(&model.f, JULIET, &full) == 0);
		check_whole(&model.f);
		teardown(&model.f);
	}
}

TEST(a_peer_is_counted_exactly_after_its_newest_message_behind_a_gap_is_deleted) {
	struct fixture f;
	struct id ids[1000];
	setup(&f);
	for (int i = 0; i < 1000; i++)
		CHECK(append(&f, "x", i, "a@b", &ids[i]) == PN_OK);
	struct pn_archive_query middle = {.has_start = true, .start = 10, .has_end = true};
	middle.end = 990;
	CHECK(delete_matching(&f, &middle) == 981);
	for (int i = 999; i > 990; i--) {
		const struct pn_archive_query one = {.key = id_str(&ids[i])};
		CHECK(delete_matching(&f, &one) == 1);
	}
	const struct pn_archive_query peer = {.peer = str("a@b")};
	CHECK(total(&f, JULIET, &peer) == 10);
	for (int i = 0; i < 700; i++)
		CHECK(append(&f, "x", 1000 + i, "a@b", NULL) == PN_OK);
	CHECK(total(&f, JULIET, &peer) == 710);
	check_whole(&f);
	teardown(&f);
}

/* ---- Positions by themselves: the higher levels count blocks of millions and more ---- */

enum { POSITIONS = 2000, NUMBER = 7 };

static int compare_positions(const void *a, const void *b) {
	const uint64_t first = *(const uint64_t *)a;
	const uint64_t second = *(const uint64_t *)b;
	return (first > second) - (first < second);
}

/* Near and far, and many close to one another and to the blocks' ends. */
static void random_positions(uint64_t positions[POSITIONS]) {
	for (int i = 0; i < POSITIONS; i++) {
		const uint64_t bits = (uint64_t)random() << 20 ^ (uint64_t)random();
		positions[i] = bits >> (11 + random() % 40);
		if (i > 0 && i % 4 != 0)
			positions[i] = positions[i - 1] + (uint64_t)random() % 300;
		if (i % 16 == 0)
			positions[i] &= ~(uint64_t)0xffff;
	}
}

/* The number of different positions from `from` up to `to`, of `count` that are sorted. */
static uint64_t count_between(const uint64_t *positions, int count, uint64_t from, uint64_t to) {
	uint64_t found = 0;
	for (int i = 0; i < count; i++)
		found += positions[i] >= from && positions[i] < to &&
			 (i == 0 || positions[i] != positions[i - 1]);
	return found;
}

static void compare_positions_between(struct fixture *f, const uint64_t *positions, int count,
				      uint64_t least, uint64_t most) {
	struct pn_txn txn;
	const struct pn_archive archive = {.txn = &txn, .number = 1};
	for (int i = 0; i < 300; i++) {
		uint64_t ends[2], got = 0;
		for (int j = 0; j < 2; j++)
			ends[j] = positions[random() % count] + (uint64_t)random() % 3;
		if (ends[0] < least || ends[1] > most)
			continue;
		REQUIRE(pn_txn_read(f->db, &txn) == PN_OK);
		got = pn_deleted_count(&archive, NUMBER, (struct pn_range){ends[0], ends[1]});
		CHECK(pn_txn_end(&txn, PN_OK) == PN_OK);
		CHECK(got == count_between(positions, count, ends[0], ends[1]));
	}
}

TEST(deleted_positions_are_counted_in_ranges_of_any_size) {
	static const struct pn_claim claim = {.puts = 100, .removes = true};
	static uint64_t positions[POSITIONS];
	struct fixture f;
	struct pn_txn txn;
	const struct pn_archive archive = {.txn = &txn, .number = 1};
	srandom(test_seed());
	setup(&f);
	random_positions(positions);
	REQUIRE(pn_txn_write(f.db, &txn, claim) == PN_OK);
	for (int i = 0; i < POSITIONS; i++)
		pn_deleted_add(&archive, NUMBER, &(uint64_t){positions[i]}, 1);
	CHECK(pn_txn_end(&txn, PN_OK) == PN_OK);
	qsort(positions, POSITIONS, sizeof(positions[0]), compare_positions);
	compare_positions_between(&f, positions, POSITIONS, 0, UINT64_MAX);

	/* drops the positions below one, then those from another on */
	const uint64_t first = positions[POSITIONS / 3];
	const uint64_t last = positions[POSITIONS * 2 / 3];
	REQUIRE(pn_txn_write(f.db, &txn, claim) == PN_OK);
	pn_deleted_drop_below(&archive, NUMBER, first);
	CHECK(pn_txn_end(&txn, PN_OK) == PN_OK);
	compare_positions_between(&f, positions, POSITIONS, first, UINT64_MAX);
	REQUIRE(pn_txn_write(f.db, &txn, claim) == PN_OK);
	pn_deleted_drop_from(&archive, NUMBER, last);
	CHECK(pn_txn_end(&txn, PN_OK) == PN_OK);
	int left = 0;
	while (left < POSITIONS && positions[left] < last)
		left++;
	compare_positions_between(&f, positions, left, first, UINT64_MAX);
	pn_db_abort(f.db);
	teardown(&f);
}

/* ---- Deleting ---- */

TEST(a_truncation_keeps_the_newest_or_the_oldest_matches) {
	static const struct {
		bool reverse;
		const char *peer;
		uint64_t keep;
		const char *left;
	} cases[] = {
		{false, NULL, 2, "6 7"},
		{true, NULL, 2, "0 1"},
		{false, NULL, 0, ""},
		{false, NULL, 8, "0 1 2 3 4 5 6 7"},
		{false, NULL, UINT64_MAX, "0 1 2 3 4 5 6 7"},
		{false, "a@b", 1, "1 3 5 6 7"},
		{true, "a@b", 1, "0 1 3 5 7"},
		{false, "a@b", 0, "1 3 5 7"},
		{false, "x@y", 0, "0 1 2 3 4 5 6 7"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (uint64_t slice = 1; slice <= 9; slice += 4) {
			struct fixture f;
			char text[16];
			setup(&f);
			for (int j = 0; j < 8; j++) {
				snprintf(text, sizeof(text), "%d", j);
				CHECK(append(&f, text, j, j % 2 == 0 ? "a@b/c" : "d@e", NULL) ==
				      PN_OK);
			}
			const struct pn_archive_query query = {
				.reverse = cases[i].reverse,
				.peer = cases[i].peer != NULL ? str(cases[i].peer) : NONE,
				.has_keep = true,
				.keep = cases[i].keep,
			};
			const int64_t left = ((int64_t)strlen(cases[i].left) + 1) / 2;
			CHECK(delete_slices(&f, &query, slice) == 8 - left);
			check_all(&f, cases[i].left);
			check_whole(&f);
			teardown(&f);
		}
	}
}

TEST(a_deletion_between_two_messages_spares_them) {
	struct fixture f;
	struct id ids[6];
	char text[16];
	setup(&f);
	for (int i = 0; i < 6; i++) {
		snprintf(text, sizeof(text), "%d", i);
		CHECK(append(&f, text, i, NULL, &ids[i]) == PN_OK);
	}
	struct pn_archive_query query = {.after = id_str(&ids[1]), .before = id_str(&ids[4])};
	CHECK(delete_slices(&f, &query, 1) == 2);
	check_all(&f, "0 1 4 5");
	CHECK(delete_slices(&f, &query, 1) == 0);
	query.before = id_str(&ids[2]);
	CHECK(delete_matching(&f, &query) == PN_ENOTFOUND);
	check_all(&f, "0 1 4 5");
	check_whole(&f);
	teardown(&f);
}

TEST(a_slice_says_whether_there_is_more) {
	struct fixture f;
	uint64_t count = 5;
	setup(&f);
	for (int i = 0; i < 10; i++)
		CHECK(append(&f, "x", i, NULL, NULL) == PN_OK);
	const struct pn_archive_query old = {.has_end = true, .end = 6};
	CHECK(pn_archive_delete(&f.archive, JULIET, &old, 4, &count) == 1);
	CHECK(count == 9);
	CHECK(pn_archive_delete(&f.archive, JULIET, &old, 4, &count) == 0);
	CHECK(count == 12);
	teardown(&f);
}

/* Deletes the messages of all users up to `end`, in slices. Returns the number of messages. */
static uint64_t expire(struct fixture *f, double end, uint64_t slice) {
	const struct pn_archive_query old = {.has_end = true, .end = end};
	struct pn_archive_position position = {0};
	uint64_t count = 0;
	int more = 1;
	for (int calls = 0; more > 0; calls++) {
		more = pn_archive_delete_all(&f->archive, &old, &position, slice, &count);
		REQUIRE(calls < 10000);
	}
	CHECK(more == 0);
	return count;
}

TEST(expiry_reaches_every_user_but_not_the_host_and_ends_with_any_slice) {
	for (uint64_t slice = 1; slice <= 1000; slice *= 31) {
		struct fixture f;
		char name[16];
		uint64_t expired = 0;
		setup(&f);
		for (int i = 0; i < 40; i++) {
			snprintf(name, sizeof(name), "user%d", i);
			const struct pn_user user = {name, strlen(name)};
			for (int j = 0; j < i % 7; j++)
				CHECK(append_to(&f, user, "x", j, "a@b/c", NULL, NULL) == PN_OK);
			expired += (uint64_t)(i % 7 < 3 ? i % 7 : 3);
		}
		CHECK(append_to(&f, HOST, "x", 0, NULL, NULL, NULL) == PN_OK);
		CHECK(expire(&f, 2, slice) == expired);
		CHECK(expire(&f, 2, slice) == 0);
		CHECK(total(&f, HOST, &EVERYTHING) == 1);
		check_whole(&f);
		teardown(&f);
	}
}

/* ---- Deleting while reading ---- */

TEST(a_cursor_skips_deleted_messages_and_does_not_see_appended_ones) {
	enum { COUNT = 1000 };
	static struct id ids[COUNT];
	for (int reverse = 0; reverse < 2; reverse++) {
		struct fixture f;
		struct pn_archive_cursor *cursor;
		struct pn_message message;
		const struct pn_archive_query query = {.reverse = reverse != 0};
		char text[16];
		int seen = 0;
		setup(&f);
		for (int i = 0; i < COUNT; i++) {
			snprintf(text, sizeof(text), "%d", i);
			CHECK(append(&f, text, i, "a@b", &ids[i]) == PN_OK);
		}
		REQUIRE(pn_archive_find(&cursor, &f.archive, JULIET, &query, UINT64_MAX, NULL) ==
			PN_OK);
		for (int i = 0; i < 10; i++, seen++)
			CHECK(pn_archive_next(cursor, &message) == 1);
		struct pn_archive_query half = {.has_start = true, .has_end = true};
		half.start = 300;
		half.end = 699;
		CHECK(delete_matching(&f, &half) == 400);
		CHECK(append(&f, "new", COUNT, NULL, NULL) == PN_OK);
		commit(&f);
		for (; pn_archive_next(cursor, &message) == 1; seen++) {
			const struct pn_str got = body(message.stanza);
			CHECK(got.len <= 3 && memcmp(got.bytes, "new", got.len) != 0);
		}
		CHECK(seen == COUNT - 400);
		pn_archive_cursor_free(cursor);
		check_whole(&f);
		teardown(&f);
	}
}

TEST(a_cursor_needs_neither_its_bounds_nor_sees_a_replacement) {
	enum { COUNT = 500 };
	static struct id ids[COUNT];
	struct fixture f;
	struct pn_archive_cursor *cursor;
	struct pn_message message;
	setup(&f);
	for (int i = 0; i < COUNT; i++)
		CHECK(append_to(&f, JULIET, "x", i, "a@b", i == 200 ? "key" : NULL, &ids[i]) ==
		      PN_OK);
	const struct pn_archive_query query = {.after = id_str(&ids[99]),
					       .before = id_str(&ids[400])};
	REQUIRE(pn_archive_find(&cursor, &f.archive, JULIET, &query, UINT64_MAX, NULL) == PN_OK);
	int seen = 0, keyed = 0;
	while (pn_archive_next(cursor, &message) == 1) {
		keyed += message.id.len == 3 ? 1 : 0;
		CHECK(message.when == 100 + seen++);
		CHECK(append_to(&f, JULIET, "x", 300.5, "a@b", seen > 150 ? "key" : "other",
				NULL) == PN_OK);
		if (seen > 1)
			continue;
		const struct pn_str bounds[] = {query.after, query.before};
		const struct pn_archive_query both = {.ids = bounds, .ids_count = 2};
		CHECK(delete_matching(&f, &both) == 2);
	}
	CHECK(seen == 300 && keyed == 1);
	pn_archive_cursor_free(cursor);
	check_whole(&f);
	teardown(&f);
}

TEST(a_cursor_ends_without_an_error_if_its_archive_is_removed) {
	struct fixture f;
	struct pn_archive_cursor *cursor;
	struct pn_message message;
	int found, seen = 0;
	setup(&f);
	for (int i = 0; i < 500; i++)
		CHECK(append(&f, "x", i, NULL, NULL) == PN_OK);
	REQUIRE(pn_archive_find(&cursor, &f.archive, JULIET, &EVERYTHING, UINT64_MAX, NULL) ==
		PN_OK);
	CHECK(pn_archive_next(cursor, &message) == 1);
	CHECK(pn_store_purge(f.db, str("host"), JULIET) == PN_OK);
	while (pn_store_erase(f.db, 1000) == 1)
		continue;
	while ((found = pn_archive_next(cursor, &message)) == 1)
		seen++;
	CHECK(found == 0 && seen < 499);
	pn_archive_cursor_free(cursor);
	teardown(&f);
}

/* ---- Days ---- */

/* Whether the archive's days, without those that repeat, are these numbers of days since 1970. */
static bool days_are(struct fixture *f, const double *want, size_t count) {
	struct pn_buf buf = {0};
	bool seen[16] = {false};
	bool right = pn_archive_dates(&f->archive, JULIET, &buf) == PN_OK;
	struct pn_wire wire = pn_wire_open(buf.data, buf.len);
	while (wire.left > 0) {
		const double day = pn_wire_f64(&wire);
		bool any = false;
		for (size_t i = 0; i < count; i++) {
			if (day == want[i] * DAY)
				seen[i] = any = true;
		}
		right = right && any;
	}
	for (size_t i = 0; i < count; i++)
		right = right && seen[i];
	pn_buf_free(&buf);
	return right;
}

TEST(the_days_of_an_archive_are_those_on_which_it_has_messages) {
	static const double all[] = {0, 1, 3, 100, -1};
	struct fixture f;
	setup(&f);
	CHECK(days_are(&f, NULL, 0));
	for (int i = 0; i < 300; i++)
		CHECK(append(&f, "x", i * 600.5, NULL, NULL) == PN_OK); /* days 0, 1 and 2 */
	CHECK(append(&f, "x", 3.5 * DAY, NULL, NULL) == PN_OK);
	CHECK(append(&f, "x", 100 * DAY, NULL, NULL) == PN_OK);
	CHECK(append(&f, "x", -0.5, NULL, NULL) == PN_OK);
	struct pn_archive_query second = {.has_start = true, .start = 2 * DAY, .has_end = true};
	second.end = 3 * DAY - 1;
	CHECK(delete_matching(&f, &second) > 0);
	CHECK(days_are(&f, all, 5));
	teardown(&f);
}

TEST(the_days_of_times_beyond_the_precision_of_a_double_come_to_an_end) {
	static const double times[] = {-1e308, -1e30, 1e15, 1e21, 1e30, 1e30, 1.7e308};
	struct fixture f;
	struct pn_buf buf = {0};
	setup(&f);
	for (int i = 0; i < 7; i++)
		CHECK(append(&f, "x", times[i], NULL, NULL) == PN_OK);
	CHECK(pn_archive_dates(&f.archive, JULIET, &buf) == PN_OK);
	CHECK(buf.len >= 6 * 8 && buf.len <= 7 * 8);
	pn_buf_free(&buf);
	teardown(&f);
}

int main(void) {
	return test_run("deleted");
}
