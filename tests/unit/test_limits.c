/* Limits that change while the database is open, and the bytes of a host. */
#include "store_fixture.h"

enum { MEGABYTE = 1024 * 1024, LIMIT = 4 * MEGABYTE, VALUE = 10000 };

/* ---- The limit of the data file ---- */

static int put_large(struct fixture *f, int number) {
	static char value[VALUE + 1];
	char key[16];
	memset(value, 'x', VALUE);
	snprintf(key, sizeof(key), "%d", number);
	const int err = put(f, JULIET, key, value);
	CHECK(pn_db_commit(f->db) == PN_OK);
	return err;
}

/* Puts records from `number` on until one is refused. Returns its number. */
static int fill_up(struct fixture *f, int number) {
	int err;
	while ((err = put_large(f, number)) == PN_OK)
		number++;
	CHECK(err == PN_EFULL);
	return number;
}

static void remove_large(struct fixture *f, int count) {
	for (int number = 0; number < count; number++) {
		char key[16];
		snprintf(key, sizeof(key), "%d", number);
		CHECK(drop(f, JULIET, key) == PN_OK);
		commit(f);
	}
}

static struct pn_db_info info_of(struct fixture *f) {
	struct pn_db_info info = {0};
	CHECK(pn_db_info(f->db, &info) == PN_OK);
	return info;
}

TEST(a_higher_limit_of_the_file_allows_writes_at_once) {
	struct fixture f;
	setup_with(&f, (struct pn_db_options){.interval = 60000, .max_bytes = LIMIT});
	const int count = fill_up(&f, 0);
	CHECK(put_large(&f, count) == PN_EFULL);
	pn_db_set_max(f.db, 2 * LIMIT);
	CHECK(put_large(&f, count) == PN_OK && info_of(&f).max_bytes == 2 * LIMIT);
	CHECK(fill_up(&f, count) > count * 3 / 2);
	pn_db_set_max(f.db, 0);
	CHECK(put_large(&f, 2 * count) == PN_OK && info_of(&f).max_bytes > (uint64_t)LIMIT * 1000);
	check_whole(&f);
	teardown(&f);
}

TEST(below_a_lower_limit_of_the_file_writes_have_to_fit_into_its_free_pages) {
	enum { MANY = 2 * LIMIT / VALUE };
	struct fixture f;
	setup_with(&f, (struct pn_db_options){.interval = 60000});
	for (int number = 0; number < MANY; number++)
		CHECK(put_large(&f, number) == PN_OK);
	const uint64_t before = info_of(&f).file_bytes;
	pn_db_set_max(f.db, LIMIT);
	const int last = fill_up(&f, MANY);
	CHECK(last > MANY && info_of(&f).file_bytes <= before + MEGABYTE / 4);
	remove_large(&f, MANY / 2);
	CHECK(fill_up(&f, last) > last + MANY / 8);
	check_whole(&f);
	teardown(&f);
}

/* ---- The bytes of a host ---- */

static const struct pn_user USERS[] = {{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}, {"e", 1}, {NULL, 0}};
enum { USER_COUNT = sizeof(USERS) / sizeof(USERS[0]) };

static void add_stat(void *context, const struct pn_stat *stat) {
	uint64_t *sum = context;
	if (stat->host.len == strlen("host"))
		*sum += stat->bytes;
}

/* The bytes of all collections of the host, and whether its count has the same. */
static bool is_counted(struct fixture *f) {
	uint64_t sum = 0, bytes = 0;
	uint32_t position = 0;
	while (pn_store_stat(f->db, &position, 3, true, add_stat, &sum) > 0)
		;
	return pn_store_host_bytes(f->db, str("host"), &bytes) == 1 && bytes == sum;
}

static void setup_counted(struct fixture *f) {
	setup(f);
	CHECK(pn_store_count(f->db, 1) == 0);
	commit(f);
}

static uint64_t host_bytes(struct fixture *f) {
	uint64_t bytes = 0;
	CHECK(pn_store_host_bytes(f->db, str("host"), &bytes) >= 0);
	return bytes;
}

static void write_of(struct fixture *f, struct pn_user user, int step) {
	const struct pn_archive_query some = {
		.has_start = true, .start = 3, .has_end = true, .end = 9};
	char key[600], value[100];
	uint64_t count;
	snprintf(key, sizeof(key), "%0*d", step % 5 == 0 ? 550 : 1, step % 7);
	snprintf(value, sizeof(value), "%0*d", 1 + (int)random() % 90, step);
	struct pn_record both[] = {{str(key), str(value)}, {str("other"), str(key)}};
	switch (random() % 9) {
	case 0:
		CHECK(drop(f, user, key) == PN_OK);
		break;
	case 1:
		CHECK(pn_kv_replace(&f->keyval, user, both, (size_t)random() % 3) == PN_OK);
		break;
	case 2:
		CHECK(pn_archive_delete(&f->archive, user, &some, 5, &count) >= 0);
		break;
	case 3:
		CHECK(step % 4 > 0 ||
		      pn_archive_delete(&f->archive, user, &EVERYTHING, 5, &count) >= 0);
		break;
	case 4:
		CHECK(step % 4 > 0 || user.bytes == NULL ||
		      pn_store_purge(f->db, str("host"), user) == PN_OK);
		break;
	case 5:
		CHECK(append_to(f, user, value, step % 11, "peer@host/x", key, NULL) == PN_OK);
		break;
	case 6:
		CHECK(append_to(f, user, value, step % 11, NULL, NULL, NULL) == PN_OK);
		break;
	default:
		CHECK(put(f, user, key, value) == PN_OK);
	}
}

static void write_some(struct fixture *f, int steps) {
	for (int step = 0; step < steps; step++) {
		write_of(f, USERS[random() % USER_COUNT], step);
		if (random() % 5 == 0)
			commit(f);
		if (random() % 50 == 0)
			CHECK(pn_store_erase(f->db, 20) >= 0);
	}
}

TEST(a_host_has_the_bytes_of_its_messages_and_records) {
	struct fixture f;
	srandom(test_seed());
	setup_counted(&f);
	CHECK(is_counted(&f) && host_bytes(&f) == 0);
	for (int round = 0; round < test_tries(20, 500); round++) {
		write_some(&f, 100);
		CHECK(is_counted(&f));
	}
	check_whole(&f);
	reopen(&f);
	CHECK(is_counted(&f));
	for (int user = 0; user < USER_COUNT; user++)
		CHECK(pn_store_purge(f.db, str("host"), USERS[user]) == PN_OK);
	CHECK(is_counted(&f) && host_bytes(&f) == 0);
	check_whole(&f);
	teardown(&f);
}

TEST(undone_writes_do_not_count) {
	struct fixture f;
	setup_counted(&f);
	CHECK(put(&f, JULIET, "key", "kept") == PN_OK);
	commit(&f);
	const uint64_t before = host_bytes(&f);
	CHECK(put(&f, JULIET, "other", "undone") == PN_OK && host_bytes(&f) > before);
	pn_db_abort(f.db);
	CHECK(is_counted(&f) && host_bytes(&f) == before);
	teardown(&f);
}

/* Removes the records b from the first or second on, or puts `value` into them. */
static void spoil_counts(struct fixture *f, size_t from, const char *value) {
	const struct pn_key prefix = pn_key_host(NULL);
	struct pn_key keys[8];
	struct pn_txn txn;
	struct pn_cursor cursor;
	size_t count = 0;
	pn_txn_write(f->db, &txn, (struct pn_claim){.puts = 8});
	pn_cursor_open(&txn, &cursor, &prefix);
	for (bool any = pn_cursor_first(&cursor); any; any = pn_cursor_next(&cursor)) {
		memcpy(keys[count].bytes, cursor.key.bytes, cursor.key.len);
		keys[count++].len = cursor.key.len;
	}
	pn_cursor_close(&cursor);
	for (size_t i = from; i < count; i++) {
		struct pn_buf bytes = pn_value();
		pn_buf_append(&bytes, value, value != NULL ? strlen(value) : 0);
		if (value != NULL)
			pn_put(&txn, &keys[i], &bytes);
		else
			pn_remove(&txn, &keys[i]);
		if (value == NULL)
			pn_buf_free(&bytes);
	}
	CHECK(pn_txn_end(&txn, PN_OK) == PN_OK && count == 2);
	reopen(f);
}

TEST(nothing_is_counted_until_it_is_asked_for_and_after_it_was_ended) {
	struct fixture f;
	int more;
	srandom(test_seed());
	setup(&f);
	write_some(&f, 100);
	CHECK(!is_counted(&f) && host_bytes(&f) == 0);
	check_whole(&f);
	while ((more = pn_store_count(f.db, 1)) > 0)
		;
	CHECK(more == 0 && is_counted(&f));
	CHECK(pn_store_stop_counting(f.db) == PN_OK && pn_store_stop_counting(f.db) == PN_OK);
	write_some(&f, 100);
	CHECK(!is_counted(&f));
	check_whole(&f);
	CHECK(pn_store_count(f.db, 100) == 0 && is_counted(&f));
	write_some(&f, 100);
	CHECK(is_counted(&f));
	check_whole(&f);
	teardown(&f);
}

TEST(collections_are_counted_while_they_change) {
	struct fixture f;
	int more;
	srandom(test_seed());
	setup_counted(&f);
	write_some(&f, 300);
	spoil_counts(&f, 0, NULL);
	write_some(&f, 20);
	CHECK(!is_counted(&f) && host_bytes(&f) == 0);
	check_whole(&f);
	do {
		more = pn_store_count(f.db, 2);
		CHECK(more >= 0);
		write_some(&f, 5);
		check_whole(&f);
	} while (more > 0);
	CHECK(is_counted(&f) && host_bytes(&f) > 0 && pn_store_count(f.db, 2) == 0);
	teardown(&f);
}

TEST(a_count_that_cannot_be_read_denies_no_write_and_is_made_again) {
	static const char *const bad[] = {"", "short", "much too long for a number"};
	for (size_t i = 0; i < 2 * sizeof(bad) / sizeof(bad[0]); i++) {
		struct fixture f;
		srandom(test_seed());
		setup_counted(&f);
		write_some(&f, 100);
		spoil_counts(&f, i % 2, bad[i / 2]);
		f.keyval.host_limit = host_bytes(&f) + 100;
		CHECK(put(&f, JULIET, "key", "value") == PN_OK);
		reopen(&f);
		write_some(&f, 20);
		CHECK(pn_store_count(f.db, 100) == 0 && is_counted(&f));
		check_whole(&f);
		teardown(&f);
	}
}

TEST(a_host_at_its_limit_refuses_what_adds_bytes_and_nothing_else) {
	struct pn_record two[] = {{str("long"), str("0123456789")}, {str("short"), str("0")}};
	struct fixture f;
	struct id id;
	setup_counted(&f);
	CHECK(put(&f, JULIET, "long", "0123456789") == PN_OK);
	CHECK(append(&f, "a message of some length", 1, "a@b", &id) == PN_OK);
	CHECK(append_to(&f, ROMEO, "one", 1, "a@b", "key", NULL) == PN_OK);
	f.keyval.host_limit = f.archive.host_limit = host_bytes(&f);
	CHECK(put(&f, JULIET, "new", "") == PN_EHOST && put(&f, ROMEO, "new", "") == PN_EHOST);
	CHECK(put(&f, JULIET, "long", "0123456789+") == PN_EHOST);
	CHECK(pn_kv_replace(&f.keyval, JULIET, two, 2) == PN_EHOST);
	CHECK(append(&f, "two", 2, "a@b", NULL) == PN_EHOST);
	CHECK(is_counted(&f) && pn_db_pending(f.db) == 3);
	CHECK(put(&f, JULIET, "long", "9876543210") == PN_OK);
	CHECK(pn_kv_replace(&f.keyval, JULIET, two, 1) == PN_OK);
	CHECK(pn_archive_delete(&f.archive, JULIET, &EVERYTHING, SLICE, &(uint64_t){0}) == PN_OK);
	CHECK(append_to(&f, ROMEO, "one", 2, "a@b", "key", NULL) == PN_OK);
	CHECK(is_counted(&f));
	check_whole(&f);
	teardown(&f);
}

TEST(the_limit_of_a_host_is_not_exceeded_and_does_not_concern_other_hosts) {
	enum { MOST = 20000 };
	const struct pn_record record = {str("key"), str("value")};
	struct pn_store other;
	struct fixture f;
	int err, count = 0;
	setup_counted(&f);
	f.archive.host_limit = MOST;
	while ((err = append(&f, "a message of some length", count, "a@b", NULL)) == PN_OK)
		count++;
	CHECK(err == PN_EHOST && host_bytes(&f) <= MOST && host_bytes(&f) > MOST - 200);
	CHECK(pn_store_init(&other, f.db, PN_TYPE_KEYVAL, str("other"), str("kv")) == PN_OK);
	CHECK(pn_kv_set(&other, JULIET, &record, 1) == PN_OK);
	f.archive.host_limit = 2 * MOST;
	CHECK(append(&f, "more", count, "a@b", NULL) == PN_OK);
	check_whole(&f);
	teardown(&f);
}

int main(void) {
	return test_run("limits");
}
