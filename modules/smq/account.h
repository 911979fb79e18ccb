/* What the queues of one account share: their sum, and the links between copies of a message. */
#ifndef PN_SMQ_ACCOUNT_H
#define PN_SMQ_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pn/smq.h>

/* One queue's copy of a message. Made by copies_add(), ended by copies_ack() or copies_take(). */
struct copy {
	struct copy *next; /* in its bucket */
	uint64_t key;
	const struct pn_smq *queue; /* who holds it; compared alone */
	bool met;                   /* another queue has had one */
	bool seen;                  /* another queue's peer has acknowledged one */
};

/* A hash table of them. Invariant: buckets is a power of 2, or 0 without a table. */
struct copies {
	struct copy **bucket;
	size_t buckets;
	size_t count;
};

struct pn_smq_account {
	struct pn_smq_pool *pool;
	struct pn_smq_account *prev; /* in the pool's list */
	struct pn_smq_account *next;
	size_t bytes;
	size_t queues;
	struct copies copies;
	char name[];
};

/*
 * Adds a copy that `queue` holds. Sets *out, NULL where there are so many copies of this message
 * that one more is not linked. Returns 0 or PN_ENOMEM.
 */
int copies_add(struct copies *copies, uint64_t key, const struct pn_smq *queue, struct copy **out);

/* The peer has acknowledged it: the other queues learn that. Frees the copy; NULL is allowed. */
void copies_ack(struct copies *copies, struct copy *copy);

/* Frees the copy and says who else has the message; NULL is alone. */
enum pn_smq_fate copies_take(struct copies *copies, struct copy *copy);

/* Frees the copy as if its queue had never had it; NULL is allowed. */
void copies_forget(struct copies *copies, struct copy *copy);

#endif
