/* Private to this folder: accounts, and the links between the copies of a message. */
#ifndef PN_SMQ_ACCOUNT_H
#define PN_SMQ_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pn/smq.h>

/*
 * The copy of a message in one queue. The queue owns its memory. Added by copies_add(), removed by
 * copies_ack(), copies_take() or copies_forget(). Its 48 bytes, 24 of the node and up to 39 of
 * malloc's overhead are less than PN_SMQ_ITEM_COST + PN_SMQ_KEY_COST.
 */
struct copy {
	struct copy *child[2]; /* valid in the first copy of a message only */
	struct copy *same;     /* the next copy of the message */
	uint64_t key;
	const struct pn_smq *queue; /* that holds it; only compared */
	bool lost;                  /* another queue lost one since this one was added */
	bool seen;                  /* one was acknowledged to another queue since then */
};

/* All copies of an account, in a tree by key. */
struct copies {
	struct copy *root;
};

/* Invariant: pool->heap[place] is the account. */
struct pn_smq_account {
	struct pn_smq_pool *pool;
	size_t place;
	size_t bytes;
	size_t queues;
	bool given_up; /* pn_smq_account_free() was called: free it with its last queue */
	struct copies copies;
	char name[];
};

/* Count an item that was added to a queue of the account, or removed. O(log accounts). */
void account_add(struct pn_smq_account *account, size_t bytes);
void account_subtract(struct pn_smq_account *account, size_t bytes);

/* Counts a queue that is freed. */
void account_leave(struct pn_smq_account *account);

/*
 * Returns the link for one more copy of a message, valid until the next call; or NULL if it cannot
 * be linked: the queue has a copy already, or there are too many.
 */
struct copy **copies_place(struct copies *copies, uint64_t key, const struct pn_smq *queue);

/* Links a copy, in which key and queue are set and the rest is 0, at the place. */
void copies_add(struct copy **place, struct copy *copy);

/* Removes a copy that was acknowledged, and marks the other copies as seen. NULL is allowed. */
void copies_ack(struct copies *copies, struct copy *copy);

/* Removes a copy that is taken, marks the other copies as lost, and returns its fate. NULL is
 * alone. */
enum pn_smq_fate copies_take(struct copies *copies, struct copy *copy);

/* Removes a copy as if its queue had never had it. NULL is allowed. */
void copies_forget(struct copies *copies, struct copy *copy);

#endif
