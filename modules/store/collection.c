/* The directory of collections: finds, lists, creates and removes them by host, store and user. */
#include <string.h>

#include <pn/collection.h>
#include <pn/err.h>

/* Records that an operation writes or removes (struct pn_claim). PER_PUT of txn.c is for the worst
 * case, records on pages of their own, so small counts have a margin. */
enum {
	MAKE_PUTS = 4, /* c, d, u, s */
};

enum { BOTH_TYPES = 2 };

static const enum pn_type TYPES[BOTH_TYPES] = {PN_TYPE_KEYVAL, PN_TYPE_ARCHIVE};

static void digest_two(struct pn_txn *txn, struct pn_str first, struct pn_str second,
		       pn_digest digest) {
	const struct pn_str names[2] = {first, second};
	pn_txn_fail(txn, pn_db_digest(txn->db, names, 2, digest));
}

void pn_name_digest(struct pn_txn *txn, struct pn_str name, pn_digest digest) {
	pn_txn_fail(txn, pn_db_digest(txn->db, &name, 1, digest));
}

static struct pn_str user_str(struct pn_user user) {
	return (struct pn_str){user.bytes, user.len};
}

int pn_store_init(struct pn_store *store, struct pn_db *db, enum pn_type type, struct pn_str host,
		  struct pn_str name) {
	const struct pn_str names[2] = {host, name};
	*store = (struct pn_store){.db = db, .type = type, .host = host, .name = name};
	const int err = pn_db_digest(db, &host, 1, store->host_digest);
	return err == PN_OK ? pn_db_digest(db, names, 2, store->digest) : err;
}

struct pn_key pn_name_key(struct pn_txn *txn, uint32_t collection, enum pn_kind kind,
			  struct pn_str name) {
	pn_digest digest = {0};
	if (name.len > PN_KEY_RAW)
		pn_name_digest(txn, name, digest);
	return pn_key_name(collection, kind, name, digest);
}

/* ---- The owner of a collection: type u8, host, store, u8 whether there is a user, user ---- */

bool pn_owner_read(struct pn_txn *txn, struct pn_wire value, struct pn_owner *owner) {
	owner->type = pn_wire_u8(&value);
	owner->host.bytes = pn_wire_bytes(&value, &owner->host.len);
	owner->store.bytes = pn_wire_bytes(&value, &owner->store.len);
	const uint8_t has_user = pn_wire_u8(&value);
	owner->user.bytes = pn_wire_bytes(&value, &owner->user.len);
	if (value.left > 0 || has_user > 1 ||
	    (owner->type != PN_TYPE_KEYVAL && owner->type != PN_TYPE_ARCHIVE))
		pn_txn_fail(txn, PN_ECORRUPT);
	if (has_user == 0)
		owner->user = (struct pn_user){NULL, 0};
	return pn_txn_sound(txn, &value);
}

bool pn_collection_owner(struct pn_txn *txn, uint32_t collection, struct pn_owner *owner) {
	const struct pn_key key = pn_key_collection(PN_KIND_COLLECTION, collection);
	struct pn_wire value;
	if (pn_get(txn, &key, &value))
		return pn_owner_read(txn, value, owner);
	pn_txn_fail(txn, PN_ECORRUPT);
	return false;
}

bool pn_collection_host(struct pn_txn *txn, uint32_t collection, pn_digest host) {
	struct pn_owner owner;
	if (!pn_collection_owner(txn, collection, &owner))
		return false;
	pn_name_digest(txn, owner.host, host);
	return txn->err == PN_OK;
}

static void write_owner(struct pn_txn *txn, uint32_t collection, const struct pn_owner *owner) {
	const struct pn_key key = pn_key_collection(PN_KIND_COLLECTION, collection);
	struct pn_buf value = pn_value();
	pn_wire_put_u8(&value, (uint8_t)owner->type);
	pn_wire_put_bytes(&value, owner->host.bytes, (uint32_t)owner->host.len);
	pn_wire_put_bytes(&value, owner->store.bytes, (uint32_t)owner->store.len);
	pn_wire_put_u8(&value, owner->user.bytes != NULL);
	pn_wire_put_bytes(&value, owner->user.bytes, (uint32_t)owner->user.len);
	pn_put(txn, &key, &value);
}

/* The highest number of a collection of the kind, c or x; 0 if there is none. */
static uint32_t last_number(struct pn_txn *txn, enum pn_kind kind) {
	const struct pn_key prefix = {.len = 1, .bytes = {(unsigned char)kind}};
	const struct pn_key end = pn_key_collection(kind, UINT32_MAX);
	struct pn_cursor cursor;
	uint32_t number = 0;
	pn_cursor_open(txn, &cursor, &prefix);
	if (!pn_cursor_seek_before(&cursor, &end) ||
	    !pn_key_read_collection(cursor.key, kind, &number))
		number = 0;
	pn_cursor_close(&cursor);
	return number;
}

/*
 * The number for a new collection: above all numbers that are in use or being erased, and above all
 * that were used since the database was opened. Ids of messages in an older collection of the same
 * number have another epoch.
 */
static uint32_t new_number(struct pn_txn *txn) {
	static const enum pn_kind kinds[2] = {PN_KIND_COLLECTION, PN_KIND_TRASH};
	uint32_t *const last = &pn_db_notes(txn->db)->high_mark;
	uint32_t newest = *last;
	for (int i = 0; i < 2; i++) {
		const uint32_t number = last_number(txn, kinds[i]);
		newest = number > newest ? number : newest;
	}
	if (newest >= UINT32_MAX - 1)
		pn_txn_fail(txn, PN_EFULL);
	if (txn->err != PN_OK)
		return 0;
	return *last = newest + 1;
}

/* ---- The directory ---- */

struct directory_keys {
	struct pn_key directory; /* d */
	struct pn_key user;      /* u */
	struct pn_key stores;    /* s */
};

static void find_keys(struct pn_txn *txn, const struct pn_owner *owner,
		      struct directory_keys *keys) {
	pn_digest host = {0}, name = {0}, user = {0}, host_store = {0}, host_user = {0};
	pn_name_digest(txn, owner->host, host);
	pn_name_digest(txn, owner->store, name);
	pn_name_digest(txn, user_str(owner->user), user);
	digest_two(txn, owner->host, owner->store, host_store);
	digest_two(txn, owner->host, user_str(owner->user), host_user);
	keys->directory = pn_key_directory(PN_KIND_DIRECTORY, host_store, owner->type, user);
	keys->user = pn_key_directory(PN_KIND_USER, host_user, owner->type, name);
	keys->stores = pn_key_directory(PN_KIND_STORES, host, owner->type, name);
}

/* Adds `difference` to the number of users in the record s. The host itself is not counted. */
static void count_store(struct pn_txn *txn, const struct pn_key *key, const struct pn_owner *owner,
			int difference) {
	struct pn_wire value;
	if (owner->user.bytes == NULL)
		return;
	const uint32_t before = pn_get(txn, key, &value) ? pn_wire_u32(&value) : 0;
	const int64_t count = (int64_t)before + difference;
	if (count <= 0) {
		pn_remove(txn, key);
		return;
	}
	struct pn_buf after = pn_value();
	pn_wire_put_u32(&after, (uint32_t)count);
	pn_wire_put_bytes(&after, owner->store.bytes, (uint32_t)owner->store.len);
	pn_put(txn, key, &after);
}

uint32_t pn_collection_find(struct pn_txn *txn, const struct pn_store *store, struct pn_user user) {
	pn_digest digest = {0};
	struct pn_wire value;
	pn_name_digest(txn, user_str(user), digest);
	const struct pn_key key =
		pn_key_directory(PN_KIND_DIRECTORY, store->digest, store->type, digest);
	if (!pn_get(txn, &key, &value))
		return 0;
	const uint32_t collection = pn_wire_u32(&value);
	if (collection == 0 || value.left > 0)
		pn_txn_fail(txn, PN_ECORRUPT);
	return pn_txn_sound(txn, &value) ? collection : 0;
}

uint32_t pn_collection_make(struct pn_txn *txn, const struct pn_store *store, struct pn_user user) {
	const struct pn_owner owner = {store->type, store->host, store->name, user};
	struct directory_keys keys;
	const uint32_t found = pn_collection_find(txn, store, user);
	if (found != 0 || txn->err != PN_OK)
		return found;
	const uint32_t number = new_number(txn);
	find_keys(txn, &owner, &keys);
	pn_txn_claim_more(txn, MAKE_PUTS, 0);
	write_owner(txn, number, &owner);
	pn_put_u32(txn, &keys.directory, number);
	pn_put_u32(txn, &keys.user, number);
	count_store(txn, &keys.stores, &owner, 1);
	return txn->err == PN_OK ? number : 0;
}

void pn_collection_drop(struct pn_txn *txn, uint32_t collection, uint64_t bytes) {
	pn_digest host;
	const struct pn_key key = pn_key_collection(PN_KIND_COLLECTION, collection);
	const struct pn_key trash = pn_key_collection(PN_KIND_TRASH, collection);
	const struct pn_key marks = pn_key_collection(PN_KIND_MARKS, collection);
	struct pn_owner owner;
	struct directory_keys keys;
	if (!pn_collection_owner(txn, collection, &owner))
		return;
	find_keys(txn, &owner, &keys);
	pn_name_digest(txn, owner.host, host);
	const uint8_t type = (uint8_t)owner.type;
	count_store(txn, &keys.stores, &owner, -1); /* owner is borrowed until here */
	pn_host_changed(txn, host, collection, -(int64_t)bytes);
	pn_put_u8(txn, &trash, type);
	pn_remove(txn, &keys.directory);
	pn_remove(txn, &keys.user);
	pn_remove(txn, &key);
	pn_remove(txn, &marks);
}

struct pn_key pn_directory_start(const struct pn_store *store) {
	return pn_key_directory(PN_KIND_DIRECTORY, store->digest, store->type, NULL);
}

bool pn_directory_next(struct pn_txn *txn, const struct pn_store *store, struct pn_key *position,
		       uint32_t *collection) {
	const struct pn_key prefix = pn_directory_start(store);
	struct pn_cursor cursor;
	if (!pn_cursor_find(txn, &cursor, &prefix, position))
		return false;
	position->len = cursor.key.len;
	memcpy(position->bytes, cursor.key.bytes, cursor.key.len);
	if (position->len < PN_KEY_MAX)
		position->bytes[position->len++] = 0; /* the least key above it */
	*collection = pn_wire_u32(&cursor.value);
	if (!pn_key_in_directory(cursor.key, &prefix) || *collection == 0)
		pn_txn_fail(txn, PN_ECORRUPT);
	pn_txn_sound(txn, &cursor.value);
	pn_cursor_close(&cursor);
	return true;
}

/* ---- Lists ---- */

int pn_store_users(const struct pn_store *store, struct pn_buf *out) {
	const struct pn_key prefix = pn_directory_start(store);
	struct pn_txn txn;
	struct pn_cursor cursor;
	struct pn_owner owner;
	pn_txn_read(store->db, &txn);
	pn_cursor_open(&txn, &cursor, &prefix);
	for (bool any = pn_cursor_first(&cursor); any; any = pn_cursor_next(&cursor)) {
		if (!pn_collection_owner(&txn, pn_wire_u32(&cursor.value), &owner))
			break;
		if (owner.user.bytes != NULL)
			pn_wire_put_bytes(out, owner.user.bytes, (uint32_t)owner.user.len);
		pn_txn_fail(&txn, out->err);
	}
	pn_cursor_close(&cursor);
	return pn_txn_end(&txn, PN_OK);
}

struct pn_key pn_user_prefix(struct pn_txn *txn, struct pn_str host, struct pn_user user) {
	pn_digest digest = {0};
	digest_two(txn, host, user_str(user), digest);
	return pn_key_directory(PN_KIND_USER, digest, 0, NULL);
}

int pn_store_list(struct pn_db *db, struct pn_str host, struct pn_user user, struct pn_buf *out) {
	struct pn_txn txn;
	struct pn_cursor cursor;
	struct pn_owner owner;
	pn_txn_read(db, &txn);
	const struct pn_key prefix = pn_user_prefix(&txn, host, user);
	pn_cursor_open(&txn, &cursor, &prefix);
	for (bool any = pn_cursor_first(&cursor); any; any = pn_cursor_next(&cursor)) {
		if (!pn_collection_owner(&txn, pn_wire_u32(&cursor.value), &owner))
			break;
		pn_wire_put_u8(out, (uint8_t)owner.type);
		pn_wire_put_bytes(out, owner.store.bytes, (uint32_t)owner.store.len);
		pn_txn_fail(&txn, out->err);
	}
	pn_cursor_close(&cursor);
	return pn_txn_end(&txn, PN_OK);
}

static void list_type(struct pn_txn *txn, const pn_digest host, enum pn_type type,
		      struct pn_buf *out) {
	const struct pn_key prefix = pn_key_directory(PN_KIND_STORES, host, type, NULL);
	struct pn_cursor cursor;
	pn_cursor_open(txn, &cursor, &prefix);
	for (bool any = pn_cursor_first(&cursor); any; any = pn_cursor_next(&cursor)) {
		size_t len;
		(void)pn_wire_u32(&cursor.value);
		const char *name = pn_wire_bytes(&cursor.value, &len);
		if (!pn_txn_sound(txn, &cursor.value))
			break;
		pn_wire_put_u8(out, (uint8_t)type);
		pn_wire_put_bytes(out, name, (uint32_t)len);
		pn_txn_fail(txn, out->err);
	}
	pn_cursor_close(&cursor);
}

int pn_store_list_all(struct pn_db *db, struct pn_str host, struct pn_buf *out) {
	pn_digest digest = {0};
	struct pn_txn txn;
	pn_txn_read(db, &txn);
	pn_name_digest(&txn, host, digest);
	for (int i = 0; i < BOTH_TYPES; i++)
		list_type(&txn, digest, TYPES[i], out);
	return pn_txn_end(&txn, PN_OK);
}
