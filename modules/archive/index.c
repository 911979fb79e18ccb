/*
 * The index of a peer: which messages it has, and their ordinals, in chunks. The newest chunk is in
 * the record of the peer, where most peers have all of theirs; a full one becomes a record w.
 */
#include <string.h>

#include <pn/err.h>

#include "archive.h"

/* ---- Records w ---- */

/* Above every seq of the chunk. */
static uint64_t end_of(const struct pn_chunk *chunk) {
	return chunk->count > 0 ? chunk->seqs[chunk->count - 1] + 1 : 0;
}

/* Reads the record w at the cursor, if there is one. */
static void read_record(const struct pn_cursor *cursor, bool any, struct pn_chunk *chunk) {
	struct pn_wire value = cursor->value;
	*chunk = (struct pn_chunk){0};
	if (!any)
		return;
	const uint32_t ordinal = pn_wire_u32(&value);
	if (pn_txn_sound(cursor->txn, &value) &&
	    !pn_chunk_read(&value, ordinal, pn_peer_seq_of(cursor->key), chunk))
		pn_txn_fail(cursor->txn, PN_ECORRUPT);
	if (cursor->txn->err != PN_OK)
		chunk->count = 0;
}

/* Writes a record w, unless the chunk is empty. */
static void put_record(const struct pn_archive *archive, uint32_t peer,
		       const struct pn_chunk *chunk) {
	if (chunk->count == 0)
		return;
	const struct pn_key key = pn_key_peer(archive->number, peer, chunk->seqs[0]);
	struct pn_buf value = pn_value();
	pn_wire_put_u32(&value, (uint32_t)chunk->ordinal);
	pn_chunk_write(&value, chunk);
	pn_put(archive->txn, &key, &value);
}

struct pn_key pn_peer_prefix(const struct pn_archive *archive, uint32_t peer) {
	struct pn_key key = pn_key_peer(archive->number, peer, 0);
	key.len -= 5; /* the seq */
	return key;
}

uint64_t pn_peer_seq_of(struct pn_str key) {
	uint32_t archive, peer;
	uint64_t seq;
	return pn_key_read_peer(key, &archive, &peer, &seq) ? seq : 0;
}

/* ---- Finding ---- */

static bool stop_at(struct pn_index *index, struct pn_chunk *chunk, unsigned at) {
	const bool any = at < chunk->count && index->archive->txn->err == PN_OK;
	index->chunk = chunk;
	index->at = at;
	index->seq = any ? chunk->seqs[at] : 0;
	index->ordinal = any ? chunk->ordinal + at : 0;
	return any;
}

/* At the first message of a record, or of the tail behind the last one. */
static bool stop_at_first(struct pn_index *index, bool any) {
	read_record(&index->cursor, any, &index->record);
	return stop_at(index, any ? &index->record : &index->tail, 0);
}

static bool stop_at_last(struct pn_index *index, bool any) {
	read_record(&index->cursor, any, &index->record);
	return stop_at(index, &index->record,
		       index->record.count > 0 ? index->record.count - 1 : 0);
}

void pn_index_open(struct pn_index *index, const struct pn_archive *archive, uint32_t peer) {
	const struct pn_key prefix = pn_peer_prefix(archive, peer);
	struct pn_peer record = {0};
	*index = (struct pn_index){.archive = archive, .peer = peer};
	if (pn_peer_get(archive, peer, &record))
		index->tail = record.tail;
	pn_cursor_open(archive->txn, &index->cursor, &prefix);
}

void pn_index_close(struct pn_index *index) {
	pn_cursor_close(&index->cursor);
}

static struct pn_key key_of(const struct pn_index *index, uint64_t seq) {
	return pn_key_peer(index->archive->number, index->peer, seq);
}

/* The chunk in memory whose messages are on both sides of a position, or at it; or the tail, if the
 * position is behind its beginning. */
static struct pn_chunk *find_near(struct pn_index *index, uint64_t seq) {
	if (index->tail.count > 0 && index->tail.seqs[0] < seq)
		return &index->tail;
	if (index->record.count > 0 && index->record.seqs[0] < seq && seq < end_of(&index->record))
		return &index->record;
	return NULL;
}

bool pn_index_seek(struct pn_index *index, uint64_t seq) {
	const struct pn_key behind = key_of(index, seq + 1);
	struct pn_chunk *const near = find_near(index, seq);
	unsigned at = 0;
	if (near != NULL) {
		(void)stop_at(index, near, 0);
	} else if (pn_cursor_seek_before(&index->cursor, &behind)) {
		(void)stop_at_first(index, true);
		if (end_of(&index->record) <= seq)
			return stop_at_first(index, pn_cursor_next(&index->cursor));
	} else {
		return stop_at_first(index, pn_cursor_first(&index->cursor));
	}
	while (at < index->chunk->count && index->chunk->seqs[at] < seq)
		at++;
	return stop_at(index, index->chunk, at);
}

bool pn_index_seek_before(struct pn_index *index, uint64_t seq) {
	const struct pn_key key = key_of(index, seq);
	struct pn_chunk *const near = find_near(index, seq);
	if (near != NULL)
		(void)stop_at(index, near, near->count - 1);
	else
		(void)stop_at_last(index, pn_cursor_seek_before(&index->cursor, &key));
	unsigned at = index->at;
	while (at > 0 && index->chunk->seqs[at] >= seq)
		at--;
	return stop_at(index, index->chunk, at);
}

bool pn_index_next(struct pn_index *index) {
	if (index->at + 1 < index->chunk->count)
		return stop_at(index, index->chunk, index->at + 1);
	if (index->chunk == &index->tail)
		return stop_at(index, &index->tail, index->tail.count);
	return stop_at_first(index, pn_cursor_next(&index->cursor));
}

bool pn_index_previous(struct pn_index *index) {
	if (index->at > 0)
		return stop_at(index, index->chunk, index->at - 1);
	if (index->chunk == &index->record)
		return stop_at_last(index, pn_cursor_previous(&index->cursor));
	const struct pn_key end = key_of(index, UINT64_MAX);
	return stop_at_last(index, pn_cursor_seek_before(&index->cursor, &end));
}

/* ---- Adding ---- */

/* The chunk of the newest message; it is empty if there is none. */
static void find_last(const struct pn_archive *archive, const struct pn_peer *peer,
		      struct pn_chunk *last) {
	const struct pn_key prefix = pn_peer_prefix(archive, peer->number);
	const struct pn_key end = pn_key_peer(archive->number, peer->number, UINT64_MAX);
	struct pn_cursor cursor;
	*last = peer->tail;
	if (last->count > 0)
		return;
	pn_cursor_open(archive->txn, &cursor, &prefix);
	read_record(&cursor, pn_cursor_seek_before(&cursor, &end), last);
	pn_cursor_close(&cursor);
}

/* Renumbers the messages of a peer, without gaps. Seeks again after each write, which may move the
 * record at the cursor. */
static void renumber(const struct pn_archive *archive, uint32_t peer, struct pn_chunk *tail) {
	const struct pn_key prefix = pn_peer_prefix(archive, peer);
	struct pn_cursor cursor;
	struct pn_chunk chunk;
	struct pn_key at = prefix;
	uint64_t ordinal = 0;
	pn_deleted_drop(archive, peer);
	pn_cursor_open(archive->txn, &cursor, &prefix);
	while (pn_cursor_seek(&cursor, &at)) {
		read_record(&cursor, true, &chunk);
		at = pn_key_peer(archive->number, peer, end_of(&chunk));
		chunk.ordinal = ordinal;
		ordinal += chunk.count;
		put_record(archive, peer, &chunk);
		if (archive->txn->err != PN_OK)
			break;
	}
	pn_cursor_close(&cursor);
	tail->ordinal = ordinal;
	pn_peer_put_tail(archive, peer, tail);
}

/* Divides a chunk: *after gets the messages behind `seq`. */
static void divide(struct pn_chunk *chunk, uint64_t seq, struct pn_chunk *after) {
	unsigned at = 0;
	while (at < chunk->count && chunk->seqs[at] < seq)
		at++;
	after->count = chunk->count - at;
	memcpy(after->seqs, chunk->seqs + at, after->count * sizeof(after->seqs[0]));
	chunk->count = at;
}

/* Adds a message that is not the newest. The ordinals are right once they are renumbered. */
static void insert(const struct pn_archive *archive, uint32_t peer, struct pn_chunk *tail,
		   uint64_t seq) {
	const struct pn_key prefix = pn_peer_prefix(archive, peer);
	const struct pn_key key = pn_key_peer(archive->number, peer, seq);
	struct pn_chunk chunk = {0}, after = {0};
	struct pn_cursor cursor;
	if (tail->count > 0 && tail->seqs[0] < seq) {
		chunk = *tail;
		divide(&chunk, seq, tail);
	} else {
		pn_cursor_open(archive->txn, &cursor, &prefix);
		read_record(&cursor, pn_cursor_seek_before(&cursor, &key), &chunk);
		pn_cursor_close(&cursor);
		divide(&chunk, seq, &after);
	}
	if (chunk.count == PN_CHUNK) {
		put_record(archive, peer, &chunk);
		chunk.count = 0;
	}
	chunk.seqs[chunk.count++] = seq;
	put_record(archive, peer, &chunk);
	put_record(archive, peer, &after);
}

void pn_index_add(const struct pn_archive *archive, struct pn_peer *peer, uint64_t seq) {
	const uint32_t number = peer->number;
	const bool full = peer->tail.count == PN_CHUNK;
	struct pn_chunk last;
	find_last(archive, peer, &last);
	if (end_of(&last) > seq) {
		insert(archive, number, &peer->tail, seq);
		renumber(archive, number, &peer->tail);
		return;
	}
	if (last.ordinal + last.count > UINT32_MAX)
		pn_txn_fail(archive->txn, PN_EFULL);
	if (full || peer->tail.count == 0)
		peer->tail = (struct pn_chunk){.ordinal = last.ordinal + last.count};
	peer->tail.seqs[peer->tail.count++] = seq;
	pn_peer_put(archive, peer);
	if (full) {
		pn_txn_claim_more(archive->txn, 1, 0);
		put_record(archive, number, &last);
	}
}

/* ---- Removing ---- */

/* Drops the ordinals of removed messages, in order. `first` and `last` are what is left. */
static void drop_ordinals(struct pn_archive *archive, uint32_t peer, uint64_t *ordinals,
			  size_t count, uint64_t first, uint64_t last) {
	size_t below = 0;
	if (ordinals[count - 1] > last) /* the next message gets it */
		pn_deleted_drop_from(archive, peer, last + 1);
	while (count > 0 && ordinals[count - 1] > last)
		count--;
	while (below < count && ordinals[below] < first)
		below++;
	pn_deleted_add(archive, peer, ordinals + below, count - below);
	if (below > 0 && !pn_deleted_same_block(ordinals[0], first))
		pn_deleted_drop_below(archive, peer, first);
}

/* Removes messages from a chunk; what stays before one of them becomes a record w, and what stays
 * behind the last one is the chunk. Sets their ordinals. Returns how many were in it. */
static size_t remove_from(const struct pn_archive *archive, uint32_t peer, struct pn_chunk *chunk,
			  const uint64_t *seqs, size_t count, uint64_t *ordinals) {
	struct pn_chunk rest = {.ordinal = chunk->ordinal};
	size_t removed = 0;
	for (unsigned i = 0; i < chunk->count; i++) {
		if (removed == count || chunk->seqs[i] != seqs[removed]) {
			rest.seqs[rest.count++] = chunk->seqs[i];
			continue;
		}
		ordinals[removed++] = chunk->ordinal + i;
		put_record(archive, peer, &rest);
		rest = (struct pn_chunk){.ordinal = chunk->ordinal + i + 1};
	}
	if (removed == 0)
		pn_txn_fail(archive->txn, PN_ECORRUPT);
	*chunk = rest;
	return removed;
}

/* The same for the record w that has the first of the messages. */
static size_t remove_from_record(const struct pn_archive *archive, uint32_t peer,
				 const uint64_t *seqs, size_t count, uint64_t *ordinals) {
	const struct pn_key prefix = pn_peer_prefix(archive, peer);
	const struct pn_key behind = pn_key_peer(archive->number, peer, seqs[0] + 1);
	struct pn_chunk chunk;
	struct pn_cursor cursor;
	pn_cursor_open(archive->txn, &cursor, &prefix);
	read_record(&cursor, pn_cursor_seek_before(&cursor, &behind), &chunk);
	pn_cursor_close(&cursor);
	const struct pn_key key = pn_key_peer(archive->number, peer, chunk.seqs[0]);
	if (chunk.count > 0 && chunk.seqs[0] == seqs[0])
		pn_remove(archive->txn, &key);
	const size_t removed = remove_from(archive, peer, &chunk, seqs, count, ordinals);
	put_record(archive, peer, &chunk);
	return removed;
}

static void remove_all(struct pn_archive *archive, uint32_t peer, const uint64_t *seqs,
		       size_t count, uint64_t *ordinals) {
	struct pn_peer record = {0};
	size_t done = 0, in_records = 0;
	if (!pn_peer_get(archive, peer, &record))
		return;
	struct pn_chunk *const tail = &record.tail;
	while (in_records < count && (tail->count == 0 || seqs[in_records] < tail->seqs[0]))
		in_records++;
	while (done < in_records && archive->txn->err == PN_OK)
		done += remove_from_record(archive, peer, seqs + done, in_records - done,
					   ordinals + done);
	if (done == count || archive->txn->err != PN_OK)
		return;
	done += remove_from(archive, peer, tail, seqs + done, count - done, ordinals + done);
	if (done < count)
		pn_txn_fail(archive->txn, PN_ECORRUPT);
	pn_peer_put_tail(archive, peer, tail);
}

bool pn_index_remove(struct pn_archive *archive, uint32_t peer, const uint64_t *seqs,
		     size_t count) {
	uint64_t ordinals[PN_BATCH_MAX];
	struct pn_index index;
	remove_all(archive, peer, seqs, count, ordinals);
	pn_index_open(&index, archive, peer);
	const bool any = pn_index_seek(&index, 0);
	const uint64_t first = index.ordinal;
	if (any)
		(void)pn_index_seek_before(&index, PN_SEQ_END - 1);
	pn_index_close(&index);
	if (archive->txn->err == PN_OK && any)
		drop_ordinals(archive, peer, ordinals, count, first, index.ordinal);
	return any || archive->txn->err != PN_OK;
}
