/*
 * Archives of format 1: each message that is out of order has a record e, by seq, and a query looks
 * at every one. They are read as they are, and appending to an archive converts them little by
 * little.
 */
#include <pn/err.h>

#include "archive.h"

enum {
	CONVERT = 8, /* with each message that is appended: of many, so that none takes long */
};

/* ---- Reading ---- */

/* The time of the message at the cursor. */
static double when_of(const struct pn_cursor *cursor) {
	struct pn_wire value = cursor->value;
	const double when = pn_wire_f64(&value);
	pn_txn_sound(cursor->txn, &value);
	return when;
}

/* Whether a message is of the peer. */
static bool is_of(const struct pn_archive *archive, uint64_t seq, uint32_t peer) {
	struct pn_stored stored;
	if (peer == PN_PEER_ALL)
		return true;
	if (!pn_message_get(archive, seq, &stored, NULL))
		return false;
	return stored.peer == peer || pn_peers_of(archive, stored.peer).bare == peer;
}

/* Moves to the next message in the area, from the record at the cursor on. Returns its seq, 0 at
 * the end. */
static uint64_t next_match(const struct pn_archive *archive, struct pn_cursor *cursor, bool any,
			   const struct pn_area *area, bool reverse) {
	while (any) {
		const uint64_t seq = pn_seq_of(cursor->key);
		const double when = when_of(cursor);
		if (seq < area->range.from || seq >= area->range.to || archive->txn->err != PN_OK)
			return 0;
		if (when >= area->start && when <= area->end && is_of(archive, seq, area->list))
			return seq;
		any = reverse ? pn_cursor_previous(cursor) : pn_cursor_next(cursor);
	}
	return 0;
}

static void open_cursor(const struct pn_archive *archive, struct pn_cursor *cursor) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_LISTED);
	pn_cursor_open(archive->txn, cursor, &prefix);
}

/* Moves to the first message in the area, or the last one. */
static uint64_t first_match(const struct pn_archive *archive, struct pn_cursor *cursor,
			    const struct pn_area *area, bool reverse) {
	const uint64_t from = reverse ? area->range.to : area->range.from;
	const struct pn_key key =
		pn_key_seq(archive->number, PN_KIND_LISTED, pn_min(from, PN_SEQ_END - 1));
	const bool any =
		reverse ? pn_cursor_seek_before(cursor, &key) : pn_cursor_seek(cursor, &key);
	return next_match(archive, cursor, any, area, reverse);
}

uint64_t pn_listed_find(const struct pn_archive *archive, const struct pn_area *area,
			bool reverse) {
	struct pn_cursor cursor;
	open_cursor(archive, &cursor);
	const uint64_t seq = first_match(archive, &cursor, area, reverse);
	pn_cursor_close(&cursor);
	return seq;
}

uint64_t pn_listed_count(const struct pn_archive *archive, const struct pn_area *area) {
	struct pn_cursor cursor;
	uint64_t count = 0;
	open_cursor(archive, &cursor);
	uint64_t seq = first_match(archive, &cursor, area, false);
	for (; seq != 0; count++)
		seq = next_match(archive, &cursor, pn_cursor_next(&cursor), area, false);
	pn_cursor_close(&cursor);
	return count;
}

void pn_listed_spans(const struct pn_archive *archive,
		     bool (*span)(void *context, double least, double greatest), void *context) {
	struct pn_cursor cursor;
	open_cursor(archive, &cursor);
	for (bool any = pn_cursor_first(&cursor); any; any = pn_cursor_next(&cursor)) {
		const double when = when_of(&cursor);
		if (archive->txn->err == PN_OK)
			span(context, when, when);
	}
	pn_cursor_close(&cursor);
}

/* ---- Changing ---- */

bool pn_listed_remove(struct pn_archive *archive, uint64_t seq) {
	const struct pn_key key = pn_key_seq(archive->number, PN_KIND_LISTED, seq);
	if (archive->state.listed == 0 || !pn_remove(archive->txn, &key))
		return false;
	archive->state.listed -= 1;
	return true;
}

/* The seq of the first record e, 0 if there is none. */
static uint64_t first_listed(const struct pn_archive *archive) {
	const struct pn_area all = pn_area_all(PN_PEER_ALL);
	return pn_listed_find(archive, &all, false);
}

void pn_listed_convert(struct pn_archive *archive) {
	struct pn_txn *const txn = archive->txn;
	struct pn_stored stored;
	pn_txn_claim_more(txn, CONVERT, 0);
	for (int i = 0; i < CONVERT && archive->state.listed > 0 && txn->err == PN_OK; i++) {
		const uint64_t seq = first_listed(archive);
		const bool exists = pn_message_get(archive, seq, &stored, NULL);
		if (!pn_listed_remove(archive, seq))
			pn_txn_fail(txn, PN_ECORRUPT);
		else if (exists)
			pn_unordered_add(archive, seq, stored.when,
					 pn_peers_of(archive, stored.peer));
	}
}
