/* pn/archive.h: deletions of many messages, which are marked, and erased later */
#include <math.h>

#include "../../modules/archive/archive.h"
#include "../../modules/db/db.h"
#include "archive_model.h"

/* Changes of records that a turn has made so far. */
static unsigned changes(const struct fixture *f) {
	return f->db->redo.count;
}

static void erase_all(struct fixture *f, unsigned limit) {
	int more;
	do
		more = pn_store_erase(f->db, limit);
	while (more > 0);
	CHECK(more == 0);
}

static uint64_t erasing(struct fixture *f) {
	uint64_t count = 0;
	CHECK(pn_store_erasing(f->db, &count) == PN_OK);
	return count;
}

/* Appends messages of two peers by turns. */
static void append_many(struct fixture *f, int count, struct id *ids) {
	for (int i = 0; i < count; i++) {
		CHECK(append(f, "x", i, i % 2 == 0 ? "a@b/c" : "e@f",
			     ids != NULL ? &ids[i] : NULL) == PN_OK);
		if (i % 500 == 0)
			commit(f);
	}
	commit(f);
}

/* ---- The cost ---- */

TEST(a_deletion_of_any_number_of_messages_changes_two_records) {
	for (int count = 1000; count <= 10000; count *= 10) {
		static struct id ids[10000];
		const struct pn_archive_query queries[] = {
			{.has_end = true, .end = count / 10},
			{.peer = str("a@b"), .has_end = true, .end = count / 2},
			{.has_start = true, .start = count * 0.8, .peer = str("e@f")},
			{.has_keep = true, .keep = (uint64_t)count / 3},
			{.has_keep = true, .keep = (uint64_t)count / 4, .reverse = true},
			{.after = id_str(&ids[count * 6 / 10])},
		};
		for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
			struct fixture f;
			uint64_t deleted = 0;
			setup(&f);
			append_many(&f, count, ids);
			const unsigned before = changes(&f);
			CHECK(pn_archive_delete(&f.archive, JULIET, &queries[i], 1, &deleted) == 0);
			CHECK(deleted >= (uint64_t)count / 10);
			CHECK(changes(&f) == before + 2);
			CHECK(total(&f, JULIET, &EVERYTHING) == count - (int64_t)deleted);
			check_whole(&f);
			erase_all(&f, 1000);
			CHECK(total(&f, JULIET, &EVERYTHING) == count - (int64_t)deleted);
			check_whole(&f);
			teardown(&f);
		}
	}
}

TEST(a_slice_of_erasing_changes_few_records) {
	struct fixture f;
	const struct pn_archive_query old = {.has_end = true, .end = 7000};
	setup(&f);
	append_many(&f, 8000, NULL);
	CHECK(delete_matching(&f, &old) == 7001);
	for (int more = 1; more > 0;) {
		commit(&f);
		const unsigned before = changes(&f);
		more = pn_store_erase(f.db, 400);
		CHECK(changes(&f) - before < 500);
	}
	CHECK(erasing(&f) == 0);
	check_whole(&f);
	teardown(&f);
}

TEST(the_record_of_each_message_is_removed_and_few_others_change) {
	enum { COUNT = 10000, OLD = 9000 };
	struct fixture f;
	const struct pn_archive_query old = {.has_end = true, .end = OLD - 1};
	unsigned removed = 0;
	setup(&f);
	append_many(&f, COUNT, NULL);
	CHECK(delete_matching(&f, &old) == OLD);
	for (int more = 1; more > 0;) {
		commit(&f);
		const unsigned before = changes(&f);
		more = pn_store_erase(f.db, 1000);
		removed += changes(&f) - before;
	}
	/* a record of an index has many messages */
	CHECK(removed >= OLD && removed < OLD + OLD / 4);
	teardown(&f);
}

TEST(the_pages_of_erased_messages_are_used_again) {
	enum { COUNT = 5000, ROUNDS = 6 };
	struct fixture f;
	struct pn_db_info info;
	uint64_t most = 0;
	setup(&f);
	for (int round = 0; round < ROUNDS; round++) {
		const struct pn_archive_query old = {.has_end = true, .end = round * COUNT - 1};
		for (int i = 0; i < COUNT; i++)
			CHECK(append(&f, "some text of a message", round * COUNT + i, "a@b/c",
				     NULL) == PN_OK);
		CHECK(delete_matching(&f, &old) == (round > 0 ? COUNT : 0));
		erase_all(&f, 1000);
		CHECK(pn_db_flush(f.db) == PN_OK);
		reopen(&f); /* makes all durable, so that no state keeps pages */
		CHECK(pn_db_info(f.db, &info) == PN_OK);
		if (round == 1)
			most = info.used_bytes;
		CHECK(round < 2 || info.used_bytes <= most * 11 / 10);
	}
	teardown(&f);
}

TEST(erasing_ends_with_slices_of_any_size) {
	enum { COUNT = 96 };
	const struct pn_archive_query of_one = {.peer = str("a@b")},
				      old = {.has_end = true, .end = 99};
	for (unsigned slice = 1; slice < 4 * COUNT; slice += 13) {
		struct fixture f;
		const bool two = slice % 2 == 0; /* otherwise the last batch may be a full one */
		setup(&f);
		append_many(&f, 2 * COUNT, NULL);
		CHECK(delete_matching(&f, &of_one) == COUNT);
		CHECK(!two || delete_matching(&f, &old) == 50);
		for (int more = 1, calls = 0; more > 0; calls++) {
			more = pn_store_erase(f.db, slice);
			CHECK(more >= 0 && calls < 1000);
			check_whole(&f);
		}
		CHECK(erasing(&f) == 0 && total(&f, JULIET, &EVERYTHING) == COUNT - (two ? 50 : 0));
		teardown(&f);
	}
}

TEST(erasing_ends_with_a_part_of_a_deletion_that_has_no_messages) {
	struct fixture f;
	const struct pn_archive_query middle = {
		.has_start = true, .start = 100, .has_end = true, .end = 199};
	const struct pn_archive_query of_one = {.peer = str("a@b")}; /* none before the middle */
	setup(&f);
	for (int i = 0; i < 300; i++)
		CHECK(append(&f, "x", i, i >= 200 || (i >= 100 && i % 2 == 0) ? "a@b" : "e@f",
			     NULL) == PN_OK);
	CHECK(delete_matching(&f, &middle) == 100);
	CHECK(delete_matching(&f, &of_one) == 100);
	check_whole(&f);
	erase_all(&f, 1000);
	CHECK(erasing(&f) == 0);
	check_whole(&f);
	teardown(&f);
}

/* ---- Nothing finds a deleted message ---- */

TEST(a_deleted_message_is_found_by_no_call_before_it_is_erased) {
	enum { COUNT = 400, HALF = 200 };
	static struct id ids[COUNT];
	struct fixture f;
	struct pn_buf stanza = packed("changed");
	const struct pn_archive_change change = {.stanza = {(char *)stanza.data, stanza.len}};
	const struct pn_archive_query old = {.has_end = true, .end = HALF - 1};
	setup(&f);
	append_many(&f, COUNT, ids);
	CHECK(delete_matching(&f, &old) == HALF);
	for (int i = 0; i < COUNT; i += 7) {
		const struct pn_str id = id_str(&ids[i]);
		const struct pn_archive_query by_key = {.key = id}, after = {.after = id},
					      before = {.before = id},
					      listed = {.ids = &id, .ids_count = 1};
		const bool gone = i < HALF;
		CHECK(total(&f, JULIET, &by_key) == (gone ? 0 : 1));
		CHECK(total(&f, JULIET, &listed) == (gone ? PN_ENOTFOUND : 1));
		CHECK((total(&f, JULIET, &after) == PN_ENOTFOUND) == gone);
		CHECK((total(&f, JULIET, &before) == PN_ENOTFOUND) == gone);
		CHECK(pn_archive_set(&f.archive, JULIET, id, &change) ==
		      (gone ? PN_ENOTFOUND : PN_OK));
		CHECK(delete_slices(&f, &listed, 1) == (gone ? PN_ENOTFOUND : 1));
	}
	pn_buf_free(&stanza);
	CHECK(erasing(&f) == 1);
	check_whole(&f);
	teardown(&f);
}

/* Checks that exactly the days with a bit in `want` are listed; some may be listed twice. */
static void check_days(struct fixture *f, unsigned want) {
	struct pn_buf days = {0};
	unsigned found = 0;
	CHECK(pn_archive_dates(&f->archive, JULIET, &days) == PN_OK);
	struct pn_wire rest = pn_wire_open(days.data, days.len);
	while (rest.left > 0)
		found |= 1u << (unsigned)(pn_wire_f64(&rest) / DAY);
	CHECK(found == want);
	pn_buf_free(&days);
}

TEST(the_days_of_deleted_messages_are_not_listed) {
	enum { COUNT = 300 };
	struct fixture f;
	const struct pn_archive_query of_one = {
		.peer = str("e@f"), .has_end = true, .end = 4 * DAY - 1};
	const struct pn_archive_query old = {.has_end = true, .end = 2 * DAY - 1};
	setup(&f);
	for (int i = 0; i < COUNT; i++)
		CHECK(append(&f, "x", i % 150 == 70 ? 9 * DAY : i / 50 * DAY + i,
			     i >= 150 && i < 200 ? "e@f" : "a@b/c", NULL) == PN_OK);
	check_days(&f, 0x23f); /* days 0 to 5, and 9 */
	CHECK(delete_matching(&f, &of_one) == 50);
	check_days(&f, 0x237);
	CHECK(delete_matching(&f, &old) == 99);
	check_days(&f, 0x234);
	erase_all(&f, 10);
	check_whole(&f);
	teardown(&f);
}

TEST(a_cursor_that_was_opened_before_skips_deleted_messages) {
	enum { COUNT = 1000 };
	for (int reverse = 0; reverse < 2; reverse++) {
		const struct pn_archive_query query = {.reverse = reverse != 0};
		const struct pn_archive_query of_one = {.peer = str("e@f")};
		const struct pn_archive_query middle = {
			.has_start = true, .start = 200, .has_end = true, .end = 799};
		struct pn_archive_cursor *cursor;
		struct pn_message message;
		struct fixture f;
		int seen = 1;
		setup(&f);
		append_many(&f, COUNT, NULL);
		REQUIRE(pn_archive_find(&cursor, &f.archive, JULIET, &query, UINT64_MAX, NULL) ==
			PN_OK);
		CHECK(pn_archive_next(cursor, &message) == 1); /* and some more are read ahead */
		CHECK(delete_matching(&f, &middle) == 600);
		CHECK(delete_matching(&f, &of_one) == 200);
		for (; pn_archive_next(cursor, &message) == 1; seen++)
			CHECK(message.when < 200 || message.when > 799);
		CHECK(seen == 200 + 32);
		pn_archive_cursor_free(cursor);
		teardown(&f);
	}
}

/* ---- Changes between the deletion and the erasing ---- */

TEST(a_key_of_a_deleted_message_is_given_to_another_and_stays) {
	enum { COUNT = 100 };
	struct fixture f;
	char key[16];
	const struct pn_archive_query old = {.has_end = true, .end = COUNT - 1};
	setup(&f);
	for (int i = 0; i < COUNT; i++) {
		snprintf(key, sizeof(key), "key%d", i);
		CHECK(append_to(&f, JULIET, "old", i, "a@b/c", key, NULL) == PN_OK);
	}
	CHECK(append(&f, "last", COUNT, "e@f", NULL) == PN_OK);
	CHECK(delete_matching(&f, &old) == COUNT);
	check_all(&f, "last");
	CHECK(append_to(&f, JULIET, "new", COUNT + 1, "a@b/c", "key7", NULL) == PN_OK);
	check_all(&f, "last new");
	check_whole(&f);
	erase_all(&f, 5);
	const struct pn_archive_query by_key = {.key = str("key7")};
	check_found(&f, &by_key, "new");
	check_all(&f, "last new");
	check_whole(&f);
	teardown(&f);
}

TEST(a_message_that_changes_to_the_peer_and_the_time_of_deleted_ones_stays) {
	enum { COUNT = 300 };
	static struct id ids[COUNT];
	struct fixture f;
	struct pn_buf stanza = packed("changed");
	const struct pn_str peer = str("a@b/c");
	const double when = 20;
	const struct pn_archive_change change = {
		.stanza = {(char *)stanza.data, stanza.len}, .peer = &peer, .when = &when};
	const struct pn_archive_query of_one = {.peer = str("a@b"), .has_end = true, .end = 250};
	setup(&f);
	append_many(&f, COUNT, ids);
	CHECK(append(&f, "earlier", 1, "e@f", NULL) == PN_OK); /* so times are not seqs */
	CHECK(delete_matching(&f, &of_one) == 126);
	for (int i = 99; i < 105; i += 2)
		CHECK(pn_archive_set(&f.archive, JULIET, id_str(&ids[i]), &change) == PN_OK);
	check_found(&f, &of_one, "changed changed changed");
	CHECK(total(&f, JULIET, &of_one) == 3);
	CHECK(total(&f, JULIET, &EVERYTHING) == COUNT + 1 - 126);
	check_whole(&f);
	erase_all(&f, 100);
	check_found(&f, &of_one, "changed changed changed");
	check_whole(&f);
	pn_buf_free(&stanza);
	teardown(&f);
}

TEST(an_archive_whose_messages_are_all_deleted_by_parts_is_removed) {
	struct fixture f;
	const struct pn_archive_query of_one = {.peer = str("e@f")},
				      of_other = {.peer = str("a@b")};
	struct pn_buf users = {0};
	setup(&f);
	append_many(&f, 1000, NULL);
	CHECK(delete_matching(&f, &of_one) == 500);
	CHECK(delete_matching(&f, &of_other) == 500);
	CHECK(pn_store_users(&f.archive, &users) == PN_OK && users.len == 0);
	CHECK(append(&f, "new", 1, "e@f", NULL) == PN_OK);
	check_all(&f, "new");
	CHECK(erasing(&f) == 1);
	check_whole(&f);
	erase_all(&f, 100);
	CHECK(erasing(&f) == 0);
	check_all(&f, "new");
	check_whole(&f);
	pn_buf_free(&users);
	teardown(&f);
}

TEST(a_deletion_stands_and_erasing_goes_on_after_the_database_was_closed) {
	struct fixture f;
	const struct pn_archive_query old = {.has_end = true, .end = 4999};
	setup(&f);
	append_many(&f, 6000, NULL);
	CHECK(delete_matching(&f, &old) == 5000);
	for (int more = 1, rounds = 0; more > 0; rounds++) {
		reopen(&f);
		CHECK(total(&f, JULIET, &EVERYTHING) == 1000);
		check_whole(&f);
		more = pn_store_erase(f.db, 2000);
		CHECK(more >= 0 && rounds < 100);
	}
	CHECK(erasing(&f) == 0);
	teardown(&f);
}

TEST(a_quota_counts_no_deleted_messages) {
	struct fixture f;
	struct pn_buf stanza = packed("x");
	char id[PN_ARCHIVE_ID_LEN];
	const struct pn_message message = {.stanza = {(char *)stanza.data, stanza.len}};
	const struct pn_archive_query all_but = {.has_keep = true, .keep = 100};
	setup(&f);
	for (int i = 0; i < 300; i++)
		CHECK(pn_archive_append(&f.archive, JULIET, &message, 300, id) == PN_OK);
	CHECK(pn_archive_append(&f.archive, JULIET, &message, 300, id) == PN_EQUOTA);
	CHECK(delete_matching(&f, &all_but) == 200);
	for (int i = 0; i < 200; i++)
		CHECK(pn_archive_append(&f.archive, JULIET, &message, 300, id) == PN_OK);
	CHECK(pn_archive_append(&f.archive, JULIET, &message, 300, id) == PN_EQUOTA);
	pn_buf_free(&stanza);
	teardown(&f);
}

/* Writes the state as format 1 has it: without what is known of times and marks. */
static void write_older_state(struct fixture *f) {
	enum { OLDER = 44 };
	struct pn_txn txn;
	struct pn_archive archive;
	struct pn_wire value;
	const struct pn_claim claim = {.puts = 1};
	REQUIRE(pn_txn_write(f->db, &txn, claim) == PN_OK);
	CHECK(pn_archive_open(&archive, &txn, &f->archive, JULIET));
	const struct pn_key key = pn_archive_prefix(&archive, PN_KIND_STATE);
	CHECK(pn_get(&txn, &key, &value));
	CHECK(value.left >= OLDER);
	struct pn_buf older = pn_value();
	pn_buf_append(&older, value.pos, OLDER);
	pn_put(&txn, &key, &older);
	CHECK(pn_txn_end(&txn, PN_OK) == PN_OK);
}

TEST(a_state_of_the_older_format_has_no_marks) {
	struct fixture f;
	setup(&f);
	append_many(&f, 100, NULL);
	write_older_state(&f);
	check_whole(&f);
	const struct pn_archive_query old = {.has_end = true, .end = 79};
	CHECK(delete_matching(&f, &old) == 80);
	CHECK(total(&f, JULIET, &EVERYTHING) == 20);
	check_whole(&f);
	teardown(&f);
}

/* ---- Many deletions before any is erased ---- */

TEST(deletions_beyond_the_most_marks_remove_their_messages_at_once) {
	enum { PARTS = 3 * PN_MARKS_MAX, PART = 200 };
	struct fixture f;
	uint64_t deleted = 0;
	setup(&f);
	append_many(&f, PARTS * PART, NULL);
	for (int i = 0; i < PARTS; i++) {
		struct pn_archive_query part = {.has_start = true, .has_end = true};
		part.start = i * PART + 50;
		part.end = i * PART + 149;
		CHECK(delete_matching(&f, &part) == 100);
		deleted += 100;
		CHECK(total(&f, JULIET, &EVERYTHING) == PARTS * PART - (int64_t)deleted);
	}
	CHECK(erasing(&f) == 1);
	check_whole(&f);
	erase_all(&f, 1000);
	CHECK(total(&f, JULIET, &EVERYTHING) == PARTS * PART - (int64_t)deleted);
	check_whole(&f);
	teardown(&f);
}

/* Deletes ranges of time of any peer, in an archive in which some or most messages are out of
 * order; now and then some are erased. */
static void delete_at_random(int astray) {
	model_open();
	for (int round = 0; round < 60; round++) {
		const int begin = round * 40;
		for (int i = 0; i < 300; i++)
			model_append(below(100) < astray ? below(begin + 41) : begin + i / 8);
		for (int i = 0; i < 3; i++) {
			const struct pn_archive_query range = random_query(begin + 40);
			if (below(3) > 0 || range.has_start)
				model_delete(&range);
			compare_counts(4, begin + 40);
		}
		for (int i = below(20); i > 0; i--)
			model_delete_one(below(model.count));
		if (below(3) == 0)
			CHECK(pn_store_erase(model.f.db, (unsigned)below(3000) + 1) >= 0);
		compare_counts(4, begin + 40);
		if (round % 10 == 9) {
			check_whole(&model.f);
			compare_all(round % 20 == 9);
		}
	}
	erase_all(&model.f, 500);
	compare_counts(50, 60 * 40);
	compare_all(false);
	check_whole(&model.f);
	teardown(&model.f);
}

TEST(overlapping_deletions_are_exact_while_messages_are_in_order) {
	delete_at_random(0);
}

TEST(overlapping_deletions_are_exact_while_some_messages_are_out_of_order) {
	delete_at_random(5);
}

TEST(overlapping_deletions_are_exact_while_most_messages_are_out_of_order) {
	delete_at_random(80);
}

int main(void) {
	return test_run("marks");
}
