/* pn/db.h: key-value records, collections, transactions */
#include <math.h>

#include "store_fixture.h"

/* ---- One record ---- */

TEST(a_value_comes_back_as_it_was) {
	struct fixture f;
	struct pn_buf got = {0};
	char all[256];
	setup(&f);
	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	const struct pn_str any = {all, sizeof(all)};
	const struct pn_record record = {any, any};
	CHECK(pn_kv_set(&f.keyval, JULIET, &record, 1) == PN_OK);
	for (int round = 0; round < 2; round++) {
		pn_buf_append(&got, "before", 6);
		CHECK(pn_kv_get(&f.keyval, JULIET, any, &got) == 1);
		CHECK(got.len == 6 + sizeof(all) && memcmp(got.data + 6, all, sizeof(all)) == 0);
		pn_buf_free(&got);
		reopen(&f);
	}
	teardown(&f);
}

TEST(a_record_that_was_never_set_is_not_there) {
	struct fixture f;
	setup(&f);
	CHECK(holds(&f, JULIET, "key", NULL));
	CHECK(put(&f, JULIET, "key", "value") == PN_OK);
	CHECK(holds(&f, JULIET, "ke", NULL) && holds(&f, JULIET, "keys", NULL));
	CHECK(holds(&f, ROMEO, "key", NULL) && holds(&f, HOST, "key", NULL));
	teardown(&f);
}

TEST(a_key_and_a_value_may_be_empty) {
	struct fixture f;
	setup(&f);
	CHECK(put(&f, JULIET, "", "") == PN_OK);
	CHECK(holds(&f, JULIET, "", ""));
	CHECK(put(&f, JULIET, "", "value") == PN_OK);
	CHECK(holds(&f, JULIET, "", "value"));
	CHECK(count_records(&f, JULIET) == 1);
	CHECK(drop(&f, JULIET, "") == PN_OK);
	CHECK(holds(&f, JULIET, "", NULL));
	teardown(&f);
}

TEST(a_key_may_be_of_any_length) {
	static const size_t lengths[] = {1, 479, 480, 481, 505, 506, 511, 512, 4096, 100000};
	enum { COUNT = sizeof(lengths) / sizeof(lengths[0]) };
	struct fixture f;
	static char key[100001];
	setup(&f);
	for (char last = 'a'; last <= 'b'; last++) {
		for (size_t i = 0; i < COUNT; i++) {
			memset(key, 'k', lengths[i]);
			key[lengths[i] - 1] = last;
			key[lengths[i]] = '\0';
			CHECK(put(&f, JULIET, key, key) == PN_OK);
			CHECK(holds(&f, JULIET, key, key));
		}
	}
	CHECK(count_records(&f, JULIET) == 2 * COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		memset(key, 'k', lengths[i]);
		key[lengths[i] - 1] = 'a';
		key[lengths[i]] = '\0';
		CHECK(holds(&f, JULIET, key, key));
		CHECK(drop(&f, JULIET, key) == PN_OK);
		CHECK(holds(&f, JULIET, key, NULL));
	}
	CHECK(count_records(&f, JULIET) == COUNT);
	check_whole(&f);
	teardown(&f);
}

TEST(a_value_may_be_longer_than_many_pages) {
	struct fixture f;
	char *value = malloc(3000001);
	REQUIRE(value != NULL);
	memset(value, 'v', 3000000);
	value[3000000] = '\0';
	setup(&f);
	CHECK(put(&f, JULIET, "key", value) == PN_OK);
	CHECK(holds(&f, JULIET, "key", value));
	reopen(&f);
	CHECK(holds(&f, JULIET, "key", value));
	free(value);
	teardown(&f);
}

TEST(users_the_host_itself_and_the_empty_name_are_different) {
	static const struct pn_user users[] = {
		{"a", 1}, {"a\0b", 3}, {"a\0c", 3}, {"", 0}, {NULL, 0}, {"a/b", 3},
	};
	enum { COUNT = sizeof(users) / sizeof(users[0]) };
	static const char *const values[COUNT] = {"0", "1", "2", "3", "4", "5"};
	struct fixture f;
	setup(&f);
	for (int i = 0; i < COUNT; i++)
		CHECK(put(&f, users[i], "key", values[i]) == PN_OK);
	for (int i = 0; i < COUNT; i++)
		CHECK(holds(&f, users[i], "key", values[i]));
	check_whole(&f);
	teardown(&f);
}

TEST(stores_whose_names_run_together_are_not_the_same) {
	static const char *const names[][2] = {
		{"ab", "c"}, {"a", "bc"}, {"abc", ""}, {"", "abc"}, {"a", "b"}, {"b", "a"},
	};
	enum { COUNT = sizeof(names) / sizeof(names[0]) };
	struct fixture f;
	setup(&f);
	for (int i = 0; i < COUNT; i++) {
		f.keyval = (struct pn_store){0};
		REQUIRE(pn_store_init(&f.keyval, f.db, PN_TYPE_KEYVAL, str(names[i][0]),
				      str(names[i][1])) == PN_OK);
		CHECK(count_records(&f, JULIET) == 0);
		CHECK(put(&f, JULIET, "key", "value") == PN_OK);
		CHECK(count_records(&f, JULIET) == 1);
	}
	check_whole(&f);
	teardown(&f);
}

TEST(several_records_are_set_and_removed_by_one_call) {
	struct fixture f;
	const struct pn_record set[] = {
		{str("a"), str("1")}, {str("b"), str("2")}, {str("c"), str("3")}};
	const struct pn_record change[] = {
		{str("c"), str("4")}, {str("a"), NONE}, {str("nothing"), NONE}};
	const struct pn_record none[] = {{str("b"), NONE}, {str("c"), NONE}};
	setup(&f);
	CHECK(pn_kv_set(&f.keyval, JULIET, set, 3) == PN_OK);
	CHECK(pn_db_pending(f.db) == 1);
	CHECK(pn_kv_set(&f.keyval, JULIET, change, 3) == PN_OK);
	CHECK(count_records(&f, JULIET) == 2);
	CHECK(holds(&f, JULIET, "a", NULL) && holds(&f, JULIET, "c", "4"));
	CHECK(pn_kv_set(&f.keyval, JULIET, none, 2) == PN_OK);
	CHECK(count_records(&f, JULIET) == 0);
	check_whole(&f);
	teardown(&f);
}

/* ---- All records of a user ---- */

/* Replaces the user's data by keys and values, both the words of `words`. */
static int replace(struct fixture *f, const char *const *words, size_t count) {
	struct pn_record records[8];
	REQUIRE(count <= 8);
	for (size_t i = 0; i < count; i++)
		records[i] = (struct pn_record){str(words[i]), str(words[i])};
	return pn_kv_replace(&f->keyval, JULIET, records, count);
}

TEST(a_replacement_leaves_exactly_the_given_records) {
	static const char *const first[] = {"c", "a", "b", ""};
	static const char *const second[] = {"b", "d", "aa"};
	struct fixture f;
	setup(&f);
	CHECK(replace(&f, first, 4) == PN_OK);
	CHECK(count_records(&f, JULIET) == 4);
	CHECK(holds(&f, JULIET, "a", "a") && holds(&f, JULIET, "", ""));
	CHECK(replace(&f, second, 3) == PN_OK);
	CHECK(count_records(&f, JULIET) == 3);
	CHECK(holds(&f, JULIET, "a", NULL) && holds(&f, JULIET, "", NULL));
	CHECK(holds(&f, JULIET, "aa", "aa") && holds(&f, JULIET, "b", "b"));
	CHECK(replace(&f, NULL, 0) == PN_OK);
	CHECK(count_records(&f, JULIET) == 0);
	CHECK(replace(&f, NULL, 0) == PN_OK);
	check_whole(&f);
	teardown(&f);
}

static struct pn_db_info info_of(struct fixture *f) {
	struct pn_db_info info = {0};
	CHECK(pn_db_info(f->db, &info) == PN_OK);
	return info;
}

static uint64_t transaction(struct fixture *f) {
	return info_of(f).transaction;
}

TEST(a_replacement_by_the_same_writes_nothing) {
	static const char *const words[] = {"c", "a", "b"};
	struct fixture f;
	setup(&f);
	CHECK(replace(&f, words, 3) == PN_OK);
	CHECK(pn_db_pending(f.db) == 1);
	commit(&f);
	const uint64_t before = transaction(&f);
	CHECK(replace(&f, words, 3) == PN_OK);
	CHECK(put(&f, JULIET, "a", "a") == PN_OK);
	CHECK(drop(&f, JULIET, "nothing") == PN_OK);
	CHECK(pn_db_pending(f.db) == 0);
	commit(&f);
	CHECK(transaction(&f) == before);
	CHECK(replace(&f, words, 2) == PN_OK);
	CHECK(pn_db_pending(f.db) == 1);
	commit(&f);
	CHECK(transaction(&f) == before + 1);
	teardown(&f);
}

TEST(a_replacement_of_thousands_of_long_keys_is_whole) {
	enum { COUNT = 3000, LENGTH = 600 };
	static char keys[COUNT][LENGTH + 1];
	static struct pn_record records[COUNT];
	struct fixture f;
	setup(&f);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < COUNT; i++) {
			const int len = i % 3 == 0 ? LENGTH : 10;
			snprintf(keys[i], sizeof(keys[i]), "%0*d", len, (i * 7 + round) % COUNT);
			records[i] = (struct pn_record){str(keys[i]), str("v")};
		}
		CHECK(pn_kv_replace(&f.keyval, JULIET, records, COUNT) == PN_OK);
		CHECK(count_records(&f, JULIET) == COUNT);
	}
	for (int i = 0; i < COUNT; i += 100)
		CHECK(holds(&f, JULIET, keys[i], "v"));
	check_whole(&f);
	teardown(&f);
}

/* ---- One key of all users ---- */

TEST(a_key_is_got_from_and_removed_from_all_users) {
	struct fixture f;
	struct pn_buf buf = {0};
	char name[16];
	setup(&f);
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "user%d", i);
		const struct pn_user user = {name, strlen(name)};
		CHECK(put(&f, user, i % 3 == 0 ? "wanted" : "other", "value") == PN_OK);
		if (i % 6 == 0)
			CHECK(put(&f, user, "other", "value") == PN_OK);
	}
	CHECK(put(&f, HOST, "wanted", "the host's own") == PN_OK);
	CHECK(pn_kv_get_all(&f.keyval, str("wanted"), &buf) == PN_OK);
	CHECK(buf.len > 100 * (4 + 5 + 4 + 5) && buf.len <= 100 * (4 + 7 + 4 + 5));
	pn_buf_free(&buf);
	CHECK(pn_kv_delete_all(&f.keyval, str("wanted")) == PN_OK);
	CHECK(pn_kv_get_all(&f.keyval, str("wanted"), &buf) == PN_OK);
	CHECK(buf.len == 0);
	CHECK(pn_store_users(&f.keyval, &buf) == PN_OK);
	struct pn_wire wire = pn_wire_open(buf.data, buf.len);
	int users = 0;
	for (; wire.left > 0; users++)
		(void)tokens_str(&wire);
	CHECK(users == 250); /* users without other keys are gone */
	pn_buf_free(&buf);
	check_whole(&f);
	teardown(&f);
}

/* ---- Collections ---- */

/* The stores of the user, as "KIND NAME" with a comma behind each, sorted by type. */
static const char *stores(struct fixture *f, struct pn_user user, bool all) {
	static char text[1024];
	struct pn_buf buf = {0};
	size_t len = 0;
	text[0] = '\0';
	CHECK((all ? pn_store_list_all(f->db, str("host"), &buf)
		   : pn_store_list(f->db, str("host"), user, &buf)) == PN_OK);
	struct pn_wire wire = pn_wire_open(buf.data, buf.len);
	while (wire.left > 0) {
		const bool archive = pn_wire_u8(&wire) == PN_TYPE_ARCHIVE;
		const struct pn_str name = tokens_str(&wire);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s %.*s,",
					archive ? "archive" : "keyval", (int)name.len, name.bytes);
	}
	pn_buf_free(&buf);
	return text;
}

TEST(a_collection_is_listed_while_it_has_an_entry) {
	struct fixture f;
	struct id id;
	setup(&f);
	CHECK_STR(stores(&f, JULIET, false), "");
	CHECK(put(&f, JULIET, "key", "value") == PN_OK);
	CHECK(append(&f, "hello", 1, NULL, &id) == PN_OK);
	CHECK_STR(stores(&f, JULIET, false), "keyval kv,archive mam,");
	CHECK_STR(stores(&f, ROMEO, false), "");
	CHECK_STR(stores(&f, HOST, true), "keyval kv,archive mam,");
	CHECK(drop(&f, JULIET, "key") == PN_OK);
	CHECK_STR(stores(&f, JULIET, false), "archive mam,");
	const struct pn_archive_query one = {.key = id_str(&id)};
	CHECK(delete_matching(&f, &one) == 1);
	CHECK_STR(stores(&f, JULIET, false), "");
	CHECK_STR(stores(&f, HOST, true), "");
	check_whole(&f);
	teardown(&f);
}

TEST(the_stores_of_all_users_are_listed_until_the_last_user_leaves) {
	struct fixture f;
	setup(&f);
	CHECK(put(&f, HOST, "key", "value") == PN_OK);
	CHECK_STR(stores(&f, HOST, true), "");
	CHECK_STR(stores(&f, HOST, false), "keyval kv,");
	CHECK(put(&f, JULIET, "key", "value") == PN_OK);
	CHECK(put(&f, ROMEO, "key", "value") == PN_OK);
	CHECK(drop(&f, ROMEO, "key") == PN_OK);
	CHECK_STR(stores(&f, HOST, true), "keyval kv,");
	CHECK(drop(&f, JULIET, "key") == PN_OK);
	CHECK_STR(stores(&f, HOST, true), "");
	teardown(&f);
}

TEST(a_purge_removes_all_data_of_one_user_and_no_others) {
	struct fixture f;
	setup(&f);
	for (int i = 0; i < 20; i++) {
		char name[16];
		snprintf(name, sizeof(name), "pep_%d", i);
		REQUIRE(pn_store_init(&f.keyval, f.db, PN_TYPE_KEYVAL, str("host"), str(name)) ==
			PN_OK);
		REQUIRE(pn_store_init(&f.archive, f.db, PN_TYPE_ARCHIVE, str("host"), str(name)) ==
			PN_OK);
		CHECK(put(&f, JULIET, "key", "value") == PN_OK);
		CHECK(put(&f, ROMEO, "key", "value") == PN_OK);
		CHECK(append(&f, "hello", i, "romeo@montague.lit/orchard", NULL) == PN_OK);
	}
	CHECK(pn_store_purge(f.db, str("host"), JULIET) == PN_OK);
	CHECK_STR(stores(&f, JULIET, false), "");
	CHECK(holds(&f, JULIET, "key", NULL) && holds(&f, ROMEO, "key", "value"));
	CHECK(total(&f, JULIET, &EVERYTHING) == 0);
	check_whole(&f);
	CHECK(pn_store_purge(f.db, str("host"), JULIET) == PN_OK);
	CHECK(pn_db_pending(f.db) == 0);
	teardown(&f);
}

static uint64_t erasing(struct fixture *f) {
	uint64_t count = 0;
	CHECK(pn_store_erasing(f->db, &count) == PN_OK);
	return count;
}

TEST(removed_records_are_erased_in_slices) {
	struct fixture f;
	struct pn_progress progress;
	struct pn_check *check;
	unsigned wrong = 0;
	setup(&f);
	for (int i = 0; i < 200; i++)
		CHECK(append(&f, "hello", i, "romeo@montague.lit/orchard", NULL) == PN_OK);
	CHECK(put(&f, ROMEO, "key", "value") == PN_OK);
	CHECK(delete_matching(&f, &EVERYTHING) == 200);
	commit(&f);
	CHECK(erasing(&f) == 1);
	check_whole(&f);
	int slices = 1;
	while (pn_store_erase(f.db, 50) == 1)
		slices++;
	/* the messages, and few records of indexes */
	CHECK(slices == 200 / 50 + 1);
	CHECK(erasing(&f) == 0);
	check_whole(&f);
	/* format, position, and of romeo c, d, u, s and v */
	REQUIRE(pn_check_new(&check, f.db, count_problem, &wrong) == PN_OK);
	CHECK(pn_check_step(check, &progress) == 0);
	CHECK(progress.total == 7 && progress.done == 7 && wrong == 0);
	const struct pn_db_info info = info_of(&f);
	CHECK(info.records == 7);
	pn_check_free(check);
	CHECK(info_of(&f).readers == info.readers - 1);
	teardown(&f);
}

TEST(a_collection_can_be_created_again_before_the_old_one_is_erased) {
	struct fixture f;
	setup(&f);
	CHECK(put(&f, JULIET, "old", "value") == PN_OK);
	CHECK(drop(&f, JULIET, "old") == PN_OK);
	CHECK(append(&f, "old", 1, NULL, NULL) == PN_OK);
	CHECK(delete_matching(&f, &EVERYTHING) == 1);
	CHECK(put(&f, JULIET, "new", "value") == PN_OK);
	CHECK(append(&f, "new", 1, NULL, NULL) == PN_OK);
	while (pn_store_erase(f.db, 3) == 1)
		continue;
	CHECK(count_records(&f, JULIET) == 1 && holds(&f, JULIET, "new", "value"));
	check_all(&f, "new");
	check_whole(&f);
	teardown(&f);
}

/* ---- Transactions ---- */

TEST(reading_does_not_leave_transactions_open) {
	struct fixture f;
	setup(&f);
	CHECK(holds(&f, JULIET, "key", NULL));
	CHECK(drop(&f, JULIET, "key") == PN_OK);
	CHECK(delete_matching(&f, &EVERYTHING) == 0);
	CHECK(pn_db_pending(f.db) == 0);
	const uint64_t before = transaction(&f);
	commit(&f);
	CHECK(transaction(&f) == before);
	teardown(&f);
}

TEST(every_call_that_writes_is_pending_until_the_commit) {
	struct fixture f;
	setup(&f);
	const uint64_t before = pn_db_committed(f.db);
	CHECK(put(&f, JULIET, "a", "1") == PN_OK);
	CHECK(put(&f, JULIET, "b", "2") == PN_OK);
	CHECK(append(&f, "hello", 1, NULL, NULL) == PN_OK);
	CHECK(pn_db_pending(f.db) == 3);
	CHECK(holds(&f, JULIET, "a", "1"));
	CHECK(pn_db_pending(f.db) == 3);
	CHECK(pn_db_committed(f.db) == before);
	commit(&f);
	CHECK(pn_db_pending(f.db) == 0);
	CHECK(pn_db_committed(f.db) == before + 1);
	teardown(&f);
}

TEST(an_abort_rolls_back_all_since_the_commit) {
	struct fixture f;
	setup(&f);
	CHECK(put(&f, JULIET, "kept", "1") == PN_OK);
	commit(&f);
	CHECK(put(&f, JULIET, "kept", "2") == PN_OK);
	CHECK(put(&f, ROMEO, "gone", "1") == PN_OK);
	CHECK(append(&f, "gone", 1, NULL, NULL) == PN_OK);
	pn_db_abort(f.db);
	pn_db_abort(f.db);
	CHECK(pn_db_pending(f.db) == 0);
	CHECK(holds(&f, JULIET, "kept", "1") && holds(&f, ROMEO, "gone", NULL));
	check_all(&f, "");
	check_whole(&f);
	teardown(&f);
}

/* Lets a call fail after it has written: making a collection takes several allocations. */
static void fail_while_writing(struct fixture *f) {
	test_alloc_fail(2, true);
	CHECK(put(f, ROMEO, "failed", "value") == PN_ENOMEM);
	test_alloc_fail(0, false);
}

TEST(a_call_that_fails_while_it_writes_is_rolled_back_alone) {
	struct fixture f;
	setup(&f);
	CHECK(put(&f, JULIET, "before", "1") == PN_OK);
	CHECK(put(&f, ROMEO, "gone", "1") == PN_OK);
	commit(&f);
	CHECK(put(&f, JULIET, "turn", "1") == PN_OK);
	CHECK(append(&f, "hello", 1, "a@b/c", NULL) == PN_OK);
	CHECK(drop(&f, ROMEO, "gone") == PN_OK);
	fail_while_writing(&f);
	CHECK(pn_db_pending(f.db) == 3);
	CHECK(holds(&f, JULIET, "turn", "1") && holds(&f, ROMEO, "gone", NULL));
	CHECK(put(&f, JULIET, "later", "1") == PN_OK);
	fail_while_writing(&f);
	CHECK(append(&f, "later", 2, "a@b/c", NULL) == PN_OK);
	CHECK(pn_db_pending(f.db) == 5);
	commit(&f);
	CHECK(pn_db_pending(f.db) == 0);
	CHECK(count_records(&f, JULIET) == 3 && count_records(&f, ROMEO) == 0);
	check_all(&f, "hello later");
	check_whole(&f);
	teardown(&f);
}

/* Values that LMDB keeps in runs of pages, and more of them than it keeps in one page. */
TEST(a_long_turn_survives_a_call_that_fails) {
	enum { COUNT = 300 };
	static char value[20001];
	struct fixture f;
	char key[16];
	setup(&f);
	memset(value, 'v', sizeof(value) - 1);
	for (int i = 0; i < COUNT; i++) {
		snprintf(key, sizeof(key), "%d", i);
		value[i % 5 == 0 ? 20000 : 100] = '\0';
		CHECK(put(&f, JULIET, key, value) == PN_OK);
		value[100] = 'v';
		if (i % 3 == 0)
			CHECK(drop(&f, JULIET, key) == PN_OK);
		if (i % 50 == 0)
			fail_while_writing(&f);
	}
	commit(&f);
	CHECK(count_records(&f, JULIET) == COUNT - COUNT / 3 && count_records(&f, ROMEO) == 0);
	value[100] = '\0';
	CHECK(holds(&f, JULIET, "4", value) && holds(&f, JULIET, "3", NULL));
	value[100] = 'v';
	CHECK(holds(&f, JULIET, "5", value));
	check_whole(&f);
	teardown(&f);
}

TEST(a_failure_of_the_first_call_of_a_turn_loses_nothing) {
	struct fixture f;
	setup(&f);
	fail_while_writing(&f);
	CHECK(put(&f, JULIET, "turn", "1") == PN_OK);
	commit(&f);
	CHECK(holds(&f, JULIET, "turn", "1") && holds(&f, ROMEO, "failed", NULL));
	check_whole(&f);
	teardown(&f);
}

TEST(a_failed_call_without_writes_does_not_change_the_turn) {
	struct fixture f;
	setup(&f);
	CHECK(put(&f, JULIET, "turn", "1") == PN_OK);
	CHECK(append(&f, "hello", 1, NULL, NULL) == PN_OK);
	const struct pn_archive_query unknown = {.after = str("nobody")};
	CHECK(delete_matching(&f, &unknown) == PN_ENOTFOUND);
	CHECK(append(&f, "no time", (double)NAN, NULL, NULL) == PN_EINVAL);
	CHECK(pn_db_pending(f.db) == 2);
	commit(&f);
	CHECK(holds(&f, JULIET, "turn", "1"));
	check_all(&f, "hello");
	teardown(&f);
}

TEST(a_read_after_a_failed_call_is_not_a_write) {
	struct fixture f;
	setup(&f);
	fail_while_writing(&f);
	CHECK(pn_db_begin(f.db) == PN_OK);
	CHECK(holds(&f, JULIET, "key", NULL));
	CHECK(pn_db_pending(f.db) == 0);
	commit(&f);
	teardown(&f);
}

TEST(closing_commits_an_open_turn) {
	struct fixture f;
	setup(&f);
	CHECK(put(&f, JULIET, "key", "value") == PN_OK);
	reopen(&f);
	CHECK(holds(&f, JULIET, "key", "value"));
	pn_db_close(NULL);
	teardown(&f);
}

int main(void) {
	return test_run("store");
}
