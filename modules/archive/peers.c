/* The peers of an archive by their names: finding, creating and forgetting them. */
#include <string.h>

#include <pn/err.h>

#include "archive.h"

enum {
	/* Peers of an archive without records p: theirs are read one after another, which costs as
	 * much as a digest and a search. */
	FEW = 32,
};

/* Above every peer number. */
static const uint32_t PEERS_END = UINT32_C(0xff000000);

/* ---- Finding by name ---- */

static struct pn_key name_key(const struct pn_archive *archive, struct pn_str name) {
	pn_digest digest = {0};
	pn_name_digest(archive->txn, name, digest);
	return pn_key_peer_name(archive->number, digest);
}

uint32_t pn_peer_named(const struct pn_archive *archive, struct pn_str name) {
	const struct pn_key key = name_key(archive, name);
	struct pn_wire value;
	if (!pn_get(archive->txn, &key, &value))
		return 0;
	const uint32_t peer = pn_wire_u32(&value);
	return pn_txn_sound(archive->txn, &value) ? peer : 0;
}

static bool is_named(const struct pn_peer *peer, struct pn_str name) {
	return peer->name.len == name.len && memcmp(peer->name.bytes, name.bytes, name.len) == 0;
}

/* The peer at the cursor. */
static uint32_t number_at(const struct pn_cursor *cursor) {
	uint32_t archive, number;
	if (pn_key_read_peer_id(cursor->key, &archive, &number))
		return number;
	pn_txn_fail(cursor->txn, PN_ECORRUPT);
	return 0;
}

/* Reads the records one after another. */
static bool find_among_few(const struct pn_archive *archive, struct pn_str name,
			   struct pn_peer *peer) {
	const struct pn_key prefix = pn_archive_prefix(archive, PN_KIND_PEER_ID);
	struct pn_txn *const txn = archive->txn;
	struct pn_cursor cursor;
	bool found = false;
	pn_cursor_open(txn, &cursor, &prefix);
	for (bool any = pn_cursor_first(&cursor); any && !found; any = pn_cursor_next(&cursor)) {
		if (!pn_peer_read_name(txn, cursor.value, peer))
			break;
		found = is_named(peer, name) && pn_peer_read(txn, cursor.value, peer);
		if (found)
			peer->number = number_at(&cursor);
	}
	pn_cursor_close(&cursor);
	return found && txn->err == PN_OK;
}

/* Reads the peer with the name. Returns whether there is one. */
static bool find(const struct pn_archive *archive, struct pn_str name, struct pn_peer *peer) {
	if (archive->state.next_peer <= FEW)
		return find_among_few(archive, name, peer);
	const uint32_t number = pn_peer_named(archive, name);
	return number != 0 && pn_peer_get(archive, number, peer);
}

uint32_t pn_peer_find(const struct pn_archive *archive, struct pn_str name) {
	struct pn_peer peer = {0};
	return find(archive, name, &peer) ? peer.number : 0;
}

/* ---- Creating ---- */

static void put_name(struct pn_archive *archive, uint32_t number, struct pn_str name) {
	const struct pn_key key = name_key(archive, name);
	pn_txn_claim_more(archive->txn, 1, 0);
	pn_put_u32(archive->txn, &key, number);
}

/* Writes the records p of the first peers. */
static void put_names(struct pn_archive *archive) {
	for (uint32_t number = 1; number < FEW && archive->txn->err == PN_OK; number++) {
		const struct pn_key key = pn_key_peer_id(archive->number, number);
		struct pn_peer peer = {0};
		struct pn_wire value;
		if (pn_get(archive->txn, &key, &value) &&
		    pn_peer_read_name(archive->txn, value, &peer))
			put_name(archive, number, peer.name);
	}
}

/* `seq`: its first message; 0: none yet. */
static void create(struct pn_archive *archive, struct pn_str name, uint32_t bare, uint64_t seq,
		   struct pn_peer *peer) {
	*peer = (struct pn_peer){.bare = bare, .name = name};
	if (archive->state.next_peer == PEERS_END)
		pn_txn_fail(archive->txn, PN_EFULL);
	if (archive->txn->err != PN_OK)
		return;
	peer->number = archive->state.next_peer++;
	if (seq != 0)
		peer->tail.seqs[peer->tail.count++] = seq;
	pn_txn_claim_more(archive->txn, 1, 0);
	pn_peer_put(archive, peer);
	if (peer->number == FEW)
		put_names(archive);
	if (peer->number >= FEW)
		put_name(archive, peer->number, name);
}

static uint32_t make_one(struct pn_archive *archive, struct pn_str name, uint32_t bare,
			 uint64_t seq) {
	struct pn_peer peer = {0};
	if (!pn_recent_peer(archive, name, &peer) && !find(archive, name, &peer))
		create(archive, name, bare, seq, &peer);
	else if (seq != 0)
		pn_index_add(archive, &peer, seq);
	if (archive->txn->err == PN_OK)
		pn_recent_put_peer(archive, name, &peer);
	return peer.number;
}

struct pn_peers pn_peer_make(struct pn_archive *archive, struct pn_str name, uint64_t seq) {
	const char *slash = memchr(name.bytes, '/', name.len);
	struct pn_peers peers = {0, 0};
	if (slash != NULL) {
		const struct pn_str bare = {name.bytes, (size_t)(slash - name.bytes)};
		peers.bare = make_one(archive, bare, 0, seq);
	}
	peers.peer = make_one(archive, name, peers.bare, seq);
	return peers;
}

/* ---- Removing ---- */

static void forget(struct pn_archive *archive, uint32_t number) {
	struct pn_str name;
	uint32_t bare;
	if (!pn_peer_name(archive, number, &name, &bare))
		return;
	const struct pn_key by_name = name_key(archive, name);
	const struct pn_key by_number = pn_key_peer_id(archive->number, number);
	pn_remove(archive->txn, &by_name); /* if it has one */
	pn_remove(archive->txn, &by_number);
	pn_deleted_drop(archive, number);
	archive->scattered++;
}

void pn_peer_remove(struct pn_archive *archive, uint32_t number, const uint64_t *seqs,
		    size_t count) {
	if (!pn_index_remove(archive, number, seqs, count))
		forget(archive, number);
}
