/* Queries: translates one to ranges of messages, and counts them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "archive.h"

/* ---- Ranges ---- */

/* The number of positions that are not deleted. */
static uint64_t count_positions(const struct pn_archive *archive, uint32_t peer,
				struct pn_range positions) {
	const uint64_t deleted = pn_deleted_count(archive, peer, positions);
	return positions.to - positions.from - pn_min(deleted, positions.to - positions.from);
}

static uint64_t count_all(const struct pn_archive *archive, struct pn_range range) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_MESSAGE);
	const struct pn_key from = pn_message_key(archive, range.from);
	struct pn_cursor cursor;
	if (range.from >= range.to || !pn_cursor_find(archive->txn, &cursor, &prefix, &from))
		return 0;
	range.from = pn_seq_of(cursor.key);
	pn_cursor_close(&cursor);
	if (range.from == 0 || range.from >= range.to)
		return 0;
	return count_positions(archive, PN_PEER_ALL, range);
}

/* The ordinals of a peer's messages in the range. */
static struct pn_range find_ordinals(struct pn_index *index, struct pn_range range) {
	struct pn_range ordinals = {0, 0};
	if (range.from >= range.to || !pn_index_seek(index, range.from) || index->seq >= range.to)
		return ordinals;
	ordinals.from = index->ordinal;
	if (pn_index_seek_before(index, range.to))
		ordinals.to = index->ordinal + 1;
	if (ordinals.to <= ordinals.from)
		pn_txn_fail(index->archive->txn, PN_ECORRUPT);
	return ordinals;
}

static uint64_t count_of_peer(struct pn_index *index, struct pn_range range) {
	const struct pn_range ordinals = find_ordinals(index, range);
	if (index->archive->txn->err != PN_OK)
		return 0;
	return count_positions(index->archive, index->peer, ordinals);
}

uint64_t pn_range_count(const struct pn_archive *archive, uint32_t peer, struct pn_range range) {
	struct pn_index index;
	if (peer == PN_PEER_ALL)
		return count_all(archive, range);
	pn_index_open(&index, archive, peer);
	const uint64_t count = count_of_peer(&index, range);
	pn_index_close(&index);
	return count;
}

/* ---- Making a plan ---- */

static int compare_seqs(const void *a, const void *b) {
	const uint64_t first = *(const uint64_t *)a;
	const uint64_t second = *(const uint64_t *)b;
	return (first > second) - (first < second);
}

static size_t remove_repeated(uint64_t *seqs, size_t count) {
	size_t kept = 0;
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || seqs[i] != seqs[i - 1])
			seqs[kept++] = seqs[i];
	}
	return kept;
}

/* Reduces the plan's ids to the one with the key. `only`: the query has no other ids. */
static void plan_key(const struct pn_archive *archive, struct pn_str key, bool only,
		     struct pn_plan *plan) {
	const uint64_t seq = pn_id_find(archive, key);
	const bool listed = only || bsearch(&seq, plan->ids, plan->ids_count, sizeof(plan->ids[0]),
					    compare_seqs) != NULL;
	plan->ids_count = seq != 0 && listed ? 1 : 0;
	plan->ids[0] = seq;
}

static void plan_ids(const struct pn_archive *archive, const struct pn_archive_query *query,
		     struct pn_plan *plan) {
	if (query->ids == NULL && query->key.bytes == NULL)
		return;
	plan->ids = pn_malloc((query->ids_count + 1) * sizeof(plan->ids[0]));
	if (plan->ids == NULL) {
		pn_txn_fail(archive->txn, PN_ENOMEM);
		return;
	}
	for (size_t i = 0; i < query->ids_count; i++) {
		const uint64_t seq = pn_id_find(archive, query->ids[i]);
		if (seq != 0)
			plan->ids[plan->ids_count++] = seq;
		else if (!query->ids_optional)
			pn_txn_fail(archive->txn, PN_ENOTFOUND);
	}
	qsort(plan->ids, plan->ids_count, sizeof(plan->ids[0]), compare_seqs);
	plan->ids_count = remove_repeated(plan->ids, plan->ids_count);
	if (query->key.bytes != NULL)
		plan_key(archive, query->key, query->ids == NULL, plan);
}

static uint64_t find_bound(const struct pn_archive *archive, struct pn_str id) {
	const uint64_t seq = pn_id_find(archive, id);
	if (seq == 0)
		pn_txn_fail(archive->txn, PN_ENOTFOUND);
	return seq;
}

static void plan_page(const struct pn_archive *archive, const struct pn_archive_query *query,
		      struct pn_plan *plan) {
	if (query->after.bytes != NULL)
		plan->page.from = find_bound(archive, query->after) + 1;
	if (query->before.bytes != NULL)
		plan->page.to = pn_min(plan->page.to, find_bound(archive, query->before));
}

/* Appends a range, or adds it to the last one if that ends there. */
static void put_range(struct pn_plan *plan, struct pn_range range) {
	struct pn_range *const last = &plan->ranges[plan->ranges_count];
	if (range.from >= range.to)
		return;
	if (plan->ranges_count > 0 && last[-1].to == range.from)
		last[-1].to = range.to;
	else
		plan->ranges[plan->ranges_count++] = range;
}

/* The messages of the run that match in time, if they are in order. */
static struct pn_range find_times(const struct pn_archive *archive, const struct pn_plan *plan,
				  const struct pn_run *run) {
	struct pn_range range = run->range;
	if (run->latest < plan->start || run->start > plan->end)
		return (struct pn_range){0, 0};
	if (!(run->start >= plan->start))
		range.from = pn_time_find(archive, run, plan->start, false);
	if (!(run->latest <= plan->end))
		range.to = pn_time_find(archive, run, plan->end, true);
	return range;
}

/* Without a bound in time all messages come in order, and otherwise those that are. */
static void plan_ranges(const struct pn_archive *archive, struct pn_plan *plan, bool timed) {
	struct pn_runs runs;
	plan->ranges = pn_malloc((archive->state.runs + (size_t)1) * sizeof(plan->ranges[0]));
	if (plan->ranges == NULL) {
		pn_txn_fail(archive->txn, PN_ENOMEM);
		return;
	}
	if (!timed) {
		plan->ranges[plan->ranges_count++] = (struct pn_range){1, archive->state.next};
		return;
	}
	pn_runs_open(&runs, archive);
	for (uint32_t left = archive->state.runs + 1; left > 0 && pn_runs_next(&runs); left--)
		put_range(plan, find_times(archive, plan, &runs.run));
	pn_runs_close(&runs);
}

/* Sets the bounds in time, and the ranges. */
static void plan_times(const struct pn_archive *archive, struct pn_plan *plan, double start,
		       double end) {
	const struct pn_archive_state *const state = &archive->state;
	const bool timed = start != -INFINITY || end != INFINITY;
	plan->start = start;
	plan->end = end;
	plan->listed = timed && state->listed > 0;
	plan->out_of_order = timed && (plan->listed || state->unordered > 0);
	plan_ranges(archive, plan, timed);
}

bool pn_plan_make(const struct pn_archive *archive, const struct pn_archive_query *query,
		  struct pn_plan *plan) {
	*plan = (struct pn_plan){
		.peer = PN_PEER_ALL,
		.page = {1, archive->state.next},
		.reverse = query->reverse,
	};
	plan_ids(archive, query, plan);
	plan_page(archive, query, plan);
	plan_times(archive, plan, query->has_start ? query->start : -INFINITY,
		   query->has_end ? query->end : INFINITY);
	if (query->peer.bytes != NULL) {
		plan->peer = pn_peer_find(archive, query->peer);
		if (plan->peer == 0)
			return false;
	}
	return archive->txn->err == PN_OK;
}

void pn_plan_mark(const struct pn_archive *archive, const struct pn_mark *mark,
		  struct pn_plan *plan) {
	*plan = (struct pn_plan){.peer = mark->peers.peer, .page = mark->seqs};
	plan_times(archive, plan, mark->start, mark->end);
}

void pn_plan_free(struct pn_plan *plan) {
	pn_free(plan->ids);
	pn_free(plan->ranges);
	plan->ids = NULL;
	plan->ranges = NULL;
}

/* ---- Which messages match ---- */

static bool match_peer(const struct pn_archive *archive, const struct pn_plan *plan,
		       uint32_t peer) {
	if (plan->peer == PN_PEER_ALL || peer == plan->peer)
		return true;
	return peer != 0 && pn_peers_of(archive, peer).bare == plan->peer;
}

bool pn_plan_admits(const struct pn_archive *archive, const struct pn_plan *plan, uint64_t seq,
		    const struct pn_stored *stored) {
	return stored->when >= plan->start && stored->when <= plan->end &&
	       !pn_marks_cover(archive, seq, stored);
}

bool pn_plan_matches(const struct pn_archive *archive, const struct pn_plan *plan, uint64_t seq,
		     const struct pn_stored *stored) {
	return match_peer(archive, plan, stored->peer) &&
	       pn_plan_admits(archive, plan, seq, stored);
}

/* ---- Counting ---- */

/* The number of those that are out of order, of the peer, in the page and in the ranges. */
static uint64_t count_within(const struct pn_archive *archive, const struct pn_plan *plan,
			     struct pn_range page, const struct pn_range *ranges,
			     size_t ranges_count) {
	struct pn_area area = pn_area_all(plan->peer);
	uint64_t count = pn_unordered_count_within(archive, plan->peer, page, ranges, ranges_count);
	for (size_t i = 0; i < ranges_count && plan->listed; i++) {
		area.range = pn_range_intersect(page, ranges[i]);
		count += pn_listed_count(archive, &area);
	}
	return count;
}

static uint64_t count_in_order(const struct pn_archive *archive, const struct pn_plan *plan,
			       struct pn_range page, const struct pn_range *ranges,
			       size_t ranges_count) {
	struct pn_index index;
	uint64_t count = 0;
	if (plan->peer != PN_PEER_ALL)
		pn_index_open(&index, archive, plan->peer);
	for (size_t i = 0; i < ranges_count; i++) {
		const struct pn_range range = pn_range_intersect(page, ranges[i]);
		count += plan->peer != PN_PEER_ALL ? count_of_peer(&index, range)
						   : count_all(archive, range);
	}
	if (plan->peer != PN_PEER_ALL)
		pn_index_close(&index);
	if (!plan->out_of_order || count == 0)
		return count;
	return count - pn_min(count, count_within(archive, plan, page, ranges, ranges_count));
}

bool pn_plan_any_in_order(const struct pn_archive *archive, const struct pn_plan *plan,
			  struct pn_range range, struct pn_index *index) {
	if (range.from >= range.to)
		return false;
	const uint64_t count = index != NULL ? count_of_peer(index, range)
					     : pn_range_count(archive, plan->peer, range);
	return count > (count > 0 ? count_within(archive, plan, range, &range, 1) : 0);
}

/* The number of matches within the page, of deleted messages too. */
static uint64_t count_stored(const struct pn_archive *archive, const struct pn_plan *plan) {
	const struct pn_area area = {plan->peer, plan->page, plan->start, plan->end};
	uint64_t count =
		count_in_order(archive, plan, plan->page, plan->ranges, plan->ranges_count);
	if (plan->out_of_order)
		count += pn_unordered_count(archive, &area);
	return plan->listed ? count + pn_listed_count(archive, &area) : count;
}

/* The number of messages of the plan that the mark deletes. */
static uint64_t count_marked(const struct pn_archive *archive, const struct pn_mark *mark,
			     const struct pn_plan *plan) {
	struct pn_mark both;
	struct pn_plan plan_of_both;
	if (!pn_mark_intersect(archive, mark, plan, &both))
		return 0;
	pn_plan_mark(archive, &both, &plan_of_both);
	const uint64_t count = count_stored(archive, &plan_of_both);
	pn_plan_free(&plan_of_both);
	return count;
}

static uint64_t count_ids(const struct pn_archive *archive, const struct pn_plan *plan) {
	struct pn_stored stored;
	uint64_t count = 0;
	for (size_t i = 0; i < plan->ids_count; i++) {
		const uint64_t seq = plan->ids[i];
		count += seq >= plan->page.from && seq < plan->page.to &&
			 pn_message_get(archive, seq, &stored, NULL) &&
			 pn_plan_matches(archive, plan, seq, &stored);
	}
	return count;
}

uint64_t pn_plan_count(const struct pn_archive *archive, const struct pn_plan *plan) {
	uint64_t deleted = 0;
	if (plan->ids != NULL)
		return count_ids(archive, plan);
	for (unsigned i = 0; i < archive->marks.count; i++)
		deleted += count_marked(archive, &archive->marks.marks[i], plan);
	const uint64_t count = count_stored(archive, plan);
	return count - pn_min(deleted, count);
}
