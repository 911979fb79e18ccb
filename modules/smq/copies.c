/*
 * Chains are searched whenever a copy comes or goes. Keys are digests, so that nobody can choose
 * what shares a bucket; but anybody can send one message a thousand times, hence COPIES_MAX.
 */
#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "account.h"

enum {
	FIRST_BUCKETS = 16,
	COPIES_MAX = 64, /* of one message that are linked: an account has fewer sessions */
};

static struct copy **bucket_of(const struct copies *copies, uint64_t key) {
	return &copies->bucket[key & (copies->buckets - 1)];
}

/* Twice the buckets, or the first ones. Without memory the old ones go on, with longer chains. */
static int grow(struct copies *copies) {
	const size_t buckets = copies->buckets > 0 ? copies->buckets * 2 : FIRST_BUCKETS;
	struct copies grown = {.buckets = buckets, .count = copies->count};
	grown.bucket = pn_malloc(buckets * sizeof(*grown.bucket));
	if (grown.bucket == NULL)
		return copies->buckets > 0 ? PN_OK : PN_ENOMEM;
	memset(grown.bucket, 0, buckets * sizeof(*grown.bucket));
	for (size_t i = 0; i < copies->buckets; i++) {
		for (struct copy *copy = copies->bucket[i], *next; copy != NULL; copy = next) {
			struct copy **bucket = bucket_of(&grown, copy->key);
			next = copy->next;
			copy->next = *bucket;
			*bucket = copy;
		}
	}
	pn_free(copies->bucket);
	*copies = grown;
	return PN_OK;
}

static bool are_copies(const struct copy *a, const struct copy *b) {
	return a->key == b->key && a->queue != b->queue;
}

/* Tells the others of a new copy, and it of them. */
static void introduce(const struct copies *copies, struct copy *copy) {
	for (struct copy *other = *bucket_of(copies, copy->key); other; other = other->next) {
		if (are_copies(other, copy)) {
			other->met = true;
			copy->met = true;
		}
	}
}

static size_t count_of(const struct copies *copies, uint64_t key) {
	size_t count = 0;
	if (copies->buckets == 0)
		return 0;
	for (const struct copy *copy = *bucket_of(copies, key); copy != NULL; copy = copy->next)
		count += copy->key == key ? 1 : 0;
	return count;
}

int copies_add(struct copies *copies, uint64_t key, const struct pn_smq *queue, struct copy **out) {
	if (count_of(copies, key) >= COPIES_MAX) {
		*out = NULL;
		return PN_OK;
	}
	if (copies->count >= copies->buckets && grow(copies) != PN_OK)
		return PN_ENOMEM;
	struct copy *copy = pn_malloc(sizeof(*copy));
	if (copy == NULL)
		return PN_ENOMEM;
	*copy = (struct copy){.key = key, .queue = queue};
	introduce(copies, copy);
	struct copy **bucket = bucket_of(copies, key);
	copy->next = *bucket;
	*bucket = copy;
	copies->count++;
	*out = copy;
	return PN_OK;
}

void copies_forget(struct copies *copies, struct copy *copy) {
	if (copy == NULL)
		return;
	struct copy **link = bucket_of(copies, copy->key);
	while (*link != copy)
		link = &(*link)->next;
	*link = copy->next;
	pn_free(copy);
	if (--copies->count == 0) {
		pn_free(copies->bucket);
		*copies = (struct copies){0};
	}
}

void copies_ack(struct copies *copies, struct copy *copy) {
	if (copy == NULL)
		return;
	for (struct copy *other = *bucket_of(copies, copy->key); other; other = other->next) {
		if (are_copies(other, copy))
			other->seen = true;
	}
	copies_forget(copies, copy);
}

static bool is_held_elsewhere(const struct copies *copies, const struct copy *copy) {
	for (const struct copy *other = *bucket_of(copies, copy->key); other; other = other->next) {
		if (are_copies(other, copy))
			return true;
	}
	return false;
}

enum pn_smq_fate copies_take(struct copies *copies, struct copy *copy) {
	if (copy == NULL)
		return PN_SMQ_ALONE;
	enum pn_smq_fate fate = copy->met ? PN_SMQ_LAST : PN_SMQ_ALONE;
	if (copy->seen)
		fate = PN_SMQ_SEEN;
	else if (is_held_elsewhere(copies, copy))
		fate = PN_SMQ_HELD;
	copies_forget(copies, copy);
	return fate;
}
