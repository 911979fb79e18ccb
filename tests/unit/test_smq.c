/* pn/smq.h: one queue; all of them against a model. Accounts and copies are in test_smq_accounts.c.
 */
#include <pn/err.h>
#include <pn/smq.h>

#include "../oom/alloc.h"
#include "smq_model.h"
#include "test.h"

static const struct pn_smq_limits NO_LIMITS = {0};

/* ---- Fixture: a queue, its account, its pool ---- */

struct fixture {
	struct pn_smq_pool pool;
	struct pn_smq_account *account;
	struct pn_smq *queue;
};

static void setup(struct fixture *f, struct pn_smq_limits limits, uint32_t start) {
	*f = (struct fixture){0};
	REQUIRE(pn_smq_account_new(&f->account, &f->pool, "a@b") == PN_OK);
	REQUIRE(pn_smq_new(&f->queue, f->account, limits, start) == PN_OK);
}

static void teardown(struct fixture *f) {
	pn_smq_free(f->queue);
	pn_smq_account_free(f->account);
	CHECK(f->pool.bytes == 0 && f->pool.items == 0);
	CHECK(test_alloc.blocks == 0 && test_alloc.bytes == 0);
}

static void push(struct fixture *f, const char *bytes) {
	const struct pn_smq_item item = {.bytes = bytes, .len = (uint32_t)strlen(bytes)};
	CHECK(pn_smq_push(f->queue, &item) == PN_OK);
}

static void push_many(struct fixture *f, int count) {
	for (int i = 0; i < count; i++)
		push(f, "x");
}

/* Takes `count` items. */
static void take_many(struct fixture *f, int count) {
	for (int i = 0; i < count; i++)
		CHECK(pn_smq_take(f->queue, NULL) == 1);
}

/* Whether the item at `index` is held and has these bytes. */
static bool is_at(struct fixture *f, uint32_t index, const char *bytes) {
	struct pn_smq_item item;
	return pn_smq_at(f->queue, index, &item) == 1 && item.len == strlen(bytes) &&
	       memcmp(item.bytes, bytes, item.len) == 0;
}

static void check_counters(struct fixture *f, uint32_t acked, uint32_t pushed, uint32_t held) {
	CHECK(pn_smq_acked(f->queue) == acked);
	CHECK(pn_smq_pushed(f->queue) == pushed);
	CHECK(pn_smq_unacked(f->queue) == pushed - acked);
	CHECK(pn_smq_held(f->queue) == held);
	CHECK(f->pool.items == held);
	CHECK(f->pool.bytes == pn_smq_bytes(f->queue));
	CHECK(pn_smq_account_bytes(f->account) == pn_smq_bytes(f->queue));
}

/* ---- Push and ack ---- */

TEST(a_new_queue_is_empty_and_resumable) {
	struct fixture f;
	setup(&f, NO_LIMITS, 0);
	check_counters(&f, 0, 0, 0);
	CHECK(pn_smq_bytes(f.queue) == 0);
	CHECK(pn_smq_resumable(f.queue));
	CHECK(!pn_smq_over(f.queue));
	CHECK(!is_at(&f, 0, ""));
	CHECK(pn_smq_ack(f.queue, 0) == 0);
	enum pn_smq_fate fate = PN_SMQ_SEEN;
	CHECK(pn_smq_take(f.queue, &fate) == 0);
	CHECK(fate == PN_SMQ_SEEN); /* untouched */
	teardown(&f);
}

TEST(a_null_queue_can_be_freed) {
	pn_smq_free(NULL);
	CHECK(test_alloc.blocks == 0);
}

TEST(a_pushed_item_comes_back_as_it_was) {
	struct fixture f;
	setup(&f, NO_LIMITS, 0);
	char bytes[] = "<a\0/>";
	const struct pn_smq_item item = {
		.bytes = bytes, .len = sizeof(bytes), .splice = 6, .time = INT64_MIN};
	CHECK(pn_smq_push(f.queue, &item) == PN_OK);
	memset(bytes, 'x', sizeof(bytes)); /* the queue has a copy */
	struct pn_smq_item got;
	REQUIRE(pn_smq_at(f.queue, 0, &got) == 1);
	CHECK(got.len == 6 && memcmp(got.bytes, "<a\0/>", 6) == 0);
	CHECK(got.splice == 6 && got.time == INT64_MIN);
	teardown(&f);
}

TEST(an_item_may_be_empty) {
	struct fixture f;
	setup(&f, NO_LIMITS, 0);
	const struct pn_smq_item item = {0};
	CHECK(pn_smq_push(f.queue, &item) == PN_OK);
	check_counters(&f, 0, 1, 1);
	CHECK(is_at(&f, 0, ""));
	teardown(&f);
}

TEST(a_splice_behind_the_end_of_an_item_is_invalid) {
	struct fixture f;
	setup(&f, NO_LIMITS, 0);
	const struct pn_smq_item item = {.bytes = "abc", .len = 3, .splice = 4};
	CHECK(pn_smq_push(f.queue, &item) == PN_EINVAL);
	check_counters(&f, 0, 0, 0);
	teardown(&f);
}

TEST(an_item_longer_than_the_maximum_is_invalid) {
	struct fixture f;
	setup(&f, NO_LIMITS, 0);
	for (uint32_t over = 1; over <= PN_SMQ_LEN_MAX; over *= 2) {
		const struct pn_smq_item item = {.len = PN_SMQ_LEN_MAX + over};
		CHECK(pn_smq_push(f.queue, &item) == PN_EINVAL);
	}
	check_counters(&f, 0, 0, 0);
	teardown(&f);
}

TEST(an_ack_releases_the_items_that_it_counts_and_returns_their_number) {
	struct fixture f;
	setup(&f, NO_LIMITS, 0);
	push(&f, "a");
	push(&f, "b");
	push(&f, "c");
	CHECK(pn_smq_ack(f.queue, 2) == 2);
	check_counters(&f, 2, 3, 1);
	CHECK(is_at(&f, 0, "c"));
	CHECK(pn_smq_ack(f.queue, 2) == 0);
	CHECK(pn_smq_ack(f.queue, 3) == 1);
	check_counters(&f, 3, 3, 0);
	push(&f, "d");
	CHECK(is_at(&f, 0, "d"));
	teardown(&f);
}

TEST(an_ack_of_more_than_was_pushed_is_head_and_changes_nothing) {
	struct fixture f;
	setup(&f, NO_LIMITS, 0);
	push_many(&f, 3);
	CHECK(pn_smq_ack(f.queue, 1) == 1);
	CHECK(pn_smq_ack(f.queue, 4) == PN_EHEAD);
	CHECK(pn_smq_ack(f.queue, 1000) == PN_EHEAD);
	check_counters(&f, 1, 3, 2);
	teardown(&f);
}

TEST(an_ack_of_less_than_was_acked_is_tail_and_changes_nothing) {
	struct fixture f;
	setup(&f, NO_LIMITS, 0);
	push_many(&f, 5);
	CHECK(pn_smq_ack(f.queue, 4) == 4);
	CHECK(pn_smq_ack(f.queue, 3) == PN_ETAIL);
	CHECK(pn_smq_ack(f.queue, 0) == PN_ETAIL);
	check_counters(&f, 4, 5, 1);
	teardown(&f);
}

TEST(counters_wrap_from_2_to_the_32_minus_1_to_0) {
	struct fixture f;
	setup(&f, NO_LIMITS, UINT32_MAX - 1);
	push(&f, "a");
	push(&f, "b");
	push(&f, "c");
	check_counters(&f, UINT32_MAX - 1, 1, 3);
	CHECK(pn_smq_resumable(f.queue));
	CHECK(pn_smq_ack(f.queue, UINT32_MAX - 2) == PN_ETAIL);
	CHECK(pn_smq_ack(f.queue, 2) == PN_EHEAD);
	CHECK(pn_smq_ack(f.queue, UINT32_MAX) == 1);
	check_counters(&f, UINT32_MAX, 1, 2);
	CHECK(pn_smq_ack(f.queue, 0) == 1);
	CHECK(is_at(&f, 0, "c"));
	CHECK(pn_smq_ack(f.queue, UINT32_MAX) == PN_ETAIL);
	CHECK(pn_smq_ack(f.queue, 1) == 1);
	check_counters(&f, 1, 1, 0);
	teardown(&f);
}

TEST(an_ack_half_way_round_is_tail_and_one_before_that_is_head) {
	struct fixture f;
	for (uint32_t quarter = 0; quarter < 4; quarter++) {
		const uint32_t start = quarter * 0x40000000;
		setup(&f, NO_LIMITS, start);
		CHECK(pn_smq_ack(f.queue, start + 0x7fffffff) == PN_EHEAD);
		CHECK(pn_smq_ack(f.queue, start + 0x80000000) == PN_ETAIL);
		CHECK(pn_smq_ack(f.queue, start + 0x80000001) == PN_ETAIL);
		check_counters(&f, start, start, 0);
		teardown(&f);
	}
}

/* ---- Take, and limits ---- */

TEST(a_taken_item_is_the_oldest_and_ends_resumption_until_it_is_acked) {
	struct fixture f;
	setup(&f, NO_LIMITS, 0);
	push(&f, "a");
	push(&f, "b");
	push(&f, "c");
	take_many(&f, 2);
	check_counters(&f, 0, 3, 1);
	CHECK(is_at(&f, 0, "c"));
	CHECK(!pn_smq_resumable(f.queue));
	CHECK(pn_smq_ack(f.queue, 1) == 1);
	CHECK(!pn_smq_resumable(f.queue));
	CHECK(is_at(&f, 0, "c"));
	CHECK(pn_smq_ack(f.queue, 2) == 1);
	CHECK(pn_smq_resumable(f.queue));
	check_counters(&f, 2, 3, 1);
	teardown(&f);
}

TEST(all_items_can_be_taken_and_then_acked) {
	struct fixture f;
	setup(&f, NO_LIMITS, UINT32_MAX);
	push_many(&f, 3);
	take_many(&f, 3);
	CHECK(pn_smq_take(f.queue, NULL) == 0);
	check_counters(&f, UINT32_MAX, 2, 0);
	CHECK(!pn_smq_resumable(f.queue));
	push(&f, "d");
	CHECK(is_at(&f, 0, "d"));
	CHECK(pn_smq_ack(f.queue, 2) == 3);
	CHECK(pn_smq_resumable(f.queue));
	CHECK(is_at(&f, 0, "d"));
	teardown(&f);
}

TEST(a_queue_may_reach_its_limit_in_items_and_drops_nothing_beyond) {
	struct fixture f;
	setup(&f, (struct pn_smq_limits){.items = 2}, 0);
	push(&f, "a");
	push(&f, "b");
	CHECK(!pn_smq_over(f.queue));
	push(&f, "c");
	push(&f, "d");
	CHECK(pn_smq_over(f.queue));
	check_counters(&f, 0, 4, 4);
	take_many(&f, 1);
	CHECK(pn_smq_over(f.queue));
	take_many(&f, 1);
	CHECK(!pn_smq_over(f.queue));
	check_counters(&f, 0, 4, 2);
	CHECK(is_at(&f, 0, "c") && is_at(&f, 1, "d"));
	teardown(&f);
}

TEST(a_queue_may_reach_its_limit_in_bytes_and_drops_nothing_beyond) {
	struct fixture f;
	setup(&f, (struct pn_smq_limits){.bytes = 3 * (PN_SMQ_ITEM_COST + 1)}, 0);
	push(&f, "a");
	push(&f, "b");
	push(&f, "c");
	CHECK(pn_smq_bytes(f.queue) == 3 * (PN_SMQ_ITEM_COST + 1));
	CHECK(!pn_smq_over(f.queue));
	push(&f, "");
	CHECK(pn_smq_over(f.queue));
	check_counters(&f, 0, 4, 4);
	CHECK(is_at(&f, 0, "a"));
	take_many(&f, 1);
	CHECK(!pn_smq_over(f.queue));
	check_counters(&f, 0, 4, 3);
	teardown(&f);
}

TEST(a_single_item_of_any_size_is_within_the_limits) {
	struct fixture f;
	setup(&f, (struct pn_smq_limits){.bytes = 1, .items = 1}, 0);
	push(&f, "longer than the limit");
	CHECK(!pn_smq_over(f.queue));
	push(&f, "longer than the limit, too");
	CHECK(pn_smq_over(f.queue));
	take_many(&f, 1);
	CHECK(!pn_smq_over(f.queue));
	CHECK(is_at(&f, 0, "longer than the limit, too"));
	teardown(&f);
}

TEST(an_ack_brings_a_queue_back_within_its_limits) {
	struct fixture f;
	setup(&f, (struct pn_smq_limits){.items = 2}, 0);
	push_many(&f, 5);
	CHECK(pn_smq_ack(f.queue, 2) == 2);
	CHECK(pn_smq_over(f.queue));
	CHECK(pn_smq_ack(f.queue, 3) == 1);
	CHECK(!pn_smq_over(f.queue) && pn_smq_resumable(f.queue));
	teardown(&f);
}

/* ---- Walk ---- */

TEST(a_walk_visits_every_item_in_any_order) {
	struct fixture f;
	setup(&f, NO_LIMITS, 0);
	char bytes[2] = "a";
	for (; bytes[0] <= 'z'; bytes[0]++)
		push(&f, bytes);
	for (uint32_t from = 0; from < 26; from++) {
		for (uint32_t i = from; i < 26; i++) {
			bytes[0] = (char)('a' + i);
			CHECK(is_at(&f, i, bytes));
		}
	}
	for (uint32_t i = 26; i-- > 0;) {
		bytes[0] = (char)('a' + i);
		CHECK(is_at(&f, i, bytes));
	}
	CHECK(!is_at(&f, 26, "") && !is_at(&f, UINT32_MAX, ""));
	teardown(&f);
}

TEST(a_walk_goes_on_over_acks_and_takes_and_pushes) {
	for (uint32_t stop = 0; stop < 6; stop++) {
		for (uint32_t gone = 0; gone <= 6; gone++) {
			struct fixture f;
			setup(&f, NO_LIMITS, UINT32_MAX - 2);
			for (char bytes[2] = "a"; bytes[0] <= 'f'; bytes[0]++)
				push(&f, bytes);
			struct pn_smq_item item;
			CHECK(pn_smq_at(f.queue, stop, &item) == 1);
			take_many(&f, (int)(gone / 2));
			CHECK(pn_smq_ack(f.queue, UINT32_MAX - 2 + gone) == gone);
			push(&f, "g");
			for (uint32_t i = stop; i < 7 - gone; i++) {
				const char want[2] = {(char)('a' + gone + i), '\0'};
				CHECK(is_at(&f, i, want));
			}
			const char want[2] = {(char)('a' + gone), '\0'};
			CHECK(is_at(&f, 0, want));
			teardown(&f);
		}
	}
}

TEST(a_long_queue_is_walked_and_emptied) {
	enum { COUNT = 200000 };
	struct fixture f;
	setup(&f, NO_LIMITS, 0);
	push_many(&f, COUNT);
	for (uint32_t i = 0; i < COUNT; i++) /* quadratic, were a step not O(1) */
		CHECK(is_at(&f, i, "x"));
	for (uint32_t i = 0; i < COUNT / 2; i++) {
		CHECK(is_at(&f, 0, "x"));
		CHECK(pn_smq_take(f.queue, NULL) == 1);
	}
	CHECK(pn_smq_ack(f.queue, COUNT) == COUNT);
	teardown(&f);
}

TEST(reading_the_oldest_item_does_not_restart_a_walk) {
	enum { COUNT = 200000 };
	struct fixture f;
	setup(&f, NO_LIMITS, 0);
	push_many(&f, COUNT);
	for (uint32_t i = COUNT / 2; i < COUNT; i++) /* quadratic, were each step to start over */
		CHECK(is_at(&f, i, "x") && is_at(&f, 0, "x"));
	for (uint32_t i = COUNT / 2; i > 0; i--) {
		CHECK(is_at(&f, 0, "x") && is_at(&f, COUNT / 2, "x"));
		take_many(&f, 1);
	}
	teardown(&f);
}

/* ---- Memory ---- */

/* Whether 50 items of each length have the expected cost, and do not take more memory. */
static void check_costs(uint64_t key, size_t cost) {
	enum { COUNT = 50 };
	static const char bytes[100 * 1024];
	struct fixture f;
	for (uint32_t len = 0; len < sizeof(bytes); len += len < 200 ? 1 : 1009) {
		setup(&f, NO_LIMITS, 0);
		const size_t before = test_alloc.bytes;
		for (uint64_t i = 0; i < COUNT; i++) {
			const struct pn_smq_item item = {
				.bytes = bytes, .len = len, .key = key * (i + 1)};
			CHECK(pn_smq_push(f.queue, &item) == PN_OK);
			CHECK(test_alloc.bytes - before <= pn_smq_bytes(f.queue));
		}
		CHECK(pn_smq_bytes(f.queue) == COUNT * ((size_t)len + cost));
		CHECK(pn_smq_account_bytes(f.account) == pn_smq_bytes(f.queue));
		CHECK(f.pool.bytes == pn_smq_bytes(f.queue));
		for (uint32_t i = 1; i <= COUNT; i++) {
			CHECK(pn_smq_ack(f.queue, i) == 1);
			CHECK(test_alloc.bytes - before <= pn_smq_bytes(f.queue));
		}
		teardown(&f);
	}
}

TEST(an_item_costs_its_bytes_and_at_most_64_more) {
	check_costs(0, 64);
}

TEST(an_item_with_a_key_costs_its_bytes_and_at_most_128_more) {
	check_costs(0x9e3779b97f4a7c15, 128);
}

TEST(a_queue_frees_the_memory_of_acked_items) {
	struct fixture f;
	setup(&f, NO_LIMITS, 0);
	const size_t blocks = test_alloc.blocks;
	const size_t memory = test_alloc.bytes;
	for (uint32_t round = 1; round <= 3; round++) {
		push_many(&f, 500);
		for (uint64_t key = 1; key <= 500; key++) {
			const struct pn_smq_item item = {.key = key};
			CHECK(pn_smq_push(f.queue, &item) == PN_OK);
		}
		CHECK(pn_smq_ack(f.queue, round * 1000) == 1000);
		CHECK(test_alloc.blocks == blocks && test_alloc.bytes == memory);
	}
	teardown(&f);
}

/* ---- Against a naive model ---- */

static uint64_t random_state;

/* SplitMix64: the same numbers in every run. */
static uint32_t random_below(uint32_t end) {
	uint64_t z = random_state += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return (uint32_t)((z ^ (z >> 31)) % end);
}

/* Few messages, so that many are copies; few copies, so that some queues have none. */
static void run_random(uint64_t seed) {
	static struct smq_model model;
	random_state = seed;
	const struct pn_smq_limits limits = {
		.bytes = random_below(2) * random_below(4000),
		.items = random_below(2) * random_below(20),
	};
	const uint32_t messages = 1 + random_below(seed % 2 == 0 ? 4 : 256);
	REQUIRE(smq_model_open(&model, limits, UINT32_MAX - random_below(100)));
	for (int step = 0; step < 600; step++) {
		const uint8_t op = (uint8_t)random_below(SMQ_MODEL_OPS * SMQ_MODEL_QUEUES);
		const uint8_t arg = (uint8_t)random_below(256);
		if (!CHECK(smq_model_step(&model, op, arg, (uint8_t)random_below(messages)))) {
			printf("# seed %llu, step %d, operation %d\n", (unsigned long long)seed,
			       step, op);
			break;
		}
	}
	smq_model_close(&model);
	CHECK(model.pool.items == 0 && model.pool.bytes == 0 && model.pool.accounts == 0);
	CHECK(test_alloc.blocks == 0);
}

TEST(random_operations_agree_with_a_naive_model) {
	const uint64_t first = (uint64_t)test_seed() * 100000;
	for (int i = 0; i < test_tries(50, 5000); i++)
		run_random(first + (uint64_t)i);
}

int main(void) {
	return test_run("smq");
}
