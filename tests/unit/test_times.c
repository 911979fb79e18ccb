/* pn/archive.h: messages whose times are in any order. What a query costs is counted in steps. */
#include "times_fixture.h"

/* ---- What a query costs ---- */

static unsigned in_order; /* the most steps of a page if all messages are in order */

static void measure_in_order(void) {
	open_model();
	append_some(MANY, 0);
	in_order = compare_pages(TRIES);
	teardown(&model.f);
}

/* Compares pages of the archive, before and after deleted messages are erased, and checks that none
 * takes more than twice as many steps in the end. */
static void check_cost(void) {
	int more;
	commit(&model.f);
	compare_pages(TRIES / 4);
	do {
		more = pn_store_erase(model.f.db, 2000);
		commit(&model.f);
		compare_pages(TRIES / 10);
		check_whole(&model.f);
	} while (more > 0);
	CHECK(more == 0);
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

/* ---- Which messages are out of order ---- */

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
