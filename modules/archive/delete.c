/* Deleting the matches of a query: a few at once, many by a mark. */
#include <math.h>
#include <string.h>

#include <pn/err.h>

#include "archive.h"

enum {
	DELETE_PUTS = 5, /* the state, the marks, and counts of deleted positions */
	SLICE_MAX = 65536,
};

struct deletion {
	const struct pn_archive_query *query;
	uint64_t limit; /* most messages to remove at once */
	uint64_t done;  /* messages deleted */
	bool marked;    /* by a mark */
	size_t used;    /* bytes of the claim */
};

static bool selects_all(const struct deletion *deletion) {
	const struct pn_archive_query *const query = deletion->query;
	return !query->has_keep && !query->has_start && !query->has_end &&
	       query->peer.bytes == NULL && query->before.bytes == NULL &&
	       query->after.bytes == NULL && query->ids == NULL && query->key.bytes == NULL;
}

/* How many of the matches have to be deleted. */
static uint64_t count_surplus(const struct pn_archive *archive, const struct pn_plan *plan,
			      const struct pn_archive_query *query) {
	if (!query->has_keep)
		return UINT64_MAX;
	const uint64_t count = pn_plan_count(archive, plan);
	return count > query->keep ? count - query->keep : 0;
}

/* Gathers the first matches in the plan's order, up to `most`. Returns whether there are more. */
static bool gather(const struct pn_archive *archive, const struct pn_plan *plan, uint64_t most,
		   struct pn_batch *batch) {
	struct pn_walk walk = {.archive = archive, .plan = plan};
	bool more = false;
	for (uint64_t i = 0; i < most && !more && pn_walk_next(&walk); i++)
		more = !pn_batch_add(batch, archive, walk.seq, &walk.stored);
	pn_walk_close(&walk);
	return more;
}

/* Limits the plan's page to its first `count` matches. Finds the end by bisection. */
static void limit_page(const struct pn_archive *archive, struct pn_plan *plan, uint64_t count) {
	const uint64_t below = plan->reverse ? pn_plan_count(archive, plan) - count : count;
	const struct pn_range page = plan->page;
	uint64_t from = page.from, to = page.to;
	while (from < to && archive->txn->err == PN_OK) {
		plan->page.to = from + (to - from) / 2;
		if (pn_plan_count(archive, plan) < below)
			from = plan->page.to + 1;
		else
			to = plan->page.to;
	}
	plan->page =
		plan->reverse ? (struct pn_range){to, page.to} : (struct pn_range){page.from, to};
}

/* Marks the first `surplus` matches. Returns false if there is no room for another mark. */
static bool mark(struct pn_archive *archive, const struct pn_plan *plan, uint64_t surplus,
		 struct deletion *deletion) {
	struct pn_plan limited = *plan;
	if (surplus != UINT64_MAX)
		limit_page(archive, &limited, surplus);
	const uint64_t count = pn_plan_count(archive, &limited);
	if (count < archive->state.count && !pn_marks_add(archive, &limited))
		return false;
	archive->state.count -= pn_min(count, archive->state.count);
	archive->state.marked += count;
	deletion->done = count;
	deletion->marked = true;
	return true;
}

/* Returns whether matches are left. */
static bool delete_planned(struct pn_archive *archive, const struct pn_plan *plan,
			   struct deletion *deletion) {
	const uint64_t surplus = count_surplus(archive, plan, deletion->query);
	struct pn_batch batch = {
		.most = PN_BATCH_SCATTERED,
		.scattered = plan->peer != PN_PEER_ALL || plan->ids != NULL || plan->out_of_order,
	};
	bool more = gather(archive, plan, surplus, &batch);
	if (more && plan->ids == NULL && mark(archive, plan, surplus, deletion))
		return false;
	if (batch.count > deletion->limit) {
		batch.count = (unsigned)deletion->limit;
		more = true;
	}
	pn_batch_remove(&batch, archive);
	archive->state.count -= batch.count;
	deletion->done = batch.count;
	deletion->used = pn_batch_used(&batch, archive);
	return more;
}

static void write_or_drop(struct pn_archive *archive, const struct deletion *deletion) {
	if (archive->state.count == 0) {
		pn_archive_drop(archive);
		return;
	}
	if (deletion->marked)
		pn_marks_write(archive);
	pn_archive_write_state(archive);
}

static bool delete_from(struct pn_archive *archive, struct deletion *deletion) {
	struct pn_plan plan;
	bool more = false;
	if (archive->txn->err != PN_OK)
		return false;
	if (selects_all(deletion)) {
		deletion->done = archive->state.count;
		pn_archive_drop(archive);
		return false;
	}
	if (pn_plan_make(archive, deletion->query, &plan))
		more = delete_planned(archive, &plan, deletion);
	pn_plan_free(&plan);
	if (deletion->done > 0)
		write_or_drop(archive, deletion);
	return more;
}

static void begin(const struct pn_store *store, struct pn_txn *txn) {
	pn_txn_write(store->db, txn,
		     (struct pn_claim){
			     .puts = DELETE_PUTS,
			     .bytes = PN_BATCH_CLAIM,
			     .removes = true,
		     });
}

static int end(struct pn_txn *txn, const struct deletion *deletion, int result) {
	pn_txn_refund(txn, PN_BATCH_CLAIM - deletion->used);
	return pn_txn_end(txn, result);
}

int pn_archive_delete(const struct pn_store *store, struct pn_user user,
		      const struct pn_archive_query *query, uint64_t limit, uint64_t *count) {
	struct pn_txn txn;
	struct pn_archive archive;
	struct deletion deletion = {
		.query = query,
		.limit = pn_min(limit, SLICE_MAX),
	};
	bool more = false;
	begin(store, &txn);
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
	begin(store, &txn);
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
		skip_to(position, next, left, deletion.marked ? 0 : deletion.done);
	return 1;
}

int pn_archive_delete_all(const struct pn_store *store, const struct pn_archive_query *query,
			  struct pn_archive_position *position, uint64_t limit, uint64_t *count) {
	uint64_t left = pn_min(limit, SLICE_MAX);
	int err;
	do
		err = delete_next(store, query, position, &left, count);
	while (err > 0 && left > 0);
	return err;
}
