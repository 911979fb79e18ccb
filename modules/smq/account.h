/* What the queues of one account share: their sum, and the links between copies of a message. */
#ifndef PN_SMQ_ACCOUNT_H
#define PN_SMQ_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pn/smq.h>

/*
 * One queue's copy of a message. Its memory is the queue's. Made by copies_add(), ended by
 * copies_ack(), copies_take() or copies_forget(). With 24 bytes of the item, and 39 of malloc's,
 * its 48 stay below PN_SMQ_ITEM_COST + PN_SMQ_KEY_COST.
 */
struct copy {
	struct copy *child[2]; /* of a message's first copy; those of the others mean nothing */
	struct copy *same;     /* the next copy of the message */
	uint64_t key;
	const struct pn_smq *queue; /* who holds it; compared alone */
	bool lost;                  /* one was taken from another queue since this one came */
	bool seen;                  /* one was acknowledged to another queue since this one came */
};

/* All of an account, in a tree by key. */
struct copies {
	struct copy *root;
};

/* Invariant: pool->heap[place] is the account. */
struct pn_smq_account {
	struct pn_smq_pool *pool;
	size_t place;
	size_t bytes;
	size_t queues;
	bool given_up; /* by pn_smq_account_free(): ends with its last queue */
	struct copies copies;
	char name[];
};

/* An item of `bytes` comes to a queue of the account, or leaves it. O(log accounts). */
void account_add(struct pn_smq_account *account, size_t bytes);
void account_subtract(struct pn_smq_account *account, size_t bytes);

/* A queue of the account is freed. */
void account_leave(struct pn_smq_account *account);

/*
 * Where one more copy of a message is linked: valid until the next call. NULL where it is not,
 * because the queue has one already or there are too many.
 */
struct copy **copies_place(struct copies *copies, uint64_t key, const struct pn_smq *queue);

/* Adds a copy, whose key and queue are set and the rest is 0, at its place. */
void copies_add(struct copy **place, struct copy *copy);

/* The peer has acknowledged it: the other queues learn that. Ends the copy; NULL is allowed. */
void copies_ack(struct copies *copies, struct copy *copy);

/* Ends the copy and says who else has the message, and the others learn it; NULL is alone. */
enum pn_smq_fate copies_take(struct copies *copies, struct copy *copy);

/* Ends the copy as if its queue had never had it; NULL is allowed. */
void copies_forget(struct copies *copies, struct copy *copy);

#endif
