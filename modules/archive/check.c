/* Checks the records of archives against the records that depend on them. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include <pn/err.h>
#include <pn/pack.h>

#include "archive.h"

enum { TEXT = 240 }; /* bytes of a sentence: above the longest, whose values are numbers */

/* Above every position. */
static const uint64_t END = UINT64_MAX >> 24;

typedef unsigned long long ull; /* for printf */

__attribute__((format(printf, 2, 3))) static void report(struct pn_archive_check *check,
							 const char *format, ...) {
	char text[TEXT];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	check->problem(check->context, text);
}

/* Whether the transaction has failed with PN_ECORRUPT. Clears the error: the caller reports it. */
static bool is_damaged(struct pn_archive_check *check) {
	if (check->txn->err != PN_ECORRUPT)
		return false;
	pn_txn_take(check->txn);
	return true;
}

/* ---- Messages ---- */

/* All positions between two neighbours must be deleted ones. */
static void check_gap(struct pn_archive_check *check, const struct pn_archive *archive,
		      uint32_t peer, struct pn_range gap) {
	if (gap.to <= gap.from) {
		report(check, "peer %u of archive %u: position %llu follows %llu", peer,
		       archive->number, (ull)gap.to, (ull)gap.from);
		return;
	}
	const uint64_t deleted =
		pn_deleted_count(archive, peer, (struct pn_range){gap.from + 1, gap.to});
	if (check->txn->err == PN_OK && deleted != gap.to - gap.from - 1)
		report(check,
		       "peer %u of archive %u: between positions %llu and %llu %llu are deleted",
		       peer, archive->number, (ull)gap.from, (ull)gap.to, (ull)deleted);
}

static void check_index(struct pn_archive_check *check, const struct pn_archive *archive,
			uint32_t peer, uint64_t seq) {
	struct pn_index index;
	if (peer == 0)
		return;
	pn_index_open(&index, archive, peer);
	const bool found = pn_index_seek(&index, seq) && index.seq == seq;
	pn_index_close(&index);
	if (!found && check->txn->err == PN_OK)
		report(check, "message %llu of archive %u is missing in the index of peer %u",
		       (ull)seq, archive->number, peer);
}

/* Sets *bare to the bare form of a message's peer. Returns whether it could be read. */
static bool check_peer(struct pn_archive_check *check, const struct pn_archive *archive,
		       uint64_t seq, uint32_t peer, uint32_t *bare) {
	struct pn_str name;
	if (pn_peer_name(archive, peer, &name, bare))
		return true;
	if (is_damaged(check))
		report(check, "peer %u of message %llu of archive %u does not exist", peer,
		       (ull)seq, archive->number);
	return false;
}

static void check_peer_of(struct pn_archive_check *check, const struct pn_archive *archive,
			  uint64_t seq, const struct pn_stored *stored) {
	uint32_t bare = 0;
	if (stored->peer == 0 || !check_peer(check, archive, seq, stored->peer, &bare))
		return;
	check_index(check, archive, stored->peer, seq);
	check_index(check, archive, bare, seq);
}

/* Whether the message is deleted, and not erased yet. */
static bool is_deleted(const struct pn_archive *archive, uint64_t seq,
		       const struct pn_stored *stored) {
	struct pn_archive marked = {.txn = archive->txn, .number = archive->number};
	pn_marks_read(&marked);
	return pn_marks_cover(&marked, seq, stored);
}

static void check_key_of(struct pn_archive_check *check, const struct pn_archive *archive,
			 uint64_t seq, const struct pn_stored *stored) {
	struct pn_wire value;
	if (stored->key.bytes == NULL)
		return;
	const struct pn_key key =
		pn_name_key(check->txn, archive->number, PN_KIND_NAME, stored->key);
	const bool found = pn_get(check->txn, &key, &value) && pn_wire_u64(&value) == seq;
	if (!found && check->txn->err == PN_OK && !is_deleted(archive, seq, stored))
		report(check, "message %llu of archive %u cannot be found by its key", (ull)seq,
		       archive->number);
}

/* Whether the list has the message, with its time. */
static bool is_listed(const struct pn_archive *archive, uint32_t list, uint64_t seq,
		      const struct pn_stored *stored) {
	double when = 0;
	return pn_unordered_get(archive, list, seq, &when) && when == stored->when;
}

/* Whether a record of format 1 has it. */
static bool has_old_record(const struct pn_archive *archive, uint64_t seq,
			   const struct pn_stored *stored) {
	const struct pn_key key = pn_key_seq(archive->number, PN_KIND_LISTED, seq);
	struct pn_wire value;
	return pn_get(archive->txn, &key, &value) && pn_wire_f64(&value) == stored->when;
}

/* That a message in order is in no list is checked there. */
static void check_order_of(struct pn_archive_check *check, const struct pn_archive *archive,
			   uint64_t seq, const struct pn_stored *stored) {
	if (!stored->out_of_order)
		return;
	check->out_of_order++;
	const struct pn_peers peers = pn_peers_of(archive, stored->peer);
	const bool found = is_listed(archive, PN_PEER_ALL, seq, stored) &&
			   (peers.peer == 0 || is_listed(archive, peers.peer, seq, stored)) &&
			   (peers.bare == 0 || is_listed(archive, peers.bare, seq, stored));
	const bool damaged = is_damaged(check);
	if (damaged || (!found && !has_old_record(archive, seq, stored)))
		report(check,
		       "message %llu of archive %u disagrees with the list of messages out of "
		       "order",
		       (ull)seq, archive->number);
}

/* A message that is earlier than the one before must be the first of a run. */
static void check_run_of(struct pn_archive_check *check, const struct pn_archive *archive,
			 struct pn_range since, double latest) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_RUN);
	const struct pn_key end = pn_key_seq(archive->number, PN_KIND_RUN, since.to + 1);
	struct pn_cursor cursor;
	bool begins = latest >= check->latest;
	if (!begins) {
		pn_cursor_open(archive->txn, &cursor, &prefix);
		begins = pn_cursor_seek_before(&cursor, &end) && pn_seq_of(cursor.key) > since.from;
		pn_cursor_close(&cursor);
	}
	if (!begins)
		report(check, "message %llu of archive %u has an earlier time than the one before",
		       (ull)since.to, archive->number);
}

/* Whether the stanza can be read. Fails for lack of memory. */
static bool check_stanza(struct pn_archive_check *check, struct pn_str stanza) {
	struct pn_buf packed = {0};
	struct pn_wire tokens;
	int err = pn_decompress(pn_db_compressor(check->txn->db), stanza, &packed);
	if (err == PN_OK)
		err = pn_unpack((struct pn_str){(char *)packed.data, packed.len}, &tokens);
	pn_buf_free(&packed);
	if (err == PN_ENOMEM)
		pn_txn_fail(check->txn, err);
	return err == PN_OK;
}

static void check_message(struct pn_archive_check *check, const struct pn_archive *archive,
			  const struct pn_cursor *cursor) {
	const uint64_t seq = pn_seq_of(cursor->key);
	struct pn_stored stored;
	if (check->archive != archive->number) {
		check->archive = archive->number;
		check->messages = check->bytes = check->out_of_order = 0;
		check->seq = 0;
		check->latest = -INFINITY;
	}
	if (check->messages++ > 0)
		check_gap(check, archive, PN_PEER_ALL, (struct pn_range){check->seq, seq});
	const struct pn_range since = {check->seq, seq};
	check->seq = seq;
	const bool parsed = pn_stored_parse(cursor->value, &stored);
	check->bytes += cursor->size + (parsed ? stored.saved : 0);
	if (!parsed || !check_stanza(check, stored.stanza)) {
		report(check, "cannot read message %llu of archive %u", (ull)seq, archive->number);
		return;
	}
	check_run_of(check, archive, since, stored.latest);
	check->latest = stored.latest;
	check_peer_of(check, archive, seq, &stored);
	check_key_of(check, archive, seq, &stored);
	check_order_of(check, archive, seq, &stored);
}

/* ---- Indexes: each entry refers to a message that refers back ---- */

/* Whether the record at the cursor refers to a message that can be read. */
static bool check_reference(struct pn_archive_check *check, const struct pn_archive *archive,
			    const struct pn_cursor *cursor, uint64_t seq,
			    struct pn_stored *stored) {
	if (pn_message_get(archive, seq, stored, NULL))
		return true;
	if (is_damaged(check) || check->txn->err == PN_OK)
		report(check,
		       "a record of kind %c of archive %u refers to message %llu, which does not "
		       "exist",
		       cursor->key.bytes[5], archive->number, (ull)seq);
	return false;
}

static void check_entry(struct pn_archive_check *check, const struct pn_archive *archive,
			const struct pn_cursor *cursor, uint32_t peer, uint64_t seq) {
	struct pn_stored stored;
	uint32_t bare = 0;
	if (!check_reference(check, archive, cursor, seq, &stored) || stored.peer == peer)
		return;
	if (stored.peer != 0 && !check_peer(check, archive, seq, stored.peer, &bare))
		return;
	if (bare != peer)
		report(check, "message %llu of archive %u is in the index of peer %u by mistake",
		       (ull)seq, archive->number, peer);
}

/* Counts the entries of a peer's index, and checks each, and the order of both. */
static uint64_t count_entries(struct pn_archive_check *check, const struct pn_archive *archive,
			      uint32_t peer, const struct pn_cursor *cursor) {
	uint64_t count = 0, seq = 0, ordinal = 0;
	struct pn_index index;
	pn_index_open(&index, archive, peer);
	for (bool any = pn_index_seek(&index, 0); any; any = pn_index_next(&index)) {
		if (count++ > 0)
			check_gap(check, archive, peer, (struct pn_range){ordinal, index.ordinal});
		if (index.seq <= seq)
			report(check, "peer %u of archive %u: message %llu follows %llu", peer,
			       archive->number, (ull)index.seq, (ull)seq);
		check_entry(check, archive, cursor, peer, index.seq);
		seq = index.seq;
		ordinal = index.ordinal;
	}
	pn_index_close(&index);
	return count;
}

/* Compares the positions of a peer with the entries of its index. */
static void check_count(struct pn_archive_check *check, const struct pn_archive *archive,
			uint32_t peer, const struct pn_cursor *cursor) {
	const uint64_t positions = pn_range_count(archive, peer, (struct pn_range){0, END});
	if (is_damaged(check)) {
		report(check, "cannot read the index of peer %u of archive %u", peer,
		       archive->number);
		return;
	}
	const uint64_t entries = count_entries(check, archive, peer, cursor);
	if (check->txn->err == PN_OK && entries != positions)
		report(check, "peer %u of archive %u has %llu positions, but %llu messages", peer,
		       archive->number, (ull)positions, (ull)entries);
}

/* The record q. */
static void check_peer_record(struct pn_archive_check *check, const struct pn_archive *archive,
			      const struct pn_cursor *cursor) {
	struct pn_archive whole;
	struct pn_str name;
	uint32_t number, peer = 0, bare;
	if (!pn_key_read_peer_id(cursor->key, &number, &peer) ||
	    !pn_peer_name(archive, peer, &name, &bare) ||
	    !pn_archive_open_number(&whole, check->txn, archive->number)) {
		pn_txn_fail(check->txn, PN_ECORRUPT);
		return;
	}
	if (pn_peer_find(&whole, name) != peer && check->txn->err == PN_OK)
		report(check, "peer %u of archive %u cannot be found by its name", peer,
		       archive->number);
	check_count(check, archive, peer, cursor);
}

/* The record p: refers to a peer of this name. */
static void check_peer_name(struct pn_archive_check *check, const struct pn_archive *archive,
			    uint32_t peer) {
	struct pn_str name;
	uint32_t bare;
	const bool read = pn_peer_name(archive, peer, &name, &bare);
	if (is_damaged(check))
		report(check, "cannot read peer %u of archive %u", peer, archive->number);
	else if (read && pn_peer_named(archive, name) != peer && check->txn->err == PN_OK)
		report(check, "peer %u of archive %u has another name", peer, archive->number);
}

/* The record w: its peer exists. The messages are checked along with that. */
static void check_chunk(struct pn_archive_check *check, const struct pn_archive *archive,
			const struct pn_cursor *cursor) {
	struct pn_str name;
	uint32_t number, peer = 0, bare;
	uint64_t seq;
	if (!pn_key_read_peer(cursor->key, &number, &peer, &seq))
		pn_txn_fail(check->txn, PN_ECORRUPT);
	else if (!pn_peer_name(archive, peer, &name, &bare) && is_damaged(check))
		report(check, "cannot read peer %u of archive %u", peer, archive->number);
}

/* A message in a list must be out of order. */
static void check_listed(struct pn_archive_check *check, const struct pn_archive *archive,
			 const struct pn_cursor *cursor, uint64_t seq, uint32_t list) {
	struct pn_stored stored;
	if (!check_reference(check, archive, cursor, seq, &stored))
		return;
	const struct pn_peers peers = pn_peers_of(archive, stored.peer);
	if (!stored.out_of_order ||
	    (list != PN_PEER_ALL && list != peers.peer && list != peers.bare))
		report(check, "message %llu of archive %u is listed as out of order by mistake",
		       (ull)seq, archive->number);
}

static void check_unordered(struct pn_archive_check *check, const struct pn_archive *archive,
			    const struct pn_cursor *cursor) {
	struct pn_area leaf;
	double when;
	if (!pn_unordered_check(archive, cursor, &leaf)) {
		is_damaged(check);
		report(check,
		       "a record of archive %u disagrees with the others of its messages out of "
		       "order",
		       archive->number);
	}
	for (uint64_t seq = leaf.range.from; seq < leaf.range.to; seq++) {
		if (pn_unordered_get(archive, leaf.list, seq, &when))
			check_listed(check, archive, cursor, seq, leaf.list);
	}
}

/* Whether the messages in the range, which begins or ends at `seq`, have times within bounds: looks
 * at the one next to `seq`. */
static bool is_bounded(const struct pn_archive *archive, struct pn_range range, uint64_t seq,
		       double least, double greatest) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_MESSAGE);
	const struct pn_key key = pn_message_key(archive, seq);
	struct pn_stored stored;
	struct pn_cursor cursor;
	pn_cursor_open(archive->txn, &cursor, &prefix);
	const bool any = seq == range.from ? pn_cursor_seek(&cursor, &key)
					   : pn_cursor_seek_before(&cursor, &key);
	const uint64_t at = any ? pn_seq_of(cursor.key) : 0;
	const bool read =
		at >= range.from && at < range.to && pn_stored_parse(cursor.value, &stored);
	pn_cursor_close(&cursor);
	return !read || (stored.latest >= least && stored.latest <= greatest);
}

/* Whether no message in the range is in order. */
static bool is_disordered(const struct pn_archive *archive, struct pn_range range) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_MESSAGE);
	const struct pn_key from = pn_message_key(archive, range.from);
	struct pn_stored stored;
	struct pn_cursor cursor;
	bool disordered = true;
	pn_cursor_open(archive->txn, &cursor, &prefix);
	for (bool any = pn_cursor_seek(&cursor, &from); any && disordered;
	     any = pn_cursor_next(&cursor)) {
		if (pn_seq_of(cursor.key) >= range.to)
			break;
		disordered = pn_stored_parse(cursor.value, &stored) && stored.out_of_order;
	}
	pn_cursor_close(&cursor);
	return disordered;
}

static void check_boundary(struct pn_archive_check *check, const struct pn_archive *archive,
			   struct pn_wire value, uint64_t seq) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_RUN);
	const struct pn_key key = pn_key_seq(archive->number, PN_KIND_RUN, seq);
	const struct pn_key above = pn_key_seq(archive->number, PN_KIND_RUN, seq + 1);
	const uint64_t end = pn_wire_u64(&value);
	const double latest = pn_wire_f64(&value);
	const double start = pn_wire_f64(&value);
	struct pn_range before = {0, seq}, after = {seq, END};
	struct pn_cursor cursor;
	pn_cursor_open(archive->txn, &cursor, &prefix);
	if (pn_cursor_seek_before(&cursor, &key))
		before.from = pn_seq_of(cursor.key);
	if (pn_cursor_seek(&cursor, &above))
		after.to = pn_seq_of(cursor.key);
	pn_cursor_close(&cursor);
	if (value.err != PN_OK || seq == 0 || end > seq ||
	    !is_disordered(archive, (struct pn_range){end, seq}) ||
	    !is_bounded(archive, before, seq, -INFINITY, latest) ||
	    !is_bounded(archive, after, seq, start, INFINITY))
		report(check, "the run of archive %u that begins at message %llu has wrong times",
		       archive->number, (ull)seq);
}

/* Reports an archive without messages: check_state() would never see it. */
static void check_not_empty(struct pn_archive_check *check, const struct pn_archive *archive) {
	if (pn_range_count(archive, PN_PEER_ALL, (struct pn_range){0, END}) == 0 &&
	    check->txn->err == PN_OK)
		report(check, "archive %u has no messages", archive->number);
}

/* ---- The walk ---- */

static void check_kind(struct pn_archive_check *check, const struct pn_archive *archive,
		       enum pn_kind kind, const struct pn_cursor *cursor) {
	struct pn_wire value = cursor->value;
	struct pn_stored stored;
	switch (kind) {
	case PN_KIND_STATE:
		check_not_empty(check, archive);
		break;
	case PN_KIND_MESSAGE:
		check_message(check, archive, cursor);
		break;
	case PN_KIND_LISTED:
		check_listed(check, archive, cursor, pn_seq_of(cursor->key), PN_PEER_ALL);
		break;
	case PN_KIND_UNORDERED:
		check_unordered(check, archive, cursor);
		break;
	case PN_KIND_RUN:
		check_boundary(check, archive, value, pn_seq_of(cursor->key));
		break;
	case PN_KIND_PEER:
		check_chunk(check, archive, cursor);
		break;
	case PN_KIND_PEER_ID:
		check_peer_record(check, archive, cursor);
		break;
	case PN_KIND_PEER_NAME:
		check_peer_name(check, archive, pn_wire_u32(&value));
		break;
	case PN_KIND_NAME:
		check_reference(check, archive, cursor, pn_wire_u64(&value), &stored);
		break;
	default:
		break;
	}
}

void pn_archive_check_record(struct pn_archive_check *check, uint32_t number, enum pn_kind kind,
			     const struct pn_cursor *cursor) {
	const struct pn_archive archive = {.txn = check->txn, .number = number};
	check_kind(check, &archive, kind, cursor);
	if (is_damaged(check))
		report(check, "cannot read a record of archive %u", number);
}

static uint64_t count_records(const struct pn_archive *archive, enum pn_kind kind) {
	const struct pn_key prefix = pn_archive_prefix(archive, kind);
	struct pn_cursor cursor;
	uint64_t count = 0;
	pn_cursor_open(archive->txn, &cursor, &prefix);
	for (bool any = pn_cursor_first(&cursor); any; any = pn_cursor_next(&cursor))
		count++;
	pn_cursor_close(&cursor);
	return count;
}

/* Checks the fields of the state that concern times. */
static void check_times(struct pn_archive_check *check, const struct pn_archive *archive) {
	const struct pn_archive_state *const state = &archive->state;
	const uint64_t runs = count_records(archive, PN_KIND_RUN);
	const uint64_t listed = count_records(archive, PN_KIND_LISTED);
	if (check->latest > state->latest)
		report(check, "archive %u has messages that are later than its latest one",
		       check->archive);
	if (state->streak > state->next ||
	    !is_disordered(archive, (struct pn_range){state->next - state->streak, state->next}))
		report(check, "archive %u counts %llu messages out of order in a row at its end",
		       check->archive, (ull)state->streak);
	if (runs != state->runs)
		report(check, "archive %u counts %llu runs, but has %llu", check->archive,
		       (ull)state->runs, (ull)runs);
	if (listed != state->listed || state->unordered + listed != check->out_of_order)
		report(check, "archive %u counts %llu and %llu messages out of order, but has %llu",
		       check->archive, (ull)state->listed, (ull)state->unordered,
		       (ull)check->out_of_order);
}

/* The number of messages that marks delete; of those in two of them, twice. */
static uint64_t count_marked(const struct pn_archive *archive) {
	struct pn_archive unmarked = *archive;
	struct pn_plan plan;
	uint64_t count = 0;
	unmarked.marks.count = 0;
	for (unsigned i = 0; i < archive->marks.count; i++) {
		pn_plan_mark(&unmarked, &archive->marks.marks[i], &plan);
		count += pn_plan_count(&unmarked, &plan);
		pn_plan_free(&plan);
	}
	return count;
}

void pn_archive_check_marks(struct pn_archive_check *check, uint32_t number) {
	struct pn_archive archive;
	if (!pn_archive_open_number(&archive, check->txn, number)) {
		if (is_damaged(check))
			report(check, "cannot read the marks of archive %u", number);
		return;
	}
	const uint64_t marked = count_marked(&archive);
	if (is_damaged(check))
		report(check, "cannot count the deleted messages of archive %u", number);
	else if (check->txn->err == PN_OK && (marked == 0 || archive.marks.count == 0))
		report(check, "archive %u has marks, but no deleted messages", number);
}

/* Compares the sums over the archive's messages with its state. */
static void check_state(struct pn_archive_check *check) {
	struct pn_archive archive;
	if (!pn_archive_open_number(&archive, check->txn, check->archive)) {
		if (is_damaged(check))
			report(check, "cannot read the state of archive %u", check->archive);
		return;
	}
	const struct pn_archive_state *const state = &archive.state;
	const uint64_t positions =
		pn_range_count(&archive, PN_PEER_ALL, (struct pn_range){0, state->next});
	const uint64_t marked = count_marked(&archive);
	if (check->txn->err != PN_OK)
		return;
	if (state->count + state->marked != check->messages || state->bytes != check->bytes)
		report(check, "archive %u counts %llu messages of %llu bytes, but has %llu of %llu",
		       check->archive, (ull)(state->count + state->marked), (ull)state->bytes,
		       (ull)check->messages, (ull)check->bytes);
	if (state->marked != marked)
		report(check, "archive %u counts %llu deleted messages, but has %llu",
		       check->archive, (ull)state->marked, (ull)marked);
	if (positions != check->messages)
		report(check, "archive %u has %llu positions, but %llu messages", check->archive,
		       (ull)positions, (ull)check->messages);
	check_times(check, &archive);
}

void pn_archive_check_passed(struct pn_archive_check *check, const struct pn_cursor *cursor) {
	uint32_t archive = 0;
	uint64_t seq;
	if (check->archive == 0)
		return;
	if (cursor != NULL && pn_key_read_seq(cursor->key, PN_KIND_MESSAGE, &archive, &seq) &&
	    archive == check->archive)
		return;
	check_state(check);
	check->archive = 0;
}
