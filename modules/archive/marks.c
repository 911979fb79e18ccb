/*
 * Marks: messages that are deleted and not erased yet, as sets of a peer, a range of seqs and a
 * range of times. Two such sets have another one, or none, in common.
 */
#include <math.h>

#include <pn/err.h>

#include "archive.h"

/* ---- The record y ---- */

static struct pn_key marks_key(const struct pn_archive *archive) {
	return pn_key_collection(PN_KIND_MARKS, archive->number);
}

static struct pn_range get_range(struct pn_wire *value) {
	struct pn_range range;
	range.from = pn_wire_u64(value);
	range.to = pn_wire_u64(value);
	return range;
}

static void put_range(struct pn_buf *value, struct pn_range range) {
	pn_wire_put_u64(value, range.from);
	pn_wire_put_u64(value, range.to);
}

static struct pn_mark get_mark(struct pn_wire *value) {
	struct pn_mark mark;
	mark.peers.peer = pn_wire_u32(value);
	mark.peers.bare = pn_wire_u32(value);
	mark.seqs = get_range(value);
	mark.start = pn_wire_f64(value);
	mark.end = pn_wire_f64(value);
	return mark;
}

static bool is_sound(const struct pn_mark *mark) {
	return mark->seqs.from < mark->seqs.to && mark->seqs.to <= PN_SEQ_END &&
	       mark->start <= mark->end;
}

void pn_marks_read(struct pn_archive *archive) {
	struct pn_marks *const marks = &archive->marks;
	const struct pn_key key = marks_key(archive);
	struct pn_wire value;
	marks->count = 0;
	if (!pn_get(archive->txn, &key, &value))
		return;
	while (value.left > 0 && archive->txn->err == PN_OK) {
		const struct pn_mark mark = get_mark(&value);
		if (!pn_txn_sound(archive->txn, &value) || marks->count == PN_MARKS_MAX ||
		    !is_sound(&mark))
			pn_txn_fail(archive->txn, PN_ECORRUPT);
		else
			marks->marks[marks->count++] = mark;
	}
}

void pn_marks_write(const struct pn_archive *archive) {
	const struct pn_marks *const marks = &archive->marks;
	const struct pn_key key = marks_key(archive);
	if (marks->count == 0) {
		pn_remove(archive->txn, &key);
		return;
	}
	struct pn_buf value = pn_value();
	for (unsigned i = 0; i < marks->count; i++) {
		const struct pn_mark *const mark = &marks->marks[i];
		pn_wire_put_u32(&value, mark->peers.peer);
		pn_wire_put_u32(&value, mark->peers.bare);
		put_range(&value, mark->seqs);
		pn_wire_put_f64(&value, mark->start);
		pn_wire_put_f64(&value, mark->end);
	}
	pn_put(archive->txn, &key, &value);
}

/* ---- Sets ---- */

static bool is_in(uint64_t seq, struct pn_range range) {
	return seq >= range.from && seq < range.to;
}

/* Whether all messages of `inner` are of `outer`. If neither has all of the other's messages, they
 * have none in common. */
static bool has_peer(uint32_t outer, struct pn_peers inner) {
	return outer == PN_PEER_ALL || outer == inner.peer ||
	       (inner.bare != 0 && outer == inner.bare);
}

bool pn_mark_is_timed(const struct pn_mark *mark) {
	return mark->start > -INFINITY || mark->end < INFINITY;
}

bool pn_mark_intersect(const struct pn_archive *archive, const struct pn_mark *mark,
		       const struct pn_plan *plan, struct pn_mark *both) {
	*both = (struct pn_mark){
		.peers = mark->peers,
		.seqs = pn_range_intersect(plan->page, mark->seqs),
		.start = fmax(plan->start, mark->start),
		.end = fmin(plan->end, mark->end),
	};
	if (!is_sound(both))
		return false;
	if (has_peer(plan->peer, mark->peers))
		return true;
	both->peers = pn_peers_of(archive, plan->peer);
	return has_peer(mark->peers.peer, both->peers);
}

static bool covers(const struct pn_archive *archive, const struct pn_mark *mark, uint64_t seq,
		   const struct pn_stored *stored) {
	const uint32_t peer = mark->peers.peer;
	if (!is_in(seq, mark->seqs) || stored->when < mark->start || stored->when > mark->end)
		return false;
	return peer == PN_PEER_ALL || peer == stored->peer ||
	       (stored->peer != 0 && has_peer(peer, pn_peers_of(archive, stored->peer)));
}

bool pn_marks_cover(const struct pn_archive *archive, uint64_t seq,
		    const struct pn_stored *stored) {
	for (unsigned i = 0; i < archive->marks.count; i++) {
		if (covers(archive, &archive->marks.marks[i], seq, stored))
			return true;
	}
	return false;
}

const struct pn_range *pn_marks_skip(const struct pn_archive *archive, uint32_t peer,
				     uint64_t seq) {
	for (unsigned i = 0; i < archive->marks.count; i++) {
		const struct pn_mark *const mark = &archive->marks.marks[i];
		if (is_in(seq, mark->seqs) && !pn_mark_is_timed(mark) &&
		    (mark->peers.peer == PN_PEER_ALL || mark->peers.peer == peer))
			return &mark->seqs;
	}
	return NULL;
}

/* ---- Differences ---- */

/* Adds a mark, unless it is empty. Returns false if there is no room for it. */
static bool put(struct pn_marks *marks, struct pn_mark mark) {
	if (!is_sound(&mark))
		return true;
	if (marks->count == PN_MARKS_MAX)
		return false;
	marks->marks[marks->count++] = mark;
	return true;
}

/* Adds the parts of `mark` that are not in `other`, whose peer has all messages of its peer: before
 * and after it by seq, and between these before and after it by time. */
static bool put_rest(struct pn_marks *marks, const struct pn_mark *mark,
		     const struct pn_mark *other) {
	const struct pn_range inside = pn_range_intersect(mark->seqs, other->seqs);
	struct pn_mark below = *mark, above = *mark, before = *mark, after = *mark;
	if (inside.from >= inside.to || mark->start > other->end || other->start > mark->end)
		return put(marks, *mark);
	below.seqs.to = inside.from;
	above.seqs.from = inside.to;
	before.seqs = after.seqs = inside;
	before.end = nextafter(other->start, -INFINITY);
	after.start = nextafter(other->end, INFINITY);
	return put(marks, below) && (mark->start >= other->start || put(marks, before)) &&
	       (mark->end <= other->end || put(marks, after)) && put(marks, above);
}

/* Adds the parts of `mark` that are in none of the marks, and of all whose peers have its own. */
static bool put_new(struct pn_marks *marks, const struct pn_marks *others,
		    const struct pn_mark *mark) {
	struct pn_marks left = {.count = 1, .marks = {*mark}};
	for (unsigned i = 0; i < others->count; i++) {
		const struct pn_marks parts = left;
		if (!has_peer(others->marks[i].peers.peer, mark->peers))
			continue;
		left.count = 0;
		for (unsigned j = 0; j < parts.count; j++) {
			if (!put_rest(&left, &parts.marks[j], &others->marks[i]))
				return false;
		}
	}
	for (unsigned i = 0; i < left.count; i++) {
		if (!put(marks, left.marks[i]))
			return false;
	}
	return true;
}

/* Adds the marks without what is in `mark`, where its peer has all of their messages and more. */
static bool put_others(struct pn_marks *marks, const struct pn_marks *others,
		       const struct pn_mark *mark) {
	for (unsigned i = 0; i < others->count; i++) {
		const struct pn_mark *const other = &others->marks[i];
		const bool less = has_peer(mark->peers.peer, other->peers) &&
				  !has_peer(other->peers.peer, mark->peers);
		if (!(less ? put_rest(marks, other, mark) : put(marks, *other)))
			return false;
	}
	return true;
}

bool pn_marks_add(struct pn_archive *archive, const struct pn_plan *plan) {
	struct pn_marks marks = {.count = 0};
	struct pn_mark mark = {
		.peers = pn_peers_of(archive, plan->peer),
		.seqs = plan->page,
		.start = plan->start,
		.end = plan->end,
	};
	if (!plan->out_of_order && plan->ranges_count == 1) { /* the times are a range of seqs */
		mark.seqs = pn_range_intersect(plan->page, plan->ranges[0]);
		mark.start = -INFINITY;
		mark.end = INFINITY;
	}
	if (archive->txn->err != PN_OK || !put_others(&marks, &archive->marks, &mark) ||
	    !put_new(&marks, &archive->marks, &mark))
		return false;
	archive->marks = marks;
	return true;
}

bool pn_marks_spare(struct pn_archive *archive, uint64_t seq, const struct pn_stored *stored) {
	const struct pn_mark message = {
		.seqs = {seq, seq + 1},
		.start = -INFINITY,
		.end = INFINITY,
	};
	struct pn_marks marks = {.count = 0};
	for (unsigned i = 0; i < archive->marks.count; i++) {
		const struct pn_mark *const mark = &archive->marks.marks[i];
		if (!(covers(archive, mark, seq, stored) ? put_rest(&marks, mark, &message)
							 : put(&marks, *mark)))
			return false;
	}
	archive->marks = marks;
	pn_marks_write(archive);
	return archive->txn->err == PN_OK;
}
