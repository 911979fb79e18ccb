/* modules/db/series.c: pages of archives that grow at their end. */
#include <errno.h>

#include <lmdb.h>

#include "store_fixture.h"

enum {
	MAP_SIZE = 1 << 28,
	PAGE = 4096,
	TEXT = 120,
	MESSAGES = 15000,
	PEERS = 3,
	BEFORE = 240, /* soon their archives are long */
};

/* ---- Functions of LMDB that fail ---- */

static struct {
	size_t calls;
	size_t fail_at; /* 0: none */
	bool failed;
} faults;

static bool fails(void) {
	const bool now = ++faults.calls == faults.fail_at;
	faults.failed = faults.failed || now;
	return now;
}

#define WRAP(name, parameters, arguments)                                                          \
	int __real_##name parameters;                                                              \
	int __wrap_##name parameters;                                                              \
	int __wrap_##name parameters {                                                             \
		return fails() ? ENOMEM : __real_##name arguments;                                 \
	}

WRAP(mdb_put, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags),
     (txn, dbi, key, value, flags))
WRAP(mdb_del, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *value), (txn, dbi, key, value))
WRAP(mdb_cursor_open, (MDB_txn * txn, MDB_dbi dbi, MDB_cursor **cursor), (txn, dbi, cursor))
WRAP(mdb_cursor_get, (MDB_cursor * cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op),
     (cursor, key, value, op))

/* ---- Fixture ---- */

static const struct pn_user USERS[] = {{"juliet", 6}, {"romeo", 5}, {"nurse", 5}};
enum { USERS_COUNT = 3 };

static int append_number(struct fixture *f, int number) {
	char text[TEXT + 1] = {0}, peer[32];
	fill_noise(text, TEXT);
	snprintf(text, 12, "%08d", number);
	text[8] = '.';
	snprintf(peer, sizeof(peer), "peer%d@host", number / USERS_COUNT % PEERS);
	return append_to(f, USERS[number % USERS_COUNT], text, number, peer, NULL, NULL);
}

/* Appends to several archives in turn, so that none ends at the end of the file. */
static void fill(struct fixture *f, int from, int to) {
	for (int i = from; i < to; i++) {
		CHECK(append_number(f, i) == PN_OK);
		if (i % 50 == 0)
			commit(f);
	}
	commit(f);
}

/* How full the pages of records of a kind are, in percent. */
static double fullness(const char *directory, char kind) {
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_cursor *cursor;
	MDB_val key, value;
	double bytes = 0, pages = 0;
	uintptr_t page = 0;
	REQUIRE(mdb_env_create(&env) == 0 && mdb_env_set_mapsize(env, MAP_SIZE) == 0);
	REQUIRE(mdb_env_open(env, directory, MDB_RDONLY, 0600) == 0);
	REQUIRE(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0);
	REQUIRE(mdb_dbi_open(txn, NULL, 0, &dbi) == 0 && mdb_cursor_open(txn, dbi, &cursor) == 0);
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		const char *const name = key.mv_data;
		if (name[0] != 'r' || name[5] != kind)
			continue;
		const uintptr_t at = (uintptr_t)key.mv_data / PAGE;
		pages += at != page;
		page = at;
		bytes += (double)(8 + key.mv_size + value.mv_size + 2);
	}
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	mdb_env_close(env);
	return 100 * bytes / pages / PAGE;
}

static int64_t count_all(struct fixture *f) {
	int64_t count = 0;
	for (int i = 0; i < USERS_COUNT; i++)
		count += total(f, USERS[i], &EVERYTHING);
	return count;
}

/* ---- Tests ---- */

TEST(the_pages_of_archives_that_grow_side_by_side_are_nine_tenths_full) {
	struct fixture f;
	setup(&f);
	fill(&f, 0, MESSAGES);
	check_whole(&f);
	CHECK(count_all(&f) == MESSAGES);
	close_db(&f);
	CHECK(fullness(f.directory, 'm') > 90);
	directory_remove(f.directory);
}

TEST(after_deletions_the_pages_of_new_messages_are_full_again) {
	const struct pn_archive_query old = {.has_end = true, .end = MESSAGES - 30};
	struct fixture f;
	setup(&f);
	fill(&f, 0, MESSAGES);
	CHECK(delete_matching(&f, &old) > 0);
	fill(&f, MESSAGES, 3 * MESSAGES);
	check_whole(&f);
	close_db(&f);
	CHECK(fullness(f.directory, 'm') > 88);
	directory_remove(f.directory);
}

/* Appends message `number`, with the call that `fail_at` says failing. Returns whether one did. */
static bool append_failing(struct fixture *f, int number, size_t fail_at) {
	const int64_t before = count_all(f);
	faults.calls = 0;
	faults.failed = false;
	faults.fail_at = fail_at;
	const int err = append_number(f, number);
	faults.fail_at = 0;
	CHECK((err == PN_ENOMEM) == faults.failed);
	CHECK(count_all(f) == before + !faults.failed);
	return faults.failed;
}

/* Some of the messages split a page: these calls are more than the usual ones. */
TEST(if_any_call_fails_while_a_page_is_made_to_end_with_a_series_nothing_is_changed) {
	struct fixture f;
	size_t least = SIZE_MAX, most = 0;
	setup(&f);
	fill(&f, 0, BEFORE);
	for (int number = BEFORE; number < BEFORE + 240; number++) {
		size_t at = 1;
		while (append_failing(&f, number, at))
			at++;
		least = at < least ? at : least;
		most = at > most ? at : most;
		if (number % 10 == 0)
			check_whole(&f);
	}
	CHECK(most >= least + 7);
	check_whole(&f);
	teardown(&f);
}

TEST(if_any_allocation_fails_meanwhile_nothing_is_changed) {
	struct fixture f;
	int done = BEFORE;
	setup(&f);
	fill(&f, 0, done);
	for (int number = BEFORE; number < BEFORE + 240; number++) {
		bool failed = true;
		for (size_t at = 1; failed; at++) {
			test_alloc_fail(at, false);
			const int err = append_number(&f, number);
			failed = test_alloc.failed;
			test_alloc_fail(0, false);
			CHECK(err == PN_ENOMEM || err == PN_OK);
			done += err == PN_OK;
		}
	}
	CHECK(count_all(&f) == done);
	check_whole(&f);
	teardown(&f);
}

int main(void) {
	return test_run("series");
}
