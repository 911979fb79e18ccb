/* Appending and changing single messages. */
#include <math.h>

#include <pn/err.h>

#include "archive.h"

enum {
	APPEND_PUTS = 5,     /* message, state, two indexes, key */
	MESSAGE_FIELDS = 64, /* bytes of a message beside its stanza and its key, at most */
	REPLACE_PUTS = 8,    /* of the deletion of the message that had the key */
	SET_PUTS = 8,        /* as an append, and out of two indexes into two others */
	/* Bytes a message, where a peer's index is numbered anew: key and value of an entry, with
	 * LMDB's, on pages that are half full. */
	RENUMBER = 32,
};

/* ---- Appending ---- */

/* Before anything is changed: whether there is room. Returns the seq of the message that the new
 * one replaces, 0 if there is none. */
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

static void enter(struct pn_archive *archive, const struct pn_message *message,
		  struct pn_stored *stored) {
	struct pn_archive_state *const state = &archive->state;
	const uint64_t seq = state->next++;
	struct pn_peers peers = {0, 0};
	if (message->with.bytes != NULL)
		peers = pn_peer_make(archive, message->with);
	stored->peer = peers.peer;
	stored->out_of_order = message->when < state->latest;
	stored->latest = stored->out_of_order ? state->latest : message->when;
	state->count += 1;
	state->bytes += pn_message_put(archive, seq, stored);
	state->latest = stored->latest;
	if (peers.peer != 0)
		pn_peer_add(archive, peers.peer, seq);
	if (peers.bare != 0)
		pn_peer_add(archive, peers.bare, seq);
	if (stored->key.bytes != NULL)
		pn_id_put(archive, stored->key, seq);
	pn_message_list(archive, seq, false, stored);
	pn_archive_write_state(archive);
}

/* Returns the seq of the new message. */
static uint64_t append(struct pn_archive *archive, const struct pn_store *store,
		       struct pn_user user, const struct pn_message *message,
		       struct pn_stored *stored, uint64_t quota) {
	struct pn_txn *const txn = archive->txn;
	const uint64_t replaced = check_append(archive, stored->key, quota);
	if (txn->err == PN_OK && archive->number == 0)
		archive->number = pn_collection_make(txn, store, user);
	if (replaced != 0) {
		pn_txn_claim_more(txn, REPLACE_PUTS, 0);
		pn_message_delete(archive, replaced);
	}
	const uint64_t seq = archive->state.next;
	if (txn->err == PN_OK)
		enter(archive, message, stored);
	return seq;
}

int pn_archive_append(struct pn_db *db, const struct pn_store *store, struct pn_user user,
		      const struct pn_message *message, struct pn_str key, uint64_t quota,
		      char id[PN_ARCHIVE_ID_LEN]) {
	struct pn_txn txn;
	struct pn_archive archive;
	struct pn_stored stored = {
		.when = message->when,
		.key = key,
		.stanza = message->stanza,
	};
	if (!isfinite(message->when))
		return PN_EINVAL;
	const size_t largest = message->stanza.len + key.len + MESSAGE_FIELDS;
	pn_txn_write(db, &txn,
		     (struct pn_claim){
			     .puts = APPEND_PUTS,
			     .bytes = 2 * (largest + message->with.len),
			     .largest = largest,
		     });
	stored.epoch = pn_db_epoch(db); /* which a turn that has failed just now has changed */
	pn_archive_open(&archive, &txn, store, user);
	const uint64_t seq = append(&archive, store, user, message, &stored, quota);
	if (key.bytes == NULL)
		pn_id_make(&archive, seq, stored.epoch, id);
	return pn_txn_end(&txn, PN_OK);
}

/* ---- Changing ---- */

struct change {
	struct pn_str stanza;
	const double *when;
	const struct pn_str *with;
};

static bool is_in(uint32_t peer, const struct pn_peers *peers) {
	return peer == peers->peer || peer == peers->bare;
}

/* Moves a message from one peer to another. First in, then out: one that both have in common is not
 * forgotten meanwhile. */
static void change_peer(struct pn_archive *archive, uint64_t seq, struct pn_str name,
			struct pn_stored *stored) {
	struct pn_peers before = {stored->peer, 0};
	struct pn_str before_name;
	if (before.peer != 0)
		pn_peer_name(archive, before.peer, &before_name, &before.bare);
	const struct pn_peers now = pn_peer_make(archive, name);
	if (now.peer == before.peer)
		return;
	stored->peer = now.peer;
	if (!is_in(now.peer, &before))
		pn_peer_add(archive, now.peer, seq);
	if (now.bare != 0 && !is_in(now.bare, &before))
		pn_peer_add(archive, now.bare, seq);
	if (before.peer != 0 && !is_in(before.peer, &now))
		pn_peer_remove(archive, before.peer, seq);
	if (before.bare != 0 && !is_in(before.bare, &now))
		pn_peer_remove(archive, before.bare, seq);
}

/* The value that it replaces is borrowed: `key` is where its own key is kept meanwhile. */
static void change_message(struct pn_archive *archive, uint64_t seq, const struct change *change,
			   struct pn_buf *key) {
	struct pn_stored stored;
	size_t bytes = 0;
	if (!pn_message_get(archive, seq, &stored, &bytes)) {
		pn_txn_fail(archive->txn, PN_ECORRUPT);
		return;
	}
	const bool was = stored.out_of_order;
	if (stored.key.bytes != NULL) {
		pn_buf_append(key, stored.key.bytes, stored.key.len);
		stored.key.bytes = stored.key.len > 0 ? (const char *)key->data : "";
		pn_txn_fail(archive->txn, key->err);
	}
	stored.stanza = change->stanza;
	if (change->when != NULL)
		stored.when = *change->when;
	stored.out_of_order = stored.when != stored.latest;
	if (change->with != NULL)
		change_peer(archive, seq, *change->with, &stored);
	archive->state.bytes += pn_message_put(archive, seq, &stored) - bytes;
	pn_message_list(archive, seq, was, &stored);
	pn_archive_write_state(archive);
}

int pn_archive_set(struct pn_db *db, const struct pn_store *store, struct pn_user user,
		   struct pn_str id, struct pn_str stanza, const double *when,
		   const struct pn_str *with) {
	const struct change change = {stanza, when, with};
	struct pn_txn txn;
	struct pn_archive archive;
	struct pn_buf key = {0};
	if (when != NULL && !isfinite(*when))
		return PN_EINVAL;
	pn_txn_write(db, &txn,
		     (struct pn_claim){
			     .puts = SET_PUTS,
			     .bytes = 2 * stanza.len,
			     .largest = stanza.len + MESSAGE_FIELDS,
		     });
	const bool exists = pn_archive_open(&archive, &txn, store, user);
	const uint64_t seq = exists ? pn_id_find(&archive, id) : 0;
	if (seq == 0)
		pn_txn_fail(&txn, PN_ENOTFOUND);
	if (with != NULL)
		pn_txn_claim_more(&txn, 0, archive.state.count * RENUMBER);
	if (txn.err == PN_OK)
		change_message(&archive, seq, &change, &key);
	pn_buf_free(&key);
	return pn_txn_end(&txn, PN_OK);
}
