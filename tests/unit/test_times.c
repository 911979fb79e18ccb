/* pn/archive.h: messages whose times are in any order. What a query costs is counted in steps. */
#include <lmdb.h>
#include <math.h>

#include "../../modules/archive/archive.h"
#include "store_fixture.h"

/* ---- Steps: records that are looked up, and moves of cursors ---- */

static unsigned steps;

int __real_mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data);
int __wrap_mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data);
int __real_mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op);
int __wrap_mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op);

int __wrap_mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data) {
	steps++;
	return __real_mdb_get(txn, dbi, key, data);
}

int __wrap_mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op) {
	steps++;
	return __real_mdb_cursor_get(cursor, key, data, op);
}

/* ---- An archive, and a list of what it should have ---- */

enum { MOST = 30000, MANY = 12000, PAGE = 50, DAY = 86400, GAP = 10, PEERS = 3 };

static const char *const PEER[PEERS] = {"a@b", "c@d/e", "c@d/f"};

static struct {
	struct fixture f;
	int count;
	double now; /* the right time */
	struct {
		double when;
		int peer;
		bool gone;
	} messages[MOST];
} model;

static void open_model(void) {
	setup(&model.f);
	model.count = 0;
	model.now = 1e9;
	srandom(test_seed());
}

static int below(int bound) {
	return (int)(random() % bound);
}

static void append_keyed(double when, int peer, const char *key) {
	const int i = model.count++;
	char text[16];
	REQUIRE(i < MOST);
	model.messages[i].when = when;
	model.messages[i].peer = peer;
	model.messages[i].gone = false;
	snprintf(text, sizeof(text), "%d", i);
	CHECK(append_to(&model.f, JULIET, text, when, PEER[peer], key, NULL) == PN_OK);
	if (i % 100 == 0)
		commit(&model.f);
}

/* Appends messages some seconds apart, by a clock that is wrong by `wrong` seconds. */
static void append_some(int count, double wrong) {
	for (int i = 0; i < count; i++) {
		model.now += GAP;
		append_keyed(model.now + wrong, i % PEERS, NULL);
	}
}

static bool matches(int i, const struct pn_archive_query *query) {
	const double when = model.messages[i].when;
	const char *peer = PEER[model.messages[i].peer];
	const size_t len = query->peer.len;
	if (model.messages[i].gone || (query->has_start && when < query->start) ||
	    (query->has_end && when > query->end))
		return false;
	return query->peer.bytes == NULL || (strncmp(peer, query->peer.bytes, len) == 0 &&
					     (peer[len] == '\0' || peer[len] == '/'));
}

static uint64_t count_matches(const struct pn_archive_query *query) {
	uint64_t count = 0;
	for (int i = 0; i < model.count; i++)
		count += matches(i, query);
	return count;
}

/* The number of the match after the `i`th message, in the query's direction; -1 at the end. */
static int next_match(int i, const struct pn_archive_query *query) {
	const int step = query->reverse ? -1 : 1;
	for (i += step; i >= 0 && i < model.count; i += step) {
		if (matches(i, query))
			return i;
	}
	return -1;
}

/* Reads the page of a query, compares it, and returns its steps. */
static unsigned compare_page(const struct pn_archive_query *query) {
	struct pn_archive_cursor *cursor;
	struct pn_message message;
	uint64_t count = 0;
	int at = query->reverse ? model.count : -1;
	unsigned read = 0;
	steps = 0;
	REQUIRE(pn_archive_find(&cursor, &model.f.archive, JULIET, query, PAGE, &count) == PN_OK);
	for (; read < PAGE && pn_archive_next(cursor, &message) == 1; read++) {
		const struct pn_str text = body(message.stanza);
		at = next_match(at, query);
		CHECK(at >= 0 && atoi(text.bytes) == at && message.when == model.messages[at].when);
	}
	const unsigned taken = steps;
	CHECK(read == PAGE || next_match(at, query) == -1);
	CHECK(count == count_matches(query));
	pn_archive_cursor_free(cursor);
	return taken;
}

/* Any query by time. */
static struct pn_archive_query any_query(void) {
	static const char *const peers[] = {NULL, NULL, "a@b", "c@d", "c@d/e"};
	const char *peer = peers[below(5)];
	struct pn_archive_query query = {
		.has_start = below(4) > 0,
		.has_end = below(4) > 0,
		.peer = peer != NULL ? str(peer) : NONE,
		.reverse = below(2) == 0,
	};
	query.start = model.messages[below(model.count)].when + below(3) - 1;
	query.end = query.start + below(3) * below(20000);
	return query;
}

/* Compares some pages. Returns the most steps that one has taken. */
static unsigned compare_pages(int tries) {
	unsigned most = 0;
	for (int i = 0; i < tries; i++) {
		const struct pn_archive_query query = any_query();
		const unsigned taken = compare_page(&query);
		most = taken > most ? taken : most;
	}
	return most;
}

/* ---- What a query costs ---- */

enum { TRIES = 150 };

static unsigned in_order; /* the most steps of a page if all messages are in order */

static void measure_in_order(void) {
	open_model();
	append_some(MANY, 0);
	in_order = compare_pages(TRIES);
	teardown(&model.f);
}

/* Compares pages of the archive, and checks that none takes more than twice as many steps. */
static void check_cost(void) {
	commit(&model.f);
	const unsigned most = compare_pages(TRIES);
	if (!CHECK(most <= 2 * in_order) || getenv("SHOW"))
		printf("# %u steps, and %u if all messages are in order\n", most, in_order);
	check_whole(&model.f);
	teardown(&model.f);
}

TEST(one_message_from_the_future_leaves_no_trace) {
	open_model();
	append_some(MANY / 10, 0);
	append_keyed(model.now + 1e9, 0, NULL);
	append_some(MANY, 0);
	check_cost();
}

TEST(many_messages_from_the_future_leave_no_trace) {
	open_model();
	for (int i = 0; i < 20; i++) {
		append_some(MANY / 20, 0);
		append_keyed(model.now + 1e9 - i * DAY, 0, NULL);
	}
	append_some(MANY / 20, 0);
	check_cost();
}

TEST(a_clock_that_was_a_day_ahead_leaves_no_trace) {
	open_model();
	append_some(MANY / 4, 0);
	append_some(DAY / GAP / 2, DAY);
	append_some(DAY / GAP / 2, 0);
	check_cost();
}

TEST(a_clock_that_was_ten_years_ahead_leaves_no_trace) {
	open_model();
	append_some(MANY / 4, 0);
	append_some(MANY / 4, 3650.0 * DAY);
	append_some(MANY / 4, 0);
	check_cost();
}

TEST(a_clock_that_was_a_day_behind_leaves_no_trace) {
	open_model();
	append_some(DAY / GAP, 0);
	append_some(DAY / GAP, -DAY);
	append_some(MANY / 10, 0);
	check_cost();
}

TEST(an_old_archive_that_is_imported_behind_new_messages_leaves_no_trace) {
	open_model();
	append_some(MANY / 2, 0);
	append_some(MANY / 2, -1e8);
	append_some(MANY / 10, 0);
	check_cost();
}

TEST(an_archive_that_is_filled_in_reverse_is_searched_as_fast) {
	open_model();
	for (int i = 0; i < MANY; i++)
		append_keyed(model.now - i * GAP, i % PEERS, NULL);
	check_cost();
}

TEST(two_clocks_in_turns_are_searched_as_fast_as_one) {
	open_model();
	for (int i = 0; i < MANY / 2; i++) {
		append_some(1, 0);
		append_some(1, -DAY);
	}
	check_cost();
}

TEST(two_peers_with_a_clock_each_are_searched_as_fast) {
	open_model();
	for (int i = 0; i < MANY; i++) {
		model.now += GAP;
		append_keyed(i % 2 == 0 ? model.now : model.now - DAY, i % 2, NULL);
	}
	check_cost();
}

TEST(a_clock_that_goes_back_and_forth_is_searched_as_fast) {
	static const int every[] = {10, 100, 1000};
	for (size_t i = 0; i < sizeof(every) / sizeof(every[0]); i++) {
		open_model();
		for (int n = 0; n < MANY / every[i]; n++)
			append_some(every[i], n % 2 == 0 ? 0 : -DAY);
		check_cost();
	}
}

TEST(messages_that_arrive_late_by_up_to_an_hour_are_searched_as_fast) {
	open_model();
	for (int i = 0; i < MANY; i++)
		append_some(1, i % 10 == 0 ? -below(3600) : 0);
	check_cost();
}

TEST(replaced_messages_that_are_out_of_order_are_searched_as_fast) {
	open_model();
	for (int i = 0; i < MANY; i++) {
		char key[16];
		snprintf(key, sizeof(key), "%d", i % (MANY / 3));
		if (i >= MANY / 3)
			model.messages[i - MANY / 3].gone = true;
		model.now += GAP;
		append_keyed(i % 3 == 0 ? model.now - DAY : model.now, i % PEERS, key);
	}
	check_cost();
}

/* ---- Deleting ---- */

static void delete_from_both(const struct pn_archive_query *query) {
	const uint64_t count = count_matches(query);
	for (int i = 0; i < model.count; i++)
		model.messages[i].gone = model.messages[i].gone || matches(i, query);
	CHECK(delete_matching(&model.f, query) == (int64_t)count);
}

static void append_two_clocks(int count) {
	for (int i = 0; i < count; i++)
		append_some(1 + i % 2, i % 2 == 0 ? 0 : -DAY);
}

TEST(expired_messages_leave_no_trace_though_they_were_out_of_order) {
	open_model();
	append_two_clocks(MANY / 6);
	append_keyed(model.now + 1e9, 0, NULL);
	append_some(MANY / 6, 0);
	append_two_clocks(MANY / 6);
	append_some(MANY / 6, -DAY);
	const struct pn_archive_query old = {.has_end = true, .end = model.now - 40000};
	delete_from_both(&old);
	append_some(MANY / 6, 0);
	check_cost();
}

TEST(messages_of_a_peer_in_the_middle_are_deleted_by_time) {
	open_model();
	append_two_clocks(MANY / 4);
	const struct pn_archive_query middle = {.has_start = true,
						.start = model.now - 30000,
						.has_end = true,
						.end = model.now - 10000,
						.peer = str("c@d")};
	delete_from_both(&middle);
	check_cost();
}

TEST(boundaries_of_runs_whose_messages_are_gone_are_dropped) {
	struct pn_txn txn;
	struct pn_archive archive;
	open_model();
	for (int i = 0; i < 100; i++) {
		append_some(50, 0);
		append_some(50, -2e4);
		const struct pn_archive_query old = {.has_end = true, .end = model.now - 3e4};
		delete_from_both(&old);
	}
	commit(&model.f);
	pn_txn_read(model.f.db, &txn);
	CHECK(pn_archive_open(&archive, &txn, &model.f.archive, JULIET));
	CHECK(archive.state.runs > 10 && archive.state.runs < 50);
	pn_txn_end(&txn, PN_OK);
	check_whole(&model.f);
	teardown(&model.f);
}

/* ---- Which messages are exceptions ---- */

static struct pn_archive_state state_of_model(void) {
	struct pn_txn txn;
	struct pn_archive archive;
	pn_txn_read(model.f.db, &txn);
	CHECK(pn_archive_open(&archive, &txn, &model.f.archive, JULIET));
	pn_txn_end(&txn, PN_OK);
	return archive.state;
}

TEST(a_message_in_order_has_no_records_beside_those_of_any) {
	open_model();
	append_some(MANY / 10, 0);
	append_keyed(model.now + 1e9, 0, NULL);
	append_some(MANY / 10, 0);
	const struct pn_archive_state state = state_of_model();
	CHECK(state.unordered == 16); /* until the future is taken for a mistake */
	CHECK(state.runs == 2);
	append_some(MANY / 10, 0);
	CHECK(state_of_model().unordered == 16);
	teardown(&model.f);
}

TEST(a_clock_that_goes_back_and_forth_makes_few_runs) {
	open_model();
	for (int n = 0; n < MANY / 40; n++)
		append_some(40, n % 2 == 0 ? 0 : -DAY);
	CHECK(state_of_model().runs < 40);
	teardown(&model.f);
}

int main(void) {
	measure_in_order();
	return test_run("times");
}
