/*
 * Runs of messages: neighbours whose times never decrease, except for those that are out of order.
 * A clock that is set back begins a new run, once it has proved to be more than a single message.
 */
#include <math.h>

#include <pn/err.h>

#include "archive.h"

enum {
	/* So many messages out of order in a row begin a run. Each run costs a query by time a few
	 * steps: the more there are, the more messages another one has to be worth. Clocks that go
	 * back and forth all the time do not make many runs. Test: "time: a clock that goes back
	 * and forth makes few runs". */
	LONG_ENOUGH = 16,
	TWICE_AFTER = 8, /* runs after which it takes twice as many */
	MOST_TWICE = 40, /* 16 * 2^40 messages: never */
	BEGIN_PUTS = 3,  /* two boundaries, and one that is dropped: the others are neighbours */
};

/* ---- Reading ---- */

/* The record t. */
struct boundary {
	uint64_t seq;  /* of the first message of a run */
	uint64_t end;  /* of the run before: those up to `seq` are out of order */
	double latest; /* of the run before */
	double start;  /* of the run */
};

static bool read_boundary(const struct pn_cursor *cursor, struct boundary *boundary) {
	struct pn_wire value = cursor->value;
	boundary->seq = pn_seq_of(cursor->key);
	boundary->end = pn_wire_u64(&value);
	boundary->latest = pn_wire_f64(&value);
	boundary->start = pn_wire_f64(&value);
	if (!pn_txn_sound(cursor->txn, &value))
		return false;
	if (boundary->end > boundary->seq || isnan(boundary->latest) || isnan(boundary->start))
		pn_txn_fail(cursor->txn, PN_ECORRUPT);
	return cursor->txn->err == PN_OK;
}

static uint64_t first_seq(const struct pn_archive *archive) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_MESSAGE);
	struct pn_cursor cursor;
	if (!pn_cursor_find(archive->txn, &cursor, &prefix, NULL))
		return archive->state.next;
	const uint64_t seq = pn_seq_of(cursor.key);
	pn_cursor_close(&cursor);
	return seq;
}

void pn_runs_open(struct pn_runs *runs, const struct pn_archive *archive) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_RUN);
	*runs = (struct pn_runs){.archive = archive, .from = 1, .start = -INFINITY};
	if (archive->state.runs == 0)
		return;
	runs->from = first_seq(archive);
	pn_cursor_open(archive->txn, &runs->cursor, &prefix);
	runs->has_cursor = true;
}

/* Reads the next boundary. Returns false at the last one. */
static bool next_boundary(struct pn_runs *runs, struct boundary *boundary) {
	if (!runs->has_cursor)
		return false;
	const bool any =
		runs->begun ? pn_cursor_next(&runs->cursor) : pn_cursor_first(&runs->cursor);
	runs->begun = true;
	return any && read_boundary(&runs->cursor, boundary);
}

bool pn_runs_next(struct pn_runs *runs) {
	const struct pn_archive_state *const state = &runs->archive->state;
	struct boundary next = {0};
	while (!runs->ended) {
		if (!next_boundary(runs, &next)) {
			runs->ended = true;
			next.end = state->next - pn_min(state->streak, state->next);
			next.latest = state->latest;
		}
		runs->run = (struct pn_run){
			.range = {runs->from, next.end},
			.start = runs->start,
			.latest = next.latest,
		};
		if (next.seq > runs->from)
			runs->from = next.seq;
		runs->start = next.start;
		if (runs->run.range.from < next.end)
			return runs->archive->txn->err == PN_OK;
	}
	return false;
}

void pn_runs_close(struct pn_runs *runs) {
	if (runs->has_cursor)
		pn_cursor_close(&runs->cursor);
	runs->has_cursor = false;
}

/* ---- Finding a time ---- */

static bool is_before(double latest, double when, bool above) {
	return latest < when || (above && latest == when);
}

uint64_t pn_time_find(const struct pn_archive *archive, const struct pn_run *run, double when,
		      bool above) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_MESSAGE);
	struct pn_cursor cursor;
	struct pn_stored stored;
	uint64_t from = run->range.from, to = run->range.to;
	if (is_before(run->latest, when, above))
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

/* ---- Beginning a run ---- */

bool pn_run_is_due(const struct pn_archive *archive) {
	const struct pn_archive_state *const state = &archive->state;
	const uint64_t twice = pn_min(state->runs / TWICE_AFTER, MOST_TWICE);
	return state->streak >= (uint64_t)LONG_ENOUGH << twice;
}

/* Removes the boundaries of runs whose messages were all deleted. */
static void drop_passed(struct pn_archive *archive) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_RUN);
	const uint64_t first = first_seq(archive);
	struct pn_cursor cursor;
	while (archive->state.runs > 1 && pn_cursor_find(archive->txn, &cursor, &prefix, NULL)) {
		const struct pn_key key =
			pn_key_seq(archive->number, PN_KIND_RUN, pn_seq_of(cursor.key));
		const bool passed = pn_cursor_next(&cursor) && pn_seq_of(cursor.key) <= first;
		pn_cursor_close(&cursor);
		if (!passed || !pn_remove(archive->txn, &key))
			break;
		archive->state.runs--;
	}
}

static void put_boundary(struct pn_archive *archive, struct boundary boundary) {
	const struct pn_key key = pn_key_seq(archive->number, PN_KIND_RUN, boundary.seq);
	struct pn_buf value = pn_value();
	pn_wire_put_u64(&value, boundary.end);
	pn_wire_put_f64(&value, boundary.latest);
	pn_wire_put_f64(&value, boundary.start);
	pn_put(archive->txn, &key, &value);
	archive->state.runs++;
}

static struct pn_run last_run(const struct pn_archive *archive) {
	struct pn_runs runs;
	pn_runs_open(&runs, archive);
	while (pn_runs_next(&runs))
		continue;
	pn_runs_close(&runs);
	return runs.run;
}

/* Sets *first to the first message of the run that is later than `when`. Returns whether there is
 * one. */
static bool find_later(const struct pn_archive *archive, const struct pn_run *run, double when,
		       struct boundary *first) {
	const uint64_t later = pn_time_find(archive, run, when, true);
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_MESSAGE);
	const struct pn_key key = pn_message_key(archive, later);
	struct pn_cursor cursor;
	struct pn_stored stored;
	if (!pn_cursor_find(archive->txn, &cursor, &prefix, &key))
		return false;
	const bool read = pn_stored_read(archive->txn, cursor.value, &stored);
	if (read)
		*first = (struct boundary){
			.seq = pn_seq_of(cursor.key), .latest = when, .start = stored.latest};
	first->end = first->seq;
	pn_cursor_close(&cursor);
	return read && first->seq < run->range.to;
}

/*
 * The messages of the last run that are later than the new one become a run of their own: what is
 * left of it then ends where the new run begins, and few runs have messages of the same time.
 */
void pn_run_begin(struct pn_archive *archive, uint64_t seq, double when) {
	struct pn_archive_state *const state = &archive->state;
	const struct pn_run last = last_run(archive);
	struct boundary later;
	const bool any_later = find_later(archive, &last, when, &later);
	const struct boundary begin = {
		.seq = seq,
		.end = seq - state->streak,
		.latest = any_later ? state->latest : when,
		.start = when,
	};
	pn_txn_claim_more(archive->txn, BEGIN_PUTS, 0);
	drop_passed(archive);
	if (any_later && later.seq > last.range.from)
		put_boundary(archive, later);
	put_boundary(archive, begin);
	state->latest = when;
}
