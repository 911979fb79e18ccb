/* Reading and writing the state of an archive, and its messages. */
#include <math.h>

#include <pn/err.h>

#include "archive.h"

/* ---- State ---- */

static bool is_sound(const struct pn_archive_state *state) {
	return !isnan(state->latest) && state->next > 0 && state->next <= PN_SEQ_END &&
	       state->count < state->next && state->marked < state->next - state->count;
}

bool pn_archive_open_number(struct pn_archive *archive, struct pn_txn *txn, uint32_t number) {
	struct pn_archive_state *const state = &archive->state;
	struct pn_wire value;
	*archive = (struct pn_archive){.txn = txn, .number = number};
	*state = (struct pn_archive_state){.next = 1, .latest = -INFINITY, .next_peer = 1};
	if (number == 0)
		return false;
	const struct pn_key key = pn_archive_prefix(archive, PN_KIND_STATE);
	if (!pn_get(txn, &key, &value)) {
		pn_txn_fail(txn, PN_ECORRUPT);
		return false;
	}
	state->next = pn_wire_u64(&value);
	state->count = pn_wire_u64(&value);
	state->bytes = pn_wire_u64(&value);
	state->latest = pn_wire_f64(&value);
	state->next_peer = pn_wire_u32(&value);
	state->listed = pn_wire_u64(&value);
	if (value.left > 0) { /* not in format 1 */
		state->unordered = pn_wire_u64(&value);
		state->runs = pn_wire_u32(&value);
		state->streak = pn_wire_u64(&value);
		state->marked = pn_wire_u64(&value);
	}
	if (pn_txn_sound(txn, &value) && !is_sound(state))
		pn_txn_fail(txn, PN_ECORRUPT);
	archive->counted = state->bytes;
	if (state->marked > 0)
		pn_marks_read(archive);
	return txn->err == PN_OK;
}

bool pn_archive_open(struct pn_archive *archive, struct pn_txn *txn, const struct pn_store *store,
		     struct pn_user user) {
	const bool exists =
		pn_archive_open_number(archive, txn, pn_collection_find(txn, store, user));
	archive->store = store;
	return exists;
}

static void count_bytes(struct pn_archive *archive) {
	const int64_t grown = (int64_t)(archive->state.bytes - archive->counted);
	pn_digest host;
	archive->counted = archive->state.bytes;
	if (archive->store != NULL)
		pn_host_changed(archive->txn, archive->store->host_digest, archive->number, grown);
	else if (grown != 0 && pn_collection_host(archive->txn, archive->number, host))
		pn_host_changed(archive->txn, host, archive->number, grown);
}

void pn_archive_write_state(struct pn_archive *archive) {
	const struct pn_archive_state *const state = &archive->state;
	const struct pn_key key = pn_archive_prefix(archive, PN_KIND_STATE);
	struct pn_buf value = pn_value();
	pn_wire_put_u64(&value, state->next);
	pn_wire_put_u64(&value, state->count);
	pn_wire_put_u64(&value, state->bytes);
	pn_wire_put_f64(&value, state->latest);
	pn_wire_put_u32(&value, state->next_peer);
	pn_wire_put_u64(&value, state->listed);
	if (state->unordered > 0 || state->runs > 0 || state->streak > 0 || state->marked > 0) {
		pn_wire_put_u64(&value, state->unordered);
		pn_wire_put_u32(&value, state->runs);
		pn_wire_put_u64(&value, state->streak);
		pn_wire_put_u64(&value, state->marked);
	}
	pn_put(archive->txn, &key, &value);
	count_bytes(archive);
}

void pn_archive_drop(struct pn_archive *archive) {
	pn_collection_drop(archive->txn, archive->number, archive->counted);
}

void pn_archive_size(struct pn_txn *txn, uint32_t number, uint64_t *messages, uint64_t *bytes) {
	struct pn_archive archive;
	pn_archive_open_number(&archive, txn, number);
	*messages = archive.state.count;
	*bytes = archive.state.bytes;
}

/* ---- Messages ---- */

enum { OUT_OF_ORDER = 1, KEYED = 2 };

/* 0 for a stanza that is damaged. */
static size_t find_saved(struct pn_str stanza) {
	const int size = pn_decompressed_size(stanza);
	return size >= 0 && (size_t)size > stanza.len ? (size_t)size - stanza.len : 0;
}

int pn_stored_compress(struct pn_db *db, struct pn_str packed, struct pn_stored *stored) {
	const int err = pn_compress(pn_db_compressor(db), packed, &stored->stanza);
	stored->saved = err == PN_OK ? packed.len - stored->stanza.len : 0;
	return err;
}

struct pn_key pn_archive_prefix(const struct pn_archive *archive, enum pn_kind kind) {
	return pn_key_record(archive->number, kind);
}

struct pn_key pn_message_key(const struct pn_archive *archive, uint64_t seq) {
	return pn_key_seq(archive->number, PN_KIND_MESSAGE, seq);
}

uint64_t pn_seq_of(struct pn_str key) {
	uint32_t archive;
	uint64_t seq;
	return pn_key_read_seq(key, PN_KIND_MESSAGE, &archive, &seq) ||
			       pn_key_read_seq(key, PN_KIND_LISTED, &archive, &seq) ||
			       pn_key_read_seq(key, PN_KIND_RUN, &archive, &seq)
		       ? seq
		       : 0;
}

bool pn_stored_parse(struct pn_wire value, struct pn_stored *stored) {
	const uint8_t flags = pn_wire_u8(&value);
	stored->epoch = pn_wire_u32(&value);
	stored->peer = pn_wire_u32(&value);
	stored->when = pn_wire_f64(&value);
	stored->out_of_order = (flags & OUT_OF_ORDER) != 0;
	stored->latest = stored->out_of_order ? pn_wire_f64(&value) : stored->when;
	stored->key = (struct pn_str){NULL, 0};
	if (flags & KEYED)
		stored->key.bytes = pn_wire_bytes(&value, &stored->key.len);
	stored->stanza = (struct pn_str){(const char *)value.pos, value.left};
	stored->saved = find_saved(stored->stanza);
	return value.err == PN_OK && flags <= (OUT_OF_ORDER | KEYED) && isfinite(stored->when) &&
	       !isnan(stored->latest);
}

bool pn_stored_read(struct pn_txn *txn, struct pn_wire value, struct pn_stored *stored) {
	if (pn_txn_sound(txn, &value) && !pn_stored_parse(value, stored))
		pn_txn_fail(txn, PN_ECORRUPT);
	return txn->err == PN_OK;
}

bool pn_message_get(const struct pn_archive *archive, uint64_t seq, struct pn_stored *stored,
		    size_t *bytes) {
	const struct pn_key key = pn_message_key(archive, seq);
	struct pn_wire value;
	if (!pn_get(archive->txn, &key, &value))
		return false;
	if (!pn_stored_read(archive->txn, value, stored))
		return false;
	if (bytes != NULL)
		*bytes = key.len + 1 + value.left + stored->saved;
	return true;
}

size_t pn_message_put(const struct pn_archive *archive, uint64_t seq,
		      const struct pn_stored *stored) {
	const struct pn_key key = pn_message_key(archive, seq);
	const int ordered = stored->out_of_order ? OUT_OF_ORDER : 0;
	const int keyed = stored->key.bytes != NULL ? KEYED : 0;
	struct pn_buf value = pn_value();
	pn_wire_put_u8(&value, (uint8_t)(ordered | keyed));
	pn_wire_put_u32(&value, stored->epoch);
	pn_wire_put_u32(&value, stored->peer);
	pn_wire_put_f64(&value, stored->when);
	if (stored->out_of_order)
		pn_wire_put_f64(&value, stored->latest);
	if (keyed)
		pn_wire_put_bytes(&value, stored->key.bytes, (uint32_t)stored->key.len);
	pn_buf_append(&value, stored->stanza.bytes, stored->stanza.len);
	return pn_put(archive->txn, &key, &value) + stored->saved;
}
