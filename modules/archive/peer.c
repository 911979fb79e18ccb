/* The record of a peer: its name, and the newest chunk of its index. */
#include <pn/err.h>

#include "archive.h"

/* The first byte of a record q that may have a chunk; in one of format 1 it is that of a number. */
enum { INDEXED = 0xff };

/* ---- Chunks. In a record: the first seq is elsewhere, then varint differences ---- */

bool pn_chunk_read(struct pn_wire *value, uint64_t ordinal, uint64_t first,
		   struct pn_chunk *chunk) {
	bool sound = first > 0 && first < PN_SEQ_END && ordinal <= UINT32_MAX;
	chunk->ordinal = ordinal;
	chunk->count = 1;
	chunk->seqs[0] = first;
	while (sound && value->left > 0) {
		const uint64_t before = chunk->seqs[chunk->count - 1];
		const uint64_t difference = pn_wire_varint(value);
		sound = difference > 0 && difference < PN_SEQ_END - before &&
			chunk->count < PN_CHUNK;
		if (sound)
			chunk->seqs[chunk->count++] = before + difference;
	}
	return sound && value->err == PN_OK;
}

void pn_chunk_write(struct pn_buf *value, const struct pn_chunk *chunk) {
	for (unsigned i = 1; i < chunk->count; i++)
		pn_wire_put_varint(value, chunk->seqs[i] - chunk->seqs[i - 1]);
}

/* ---- The record q ---- */

/* Reads what stands before the chunk. */
static bool read_head(struct pn_txn *txn, struct pn_wire *value, struct pn_peer *peer) {
	peer->tail.count = 0;
	if (value->left > 0 && value->pos[0] == INDEXED) {
		(void)pn_wire_u8(value);
		peer->bare = (uint32_t)pn_wire_varint(value);
		peer->name.len = pn_wire_varint(value);
	} else {
		peer->bare = pn_wire_u32(value);
		peer->name.len = value->left;
	}
	peer->name.bytes = pn_wire_take(value, peer->name.len);
	return pn_txn_sound(txn, value);
}

bool pn_peer_read_name(struct pn_txn *txn, struct pn_wire value, struct pn_peer *peer) {
	return read_head(txn, &value, peer);
}

bool pn_peer_read(struct pn_txn *txn, struct pn_wire value, struct pn_peer *peer) {
	if (!read_head(txn, &value, peer))
		return false;
	if (value.left == 0)
		return true;
	const uint64_t ordinal = pn_wire_varint(&value), first = pn_wire_varint(&value);
	if (!pn_chunk_read(&value, ordinal, first, &peer->tail) || ordinal > UINT32_MAX)
		pn_txn_fail(txn, PN_ECORRUPT);
	return txn->err == PN_OK;
}

static struct pn_key number_key(const struct pn_archive *archive, uint32_t peer) {
	return pn_key_peer_id(archive->number, peer);
}

bool pn_peer_get(const struct pn_archive *archive, uint32_t number, struct pn_peer *peer) {
	const struct pn_key key = number_key(archive, number);
	struct pn_wire value;
	peer->number = number;
	if (pn_get(archive->txn, &key, &value))
		return pn_peer_read(archive->txn, value, peer);
	pn_txn_fail(archive->txn, PN_ECORRUPT);
	return false;
}

void pn_peer_put(const struct pn_archive *archive, const struct pn_peer *peer) {
	const struct pn_key key = number_key(archive, peer->number);
	struct pn_buf value = pn_value();
	pn_wire_put_u8(&value, INDEXED);
	pn_wire_put_varint(&value, peer->bare);
	pn_wire_put_varint(&value, peer->name.len);
	pn_buf_append(&value, peer->name.bytes, peer->name.len);
	if (peer->tail.count > 0) {
		pn_wire_put_varint(&value, peer->tail.ordinal);
		pn_wire_put_varint(&value, peer->tail.seqs[0]);
		pn_chunk_write(&value, &peer->tail);
	}
	pn_put(archive->txn, &key, &value);
}

void pn_peer_put_tail(const struct pn_archive *archive, uint32_t number,
		      const struct pn_chunk *tail) {
	struct pn_peer peer = {0};
	if (!pn_peer_get(archive, number, &peer))
		return;
	peer.tail = *tail;
	pn_peer_put(archive, &peer);
}

bool pn_peer_name(const struct pn_archive *archive, uint32_t number, struct pn_str *name,
		  uint32_t *bare) {
	const struct pn_key key = number_key(archive, number);
	struct pn_peer peer = {0};
	struct pn_wire value;
	if (!pn_get(archive->txn, &key, &value)) {
		pn_txn_fail(archive->txn, PN_ECORRUPT);
		return false;
	}
	const bool read = read_head(archive->txn, &value, &peer);
	*name = peer.name;
	*bare = peer.bare;
	return read;
}

struct pn_peers pn_peers_of(const struct pn_archive *archive, uint32_t peer) {
	struct pn_peers peers = {peer, 0};
	struct pn_str name;
	if (peer != 0)
		pn_peer_name(archive, peer, &name, &peers.bare);
	return peers;
}
