/* The queue: a list of items, their counters, and their copies in the account. */
#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>
#include <pn/smq.h>

#include "account.h"

/*
 * An item: one allocation, in a list. Its 24 bytes and at most 39 of malloc's overhead are less
 * than PN_SMQ_ITEM_COST at any length of the queue. An array would have to grow by half or more,
 * and would stop the server while it copies a long queue.
 *
 *      not linked:                 | node | bytes
 *      linked:       | struct copy | node | bytes      one allocation too: two would take more
 */
struct node {
	struct node *next;
	int64_t time;
	uint32_t linked : 1;
	uint32_t len : 31;
	uint32_t splice;
	char bytes[];
};

/*
 * Invariants: held <= pushed - acked; held is the length of the list; bytes is the sum of cost() of
 * its nodes; last is valid only if first is not NULL; walk is NULL or the node at walk_index.
 */
struct pn_smq {
	struct pn_smq_account *account;
	struct pn_smq_limits limits;
	struct node *first; /* the oldest held */
	struct node *last;
	struct node *walk; /* where the last walk with pn_smq_at() has stopped */
	uint32_t walk_index;
	uint32_t acked;
	uint32_t pushed;
	uint32_t held;
	size_t bytes;
};

/* The copy before the node; NULL if it is not linked. */
static struct copy *copy_of(struct node *node) {
	return node->linked ? (struct copy *)node - 1 : NULL;
}

static void free_node(struct node *node) {
	pn_free(node->linked ? (void *)copy_of(node) : node);
}

static size_t cost(const struct node *node) {
	return (size_t)node->len + PN_SMQ_ITEM_COST + (node->linked ? PN_SMQ_KEY_COST : 0);
}

static struct pn_smq_item item_of(struct node *node) {
	return (struct pn_smq_item){
		.bytes = node->bytes,
		.len = node->len,
		.splice = node->splice,
		.time = node->time,
		.key = node->linked ? copy_of(node)->key : 0,
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

/* Removes the oldest node from the list. The caller removes its copy and frees it. */
static struct node *unlink_first(struct pn_smq *queue) {
	struct node *node = queue->first;
	queue->first = node->next;
	queue->held--;
	queue->bytes -= cost(node);
	account_subtract(queue->account, cost(node));
	if (queue->walk == node)
		queue->walk = NULL;
	if (queue->walk != NULL)
		queue->walk_index--;
	return node;
}

int pn_smq_take(struct pn_smq *queue, enum pn_smq_fate *fate) {
	if (queue->first == NULL)
		return 0;
	struct node *node = unlink_first(queue);
	const enum pn_smq_fate found = copies_take(&queue->account->copies, copy_of(node));
	free_node(node);
	if (fate != NULL)
		*fate = found;
	return 1;
}

void pn_smq_free(struct pn_smq *queue) {
	if (queue == NULL)
		return;
	while (queue->first != NULL) {
		struct node *node = unlink_first(queue);
		copies_forget(&queue->account->copies, copy_of(node));
		free_node(node);
	}
	account_leave(queue->account);
	pn_free(queue);
}

/* Makes a node of the item; `linked`: after space for its copy. */
static struct node *make_node(const struct pn_smq_item *item, bool linked) {
	const size_t before = linked ? sizeof(struct copy) : 0;
	char *block = pn_malloc(before + sizeof(struct node) + item->len);
	if (block == NULL)
		return NULL;
	struct node *node = (struct node *)(void *)(block + before);
	*node = (struct node){
		.time = item->time,
		.linked = linked,
		.len = item->len & PN_SMQ_LEN_MAX,
		.splice = item->splice,
	};
	if (item->len > 0)
		memcpy(node->bytes, item->bytes, item->len);
	return node;
}

static void append(struct pn_smq *queue, struct node *node) {
	if (queue->first == NULL)
		queue->first = node;
	else
		queue->last->next = node;
	queue->last = node;
	queue->pushed++;
	queue->held++;
	queue->bytes += cost(node);
	account_add(queue->account, cost(node));
}

int pn_smq_push(struct pn_smq *queue, const struct pn_smq_item *item) {
	if (item->len > PN_SMQ_LEN_MAX || item->splice > item->len ||
	    pn_smq_unacked(queue) == UINT32_MAX)
		return PN_EINVAL;
	struct copy **place =
		item->key != 0 ? copies_place(&queue->account->copies, item->key, queue) : NULL;
	struct node *node = make_node(item, place != NULL);
	if (node == NULL)
		return PN_ENOMEM;
	if (place != NULL) {
		*copy_of(node) = (struct copy){.key = item->key, .queue = queue};
		copies_add(place, copy_of(node));
	}
	append(queue, node);
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
	while (queue->held > left) {
		struct node *node = unlink_first(queue);
		copies_ack(&queue->account->copies, copy_of(node));
		free_node(node);
	}
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
	if (index ==
	    0) { /* does not disturb a walk, between whose steps pn_smq_take() may be called */
		*item = item_of(queue->first);
		return 1;
	}
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
