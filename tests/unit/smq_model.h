/* A queue of pn/smq.h beside a naive model of it: every operation is done to both and compared. */
#ifndef TEST_SMQ_MODEL_H
#define TEST_SMQ_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <pn/err.h>
#include <pn/smq.h>

enum {
	SMQ_MODEL_OPS = 10,  /* operations that smq_model_step() knows */
	SMQ_MODEL_MAX = 4096 /* pushes; the model does not forget */
};

/* Item n is the n-th that was pushed: its time is n, and its bytes follow from n and its length. */
struct smq_model {
	struct pn_smq_pool pool;
	struct pn_smq *queue;
	struct pn_smq_limits limits;
	uint32_t start;              /* both counters at the beginning */
	uint32_t pushed;             /* items in all */
	uint32_t acked;              /* items in all */
	uint32_t gone;               /* items acked or dropped */
	uint32_t shed;               /* items seen by on_shed() in this step */
	bool shed_wrong;             /* on_shed() saw another item than the oldest */
	uint8_t lens[SMQ_MODEL_MAX]; /* of each item */
};

static inline void smq_model_bytes(char bytes[256], uint32_t n, uint8_t len) {
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = (char)(n * 31 + i);
}

static inline bool smq_model_is(const struct smq_model *m, const struct pn_smq_item *item,
				uint32_t n) {
	char bytes[256];
	smq_model_bytes(bytes, n, m->lens[n]);
	return item->time == n && item->len == m->lens[n] && item->splice == m->lens[n] / 2 &&
	       memcmp(item->bytes, bytes, item->len) == 0;
}

static inline size_t smq_model_held_bytes(const struct smq_model *m) {
	size_t sum = 0;
	for (uint32_t n = m->gone; n < m->pushed; n++)
		sum += (size_t)m->lens[n] + PN_SMQ_ITEM_COST;
	return sum;
}

static inline bool smq_model_over(const struct smq_model *m) {
	const uint32_t held = m->pushed - m->gone;
	return held > 1 && ((m->limits.items > 0 && held > m->limits.items) ||
			    (m->limits.bytes > 0 && smq_model_held_bytes(m) > m->limits.bytes));
}

static inline bool smq_model_push(struct smq_model *m, uint8_t len) {
	char bytes[256];
	if (m->pushed == SMQ_MODEL_MAX)
		return true;
	smq_model_bytes(bytes, m->pushed, len);
	const struct pn_smq_item item = {
		.bytes = bytes, .len = len, .splice = len / 2u, .time = m->pushed};
	m->lens[m->pushed++] = len;
	return pn_smq_push(m->queue, &item) == PN_OK;
}

/* An ack `ahead` of what was acked before, within what is unacked. */
static inline bool smq_model_ack(struct smq_model *m, uint32_t ahead) {
	const uint32_t newly = ahead % (m->pushed - m->acked + 1);
	m->acked += newly;
	if (m->gone < m->acked)
		m->gone = m->acked;
	return pn_smq_ack(m->queue, m->start + m->acked) == newly;
}

static inline bool smq_model_ack_wrong(struct smq_model *m, uint32_t by) {
	return pn_smq_ack(m->queue, m->start + m->pushed + 1 + by) == PN_EHEAD &&
	       pn_smq_ack(m->queue, m->start + m->acked - 1 - by) == PN_ETAIL;
}

static inline bool smq_model_drop(struct smq_model *m) {
	const bool any = m->gone < m->pushed;
	m->gone += any ? 1 : 0;
	return pn_smq_drop(m->queue) == any;
}

static inline void smq_model_on_shed(void *ctx, const struct pn_smq_item *item) {
	struct smq_model *m = ctx;
	m->shed_wrong = m->shed_wrong || !smq_model_is(m, item, m->gone + m->shed);
	m->shed++;
}

static inline bool smq_model_shed(struct smq_model *m, bool with_fn) {
	m->shed = 0;
	const uint32_t count = pn_smq_shed(m->queue, with_fn ? smq_model_on_shed : NULL, m);
	if (m->shed_wrong || m->shed != (with_fn ? count : 0))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		if (!smq_model_over(m))
			return false;
		m->gone++;
	}
	return !smq_model_over(m);
}

static inline bool smq_model_at(struct smq_model *m, uint32_t index) {
	struct pn_smq_item item;
	const uint32_t held = m->pushed - m->gone;
	const int found = pn_smq_at(m->queue, index, &item);
	return index < held ? found == 1 && smq_model_is(m, &item, m->gone + index) : found == 0;
}

static inline bool smq_model_walk(struct smq_model *m, uint32_t from) {
	for (uint32_t i = from; i <= m->pushed - m->gone; i++) {
		if (!smq_model_at(m, i))
			return false;
	}
	return true;
}

/* Whether every figure of the queue is the model's. */
static inline bool smq_model_agrees(const struct smq_model *m) {
	const uint32_t held = m->pushed - m->gone;
	const size_t bytes = smq_model_held_bytes(m);
	return pn_smq_acked(m->queue) == m->start + m->acked &&
	       pn_smq_pushed(m->queue) == m->start + m->pushed &&
	       pn_smq_unacked(m->queue) == m->pushed - m->acked && pn_smq_held(m->queue) == held &&
	       pn_smq_bytes(m->queue) == bytes && m->pool.bytes == bytes && m->pool.items == held &&
	       pn_smq_over(m->queue) == smq_model_over(m) &&
	       pn_smq_resumable(m->queue) == (m->gone == m->acked);
}

static inline bool smq_model_open(struct smq_model *m, struct pn_smq_limits limits,
				  uint32_t start) {
	memset(m, 0, sizeof(*m));
	m->limits = limits;
	m->start = start;
	return pn_smq_new(&m->queue, &m->pool, limits, start) == PN_OK && smq_model_agrees(m);
}

/* Does operation `op` with `arg` to both. Returns whether queue and model agree. */
static inline bool smq_model_step(struct smq_model *m, uint8_t op, uint8_t arg) {
	bool good = true;
	switch (op % SMQ_MODEL_OPS) {
	case 0:
	case 1:
	case 2:
		good = smq_model_push(m, arg);
		break;
	case 3:
		good = smq_model_ack(m, arg);
		break;
	case 4:
		good = smq_model_ack_wrong(m, arg);
		break;
	case 5:
		good = smq_model_drop(m);
		break;
	case 6:
		good = smq_model_shed(m, (arg & 1) != 0);
		break;
	case 7:
	case 8:
		good = smq_model_at(m, arg % 32);
		break;
	case 9:
		good = smq_model_walk(m, arg);
		break;
	}
	return good && smq_model_agrees(m);
}

static inline void smq_model_close(struct smq_model *m) {
	pn_smq_free(m->queue);
	m->queue = NULL;
}

#endif
