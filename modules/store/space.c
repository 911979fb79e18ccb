/* Which collections there are: found by host, store and user; listed by each of these. */
#include <string.h>

#include <pn/err.h>

#include "store.h"

enum { MAKE_PUTS = 4, DROP_PUTS = 5, ERASE_PUTS = 4, BOTH_TYPES = 2 };

static const enum pn_type TYPES[BOTH_TYPES] = {PN_TYPE_KEYVAL, PN_TYPE_ARCHIVE};

static int digest_one(struct pn_store *store, struct pn_str name, pn_digest digest) {
	return pn_crypt_digest(store->crypt, &name, 1, digest);
}

static int digest_two(struct pn_crypt *crypt, struct pn_str first, struct pn_str second,
		      pn_digest digest) {
	const struct pn_str names[2] = {first, second};
	return pn_crypt_digest(crypt, names, 2, digest);
}

static struct pn_str user_str(struct pn_user user) {
	return (struct pn_str){user.bytes, user.len};
}

int pn_user_digest(struct pn_store *store, struct pn_user user, pn_digest digest) {
	return digest_one(store, user_str(user), digest);
}

int pn_space_init(struct pn_space *space, enum pn_type type, struct pn_str host,
		  struct pn_str store) {
	*space = (struct pn_space){.type = type, .host = host, .store = store};
	return digest_two(NULL, host, store, space->place);
}

/* ---- The names of a collection: type u8, host, store, u8 whether there is a user, user ---- */

int pn_names_read(struct pn_wire value, struct pn_names *names) {
	names->type = pn_wire_u8(&value);
	names->host.bytes = pn_wire_bytes(&value, &names->host.len);
	names->store.bytes = pn_wire_bytes(&value, &names->store.len);
	const uint8_t has_user = pn_wire_u8(&value);
	names->user.bytes = pn_wire_bytes(&value, &names->user.len);
	if (value.err != PN_OK || value.left > 0 || has_user > 1 ||
	    (names->type != PN_TYPE_KEYVAL && names->type != PN_TYPE_ARCHIVE))
		return PN_ECORRUPT;
	if (has_user == 0)
		names->user = (struct pn_user){NULL, 0};
	return PN_OK;
}

int pn_collection_names(struct pn_store *store, uint32_t collection, struct pn_names *names) {
	const struct pn_key key = pn_key_collection(PN_KIND_COLLECTION, collection);
	struct pn_wire value;
	const int found = pn_get(store, &key, &value);
	if (found <= 0)
		return found < 0 ? found : PN_ECORRUPT;
	return pn_names_read(value, names);
}

static int write_names(struct pn_store *store, uint32_t collection, const struct pn_space *space,
		       struct pn_user user) {
	const struct pn_key key = pn_key_collection(PN_KIND_COLLECTION, collection);
	struct pn_buf buf = {0};
	pn_wire_put_u8(&buf, PN_VALUE_VERSION);
	pn_wire_put_u8(&buf, (uint8_t)space->type);
	pn_wire_put_bytes(&buf, space->host.bytes, (uint32_t)space->host.len);
	pn_wire_put_bytes(&buf, space->store.bytes, (uint32_t)space->store.len);
	pn_wire_put_u8(&buf, user.bytes != NULL);
	pn_wire_put_bytes(&buf, user.bytes, (uint32_t)user.len);
	const int err = buf.err != PN_OK ? buf.err : pn_put(store, &key, buf.data, buf.len);
	pn_buf_free(&buf);
	return err;
}

/*
 * A number for a new collection: one more than that of the newest in use or being erased, and than
 * any that was used since the store was opened. What is left over is told apart by its epoch.
 */
static int new_number(struct pn_store *store, uint32_t *number) {
	static const enum pn_kind kinds[2] = {PN_KIND_COLLECTION, PN_KIND_TRASH};
	struct pn_cursor cursor;
	uint32_t last = store->last_collection;
	int err = pn_cursor_open(store, &cursor);
	for (int i = 0; i < 2 && err >= 0; i++) {
		uint32_t collection;
		const struct pn_key end = pn_key_collection(kinds[i], UINT32_MAX);
		err = pn_cursor_seek_before(&cursor, &end);
		if (err > 0 && pn_key_read_collection(cursor.key, kinds[i], &collection) &&
		    collection > last)
			last = collection;
	}
	pn_cursor_close(&cursor);
	if (err < 0)
		return err;
	if (last >= UINT32_MAX - 1)
		return PN_EFULL;
	*number = store->last_collection = last + 1;
	return PN_OK;
}

/* ---- The directory ---- */

struct place {
	struct pn_key directory; /* d */
	struct pn_key user;      /* u */
	struct pn_key stores;    /* s */
};

static int find_place(struct pn_store *store, const struct pn_names *names, struct place *place) {
	pn_digest host, name, user, host_store, host_user;
	int err = digest_one(store, names->host, host);
	if (err == PN_OK)
		err = digest_one(store, names->store, name);
	if (err == PN_OK)
		err = pn_user_digest(store, names->user, user);
	if (err == PN_OK)
		err = digest_two(store->crypt, names->host, names->store, host_store);
	if (err == PN_OK)
		err = digest_two(store->crypt, names->host, user_str(names->user), host_user);
	if (err != PN_OK)
		return err;
	place->directory = pn_key_place(PN_KIND_DIRECTORY, host_store, names->type, user);
	place->user = pn_key_place(PN_KIND_USER, host_user, names->type, name);
	place->stores = pn_key_place(PN_KIND_STORES, host, names->type, name);
	return PN_OK;
}

/* Counts a collection more or less in the record s; those of the host itself are not counted. */
static int count_store(struct pn_store *store, const struct pn_key *key,
		       const struct pn_names *names, int difference) {
	struct pn_wire value;
	struct pn_buf buf = {0};
	const struct pn_str name = names->store;
	if (names->user.bytes == NULL)
		return PN_OK;
	const int found = pn_get(store, key, &value);
	if (found < 0)
		return found;
	const uint32_t before = found > 0 ? pn_wire_u32(&value) : 0;
	const int64_t count = (int64_t)before + difference;
	if (count <= 0) {
		const int removed = pn_remove(store, key);
		return removed < 0 ? removed : PN_OK;
	}
	pn_wire_put_u8(&buf, PN_VALUE_VERSION);
	pn_wire_put_u32(&buf, (uint32_t)count);
	pn_wire_put_bytes(&buf, name.bytes, (uint32_t)name.len);
	const int err = buf.err != PN_OK ? buf.err : pn_put(store, key, buf.data, buf.len);
	pn_buf_free(&buf);
	return err;
}

int pn_collection_find(struct pn_store *store, const struct pn_space *space, struct pn_user user,
		       uint32_t *collection) {
	pn_digest digest;
	struct pn_wire value;
	const int err = pn_user_digest(store, user, digest);
	if (err != PN_OK)
		return err;
	const struct pn_key key =
		pn_key_place(PN_KIND_DIRECTORY, space->place, space->type, digest);
	const int found = pn_get(store, &key, &value);
	if (found <= 0)
		return found;
	*collection = pn_wire_u32(&value);
	return value.err == PN_OK && value.left == 0 ? 1 : PN_ECORRUPT;
}

int pn_collection_make(struct pn_store *store, const struct pn_space *space, struct pn_user user,
		       uint32_t *collection) {
	struct place place;
	uint32_t number = 0;
	const int found = pn_collection_find(store, space, user, collection);
	if (found != 0)
		return found < 0 ? found : PN_OK;
	const struct pn_names names = {space->type, space->host, space->store, user};
	int err = find_place(store, &names, &place);
	if (err == PN_OK)
		err = new_number(store, &number);
	pn_call_estimate(store, MAKE_PUTS);
	if (err == PN_OK)
		err = write_names(store, number, space, user);
	if (err == PN_OK)
		err = pn_put_u32(store, &place.directory, number);
	if (err == PN_OK)
		err = pn_put_u32(store, &place.user, number);
	if (err == PN_OK)
		err = count_store(store, &place.stores, &names, 1);
	if (err == PN_OK)
		*collection = number;
	return err;
}

int pn_collection_drop(struct pn_store *store, uint32_t collection) {
	const struct pn_key key = pn_key_collection(PN_KIND_COLLECTION, collection);
	const struct pn_key trash = pn_key_collection(PN_KIND_TRASH, collection);
	struct pn_names names;
	struct place place;
	int err = pn_collection_names(store, collection, &names);
	if (err == PN_OK)
		err = find_place(store, &names, &place);
	if (err != PN_OK)
		return err;
	const unsigned char value[2] = {PN_VALUE_VERSION, (unsigned char)names.type};
	err = count_store(store, &place.stores, &names, -1); /* names are borrowed from here */
	if (err == PN_OK)
		err = pn_put(store, &trash, value, sizeof(value));
	if (err == PN_OK)
		err = pn_remove(store, &place.directory);
	if (err >= 0)
		err = pn_remove(store, &place.user);
	if (err >= 0)
		err = pn_remove(store, &key);
	return err < 0 ? err : PN_OK;
}

/* ---- Lists ---- */

int pn_space_users(struct pn_store *store, const struct pn_space *space, struct pn_buf *out) {
	const struct pn_key prefix =
		pn_key_place(PN_KIND_DIRECTORY, space->place, space->type, NULL);
	struct pn_cursor cursor;
	int err = pn_call_read(store);
	if (err != PN_OK)
		return err;
	err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = pn_cursor_seek(&cursor, &prefix);
	while (err > 0 && pn_key_starts_with(cursor.key, &prefix)) {
		struct pn_names names;
		err = pn_collection_names(store, pn_wire_u32(&cursor.value), &names);
		if (err != PN_OK)
			break;
		if (names.user.bytes != NULL)
			pn_wire_put_bytes(out, names.user.bytes, (uint32_t)names.user.len);
		err = out->err != PN_OK ? out->err : pn_cursor_next(&cursor);
	}
	pn_cursor_close(&cursor);
	return pn_call_end(store, err < 0 ? err : PN_OK);
}

int pn_store_list(struct pn_store *store, struct pn_str host, struct pn_user user,
		  struct pn_buf *out) {
	pn_digest digest;
	struct pn_cursor cursor;
	int err = pn_call_read(store);
	if (err != PN_OK)
		return err;
	err = digest_two(store->crypt, host, user_str(user), digest);
	if (err == PN_OK)
		err = pn_cursor_open(store, &cursor);
	if (err != PN_OK)
		return pn_call_end(store, err);
	const struct pn_key prefix = pn_key_place(PN_KIND_USER, digest, 0, NULL);
	err = pn_cursor_seek(&cursor, &prefix);
	while (err > 0 && pn_key_starts_with(cursor.key, &prefix)) {
		struct pn_names names;
		err = pn_collection_names(store, pn_wire_u32(&cursor.value), &names);
		if (err != PN_OK)
			break;
		pn_wire_put_u8(out, (uint8_t)names.type);
		pn_wire_put_bytes(out, names.store.bytes, (uint32_t)names.store.len);
		err = out->err != PN_OK ? out->err : pn_cursor_next(&cursor);
	}
	pn_cursor_close(&cursor);
	return pn_call_end(store, err < 0 ? err : PN_OK);
}

static int list_type(struct pn_cursor *cursor, const struct pn_key *prefix, enum pn_type type,
		     struct pn_buf *out) {
	int err = pn_cursor_seek(cursor, prefix);
	while (err > 0 && pn_key_starts_with(cursor->key, prefix)) {
		size_t len;
		(void)pn_wire_u32(&cursor->value);
		const char *name = pn_wire_bytes(&cursor->value, &len);
		if (cursor->value.err != PN_OK)
			return PN_ECORRUPT;
		pn_wire_put_u8(out, (uint8_t)type);
		pn_wire_put_bytes(out, name, (uint32_t)len);
		err = out->err != PN_OK ? out->err : pn_cursor_next(cursor);
	}
	return err;
}

int pn_store_list_all(struct pn_store *store, struct pn_str host, struct pn_buf *out) {
	pn_digest digest;
	struct pn_cursor cursor;
	int err = pn_call_read(store);
	if (err != PN_OK)
		return err;
	err = digest_one(store, host, digest);
	if (err == PN_OK)
		err = pn_cursor_open(store, &cursor);
	if (err != PN_OK)
		return pn_call_end(store, err);
	for (int i = 0; i < BOTH_TYPES && err >= 0; i++) {
		const struct pn_key prefix = pn_key_place(PN_KIND_STORES, digest, TYPES[i], NULL);
		err = list_type(&cursor, &prefix, TYPES[i], out);
	}
	pn_cursor_close(&cursor);
	return pn_call_end(store, err < 0 ? err : PN_OK);
}

/* ---- Removal ---- */

/* Sets *collection to one of the user's collections: 1, or 0 if there is none. */
static int first_collection(struct pn_store *store, const struct pn_key *prefix,
			    uint32_t *collection) {
	struct pn_cursor cursor;
	int err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = pn_cursor_seek(&cursor, prefix);
	if (err > 0 && !pn_key_starts_with(cursor.key, prefix))
		err = 0;
	if (err > 0)
		*collection = pn_wire_u32(&cursor.value);
	pn_cursor_close(&cursor);
	return err;
}

/* Drops every collection whose record u begins with the prefix. */
static int drop_all(struct pn_store *store, const struct pn_key *prefix) {
	uint32_t collection = 0;
	int found;
	while ((found = first_collection(store, prefix, &collection)) > 0) {
		pn_call_estimate(store, 2); /* its neighbours in the directory are mostly others' */
		const int err = pn_collection_drop(store, collection);
		if (err != PN_OK)
			return err;
	}
	return found;
}

int pn_store_purge(struct pn_store *store, struct pn_str host, struct pn_user user) {
	pn_digest digest;
	int err = digest_two(store->crypt, host, user_str(user), digest);
	if (err != PN_OK)
		return err;
	const struct pn_key prefix = pn_key_place(PN_KIND_USER, digest, 0, NULL);
	err = pn_call_write(store, (struct pn_claim){.puts = DROP_PUTS, .removes = true});
	return err == PN_OK ? pn_call_end(store, drop_all(store, &prefix)) : err;
}

/* Erases records that begin with the prefix. Returns what is left of the limit, or an error. */
static int erase_prefix(struct pn_store *store, struct pn_cursor *cursor,
			const struct pn_key *prefix, int limit) {
	int found = pn_cursor_seek(cursor, prefix);
	while (found > 0 && limit > 0 && pn_key_starts_with(cursor->key, prefix)) {
		const int err = pn_cursor_remove(store, cursor);
		if (err != PN_OK)
			return err;
		limit--;
		found = pn_cursor_seek(cursor, prefix);
	}
	return found < 0 ? found : limit;
}

/* Erases records of one removed collection, and at last its record in the trash. */
static int erase_collection(struct pn_store *store, uint32_t collection, int limit) {
	const struct pn_key records = pn_key_collection(PN_KIND_RECORD, collection);
	const struct pn_key trash = pn_key_collection(PN_KIND_TRASH, collection);
	struct pn_cursor cursor;
	const int err = pn_cursor_open(store, &cursor);
	if (err != PN_OK)
		return err;
	int left = erase_prefix(store, &cursor, &records, limit);
	if (left > 0)
		left = erase_prefix(store, &cursor, &trash, left);
	pn_cursor_close(&cursor);
	return left;
}

static int first_trash(struct pn_store *store, uint32_t *collection) {
	const struct pn_key start = pn_key_collection(PN_KIND_TRASH, 0);
	struct pn_cursor cursor;
	int err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = pn_cursor_seek(&cursor, &start);
	if (err > 0 && !pn_key_read_collection(cursor.key, PN_KIND_TRASH, collection))
		err = 0;
	pn_cursor_close(&cursor);
	return err;
}

int pn_store_erase(struct pn_store *store, unsigned limit) {
	uint32_t collection = 0;
	int left = (int)limit;
	while (left > 0) {
		int found = pn_call_read(store);
		if (found == PN_OK)
			found = pn_call_end(store, first_trash(store, &collection));
		if (found <= 0)
			return found;
		const int err = pn_call_write(
			store, (struct pn_claim){.puts = ERASE_PUTS + (unsigned)left / 16,
						 .removes = true});
		if (err != PN_OK)
			return err;
		left = erase_collection(store, collection, left);
		(void)pn_call_end(store, left < 0 ? left : PN_OK);
	}
	return left < 0 ? left : 1;
}
