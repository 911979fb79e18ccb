/* Removing the records of messages, in batches: neighbours share their pages and their indexes. */
#include <stdlib.h>
#include <string.h>

#include <pn/err.h>

#include "archive.h"

enum {
	/*
	 * Bytes of pages that the removal of one message changes. Neighbours share their pages,
	 * and LMDB reuses these in the same transaction: their own bytes are a margin. Scattered
	 * messages change a leaf of the messages and one of each index. Keys and names of peers are
	 * in no order: each that is removed along with a message changes a leaf of its own, and
	 * merges it with another one. Tests: "room: deletions of scattered messages", "... of
	 * neighbours with keys", "... of neighbours with peers of their own".
	 */
	PER_NEIGHBOUR = 400,
	PER_SCATTERED = PN_BATCH_CLAIM / PN_BATCH_SCATTERED,
	PER_LEAF = 8 * 1024,
};

size_t pn_batch_used(const struct pn_batch *batch, const struct pn_archive *archive) {
	const size_t bytes = batch->bytes + (size_t)archive->scattered * PER_LEAF;
	return pn_min(bytes, PN_BATCH_CLAIM);
}

/* ---- Gathering ---- */

/* Finds the list in the batch, or adds it. NULL: there is no room for it. */
static struct pn_batch_list *find_list(struct pn_batch *batch, uint32_t peer) {
	for (unsigned i = batch->lists_count; i > 0; i--) {
		if (batch->lists[i - 1].peer == peer)
			return &batch->lists[i - 1];
	}
	if (batch->lists_count == PN_BATCH_LISTS)
		return NULL;
	batch->leaves += peer != PN_PEER_ALL; /* its name */
	batch->lists[batch->lists_count] = (struct pn_batch_list){.peer = peer};
	return &batch->lists[batch->lists_count++];
}

/* Counts the leaves of a message in a list. Returns whether there is room for the list. */
static bool see_list(struct pn_batch *batch, uint32_t peer, uint64_t seq, bool out_of_order) {
	struct pn_batch_list *const list = find_list(batch, peer);
	if (list == NULL || !out_of_order)
		return list != NULL;
	if (!list->unordered || !pn_unordered_same_block(list->seq, seq))
		batch->leaves += PN_UNORDERED_LEAVES;
	list->unordered = true;
	list->seq = seq;
	return true;
}

static bool see(struct pn_batch *batch, const struct pn_batch_message *message) {
	const struct pn_peers peers = message->peers;
	const bool out_of_order = message->out_of_order;
	batch->leaves += message->keyed;
	return see_list(batch, PN_PEER_ALL, message->seq, out_of_order) &&
	       (peers.peer == 0 || see_list(batch, peers.peer, message->seq, out_of_order)) &&
	       (peers.bare == 0 || see_list(batch, peers.bare, message->seq, out_of_order));
}

static bool is_neighbour(const struct pn_batch *batch, uint64_t seq) {
	if (!batch->scattered)
		return true;
	if (batch->count == 0)
		return false;
	const uint64_t last = batch->messages[batch->count - 1].seq;
	return seq == last + 1 || seq + 1 == last;
}

bool pn_batch_add(struct pn_batch *batch, const struct pn_archive *archive, uint64_t seq,
		  const struct pn_stored *stored) {
	const size_t bytes = is_neighbour(batch, seq) ? PER_NEIGHBOUR : PER_SCATTERED;
	struct pn_batch_message message = {
		.seq = seq,
		.peers = {stored->peer, 0},
		.saved = stored->saved,
		.keyed = stored->key.bytes != NULL,
		.out_of_order = stored->out_of_order,
	};
	if (batch->count == batch->most)
		return false;
	if (batch->count > 0 && batch->messages[batch->count - 1].peers.peer == stored->peer)
		message.peers = batch->messages[batch->count - 1].peers;
	else
		message.peers = pn_peers_of(archive, stored->peer);
	if (archive->txn->err != PN_OK || !see(batch, &message) ||
	    batch->bytes + bytes + (size_t)batch->leaves * PER_LEAF > PN_BATCH_CLAIM)
		return false;
	batch->bytes += bytes;
	batch->messages[batch->count++] = message;
	return true;
}

static void sort(struct pn_batch *batch) {
	const unsigned count = batch->count;
	struct pn_batch_message *const messages = batch->messages;
	if (count < 2 || messages[0].seq < messages[1].seq)
		return;
	for (unsigned i = 0; i < count / 2; i++) {
		const struct pn_batch_message message = messages[i];
		messages[i] = messages[count - 1 - i];
		messages[count - 1 - i] = message;
	}
}

/* ---- Messages ---- */

/* Removes the key of a message, unless a newer message has it. */
static void remove_key(struct pn_archive *archive, uint64_t seq) {
	struct pn_txn *const txn = archive->txn;
	struct pn_stored stored;
	struct pn_wire value;
	if (!pn_message_get(archive, seq, &stored, NULL))
		return;
	const struct pn_key key = pn_name_key(txn, archive->number, PN_KIND_NAME, stored.key);
	if (pn_get(txn, &key, &value) && pn_wire_u64(&value) == seq)
		pn_remove(txn, &key);
	archive->scattered++;
}

/* Removes the keys, and the records e of messages out of order. */
static void remove_names(struct pn_archive *archive, struct pn_batch *batch) {
	for (unsigned i = 0; i < batch->count; i++) {
		struct pn_batch_message *const message = &batch->messages[i];
		if (message->keyed)
			remove_key(archive, message->seq);
		if (message->out_of_order && pn_listed_remove(archive, message->seq))
			message->out_of_order = false; /* it has no records o */
	}
}

static void remove_messages(struct pn_archive *archive, const struct pn_batch *batch) {
	struct pn_txn *const txn = archive->txn;
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_MESSAGE);
	struct pn_cursor cursor;
	pn_cursor_open(txn, &cursor, &prefix);
	for (unsigned i = 0; i < batch->count && txn->err == PN_OK; i++) {
		const struct pn_key key = pn_message_key(archive, batch->messages[i].seq);
		if (cursor.key.bytes == NULL || pn_seq_of(cursor.key) != batch->messages[i].seq)
			(void)pn_cursor_seek(&cursor, &key);
		if (cursor.key.bytes == NULL || pn_seq_of(cursor.key) != batch->messages[i].seq)
			pn_txn_fail(txn, PN_ECORRUPT);
		archive->state.bytes -= cursor.size + batch->messages[i].saved;
		pn_cursor_remove(&cursor);
	}
	pn_cursor_close(&cursor);
}

/* Counts the positions as deleted, except those before the archive's first message. */
static void drop_positions(struct pn_archive *archive, const struct pn_batch *batch) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_MESSAGE);
	uint64_t positions[PN_BATCH_MAX];
	struct pn_cursor cursor;
	uint64_t first = archive->state.next;
	unsigned count = 0;
	if (pn_cursor_find(archive->txn, &cursor, &prefix, NULL)) {
		first = pn_seq_of(cursor.key);
		pn_cursor_close(&cursor);
	}
	for (unsigned i = 0; i < batch->count; i++) {
		if (batch->messages[i].seq > first)
			positions[count++] = batch->messages[i].seq;
	}
	pn_deleted_add(archive, PN_PEER_ALL, positions, count);
	if (count < batch->count && !pn_deleted_same_block(batch->messages[0].seq, first))
		pn_deleted_drop_below(archive, PN_PEER_ALL, first);
}

/* ---- Indexes ---- */

struct entry {
	uint32_t peer;
	uint64_t seq;
};

static int compare(const void *a, const void *b) {
	const struct entry *const first = a, *const second = b;
	if (first->peer != second->peer)
		return first->peer < second->peer ? -1 : 1;
	return (first->seq > second->seq) - (first->seq < second->seq);
}

/* Lists the entries of the messages in the indexes, or in the lists of messages out of order, by
 * peer. Returns their number. */
static unsigned list_entries(const struct pn_batch *batch, bool unordered,
			     struct entry entries[PN_PEER_LISTS * PN_BATCH_MAX]) {
	unsigned count = 0;
	for (unsigned i = 0; i < batch->count; i++) {
		const struct pn_batch_message *const message = &batch->messages[i];
		if (unordered && !message->out_of_order)
			continue;
		if (unordered)
			entries[count++] = (struct entry){PN_PEER_ALL, message->seq};
		if (message->peers.peer != 0)
			entries[count++] = (struct entry){message->peers.peer, message->seq};
		if (message->peers.bare != 0)
			entries[count++] = (struct entry){message->peers.bare, message->seq};
	}
	qsort(entries, count, sizeof(entries[0]), compare);
	return count;
}

static void remove_entries(struct pn_archive *archive, const struct pn_batch *batch,
			   bool unordered) {
	struct entry entries[PN_PEER_LISTS * PN_BATCH_MAX];
	uint64_t seqs[PN_BATCH_MAX];
	const unsigned count = list_entries(batch, unordered, entries);
	for (unsigned i = 0, part; i < count; i += part) {
		const uint32_t peer = entries[i].peer;
		for (part = 0; i + part < count && entries[i + part].peer == peer; part++)
			seqs[part] = entries[i + part].seq;
		if (unordered)
			pn_unordered_remove(archive, peer, seqs, part);
		else
			pn_peer_remove(archive, peer, seqs, part);
	}
}

void pn_batch_remove(struct pn_batch *batch, struct pn_archive *archive) {
	if (batch->count == 0)
		return;
	sort(batch);
	remove_names(archive, batch);
	remove_messages(archive, batch);
	drop_positions(archive, batch);
	remove_entries(archive, batch, true);
	remove_entries(archive, batch, false);
}

void pn_message_remove(struct pn_archive *archive, uint64_t seq) {
	struct pn_batch batch = {.most = 1};
	struct pn_stored stored = {0};
	if (!pn_message_get(archive, seq, &stored, NULL) ||
	    !pn_batch_add(&batch, archive, seq, &stored))
		pn_txn_fail(archive->txn, PN_ECORRUPT);
	if (stored.out_of_order)
		pn_txn_claim_more(archive->txn, PN_UNORDERED_PUTS, 0);
	pn_batch_remove(&batch, archive);
}
