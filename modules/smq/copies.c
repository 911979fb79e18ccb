/*
 * A digital search tree: bit k of a key selects the child at depth k. No path is longer than 64,
 * even if an attacker chooses the keys, and there is no table to grow. Each copy in the tree is the
 * head of a list of the other copies of its message.
 */
#include "account.h"

/* Linked copies of one message: more than an account has sessions. The list is searched on each
 * push, so it is bounded. Test: "smq accounts: ...". */
enum { COPIES_MAX = 64 };

/* The link to the first copy with the key, or to NULL where it belongs. */
static struct copy **find(struct copies *copies, uint64_t key) {
	struct copy **link = &copies->root;
	for (unsigned int bit = 0; *link != NULL && (*link)->key != key; bit++)
		link = &(*link)->child[key >> bit & 1];
	return link;
}

/*
 * Whether one more copy can be linked. Two messages of one sender may have the same key: if a queue
 * holds both, only the first is linked, so that the fate of one is not taken for that of the other.
 */
static bool has_room(const struct copy *first, const struct pn_smq *queue) {
	size_t count = 0;
	for (; first != NULL; first = first->same) {
		if (first->queue == queue || ++count == COPIES_MAX)
			return false;
	}
	return true;
}

struct copy **copies_place(struct copies *copies, uint64_t key, const struct pn_smq *queue) {
	struct copy **place = find(copies, key);
	return has_room(*place, queue) ? place : NULL;
}

void copies_add(struct copy **place, struct copy *copy) {
	if (*place == NULL) {
		*place = copy;
	} else {
		copy->same = (*place)->same;
		(*place)->same = copy;
	}
}

/* Detaches a leaf below the link, or at it. */
static struct copy *detach_leaf(struct copy **link) {
	while ((*link)->child[0] != NULL || (*link)->child[1] != NULL)
		link = &(*link)->child[(*link)->child[0] == NULL];
	struct copy *leaf = *link;
	*link = NULL;
	return leaf;
}

/*
 * Removes the copy at the link from the tree. Another copy of the message replaces it, or else any
 * leaf below it, whose key begins with the same bits.
 */
static void replace_first(struct copy **link) {
	struct copy *copy = *link;
	struct copy *heir = copy->same != NULL ? copy->same : detach_leaf(link);
	if (heir == copy)
		return;
	heir->child[0] = copy->child[0];
	heir->child[1] = copy->child[1];
	*link = heir;
}

void copies_forget(struct copies *copies, struct copy *copy) {
	if (copy == NULL)
		return;
	struct copy **link = find(copies, copy->key);
	if (*link == copy) {
		replace_first(link);
	} else {
		struct copy *before = *link;
		while (before->same != copy)
			before = before->same;
		before->same = copy->same;
	}
}

void copies_ack(struct copies *copies, struct copy *copy) {
	if (copy == NULL)
		return;
	for (struct copy *other = *find(copies, copy->key); other != NULL; other = other->same) {
		if (other->queue != copy->queue)
			other->seen = true;
	}
	copies_forget(copies, copy);
}

enum pn_smq_fate copies_take(struct copies *copies, struct copy *copy) {
	if (copy == NULL)
		return PN_SMQ_ALONE;
	enum pn_smq_fate fate = copy->lost ? PN_SMQ_LAST : PN_SMQ_ALONE;
	for (struct copy *other = *find(copies, copy->key); other != NULL; other = other->same) {
		if (other->queue != copy->queue) {
			other->lost = true;
			fate = PN_SMQ_HELD;
		}
	}
	if (copy->seen)
		fate = PN_SMQ_SEEN;
	copies_forget(copies, copy);
	return fate;
}
