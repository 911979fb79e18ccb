/* Appending messages, and changing single ones. */
#include <math.h>

#include <pn/err.h>

#include "archive.h"

/* Puts and bytes that an operation claims (struct pn_claim). */
enum {
	APPEND_PUTS = 5, /* message, state, index of the peer and of its bare form, key */
	/* Of the record of a message, beside stanza and key: its key (11), the version byte, and
	 * the fields of pn/archive.h (29); rounded up. */
	MESSAGE_FIELDS = 64,
	REPLACE_PUTS = 8, /* as DELETE_PUTS, scattered: another message of the archive is deleted */
	SET_PUTS = 8,     /* message, state; out of two indexes, into two */
	/* Bytes of pages for each message of an archive, if indexes are renumbered: an entry in
	 * that of the peer and one in that of its bare form, 28 bytes each with LMDB's header, on
	 * pages that are half full. Test: "room: changes of peers". */
	RENUMBER = 112,
};

/* ---- Appending ---- */

static struct pn_claim append_claim(const struct pn_message *message, size_t stanza) {
	const size_t largest = stanza + message->id.len + MESSAGE_FIELDS;
	/* twice: a page that is split is left half empty */
	return (struct pn_claim){
		.puts = APPEND_PUTS,
		.bytes = 2 * (largest + message->peer.len),
		.largest = largest,
	};
}

/* Checks the limits, before anything is changed. Returns the seq of the message that the new one
 * replaces, 0 for none. */
static uint64_t check_append(const struct pn_archive *archive, struct pn_str key, uint64_t quota) {
	const struct pn_archive_state *const state = &archive->state;
	uint64_t replaced = 0;
	if (state->next >= PN_SEQ_END)
		pn_txn_fail(archive->txn, PN_EFULL);
	if (archive->number != 0 && key.bytes != NULL)
		replaced = pn_id_find(archive, key);
	if (quota != 0 && replaced == 0 && state->count >= quota)
		pn_txn_fail(archive->txn, PN_EQUOTA);
	return replaced;
}

/* The same for the limit of the host. */
static void check_host(const struct pn_archive *archive, const struct pn_message *message,
		       uint64_t replaced) {
	const size_t after = append_claim(message, message->stanza.len).largest;
	struct pn_stored stored;
	size_t before = 0;
	if (pn_host_has_room(archive->txn, archive->store, after))
		return;
	if (replaced != 0)
		(void)pn_message_get(archive, replaced, &stored, &before);
	pn_host_check(archive->txn, archive->store, before, after);
}

/* Whether a new message is in order, perhaps because it begins a run. */
static bool is_in_order(struct pn_archive *archive, uint64_t seq, double when) {
	struct pn_archive_state *const state = &archive->state;
	if (when < state->latest && !pn_run_is_due(archive)) {
		state->streak++;
		return false;
	}
	if (when < state->latest)
		pn_run_begin(archive, seq, when);
	state->streak = 0;
	return true;
}

/* The stanza of `message` is the one that `compressed` has. */
static void append(struct pn_archive *archive, const struct pn_message *message,
		   const struct pn_stored *compressed, char id[PN_ARCHIVE_ID_LEN]) {
	struct pn_archive_state *const state = &archive->state;
	const uint64_t seq = state->next++;
	struct pn_peers peers = {0, 0};
	if (message->peer.bytes != NULL)
		peers = pn_peer_make(archive, message->peer, seq);
	const bool out_of_order = !is_in_order(archive, seq, message->when);
	const struct pn_stored stored = {
		.epoch = pn_db_epoch(archive->txn->db),
		.peer = peers.peer,
		.when = message->when,
		.latest = out_of_order ? state->latest : message->when,
		.out_of_order = out_of_order,
		.key = message->id,
		.stanza = compressed->stanza,
		.saved = compressed->saved,
	};
	state->count += 1;
	state->bytes += pn_message_put(archive, seq, &stored);
	state->latest = stored.latest;
	const struct pn_key key = pn_message_key(archive, seq);
	const struct pn_key end = pn_message_key(archive, PN_SEQ_END - 1);
	pn_series_extended(archive->txn, &key, &end, state->bytes);
	if (stored.key.bytes != NULL)
		pn_id_put(archive, stored.key, seq);
	else
		pn_id_make(archive, seq, stored.epoch, id);
	if (out_of_order)
		pn_unordered_add(archive, seq, stored.when, peers);
	if (state->listed > 0)
		pn_listed_convert(archive);
	pn_archive_write_state(archive);
}

int pn_archive_append(const struct pn_store *store, struct pn_user user,
		      const struct pn_message *message, uint64_t quota,
		      char id[PN_ARCHIVE_ID_LEN]) {
	struct pn_txn txn;
	struct pn_archive archive;
	struct pn_stored compressed;
	if (!isfinite(message->when))
		return PN_EINVAL;
	const int err = pn_stored_compress(store->db, message->stanza, &compressed);
	if (err != PN_OK)
		return err;
	pn_txn_write(store->db, &txn, append_claim(message, compressed.stanza.len));
	pn_recent_open(&archive, &txn, store, user);
	const uint64_t replaced = check_append(&archive, message->id, quota);
	check_host(&archive, message, replaced);
	if (txn.err == PN_OK && archive.number == 0)
		archive.number = pn_collection_make(&txn, store, user);
	if (replaced != 0) {
		pn_txn_claim_more(&txn, REPLACE_PUTS, 0);
		pn_message_remove(&archive, replaced);
		archive.recent = NULL; /* a peer has changed, or is forgotten */
		archive.state.count -= 1;
	}
	if (txn.err == PN_OK)
		append(&archive, message, &compressed, id);
	const int result = pn_txn_end(&txn, PN_OK);
	pn_recent_close(&archive, user, result);
	return result;
}

/* ---- Changing ---- */

static bool is_in(uint32_t peer, const struct pn_peers *peers) {
	return peer == peers->peer || peer == peers->bare;
}

static void add_to(const struct pn_archive *archive, uint32_t number, uint64_t seq) {
	struct pn_peer peer = {0};
	if (pn_peer_get(archive, number, &peer))
		pn_index_add(archive, &peer, seq);
}

/* Moves a message from one peer to another. Adds first and removes then: otherwise a peer that both
 * have in common could be forgotten in between. */
static void change_peer(struct pn_archive *archive, uint64_t seq, struct pn_str name,
			struct pn_stored *stored) {
	const struct pn_peers before = pn_peers_of(archive, stored->peer);
	const struct pn_peers now = pn_peer_make(archive, name, 0);
	if (now.peer == before.peer)
		return;
	stored->peer = now.peer;
	if (!is_in(now.peer, &before))
		add_to(archive, now.peer, seq);
	if (now.bare != 0 && !is_in(now.bare, &before))
		add_to(archive, now.bare, seq);
	if (before.peer != 0 && !is_in(before.peer, &now))
		pn_peer_remove(archive, before.peer, &seq, 1);
	if (before.bare != 0 && !is_in(before.bare, &now))
		pn_peer_remove(archive, before.bare, &seq, 1);
}

static void remove_out_of_order(struct pn_archive *archive, uint64_t seq, struct pn_peers peers) {
	if (pn_listed_remove(archive, seq))
		return;
	pn_unordered_remove(archive, PN_PEER_ALL, &seq, 1);
	if (peers.peer != 0)
		pn_unordered_remove(archive, peers.peer, &seq, 1);
	if (peers.bare != 0)
		pn_unordered_remove(archive, peers.bare, &seq, 1);
}

/* Moves a message in the lists of those that are out of order, as far as it has changed. */
static void change_order(struct pn_archive *archive, uint64_t seq, const struct pn_stored *before,
			 struct pn_peers peers_before, const struct pn_stored *now) {
	if (before->out_of_order == now->out_of_order && before->when == now->when &&
	    before->peer == now->peer)
		return;
	if (before->out_of_order)
		remove_out_of_order(archive, seq, peers_before);
	if (now->out_of_order)
		pn_unordered_add(archive, seq, now->when, pn_peers_of(archive, now->peer));
}

/* The message's own key is borrowed from the record that is replaced: `key` keeps a copy. */
static void change_message(struct pn_archive *archive, uint64_t seq,
			   const struct pn_archive_change *change,
			   const struct pn_stored *compressed, struct pn_buf *key) {
	struct pn_stored stored;
	size_t bytes = 0;
	if (!pn_message_get(archive, seq, &stored, &bytes)) {
		pn_txn_fail(archive->txn, PN_ECORRUPT);
		return;
	}
	pn_host_check(archive->txn, archive->store, stored.stanza.len + stored.saved,
		      change->stanza.len);
	if (archive->txn->err != PN_OK)
		return;
	const struct pn_stored before = stored;
	const struct pn_peers peers_before = pn_peers_of(archive, stored.peer);
	if (stored.key.bytes != NULL) {
		pn_buf_append(key, stored.key.bytes, stored.key.len);
		stored.key.bytes = stored.key.len > 0 ? (const char *)key->data : "";
		pn_txn_fail(archive->txn, key->err);
	}
	stored.stanza = compressed->stanza;
	stored.saved = compressed->saved;
	if (change->when != NULL)
		stored.when = *change->when;
	/* once out of order, always: it may be outside of the runs */
	stored.out_of_order = stored.out_of_order || stored.when != stored.latest;
	if (change->peer != NULL)
		change_peer(archive, seq, *change->peer, &stored);
	if (pn_marks_cover(archive, seq, &stored) && !pn_marks_spare(archive, seq, &stored))
		pn_txn_fail(archive->txn, PN_EBUSY);
	archive->state.bytes += pn_message_put(archive, seq, &stored) - bytes;
	change_order(archive, seq, &before, peers_before, &stored);
	pn_archive_write_state(archive);
}

int pn_archive_set(const struct pn_store *store, struct pn_user user, struct pn_str id,
		   const struct pn_archive_change *change) {
	const size_t peer_len = change->peer != NULL ? change->peer->len : 0;
	struct pn_txn txn;
	struct pn_archive archive;
	struct pn_buf key = {0};
	struct pn_stored compressed;
	if (change->when != NULL && !isfinite(*change->when))
		return PN_EINVAL;
	const int err = pn_stored_compress(store->db, change->stanza, &compressed);
	if (err != PN_OK)
		return err;
	const size_t len = compressed.stanza.len;
	pn_txn_write(store->db, &txn,
		     (struct pn_claim){
			     .puts = SET_PUTS,
			     .bytes = 2 * (len + peer_len),
			     .largest = len + MESSAGE_FIELDS,
		     });
	const bool exists = pn_archive_open(&archive, &txn, store, user);
	const uint64_t seq = exists ? pn_id_find(&archive, id) : 0;
	if (seq == 0)
		pn_txn_fail(&txn, PN_ENOTFOUND);
	if (change->peer != NULL)
		pn_txn_claim_more(&txn, 0, archive.state.count * RENUMBER);
	if (txn.err == PN_OK)
		change_message(&archive, seq, change, &compressed, &key);
	pn_buf_free(&key);
	return pn_txn_end(&txn, PN_OK);
}
