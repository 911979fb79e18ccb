/* pn/archive.h */
#include <math.h>

#include "store_fixture.h"

/* Appends messages "0", "1", "2" ... a second apart; their ids go to `ids`, unless it is NULL. */
static void append_many(struct fixture *f, int count, const char *peer, struct id *ids) {
	char text[16];
	for (int i = 0; i < count; i++) {
		snprintf(text, sizeof(text), "%d", i);
		CHECK(append(f, text, i, peer, ids != NULL ? &ids[i] : NULL) == PN_OK);
	}
}

/* ---- Order and pages ---- */

TEST(an_archive_that_was_never_written_to_is_empty) {
	struct fixture f;
	setup(&f);
	check_all(&f, "");
	CHECK(total(&f, JULIET, &EVERYTHING) == 0);
	const struct pn_archive_query after = {.after = str("nobody")};
	const struct pn_archive_query key = {.key = str("nobody")};
	CHECK(total(&f, JULIET, &after) == PN_ENOTFOUND);
	CHECK(total(&f, JULIET, &key) == 0);
	CHECK(delete_matching(&f, &EVERYTHING) == 0);
	CHECK(delete_matching(&f, &after) == PN_ENOTFOUND);
	teardown(&f);
}

TEST(messages_come_in_the_order_of_appending_with_any_times) {
	struct fixture f;
	setup(&f);
	CHECK(append(&f, "a", 100, NULL, NULL) == PN_OK);
	CHECK(append(&f, "b", 50, NULL, NULL) == PN_OK);
	CHECK(append(&f, "c", -1e300, NULL, NULL) == PN_OK);
	CHECK(append(&f, "d", 75.5, NULL, NULL) == PN_OK);
	check_all(&f, "a b c d");
	const struct pn_archive_query reverse = {.reverse = true};
	check_found(&f, &reverse, "d c b a");
	check_whole(&f);
	teardown(&f);
}

TEST(a_message_comes_back_with_its_time_its_peer_and_its_id) {
	struct fixture f;
	struct id id;
	struct pn_archive_cursor *cursor;
	struct pn_message message;
	setup(&f);
	CHECK(append(&f, "hello", 1234567890.123456, "a@b/c", &id) == PN_OK);
	CHECK(append_to(&f, JULIET, "keyed", 2e9, NULL, "my key", NULL) == PN_OK);
	REQUIRE(pn_archive_find(&cursor, &f.archive, JULIET, &EVERYTHING, UINT64_MAX, NULL) ==
		PN_OK);
	CHECK(pn_archive_next(cursor, &message) == 1);
	CHECK(message.when == 1234567890.123456);
	CHECK(message.peer.len == 5 && memcmp(message.peer.bytes, "a@b/c", 5) == 0);
	CHECK(message.id.len == sizeof(id) && memcmp(message.id.bytes, &id, sizeof(id)) == 0);
	CHECK(pn_archive_next(cursor, &message) == 1);
	CHECK(message.peer.bytes == NULL && message.peer.len == 0);
	CHECK(message.id.len == 6 && memcmp(message.id.bytes, "my key", 6) == 0);
	CHECK(pn_archive_next(cursor, &message) == 0);
	CHECK(pn_archive_next(cursor, &message) == 0);
	pn_archive_cursor_free(cursor);
	pn_archive_cursor_free(NULL);
	teardown(&f);
}

TEST(a_limit_ends_a_page_and_a_limit_of_0_gives_nothing) {
	struct fixture f;
	char got[4096];
	setup(&f);
	append_many(&f, 5, NULL, NULL);
	CHECK(find_texts(&f, JULIET, &EVERYTHING, 2, got, sizeof(got)) == PN_OK);
	CHECK_STR(got, "0 1");
	CHECK(find_texts(&f, JULIET, &EVERYTHING, 0, got, sizeof(got)) == PN_OK);
	CHECK_STR(got, "");
	const struct pn_archive_query reverse = {.reverse = true};
	CHECK(find_texts(&f, JULIET, &reverse, 2, got, sizeof(got)) == PN_OK);
	CHECK_STR(got, "4 3");
	teardown(&f);
}

TEST(before_and_after_bound_a_page_and_are_not_part_of_it) {
	struct fixture f;
	struct id ids[6];
	setup(&f);
	append_many(&f, 6, NULL, ids);
	struct pn_archive_query query = {.after = id_str(&ids[1])};
	check_found(&f, &query, "2 3 4 5");
	query.before = id_str(&ids[4]);
	check_found(&f, &query, "2 3");
	query.reverse = true;
	check_found(&f, &query, "3 2");
	CHECK(total(&f, JULIET, &query) == 6);
	query.before = id_str(&ids[2]);
	check_found(&f, &query, "");
	query.before = id_str(&ids[0]);
	check_found(&f, &query, "");
	query.after = NONE;
	check_found(&f, &query, "");
	teardown(&f);
}

TEST(a_walk_in_pages_of_any_size_gives_every_message_once_in_both_directions) {
	enum { COUNT = 200 }; /* several of the chunks that a cursor reads at a time */
	struct fixture f;
	struct id ids[COUNT];
	setup(&f);
	append_many(&f, COUNT, "a@b", ids);
	for (uint64_t size = 1; size <= 130; size += 43) {
		for (int reverse = 0; reverse < 2; reverse++) {
			struct id last = {{0}};
			int seen = 0;
			for (bool more = true; more;) {
				struct pn_archive_cursor *cursor;
				struct pn_message message;
				struct pn_archive_query query = {.reverse = reverse != 0};
				if (seen > 0)
					*(reverse ? &query.before : &query.after) = id_str(&last);
				REQUIRE(pn_archive_find(&cursor, &f.archive, JULIET, &query, size,
							NULL) == PN_OK);
				for (more = false; pn_archive_next(cursor, &message) == 1; seen++) {
					const int at = reverse ? COUNT - 1 - seen : seen;
					more = true;
					REQUIRE(at >= 0 && at < COUNT);
					CHECK(memcmp(message.id.bytes, &ids[at], sizeof(last)) ==
					      0);
					memcpy(&last, message.id.bytes, sizeof(last));
				}
				pn_archive_cursor_free(cursor);
			}
			CHECK(seen == COUNT);
		}
	}
	teardown(&f);
}

/* ---- Filters ---- */

TEST(start_and_end_are_inclusive) {
	struct fixture f;
	setup(&f);
	append_many(&f, 6, NULL, NULL);
	struct pn_archive_query query = {.has_start = true, .start = 2};
	check_found(&f, &query, "2 3 4 5");
	CHECK(total(&f, JULIET, &query) == 4);
	query.has_end = true;
	query.end = 3;
	check_found(&f, &query, "2 3");
	query.start = 2.5;
	check_found(&f, &query, "3");
	query.end = 2.6;
	check_found(&f, &query, "");
	query.start = 6;
	query.end = 1;
	check_found(&f, &query, "");
	CHECK(total(&f, JULIET, &query) == 0);
	query.start = -INFINITY;
	query.end = INFINITY;
	check_found(&f, &query, "0 1 2 3 4 5");
	teardown(&f);
}

TEST(a_message_whose_clock_went_back_is_found_by_its_own_time) {
	struct fixture f;
	static const double times[] = {10, 20, 5, 20, 15, 30, 30, 1};
	char text[16];
	setup(&f);
	for (int i = 0; i < 8; i++) {
		snprintf(text, sizeof(text), "%d", i);
		CHECK(append(&f, text, times[i], i % 2 == 0 ? "a@b/c" : "d@e", NULL) == PN_OK);
	}
	struct pn_archive_query query = {.has_start = true, .start = 10};
	check_found(&f, &query, "0 1 3 4 5 6");
	CHECK(total(&f, JULIET, &query) == 6);
	query = (struct pn_archive_query){.has_end = true, .end = 15};
	check_found(&f, &query, "0 2 4 7");
	CHECK(total(&f, JULIET, &query) == 4);
	query.peer = str("a@b");
	query.reverse = true;
	check_found(&f, &query, "4 2 0");
	CHECK(total(&f, JULIET, &query) == 3);
	query.peer = str("d@e");
	check_found(&f, &query, "7");
	check_whole(&f);
	teardown(&f);
}

TEST(a_bare_peer_has_all_resources_and_a_full_one_its_own_alone) {
	static const char *const peers[] = {"a@b", "a@b/c", "a@b/c/d", "a@bb", "", "/r", "x/"};
	static const struct {
		const char *peer;
		const char *texts;
	} cases[] = {
		{"a@b", "0 1 2"}, {"a@b/c", "1"}, {"a@b/c/d", "2"}, {"a@bb", "3"}, {"a@", ""},
		{"", "4 5"},      {"/r", "5"},    {"x", "6"},       {"x/", "6"},   {"y", ""},
	};
	struct fixture f;
	char text[16];
	setup(&f);
	for (int i = 0; i < 7; i++) {
		snprintf(text, sizeof(text), "%d", i);
		CHECK(append(&f, text, i, peers[i], NULL) == PN_OK);
	}
	CHECK(append(&f, "nobody's", 7, NULL, NULL) == PN_OK);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct pn_archive_query query = {.peer = str(cases[i].peer)};
		check_found(&f, &query, cases[i].texts);
		CHECK(total(&f, JULIET, &query) == (int64_t)(strlen(cases[i].texts) + 1) / 2);
	}
	check_whole(&f);
	teardown(&f);
}

TEST(listed_ids_come_in_the_archives_order_each_once) {
	struct fixture f;
	struct id ids[4];
	setup(&f);
	append_many(&f, 4, NULL, ids);
	const struct pn_str some[] = {id_str(&ids[3]), id_str(&ids[0]), id_str(&ids[3])};
	const struct pn_str unknown[] = {id_str(&ids[1]), str("nobody")};
	struct pn_archive_query query = {.ids = some, .ids_count = 3};
	check_found(&f, &query, "0 3");
	CHECK(total(&f, JULIET, &query) == 2);
	query.reverse = true;
	check_found(&f, &query, "3 0");
	query.has_start = true;
	query.start = 1;
	check_found(&f, &query, "3");
	query.key = id_str(&ids[3]);
	check_found(&f, &query, "3");
	query.key = id_str(&ids[2]);
	check_found(&f, &query, "");
	query = (struct pn_archive_query){.ids = some, .ids_count = 0};
	check_found(&f, &query, "");
	query = (struct pn_archive_query){.ids = unknown, .ids_count = 2};
	CHECK(total(&f, JULIET, &query) == PN_ENOTFOUND);
	query.ids_optional = true;
	check_found(&f, &query, "1");
	teardown(&f);
}

TEST(hundreds_of_ids_may_be_listed) {
	enum { COUNT = 300 };
	struct fixture f;
	struct id ids[COUNT];
	struct pn_str list[COUNT];
	setup(&f);
	append_many(&f, COUNT, NULL, ids);
	for (int i = 0; i < COUNT; i++)
		list[i] = id_str(&ids[COUNT - 1 - i]);
	struct pn_archive_query query = {.ids = list, .ids_count = COUNT};
	CHECK(total(&f, JULIET, &query) == COUNT);
	query.ids_optional = true; /* those of earlier slices are gone */
	CHECK(delete_matching(&f, &query) == COUNT);
	check_all(&f, "");
	check_whole(&f);
	teardown(&f);
}

TEST(a_bare_peer_may_have_hundreds_of_resources) {
	enum { COUNT = 300 };
	struct fixture f;
	char text[16], with[32];
	setup(&f);
	for (int i = 0; i < COUNT; i++) {
		snprintf(text, sizeof(text), "%d", i);
		snprintf(with, sizeof(with), "u%d@x/%d", i % 2, i);
		CHECK(append(&f, text, i, with, NULL) == PN_OK);
		snprintf(with, sizeof(with), "v%d@x/r", i);
		CHECK(append(&f, "another", i, with, NULL) == PN_OK);
	}
	struct pn_archive_query query = {.peer = str("u0@x")};
	CHECK(total(&f, JULIET, &query) == COUNT / 2);
	query = (struct pn_archive_query){.peer = str("u1@x"), .has_start = true, .start = 99};
	query.has_end = true;
	query.end = 104;
	check_found(&f, &query, "99 101 103");
	query.reverse = true;
	check_found(&f, &query, "103 101 99");
	query = (struct pn_archive_query){.peer = str("v77@x")};
	check_found(&f, &query, "another");
	query.peer = str("u0@x");
	CHECK(delete_matching(&f, &query) == COUNT / 2);
	CHECK(total(&f, JULIET, &EVERYTHING) == COUNT * 3 / 2);
	check_whole(&f);
	teardown(&f);
}

/* ---- Ids ---- */

/* Whether the id finds a message. */
static bool known(struct fixture *f, struct pn_user user, struct pn_str id) {
	const struct pn_archive_query query = {.key = id};
	const int64_t count = total(f, user, &query);
	const struct pn_archive_query after = {.after = id};
	CHECK(count == 0 || count == 1);
	CHECK(total(f, user, &after) == (count == 1 ? total(f, user, &EVERYTHING) : PN_ENOTFOUND));
	return count == 1;
}

TEST(an_id_that_was_changed_in_any_place_or_cut_finds_nothing) {
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789-_=+/ ";
	struct fixture f;
	struct id id;
	setup(&f);
	append_many(&f, 3, NULL, NULL);
	CHECK(append(&f, "hello", 4, NULL, &id) == PN_OK);
	CHECK(known(&f, JULIET, id_str(&id)));
	for (size_t i = 0; i < sizeof(id); i++) {
		const char right = id.bytes[i];
		for (size_t j = 0; j < sizeof(letters); j++) {
			id.bytes[i] = letters[j];
			if (id.bytes[i] != right)
				CHECK(!known(&f, JULIET, id_str(&id)));
		}
		id.bytes[i] = right;
	}
	for (size_t len = 0; len < sizeof(id); len++)
		CHECK(!known(&f, JULIET, (struct pn_str){id.bytes, len}));
	teardown(&f);
}

TEST(an_id_of_another_archive_finds_nothing) {
	struct fixture f;
	struct id mine, other;
	setup(&f);
	CHECK(append_to(&f, JULIET, "mine", 1, NULL, NULL, &mine) == PN_OK);
	CHECK(append_to(&f, ROMEO, "other", 1, NULL, NULL, &other) == PN_OK);
	CHECK(known(&f, JULIET, id_str(&mine)) && known(&f, ROMEO, id_str(&other)));
	CHECK(!known(&f, JULIET, id_str(&other)) && !known(&f, ROMEO, id_str(&mine)));
	static const char *const elsewhere[][2] = {{"host", "muc_log"}, {"other host", "mam"}};
	for (int i = 0; i < 2; i++) {
		REQUIRE(pn_store_init(&f.archive, f.db, PN_TYPE_ARCHIVE, str(elsewhere[i][0]),
				      str(elsewhere[i][1])) == PN_OK);
		CHECK(!known(&f, JULIET, id_str(&mine)));
		CHECK(append(&f, "there", 1, NULL, NULL) == PN_OK);
		CHECK(!known(&f, JULIET, id_str(&mine)));
	}
	teardown(&f);
}

TEST(an_id_lasts_as_long_as_its_message_and_is_not_reused) {
	struct fixture f;
	struct id ids[3], again;
	setup(&f);
	append_many(&f, 3, NULL, ids);
	reopen(&f);
	for (int i = 0; i < 3; i++)
		CHECK(known(&f, JULIET, id_str(&ids[i])));
	CHECK(delete_matching(&f, &EVERYTHING) == 3);
	while (pn_store_erase(f.db, 1000) == 1)
		continue;
	reopen(&f);
	for (int i = 0; i < 3; i++) {
		CHECK(append(&f, "again", i, NULL, &again) == PN_OK);
		for (int j = 0; j < 3; j++) {
			CHECK(memcmp(&again, &ids[j], sizeof(again)) != 0);
			CHECK(!known(&f, JULIET, id_str(&ids[j])));
		}
	}
	teardown(&f);
}

TEST(an_id_of_an_aborted_turn_finds_nothing_after_its_position_is_reused) {
	for (int again = 0; again < 2; again++) {
		struct fixture f;
		struct id lost, next;
		setup(&f);
		append_many(&f, 2, NULL, NULL);
		commit(&f);
		CHECK(append(&f, "lost", 3, NULL, &lost) == PN_OK);
		pn_db_abort(f.db);
		if (again == 1)
			reopen(&f); /* as after a crash */
		CHECK(append(&f, "next", 3, NULL, &next) == PN_OK);
		CHECK(known(&f, JULIET, id_str(&next)));
		CHECK(!known(&f, JULIET, id_str(&lost)));
		teardown(&f);
	}
}

/* ---- Keys ---- */

TEST(a_message_with_a_key_that_is_there_replaces_it_and_goes_to_the_end) {
	struct fixture f;
	setup(&f);
	CHECK(append_to(&f, JULIET, "a", 1, "x@y/z", "k1", NULL) == PN_OK);
	CHECK(append_to(&f, JULIET, "b", 2, NULL, "k2", NULL) == PN_OK);
	CHECK(append_to(&f, JULIET, "c", 3, "x@y/z", "k1", NULL) == PN_OK);
	check_all(&f, "b c");
	CHECK(append_to(&f, JULIET, "d", 4, NULL, "", NULL) == PN_OK);
	CHECK(append_to(&f, JULIET, "e", 5, NULL, "", NULL) == PN_OK);
	check_all(&f, "b c e");
	check_whole(&f);
	teardown(&f);
}

TEST(a_key_may_be_longer_than_a_key_of_the_database) {
	struct fixture f;
	static char key[2][2001];
	setup(&f);
	for (int i = 0; i < 2; i++) {
		memset(key[i], 'k', 2000);
		key[i][1999] = (char)('0' + i);
		CHECK(append_to(&f, JULIET, i == 0 ? "a" : "b", i, NULL, key[i], NULL) == PN_OK);
	}
	const struct pn_archive_query query = {.key = str(key[0])};
	check_found(&f, &query, "a");
	CHECK(append_to(&f, JULIET, "c", 3, NULL, key[0], NULL) == PN_OK);
	check_all(&f, "b c");
	check_whole(&f);
	teardown(&f);
}

TEST(a_key_may_look_like_an_opaque_id) {
	struct fixture f;
	struct id id;
	char key[PN_ARCHIVE_ID_LEN + 1] = "";
	setup(&f);
	CHECK(append(&f, "a", 1, NULL, &id) == PN_OK);
	CHECK(append(&f, "b", 2, NULL, NULL) == PN_OK);
	memcpy(key, &id, sizeof(id));
	CHECK(append_to(&f, JULIET, "c", 3, NULL, key, NULL) == PN_OK);
	check_all(&f, "b c");
	const struct pn_archive_query query = {.key = str(key)};
	check_found(&f, &query, "c");
	check_whole(&f);
	teardown(&f);
}

TEST(a_full_archive_takes_only_replacements) {
	struct fixture f;
	struct pn_buf stanza = packed("x");
	const struct {
		struct pn_str key;
		int want;
	} steps[] = {
		{str("a"), PN_OK},     {str("b"), PN_OK}, {NONE, PN_EQUOTA},
		{str("c"), PN_EQUOTA}, {str("a"), PN_OK},
	};
	struct id id;
	setup(&f);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const struct pn_message message = {
			.id = steps[i].key,
			.stanza = {(char *)stanza.data, stanza.len},
		};
		CHECK(pn_archive_append(&f.archive, JULIET, &message, 2, id.bytes) ==
		      steps[i].want);
	}
	CHECK(total(&f, JULIET, &EVERYTHING) == 2);
	pn_buf_free(&stanza);
	teardown(&f);
}

/* ---- Changing ---- */

static int set(struct fixture *f, struct pn_str id, const char *text, const double *when,
	       const char *peer) {
	struct pn_buf stanza = packed(text);
	const struct pn_str name = peer != NULL ? str(peer) : NONE;
	const struct pn_archive_change change = {
		.stanza = {(char *)stanza.data, stanza.len},
		.when = when,
		.peer = peer != NULL ? &name : NULL,
	};
	const int err = pn_archive_set(&f->archive, JULIET, id, &change);
	pn_buf_free(&stanza);
	return err;
}

TEST(a_changed_message_keeps_its_id_its_place_and_the_fields_that_were_not_given) {
	struct fixture f;
	struct id ids[3];
	static const double later = 10;
	static const double earlier = -10;
	setup(&f);
	append_many(&f, 3, "a@b/c", ids);
	CHECK(set(&f, id_str(&ids[1]), "x", NULL, NULL) == PN_OK);
	check_all(&f, "0 x 2");
	struct pn_archive_query query = {.peer = str("a@b/c"), .has_start = true, .start = 1};
	check_found(&f, &query, "x 2");
	CHECK(set(&f, id_str(&ids[1]), "y", &later, "d@e") == PN_OK);
	query = (struct pn_archive_query){.has_start = true, .start = 5};
	check_found(&f, &query, "y");
	CHECK(total(&f, JULIET, &query) == 1);
	query = (struct pn_archive_query){.peer = str("a@b")};
	check_found(&f, &query, "0 2");
	CHECK(set(&f, id_str(&ids[1]), "z", &earlier, "a@b") == PN_OK);
	query.has_end = true;
	query.end = 0;
	check_found(&f, &query, "0 z");
	CHECK(total(&f, JULIET, &query) == 2);
	check_whole(&f);
	CHECK(known(&f, JULIET, id_str(&ids[1])));
	CHECK(set(&f, str("nobody"), "x", NULL, NULL) == PN_ENOTFOUND);
	CHECK(set(&f, id_str(&ids[0]), "x", &(double){INFINITY}, NULL) == PN_EINVAL);
	teardown(&f);
}

TEST(a_changed_message_may_have_any_size) {
	static const size_t sizes[] = {10, 5000, 300000, 100, 70000, 0};
	static char text[300001];
	struct fixture f;
	struct id ids[3];
	struct pn_archive_cursor *cursor;
	struct pn_message message;
	setup(&f);
	append_many(&f, 3, NULL, ids);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		fill_noise(text, sizes[i]);
		text[sizes[i]] = '\0';
		CHECK(set(&f, id_str(&ids[1]), text, NULL, NULL) == PN_OK);
		const struct pn_archive_query query = {.key = id_str(&ids[1])};
		REQUIRE(pn_archive_find(&cursor, &f.archive, JULIET, &query, 1, NULL) == PN_OK);
		REQUIRE(pn_archive_next(cursor, &message) == 1);
		CHECK(sizes[i] == 0 || body(message.stanza).len == sizes[i]);
		pn_archive_cursor_free(cursor);
		CHECK(total(&f, JULIET, &EVERYTHING) == 3);
		check_whole(&f);
	}
	teardown(&f);
}

TEST(a_peer_may_change_to_any_other_of_the_same_bare_name) {
	static const char *const peers[] = {"a", "a/b", "a/c", "d", "d/e", "a/b", "d/e", "a"};
	enum { COUNT = sizeof(peers) / sizeof(peers[0]) };
	struct fixture f;
	struct id ids[3];
	setup(&f);
	append_many(&f, 3, "a/c", ids);
	for (int i = 0; i < COUNT; i++) {
		CHECK(set(&f, id_str(&ids[i % 3]), "m", NULL, peers[i]) == PN_OK);
		check_whole(&f);
		const struct pn_archive_query query = {.peer = str(peers[i]),
						       .key = id_str(&ids[i % 3])};
		check_found(&f, &query, "m");
	}
	teardown(&f);
}

int main(void) {
	return test_run("archive");
}
