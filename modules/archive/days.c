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

/*
 * Lists the days of the messages that are in order: skips from the first message of a day to the
 * first one of a later day by bisection.
 */
static void list_days(const struct pn_archive *archive, struct pn_buf *days) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_MESSAGE);
	struct pn_cursor cursor;
	struct pn_stored stored;
	struct pn_key key = pn_message_key(archive, 0);
	pn_cursor_open(archive->txn, &cursor, &prefix);
	while (pn_cursor_seek(&cursor, &key)) {
		uint64_t seq = pn_seq_of(cursor.key);
		if (seq == 0 || !pn_stored_read(archive->txn, cursor.value, &stored))
			break;
		if (pn_marks_cover(archive, seq, &stored)) {
			const struct pn_range *const skip =
				pn_marks_skip(archive, PN_PEER_ALL, seq);
			seq = skip != NULL ? skip->to - 1 : seq;
		} else if (!stored.out_of_order) {
			put_day(days, stored.when);
			const double tomorrow = day_of(stored.when) + DAY;
			const uint64_t later = pn_time_find(archive, tomorrow, false);
			/* far in the future, `tomorrow` may round to the same number */
			seq = later > seq ? later - 1 : seq;
		}
		key = pn_message_key(archive, seq + 1);
	}
	pn_cursor_close(&cursor);
}

static bool is_deleted(const struct pn_archive *archive, uint64_t seq) {
	struct pn_stored stored;
	return archive->marks.count > 0 && pn_message_get(archive, seq, &stored, NULL) &&
	       pn_marks_cover(archive, seq, &stored);
}

static void list_out_of_order(const struct pn_archive *archive, struct pn_buf *days) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_OUT_OF_ORDER);
	struct pn_cursor cursor;
	pn_cursor_open(archive->txn, &cursor, &prefix);
	for (bool any = pn_cursor_first(&cursor); any; any = pn_cursor_next(&cursor)) {
		const double when = pn_wire_f64(&cursor.value);
		if (pn_txn_sound(archive->txn, &cursor.value) &&
		    !is_deleted(archive, pn_seq_of(cursor.key)))
			put_day(days, when);
	}
	pn_cursor_close(&cursor);
}

int pn_archive_dates(const struct pn_store *store, struct pn_user user, struct pn_buf *days) {
	struct pn_txn txn;
	struct pn_archive archive;
	pn_txn_read(store->db, &txn);
	if (pn_archive_open(&archive, &txn, store, user)) {
		list_days(&archive, days);
		list_out_of_order(&archive, days);
	}
	pn_txn_fail(&txn, days->err);
	return pn_txn_end(&txn, PN_OK);
}
