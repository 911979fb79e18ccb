/* Deleting what a query selects, and the days of an archive. */
#include <math.h>
#include <string.h>

#include <pn/err.h>

#include "archive.h"

enum {
	DELETE_PUTS = 4, /* of a slice: neighbours share their pages, so that few are changed */
	SLICE_MAX = 65536,
	PER_MESSAGE = 400, /* bytes, on average, of pages that the deletion of one changes */
	DAY = 86400,
};

static bool selects_all(const struct pn_archive_query *query, struct pn_archive_truncate truncate) {
	return !truncate.wanted && !query->has_start && !query->has_end &&
	       query->with.bytes == NULL && query->before.bytes == NULL &&
	       query->after.bytes == NULL && query->ids == NULL && query->key.bytes == NULL;
}

/* The number of messages that match, page and all. */
static int count_page(struct pn_store *store, const struct pn_plan *plan,
		      const struct pn_state *state, uint64_t *count) {
	struct pn_cursor cursor;
	struct pn_stored stored;
	uint64_t seq = 0;
	if (plan->page.from == 1 && plan->page.to == state->next)
		return pn_plan_count(store, plan, count);
	*count = 0;
	int err = pn_cursor_open(store, &cursor);
	while (err >= 0 && (err = pn_plan_next(store, plan, &cursor, &seq, &stored)) > 0)
		*count += 1;
	pn_cursor_close(&cursor);
	return err;
}

/* How many of those that match are to go: at most `limit`. */
static int count_victims(struct pn_store *store, const struct pn_plan *plan,
			 const struct pn_state *state, struct pn_archive_truncate truncate,
			 uint64_t *victims) {
	uint64_t count;
	*victims = UINT64_MAX;
	if (!truncate.wanted)
		return PN_OK;
	const int err = count_page(store, plan, state, &count);
	if (err == PN_OK)
		*victims = count > truncate.keep ? count - truncate.keep : 0;
	return err;
}

/* Deletes up to `limit` in the plan's order. Returns 1 if it stopped for the limit. */
static int delete_matches(struct pn_store *store, const struct pn_plan *plan,
			  struct pn_state *state, uint64_t limit, uint64_t *count) {
	uint64_t seq = 0;
	for (uint64_t i = 0; i < limit; i++) {
		struct pn_cursor cursor;
		struct pn_stored stored;
		int err = pn_cursor_open(store, &cursor);
		if (err == PN_OK)
			err = pn_plan_next(store, plan, &cursor, &seq, &stored);
		pn_cursor_close(&cursor);
		if (err > 0)
			err = pn_message_delete(store, plan->archive, seq, state);
		else
			return err;
		if (err != PN_OK)
			return err;
		*count += 1;
	}
	return 1;
}

static int delete_planned(struct pn_store *store, struct pn_plan *plan, struct pn_state *state,
			  struct pn_archive_truncate truncate, uint64_t limit, uint64_t *count) {
	uint64_t victims, done = 0;
	int err = count_victims(store, plan, state, truncate, &victims);
	if (err != PN_OK)
		return err;
	err = delete_matches(store, plan, state, victims < limit ? victims : limit, &done);
	const int more = err > 0 && victims > limit;
	if (err >= 0 && done > 0)
		err = state->count > 0 ? pn_state_write(store, plan->archive, state)
				       : pn_collection_drop(store, plan->archive);
	if (err < 0)
		return err;
	*count += done;
	return more;
}

static int delete_from(struct pn_store *store, uint32_t archive,
		       const struct pn_archive_query *query, struct pn_archive_truncate truncate,
		       uint64_t limit, uint64_t *count) {
	struct pn_state state;
	struct pn_plan plan;
	int err = pn_state_read(store, archive, &state);
	if (err <= 0)
		return err < 0 ? err : PN_ECORRUPT;
	if (selects_all(query, truncate)) {
		*count += state.count;
		return pn_collection_drop(store, archive);
	}
	err = pn_plan_make(store, archive, &state, query, &plan);
	if (err > 0)
		err = delete_planned(store, &plan, &state, truncate, limit, count);
	pn_plan_free(&plan);
	return err;
}

int pn_archive_delete(struct pn_store *store, const struct pn_space *space, struct pn_user user,
		      const struct pn_archive_query *query, struct pn_archive_truncate truncate,
		      uint64_t limit, uint64_t *count) {
	uint32_t archive;
	uint64_t done = 0;
	const bool bounded = query->before.bytes != NULL || query->after.bytes != NULL;
	limit = limit < SLICE_MAX ? limit : SLICE_MAX;
	if (query->key.bytes != NULL)
		limit = 1;
	int err = pn_call_write(store, (struct pn_claim){.puts = DELETE_PUTS,
							 .bytes = (size_t)limit * PER_MESSAGE,
							 .removes = true});
	if (err != PN_OK)
		return err;
	const int found = pn_collection_find(store, space, user, &archive);
	if (found > 0)
		err = delete_from(store, archive, query, truncate, limit, &done);
	else
		err = found == 0 && bounded ? PN_ENOTFOUND : found;
	pn_call_refund(store, (size_t)(limit - (done < limit ? done : limit)) * PER_MESSAGE);
	err = pn_call_end(store, err);
	if (err >= 0)
		*count += done;
	return err;
}

/* ---- Of all users ---- */

/* The archive of the space that comes after the position: 1, or 0 if there is none. */
static int next_archive(struct pn_store *store, const struct pn_space *space,
			struct pn_archive_position *position, uint32_t *archive) {
	const struct pn_key prefix =
		pn_key_place(PN_KIND_DIRECTORY, space->place, space->type, NULL);
	struct pn_key start =
		pn_key_place(PN_KIND_DIRECTORY, space->place, space->type, position->user);
	struct pn_cursor cursor;
	if (position->begun)
		start.bytes[start.len++] = 0;
	else
		start = prefix;
	int err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = pn_cursor_seek(&cursor, &start);
	if (err > 0 && !pn_key_is_place(cursor.key, &prefix))
		err = pn_key_starts_with(cursor.key, &prefix) ? PN_ECORRUPT : 0;
	if (err > 0) {
		*archive = pn_wire_u32(&cursor.value);
		memcpy(position->user, cursor.key.bytes + prefix.len, PN_DIGEST);
		position->begun = true;
	}
	pn_cursor_close(&cursor);
	return err;
}

static int delete_of_user(struct pn_store *store, uint32_t archive,
			  const struct pn_archive_query *query, uint64_t limit, uint64_t *count) {
	static const struct pn_archive_truncate none = {false, 0};
	struct pn_names names;
	const int err = pn_collection_names(store, archive, &names);
	if (err != PN_OK || names.user.bytes == NULL)
		return err;
	return delete_from(store, archive, query, none, limit, count);
}

/* Moves past the archive at `next`, of which so many messages were deleted. */
static void pass(struct pn_archive_position *position, struct pn_archive_position next,
		 uint64_t *left, uint64_t done) {
	*position = next;
	*left -= *left < done + 1 ? *left : done + 1; /* looking at it takes time, too */
}

/* Deletes from the next archive. Returns 1, with *left what is left of the slice, or 0 at the end.
 */
static int delete_next(struct pn_store *store, const struct pn_space *space,
		       const struct pn_archive_query *query, struct pn_archive_position *position,
		       uint64_t *left, uint64_t *count) {
	struct pn_archive_position next = *position;
	uint32_t archive;
	uint64_t done = 0;
	int err = pn_call_write(store, (struct pn_claim){.puts = DELETE_PUTS,
							 .bytes = (size_t)*left * PER_MESSAGE,
							 .removes = true});
	if (err != PN_OK)
		return err;
	const int found = next_archive(store, space, &next, &archive);
	err = found > 0 ? delete_of_user(store, archive, query, *left, &done) : found;
	pn_call_refund(store, (size_t)(*left - (done < *left ? done : *left)) * PER_MESSAGE);
	err = pn_call_end(store, err);
	if (found > 0 && (err == PN_ECORRUPT || err == PN_EVERSION)) {
		next.damaged++;
		pass(position, next, left, 0);
		return 1;
	}
	if (found <= 0 || err < 0)
		return err;
	*count += done;
	if (err > 0)
		*left = 0; /* the same once more, next time */
	else
		pass(position, next, left, done);
	return 1;
}

int pn_archive_delete_all(struct pn_store *store, const struct pn_space *space,
			  const struct pn_archive_query *query,
			  struct pn_archive_position *position, uint64_t limit, uint64_t *count) {
	uint64_t left = limit < SLICE_MAX ? limit : SLICE_MAX;
	int err;
	do {
		err = delete_next(store, space, query, position, &left, count);
	} while (err > 0 && left > 0);
	return err;
}

/* ---- Days ---- */

static int put_day(struct pn_buf *days, double when) {
	const double day = floor(when / DAY) * DAY;
	double before;
	if (days->len >= sizeof(before)) {
		struct pn_wire last = pn_wire_open(days->data + days->len - 8, 8);
		if (pn_wire_f64(&last) == day)
			return PN_OK;
	}
	pn_wire_put_f64(days, day);
	return days->err;
}

/*
 * The days of the messages that are no exceptions: from each day's first message to the first of
 * a later day by bisection. Those of the exceptions follow, in no order.
 */
static int list_days(struct pn_store *store, uint32_t archive, const struct pn_state *state,
		     struct pn_buf *days) {
	struct pn_cursor cursor;
	uint32_t found_archive;
	uint64_t seq = 0, later = 0;
	int err = pn_cursor_open(store, &cursor);
	while (err >= 0) {
		const struct pn_key key = pn_key_seq(archive, PN_KIND_MESSAGE, seq);
		struct pn_stored stored;
		err = pn_cursor_seek(&cursor, &key);
		if (err <= 0 ||
		    !pn_key_read_seq(cursor.key, PN_KIND_MESSAGE, &found_archive, &seq) ||
		    found_archive != archive)
			break;
		err = pn_stored_read(cursor.value, &stored);
		if (err != PN_OK)
			break;
		if (stored.exception) {
			seq++; /* its day comes with the exceptions' */
			continue;
		}
		const double next = (floor(stored.when / DAY) + 1) * DAY;
		err = put_day(days, stored.when);
		if (err == PN_OK)
			err = pn_time_find(store, archive, state, next, false, &later);
		seq = later > seq ? later
				  : seq + 1; /* a day far off is no more than the one before */
	}
	pn_cursor_close(&cursor);
	return err < 0 ? err : PN_OK;
}

static int list_exceptions(struct pn_store *store, uint32_t archive, struct pn_buf *days) {
	const struct pn_key start = pn_key_seq(archive, PN_KIND_EXCEPTION, 0);
	struct pn_cursor cursor;
	uint32_t found_archive;
	uint64_t seq;
	int err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = pn_cursor_seek(&cursor, &start);
	while (err > 0 && pn_key_read_seq(cursor.key, PN_KIND_EXCEPTION, &found_archive, &seq) &&
	       found_archive == archive) {
		err = put_day(days, pn_wire_f64(&cursor.value));
		if (err == PN_OK)
			err = pn_cursor_next(&cursor);
	}
	pn_cursor_close(&cursor);
	return err < 0 ? err : PN_OK;
}

int pn_archive_dates(struct pn_store *store, const struct pn_space *space, struct pn_user user,
		     struct pn_buf *days) {
	struct pn_state state;
	uint32_t archive;
	int err = pn_call_read(store);
	if (err != PN_OK)
		return err;
	const int found = pn_collection_find(store, space, user, &archive);
	if (found <= 0)
		return pn_call_end(store, found);
	err = pn_state_read(store, archive, &state);
	err = err > 0 ? list_days(store, archive, &state, days) : PN_ECORRUPT;
	if (err == PN_OK)
		err = list_exceptions(store, archive, days);
	return pn_call_end(store, err);
}
