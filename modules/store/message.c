/* The records of an archive: its state, its messages, its correspondents. */
#include <math.h>
#include <string.h>

#include <pn/err.h>

#include "archive.h"

/* ---- State ---- */

int pn_state_read(struct pn_store *store, uint32_t archive, struct pn_state *state) {
	const struct pn_key key = pn_key_record(archive, PN_KIND_STATE);
	struct pn_wire value;
	const int found = pn_get(store, &key, &value);
	if (found <= 0)
		return found;
	state->next = pn_wire_u64(&value);
	state->count = pn_wire_u64(&value);
	state->bytes = pn_wire_u64(&value);
	state->latest = pn_wire_f64(&value);
	state->next_with = pn_wire_u32(&value);
	state->exceptions = pn_wire_u64(&value);
	const bool sound = value.err == PN_OK && !isnan(state->latest) && state->next > 0 &&
			   state->next <= PN_SEQ_END && state->count < state->next;
	return sound ? 1 : PN_ECORRUPT;
}

int pn_state_write(struct pn_store *store, uint32_t archive, const struct pn_state *state) {
	const struct pn_key key = pn_key_record(archive, PN_KIND_STATE);
	struct pn_buf buf = {0};
	pn_wire_put_u8(&buf, PN_VALUE_VERSION);
	pn_wire_put_u64(&buf, state->next);
	pn_wire_put_u64(&buf, state->count);
	pn_wire_put_u64(&buf, state->bytes);
	pn_wire_put_f64(&buf, state->latest);
	pn_wire_put_u32(&buf, state->next_with);
	pn_wire_put_u64(&buf, state->exceptions);
	const int err = buf.err != PN_OK ? buf.err : pn_put(store, &key, buf.data, buf.len);
	pn_buf_free(&buf);
	return err;
}

/* ---- Messages ---- */

enum { EXCEPTION = 1, KEYED = 2 };

int pn_stored_read(struct pn_wire value, struct pn_stored *stored) {
	const uint8_t flags = pn_wire_u8(&value);
	stored->epoch = pn_wire_u32(&value);
	stored->with = pn_wire_u32(&value);
	stored->when = pn_wire_f64(&value);
	stored->exception = (flags & EXCEPTION) != 0;
	stored->latest = stored->exception ? pn_wire_f64(&value) : stored->when;
	stored->key = (struct pn_str){NULL, 0};
	if (flags & KEYED)
		stored->key.bytes = pn_wire_bytes(&value, &stored->key.len);
	stored->stanza = (struct pn_str){(const char *)value.pos, value.left};
	if (value.err != PN_OK || flags > (EXCEPTION | KEYED) || !isfinite(stored->when) ||
	    isnan(stored->latest))
		return PN_ECORRUPT;
	return PN_OK;
}

int pn_stored_write(struct pn_store *store, uint32_t archive, uint64_t seq,
		    const struct pn_stored *stored, uint64_t *bytes) {
	const struct pn_key key = pn_key_seq(archive, PN_KIND_MESSAGE, seq);
	const bool keyed = stored->key.bytes != NULL;
	struct pn_buf buf = {0};
	pn_wire_put_u8(&buf, PN_VALUE_VERSION);
	pn_wire_put_u8(&buf, (uint8_t)((stored->exception ? EXCEPTION : 0) | (keyed ? KEYED : 0)));
	pn_wire_put_u32(&buf, stored->epoch);
	pn_wire_put_u32(&buf, stored->with);
	pn_wire_put_f64(&buf, stored->when);
	if (stored->exception)
		pn_wire_put_f64(&buf, stored->latest);
	if (keyed)
		pn_wire_put_bytes(&buf, stored->key.bytes, (uint32_t)stored->key.len);
	pn_buf_append(&buf, stored->stanza.bytes, stored->stanza.len);
	const int err = buf.err != PN_OK ? buf.err : pn_put(store, &key, buf.data, buf.len);
	*bytes = key.len + buf.len;
	pn_buf_free(&buf);
	return err;
}

/* ---- Ids ---- */

int pn_name_key(struct pn_store *store, uint32_t archive, struct pn_str name, struct pn_key *key) {
	pn_digest digest = {0};
	if (name.len > PN_KEY_RAW) {
		const int err = pn_crypt_digest(store->crypt, &name, 1, digest);
		if (err != PN_OK)
			return err;
	}
	*key = pn_key_name(archive, PN_KIND_NAME, name, digest);
	return PN_OK;
}

static int find_opaque(struct pn_store *store, uint32_t archive, struct pn_str id, uint64_t *seq) {
	struct pn_place place;
	struct pn_wire value;
	struct pn_stored stored;
	int found = pn_crypt_read_id(store->crypt, id, &place);
	if (found <= 0 || place.archive != archive)
		return found < 0 ? found : 0;
	const struct pn_key key = pn_key_seq(archive, PN_KIND_MESSAGE, place.seq);
	found = pn_get(store, &key, &value);
	if (found <= 0)
		return found;
	const int err = pn_stored_read(value, &stored);
	if (err != PN_OK)
		return err;
	*seq = place.seq;
	return stored.epoch == place.epoch && stored.key.bytes == NULL;
}

int pn_message_find(struct pn_store *store, uint32_t archive, struct pn_str id, uint64_t *seq) {
	struct pn_key key;
	struct pn_wire value;
	int found = find_opaque(store, archive, id, seq);
	if (found != 0)
		return found;
	const int err = pn_name_key(store, archive, id, &key);
	if (err != PN_OK)
		return err;
	found = pn_get(store, &key, &value);
	if (found > 0)
		*seq = pn_wire_u64(&value);
	return found > 0 && value.err != PN_OK ? PN_ECORRUPT : found;
}

/* ---- Correspondents ---- */

int pn_with_find(struct pn_store *store, uint32_t archive, struct pn_str name, uint32_t *with) {
	pn_digest digest;
	struct pn_wire value;
	const int err = pn_crypt_digest(store->crypt, &name, 1, digest);
	if (err != PN_OK)
		return err;
	const struct pn_key key = pn_key_with_name(archive, digest);
	const int found = pn_get(store, &key, &value);
	if (found > 0)
		*with = pn_wire_u32(&value);
	return found > 0 && value.err != PN_OK ? PN_ECORRUPT : found;
}

int pn_with_name(struct pn_store *store, uint32_t archive, uint32_t with, struct pn_str *name,
		 uint32_t *bare) {
	const struct pn_key key = pn_key_with_id(archive, with);
	struct pn_wire value;
	const int found = pn_get(store, &key, &value);
	if (found <= 0)
		return found < 0 ? found : PN_ECORRUPT;
	*bare = pn_wire_u32(&value);
	*name = (struct pn_str){(const char *)value.pos, value.left};
	return value.err;
}

static int make_one(struct pn_store *store, uint32_t archive, struct pn_state *state,
		    struct pn_str name, uint32_t bare, uint32_t *with) {
	pn_digest digest;
	struct pn_buf buf = {0};
	const int found = pn_with_find(store, archive, name, with);
	if (found != 0)
		return found < 0 ? found : PN_OK;
	int err = pn_crypt_digest(store->crypt, &name, 1, digest);
	if (err != PN_OK)
		return err;
	if (state->next_with == UINT32_MAX)
		return PN_EFULL;
	pn_call_estimate(store, 2);
	const uint32_t number = state->next_with++;
	const struct pn_key by_name = pn_key_with_name(archive, digest);
	const struct pn_key by_number = pn_key_with_id(archive, number);
	pn_wire_put_u8(&buf, PN_VALUE_VERSION);
	pn_wire_put_u32(&buf, number);
	err = buf.err != PN_OK ? buf.err : pn_put(store, &by_name, buf.data, buf.len);
	pn_buf_reset(&buf, SIZE_MAX);
	pn_wire_put_u8(&buf, PN_VALUE_VERSION);
	pn_wire_put_u32(&buf, bare);
	pn_buf_append(&buf, name.bytes, name.len);
	if (err == PN_OK)
		err = buf.err != PN_OK ? buf.err : pn_put(store, &by_number, buf.data, buf.len);
	pn_buf_free(&buf);
	*with = number;
	return err;
}

int pn_with_make(struct pn_store *store, uint32_t archive, struct pn_state *state,
		 struct pn_str name, struct pn_withs *withs) {
	const char *slash = memchr(name.bytes, '/', name.len);
	withs->bare = 0;
	if (slash != NULL) {
		const struct pn_str bare = {name.bytes, (size_t)(slash - name.bytes)};
		const int err = make_one(store, archive, state, bare, 0, &withs->bare);
		if (err != PN_OK)
			return err;
	}
	return make_one(store, archive, state, name, withs->bare, &withs->with);
}

/* Forgets a correspondent to whom no message belongs any more. */
static int forget(struct pn_store *store, uint32_t archive, uint32_t with) {
	struct pn_str name;
	uint32_t bare;
	pn_digest digest;
	int err = pn_with_name(store, archive, with, &name, &bare);
	if (err == PN_OK)
		err = pn_crypt_digest(store->crypt, &name, 1, digest);
	if (err != PN_OK)
		return err;
	const struct pn_key by_name = pn_key_with_name(archive, digest);
	const struct pn_key by_number = pn_key_with_id(archive, with);
	err = pn_remove(store, &by_name);
	if (err >= 0)
		err = pn_remove(store, &by_number);
	return err < 0 ? err : pn_holes_trim(store, archive, with, UINT64_MAX);
}

/* ---- The index of a correspondent ---- */

/* Whether the cursor is in the index: 1 and the ordinal, or 0. */
static int is_with(const struct pn_cursor *cursor, uint32_t archive, uint32_t with,
		   uint64_t *ordinal) {
	uint32_t found_archive, found_with;
	uint64_t seq;
	struct pn_wire value = cursor->value;
	if (!pn_key_read_with(cursor->key, &found_archive, &found_with, &seq) ||
	    found_archive != archive || found_with != with)
		return 0;
	*ordinal = pn_wire_u32(&value);
	return value.err == PN_OK ? 1 : PN_ECORRUPT;
}

static int put_ordinal(struct pn_store *store, const struct pn_key *key, uint64_t ordinal) {
	if (ordinal > UINT32_MAX)
		return PN_EFULL;
	return pn_put_u32(store, key, (uint32_t)ordinal);
}

/* Looks at the neighbours of a place in the index: 1 and the ordinal, or 0. */
static int ordinal_before(struct pn_cursor *cursor, const struct pn_key *key, uint32_t archive,
			  uint32_t with, uint64_t *ordinal) {
	const int found = pn_cursor_seek_before(cursor, key);
	return found <= 0 ? found : is_with(cursor, archive, with, ordinal);
}

static int ordinal_from(struct pn_cursor *cursor, const struct pn_key *key, uint32_t archive,
			uint32_t with, uint64_t *ordinal) {
	const int found = pn_cursor_seek(cursor, key);
	return found <= 0 ? found : is_with(cursor, archive, with, ordinal);
}

/* Numbers the messages of a correspondent anew, without gaps. */
static int renumber(struct pn_store *store, uint32_t archive, uint32_t with) {
	struct pn_key place = pn_key_with(archive, with, 0);
	struct pn_cursor cursor;
	uint64_t ordinal = 0, old;
	int err = pn_holes_trim(store, archive, with, UINT64_MAX);
	if (err == PN_OK)
		err = pn_cursor_open(store, &cursor);
	if (err != PN_OK)
		return err;
	while ((err = ordinal_from(&cursor, &place, archive, with, &old)) > 0) {
		place.len = cursor.key.len;
		memcpy(place.bytes, cursor.key.bytes, cursor.key.len);
		err = put_ordinal(store, &place, ordinal++);
		if (err != PN_OK)
			break;
		place.bytes[place.len++] = 0; /* just after it */
	}
	pn_cursor_close(&cursor);
	return err < 0 ? err : PN_OK;
}

int pn_with_add(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t seq) {
	const struct pn_key key = pn_key_with(archive, with, seq);
	const struct pn_key end = pn_key_with(archive, with, UINT64_MAX);
	struct pn_cursor cursor;
	uint64_t last = 0, after = 0;
	int err = pn_cursor_open(store, &cursor);
	if (err != PN_OK)
		return err;
	const int before = ordinal_before(&cursor, &end, archive, with, &last);
	const int later = before > 0 ? ordinal_from(&cursor, &key, archive, with, &after) : 0;
	pn_cursor_close(&cursor);
	if (before < 0 || later < 0)
		return before < 0 ? before : later;
	err = put_ordinal(store, &key, before > 0 ? last + 1 : 0);
	return err == PN_OK && later > 0 ? renumber(store, archive, with) : err;
}

int pn_with_remove(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t seq) {
	const struct pn_key key = pn_key_with(archive, with, seq);
	struct pn_wire value;
	struct pn_cursor cursor;
	uint64_t before = 0, after = 0;
	int err = pn_get(store, &key, &value);
	if (err <= 0)
		return err < 0 ? err : PN_ECORRUPT;
	const uint64_t ordinal = pn_wire_u32(&value);
	err = pn_remove(store, &key);
	if (err >= 0)
		err = pn_cursor_open(store, &cursor);
	if (err < 0)
		return err;
	const int earlier = ordinal_before(&cursor, &key, archive, with, &before);
	const int later = earlier < 0 ? 0 : ordinal_from(&cursor, &key, archive, with, &after);
	pn_cursor_close(&cursor);
	if (earlier < 0 || later < 0)
		return earlier < 0 ? earlier : later;
	if (earlier == 0 && later == 0)
		return forget(store, archive, with);
	if (later == 0)
		return pn_holes_cut(store, archive, with, before + 1); /* to be given again */
	if (earlier == 0)
		return ordinal >> 8 == after >> 8 ? PN_OK
						  : pn_holes_trim(store, archive, with, after);
	return pn_holes_add(store, archive, with, ordinal);
}
