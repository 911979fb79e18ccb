/* The days on which an archive has messages. */
#include <math.h>

#include <pn/err.h>

#include "archive.h"

enum { DAY = 86400 };

static double day_of(double when) {
	return floor(when / DAY) * DAY;
}

/* Appends the day of a time, unless it is the last one in `days`. */
static void put_day(struct pn_buf *days, double when) {
	const double day = day_of(when);
	if (days->len >= sizeof(day)) {
		struct pn_wire last =
			pn_wire_open(days->data + days->len - sizeof(day), sizeof(day));
		if (pn_wire_f64(&last) == day)
			return;
	}
	pn_wire_put_f64(days, day);
}

/* Lists the days of the messages of a run that are in order: skips from the first message of a day
 * to the first one of a later day by bisection. */
static void list_run(const struct pn_archive *archive, const struct pn_run *run,
		     struct pn_buf *days) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_MESSAGE);
	struct pn_cursor cursor;
	struct pn_stored stored;
	struct pn_key key = pn_message_key(archive, run->range.from);
	pn_cursor_open(archive->txn, &cursor, &prefix);
	while (pn_cursor_seek(&cursor, &key)) {
		uint64_t seq = pn_seq_of(cursor.key);
		if (seq == 0 || seq >= run->range.to ||
		    !pn_stored_read(archive->txn, cursor.value, &stored))
			break;
		if (!stored.out_of_order) {
			put_day(days, stored.when);
			const double tomorrow = day_of(stored.when) + DAY;
			const uint64_t later = pn_time_find(archive, run, tomorrow, false);
			/* far in the future, `tomorrow` may round to the same number */
			seq = later > seq ? later - 1 : seq;
		}
		key = pn_message_key(archive, seq + 1);
	}
	pn_cursor_close(&cursor);
}

static void list_runs(const struct pn_archive *archive, struct pn_buf *days) {
	struct pn_runs runs;
	pn_runs_open(&runs, archive);
	while (pn_runs_next(&runs))
		list_run(archive, &runs.run, days);
	pn_runs_close(&runs);
}

/* Lists the day of messages that are all of the same. */
static bool list_span(void *context, double least, double greatest) {
	struct pn_buf *const days = context;
	if (day_of(least) != day_of(greatest))
		return true;
	put_day(days, least);
	return false;
}

/* Whether a message of the day is not deleted. */
static bool is_left(const struct pn_archive *archive, double day) {
	const struct pn_mark all = {
		.seqs = {1, archive->state.next},
		.start = day,
		.end = fmax(day, nextafter(day + DAY, -INFINITY)),
	};
	struct pn_plan plan;
	pn_plan_mark(archive, &all, &plan);
	const bool any = pn_plan_count(archive, &plan) > 0;
	pn_plan_free(&plan);
	return any;
}

/* Appends those of the days in `all` on which a message is not deleted. */
static void put_left(const struct pn_archive *archive, const struct pn_buf *all,
		     struct pn_buf *days) {
	struct pn_wire rest = pn_wire_open(all->data, all->len);
	while (rest.left > 0 && archive->txn->err == PN_OK) {
		const double day = pn_wire_f64(&rest);
		if (archive->marks.count == 0 || is_left(archive, day))
			put_day(days, day);
	}
}

int pn_archive_dates(const struct pn_store *store, struct pn_user user, struct pn_buf *days) {
	struct pn_txn txn;
	struct pn_archive archive;
	struct pn_buf all = {0};
	pn_txn_read(store->db, &txn);
	if (pn_archive_open(&archive, &txn, store, user)) {
		list_runs(&archive, &all);
		pn_unordered_spans(&archive, list_span, &all);
		pn_listed_spans(&archive, list_span, &all);
		put_left(&archive, &all, days);
	}
	pn_txn_fail(&txn, all.err);
	pn_txn_fail(&txn, days->err);
	pn_buf_free(&all);
	return pn_txn_end(&txn, PN_OK);
}
