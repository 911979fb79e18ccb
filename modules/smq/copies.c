/*
 * A digital search tree: bit k of a key says which child of the k-th copy on the path comes next,
 * so that no path is longer than 64, whoever chooses the keys, and no table has to be grown. A list
 * hangs from each copy in the tree, with the other copies of its message.
 */
#include "account.h"

enum { COPIES_MAX = 64 }; /* of one message that are linked: an account has fewer sessions */

/* The link to the first copy with this key; to NULL, where it would be, if there is none. */
static struct copy **find(struct copies *copies, uint64_t key) {
	struct copy **link = &copies->root;
	for (unsigned int bit = 0; *link != NULL && (*link)->key != key; bit++)
		link = &(*link)->child[key >> bit & 1];
	return link;
}

/*
 * Whether one more copy can be linked. Two messages of one sender may look the same: of those that
 * a queue holds at once only the first is linked, so that what becomes of it is not believed of
 * the other.
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

/* Cuts off a leaf below the link, or at it. */
static struct copy *cut_leaf(struct copy **link) {
	while ((*link)->child[0] != NULL || (*link)->child[1] != NULL)
		link = &(*link)->child[(*link)->child[0] == NULL];
	struct copy *leaf = *link;
	*link = NULL;
	return leaf;
}

/*
 * Takes the copy at the link out of the tree. Into its place comes another copy of the message, or
 * any leaf below it, whose key has the bits that lead there.
 */
static void replace_first(struct copy **link) {
	struct copy *copy = *link;
	struct copy *heir = copy->same != NULL ? copy->same : cut_leaf(link);
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
