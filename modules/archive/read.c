/* Reading the matches of a query in chunks, so that no transaction stays open. */
#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "archive.h"

enum {
	/* A page of XEP-0313 is usually 50 messages: one chunk, and little copied in vain. */
	CHUNK_MESSAGES = 64,
	CHUNK_BYTES = 256 * 1024, /* ends a chunk of long messages early */
	KEEP = 1024 * 1024,       /* bytes of memory that a cursor keeps between chunks */
};

/*
 * The chunk is a sequence of: f64 when, bytes id, u8 whether there is a peer, bytes peer, bytes
 * stanza. `next` is the part of it that has not been returned yet.
 */
struct pn_archive_cursor {
	struct pn_db *db; /* borrowed */
	uint32_t archive;
	struct pn_plan plan;
	uint64_t seq;  /* of the last message in the chunk */
	uint64_t left; /* messages that may still be read; 0 if nothing can match */
	struct pn_buf chunk;
	struct pn_wire next;
};

/* The last peer in the chunk: most often the next message has the same one. */
struct last_peer {
	uint32_t peer;
	size_t at; /* offset of the name in the chunk */
	size_t len;
};

static void put_peer(struct pn_archive *archive, uint32_t peer, struct pn_buf *chunk,
		     struct last_peer *last) {
	struct pn_str name = {NULL, 0};
	uint32_t bare;
	pn_wire_put_u8(chunk, peer != 0);
	if (peer != 0 && peer == last->peer) {
		if (pn_txn_fail(archive->txn, pn_buf_reserve(chunk, last->len + 4)) != PN_OK)
			return;
		name = (struct pn_str){(const char *)chunk->data + last->at, last->len};
	} else if (peer != 0) {
		if (!pn_peer_name(archive, peer, &name, &bare))
			return;
		*last = (struct last_peer){peer, chunk->len + 4, name.len};
	}
	pn_wire_put_bytes(chunk, name.bytes, (uint32_t)name.len);
}

/* One that cannot be decompressed is left as it is: the reader will see that it is not packed. */
static void put_stanza(struct pn_archive *archive, struct pn_str stanza, struct pn_buf *chunk) {
	struct pn_compressor *const compressor = pn_db_compressor(archive->txn->db);
	const size_t at = chunk->len;
	pn_wire_put_u32(chunk, 0);
	const int err = pn_decompress(compressor, stanza, chunk);
	if (err == PN_ECORRUPT)
		pn_buf_append(chunk, stanza.bytes, stanza.len);
	else
		pn_txn_fail(archive->txn, err);
	pn_wire_set_u32(chunk, at, (uint32_t)(chunk->len - at - 4));
}

static void put_message(struct pn_archive *archive, const struct pn_walk *walk,
			struct pn_buf *chunk, struct last_peer *last) {
	const struct pn_stored *const stored = &walk->stored;
	char opaque[PN_ARCHIVE_ID_LEN];
	struct pn_str id = stored->key;
	if (id.bytes == NULL) {
		pn_id_make(archive, walk->seq, stored->epoch, opaque);
		if (archive->txn->err != PN_OK)
			return;
		id = (struct pn_str){opaque, sizeof(opaque)};
	}
	pn_wire_put_f64(chunk, stored->when);
	pn_wire_put_bytes(chunk, id.bytes, (uint32_t)id.len);
	put_peer(archive, stored->peer, chunk, last);
	put_stanza(archive, stored->stanza, chunk);
	pn_txn_fail(archive->txn, chunk->err);
}

static void fill_chunk(struct pn_archive_cursor *cursor, struct pn_txn *txn) {
	struct pn_archive archive = {.txn = txn, .number = cursor->archive};
	struct pn_walk walk = {.archive = &archive, .plan = &cursor->plan, .seq = cursor->seq};
	struct last_peer last = {0};
	pn_marks_read(&archive);
	for (int i = 0; i < CHUNK_MESSAGES && cursor->left > 0; i++) {
		if (cursor->chunk.len >= CHUNK_BYTES)
			break;
		if (!pn_walk_next(&walk)) {
			cursor->left = 0;
			break;
		}
		cursor->left--;
		put_message(&archive, &walk, &cursor->chunk, &last);
	}
	cursor->seq = walk.seq;
	pn_walk_close(&walk);
}

static int read_chunk(struct pn_archive_cursor *cursor) {
	struct pn_txn txn;
	pn_buf_reset(&cursor->chunk, KEEP);
	if (pn_txn_read(cursor->db, &txn) == PN_OK)
		fill_chunk(cursor, &txn);
	return pn_txn_end(&txn, PN_OK);
}

static bool needs_archive(const struct pn_archive_query *query) {
	return (query->ids != NULL && query->ids_count > 0 && !query->ids_optional) ||
	       query->before.bytes != NULL || query->after.bytes != NULL;
}

/* Makes the plan. Returns whether any message can match. */
static bool make_plan(struct pn_archive_cursor *cursor, struct pn_archive *archive,
		      const struct pn_archive_query *query, uint64_t *total) {
	cursor->archive = archive->number;
	if (archive->number == 0) {
		if (needs_archive(query))
			pn_txn_fail(archive->txn, PN_ENOTFOUND);
		return false;
	}
	if (!pn_plan_make(archive, query, &cursor->plan))
		return false;
	if (total != NULL) {
		struct pn_plan whole = cursor->plan;
		whole.page = (struct pn_range){1, archive->state.next};
		*total = pn_plan_count(archive, &whole);
	}
	return true;
}

int pn_archive_find(struct pn_archive_cursor **out, const struct pn_store *store,
		    struct pn_user user, const struct pn_archive_query *query, uint64_t limit,
		    uint64_t *total) {
	struct pn_archive_cursor *cursor = pn_malloc(sizeof(*cursor));
	struct pn_txn txn;
	struct pn_archive archive;
	uint64_t count = 0;
	if (cursor == NULL)
		return PN_ENOMEM;
	*cursor = (struct pn_archive_cursor){.db = store->db};
	pn_txn_read(store->db, &txn);
	pn_archive_open(&archive, &txn, store, user);
	if (make_plan(cursor, &archive, query, total != NULL ? &count : NULL))
		cursor->left = limit;
	const int err = pn_txn_end(&txn, PN_OK);
	if (err != PN_OK) {
		pn_archive_cursor_free(cursor);
		return err;
	}
	if (total != NULL)
		*total = count;
	*out = cursor;
	return PN_OK;
}

int pn_archive_next(struct pn_archive_cursor *cursor, struct pn_message *message) {
	struct pn_wire *const next = &cursor->next;
	if (next->left == 0 && cursor->left > 0) {
		const int err = read_chunk(cursor);
		if (err != PN_OK) {
			cursor->left = 0;
			*next = (struct pn_wire){0};
			return err;
		}
		*next = pn_wire_open(cursor->chunk.data, cursor->chunk.len);
	}
	if (next->left == 0)
		return 0;
	message->when = pn_wire_f64(next);
	message->id.bytes = pn_wire_bytes(next, &message->id.len);
	const bool has_peer = pn_wire_u8(next) != 0;
	message->peer.bytes = pn_wire_bytes(next, &message->peer.len);
	if (!has_peer)
		message->peer.bytes = NULL;
	message->stanza.bytes = pn_wire_bytes(next, &message->stanza.len);
	return 1;
}

void pn_archive_cursor_free(struct pn_archive_cursor *cursor) {
	if (cursor == NULL)
		return;
	pn_plan_free(&cursor->plan);
	pn_buf_free(&cursor->chunk);
	pn_free(cursor);
}
