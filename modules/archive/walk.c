/* Walks over the matches of a query: those in order, and those out of order, one after another. */
#include <pn/err.h>

#include "archive.h"

/* ---- Listed ids ---- */

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
		if (pn_message_get(walk->archive, id, &walk->stored, NULL) &&
		    pn_plan_matches(walk->archive, plan, id, &walk->stored)) {
			walk->seq = id;
			return true;
		}
	}
	return false;
}

/* ---- Walking over messages in order: in their records, or in the index of a peer ---- */

/* The seq of the current record, 0 if there is none. */
static uint64_t current(const struct pn_walk *walk) {
	if (walk->kind == PN_KIND_PEER)
		return walk->index.seq;
	return walk->cursor.key.bytes != NULL ? pn_seq_of(walk->cursor.key) : 0;
}

static void open_cursor(struct pn_walk *walk) {
	const struct pn_archive *const archive = walk->archive;
	const uint32_t peer = walk->plan->peer;
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_MESSAGE);
	if (walk->kind != 0)
		return;
	walk->kind = peer != PN_PEER_ALL ? PN_KIND_PEER : PN_KIND_MESSAGE;
	if (peer != PN_PEER_ALL)
		pn_index_open(&walk->index, archive, peer);
	else
		pn_cursor_open(archive->txn, &walk->cursor, &prefix);
}

static bool step_on(struct pn_walk *walk) {
	const bool reverse = walk->plan->reverse;
	if (walk->kind == PN_KIND_PEER)
		return reverse ? pn_index_previous(&walk->index) : pn_index_next(&walk->index);
	return reverse ? pn_cursor_previous(&walk->cursor) : pn_cursor_next(&walk->cursor);
}

/* To the first record from `seq` on, or backwards the last one before it. */
static bool move_to(struct pn_walk *walk, uint64_t seq) {
	const struct pn_key key = pn_message_key(walk->archive, seq);
	const bool reverse = walk->plan->reverse;
	if (walk->kind == PN_KIND_PEER)
		return reverse ? pn_index_seek_before(&walk->index, seq)
			       : pn_index_seek(&walk->index, seq);
	return reverse ? pn_cursor_seek_before(&walk->cursor, &key)
		       : pn_cursor_seek(&walk->cursor, &key);
}

/* Moves to the first record of the range after `seq`, where the walk may be already. Returns the
 * seq of that record, 0 if there is none. */
static uint64_t step(struct pn_walk *walk, struct pn_range range, uint64_t seq) {
	const bool at_seq = seq >= range.from && seq < range.to && seq != 0 && current(walk) == seq;
	bool any;
	if (at_seq)
		any = step_on(walk);
	else if (walk->plan->reverse)
		any = move_to(walk, seq != 0 ? pn_min(seq, range.to) : range.to);
	else
		any = move_to(walk, pn_max(seq + 1, range.from));
	const uint64_t at = any ? current(walk) : 0;
	return at >= range.from && at < range.to ? at : 0;
}

/* Whether the message at the cursor matches. Those out of order come from their own records. */
static bool look(struct pn_walk *walk, uint64_t seq) {
	const struct pn_plan *const plan = walk->plan;
	const bool read =
		walk->kind == PN_KIND_MESSAGE
			? pn_stored_read(walk->archive->txn, walk->cursor.value, &walk->next)
			: pn_message_get(walk->archive, seq, &walk->next, NULL);
	return read && !(plan->out_of_order && walk->next.out_of_order) &&
	       pn_plan_admits(walk->archive, plan, seq, &walk->next);
}

/* The last of the deleted messages to skip from `seq` on, `seq` if only this one. */
static uint64_t skip_marked(const struct pn_walk *walk, uint64_t seq) {
	const struct pn_plan *const plan = walk->plan;
	const struct pn_range *const range = pn_marks_skip(walk->archive, plan->peer, seq);
	if (range == NULL)
		return seq;
	return plan->reverse ? range->from : range->to - 1;
}

enum {
	NEAR = 16, /* messages out of order in a row that are read, and not counted */
	FAR = 64,  /* positions that are counted at first */
};

/* The positions after `at`, as many as `distance`. */
static struct pn_range beyond(const struct pn_plan *plan, uint64_t at, uint64_t distance) {
	if (plan->reverse)
		return (struct pn_range){at - pn_min(at, distance), at};
	return (struct pn_range){at + 1, at + 1 + distance};
}

static bool any_beyond(struct pn_walk *walk, struct pn_range range, uint64_t at,
		       uint64_t distance) {
	const struct pn_range part = pn_range_intersect(range, beyond(walk->plan, at, distance));
	struct pn_index *const index = walk->kind == PN_KIND_PEER ? &walk->index : NULL;
	return pn_plan_any_in_order(walk->archive, walk->plan, part, index) ||
	       walk->archive->txn->err != PN_OK;
}

/*
 * Passes over messages that are out of order, by counting them. Returns a position between `at` and
 * the next message of the range that is in order, and close to that; 0 if there is none.
 */
static uint64_t pass_over(struct pn_walk *walk, struct pn_range range, uint64_t at) {
	const bool reverse = walk->plan->reverse;
	uint64_t distance = FAR;
	if (!any_beyond(walk, range, at, PN_SEQ_END))
		return 0;
	for (; !any_beyond(walk, range, at, distance); distance *= 2)
		at = reverse ? at - distance : at + distance;
	while (distance > NEAR) {
		distance /= 2;
		if (!any_beyond(walk, range, at, distance))
			at = reverse ? at - distance : at + distance;
	}
	return at;
}

static uint64_t walk_range(struct pn_walk *walk, struct pn_range range, uint64_t seq) {
	int passed = 0;
	if (range.from >= range.to)
		return 0;
	open_cursor(walk);
	for (uint64_t at = step(walk, range, seq); at != 0; at = step(walk, range, at)) {
		const uint64_t last = skip_marked(walk, at);
		if (last == at && look(walk, at))
			return at;
		at = last;
		if (++passed % NEAR != 0 || !walk->plan->out_of_order || walk->plan->listed)
			continue;
		at = pass_over(walk, range, at);
		if (at == 0)
			break;
	}
	return 0;
}

static bool is_passed(const struct pn_walk *walk, struct pn_range range) {
	if (walk->seq == 0)
		return false;
	return walk->plan->reverse ? walk->seq <= range.from : walk->seq + 1 >= range.to;
}

/* Reads the next match that is in order. Returns its seq, 0 at the end. */
static uint64_t next_in_order(struct pn_walk *walk) {
	const struct pn_plan *const plan = walk->plan;
	for (size_t i = 0; i < plan->ranges_count; i++) {
		const size_t at = plan->reverse ? plan->ranges_count - 1 - i : i;
		const struct pn_range range = pn_range_intersect(plan->page, plan->ranges[at]);
		const uint64_t seq =
			is_passed(walk, range) ? 0 : walk_range(walk, range, walk->seq);
		if (seq != 0)
			return seq;
	}
	return 0;
}

/* ---- Walking over messages out of order ---- */

/* The part of the page that follows a position, and the times that match. */
static struct pn_area area_ahead(const struct pn_walk *walk, uint64_t at) {
	const struct pn_plan *const plan = walk->plan;
	const struct pn_range ahead = beyond(plan, at, PN_SEQ_END);
	return (struct pn_area){
		.list = plan->peer,
		.range = at != 0 ? pn_range_intersect(plan->page, ahead) : plan->page,
		.start = plan->start,
		.end = plan->end,
	};
}

/* The seq of the nearest match, 0 if there is none. */
static uint64_t take_match(struct pn_walk *walk, const struct pn_area *area) {
	struct pn_matches *const matches = &walk->matches;
	if (walk->taken >= matches->count) {
		/* few at first: the page may be a short one */
		walk->want = walk->want == 0 ? 1 : pn_min(walk->want * 4, PN_MATCHES);
		pn_unordered_find(walk->archive, area, walk->plan->reverse, walk->want, matches);
		walk->taken = 0;
	}
	return walk->taken < matches->count ? matches->seqs[walk->taken++] : 0;
}

/* The nearer of two positions, of which 0 is none. */
static uint64_t nearer(uint64_t a, uint64_t b, bool reverse) {
	if (a == 0 || b == 0)
		return a + b;
	return (a < b) == reverse ? b : a;
}

/* The seq of the nearest match after a position, deleted or not. */
static uint64_t unordered_after(struct pn_walk *walk, uint64_t at) {
	const bool reverse = walk->plan->reverse;
	const struct pn_area area = area_ahead(walk, at);
	const uint64_t seq = take_match(walk, &area);
	if (!walk->plan->listed)
		return seq;
	const uint64_t listed = pn_listed_find(walk->archive, &area, reverse);
	const uint64_t found = nearer(seq, listed, reverse);
	if (found != seq)
		walk->taken = walk->matches.count; /* to be found again */
	return found;
}

static bool is_deleted(const struct pn_walk *walk, uint64_t seq) {
	struct pn_stored stored;
	return walk->archive->marks.count > 0 &&
	       pn_message_get(walk->archive, seq, &stored, NULL) &&
	       pn_marks_cover(walk->archive, seq, &stored);
}

static uint64_t next_unordered(struct pn_walk *walk) {
	uint64_t seq = unordered_after(walk, walk->seq);
	while (seq != 0 && is_deleted(walk, seq)) {
		const uint64_t last = skip_marked(walk, seq);
		if (last != seq)
			walk->taken = walk->matches.count; /* to be found behind it */
		seq = unordered_after(walk, last);
	}
	return seq;
}

/* ---- Walking over both ---- */

/* Moves to the nearer one of the next matches of both kinds. */
static bool next_of_both(struct pn_walk *walk) {
	if (!walk->ahead || walk->seq == walk->in_order)
		walk->in_order = next_in_order(walk);
	if (!walk->ahead || walk->seq == walk->unordered)
		walk->unordered = next_unordered(walk);
	walk->ahead = true;
	const uint64_t seq = nearer(walk->in_order, walk->unordered, walk->plan->reverse);
	if (seq == 0)
		return false;
	if (seq == walk->in_order)
		walk->stored = walk->next;
	else if (!pn_message_get(walk->archive, seq, &walk->stored, NULL))
		pn_txn_fail(walk->archive->txn, PN_ECORRUPT);
	walk->seq = seq;
	return walk->archive->txn->err == PN_OK;
}

bool pn_walk_next(struct pn_walk *walk) {
	if (walk->plan->ids != NULL)
		return next_id(walk);
	if (walk->plan->out_of_order)
		return next_of_both(walk);
	const uint64_t seq = next_in_order(walk);
	if (seq == 0)
		return false;
	walk->stored = walk->next;
	walk->seq = seq;
	return true;
}

void pn_walk_close(struct pn_walk *walk) {
	if (walk->kind == PN_KIND_PEER)
		pn_index_close(&walk->index);
	else if (walk->kind != 0)
		pn_cursor_close(&walk->cursor);
	walk->kind = 0;
	walk->ahead = false;
	walk->taken = walk->matches.count = 0;
}
