/*
 * The outgoing queue of stream management (XEP-0198, section 4): what was sent on a stream and is
 * not acknowledged yet, as encoded bytes.
 *
 * Counters are unsigned 32-bit integers that wrap from 2^32-1 to 0 (XEP-0198, section 4); they are
 * compared modulo 2^32.
 *
 *      acked                                        pushed
 *        |------ taken -------|-------- held -------->|
 *        '------------------- unacked ----------------'
 *
 * A queue drops nothing by itself: an item leaves it by an ack, or is taken by the caller, who
 * answers for it. While any item that was taken is unacknowledged the stream cannot be resumed,
 * because the queue could not send that item again.
 *
 * Queues belong to accounts, and accounts to a pool, which is all of a process. Each of the three
 * knows what it holds.
 *
 * Several queues of an account may hold copies of one message. They are linked by a key, so that
 * the caller learns, when he takes one, whether anybody else has the message (pn_smq_fate).
 */
#ifndef PN_SMQ_H
#define PN_SMQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What an item costs beside its bytes: an upper bound of its header and the allocator's share, for
 * items below the size that malloc rounds up to pages (128 KiB); and what its key costs more.
 */
#define PN_SMQ_ITEM_COST 64
#define PN_SMQ_KEY_COST 64

#define PN_SMQ_LEN_MAX 0x7fffffffu /* bytes of an item */

struct pn_smq_account;

/* All queues of a process. Begins as all zero; owned by the caller; outlives its accounts. */
struct pn_smq_pool {
	size_t bytes;                 /* sum of pn_smq_bytes() */
	size_t items;                 /* sum of pn_smq_held() */
	struct pn_smq_account **heap; /* private: its accounts, the largest first */
	size_t accounts;              /* how many it has */
	size_t room;                  /* private: for how many the heap has memory */
};

/*
 * Makes an account that holds nothing. `name` is copied; it says to the caller whose account it is.
 * Sets *out, which the caller frees. Returns 0 or PN_ENOMEM.
 */
int pn_smq_account_new(struct pn_smq_account **out, struct pn_smq_pool *pool, const char *name);

/* Frees the account, or gives it up: it ends with its last queue then. NULL is allowed. */
void pn_smq_account_free(struct pn_smq_account *account);

const char *pn_smq_account_name(const struct pn_smq_account *account); /* borrowed */
size_t pn_smq_account_bytes(const struct pn_smq_account *account);     /* of all its queues */
size_t pn_smq_account_queues(const struct pn_smq_account *account);    /* how many it has */

/* The account that holds most; NULL if none holds anything. O(1). */
struct pn_smq_account *pn_smq_largest(const struct pn_smq_pool *pool);

/* What one queue should hold; 0 means no limit. See pn_smq_over(). */
struct pn_smq_limits {
	size_t bytes; /* counted as in pn_smq_bytes() */
	uint32_t items;
};

struct pn_smq_item {
	const char *bytes; /* the encoded stanza; borrowed until the item leaves the queue */
	uint32_t len;      /* bytes, at most PN_SMQ_LEN_MAX */
	uint32_t splice;   /* where a child can be spliced in (pn/stanza.h); 0: nowhere */
	int64_t time;      /* when it was pushed, as the caller gave it */
	uint64_t key;      /* the same for all copies of a message in an account; 0: not linked */
};

/*
 * Who else has the message of an item that is taken: other queues of its account, as far as the
 * item was held at the same time as their copies. The last of these that applies:
 */
enum pn_smq_fate {
	PN_SMQ_ALONE, /* no other queue has had it, or the item is not linked */
	PN_SMQ_LAST,  /* others had it, and it was taken from them unacknowledged */
	PN_SMQ_HELD,  /* another one holds it */
	PN_SMQ_SEEN,  /* the peer of another one has acknowledged it */
};

struct pn_smq;

/*
 * Makes a queue whose counters both begin at `start` (0 for a new stream). Sets *out, which the
 * caller frees. Returns 0 or PN_ENOMEM.
 */
int pn_smq_new(struct pn_smq **out, struct pn_smq_account *account, struct pn_smq_limits limits,
	       uint32_t start);

/* Frees the queue and all it holds, as if it had never held that; NULL is allowed. */
void pn_smq_free(struct pn_smq *queue);

/*
 * Appends a copy of the item; its `time` and `splice` are given back unchanged. An item with a key
 * is linked, unless the queue holds an item with that key already, or 64 queues do. O(log
 * accounts), and for a key O(log items), at most 128 steps whatever the keys are. Returns 0;
 * PN_ENOMEM (nothing changed); or PN_EINVAL if len is above its maximum, if splice > len, or if
 * 2^32-1 items are unacknowledged, so that the counters would be equal again.
 */
int pn_smq_push(struct pn_smq *queue, const struct pn_smq_item *item);

/*
 * The peer has handled stanzas up to counter h. Returns how many were newly acknowledged, as an
 * int64_t from 0 to 2^32-1; PN_EHEAD if h is beyond what was pushed; PN_ETAIL if h is behind what
 * was acknowledged before. The nearer side decides which of the two it is. Costs for each item
 * what it cost to push it.
 */
int64_t pn_smq_ack(struct pn_smq *queue, uint32_t h);

/* Whether the queue holds more than its limits say (and more than one item). It goes on holding. */
bool pn_smq_over(const struct pn_smq *queue);

/*
 * Takes the oldest held item out of the queue, which is gone then. Returns 1 and sets *fate, which
 * may be NULL; or 0 if nothing is held. Look at the item with pn_smq_at() before.
 */
int pn_smq_take(struct pn_smq *queue, enum pn_smq_fate *fate);

/*
 * The item at position `index`, 0 being the oldest held. Returns 1 and fills *item, or 0 if there
 * is none. A walk from any position upwards costs O(1) a step; a jump backwards starts over, but
 * for a look at the oldest, which leaves the walk where it is.
 */
int pn_smq_at(struct pn_smq *queue, uint32_t index, struct pn_smq_item *item);

uint32_t pn_smq_acked(const struct pn_smq *queue);   /* counter: the peer's last h */
uint32_t pn_smq_pushed(const struct pn_smq *queue);  /* counter: the h that would acknowledge all */
uint32_t pn_smq_unacked(const struct pn_smq *queue); /* pushed - acked, modulo 2^32 */
uint32_t pn_smq_held(const struct pn_smq *queue);    /* items that can be sent again */
size_t pn_smq_bytes(const struct pn_smq *queue);     /* their bytes, and the costs of each */
bool pn_smq_resumable(const struct pn_smq *queue);   /* nothing unacknowledged was taken */

#endif
