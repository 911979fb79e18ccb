#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>
#include <pn/smq.h>

/*
 * One allocation an item, linked in order: 24 bytes here, and at most 23 of malloc's, stay below
 * PN_SMQ_ITEM_COST at any length of the queue. An array of slots would have to be grown by half or
 * more, and would stop the server while a long queue moves.
 */
struct node {
	struct node *next;
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
	struct pn_smq_pool *pool;
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
	return (size_t)node->len + PN_SMQ_ITEM_COST;
}

static struct pn_smq_item item_of(const struct node *node) {
	return (struct pn_smq_item){
		.bytes = node->bytes,
		.len = node->len,
		.splice = node->splice,
		.time = node->time,
	};
}

int pn_smq_new(struct pn_smq **out, struct pn_smq_pool *pool, struct pn_smq_limits limits,
	       uint32_t start) {
	struct pn_smq *queue = pn_malloc(sizeof(*queue));
	if (queue == NULL)
		return PN_ENOMEM;
	*queue = (struct pn_smq){.pool = pool, .limits = limits, .acked = start, .pushed = start};
	*out = queue;
	return PN_OK;
}

/* Unlinks the oldest node, which the caller frees. */
static struct node *unlink_first(struct pn_smq *queue) {
	struct node *node = queue->first;
	queue->first = node->next;
	queue->held--;
	queue->bytes -= cost(node);
	queue->pool->items--;
	queue->pool->bytes -= cost(node);
	if (queue->walk == node)
		queue->walk = NULL;
	if (queue->walk != NULL)
		queue->walk_index--;
	return node;
}

int pn_smq_drop(struct pn_smq *queue) {
	if (queue->first == NULL)
		return 0;
	pn_free(unlink_first(queue));
	return 1;
}

void pn_smq_free(struct pn_smq *queue) {
	if (queue == NULL)
		return;
	while (pn_smq_drop(queue) > 0)
		continue;
	pn_free(queue);
}

int pn_smq_push(struct pn_smq *queue, const struct pn_smq_item *item) {
	if (item->splice > item->len)
		return PN_EINVAL;
	struct node *node = pn_malloc(sizeof(*node) + item->len);
	if (node == NULL)
		return PN_ENOMEM;
	node->next = NULL;
	node->time = item->time;
	node->len = item->len;
	node->splice = item->splice;
	if (item->len > 0)
		memcpy(node->bytes, item->bytes, item->len);

	if (queue->first == NULL)
		queue->first = node;
	else
		queue->last->next = node;
	queue->last = node;
	queue->pushed++;
	queue->held++;
	queue->bytes += cost(node);
	queue->pool->items++;
	queue->pool->bytes += cost(node);
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
		pn_smq_drop(queue);
	return newly;
}

bool pn_smq_over(const struct pn_smq *queue) {
	const struct pn_smq_limits *limits = &queue->limits;
	if (queue->held <= 1)
		return false;
	return (limits->items > 0 && queue->held > limits->items) ||
	       (limits->bytes > 0 && queue->bytes > limits->bytes);
}

uint32_t pn_smq_shed(struct pn_smq *queue, pn_smq_drop_fn *fn, void *ctx) {
	uint32_t count = 0;
	for (; pn_smq_over(queue); count++) {
		struct node *node = unlink_first(queue);
		const struct pn_smq_item item = item_of(node);
		if (fn != NULL)
			fn(ctx, &item);
		pn_free(node);
	}
	return count;
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
