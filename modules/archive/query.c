/* Queries: translates one to ranges of messages, counts them, and walks over them. */
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
	if (!pn_cursor_find(archive->txn, &cursor, &prefix, &from))
		return 0;
	range.from = pn_seq_of(cursor.key);
	pn_cursor_close(&cursor);
	if (range.from == 0 || range.from >= range.to)
		return 0;
	return count_positions(archive, PN_PEER_ALL, range);
}

/* The ordinals of a peer's messages in the range. */
static struct pn_range find_ordinals(const struct pn_archive *archive, uint32_t peer,
				     struct pn_range range) {
	const struct pn_key prefix = pn_peer_prefix(archive, peer);
	const struct pn_key from = pn_key_peer(archive->number, peer, range.from);
	const struct pn_key to = pn_key_peer(archive->number, peer, range.to);
	struct pn_range ordinals = {0, 0};
	struct pn_cursor cursor;
	if (!pn_cursor_find(archive->txn, &cursor, &prefix, &from))
		return ordinals;
	if (pn_peer_seq_of(cursor.key) < range.to) {
		ordinals.from = pn_wire_u32(&cursor.value);
		pn_txn_sound(archive->txn, &cursor.value);
		if (pn_cursor_seek_before(&cursor, &to))
			ordinals.to = (uint64_t)pn_wire_u32(&cursor.value) + 1;
		if (!pn_txn_sound(archive->txn, &cursor.value) || ordinals.to <= ordinals.from)
			pn_txn_fail(archive->txn, PN_ECORRUPT);
	}
	pn_cursor_close(&cursor);
	return ordinals;
}

uint64_t pn_range_count(const struct pn_archive *archive, uint32_t peer, struct pn_range range) {
	if (range.from >= range.to)
		return 0;
	if (peer == PN_PEER_ALL)
		return count_all(archive, range);
	const struct pn_range ordinals = find_ordinals(archive, peer, range);
	return archive->txn->err == PN_OK ? count_positions(archive, peer, ordinals) : 0;
}

static bool is_before(double latest, double when, bool above) {
	return latest < when || (above && latest == when);
}

uint64_t pn_time_find(const struct pn_archive *archive, double when, bool above) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_MESSAGE);
	struct pn_cursor cursor;
	struct pn_stored stored;
	uint64_t from = 1, to = archive->state.next;
	if (is_before(archive->state.latest, when, above))
		return to;
	pn_cursor_open(archive->txn, &cursor, &prefix);
	while (from < to) {
		const uint64_t middle = from + (to - from) / 2;
		const struct pn_key key = pn_message_key(archive, middle);
		const uint64_t found = pn_cursor_seek(&cursor, &key) ? pn_seq_of(cursor.key) : 0;
		if (found == 0 || found >= to) {
			to = middle;
		} else if (!pn_stored_read(archive->txn, cursor.value, &stored)) {
			break;
		} else if (is_before(stored.latest, when, above)) {
			from = found + 1;
		} else {
			to = middle;
		}
	}
	pn_cursor_close(&cursor);
	return from;
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

static void plan_time(const struct pn_archive *archive, const struct pn_archive_query *query,
		      struct pn_plan *plan) {
	if (query->has_start) {
		plan->start = query->start;
		plan->main.from = pn_time_find(archive, query->start, false);
	}
	if (query->has_end) {
		plan->end = query->end;
		plan->main.to = pn_time_find(archive, query->end, true);
	}
	plan->main.from = pn_min(plan->main.from, plan->main.to);
	plan->out_of_order =
		archive->state.out_of_order > 0 && (query->has_start || query->has_end);
}

bool pn_plan_make(const struct pn_archive *archive, const struct pn_archive_query *query,
		  struct pn_plan *plan) {
	*plan = (struct pn_plan){
		.peer = PN_PEER_ALL,
		.main = {1, archive->state.next},
		.page = {1, archive->state.next},
		.start = -INFINITY,
		.end = INFINITY,
		.reverse = query->reverse,
	};
	plan_ids(archive, query, plan);
	plan_page(archive, query, plan);
	plan_time(archive, query, plan);
	if (query->peer.bytes != NULL) {
		plan->peer = pn_peer_find(archive, query->peer);
		if (plan->peer == 0)
			return false;
	}
	return archive->txn->err == PN_OK;
}

void pn_plan_free(struct pn_plan *plan) {
	pn_free(plan->ids);
	plan->ids = NULL;
}

/* ---- Which messages match ---- */

static bool match_time(const struct pn_plan *plan, double when) {
	return when >= plan->start && when <= plan->end;
}

static bool match_peer(const struct pn_archive *archive, const struct pn_plan *plan,
		       uint32_t peer) {
	struct pn_str name;
	uint32_t bare;
	if (plan->peer == PN_PEER_ALL || peer == plan->peer)
		return true;
	return peer != 0 && pn_peer_name(archive, peer, &name, &bare) && bare == plan->peer;
}

/* Reads the message `seq`, and returns whether it matches in time and peer, and is not deleted. */
static bool read_match(const struct pn_archive *archive, const struct pn_plan *plan, uint64_t seq,
		       struct pn_stored *stored) {
	return pn_message_get(archive, seq, stored, NULL) && match_time(plan, stored->when) &&
	       match_peer(archive, plan, stored->peer) && !pn_marks_cover(archive, seq, stored);
}

/* ---- Counting ---- */

/* Corrects the count of `main` within the page for a message that is out of order: -1 if it is
 * counted but does not match, 1 if it matches but is not counted. */
static int count_listed(const struct pn_archive *archive, const struct pn_plan *plan, uint64_t seq,
			double when) {
	const bool inside = seq >= plan->main.from && seq < plan->main.to;
	struct pn_stored stored;
	if (inside == match_time(plan, when) || seq < plan->page.from || seq >= plan->page.to)
		return 0;
	if (plan->peer != PN_PEER_ALL && (!pn_message_get(archive, seq, &stored, NULL) ||
					  !match_peer(archive, plan, stored.peer)))
		return 0;
	return inside ? -1 : 1;
}

static int64_t count_out_of_order(const struct pn_archive *archive, const struct pn_plan *plan) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_OUT_OF_ORDER);
	struct pn_cursor cursor;
	int64_t count = 0;
	pn_cursor_open(archive->txn, &cursor, &prefix);
	for (bool any = pn_cursor_first(&cursor); any; any = pn_cursor_next(&cursor)) {
		const double when = pn_wire_f64(&cursor.value);
		if (!pn_txn_sound(archive->txn, &cursor.value))
			break;
		count += count_listed(archive, plan, pn_seq_of(cursor.key), when);
	}
	pn_cursor_close(&cursor);
	return count;
}

/* The number of matches within the page, of deleted messages too. */
static uint64_t count_stored(const struct pn_archive *archive, const struct pn_plan *plan) {
	const uint64_t count =
		pn_range_count(archive, plan->peer, pn_range_intersect(plan->main, plan->page));
	return plan->out_of_order ? count + (uint64_t)count_out_of_order(archive, plan) : count;
}

static uint64_t count_ids(const struct pn_archive *archive, const struct pn_plan *plan) {
	struct pn_stored stored;
	uint64_t count = 0;
	for (size_t i = 0; i < plan->ids_count; i++) {
		const uint64_t seq = plan->ids[i];
		count += seq >= plan->page.from && seq < plan->page.to &&
			 read_match(archive, plan, seq, &stored);
	}
	return count;
}

uint64_t pn_plan_count(const struct pn_archive *archive, const struct pn_plan *plan) {
	struct pn_plan both;
	uint64_t deleted = 0;
	if (plan->ids != NULL)
		return count_ids(archive, plan);
	for (unsigned i = 0; i < archive->marks.count; i++) {
		if (pn_mark_intersect(archive, &archive->marks.marks[i], plan, &both))
			deleted += count_stored(archive, &both);
	}
	const uint64_t count = count_stored(archive, plan);
	return count - pn_min(deleted, count);
}

/* ---- Walking ---- */

/* The index of the first of the plan's ids that is at least `seq`. */
static size_t lower_bound(const struct pn_plan *plan, uint64_t seq) {
	size_t from = 0, to = plan->ids_count;
	while (from < to) {
		const size_t middle = from + (to - from) / 2;
		if (plan->ids[middle] < seq)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

/* Moves to the next of the plan's ids that matches. */
static bool next_id(struct pn_walk *walk) {
	const struct pn_plan *const plan = walk->plan;
	const uint64_t above = plan->reverse ? 0 : walk->seq + 1;
	const uint64_t below = plan->reverse && walk->seq != 0 ? walk->seq : UINT64_MAX;
	const size_t from = lower_bound(plan, pn_max(plan->page.from, above));
	const size_t to = lower_bound(plan, pn_min(plan->page.to, below));
	for (size_t i = from; i < to; i++) {
		const uint64_t id = plan->ids[plan->reverse ? to - 1 - (i - from) : i];
		if (read_match(walk->archive, plan, id, &walk->stored)) {
			walk->seq = id;
			return true;
		}
	}
	return false;
}

/* A part of the page, and the kind of records that list its messages in order. */
struct segment {
	struct pn_range range;
	enum pn_kind kind; /* message, peer or out of order */
};

/* Splits the page into up to three segments, in order of seq. */
static int split_page(const struct pn_plan *plan, struct segment segments[3]) {
	const enum pn_kind kind = plan->peer == PN_PEER_ALL ? PN_KIND_MESSAGE : PN_KIND_PEER;
	const struct pn_range below =
		pn_range_intersect(plan->page, (struct pn_range){1, plan->main.from});
	const struct pn_range inside = pn_range_intersect(plan->page, plan->main);
	const struct pn_range above =
		pn_range_intersect(plan->page, (struct pn_range){plan->main.to, UINT64_MAX});
	int count = 0;
	if (plan->out_of_order)
		segments[count++] = (struct segment){below, PN_KIND_OUT_OF_ORDER};
	segments[count++] = (struct segment){inside, kind};
	if (plan->out_of_order)
		segments[count++] = (struct segment){above, PN_KIND_OUT_OF_ORDER};
	return count;
}

static struct pn_key segment_key(const struct pn_walk *walk, enum pn_kind kind, uint64_t seq) {
	const uint32_t archive = walk->archive->number;
	return kind == PN_KIND_PEER ? pn_key_peer(archive, walk->plan->peer, seq)
				    : pn_key_seq(archive, kind, seq);
}

static uint64_t cursor_seq(const struct pn_walk *walk) {
	return walk->kind == PN_KIND_PEER ? pn_peer_seq_of(walk->cursor.key)
					  : pn_seq_of(walk->cursor.key);
}

static void close_cursor(struct pn_walk *walk) {
	if (walk->kind != 0)
		pn_cursor_close(&walk->cursor);
	walk->kind = 0;
}

/* Opens the cursor at a kind of records, unless it is already. */
static void open_cursor(struct pn_walk *walk, enum pn_kind kind) {
	if (walk->kind == kind)
		return;
	close_cursor(walk);
	const struct pn_key prefix = kind == PN_KIND_PEER
					     ? pn_peer_prefix(walk->archive, walk->plan->peer)
					     : pn_archive_prefix(walk->archive, kind);
	pn_cursor_open(walk->archive->txn, &walk->cursor, &prefix);
	walk->kind = kind;
}

/* Moves the cursor to the first record of the segment after `seq`, where it may be already. Returns
 * the seq of that record, 0 if there is none. */
static uint64_t step(struct pn_walk *walk, struct segment segment, uint64_t seq) {
	const struct pn_range range = segment.range;
	struct pn_cursor *const cursor = &walk->cursor;
	open_cursor(walk, segment.kind);
	const bool at_seq = seq != 0 && cursor->key.bytes != NULL && cursor_seq(walk) == seq;
	bool any;
	if (walk->plan->reverse) {
		const struct pn_key key = segment_key(walk, segment.kind,
						      seq != 0 ? pn_min(seq, range.to) : range.to);
		any = at_seq ? pn_cursor_previous(cursor) : pn_cursor_seek_before(cursor, &key);
	} else {
		const struct pn_key key =
			segment_key(walk, segment.kind, pn_max(seq + 1, range.from));
		any = at_seq ? pn_cursor_next(cursor) : pn_cursor_seek(cursor, &key);
	}
	const uint64_t at = any ? cursor_seq(walk) : 0;
	return at >= range.from && at < range.to ? at : 0;
}

/* Whether the message at the cursor matches. */
static bool look(struct pn_walk *walk, uint64_t seq) {
	if (walk->kind != PN_KIND_MESSAGE)
		return read_match(walk->archive, walk->plan, seq, &walk->stored);
	return pn_stored_read(walk->archive->txn, walk->cursor.value, &walk->stored) &&
	       match_time(walk->plan, walk->stored.when) &&
	       !pn_marks_cover(walk->archive, seq, &walk->stored);
}

/* The last of the messages to skip, `seq` if only this one. */
static uint64_t skip_marked(const struct pn_walk *walk, uint64_t seq) {
	const struct pn_plan *const plan = walk->plan;
	const struct pn_range *const range = pn_marks_skip(walk->archive, plan->peer, seq);
	if (range == NULL)
		return seq;
	return plan->reverse ? range->from : range->to - 1;
}

static bool walk_segment(struct pn_walk *walk, struct segment segment) {
	if (segment.range.from >= segment.range.to)
		return false;
	for (uint64_t at = step(walk, segment, walk->seq); at != 0; at = step(walk, segment, at)) {
		const uint64_t last = skip_marked(walk, at);
		if (last == at && look(walk, at)) {
			walk->seq = at;
			return true;
		}
		at = last;
	}
	return false;
}

static bool is_passed(const struct pn_walk *walk, struct pn_range range) {
	if (walk->seq == 0)
		return false;
	return walk->plan->reverse ? walk->seq <= range.from : walk->seq + 1 >= range.to;
}

bool pn_walk_next(struct pn_walk *walk) {
	struct segment segments[3];
	if (walk->plan->ids != NULL)
		return next_id(walk);
	const int count = split_page(walk->plan, segments);
	for (int i = 0; i < count; i++) {
		const struct segment segment = segments[walk->plan->reverse ? count - 1 - i : i];
		if (!is_passed(walk, segment.range) && walk_segment(walk, segment))
			return true;
	}
	return false;
}

void pn_walk_close(struct pn_walk *walk) {
	close_cursor(walk);
}
