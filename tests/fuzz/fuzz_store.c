/*
 * The input is damage to the records of a small store, written through LMDB: its structure is
 * valid, the content of the records is not. Then every operation is run on it. Each may fail; none
 * may crash, read out of bounds, or run for ever.
 *
 *      { u8 how  u8 which  u8 length  bytes }*
 *
 *      how   0 mod 4: the bytes are written over the value of record number `which`, from offset
 *                     bytes[0] on        1: they are its value        2: it is removed
 *            3: a new record: bytes are u8 length of the key, key, value
 */
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lmdb.h>

#include <pn/archive.h>
#include <pn/err.h>
#include <pn/pack.h>
#include <pn/db.h>
#include <pn/wire.h>

#include "fuzz.h"

enum {
	STEPS = 400, /* a small store needs fewer, with any content */
	FOUND = 200,
};

static const struct pn_user USERS[] = {{"juliet", 6}, {"romeo", 5}, {NULL, 0}};
static const struct pn_str HOST = {"host", 4};

static struct {
	char directory[64];
	unsigned char *bytes; /* of the original file */
	size_t size;
	struct pn_store keyval, archive;
} base;

/* ---- Making the store ---- */

static struct pn_str str(const char *text) {
	return (struct pn_str){text, strlen(text)};
}

static void append(struct pn_user user, double when, const char *peer, const char *key) {
	static const char stanza[] = "\1\1\1m\1\1b\3\5hello\4\4";
	char id[PN_ARCHIVE_ID_LEN];
	const struct pn_message message = {
		.id = key != NULL ? str(key) : (struct pn_str){NULL, 0},
		.stanza = {stanza, sizeof(stanza) - 1},
		.peer = peer != NULL ? str(peer) : (struct pn_str){NULL, 0},
		.when = when,
	};
	FUZZ_ASSERT(pn_archive_append(&base.archive, user, &message, 0, id) == PN_OK);
}

static void fill(struct pn_db *db) {
	static const char *const peers[] = {"a@b/c", "a@b", "e@f", NULL};
	static char key[500];
	memset(key, 'k', sizeof(key));
	const struct pn_record records[] = {
		{str("a"), str("1")}, {str("b"), str("2")}, {{key, 500}, str("3")}};
	FUZZ_ASSERT(pn_kv_set(&base.keyval, USERS[0], records, 3) == PN_OK);
	FUZZ_ASSERT(pn_kv_set(&base.keyval, USERS[1], records, 2) == PN_OK);
	for (int i = 0; i < 8; i++)
		append(USERS[0], i == 5 ? 1 : i * 50000, peers[i % 4], i == 2 ? "key" : NULL);
	append(USERS[1], 1, "a@b/c", NULL);
	append(USERS[2], 1, "a@b/c", "key");
	const struct pn_archive_query middle = {
		.has_start = true, .start = 150000, .has_end = true, .end = 200000};
	uint64_t count = 0;
	FUZZ_ASSERT(pn_archive_delete(&base.archive, USERS[0], &middle, 10, &count) == 0);
	FUZZ_ASSERT(pn_store_purge(db, HOST, USERS[2]) == PN_OK);
	/* many, which are deleted and not erased */
	for (int i = 0; i < 50; i++)
		append(USERS[1], 2 + i % 2, i % 2 == 0 ? "a@b/c" : NULL, NULL);
	const struct pn_archive_query many = {.has_start = true, .start = 2};
	FUZZ_ASSERT(pn_archive_delete(&base.archive, USERS[1], &many, 10, &count) == 0);
}

static void path_of(const char *name, char path[128]) {
	snprintf(path, 128, "%s/%s", base.directory, name);
}

static void remove_directory(void) {
	static const char *const names[] = {"data.mdb", "lock.mdb", "lock", "durable"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[128];
		path_of(names[i], path);
		(void)unlink(path);
	}
	(void)rmdir(base.directory);
}

static struct pn_db *open_db(void) {
	struct pn_db *db;
	const struct pn_db_options options = {.directory = base.directory, .interval = 60000};
	if (pn_db_open(&db, &options) != PN_OK)
		return NULL;
	FUZZ_ASSERT(pn_store_init(&base.keyval, db, PN_TYPE_KEYVAL, HOST, str("kv")) == PN_OK);
	FUZZ_ASSERT(pn_store_init(&base.archive, db, PN_TYPE_ARCHIVE, HOST, str("mam")) == PN_OK);
	return db;
}

static void read_base(void) {
	char path[128];
	struct stat st;
	path_of("data.mdb", path);
	const int fd = open(path, O_RDONLY);
	FUZZ_ASSERT(fd >= 0 && fstat(fd, &st) == 0);
	base.size = (size_t)st.st_size;
	base.bytes = malloc(base.size);
	FUZZ_ASSERT(base.bytes != NULL);
	FUZZ_ASSERT(read(fd, base.bytes, base.size) == st.st_size);
	close(fd);
}

static void make_base(void) {
	const char *parent = getenv("TMPDIR");
	snprintf(base.directory, sizeof(base.directory), "%s/pn-fuzz-XXXXXX",
		 parent != NULL ? parent : P_tmpdir);
	FUZZ_ASSERT(mkdtemp(base.directory) != NULL);
	struct pn_db *db = open_db();
	FUZZ_ASSERT(db != NULL);
	fill(db);
	pn_db_close(db);
	read_base();
	atexit(remove_directory);
}

/* ---- Damaging it ---- */

struct damage {
	uint8_t how, which;
	size_t length;
	uint8_t bytes[255];
};

static struct damage read_damage(struct fuzz_input *in) {
	struct damage damage = {.how = fuzz_u8(in) % 4, .which = fuzz_u8(in)};
	damage.length = fuzz_u8(in);
	for (size_t i = 0; i < damage.length; i++)
		damage.bytes[i] = fuzz_u8(in);
	return damage;
}

/* Puts the cursor on record number `which`, round and round. */
static bool find_record(MDB_cursor *cursor, unsigned which, MDB_val *key, MDB_val *value) {
	int rc = mdb_cursor_get(cursor, key, value, MDB_FIRST);
	for (unsigned i = 0; i < which && rc == 0; i++) {
		rc = mdb_cursor_get(cursor, key, value, MDB_NEXT);
		if (rc == MDB_NOTFOUND)
			rc = mdb_cursor_get(cursor, key, value, MDB_FIRST);
	}
	return rc == 0;
}

static void put(MDB_txn *txn, MDB_dbi dbi, const uint8_t *key, size_t key_len, const uint8_t *value,
		size_t len) {
	MDB_val name = {key_len, (void *)key};
	MDB_val data = {len, (void *)value};
	if (key_len > 0)
		FUZZ_ASSERT(mdb_put(txn, dbi, &name, &data, 0) == 0);
}

static void change_record(MDB_txn *txn, MDB_dbi dbi, const struct damage *damage) {
	MDB_cursor *cursor;
	MDB_val key, value;
	uint8_t name[512], data[1024];
	FUZZ_ASSERT(mdb_cursor_open(txn, dbi, &cursor) == 0);
	const bool found = find_record(cursor, damage->which, &key, &value);
	mdb_cursor_close(cursor);
	if (!found || value.mv_size > sizeof(data))
		return;
	const size_t name_len = key.mv_size;
	size_t len = value.mv_size;
	memcpy(name, key.mv_data, name_len);
	memcpy(data, value.mv_data, len);
	if (damage->how == 0 && damage->length > 0) {
		const size_t at = damage->bytes[0];
		for (size_t i = 1; i < damage->length && at + i - 1 < len; i++)
			data[at + i - 1] = damage->bytes[i];
	} else if (damage->how == 1) {
		len = damage->length;
		memcpy(data, damage->bytes, len);
	}
	if (damage->how == 2) {
		MDB_val gone = {name_len, name};
		FUZZ_ASSERT(mdb_del(txn, dbi, &gone, NULL) == 0);
	} else {
		put(txn, dbi, name, name_len, data, len);
	}
}

static void add_record(MDB_txn *txn, MDB_dbi dbi, const struct damage *damage) {
	uint8_t name[511] = {0};
	if (damage->length == 0)
		return;
	/* twice as long as it is told, so that the longest keys are among them */
	const size_t len = damage->bytes[0] * 2u + 1;
	const size_t given = damage->length - 1 < len ? damage->length - 1 : len;
	memcpy(name, damage->bytes + 1, given);
	put(txn, dbi, name, len, damage->bytes + 1 + given, damage->length - 1 - given);
}

static void write_file(const uint8_t *data, size_t size) {
	char path[128];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	struct fuzz_input in = {data, size};
	remove_directory();
	FUZZ_ASSERT(mkdir(base.directory, 0700) == 0);
	path_of("data.mdb", path);
	const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	FUZZ_ASSERT(fd >= 0 && write(fd, base.bytes, base.size) == (ssize_t)base.size);
	close(fd);
	FUZZ_ASSERT(mdb_env_create(&env) == 0 && mdb_env_set_mapsize(env, 1 << 24) == 0);
	FUZZ_ASSERT(mdb_env_open(env, base.directory, MDB_NOSYNC, 0600) == 0);
	FUZZ_ASSERT(mdb_txn_begin(env, NULL, 0, &txn) == 0);
	FUZZ_ASSERT(mdb_dbi_open(txn, NULL, 0, &dbi) == 0);
	while (in.left > 0) {
		const struct damage damage = read_damage(&in);
		if (damage.how == 3)
			add_record(txn, dbi, &damage);
		else
			change_record(txn, dbi, &damage);
	}
	FUZZ_ASSERT(mdb_txn_commit(txn) == 0);
	mdb_env_close(env);
}

/* ---- Using it ---- */

static unsigned touched;

/* Reads all of it, wherever that leads. */
static void touch(const void *bytes, size_t len) {
	for (size_t i = 0; i < len; i++)
		touched += ((const unsigned char *)bytes)[i];
}

static void tell(void *context, const char *text) {
	(void)context;
	touch(text, strlen(text));
}

static void check(struct pn_db *db) {
	struct pn_check *state;
	struct pn_progress progress;
	int steps = 0;
	if (pn_check_new(&state, db, tell, NULL) != PN_OK)
		return;
	while (pn_check_step(state, &progress) > 0)
		FUZZ_ASSERT(++steps < STEPS);
	pn_check_free(state);
}

static void touch_collection(void *context, const struct pn_stat *found) {
	(void)context;
	touch(found->host.bytes, found->host.len);
	touch(found->store.bytes, found->store.len);
	touch(found->user.bytes, found->user.len);
}

static void touch_list(struct pn_buf *buf) {
	touch(buf->data, buf->len);
	pn_buf_reset(buf, SIZE_MAX);
}

static void list(struct pn_db *db, struct pn_user user) {
	struct pn_buf buf = {0};
	struct pn_db_info info;
	uint32_t position = 0;
	int steps = 0;
	(void)pn_kv_get(&base.keyval, user, str("a"), &buf);
	touch_list(&buf);
	(void)pn_kv_load(&base.keyval, user, &buf);
	touch_list(&buf);
	(void)pn_kv_get_all(&base.keyval, str("a"), &buf);
	touch_list(&buf);
	(void)pn_store_users(&base.archive, &buf);
	(void)pn_store_list(db, HOST, user, &buf);
	(void)pn_store_list_all(db, HOST, &buf);
	(void)pn_archive_dates(&base.archive, user, &buf);
	touch_list(&buf);
	pn_buf_free(&buf);
	(void)pn_db_info(db, &info);
	while (pn_store_stat(db, &position, 3, true, touch_collection, NULL) > 0)
		FUZZ_ASSERT(++steps < STEPS);
}

static void find(struct pn_user user, const struct pn_archive_query *query) {
	struct pn_archive_cursor *cursor;
	struct pn_message message = {0};
	uint64_t total;
	int steps = 0;
	if (pn_archive_find(&cursor, &base.archive, user, query, UINT64_MAX, &total) != PN_OK)
		return;
	while (pn_archive_next(cursor, &message) > 0) {
		struct pn_wire tokens;
		FUZZ_ASSERT(++steps < FOUND);
		touch(message.id.bytes, message.id.len);
		touch(message.peer.bytes, message.peer.len);
		if (pn_unpack(message.stanza, &tokens) == PN_OK)
			touch(tokens.pos, tokens.left);
	}
	pn_archive_cursor_free(cursor);
}

static void find_all(struct pn_user user) {
	static const struct pn_str ids[] = {{"key", 3}, {"none", 4}};
	const struct pn_archive_query queries[] = {
		{0},
		{.reverse = true},
		{.has_start = true, .start = 60000},
		{.has_end = true, .end = 60000, .reverse = true},
		{.peer = str("a@b")},
		{.peer = str("a@b/c"), .has_start = true, .reverse = true},
		{.ids = ids, .ids_count = 2, .ids_optional = true, .reverse = true},
		{.after = str("key")},
		{.before = str("key"), .reverse = true},
	};
	for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++)
		find(user, &queries[i]);
}

static void delete_slices(struct pn_db *db, struct pn_user user,
			  const struct pn_archive_query *query) {
	uint64_t count = 0;
	int steps = 0;
	while (pn_archive_delete(&base.archive, user, query, 2, &count) > 0)
		FUZZ_ASSERT(++steps < STEPS);
	(void)pn_db_commit(db);
}

static void change_all(struct pn_db *db, struct pn_user user) {
	static const char stanza[] = "\1\1\1m\4";
	struct pn_message message = {
		.stanza = {stanza, sizeof(stanza) - 1}, .peer = str("a@b/new"), .when = 70000};
	struct pn_record records[] = {{str("a"), str("new")}, {str("b"), {NULL, 0}}};
	const struct pn_str peer = str("a@b");
	const double when = 3;
	const struct pn_archive_change change = {
		.stanza = message.stanza, .when = &when, .peer = &peer};
	char id[PN_ARCHIVE_ID_LEN];
	(void)pn_archive_append(&base.archive, user, &message, 0, id);
	(void)pn_db_commit(db);
	message.id = str("key");
	(void)pn_archive_append(&base.archive, user, &message, 0, id);
	(void)pn_db_commit(db);
	(void)pn_archive_set(&base.archive, user, str("key"), &change);
	(void)pn_db_commit(db);
	(void)pn_kv_set(&base.keyval, user, records, 2);
	(void)pn_db_commit(db);
	(void)pn_kv_replace(&base.keyval, user, records, 1);
	(void)pn_db_commit(db);
	(void)pn_kv_delete_all(&base.keyval, str("a"));
	(void)pn_db_commit(db);
}

static void remove_all(struct pn_db *db, struct pn_user user) {
	const struct pn_archive_query with_peer = {
		.peer = str("a@b/c"), .has_keep = true, .keep = 1};
	const struct pn_archive_query old = {.has_end = true, .end = 100000};
	struct pn_archive_position position = {0};
	uint64_t count = 0;
	int steps = 0;
	delete_slices(db, user, &with_peer);
	while (pn_archive_delete_all(&base.archive, &old, &position, 2, &count) > 0)
		FUZZ_ASSERT(++steps < STEPS);
	(void)pn_db_commit(db);
	delete_slices(db, user, &old);
	delete_slices(db, user, &(struct pn_archive_query){.has_keep = true, .keep = 1});
	(void)pn_store_purge(db, HOST, user);
	(void)pn_db_commit(db);
	while (pn_store_erase(db, 7) > 0)
		FUZZ_ASSERT(++steps < STEPS);
	(void)pn_db_commit(db);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	if (base.bytes == NULL)
		make_base();
	write_file(data, size);
	struct pn_db *db = open_db();
	if (db == NULL)
		return 0;
	check(db);
	for (int i = 0; i < 3; i++) {
		list(db, USERS[i]);
		find_all(USERS[i]);
	}
	for (int i = 0; i < 3; i++)
		change_all(db, USERS[i]);
	for (int i = 0; i < 3; i++)
		remove_all(db, USERS[i]);
	check(db);
	pn_db_close(db);
	return 0;
}
