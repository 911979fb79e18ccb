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
	PER_SCATTERED = 12 * 1024,
	PER_LEAF = 8 * 1024,
	MOST_LEAVES = 3, /* of one message: its key, its peer, and the bare form of that */
	INDEXES = 2,     /* that have a message: of its peer, and of the bare form of that */
};

size_t pn_batch_claim(bool scattered) {
	if (scattered)
		return (size_t)PN_BATCH_SCATTERED * PER_SCATTERED;
	return (size_t)PN_BATCH_MAX * PER_NEIGHBOUR +
	       (size_t)(PN_BATCH_SCATTERED + MOST_LEAVES - 1) * PER_LEAF;
}

size_t pn_batch_used(const struct pn_batch *batch, const struct pn_archive *archive,
		     bool scattered) {
	const size_t leaves = (size_t)archive->scattered * PER_LEAF;
	const size_t bytes = scattered ? (size_t)batch->count * PER_SCATTERED
				       : (size_t)batch->count * PER_NEIGHBOUR + leaves;
	return pn_min(bytes, pn_batch_claim(scattered));
}

/* ---- Gathering ---- */

/* Whether the batch has a message of the peer, which is added if there is room. */
static bool see(struct pn_batch *batch, uint32_t peer) {
	if (peer == 0)
		return true;
	for (unsigned i = batch->distinct; i > 0; i--) {
		if (batch->seen[i - 1] == peer)
			return true;
	}
	if (batch->keyed + batch->distinct >= PN_BATCH_SCATTERED)
		return false;
	batch->seen[batch->distinct++] = peer;
	return true;
}

bool pn_batch_add(struct pn_batch *batch, const struct pn_archive *archive, uint64_t seq,
		  const struct pn_stored *stored) {
	const bool keyed = stored->key.bytes != NULL;
	struct pn_peers peers = {stored->peer, 0};
	struct pn_str name;
	if (batch->count > 0 && batch->messages[batch->count - 1].peers.peer == peers.peer)
		peers = batch->messages[batch->count - 1].peers;
	else if (peers.peer != 0)
		pn_peer_name(archive, peers.peer, &name, &peers.bare);
	if (batch->count == batch->most || archive->txn->err != PN_OK || !see(batch, peers.peer) ||
	    !see(batch, peers.bare) || batch->keyed + batch->distinct + keyed > PN_BATCH_SCATTERED)
		return false;
	batch->keyed += keyed;
	batch->messages[batch->count++] = (struct pn_batch_message){
		.seq = seq,
		.peers = peers,
		.keyed = keyed,
		.out_of_order = stored->out_of_order,
	};
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

static void remove_names(struct pn_archive *archive, const struct pn_batch *batch) {
	static const struct pn_stored gone = {0};
	for (unsigned i = 0; i < batch->count; i++) {
		const struct pn_batch_message *const message = &batch->messages[i];
		if (message->keyed)
			remove_key(archive, message->seq);
		if (message->out_of_order)
			pn_message_list(archive, message->seq, true, &gone);
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
		archive->state.bytes -= cursor.size;
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

/* Lists the entries of the messages in the indexes, by peer. Returns their number. */
static unsigned list_entries(const struct pn_batch *batch,
			     struct entry entries[INDEXES * PN_BATCH_MAX]) {
	unsigned count = 0;
	for (unsigned i = 0; i < batch->count; i++) {
		const struct pn_batch_message *const message = &batch->messages[i];
		if (message->peers.peer != 0)
			entries[count++] = (struct entry){message->peers.peer, message->seq};
		if (message->peers.bare != 0)
			entries[count++] = (struct entry){message->peers.bare, message->seq};
	}
	qsort(entries, count, sizeof(entries[0]), compare);
	return count;
}

static void remove_entries(struct pn_archive *archive, const struct pn_batch *batch) {
	struct entry entries[INDEXES * PN_BATCH_MAX];
	uint64_t seqs[PN_BATCH_MAX];
	const unsigned count = list_entries(batch, entries);
	for (unsigned i = 0, part; i < count; i += part) {
		for (part = 0; i + part < count && entries[i + part].peer == entries[i].peer;
		     part++)
			seqs[part] = entries[i + part].seq;
		pn_peer_remove(archive, entries[i].peer, seqs, part);
	}
}

void pn_batch_remove(struct pn_batch *batch, struct pn_archive *archive) {
	if (batch->count == 0)
		return;
	sort(batch);
	remove_names(archive, batch);
	remove_messages(archive, batch);
	drop_positions(archive, batch);
	remove_entries(archive, batch);
}

void pn_message_remove(struct pn_archive *archive, uint64_t seq) {
	struct pn_batch batch = {.most = 1};
	struct pn_stored stored;
	if (!pn_message_get(archive, seq, &stored, NULL) ||
	    !pn_batch_add(&batch, archive, seq, &stored))
		pn_txn_fail(archive->txn, PN_ECORRUPT);
	else
		pn_batch_remove(&batch, archive);
}
