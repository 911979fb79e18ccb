/*
 * Queues of pn/smq.h, in several accounts of one pool, and a naive model of them: every operation
 * is done to both and compared. The model keeps every item that was ever pushed, with the times at
 * which it was pushed and removed, and searches all of them for each answer.
 */
#ifndef TEST_SMQ_MODEL_H
#define TEST_SMQ_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <pn/err.h>
#include <pn/smq.h>

enum {
	SMQ_MODEL_OPS = 13,     /* operations that smq_model_step() knows */
	SMQ_MODEL_MAX = 1024,   /* pushes in all */
	SMQ_MODEL_LINKED = 64,  /* copies of a message that are linked, of those that are held */
	SMQ_MODEL_QUEUES = 6,   /* queues at any time */
	SMQ_MODEL_ACCOUNTS = 3, /* accounts that new queues go to: a half, a third and a sixth */
};

enum smq_model_state { SMQ_MODEL_HELD, SMQ_MODEL_ACKED, SMQ_MODEL_TAKEN, SMQ_MODEL_FREED };

/* The time of item n is n, and its bytes follow from n and its length. */
struct smq_model_item {
	uint32_t queue; /* its number: no two queues have the same, also over time */
	uint32_t account;
	uint32_t came; /* when; each push and each end of an item is a moment of its own */
	uint32_t went;
	enum smq_model_state state;
	bool linked;
	uint8_t len;
	uint64_t key;
};

struct smq_model_queue {
	struct pn_smq *real;
	uint32_t number;
	uint32_t account;
	uint32_t pushed; /* items in all */
	uint32_t acked;  /* items in all */
};

struct smq_model_account {
	struct pn_smq_account *real;
	uint32_t number;
};

struct smq_model {
	struct pn_smq_pool pool;
	struct pn_smq_limits limits; /* of every queue */
	uint32_t start;              /* all counters at the beginning */
	uint32_t numbers;            /* given out to queues and accounts */
	uint32_t now;
	uint32_t count; /* of items */
	struct smq_model_account accounts[SMQ_MODEL_ACCOUNTS];
	struct smq_model_queue queues[SMQ_MODEL_QUEUES];
	struct smq_model_item items[SMQ_MODEL_MAX];
};

/* ---- The model ---- */

static inline size_t smq_model_cost(const struct smq_model_item *item) {
	return (size_t)item->len + PN_SMQ_ITEM_COST + (item->linked ? PN_SMQ_KEY_COST : 0);
}

/* What queues hold. */
struct smq_model_sum {
	size_t bytes;
	uint32_t items;
};

static inline void smq_model_add(struct smq_model_sum *sum, const struct smq_model_item *item) {
	sum->bytes += smq_model_cost(item);
	sum->items++;
}

static inline struct smq_model_sum smq_model_sum(const struct smq_model *m,
						 const struct smq_model_queue *q) {
	struct smq_model_sum sum = {0};
	for (uint32_t n = 0; n < m->count; n++) {
		if (m->items[n].state == SMQ_MODEL_HELD && m->items[n].queue == q->number)
			smq_model_add(&sum, &m->items[n]);
	}
	return sum;
}

/* The number of the item at `index` of a queue; m->count if there is none. */
static inline uint32_t smq_model_find(const struct smq_model *m, const struct smq_model_queue *q,
				      uint32_t index) {
	for (uint32_t n = 0; n < m->count; n++) {
		if (m->items[n].state == SMQ_MODEL_HELD && m->items[n].queue == q->number &&
		    index-- == 0)
			return n;
	}
	return m->count;
}

/* Whether a queue that holds so much is over its limits. */
static inline bool smq_model_over(const struct smq_model *m, struct smq_model_sum sum) {
	return sum.items > 1 && ((m->limits.items > 0 && sum.items > m->limits.items) ||
				 (m->limits.bytes > 0 && sum.bytes > m->limits.bytes));
}

/* Whether one more copy of a message is linked: the queue has none, and not too many others do. */
static inline bool smq_model_links(const struct smq_model *m, const struct smq_model_queue *q,
				   uint64_t key) {
	uint32_t count = 0;
	for (uint32_t n = 0; n < m->count; n++) {
		const struct smq_model_item *item = &m->items[n];
		if (item->state != SMQ_MODEL_HELD || item->account != q->account || !item->linked ||
		    item->key != key)
			continue;
		if (item->queue == q->number)
			return false;
		count++;
	}
	return count < SMQ_MODEL_LINKED;
}

/* Whether another queue's copy of the item came into this state, while the item was held. */
static inline bool smq_model_other(const struct smq_model *m, const struct smq_model_item *item,
				   enum smq_model_state state) {
	for (uint32_t n = 0; n < m->count; n++) {
		const struct smq_model_item *other = &m->items[n];
		if (other->linked && other->key == item->key && other->account == item->account &&
		    other->queue != item->queue && other->state == state &&
		    (state == SMQ_MODEL_HELD || other->went > item->came))
			return true;
	}
	return false;
}

static inline enum pn_smq_fate smq_model_fate(const struct smq_model *m,
					      const struct smq_model_item *item) {
	if (!item->linked)
		return PN_SMQ_ALONE;
	if (smq_model_other(m, item, SMQ_MODEL_ACKED))
		return PN_SMQ_SEEN;
	if (smq_model_other(m, item, SMQ_MODEL_HELD))
		return PN_SMQ_HELD;
	return smq_model_other(m, item, SMQ_MODEL_TAKEN) ? PN_SMQ_LAST : PN_SMQ_ALONE;
}

static inline void smq_model_bytes(char bytes[256], uint32_t n, uint8_t len) {
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = (char)(n * 31 + i);
}

/* Whether the queue's item is item n. */
static inline bool smq_model_is(const struct smq_model *m, const struct pn_smq_item *got,
				uint32_t n) {
	char bytes[256];
	const struct smq_model_item *item = &m->items[n];
	smq_model_bytes(bytes, n, item->len);
	return got->time == n && got->len == item->len && got->splice == item->len / 2 &&
	       got->key == (item->linked ? item->key : 0) &&
	       memcmp(got->bytes, bytes, got->len) == 0;
}

static inline void smq_model_end(struct smq_model *m, uint32_t n, enum smq_model_state state) {
	m->items[n].state = state;
	m->items[n].went = ++m->now;
}

/* ---- Operations on both ---- */

static inline bool smq_model_push(struct smq_model *m, struct smq_model_queue *q, uint8_t len,
				  uint64_t key) {
	char bytes[256];
	const uint32_t n = m->count;
	if (n == SMQ_MODEL_MAX)
		return true;
	const bool linked = key != 0 && smq_model_links(m, q, key);
	m->items[n] = (struct smq_model_item){.queue = q->number,
					      .account = q->account,
					      .came = ++m->now,
					      .linked = linked,
					      .len = len,
					      .key = key};
	m->count++;
	q->pushed++;
	smq_model_bytes(bytes, n, len);
	const struct pn_smq_item item = {
		.bytes = bytes, .len = len, .splice = len / 2u, .time = n, .key = key};
	return pn_smq_push(q->real, &item) == PN_OK;
}

/* As many copies of one message as it takes, after a few times, until one more is not linked. */
static inline bool smq_model_burst(struct smq_model *m, struct smq_model_queue *q, uint8_t arg,
				   uint64_t key) {
	bool good = true;
	for (int i = 0; i < arg % 40; i++)
		good = smq_model_push(m, q, arg % 3, key) && good;
	return good;
}

/* An ack of `ahead` more items, within the unacked ones. */
static inline bool smq_model_ack(struct smq_model *m, struct smq_model_queue *q, uint32_t ahead) {
	const uint32_t newly = ahead % (q->pushed - q->acked + 1);
	q->acked += newly;
	while (smq_model_sum(m, q).items > q->pushed - q->acked)
		smq_model_end(m, smq_model_find(m, q, 0), SMQ_MODEL_ACKED);
	return pn_smq_ack(q->real, m->start + q->acked) == newly;
}

static inline bool smq_model_ack_wrong(const struct smq_model *m, const struct smq_model_queue *q,
				       uint32_t by) {
	return pn_smq_ack(q->real, m->start + q->pushed + 1 + by) == PN_EHEAD &&
	       pn_smq_ack(q->real, m->start + q->acked - 1 - by) == PN_ETAIL;
}

static inline bool smq_model_take(struct smq_model *m, struct smq_model_queue *q) {
	const uint32_t n = smq_model_find(m, q, 0);
	enum pn_smq_fate fate = PN_SMQ_ALONE;
	if (n == m->count)
		return pn_smq_take(q->real, &fate) == 0;
	const enum pn_smq_fate want = smq_model_fate(m, &m->items[n]);
	smq_model_end(m, n, SMQ_MODEL_TAKEN);
	return pn_smq_take(q->real, &fate) == 1 && fate == want;
}

static inline bool smq_model_take_over(struct smq_model *m, struct smq_model_queue *q) {
	bool good = true;
	while (good && smq_model_over(m, smq_model_sum(m, q)))
		good = pn_smq_over(q->real) && smq_model_take(m, q);
	return good;
}

static inline bool smq_model_at(const struct smq_model *m, const struct smq_model_queue *q,
				uint32_t index) {
	struct pn_smq_item item;
	const uint32_t n = smq_model_find(m, q, index);
	const int found = pn_smq_at(q->real, index, &item);
	return n < m->count ? found == 1 && smq_model_is(m, &item, n) : found == 0;
}

static inline bool smq_model_walk(const struct smq_model *m, const struct smq_model_queue *q,
				  uint32_t from) {
	for (uint32_t i = from; i <= smq_model_sum(m, q).items; i++) {
		if (!smq_model_at(m, q, i))
			return false;
	}
	return true;
}

/* The account that queue `i` is made in. */
static inline struct smq_model_account *smq_model_account_of(struct smq_model *m, uint32_t i) {
	return &m->accounts[i < 3 ? 0 : i < 5 ? 1 : 2];
}

static inline bool smq_model_new_queue(struct smq_model *m, uint32_t i) {
	const struct smq_model_account *account = smq_model_account_of(m, i);
	m->queues[i] = (struct smq_model_queue){.number = ++m->numbers, .account = account->number};
	return pn_smq_new(&m->queues[i].real, account->real, m->limits, m->start) == PN_OK;
}

static inline void smq_model_free_queue(struct smq_model *m, struct smq_model_queue *q) {
	for (uint32_t n; (n = smq_model_find(m, q, 0)) < m->count;)
		smq_model_end(m, n, SMQ_MODEL_FREED);
	pn_smq_free(q->real);
}

static inline bool smq_model_new_account(struct smq_model *m, uint32_t i) {
	const char name[2] = {(char)('a' + i), '\0'};
	m->accounts[i].number = ++m->numbers;
	return pn_smq_account_new(&m->accounts[i].real, &m->pool, name) == PN_OK;
}

/* Another account in place of the one whose queues go on. */
static inline bool smq_model_replace_account(struct smq_model *m, uint32_t i) {
	pn_smq_account_free(m->accounts[i].real);
	return smq_model_new_account(m, i);
}

/* ---- Comparing ---- */

static inline bool smq_model_queue_agrees(const struct smq_model *m,
					  const struct smq_model_queue *q,
					  struct smq_model_sum sum) {
	return pn_smq_acked(q->real) == m->start + q->acked &&
	       pn_smq_pushed(q->real) == m->start + q->pushed &&
	       pn_smq_unacked(q->real) == q->pushed - q->acked &&
	       pn_smq_held(q->real) == sum.items && pn_smq_bytes(q->real) == sum.bytes &&
	       pn_smq_over(q->real) == smq_model_over(m, sum) &&
	       pn_smq_resumable(q->real) == (sum.items == q->pushed - q->acked);
}

/* Bytes and queues of an account. */
static inline struct smq_model_sum
smq_model_account(const struct smq_model *m, const struct smq_model_sum *sums, uint32_t number) {
	struct smq_model_sum account = {0};
	for (uint32_t i = 0; i < SMQ_MODEL_QUEUES; i++) {
		if (m->queues[i].account == number) {
			account.bytes += sums[i].bytes;
			account.items++;
		}
	}
	return account;
}

static inline bool smq_model_accounts_agree(const struct smq_model *m,
					    const struct smq_model_sum *sums) {
	bool good = true;
	for (uint32_t i = 0; i < SMQ_MODEL_ACCOUNTS; i++) {
		const struct smq_model_account *it = &m->accounts[i];
		const struct smq_model_sum want = smq_model_account(m, sums, it->number);
		good = good && pn_smq_account_bytes(it->real) == want.bytes &&
		       pn_smq_account_queues(it->real) == want.items &&
		       pn_smq_account_name(it->real)[0] == (char)('a' + i);
	}
	return good;
}

/* Whether the pool's largest account is as large as the largest one of any queue. */
static inline bool smq_model_largest_agrees(const struct smq_model *m,
					    const struct smq_model_sum *sums) {
	const struct pn_smq_account *got = pn_smq_largest(&m->pool);
	size_t largest = 0;
	for (uint32_t i = 0; i < SMQ_MODEL_QUEUES; i++) {
		const size_t bytes = smq_model_account(m, sums, m->queues[i].account).bytes;
		largest = bytes > largest ? bytes : largest;
	}
	return largest == 0 ? got == NULL : got != NULL && pn_smq_account_bytes(got) == largest;
}

/* Whether every figure is the model's. */
static inline bool smq_model_agrees(const struct smq_model *m) {
	struct smq_model_sum all = {0};
	struct smq_model_sum sums[SMQ_MODEL_QUEUES] = {{0}};
	for (uint32_t n = 0; n < m->count; n++) {
		const struct smq_model_item *item = &m->items[n];
		if (item->state != SMQ_MODEL_HELD)
			continue;
		smq_model_add(&all, item);
		for (uint32_t i = 0; i < SMQ_MODEL_QUEUES; i++) {
			if (m->queues[i].number == item->queue)
				smq_model_add(&sums[i], item);
		}
	}
	bool good = m->pool.bytes == all.bytes && m->pool.items == all.items &&
		    smq_model_accounts_agree(m, sums) && smq_model_largest_agrees(m, sums);
	for (uint32_t i = 0; i < SMQ_MODEL_QUEUES; i++)
		good = good && smq_model_queue_agrees(m, &m->queues[i], sums[i]);
	return good;
}

/* ---- A run ---- */

static inline bool smq_model_open(struct smq_model *m, struct pn_smq_limits limits,
				  uint32_t start) {
	bool good = true;
	memset(m, 0, offsetof(struct smq_model, items));
	m->limits = limits;
	m->start = start;
	for (uint32_t i = 0; i < SMQ_MODEL_ACCOUNTS; i++)
		good = smq_model_new_account(m, i) && good;
	for (uint32_t i = 0; i < SMQ_MODEL_QUEUES; i++)
		good = smq_model_new_queue(m, i) && good;
	return good && smq_model_agrees(m);
}

/* Keys that differ in their first bits, and keys that differ in their last ones; 0 is none. */
static inline uint64_t smq_model_key(uint8_t message) {
	return (uint64_t)(message & 0xf0) << 56 | (message & 0x0f);
}

/*
 * Does an operation to both: `op` chooses it and the queue, `arg` how much, `message` the key of
 * what is pushed. Returns whether queues and model agree.
 */
static inline bool smq_model_step(struct smq_model *m, uint8_t op, uint8_t arg, uint8_t message) {
	const uint32_t i = op / SMQ_MODEL_OPS % SMQ_MODEL_QUEUES;
	struct smq_model_queue *q = &m->queues[i];
	bool good = true;
	switch (op % SMQ_MODEL_OPS) {
	case 0:
	case 1:
	case 2:
		good = smq_model_push(m, q, arg, smq_model_key(message));
		break;
	case 3:
		good = smq_model_burst(m, q, arg, smq_model_key(message));
		break;
	case 4:
		good = smq_model_ack(m, q, arg);
		break;
	case 5:
		good = smq_model_ack_wrong(m, q, arg);
		break;
	case 6:
	case 7:
		good = smq_model_take(m, q);
		break;
	case 8:
		good = smq_model_take_over(m, q);
		break;
	case 9:
		good = smq_model_at(m, q, arg % 32);
		break;
	case 10:
		good = smq_model_walk(m, q, arg);
		break;
	case 11:
		smq_model_free_queue(m, q);
		good = smq_model_new_queue(m, i);
		break;
	case 12:
		good = smq_model_replace_account(m, i % SMQ_MODEL_ACCOUNTS);
		break;
	}
	return good && smq_model_agrees(m);
}

static inline void smq_model_close(struct smq_model *m) {
	for (uint32_t i = 0; i < SMQ_MODEL_ACCOUNTS; i++)
		pn_smq_account_free(m->accounts[i].real);
	for (uint32_t i = 0; i < SMQ_MODEL_QUEUES; i++)
		smq_model_free_queue(m, &m->queues[i]);
}

#endif
