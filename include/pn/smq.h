/*
 * The outgoing queue of stream management (XEP-0198, section 4): the stanzas that were sent on a
 * stream and are not acknowledged yet, as encoded bytes.
 *
 * Counters are unsigned 32-bit integers that wrap from 2^32-1 to 0 (XEP-0198, section 4), and are
 * compared modulo 2^32.
 *
 *      acked                                        pushed
 *        |------ taken -------|-------- held -------->|
 *        '------------------- unacked ----------------'
 *
 * A queue drops nothing by itself: an item leaves it when it is acknowledged, or when the caller
 * takes it and becomes responsible for it. The stream cannot be resumed while an item that was
 * taken is unacknowledged, because the queue could not send that item again.
 *
 * Queues belong to accounts, and accounts to the pool of the process. Each of the three knows the
 * number of bytes that it holds.
 *
 * Several queues of an account may hold copies of one message. The copies are linked by a key: when
 * the caller takes one, it learns whether another queue has the message (enum pn_smq_fate).
 */
#ifndef PN_SMQ_H
#define PN_SMQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The memory that an item takes in addition to its bytes, and an item with a key in addition to
 * that: upper bounds of the headers and of malloc's overhead, for items up to 128 KiB (malloc
 * rounds larger ones up to pages). Tests: "smq: an item costs its bytes and at most 64 more", and
 * "... 128 more".
 */
#define PN_SMQ_ITEM_COST 64
#define PN_SMQ_KEY_COST 64

#define PN_SMQ_LEN_MAX 0x7fffffffu /* bytes of an item: 31 bits */

struct pn_smq_account;

/* All queues of a process. Starts zeroed; owned by the caller; outlives its accounts. */
struct pn_smq_pool {
	size_t bytes;                 /* sum of pn_smq_bytes() */
	size_t items;                 /* sum of pn_smq_held() */
	struct pn_smq_account **heap; /* private: the accounts as a heap, the largest on top */
	size_t accounts;              /* number of accounts */
	size_t room;                  /* private: number of accounts that the heap has memory for */
};

/*
 * Makes an empty account. `name` is for the caller, and is copied. Sets *out, which the caller
 * frees. Returns 0 or PN_ENOMEM.
 */
int pn_smq_account_new(struct pn_smq_account **out, struct pn_smq_pool *pool, const char *name);

/* Frees the account, now or together with its last queue. NULL is allowed. */
void pn_smq_account_free(struct pn_smq_account *account);

const char *pn_smq_account_name(const struct pn_smq_account *account); /* borrowed */
size_t pn_smq_account_bytes(const struct pn_smq_account *account);     /* sum over its queues */
size_t pn_smq_account_queues(const struct pn_smq_account *account);    /* number of its queues */

/* The account that holds the most bytes; NULL if all are empty. Borrowed. O(1). */
struct pn_smq_account *pn_smq_largest(const struct pn_smq_pool *pool);

/* Limits of one queue; 0: no limit. The queue does not enforce them, see pn_smq_over(). */
struct pn_smq_limits {
	size_t bytes; /* counted as in pn_smq_bytes() */
	uint32_t items;
};

struct pn_smq_item {
	const char *bytes; /* the encoded stanza; borrowed until the item leaves the queue */
	uint32_t len;      /* bytes, at most PN_SMQ_LEN_MAX */
	uint32_t splice;   /* offset at which a child can be added (pn/stanza.h); 0: none */
	int64_t time;      /* of the push, in the unit of the caller */
	uint64_t key;      /* equal for all copies of a message in an account; 0: not linked */
};

/*
 * What became of the other copies of the message of an item that is taken, in the queues of its
 * account that held one at the same time. The last of these that applies:
 */
enum pn_smq_fate {
	PN_SMQ_ALONE, /* no other queue had one, or the item is not linked */
	PN_SMQ_LAST,  /* other queues had one, and all were taken unacknowledged */
	PN_SMQ_HELD,  /* another queue holds one */
	PN_SMQ_SEEN,  /* one was acknowledged to another queue */
};

struct pn_smq;

/*
 * Makes a queue. Both counters start at `start`, which is 0 for a new stream. Sets *out, which the
 * caller frees. Returns 0 or PN_ENOMEM.
 */
int pn_smq_new(struct pn_smq **out, struct pn_smq_account *account, struct pn_smq_limits limits,
	       uint32_t start);

/* Frees the queue and its items, as if it had never held them. NULL is allowed. */
void pn_smq_free(struct pn_smq *queue);

/*
 * Appends a copy of the item. `time` and `splice` are stored unchanged. An item with a key is
 * linked, unless this queue or 64 others hold an item with that key. O(log accounts); for a key
 * also O(log items), at most 128 steps whatever the keys are.
 * Returns 0; PN_ENOMEM (nothing changed); or PN_EINVAL if len > PN_SMQ_LEN_MAX, if splice > len, or
 * if 2^32-1 items are unacknowledged: the counters would become equal.
 */
int pn_smq_push(struct pn_smq *queue, const struct pn_smq_item *item);

/*
 * The peer has handled the stanzas up to counter h. Returns the number of newly acknowledged items,
 * 0 to 2^32-1; PN_EHEAD if h is above the counter of pushed items; PN_ETAIL if h is below the
 * counter of acknowledged items (of the two, the nearer counter decides). Takes as long for each
 * item as pushing it.
 */
int64_t pn_smq_ack(struct pn_smq *queue, uint32_t h);

/* Whether the queue exceeds one of its limits and holds more than one item. */
bool pn_smq_over(const struct pn_smq *queue);

/*
 * Removes and frees the oldest held item; read it with pn_smq_at() before. Returns 1 and sets *fate
 * (NULL is allowed); or 0 if the queue is empty.
 */
int pn_smq_take(struct pn_smq *queue, enum pn_smq_fate *fate);

/*
 * Sets *item to the held item at `index`, 0 being the oldest, and returns 1; or 0 if there is none.
 * A walk upwards costs O(1) for each step; a step backwards starts over from the oldest, except for
 * index 0, which does not disturb the walk.
 */
int pn_smq_at(struct pn_smq *queue, uint32_t index, struct pn_smq_item *item);

uint32_t pn_smq_acked(const struct pn_smq *queue);   /* counter: the peer's last h */
uint32_t pn_smq_pushed(const struct pn_smq *queue);  /* counter: the h that acknowledges all */
uint32_t pn_smq_unacked(const struct pn_smq *queue); /* pushed - acked, modulo 2^32 */
uint32_t pn_smq_held(const struct pn_smq *queue);    /* items that the queue can send again */
size_t pn_smq_bytes(const struct pn_smq *queue);     /* of the held items, with the costs above */
bool pn_smq_resumable(const struct pn_smq *queue);   /* no unacknowledged item was taken */

#endif
