/* pn/smq.h: accounts and copies of messages. */
#include <pn/err.h>
#include <pn/smq.h>

#include "../oom/alloc.h"
#include "test.h"

static const struct pn_smq_limits NO_LIMITS = {0};

/* ---- Fixture: an account with three queues, and another one with a single queue ---- */

enum { A, B, C, STRANGER, QUEUES };

struct fixture {
	struct pn_smq_pool pool;
	struct pn_smq_account *account;
	struct pn_smq_account *other;
	struct pn_smq *queue[QUEUES];
};

static void setup(struct fixture *f) {
	*f = (struct fixture){0};
	REQUIRE(pn_smq_account_new(&f->account, &f->pool, "a@b") == PN_OK);
	REQUIRE(pn_smq_account_new(&f->other, &f->pool, "c@d") == PN_OK);
	for (int i = 0; i < QUEUES; i++) {
		struct pn_smq_account *account = i == STRANGER ? f->other : f->account;
		REQUIRE(pn_smq_new(&f->queue[i], account, NO_LIMITS, 0) == PN_OK);
	}
}

static void free_queue(struct fixture *f, int i) {
	pn_smq_free(f->queue[i]);
	f->queue[i] = NULL;
}

static void teardown(struct fixture *f) {
	for (int i = 0; i < QUEUES; i++)
		free_queue(f, i);
	pn_smq_account_free(f->account);
	pn_smq_account_free(f->other);
	CHECK(f->pool.bytes == 0 && f->pool.items == 0 && f->pool.accounts == 0);
	CHECK(test_alloc.blocks == 0 && test_alloc.bytes == 0);
}

static void push(struct fixture *f, int i, uint64_t key) {
	const struct pn_smq_item item = {.bytes = "abcd", .len = 4, .key = key};
	CHECK(pn_smq_push(f->queue[i], &item) == PN_OK);
}

/* Pushes a copy of a message to each of the account's queues. */
static void push_to_all(struct fixture *f, uint64_t key) {
	for (int i = A; i <= C; i++)
		push(f, i, key);
}

static void ack(struct fixture *f, int i) {
	CHECK(pn_smq_ack(f->queue[i], pn_smq_acked(f->queue[i]) + 1) == 1);
}

static int take(struct fixture *f, int i) {
	enum pn_smq_fate fate = PN_SMQ_ALONE;
	CHECK(pn_smq_take(f->queue[i], &fate) == 1);
	return (int)fate;
}

/* ---- Accounts ---- */

TEST(an_account_has_a_name_of_its_own_and_begins_empty) {
	struct pn_smq_pool pool = {0};
	struct pn_smq_account *account;
	char name[] = "a\xff@b";
	REQUIRE(pn_smq_account_new(&account, &pool, name) == PN_OK);
	memset(name, 'x', sizeof(name) - 1);
	CHECK_STR(pn_smq_account_name(account), "a\xff@b");
	CHECK(pn_smq_account_bytes(account) == 0 && pn_smq_account_queues(account) == 0);
	CHECK(pool.accounts == 1 && pool.bytes == 0 && pool.items == 0);
	pn_smq_account_free(account);
	CHECK(pool.accounts == 0 && test_alloc.blocks == 0);
}

TEST(a_null_account_can_be_freed) {
	pn_smq_account_free(NULL);
	CHECK(test_alloc.blocks == 0);
}

TEST(two_accounts_may_have_the_same_name_or_none) {
	struct pn_smq_pool pool = {0};
	struct pn_smq_account *first, *second;
	struct pn_smq *queue;
	REQUIRE(pn_smq_account_new(&first, &pool, "") == PN_OK);
	REQUIRE(pn_smq_account_new(&second, &pool, "") == PN_OK);
	REQUIRE(pn_smq_new(&queue, second, NO_LIMITS, 0) == PN_OK);
	CHECK_STR(pn_smq_account_name(first), "");
	CHECK(pn_smq_account_queues(first) == 0 && pn_smq_account_queues(second) == 1);
	pn_smq_free(queue);
	pn_smq_account_free(first);
	pn_smq_account_free(second);
	CHECK(test_alloc.blocks == 0);
}

TEST(an_account_is_the_sum_of_its_queues_and_a_pool_of_its_accounts) {
	struct fixture f;
	setup(&f);
	push_to_all(&f, 0);
	push(&f, A, 7);
	push(&f, STRANGER, 7);
	CHECK(pn_smq_account_queues(f.account) == 3 && pn_smq_account_queues(f.other) == 1);
	CHECK(pn_smq_account_bytes(f.account) == 4 * (PN_SMQ_ITEM_COST + 4) + PN_SMQ_KEY_COST);
	CHECK(pn_smq_account_bytes(f.other) == PN_SMQ_ITEM_COST + PN_SMQ_KEY_COST + 4);
	CHECK(f.pool.items == 5);
	CHECK(f.pool.bytes == pn_smq_account_bytes(f.account) + pn_smq_account_bytes(f.other));
	ack(&f, B);
	take(&f, C);
	free_queue(&f, A);
	CHECK(pn_smq_account_queues(f.account) == 2 && pn_smq_account_bytes(f.account) == 0);
	CHECK(f.pool.items == 1 && f.pool.bytes == pn_smq_account_bytes(f.other));
	teardown(&f);
}

TEST(a_released_account_ends_with_its_last_queue) {
	struct fixture f;
	setup(&f);
	push_to_all(&f, 1);
	pn_smq_account_free(f.account);
	CHECK(f.pool.accounts == 2 && pn_smq_account_queues(f.account) == 3);
	push(&f, C, 2);
	CHECK(take(&f, A) == PN_SMQ_HELD);
	free_queue(&f, A);
	free_queue(&f, B);
	CHECK(f.pool.accounts == 2 && f.pool.items == 2);
	CHECK(take(&f, C) == PN_SMQ_LAST);
	free_queue(&f, C);
	CHECK(f.pool.accounts == 1 && f.pool.items == 0);
	f.account = NULL;
	teardown(&f);
}

TEST(empty_accounts_are_never_the_largest) {
	struct fixture f;
	CHECK(pn_smq_largest(&(struct pn_smq_pool){0}) == NULL);
	setup(&f);
	CHECK(pn_smq_largest(&f.pool) == NULL);
	push(&f, A, 0);
	take(&f, A);
	CHECK(pn_smq_largest(&f.pool) == NULL);
	teardown(&f);
}

TEST(the_largest_account_holds_most_in_all_of_its_queues_together) {
	struct fixture f;
	setup(&f);
	push(&f, STRANGER, 0);
	push(&f, STRANGER, 0);
	push(&f, A, 0);
	CHECK(pn_smq_largest(&f.pool) == f.other);
	push(&f, B, 0);
	push(&f, C, 0);
	CHECK(pn_smq_largest(&f.pool) == f.account);
	free_queue(&f, A);
	free_queue(&f, B);
	CHECK(pn_smq_largest(&f.pool) == f.other);
	teardown(&f);
}

TEST(the_largest_of_many_accounts_is_found_in_any_order_of_growth_and_end) {
	enum { COUNT = 100 };
	struct pn_smq_pool pool = {0};
	struct pn_smq_account *account[COUNT];
	struct pn_smq *queue[COUNT];
	for (uint32_t i = 0; i < COUNT; i++) {
		REQUIRE(pn_smq_account_new(&account[i], &pool, "") == PN_OK);
		REQUIRE(pn_smq_new(&queue[i], account[i], NO_LIMITS, 0) == PN_OK);
		const struct pn_smq_item item = {.len = i * 37 % COUNT + 1,
						 .bytes = (const char[COUNT]){0}};
		CHECK(pn_smq_push(queue[i], &item) == PN_OK);
	}
	for (uint32_t len = COUNT; len > 0; len--) {
		uint32_t i = 0;
		while (i * 37 % COUNT + 1 != len)
			i++;
		CHECK(pn_smq_largest(&pool) == account[i]);
		if (len % 3 == 0)
			pn_smq_account_free(account[i]);
		pn_smq_free(queue[i]);
		if (len % 3 != 0)
			pn_smq_account_free(account[i]);
	}
	CHECK(pn_smq_largest(&pool) == NULL);
	CHECK(test_alloc.blocks == 0);
}

TEST(the_largest_of_100000_accounts_is_asked_for_at_every_push) {
	enum { COUNT = 100000 };
	struct pn_smq_pool pool = {0};
	struct pn_smq_account **accounts = calloc(COUNT, sizeof(struct pn_smq_account *));
	struct pn_smq **queues = calloc(COUNT, sizeof(struct pn_smq *));
	const struct pn_smq_item item = {0};
	REQUIRE(accounts != NULL && queues != NULL);
	for (int i = 0; i < COUNT; i++) { /* quadratic, were all looked through */
		REQUIRE(pn_smq_account_new(&accounts[i], &pool, "") == PN_OK);
		REQUIRE(pn_smq_new(&queues[i], accounts[i], NO_LIMITS, 0) == PN_OK);
		CHECK(pn_smq_push(queues[i], &item) == PN_OK);
		CHECK(pn_smq_account_bytes(pn_smq_largest(&pool)) == PN_SMQ_ITEM_COST);
	}
	for (int i = 0; i < COUNT; i++) {
		CHECK(pn_smq_largest(&pool) != NULL);
		CHECK(pn_smq_take(queues[i], NULL) == 1);
	}
	CHECK(pn_smq_largest(&pool) == NULL);
	for (int i = 0; i < COUNT; i++) {
		pn_smq_free(queues[i]);
		pn_smq_account_free(accounts[i]);
	}
	free(accounts);
	free(queues);
	CHECK(test_alloc.blocks == 0);
}

/* ---- Copies ---- */

TEST(a_message_without_a_copy_is_alone) {
	struct fixture f;
	setup(&f);
	push(&f, A, 1);
	push(&f, B, 2);
	CHECK(take(&f, A) == PN_SMQ_ALONE);
	CHECK(take(&f, B) == PN_SMQ_ALONE);
	teardown(&f);
}

TEST(messages_without_a_key_are_alone) {
	struct fixture f;
	setup(&f);
	push_to_all(&f, 0);
	push_to_all(&f, 0);
	ack(&f, A);
	CHECK(take(&f, B) == PN_SMQ_ALONE);
	CHECK(take(&f, C) == PN_SMQ_ALONE);
	teardown(&f);
}

TEST(a_copy_is_held_while_another_queue_has_one_and_else_the_last_one) {
	struct fixture f;
	setup(&f);
	push_to_all(&f, 1);
	CHECK(take(&f, B) == PN_SMQ_HELD);
	CHECK(take(&f, A) == PN_SMQ_HELD);
	CHECK(take(&f, C) == PN_SMQ_LAST);
	teardown(&f);
}

TEST(a_copy_is_seen_when_the_peer_of_another_queue_has_acknowledged_one) {
	struct fixture f;
	setup(&f);
	push_to_all(&f, 1);
	ack(&f, C);
	CHECK(take(&f, A) == PN_SMQ_SEEN);
	CHECK(take(&f, B) == PN_SMQ_SEEN);
	teardown(&f);
}

/* Each queue ends its copy by an ack or by a take, as the bits of `acks` say, in this order. */
static void end_in_order(const int order[3], unsigned int acks) {
	struct fixture f;
	setup(&f);
	push(&f, STRANGER, 1);
	push_to_all(&f, 1);
	bool seen = false;
	for (int i = 0; i < 3; i++) {
		if ((acks >> i & 1) != 0) {
			ack(&f, order[i]);
			seen = true;
		} else {
			const int want = i < 2 ? PN_SMQ_HELD : PN_SMQ_LAST;
			CHECK(take(&f, order[i]) == (seen ? PN_SMQ_SEEN : want));
		}
	}
	CHECK(take(&f, STRANGER) == PN_SMQ_ALONE);
	teardown(&f);
}

TEST(exactly_one_queue_is_responsible_for_a_message_in_every_order_of_acks_and_takes) {
	static const int orders[6][3] = {{A, B, C}, {A, C, B}, {B, A, C},
					 {B, C, A}, {C, A, B}, {C, B, A}};
	for (int i = 0; i < 6; i++) {
		for (unsigned int acks = 0; acks < 8; acks++)
			end_in_order(orders[i], acks);
	}
}

TEST(a_copy_in_another_account_is_another_message) {
	struct fixture f;
	setup(&f);
	push(&f, A, 1);
	push(&f, STRANGER, 1);
	ack(&f, STRANGER);
	CHECK(take(&f, A) == PN_SMQ_ALONE);
	teardown(&f);
}

TEST(a_copy_in_the_same_queue_does_not_count) {
	struct fixture f;
	setup(&f);
	push(&f, A, 1);
	push(&f, A, 1);
	push(&f, A, 1);
	CHECK(take(&f, A) == PN_SMQ_ALONE);
	CHECK(pn_smq_ack(f.queue[A], 2) == 2);
	CHECK(take(&f, A) == PN_SMQ_ALONE);
	teardown(&f);
}

TEST(of_two_messages_with_one_key_a_queue_links_the_first_and_is_responsible_for_the_second) {
	struct fixture f;
	setup(&f);
	for (int i = 0; i < 2; i++) {
		push(&f, A, 1);
		push(&f, B, 1);
	}
	ack(&f, A); /* of the first alone */
	CHECK(take(&f, A) == PN_SMQ_ALONE);
	CHECK(take(&f, B) == PN_SMQ_SEEN);
	CHECK(take(&f, B) == PN_SMQ_ALONE);
	teardown(&f);
}

TEST(items_of_a_freed_queue_count_as_never_held) {
	struct fixture f;
	setup(&f);
	push_to_all(&f, 1);
	free_queue(&f, B);
	CHECK(take(&f, A) == PN_SMQ_HELD);
	free_queue(&f, A);
	CHECK(take(&f, C) == PN_SMQ_LAST);
	REQUIRE(pn_smq_new(&f.queue[A], f.account, NO_LIMITS, 0) == PN_OK);
	push(&f, A, 2);
	push(&f, C, 2);
	free_queue(&f, A);
	CHECK(take(&f, C) == PN_SMQ_ALONE);
	teardown(&f);
}

TEST(acks_before_an_item_was_pushed_do_not_count) {
	struct fixture f;
	setup(&f);
	push(&f, A, 1);
	push(&f, B, 1);
	ack(&f, A);
	push(&f, C, 1);
	CHECK(take(&f, C) == PN_SMQ_HELD);
	CHECK(take(&f, B) == PN_SMQ_SEEN);
	push(&f, B, 1);
	CHECK(take(&f, B) == PN_SMQ_ALONE);
	teardown(&f);
}

TEST(an_item_knows_its_key_while_it_is_linked) {
	struct fixture f;
	struct pn_smq_item item;
	setup(&f);
	push(&f, A, UINT64_MAX);
	push(&f, A, 0);
	CHECK(pn_smq_at(f.queue[A], 0, &item) == 1 && item.key == UINT64_MAX);
	CHECK(pn_smq_at(f.queue[A], 1, &item) == 1 && item.key == 0);
	teardown(&f);
}

TEST(the_65th_copy_of_a_message_is_not_linked_and_costs_no_key) {
	struct fixture f;
	struct pn_smq_item item = {.bytes = "abcd", .len = 4, .key = 1};
	struct pn_smq *others[63];
	setup(&f);
	push(&f, A, 1);
	for (int i = 0; i < 63; i++) {
		REQUIRE(pn_smq_new(&others[i], f.account, NO_LIMITS, 0) == PN_OK);
		CHECK(pn_smq_push(others[i], &item) == PN_OK);
	}
	const size_t bytes = pn_smq_account_bytes(f.account);
	push(&f, B, 1);
	CHECK(pn_smq_account_bytes(f.account) == bytes + PN_SMQ_ITEM_COST + 4);
	CHECK(pn_smq_at(f.queue[B], 0, &item) == 1 && item.key == 0);
	push(&f, C, 2);
	CHECK(pn_smq_at(f.queue[C], 0, &item) == 1 && item.key == 2);
	ack(&f, A);
	CHECK(take(&f, B) == PN_SMQ_ALONE);
	push(&f, B, 1); /* one has gone: this is the 64th */
	CHECK(take(&f, B) == PN_SMQ_HELD);
	for (int i = 0; i < 63; i++)
		pn_smq_free(others[i]);
	teardown(&f);
}

/* ---- Attacks ---- */

TEST(one_message_is_sent_100000_times_to_three_queues_that_acknowledge_late) {
	enum { COUNT = 100000 };
	struct fixture f;
	setup(&f);
	for (uint32_t i = 0; i < COUNT; i++)
		push_to_all(&f, 1);
	CHECK(test_alloc.bytes <= f.pool.bytes + 4096);
	CHECK(pn_smq_ack(f.queue[A], COUNT) == COUNT);
	for (uint32_t i = 0; i < COUNT; i++)
		CHECK(take(&f, B) == (i == 0 ? PN_SMQ_SEEN : PN_SMQ_ALONE));
	for (uint32_t i = 1; i <= COUNT; i++)
		ack(&f, C);
	CHECK(f.pool.items == 0);
	teardown(&f);
}

/* Pushes many messages to two queues; one acks them, and the other one learns it of each. */
static void check_keys(uint64_t factor) {
	enum { COUNT = 50000 };
	struct fixture f;
	setup(&f);
	for (uint64_t i = 1; i <= COUNT; i++) {
		push(&f, A, i * factor);
		push(&f, B, i * factor);
	}
	CHECK(test_alloc.bytes <= f.pool.bytes + 4096);
	CHECK(pn_smq_ack(f.queue[A], COUNT / 2) == COUNT / 2);
	CHECK(test_alloc.bytes <= f.pool.bytes + 4096);
	for (uint32_t i = 0; i < COUNT; i++)
		CHECK(take(&f, B) == (i < COUNT / 2 ? PN_SMQ_SEEN : PN_SMQ_HELD));
	for (uint32_t i = 0; i < COUNT / 2; i++)
		CHECK(take(&f, A) == PN_SMQ_LAST);
	teardown(&f);
}

TEST(no_choice_of_keys_makes_their_search_slow) {
	check_keys(1);
	check_keys((uint64_t)1 << 48); /* alike in every bit but the last ones that are looked at */
	check_keys(0x9e3779b97f4a7c15);
}

int main(void) {
	return test_run("smq accounts");
}
