/* What a query means in an archive: ranges of messages, how many they hold, and a walk over them.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "archive.h"

/* ---- Ranges ---- */

static uint64_t min(uint64_t a, uint64_t b) {
	return a < b ? a : b;
}

static uint64_t max(uint64_t a, uint64_t b) {
	return a > b ? a : b;
}

static struct pn_range intersect(struct pn_range a, struct pn_range b) {
	return (struct pn_range){max(a.from, b.from), min(a.to, b.to)};
}

/* Whether the cursor is on a message or an exception of the archive (`kind`): sets *seq. */
static bool on_seq(const struct pn_cursor *cursor, enum pn_kind kind, uint32_t archive,
		   uint64_t *seq) {
	uint32_t found;
	return pn_key_read_seq(cursor->key, kind, &found, seq) && found == archive;
}

static bool on_with(const struct pn_cursor *cursor, uint32_t archive, uint32_t with,
		    uint64_t *seq) {
	uint32_t found_archive, found_with;
	return pn_key_read_with(cursor->key, &found_archive, &found_with, seq) &&
	       found_archive == archive && found_with == with;
}

static int count_all(struct pn_store *store, struct pn_cursor *cursor, uint32_t archive,
		     struct pn_range range, uint64_t *count) {
	const struct pn_key key = pn_key_seq(archive, PN_KIND_MESSAGE, range.from);
	uint64_t first, holes;
	const int found = pn_cursor_seek(cursor, &key);
	if (found <= 0 || !on_seq(cursor, PN_KIND_MESSAGE, archive, &first) || first >= range.to)
		return found < 0 ? found : PN_OK;
	const int err = pn_holes_count(store, archive, PN_WITH_ALL, first, range.to, &holes);
	if (err == PN_OK)
		*count = range.to - first - min(holes, range.to - first);
	return err;
}

static int count_with(struct pn_store *store, struct pn_cursor *cursor, uint32_t archive,
		      uint32_t with, struct pn_range range, uint64_t *count) {
	const struct pn_key from = pn_key_with(archive, with, range.from);
	const struct pn_key to = pn_key_with(archive, with, range.to);
	uint64_t seq, holes;
	int found = pn_cursor_seek(cursor, &from);
	if (found <= 0 || !on_with(cursor, archive, with, &seq) || seq >= range.to)
		return found < 0 ? found : PN_OK;
	const uint64_t first = pn_wire_u32(&cursor->value);
	if (cursor->value.err != PN_OK)
		return PN_ECORRUPT;
	found = pn_cursor_seek_before(cursor, &to);
	if (found <= 0 || !on_with(cursor, archive, with, &seq))
		return found < 0 ? found : PN_ECORRUPT;
	const uint64_t end = (uint64_t)pn_wire_u32(&cursor->value) + 1;
	if (end <= first || cursor->value.err != PN_OK)
		return PN_ECORRUPT;
	const int err = pn_holes_count(store, archive, with, first, end, &holes);
	if (err == PN_OK)
		*count = end - first - min(holes, end - first);
	return err;
}

int pn_range_count(struct pn_store *store, uint32_t archive, uint32_t with, struct pn_range range,
		   uint64_t *count) {
	struct pn_cursor cursor;
	*count = 0;
	if (range.from >= range.to)
		return PN_OK;
	int err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = with == PN_WITH_ALL ? count_all(store, &cursor, archive, range, count)
					  : count_with(store, &cursor, archive, with, range, count);
	pn_cursor_close(&cursor);
	return err;
}

int pn_time_find(struct pn_store *store, uint32_t archive, const struct pn_state *state,
		 double when, bool above, uint64_t *seq) {
	struct pn_cursor cursor;
	uint64_t from = 1, to = state->next;
	int err = pn_cursor_open(store, &cursor);
	if (state->latest < when || (above && state->latest == when))
		from = to;
	while (from < to && err >= 0) {
		const uint64_t middle = from + (to - from) / 2;
		const struct pn_key key = pn_key_seq(archive, PN_KIND_MESSAGE, middle);
		struct pn_stored stored;
		uint64_t found;
		err = pn_cursor_seek(&cursor, &key);
		if (err == 0 || (err > 0 && !on_seq(&cursor, PN_KIND_MESSAGE, archive, &found))) {
			to = middle;
		} else if (err > 0) {
			err = pn_stored_read(cursor.value, &stored);
			if (found >= to || stored.latest > when ||
			    (!above && stored.latest == when))
				to = middle;
			else
				from = found + 1;
		}
	}
	pn_cursor_close(&cursor);
	if (err >= 0)
		*seq = from;
	return err < 0 ? err : PN_OK;
}

/* ---- Making a plan ---- */

static int compare_seqs(const void *a, const void *b) {
	const uint64_t first = *(const uint64_t *)a;
	const uint64_t second = *(const uint64_t *)b;
	return (first > second) - (first < second);
}

static size_t remove_twins(uint64_t *seqs, size_t count) {
	size_t kept = 0;
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || seqs[i] != seqs[i - 1])
			seqs[kept++] = seqs[i];
	}
	return kept;
}

/* Leaves of the plan's ids the one that has the key. There is room for one. */
static int plan_key(struct pn_store *store, struct pn_str key, bool only, struct pn_plan *plan) {
	uint64_t seq = 0;
	const int found = pn_message_find(store, plan->archive, key, &seq);
	if (found < 0)
		return found;
	const bool listed = only || bsearch(&seq, plan->ids, plan->ids_count, sizeof(plan->ids[0]),
					    compare_seqs) != NULL;
	plan->ids_count = found > 0 && listed ? 1 : 0;
	plan->ids[0] = seq;
	return PN_OK;
}

static int plan_ids(struct pn_store *store, const struct pn_archive_query *query,
		    struct pn_plan *plan) {
	if (query->ids == NULL && query->key.bytes == NULL)
		return PN_OK;
	plan->ids = pn_malloc((query->ids_count + 1) * sizeof(plan->ids[0]));
	if (plan->ids == NULL)
		return PN_ENOMEM;
	for (size_t i = 0; i < query->ids_count; i++) {
		uint64_t *const seq = &plan->ids[plan->ids_count];
		const int found = pn_message_find(store, plan->archive, query->ids[i], seq);
		if (found < 0)
			return found;
		if (found == 0 && !query->ids_optional)
			return PN_ENOTFOUND;
		plan->ids_count += found > 0;
	}
	qsort(plan->ids, plan->ids_count, sizeof(plan->ids[0]), compare_seqs);
	plan->ids_count = remove_twins(plan->ids, plan->ids_count);
	return query->key.bytes != NULL ? plan_key(store, query->key, query->ids == NULL, plan)
					: PN_OK;
}

static int find_bound(struct pn_store *store, uint32_t archive, struct pn_str id, uint64_t *seq) {
	const int found = pn_message_find(store, archive, id, seq);
	return found < 0 ? found : found > 0 ? PN_OK : PN_ENOTFOUND;
}

static int plan_page(struct pn_store *store, const struct pn_archive_query *query,
		     struct pn_plan *plan) {
	uint64_t seq = 0;
	int err = PN_OK;
	if (query->after.bytes != NULL) {
		err = find_bound(store, plan->archive, query->after, &seq);
		plan->page.from = seq + 1;
	}
	if (err == PN_OK && query->before.bytes != NULL) {
		err = find_bound(store, plan->archive, query->before, &seq);
		plan->page.to = min(plan->page.to, seq);
	}
	return err;
}

static int plan_time(struct pn_store *store, const struct pn_state *state,
		     const struct pn_archive_query *query, struct pn_plan *plan) {
	int err = PN_OK;
	if (query->has_start) {
		plan->start = query->start;
		err = pn_time_find(store, plan->archive, state, query->start, false,
				   &plan->main.from);
	}
	if (err == PN_OK && query->has_end) {
		plan->end = query->end;
		err = pn_time_find(store, plan->archive, state, query->end, true, &plan->main.to);
	}
	plan->main.from = min(plan->main.from, plan->main.to);
	plan->exceptions = state->exceptions > 0 && (query->has_start || query->has_end);
	return err;
}

int pn_plan_make(struct pn_store *store, uint32_t archive, const struct pn_state *state,
		 const struct pn_archive_query *query, struct pn_plan *plan) {
	*plan = (struct pn_plan){
		.archive = archive,
		.with = PN_WITH_ALL,
		.main = {1, state->next},
		.page = {1, state->next},
		.start = -INFINITY,
		.end = INFINITY,
		.reverse = query->reverse,
	};
	int err = plan_ids(store, query, plan);
	if (err == PN_OK)
		err = plan_page(store, query, plan);
	if (err == PN_OK)
		err = plan_time(store, state, query, plan);
	if (err != PN_OK)
		return err;
	return query->with.bytes != NULL ? pn_with_find(store, archive, query->with, &plan->with)
					 : 1;
}

void pn_plan_free(struct pn_plan *plan) {
	pn_free(plan->ids);
	plan->ids = NULL;
}

/* ---- What matches ---- */

static bool match_time(const struct pn_plan *plan, double when) {
	return when >= plan->start && when <= plan->end;
}

static int match_with(struct pn_store *store, const struct pn_plan *plan, uint32_t with) {
	struct pn_str name;
	uint32_t bare;
	if (plan->with == PN_WITH_ALL || with == plan->with)
		return 1;
	if (with == 0)
		return 0;
	const int err = pn_with_name(store, plan->archive, with, &name, &bare);
	return err != PN_OK ? err : bare == plan->with;
}

/* Reads the message `seq` and says whether it matches in time and correspondent. */
static int read_match(struct pn_store *store, const struct pn_plan *plan, uint64_t seq,
		      struct pn_stored *stored) {
	const struct pn_key key = pn_key_seq(plan->archive, PN_KIND_MESSAGE, seq);
	struct pn_wire value;
	const int found = pn_get(store, &key, &value);
	if (found <= 0)
		return found;
	const int err = pn_stored_read(value, stored);
	if (err != PN_OK)
		return err;
	return match_time(plan, stored->when) ? match_with(store, plan, stored->with) : 0;
}

/* ---- Counting ---- */

/* Counts one exception: it may be missing in the main range, or be too much there. */
static int count_exception(struct pn_store *store, const struct pn_plan *plan, uint64_t seq,
			   double when, uint64_t *count) {
	const struct pn_key key = pn_key_seq(plan->archive, PN_KIND_MESSAGE, seq);
	const bool inside = seq >= plan->main.from && seq < plan->main.to;
	struct pn_wire value;
	struct pn_stored stored = {0};
	if (inside == match_time(plan, when))
		return PN_OK;
	int match = 1;
	if (plan->with != PN_WITH_ALL) {
		match = pn_get(store, &key, &value);
		if (match > 0)
			match = pn_stored_read(value, &stored);
		if (match == PN_OK)
			match = match_with(store, plan, stored.with);
	}
	if (match > 0)
		*count += inside ? UINT64_MAX : 1; /* one less, or one more */
	return match < 0 ? match : PN_OK;
}

static int count_exceptions(struct pn_store *store, const struct pn_plan *plan, uint64_t *count) {
	const struct pn_key start = pn_key_seq(plan->archive, PN_KIND_EXCEPTION, 0);
	struct pn_cursor cursor;
	uint64_t seq;
	int err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = pn_cursor_seek(&cursor, &start);
	while (err > 0 && on_seq(&cursor, PN_KIND_EXCEPTION, plan->archive, &seq)) {
		const double when = pn_wire_f64(&cursor.value);
		err = count_exception(store, plan, seq, when, count);
		if (err == PN_OK)
			err = pn_cursor_next(&cursor);
	}
	pn_cursor_close(&cursor);
	return err < 0 ? err : PN_OK;
}

int pn_plan_count(struct pn_store *store, const struct pn_plan *plan, uint64_t *count) {
	struct pn_stored stored;
	*count = 0;
	if (plan->ids == NULL) {
		const int err = pn_range_count(store, plan->archive, plan->with, plan->main, count);
		return err == PN_OK && plan->exceptions ? count_exceptions(store, plan, count)
							: err;
	}
	for (size_t i = 0; i < plan->ids_count; i++) {
		const int match = read_match(store, plan, plan->ids[i], &stored);
		if (match < 0)
			return match;
		*count += match > 0;
	}
	return PN_OK;
}

/* ---- Walking ---- */

/* The index of the first of the plan's ids that is not below `seq`. */
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

/* The next of the plan's ids within the page. */
static int next_id(struct pn_store *store, const struct pn_plan *plan, uint64_t *seq,
		   struct pn_stored *stored) {
	const size_t from = lower_bound(plan, max(plan->page.from, plan->reverse ? 0 : *seq + 1));
	const bool begun = plan->reverse && *seq != 0;
	const size_t to = lower_bound(plan, begun ? min(*seq, plan->page.to) : plan->page.to);
	for (size_t i = from; i < to; i++) {
		const uint64_t id = plan->ids[plan->reverse ? to - 1 - (i - from) : i];
		const int match = read_match(store, plan, id, stored);
		if (match != 0) {
			*seq = id;
			return match;
		}
	}
	return 0;
}

/* A part of the page, and the index that gives its messages in order. */
struct segment {
	struct pn_range range;
	enum pn_kind kind; /* message, with or exception */
};

/* Cuts the page in up to three segments, in order of seq. */
static int cut(const struct pn_plan *plan, struct segment segments[3]) {
	const enum pn_kind kind = plan->with == PN_WITH_ALL ? PN_KIND_MESSAGE : PN_KIND_WITH;
	const struct pn_range below = {1, plan->main.from};
	const struct pn_range above = {plan->main.to, UINT64_MAX};
	int count = 0;
	if (plan->exceptions)
		segments[count++] =
			(struct segment){intersect(plan->page, below), PN_KIND_EXCEPTION};
	segments[count++] = (struct segment){intersect(plan->page, plan->main), kind};
	if (plan->exceptions)
		segments[count++] =
			(struct segment){intersect(plan->page, above), PN_KIND_EXCEPTION};
	return count;
}

static struct pn_key segment_key(const struct pn_plan *plan, enum pn_kind kind, uint64_t seq) {
	return kind == PN_KIND_WITH ? pn_key_with(plan->archive, plan->with, seq)
				    : pn_key_seq(plan->archive, kind, seq);
}

static bool on_segment(const struct pn_cursor *cursor, const struct pn_plan *plan,
		       enum pn_kind kind, uint64_t *seq) {
	return kind == PN_KIND_WITH ? on_with(cursor, plan->archive, plan->with, seq)
				    : on_seq(cursor, kind, plan->archive, seq);
}

/* Moves the cursor to the first place of the range, or beyond *seq: 1 and *seq, or 0. */
static int step(const struct pn_plan *plan, struct segment segment, struct pn_cursor *cursor,
		uint64_t *seq) {
	uint64_t at;
	int found;
	const bool placed = *seq != 0 && cursor->key.bytes != NULL &&
			    on_segment(cursor, plan, segment.kind, &at) && at == *seq;
	if (plan->reverse) {
		const uint64_t bound = *seq != 0 ? min(*seq, segment.range.to) : segment.range.to;
		const struct pn_key key = segment_key(plan, segment.kind, bound);
		found = placed ? pn_cursor_previous(cursor) : pn_cursor_seek_before(cursor, &key);
	} else {
		const uint64_t bound = max(*seq + 1, segment.range.from);
		const struct pn_key key = segment_key(plan, segment.kind, bound);
		found = placed ? pn_cursor_next(cursor) : pn_cursor_seek(cursor, &key);
	}
	if (found <= 0 || !on_segment(cursor, plan, segment.kind, &at))
		return found < 0 ? found : 0;
	if (at < segment.range.from || at >= segment.range.to)
		return 0;
	*seq = at;
	return 1;
}

/* Whether the message at the cursor matches; sets *stored. */
static int look(struct pn_store *store, const struct pn_plan *plan, enum pn_kind kind,
		const struct pn_cursor *cursor, uint64_t seq, struct pn_stored *stored) {
	if (kind != PN_KIND_MESSAGE)
		return read_match(store, plan, seq, stored);
	const int err = pn_stored_read(cursor->value, stored);
	return err != PN_OK ? err : match_time(plan, stored->when);
}

static int walk_segment(struct pn_store *store, const struct pn_plan *plan, struct segment segment,
			struct pn_cursor *cursor, uint64_t *seq, struct pn_stored *stored) {
	uint64_t at = *seq;
	int found;
	if (segment.range.from >= segment.range.to)
		return 0;
	while ((found = step(plan, segment, cursor, &at)) > 0) {
		const int match = look(store, plan, segment.kind, cursor, at, stored);
		if (match != 0) {
			*seq = at;
			return match;
		}
	}
	return found;
}

int pn_plan_next(struct pn_store *store, const struct pn_plan *plan, struct pn_cursor *cursor,
		 uint64_t *seq, struct pn_stored *stored) {
	struct segment segments[3];
	if (plan->ids != NULL)
		return next_id(store, plan, seq, stored);
	const int count = cut(plan, segments);
	for (int i = 0; i < count; i++) {
		const struct segment segment = segments[plan->reverse ? count - 1 - i : i];
		const bool passed = *seq != 0 && (plan->reverse ? *seq <= segment.range.from
								: *seq + 1 >= segment.range.to);
		if (passed)
			continue;
		const int found = walk_segment(store, plan, segment, cursor, seq, stored);
		if (found != 0)
			return found;
	}
	return 0;
}
