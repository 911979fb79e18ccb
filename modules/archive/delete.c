/* Deleting messages: a single one, or the matches of a query. */
#include <string.h>

#include <pn/err.h>

#include "archive.h"

enum {
	DELETE_PUTS = 4, /* of every slice: the state, and counts of deleted positions */
	/*
	 * Bytes of pages that the deletion of one message changes. Neighbours share their pages,
	 * and LMDB reuses these in the same transaction: their own bytes are a margin. Scattered
	 * messages change a leaf of the messages and one of each index. Keys and names of peers are
	 * in no order: each that is removed along with a message changes a leaf of its own, and
	 * merges it with another one. Tests: "room: deletions of scattered messages", "... of
	 * neighbours with keys", "... of neighbours with peers of their own".
	 */
	PER_NEIGHBOUR = 400,
	PER_SCATTERED = 12 * 1024,
	PER_LEAF = 8 * 1024,
	/* Of a message that is out of order: nodes of three lists. Their bytes in the log count
	 * here, too: up to 7 KB. Test: "room: deletions of messages out of order". */
	UNORDERED_LEAVES = 6,
	/* of one message: its key, its peer, and the bare form of that */
	MOST_LEAVES = 3 + UNORDERED_LEAVES,
	SLICE_MAX = 65536,
	/* The most scattered messages, or leaves, in a slice: they claim less than SET_ASIDE of
	 * room.c. Test: "sync: on a full disk scattered messages are deleted". */
	SLICE_SCATTERED = 58,
};

/* ---- One message ---- */

/* Marks the position as deleted, unless the archive begins after it now. */
static void mark_deleted(const struct pn_archive *archive, uint64_t seq) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_MESSAGE);
	struct pn_cursor cursor;
	uint64_t first = seq;
	if (pn_cursor_find(archive->txn, &cursor, &prefix, NULL)) {
		first = pn_seq_of(cursor.key);
		pn_cursor_close(&cursor);
		if (first < seq)
			pn_deleted_add(archive, PN_PEER_ALL, seq);
		if (first < seq || pn_deleted_same_block(first, seq))
			return;
	}
	pn_deleted_drop_below(archive, PN_PEER_ALL, first);
}

void pn_message_delete(struct pn_archive *archive, uint64_t seq) {
	struct pn_txn *const txn = archive->txn;
	const struct pn_key key = pn_message_key(archive, seq);
	struct pn_stored stored;
	struct pn_key name_key = {0};
	size_t bytes = 0;
	if (!pn_message_get(archive, seq, &stored, &bytes)) {
		pn_txn_fail(txn, PN_ECORRUPT);
		return;
	}
	const bool keyed = stored.key.bytes != NULL;
	if (keyed)
		name_key = pn_name_key(txn, archive->number, PN_KIND_NAME, stored.key);
	const struct pn_peers peers = pn_peers_of(archive, stored.peer);
	pn_remove(txn, &key); /* stored.key and stored.stanza are borrowed until here */
	if (keyed) {
		pn_remove(txn, &name_key);
		archive->scattered++;
	}
	if (stored.out_of_order) {
		pn_out_of_order_remove(archive, seq, stored.when, peers);
		archive->scattered += UNORDERED_LEAVES;
	}
	if (peers.peer != 0)
		pn_peer_remove(archive, peers.peer, seq);
	if (peers.bare != 0)
		pn_peer_remove(archive, peers.bare, seq);
	mark_deleted(archive, seq);
	archive->state.count -= 1;
	archive->state.bytes -= bytes;
}

/* ---- The matches of a query ---- */

struct deletion {
	const struct pn_archive_query *query;
	uint64_t limit;     /* most messages to delete */
	uint64_t done;      /* messages deleted */
	uint64_t scattered; /* see struct pn_archive */
};

static bool selects_all(const struct deletion *deletion) {
	const struct pn_archive_query *const query = deletion->query;
	return !query->has_keep && !query->has_start && !query->has_end &&
	       query->peer.bytes == NULL && query->before.bytes == NULL &&
	       query->after.bytes == NULL && query->ids == NULL && query->key.bytes == NULL;
}

/* The number of matches within the page. */
static uint64_t count_page(const struct pn_archive *archive, const struct pn_plan *plan) {
	struct pn_walk walk = {.archive = archive, .plan = plan};
	uint64_t count = 0;
	if (plan->page.from == 1 && plan->page.to == archive->state.next)
		return pn_plan_count(archive, plan);
	while (pn_walk_next(&walk))
		count++;
	pn_walk_close(&walk);
	return count;
}

/* How many of the matches have to be deleted. */
static uint64_t count_surplus(const struct pn_archive *archive, const struct pn_plan *plan,
			      const struct pn_archive_query *query) {
	if (!query->has_keep)
		return UINT64_MAX;
	const uint64_t count = count_page(archive, plan);
	return count > query->keep ? count - query->keep : 0;
}

/* Deletes up to `most` matches in the plan's order. A deletion changes the indexes, so the walk
 * closes its cursor first. */
static void delete_matches(struct pn_archive *archive, const struct pn_plan *plan, uint64_t most,
			   struct deletion *deletion) {
	struct pn_walk walk = {.archive = archive, .plan = plan};
	while (deletion->done < most && archive->scattered < SLICE_SCATTERED &&
	       pn_walk_next(&walk)) {
		pn_walk_close(&walk);
		pn_message_delete(archive, walk.seq);
		deletion->done++;
	}
	pn_walk_close(&walk);
	deletion->scattered = archive->scattered;
}

/* Returns whether the slice has ended before the matches. */
static bool delete_planned(struct pn_archive *archive, const struct pn_plan *plan,
			   struct deletion *deletion) {
	const uint64_t surplus = count_surplus(archive, plan, deletion->query);
	delete_matches(archive, plan, pn_min(surplus, deletion->limit), deletion);
	if (deletion->done > 0 && archive->state.count > 0)
		pn_archive_write_state(archive);
	else if (deletion->done > 0)
		pn_collection_drop(archive->txn, archive->number);
	return surplus > deletion->done &&
	       (deletion->done == deletion->limit || deletion->scattered >= SLICE_SCATTERED);
}

static bool delete_from(struct pn_archive *archive, struct deletion *deletion) {
	struct pn_plan plan;
	bool more = false;
	if (archive->txn->err != PN_OK)
		return false;
	if (selects_all(deletion)) {
		deletion->done = archive->state.count;
		pn_collection_drop(archive->txn, archive->number);
		return false;
	}
	if (pn_plan_make(archive, deletion->query, &plan))
		more = delete_planned(archive, &plan, deletion);
	pn_plan_free(&plan);
	return more;
}

static bool is_scattered(const struct pn_archive_query *query) {
	return query->peer.bytes != NULL || query->ids != NULL;
}

static uint64_t slice(const struct pn_archive_query *query, uint64_t limit) {
	return pn_min(limit, is_scattered(query) ? SLICE_SCATTERED : SLICE_MAX);
}

static size_t bytes_of(const struct deletion *deletion, uint64_t messages, uint64_t scattered) {
	const uint64_t leaves = scattered * PER_LEAF;
	if (is_scattered(deletion->query))
		return (size_t)pn_min(messages * PER_SCATTERED + leaves,
				      (uint64_t)SLICE_SCATTERED * PER_SCATTERED);
	return (size_t)(messages * PER_NEIGHBOUR + leaves);
}

static size_t claimed_bytes(const struct deletion *deletion) {
	const uint64_t scattered =
		pn_min(MOST_LEAVES * deletion->limit, SLICE_SCATTERED + MOST_LEAVES - 1);
	return bytes_of(deletion, deletion->limit, scattered);
}

static void begin(const struct pn_store *store, struct pn_txn *txn,
		  const struct deletion *deletion) {
	pn_txn_write(store->db, txn,
		     (struct pn_claim){
			     .puts = DELETE_PUTS,
			     .bytes = claimed_bytes(deletion),
			     .removes = true,
		     });
}

static int end(struct pn_txn *txn, const struct deletion *deletion, int result) {
	const uint64_t used = pn_min(deletion->done, deletion->limit);
	pn_txn_refund(txn, claimed_bytes(deletion) - bytes_of(deletion, used, deletion->scattered));
	return pn_txn_end(txn, result);
}

int pn_archive_delete(const struct pn_store *store, struct pn_user user,
		      const struct pn_archive_query *query, uint64_t limit, uint64_t *count) {
	struct pn_txn txn;
	struct pn_archive archive;
	struct deletion deletion = {
		.query = query,
		.limit = query->key.bytes != NULL ? 1 : slice(query, limit),
	};
	bool more = false;
	begin(store, &txn, &deletion);
	if (pn_archive_open(&archive, &txn, store, user))
		more = delete_from(&archive, &deletion);
	else if (query->before.bytes != NULL || query->after.bytes != NULL)
		pn_txn_fail(&txn, PN_ENOTFOUND);
	const int result = end(&txn, &deletion, more);
	if (result >= 0)
		*count += deletion.done;
	return result;
}

/* ---- All users ---- */

/* Finds the archive of the store that follows the position. Returns whether there is one. */
static bool next_archive(struct pn_txn *txn, const struct pn_store *store,
			 struct pn_archive_position *position, uint32_t *archive) {
	const struct pn_key prefix = pn_directory_start(store);
	struct pn_key at = prefix;
	if (position->begun) {
		memcpy(at.bytes + at.len, position->user, PN_DIGEST);
		at.len += PN_DIGEST;
		at.bytes[at.len++] = 0;
	}
	if (!pn_directory_next(txn, store, &at, archive))
		return false;
	memcpy(position->user, at.bytes + prefix.len, PN_DIGEST);
	position->begun = true;
	return true;
}

/* Deletes from the archive, unless it belongs to the host itself. Returns whether there is more. */
static bool delete_of_user(struct pn_txn *txn, uint32_t number, struct deletion *deletion) {
	struct pn_owner owner;
	struct pn_archive archive;
	if (!pn_collection_owner(txn, number, &owner) || owner.user.bytes == NULL)
		return false;
	return pn_archive_open_number(&archive, txn, number) && delete_from(&archive, deletion);
}

/* Moves past the archive at `next`, from which `done` messages were deleted. */
static void skip_to(struct pn_archive_position *position, struct pn_archive_position next,
		    uint64_t *left, uint64_t done) {
	*position = next;
	*left -= pn_min(*left, done + 1); /* 1 for the time to look at it */
}

static bool is_damage(int err) {
	return err == PN_ECORRUPT || err == PN_EVERSION;
}

/* Deletes from the next archive, and subtracts from *left. Returns 1, or 0 at the end. */
static int delete_next(const struct pn_store *store, const struct pn_archive_query *query,
		       struct pn_archive_position *position, uint64_t *left, uint64_t *count) {
	struct pn_archive_position next = *position;
	struct deletion deletion = {.query = query, .limit = *left};
	struct pn_txn txn;
	uint32_t archive;
	begin(store, &txn, &deletion);
	const bool found = next_archive(&txn, store, &next, &archive);
	const bool more = found && delete_of_user(&txn, archive, &deletion);
	const int err = end(&txn, &deletion, PN_OK);
	if (found && is_damage(err)) {
		next.damaged++;
		skip_to(position, next, left, 0);
		return 1;
	}
	if (!found || err != PN_OK)
		return err;
	*count += deletion.done;
	if (more)
		*left = 0; /* the next slice continues with the same archive */
	else
		skip_to(position, next, left, deletion.done);
	return 1;
}

int pn_archive_delete_all(const struct pn_store *store, const struct pn_archive_query *query,
			  struct pn_archive_position *position, uint64_t limit, uint64_t *count) {
	uint64_t left = slice(query, limit);
	int err;
	do
		err = delete_next(store, query, position, &left, count);
	while (err > 0 && left > 0);
	return err;
}
