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
	const struct pn_key key = pn_key_peer(archive->number, peer, seq);
	struct pn_wire value;
	if (peer != 0 && !pn_get(check->txn, &key, &value) && check->txn->err == PN_OK)
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

static void check_key_of(struct pn_archive_check *check, const struct pn_archive *archive,
			 uint64_t seq, const struct pn_stored *stored) {
	struct pn_wire value;
	if (stored->key.bytes == NULL)
		return;
	const struct pn_key key =
		pn_name_key(check->txn, archive->number, PN_KIND_NAME, stored->key);
	const bool found = pn_get(check->txn, &key, &value) && pn_wire_u64(&value) == seq;
	if (!found && check->txn->err == PN_OK)
		report(check, "message %llu of archive %u cannot be found by its key", (ull)seq,
		       archive->number);
}

static void check_order_of(struct pn_archive_check *check, const struct pn_archive *archive,
			   uint64_t seq, const struct pn_stored *stored) {
	const struct pn_key key = pn_key_seq(archive->number, PN_KIND_OUT_OF_ORDER, seq);
	struct pn_wire value;
	const bool listed = pn_get(check->txn, &key, &value);
	if (check->txn->err == PN_OK &&
	    (stored->out_of_order != listed || (listed && pn_wire_f64(&value) != stored->when)))
		report(check,
		       "message %llu of archive %u disagrees with the list of messages out of "
		       "order",
		       (ull)seq, archive->number);
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
		check->messages = check->bytes = 0;
		check->latest = -INFINITY;
	}
	if (check->messages++ > 0)
		check_gap(check, archive, PN_PEER_ALL, (struct pn_range){check->seq, seq});
	check->seq = seq;
	const bool parsed = pn_stored_parse(cursor->value, &stored);
	check->bytes += cursor->size + (parsed ? stored.saved : 0);
	if (!parsed || !check_stanza(check, stored.stanza)) {
		report(check, "cannot read message %llu of archive %u", (ull)seq, archive->number);
		return;
	}
	if (stored.latest < check->latest)
		report(check, "message %llu of archive %u has an earlier time than the one before",
		       (ull)seq, archive->number);
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
			const struct pn_cursor *cursor) {
	struct pn_stored stored;
	uint32_t number, peer = 0, bare = 0;
	uint64_t seq = 0;
	if (!pn_key_read_peer(cursor->key, &number, &peer, &seq)) {
		pn_txn_fail(check->txn, PN_ECORRUPT);
		return;
	}
	if (!check_reference(check, archive, cursor, seq, &stored) || stored.peer == peer)
		return;
	if (stored.peer != 0 && !check_peer(check, archive, seq, stored.peer, &bare))
		return;
	if (bare != peer)
		report(check, "message %llu of archive %u is in the index of peer %u by mistake",
		       (ull)seq, archive->number, peer);
}

/* Counts the entries of a peer's index, and checks the ordinals. */
static uint64_t count_entries(struct pn_archive_check *check, const struct pn_archive *archive,
			      uint32_t peer) {
	const struct pn_key prefix = pn_peer_prefix(archive, peer);
	struct pn_cursor cursor;
	uint64_t count = 0, before = 0;
	pn_cursor_open(check->txn, &cursor, &prefix);
	for (bool any = pn_cursor_first(&cursor); any; any = pn_cursor_next(&cursor)) {
		const uint64_t ordinal = pn_wire_u32(&cursor.value);
		if (count++ > 0)
			check_gap(check, archive, peer, (struct pn_range){before, ordinal});
		before = ordinal;
	}
	pn_cursor_close(&cursor);
	return count;
}

/* Compares the positions of a peer with the entries of its index. */
static void check_count(struct pn_archive_check *check, const struct pn_archive *archive,
			uint32_t peer) {
	const uint64_t positions = pn_range_count(archive, peer, (struct pn_range){0, END});
	if (is_damaged(check)) {
		report(check, "cannot read the index of peer %u of archive %u", peer,
		       archive->number);
		return;
	}
	const uint64_t entries = count_entries(check, archive, peer);
	if (check->txn->err == PN_OK && entries != positions)
		report(check, "peer %u of archive %u has %llu positions, but %llu messages", peer,
		       archive->number, (ull)positions, (ull)entries);
}

static void check_peer_name(struct pn_archive_check *check, const struct pn_archive *archive,
			    uint32_t peer) {
	struct pn_str name;
	uint32_t bare;
	if (!pn_peer_name(archive, peer, &name, &bare)) {
		if (is_damaged(check))
			report(check, "cannot read peer %u of archive %u", peer, archive->number);
		return;
	}
	if (pn_peer_find(archive, name) != peer && check->txn->err == PN_OK)
		report(check, "peer %u of archive %u cannot be found by its name", peer,
		       archive->number);
	check_count(check, archive, peer);
}

static void check_listed(struct pn_archive_check *check, const struct pn_archive *archive,
			 const struct pn_cursor *cursor) {
	const uint64_t seq = pn_seq_of(cursor->key);
	struct pn_stored stored;
	if (check_reference(check, archive, cursor, seq, &stored) && !stored.out_of_order)
		report(check, "message %llu of archive %u is listed as out of order by mistake",
		       (ull)seq, archive->number);
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
	case PN_KIND_OUT_OF_ORDER:
		check_listed(check, archive, cursor);
		break;
	case PN_KIND_PEER:
		check_entry(check, archive, cursor);
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
	if (check->txn->err != PN_OK)
		return;
	if (state->count != check->messages || state->bytes != check->bytes)
		report(check, "archive %u counts %llu messages of %llu bytes, but has %llu of %llu",
		       check->archive, (ull)state->count, (ull)state->bytes, (ull)check->messages,
		       (ull)check->bytes);
	if (positions != check->messages)
		report(check, "archive %u has %llu positions, but %llu messages", check->archive,
		       (ull)positions, (ull)check->messages);
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
