#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>
#include <pn/smq.h>

#include "account.h"

/*
 * One allocation an item, linked in order: 32 bytes here, and at most 23 of malloc's, stay below
 * PN_SMQ_ITEM_COST at any length of the queue. An array of slots would have to be grown by half or
 * more, and would stop the server while a long queue moves.
 */
struct node {
	struct node *next;
	struct copy *copy; /* NULL: nobody needs to know of it */
	int64_t time;
	uint32_t len;
	uint32_t splice;
	char bytes[];
};

/*
 * Invariants: held <= pushed - acked; held is the length of the list; bytes is the sum of the
 * nodes' costs; last is valid only if first is not NULL; walk is NULL or the node at walk_index.
 */
struct pn_smq {
	struct pn_smq_account *account;
	struct pn_smq_limits limits;
	struct node *first; /* the oldest held */
	struct node *last;
	struct node *walk; /* where the last pn_smq_at() stopped */
	uint32_t walk_index;
	uint32_t acked;
	uint32_t pushed;
	uint32_t held;
	size_t bytes;
};

static size_t cost(const struct node *node) {
	return (size_t)node->len + PN_SMQ_ITEM_COST + (node->copy != NULL ? PN_SMQ_KEY_COST : 0);
}

static struct pn_smq_item item_of(const struct node *node) {
	return (struct pn_smq_item){
		.bytes = node->bytes,
		.len = node->len,
		.splice = node->splice,
		.time = node->time,
		.key = node->copy != NULL ? node->copy->key : 0,
	};
}

int pn_smq_new(struct pn_smq **out, struct pn_smq_account *account, struct pn_smq_limits limits,
	       uint32_t start) {
	struct pn_smq *queue = pn_malloc(sizeof(*queue));
	if (queue == NULL)
		return PN_ENOMEM;
	*queue = (struct pn_smq){
		.account = account,
		.limits = limits,
		.acked = start,
		.pushed = start,
	};
	account->queues++;
	*out = queue;
	return PN_OK;
}

/* What the queue holds more or less by this node, everywhere it is counted. */
static void count_in(struct pn_smq *queue, const struct node *node) {
	queue->held++;
	queue->bytes += cost(node);
	queue->account->bytes += cost(node);
	queue->account->pool->items++;
	queue->account->pool->bytes += cost(node);
}

static void count_out(struct pn_smq *queue, const struct node *node) {
	queue->held--;
	queue->bytes -= cost(node);
	queue->account->bytes -= cost(node);
	queue->account->pool->items--;
	queue->account->pool->bytes -= cost(node);
}

/* Frees the oldest node. Its copy, if it has one, is the caller's to end. */
static struct copy *remove_first(struct pn_smq *queue) {
	struct node *node = queue->first;
	struct copy *copy = node->copy;
	count_out(queue, node);
	queue->first = node->next;
	if (queue->walk == node)
		queue->walk = NULL;
	if (queue->walk != NULL)
		queue->walk_index--;
	pn_free(node);
	return copy;
}

int pn_smq_take(struct pn_smq *queue, enum pn_smq_fate *fate) {
	if (queue->first == NULL)
		return 0;
	const enum pn_smq_fate found = copies_take(&queue->account->copies, remove_first(queue));
	if (fate != NULL)
		*fate = found;
	return 1;
}

void pn_smq_free(struct pn_smq *queue) {
	if (queue == NULL)
		return;
	while (queue->first != NULL)
		copies_forget(&queue->account->copies, remove_first(queue));
	queue->account->queues--;
	pn_free(queue);
}

static struct node *make_node(const struct pn_smq_item *item) {
	struct node *node = pn_malloc(sizeof(*node) + item->len);
	if (node == NULL)
		return NULL;
	node->next = NULL;
	node->copy = NULL;
	node->time = item->time;
	node->len = item->len;
	node->splice = item->splice;
	if (item->len > 0)
		memcpy(node->bytes, item->bytes, item->len);
	return node;
}

int pn_smq_push(struct pn_smq *queue, const struct pn_smq_item *item) {
	if (item->splice > item->len)
		return PN_EINVAL;
	struct node *node = make_node(item);
	if (node == NULL)
		return PN_ENOMEM;
	if (item->key != 0 &&
	    copies_add(&queue->account->copies, item->key, queue, &node->copy) != PN_OK) {
		pn_free(node);
		return PN_ENOMEM;
	}
	if (queue->first == NULL)
		queue->first = node;
	else
		queue->last->next = node;
	queue->last = node;
	queue->pushed++;
	count_in(queue, node);
	return PN_OK;
}

int64_t pn_smq_ack(struct pn_smq *queue, uint32_t h) {
	const uint32_t newly = h - queue->acked;
	const uint32_t unacked = pn_smq_unacked(queue);
	if (newly > unacked) {
		const uint32_t behind = queue->acked - h;
		const uint32_t ahead = h - queue->pushed;
		return behind <= ahead ? PN_ETAIL : PN_EHEAD;
	}
	queue->acked = h;
	const uint32_t left = unacked - newly;
	while (queue->held > left)
		copies_ack(&queue->account->copies, remove_first(queue));
	return newly;
}

bool pn_smq_over(const struct pn_smq *queue) {
	const struct pn_smq_limits *limits = &queue->limits;
	if (queue->held <= 1)
		return false;
	return (limits->items > 0 && queue->held > limits->items) ||
	       (limits->bytes > 0 && queue->bytes > limits->bytes);
}

int pn_smq_at(struct pn_smq *queue, uint32_t index, struct pn_smq_item *item) {
	if (index >= queue->held)
		return 0;
	if (queue->walk == NULL || queue->walk_index > index) {
		queue->walk = queue->first;
		queue->walk_index = 0;
	}
	for (; queue->walk_index < index; queue->walk_index++)
		queue->walk = queue->walk->next;
	*item = item_of(queue->walk);
	return 1;
}

uint32_t pn_smq_acked(const struct pn_smq *queue) {
	return queue->acked;
}

uint32_t pn_smq_pushed(const struct pn_smq *queue) {
	return queue->pushed;
}

uint32_t pn_smq_unacked(const struct pn_smq *queue) {
	return queue->pushed - queue->acked;
}

uint32_t pn_smq_held(const struct pn_smq *queue) {
	return queue->held;
}

size_t pn_smq_bytes(const struct pn_smq *queue) {
	return queue->bytes;
}

bool pn_smq_resumable(const struct pn_smq *queue) {
	return queue->held == pn_smq_unacked(queue);
}
