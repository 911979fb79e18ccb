/*
 * The outgoing queue of stream management (XEP-0198, section 4): what was sent on a stream and is
 * not acknowledged yet, as encoded bytes.
 *
 * Counters are unsigned 32-bit integers that wrap from 2^32-1 to 0 (XEP-0198, section 4); they are
 * compared modulo 2^32.
 *
 *      acked                                        pushed
 *        |------ dropped ------|-------- held -------->|
 *        '------------------- unacked -----------------'
 *
 * An item is dropped when the limits no longer let the queue hold it. While any dropped item is
 * unacknowledged the stream cannot be resumed, because the queue could not send it again.
 */
#ifndef PN_SMQ_H
#define PN_SMQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What an item costs beside its bytes: an upper bound of its header and the allocator's share, for
 * items below the size that malloc rounds up to pages (128 KiB).
 */
#define PN_SMQ_ITEM_COST 64

/* The figure for all queues of a process. Owned by the caller; outlives every queue made with it.
 */
struct pn_smq_pool {
	size_t bytes; /* sum of pn_smq_bytes() */
	size_t items; /* sum of pn_smq_held() */
};

/* What one queue may hold. 0 means no limit. The newest item is held whatever its size. */
struct pn_smq_limits {
	size_t bytes;   /* at most this many, counted as in pn_smq_bytes() */
	uint32_t items; /* at most this many */
};

struct pn_smq_item {
	const char *bytes; /* the encoded stanza; borrowed until the item leaves the queue */
	uint32_t len;      /* bytes */
	uint32_t splice;   /* where a child can be spliced in (pn/stanza.h); 0: nowhere */
	int64_t time;      /* when it was pushed, as the caller gave it */
};

struct pn_smq;

/* Called with each item that the limits push out, which is gone when it returns; leaves the queue
 * alone. */
typedef void pn_smq_drop_fn(void *ctx, const struct pn_smq_item *item);

/*
 * Makes a queue whose counters both begin at `start` (0 for a new stream). Sets *out, which the
 * caller frees. Returns 0 or PN_ENOMEM.
 */
int pn_smq_new(struct pn_smq **out, struct pn_smq_pool *pool, struct pn_smq_limits limits,
	       uint32_t start);

/* Frees the queue and all it holds; NULL is allowed. */
void pn_smq_free(struct pn_smq *queue);

/*
 * Appends a copy of the item; its `time` and `splice` are given back unchanged. O(1).
 * Returns 0, PN_ENOMEM (nothing changed), or PN_EINVAL if splice > len.
 * Never drops by itself: ask pn_smq_over() and then shed.
 */
int pn_smq_push(struct pn_smq *queue, const struct pn_smq_item *item);

/*
 * The peer has handled stanzas up to counter h. Returns how many were newly acknowledged, as an
 * int64_t from 0 to 2^32-1; PN_EHEAD if h is beyond what was pushed; PN_ETAIL if h is behind what
 * was acknowledged before. The nearer side decides which of the two it is. Amortised O(1).
 */
int64_t pn_smq_ack(struct pn_smq *queue, uint32_t h);

/* Whether the queue holds more than its limits allow (and more than one item). */
bool pn_smq_over(const struct pn_smq *queue);

/* Drops the oldest items until the queue is within its limits. Returns how many. fn may be NULL. */
uint32_t pn_smq_shed(struct pn_smq *queue, pn_smq_drop_fn *fn, void *ctx);

/* Drops the oldest held item, whatever the limits. Returns 1, or 0 if nothing is held. */
int pn_smq_drop(struct pn_smq *queue);

/*
 * The item at position `index`, 0 being the oldest held. Returns 1 and fills *item, or 0 if there
 * is none. A walk from any position upwards costs O(1) a step; a jump backwards starts over.
 */
int pn_smq_at(struct pn_smq *queue, uint32_t index, struct pn_smq_item *item);

uint32_t pn_smq_acked(const struct pn_smq *queue);   /* counter: the peer's last h */
uint32_t pn_smq_pushed(const struct pn_smq *queue);  /* counter: the h that would acknowledge all */
uint32_t pn_smq_unacked(const struct pn_smq *queue); /* pushed - acked, modulo 2^32 */
uint32_t pn_smq_held(const struct pn_smq *queue);    /* items that can be sent again */
size_t pn_smq_bytes(const struct pn_smq *queue);     /* their bytes and PN_SMQ_ITEM_COST for each */
bool pn_smq_resumable(const struct pn_smq *queue);   /* nothing unacknowledged was dropped */

#endif
