/* Appending, changing and deleting single messages. */
#include <math.h>

#include <pn/err.h>

#include "archive.h"

enum {
	APPEND_PUTS = 5,     /* message, state, two indexes, key */
	MESSAGE_FIELDS = 64, /* bytes of a message beside its stanza and its key, at most */
	REPLACE_PUTS = 8,
	SET_PUTS = 8,
	RENUMBER = 32, /* bytes a message, where a correspondent's index is numbered anew */
};

/* ---- Exceptions and keys ---- */

static int put_exception(struct pn_store *store, uint32_t archive, uint64_t seq, double when) {
	const struct pn_key key = pn_key_seq(archive, PN_KIND_EXCEPTION, seq);
	struct pn_buf buf = {0};
	pn_wire_put_u8(&buf, PN_VALUE_VERSION);
	pn_wire_put_f64(&buf, when);
	const int err = buf.err != PN_OK ? buf.err : pn_put(store, &key, buf.data, buf.len);
	pn_buf_free(&buf);
	return err;
}

/* Enters a message among the exceptions, or takes it out, as it now is. */
static int update_exception(struct pn_store *store, uint32_t archive, uint64_t seq, bool was,
			    const struct pn_stored *now, struct pn_state *state) {
	const struct pn_key key = pn_key_seq(archive, PN_KIND_EXCEPTION, seq);
	state->exceptions += (uint64_t)now->exception - (uint64_t)was;
	if (now->exception)
		return put_exception(store, archive, seq, now->when);
	const int removed = was ? pn_remove(store, &key) : PN_OK;
	return removed < 0 ? removed : PN_OK;
}

static int put_name(struct pn_store *store, uint32_t archive, struct pn_str name, uint64_t seq) {
	struct pn_key key;
	struct pn_buf buf = {0};
	int err = pn_name_key(store, archive, name, &key);
	if (err != PN_OK)
		return err;
	pn_wire_put_u8(&buf, PN_VALUE_VERSION);
	pn_wire_put_u64(&buf, seq);
	err = buf.err != PN_OK ? buf.err : pn_put(store, &key, buf.data, buf.len);
	pn_buf_free(&buf);
	return err;
}

/* ---- Deleting ---- */

/* The message was at the archive's beginning if the next one is the first now. */
static int mark_deleted(struct pn_store *store, uint32_t archive, uint64_t seq) {
	const struct pn_key start = pn_key_seq(archive, PN_KIND_MESSAGE, 0);
	struct pn_cursor cursor;
	uint32_t found_archive;
	uint64_t first = 0;
	int err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = pn_cursor_seek(&cursor, &start);
	const bool any = err > 0 &&
			 pn_key_read_seq(cursor.key, PN_KIND_MESSAGE, &found_archive, &first) &&
			 found_archive == archive;
	pn_cursor_close(&cursor);
	if (err < 0)
		return err;
	if (any && first < seq)
		return pn_holes_add(store, archive, PN_WITH_ALL, seq);
	if (any && first >> 8 == seq >> 8)
		return PN_OK;
	return pn_holes_trim(store, archive, PN_WITH_ALL, any ? first : seq);
}

int pn_message_delete(struct pn_store *store, uint32_t archive, uint64_t seq,
		      struct pn_state *state) {
	const struct pn_key key = pn_key_seq(archive, PN_KIND_MESSAGE, seq);
	struct pn_wire value;
	struct pn_stored stored;
	struct pn_key name_key;
	struct pn_str name;
	uint32_t bare = 0;
	int err = pn_get(store, &key, &value);
	if (err <= 0)
		return err < 0 ? err : PN_ECORRUPT;
	const uint64_t bytes = key.len + 1 + value.left;
	err = pn_stored_read(value, &stored);
	const bool keyed = err == PN_OK && stored.key.bytes != NULL;
	if (keyed)
		err = pn_name_key(store, archive, stored.key, &name_key);
	if (err == PN_OK && stored.with != 0)
		err = pn_with_name(store, archive, stored.with, &name, &bare);
	/* what is borrowed ends here */
	if (err == PN_OK)
		err = pn_remove(store, &key);
	if (err >= 0 && keyed)
		err = pn_remove(store, &name_key);
	if (err >= 0 && stored.exception)
		err = update_exception(store, archive, seq, true, &(struct pn_stored){0}, state);
	if (err >= 0 && stored.with != 0)
		err = pn_with_remove(store, archive, stored.with, seq);
	if (err >= 0 && bare != 0)
		err = pn_with_remove(store, archive, bare, seq);
	if (err >= 0)
		err = mark_deleted(store, archive, seq);
	state->count -= 1;
	state->bytes -= bytes;
	return err < 0 ? err : PN_OK;
}

/* ---- Appending ---- */

/* The archive and its state, which is new where there is no archive yet: then *archive is 0. */
static int find_archive(struct pn_store *store, const struct pn_space *space, struct pn_user user,
			uint32_t *archive, struct pn_state *state) {
	*archive = 0;
	*state = (struct pn_state){.next = 1, .latest = -INFINITY, .next_with = 1};
	const int found = pn_collection_find(store, space, user, archive);
	if (found <= 0)
		return found;
	const int read = pn_state_read(store, *archive, state);
	return read == 0 ? PN_ECORRUPT : read;
}

/* Before anything is changed: whether there is room, and which message the new one replaces. */
static int check_append(struct pn_store *store, uint32_t archive, const struct pn_state *state,
			struct pn_str key, uint64_t quota, uint64_t *replaced) {
	*replaced = 0;
	if (state->next >= PN_SEQ_END)
		return PN_EFULL;
	if (archive != 0 && key.bytes != NULL) {
		const int found = pn_message_find(store, archive, key, replaced);
		if (found < 0)
			return found;
		if (found == 0)
			*replaced = 0;
	}
	return quota != 0 && *replaced == 0 && state->count >= quota ? PN_EQUOTA : PN_OK;
}

static int enter(struct pn_store *store, uint32_t archive, struct pn_state *state,
		 const struct pn_message *message, struct pn_stored *stored) {
	const uint64_t seq = state->next++;
	struct pn_withs withs = {0, 0};
	uint64_t bytes;
	int err = PN_OK;
	if (message->with.bytes != NULL)
		err = pn_with_make(store, archive, state, message->with, &withs);
	stored->with = withs.with;
	stored->exception = message->when < state->latest;
	stored->latest = stored->exception ? state->latest : message->when;
	if (err == PN_OK)
		err = pn_stored_write(store, archive, seq, stored, &bytes);
	if (err == PN_OK && withs.with != 0)
		err = pn_with_add(store, archive, withs.with, seq);
	if (err == PN_OK && withs.bare != 0)
		err = pn_with_add(store, archive, withs.bare, seq);
	if (err == PN_OK && stored->key.bytes != NULL)
		err = put_name(store, archive, stored->key, seq);
	if (err == PN_OK && stored->exception)
		err = update_exception(store, archive, seq, false, stored, state);
	if (err != PN_OK)
		return err;
	state->count += 1;
	state->bytes += bytes;
	state->latest = stored->latest;
	return pn_state_write(store, archive, state);
}

static int append(struct pn_store *store, const struct pn_space *space, struct pn_user user,
		  const struct pn_message *message, struct pn_str key, uint64_t quota,
		  char id[PN_ARCHIVE_ID_LEN]) {
	uint32_t archive;
	uint64_t replaced = 0;
	struct pn_state state;
	struct pn_stored stored = {
		.epoch = store->epoch,
		.when = message->when,
		.key = key,
		.stanza = message->stanza,
	};
	int err = find_archive(store, space, user, &archive, &state);
	if (err >= 0)
		err = check_append(store, archive, &state, key, quota, &replaced);
	if (err == PN_OK && archive == 0)
		err = pn_collection_make(store, space, user, &archive);
	if (err == PN_OK && replaced != 0)
		pn_call_estimate(store, REPLACE_PUTS);
	if (err == PN_OK && replaced != 0)
		err = pn_message_delete(store, archive, replaced, &state);
	const struct pn_place place = {archive, state.next, store->epoch};
	if (err == PN_OK)
		err = enter(store, archive, &state, message, &stored);
	return err == PN_OK && key.bytes == NULL ? pn_crypt_id(store->crypt, place, id) : err;
}

int pn_archive_append(struct pn_store *store, const struct pn_space *space, struct pn_user user,
		      const struct pn_message *message, struct pn_str key, uint64_t quota,
		      char id[PN_ARCHIVE_ID_LEN]) {
	if (!isfinite(message->when))
		return PN_EINVAL;
	const size_t largest = message->stanza.len + key.len + MESSAGE_FIELDS;
	const struct pn_claim claim = {
		.puts = APPEND_PUTS,
		.bytes = 2 * (largest + message->with.len),
		.largest = largest,
	};
	const int err = pn_call_write(store, claim);
	if (err != PN_OK)
		return err;
	return pn_call_end(store, append(store, space, user, message, key, quota, id));
}

/* ---- Changing ---- */

struct change {
	struct pn_str stanza;
	const double *when;
	const struct pn_str *with;
};

/* Moves a message from one correspondent to another. */
static int change_with(struct pn_store *store, uint32_t archive, uint64_t seq,
		       struct pn_state *state, struct pn_str name, struct pn_stored *stored) {
	struct pn_withs now = {0, 0};
	struct pn_str before_name;
	uint32_t before_bare = 0;
	const uint32_t before = stored->with;
	int err = PN_OK;
	if (before != 0)
		err = pn_with_name(store, archive, before, &before_name, &before_bare);
	if (err == PN_OK)
		err = pn_with_make(store, archive, state, name, &now);
	if (err != PN_OK || now.with == before)
		return err;
	/* first in, then out: one that both have in common is not forgotten meanwhile */
	stored->with = now.with;
	if (now.with != before_bare)
		err = pn_with_add(store, archive, now.with, seq);
	if (err == PN_OK && now.bare != 0 && now.bare != before_bare && now.bare != before)
		err = pn_with_add(store, archive, now.bare, seq);
	if (err == PN_OK && before != 0 && before != now.bare && before != now.with)
		err = pn_with_remove(store, archive, before, seq);
	if (err == PN_OK && before_bare != 0 && before_bare != now.bare && before_bare != now.with)
		err = pn_with_remove(store, archive, before_bare, seq);
	return err;
}

static int change_message(struct pn_store *store, uint32_t archive, uint64_t seq,
			  struct pn_state *state, const struct change *change,
			  struct pn_buf *name) {
	const struct pn_key key = pn_key_seq(archive, PN_KIND_MESSAGE, seq);
	struct pn_wire value;
	struct pn_stored stored;
	uint64_t bytes;
	int err = pn_get(store, &key, &value);
	if (err <= 0)
		return err < 0 ? err : PN_ECORRUPT;
	const uint64_t bytes_before = key.len + 1 + value.left;
	err = pn_stored_read(value, &stored);
	if (err != PN_OK)
		return err;
	const bool was = stored.exception;
	if (stored.key.bytes != NULL) {
		pn_buf_append(name, stored.key.bytes, stored.key.len);
		stored.key.bytes = stored.key.len > 0 ? (const char *)name->data : "";
	}
	if (name->err != PN_OK)
		return name->err;
	stored.stanza = change->stanza;
	if (change->when != NULL)
		stored.when = *change->when;
	stored.exception = stored.when != stored.latest;
	if (change->with != NULL)
		err = change_with(store, archive, seq, state, *change->with, &stored);
	if (err == PN_OK)
		err = pn_stored_write(store, archive, seq, &stored, &bytes);
	if (err == PN_OK)
		err = update_exception(store, archive, seq, was, &stored, state);
	if (err != PN_OK)
		return err;
	state->bytes += bytes - bytes_before;
	return pn_state_write(store, archive, state);
}

int pn_archive_set(struct pn_store *store, const struct pn_space *space, struct pn_user user,
		   struct pn_str id, struct pn_str stanza, const double *when,
		   const struct pn_str *with) {
	const struct change change = {stanza, when, with};
	struct pn_state state;
	struct pn_buf name = {0};
	uint32_t archive;
	uint64_t seq;
	if (when != NULL && !isfinite(*when))
		return PN_EINVAL;
	int err = pn_call_write(store, (struct pn_claim){.puts = SET_PUTS,
							 .bytes = 2 * stanza.len,
							 .largest = stanza.len + MESSAGE_FIELDS});
	if (err != PN_OK)
		return err;
	err = find_archive(store, space, user, &archive, &state);
	if (err > 0)
		err = pn_message_find(store, archive, id, &seq);
	if (err > 0) {
		store->estimate += with != NULL ? state.count * RENUMBER : 0;
		err = change_message(store, archive, seq, &state, &change, &name);
	} else if (err == 0) {
		err = PN_ENOTFOUND;
	}
	pn_buf_free(&name);
	return pn_call_end(store, err);
}
