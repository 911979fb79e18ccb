/* The peers of an archive: their names and numbers, and the index of each. */
#include <string.h>

#include <pn/err.h>

#include "archive.h"

enum { ENTRY = 30 }; /* bytes that an entry of an index takes on its page */

/* ---- Names and numbers ---- */

static struct pn_key name_key(const struct pn_archive *archive, struct pn_str name) {
	pn_digest digest = {0};
	pn_name_digest(archive->txn, name, digest);
	return pn_key_peer_name(archive->number, digest);
}

static uint32_t find(const struct pn_archive *archive, const struct pn_key *key) {
	struct pn_wire value;
	if (!pn_get(archive->txn, key, &value))
		return 0;
	const uint32_t peer = pn_wire_u32(&value);
	return pn_txn_sound(archive->txn, &value) ? peer : 0;
}

uint32_t pn_peer_find(const struct pn_archive *archive, struct pn_str name) {
	const struct pn_key key = name_key(archive, name);
	return find(archive, &key);
}

bool pn_peer_name(const struct pn_archive *archive, uint32_t peer, struct pn_str *name,
		  uint32_t *bare) {
	const struct pn_key key = pn_key_peer_id(archive->number, peer);
	struct pn_wire value;
	if (!pn_get(archive->txn, &key, &value)) {
		pn_txn_fail(archive->txn, PN_ECORRUPT);
		return false;
	}
	*bare = pn_wire_u32(&value);
	*name = (struct pn_str){(const char *)value.pos, value.left};
	return pn_txn_sound(archive->txn, &value);
}

struct pn_peers pn_peers_of(const struct pn_archive *archive, uint32_t peer) {
	struct pn_peers peers = {peer, 0};
	struct pn_str name;
	if (peer != 0)
		pn_peer_name(archive, peer, &name, &peers.bare);
	return peers;
}

static uint32_t make_one(struct pn_archive *archive, struct pn_str name, uint32_t bare) {
	struct pn_txn *const txn = archive->txn;
	const struct pn_key by_name = name_key(archive, name);
	const uint32_t found = find(archive, &by_name);
	if (found != 0 || txn->err != PN_OK)
		return found;
	if (archive->state.next_peer == UINT32_MAX) {
		pn_txn_fail(txn, PN_EFULL);
		return 0;
	}
	const uint32_t number = archive->state.next_peer++;
	const struct pn_key by_number = pn_key_peer_id(archive->number, number);
	struct pn_buf value = pn_value();
	pn_wire_put_u32(&value, bare);
	pn_buf_append(&value, name.bytes, name.len);
	pn_txn_claim_more(txn, 2, 0);
	pn_put_u32(txn, &by_name, number);
	pn_put(txn, &by_number, &value);
	return number;
}

struct pn_peers pn_peer_make(struct pn_archive *archive, struct pn_str name) {
	const char *slash = memchr(name.bytes, '/', name.len);
	struct pn_peers peers = {0, 0};
	if (slash != NULL) {
		const struct pn_str bare = {name.bytes, (size_t)(slash - name.bytes)};
		peers.bare = make_one(archive, bare, 0);
	}
	peers.peer = make_one(archive, name, peers.bare);
	return peers;
}

/* Removes a peer that has no messages left. */
static void forget(struct pn_archive *archive, uint32_t peer) {
	struct pn_str name;
	uint32_t bare;
	if (!pn_peer_name(archive, peer, &name, &bare))
		return;
	const struct pn_key by_name = name_key(archive, name);
	const struct pn_key by_number = pn_key_peer_id(archive->number, peer);
	pn_remove(archive->txn, &by_name);
	pn_remove(archive->txn, &by_number);
	pn_deleted_drop(archive, peer);
	archive->scattered++;
}

/* ---- The index of a peer: ordinals by seq ---- */

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

/* An entry of the index. */
struct index_entry {
	uint64_t seq; /* 0: no entry */
	uint64_t ordinal;
};

static struct index_entry read_entry(const struct pn_cursor *cursor, bool any) {
	struct index_entry entry = {0, 0};
	struct pn_wire value = cursor->value;
	if (!any)
		return entry;
	entry.seq = pn_peer_seq_of(cursor->key);
	entry.ordinal = pn_wire_u32(&value);
	pn_txn_sound(cursor->txn, &value);
	return entry;
}

static void put_ordinal(struct pn_txn *txn, const struct pn_key *key, uint64_t ordinal) {
	if (ordinal > UINT32_MAX)
		pn_txn_fail(txn, PN_EFULL);
	pn_put_u32(txn, key, (uint32_t)ordinal);
}

/* Renumbers the messages of a peer, without gaps. Seeks again after each write, which may move the
 * record at the cursor. */
static void renumber(const struct pn_archive *archive, uint32_t peer) {
	const struct pn_key prefix = pn_peer_prefix(archive, peer);
	struct pn_cursor cursor;
	struct pn_key at = prefix;
	uint64_t ordinal = 0;
	pn_deleted_drop(archive, peer);
	pn_cursor_open(archive->txn, &cursor, &prefix);
	while (pn_cursor_seek(&cursor, &at)) {
		at.len = cursor.key.len;
		memcpy(at.bytes, cursor.key.bytes, cursor.key.len);
		put_ordinal(archive->txn, &at, ordinal++);
		at.bytes[at.len++] = 0; /* the least key above it */
	}
	pn_cursor_close(&cursor);
}

void pn_peer_add(const struct pn_archive *archive, uint32_t peer, uint64_t seq) {
	const struct pn_key prefix = pn_peer_prefix(archive, peer);
	const struct pn_key key = pn_key_peer(archive->number, peer, seq);
	const struct pn_key end = pn_key_peer(archive->number, peer, UINT64_MAX);
	struct pn_cursor cursor;
	pn_cursor_open(archive->txn, &cursor, &prefix);
	const struct index_entry last = read_entry(&cursor, pn_cursor_seek_before(&cursor, &end));
	pn_cursor_close(&cursor);
	const uint64_t ordinal = last.seq != 0 ? last.ordinal + 1 : 0;
	put_ordinal(archive->txn, &key, ordinal);
	if (last.seq >= seq)
		renumber(archive, peer);
	else
		pn_series_extended(archive->txn, &key, ordinal * ENTRY);
}

/* Drops the ordinals of removed messages, in order. `first` and `last` are what is left. */
static void drop_ordinals(struct pn_archive *archive, uint32_t peer, uint64_t *ordinals,
			  size_t count, struct index_entry first, struct index_entry last) {
	size_t below = 0;
	if (first.seq == 0) {
		forget(archive, peer);
		return;
	}
	if (ordinals[count - 1] > last.ordinal) /* the next message gets it */
		pn_deleted_drop_from(archive, peer, last.ordinal + 1);
	while (count > 0 && ordinals[count - 1] > last.ordinal)
		count--;
	while (below < count && ordinals[below] < first.ordinal)
		below++;
	pn_deleted_add(archive, peer, ordinals + below, count - below);
	if (below > 0 && !pn_deleted_same_block(ordinals[0], first.ordinal))
		pn_deleted_drop_below(archive, peer, first.ordinal);
}

/* Removes the entry from the index, to which the cursor moves unless it is there. Returns its
 * ordinal. */
static uint64_t remove_entry(const struct pn_archive *archive, uint32_t peer, uint64_t seq,
			     struct pn_cursor *cursor) {
	const struct pn_key key = pn_key_peer(archive->number, peer, seq);
	if (cursor->key.bytes == NULL || pn_peer_seq_of(cursor->key) != seq)
		(void)pn_cursor_seek(cursor, &key);
	const struct index_entry entry = read_entry(cursor, cursor->key.bytes != NULL);
	if (entry.seq != seq)
		pn_txn_fail(archive->txn, PN_ECORRUPT);
	pn_cursor_remove(cursor);
	return entry.ordinal;
}

void pn_peer_remove(struct pn_archive *archive, uint32_t peer, const uint64_t *seqs, size_t count) {
	struct pn_txn *const txn = archive->txn;
	const struct pn_key prefix = pn_peer_prefix(archive, peer);
	const struct pn_key end = pn_key_peer(archive->number, peer, UINT64_MAX);
	uint64_t ordinals[PN_BATCH_MAX];
	struct pn_cursor cursor;
	pn_cursor_open(txn, &cursor, &prefix);
	for (size_t i = 0; i < count && txn->err == PN_OK; i++)
		ordinals[i] = remove_entry(archive, peer, seqs[i], &cursor);
	const struct index_entry first = read_entry(&cursor, pn_cursor_first(&cursor));
	const struct index_entry last = read_entry(&cursor, pn_cursor_seek_before(&cursor, &end));
	pn_cursor_close(&cursor);
	if (txn->err == PN_OK)
		drop_ordinals(archive, peer, ordinals, count, first, last);
}
