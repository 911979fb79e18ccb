/* Reading an archive a few dozen messages at a time. */
#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "archive.h"

enum {
	CHUNK_MESSAGES = 64,
	CHUNK_BYTES = 256 * 1024,
	KEEP = 1024 * 1024, /* bytes of memory that stay with a cursor */
};

/*
 * The chunk is a sequence of: f64 when, bytes id, u8 whether there is a with, bytes with, bytes
 * stanza. `next` is what of it has not been given yet.
 */
struct pn_archive_cursor {
	struct pn_store *store; /* borrowed */
	struct pn_plan plan;
	bool match;    /* false: nothing can match, the plan is void */
	uint64_t seq;  /* of the last message in the chunk */
	uint64_t left; /* messages that may still be read */
	struct pn_buf chunk;
	struct pn_wire next;
};

/* The name of the last correspondent, which is mostly that of the next as well. */
struct last_with {
	uint32_t with;
	size_t at; /* offset in the chunk */
	size_t len;
};

static int put_with(struct pn_archive_cursor *cursor, uint32_t with, struct last_with *last) {
	struct pn_buf *const chunk = &cursor->chunk;
	struct pn_str name = {NULL, 0};
	uint32_t bare;
	pn_wire_put_u8(chunk, with != 0);
	if (with != 0 && with == last->with) {
		int err = pn_buf_reserve(chunk, last->len + 4);
		if (err != PN_OK)
			return err;
		name = (struct pn_str){(const char *)chunk->data + last->at, last->len};
	} else if (with != 0) {
		const int err =
			pn_with_name(cursor->store, cursor->plan.archive, with, &name, &bare);
		if (err != PN_OK)
			return err;
		*last = (struct last_with){with, chunk->len + 4, name.len};
	}
	pn_wire_put_bytes(chunk, name.bytes, (uint32_t)name.len);
	return chunk->err;
}

static int put_message(struct pn_archive_cursor *cursor, uint64_t seq,
		       const struct pn_stored *stored, struct last_with *last) {
	const struct pn_place place = {cursor->plan.archive, seq, stored->epoch};
	char opaque[PN_ARCHIVE_ID_LEN];
	struct pn_str id = stored->key;
	if (id.bytes == NULL) {
		const int err = pn_crypt_id(cursor->store->crypt, place, opaque);
		if (err != PN_OK)
			return err;
		id = (struct pn_str){opaque, sizeof(opaque)};
	}
	pn_wire_put_f64(&cursor->chunk, stored->when);
	pn_wire_put_bytes(&cursor->chunk, id.bytes, (uint32_t)id.len);
	const int err = put_with(cursor, stored->with, last);
	pn_wire_put_bytes(&cursor->chunk, stored->stanza.bytes, (uint32_t)stored->stanza.len);
	return err != PN_OK ? err : cursor->chunk.err;
}

static int fill_chunk(struct pn_archive_cursor *cursor) {
	struct pn_cursor place;
	struct pn_stored stored;
	struct last_with last = {0};
	int err = pn_cursor_open(cursor->store, &place);
	for (int i = 0; err == PN_OK && i < CHUNK_MESSAGES && cursor->left > 0; i++) {
		if (cursor->chunk.len >= CHUNK_BYTES)
			break;
		err = pn_plan_next(cursor->store, &cursor->plan, &place, &cursor->seq, &stored);
		if (err <= 0) {
			cursor->left = 0;
			break;
		}
		cursor->left--;
		err = put_message(cursor, cursor->seq, &stored, &last);
	}
	pn_cursor_close(&place);
	return err;
}

static int read_chunk(struct pn_archive_cursor *cursor) {
	pn_buf_reset(&cursor->chunk, KEEP);
	const int err = pn_call_read(cursor->store);
	if (err != PN_OK)
		return err;
	return pn_call_end(cursor->store, fill_chunk(cursor));
}

static int make_plan(struct pn_archive_cursor *cursor, const struct pn_space *space,
		     struct pn_user user, const struct pn_archive_query *query, uint64_t *total) {
	struct pn_state state;
	uint32_t archive;
	const bool needs = (query->ids != NULL && query->ids_count > 0 && !query->ids_optional) ||
			   query->before.bytes != NULL || query->after.bytes != NULL;
	int found = pn_collection_find(cursor->store, space, user, &archive);
	if (found == 0)
		return needs ? PN_ENOTFOUND : PN_OK;
	if (found > 0)
		found = pn_state_read(cursor->store, archive, &state);
	if (found <= 0)
		return found < 0 ? found : PN_ECORRUPT;
	found = pn_plan_make(cursor->store, archive, &state, query, &cursor->plan);
	if (found < 0)
		return found;
	cursor->match = found > 0;
	return cursor->match && total != NULL ? pn_plan_count(cursor->store, &cursor->plan, total)
					      : PN_OK;
}

int pn_archive_find(struct pn_archive_cursor **out, struct pn_store *store,
		    const struct pn_space *space, struct pn_user user,
		    const struct pn_archive_query *query, uint64_t limit, uint64_t *total) {
	struct pn_archive_cursor *cursor = pn_malloc(sizeof(*cursor));
	uint64_t count = 0;
	if (cursor == NULL)
		return PN_ENOMEM;
	*cursor = (struct pn_archive_cursor){.store = store};
	int err = pn_call_read(store);
	if (err == PN_OK) {
		err = make_plan(cursor, space, user, query, total != NULL ? &count : NULL);
		err = pn_call_end(store, err);
	}
	if (err != PN_OK) {
		pn_archive_cursor_free(cursor);
		return err;
	}
	cursor->left = cursor->match ? limit : 0;
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
	const bool has_with = pn_wire_u8(next) != 0;
	message->with.bytes = pn_wire_bytes(next, &message->with.len);
	if (!has_with)
		message->with.bytes = NULL;
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
