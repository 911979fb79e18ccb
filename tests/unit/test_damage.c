/*
 * Records with invalid content, in a file that is valid for LMDB. Each record of one user is
 * damaged in each way, and every writing operation is run on that user, in a turn with writes of
 * another user: failed operations change nothing, and the other user's writes are kept.
 */
#include <lmdb.h>

#include "../../modules/db/db.h"
#include "crash.h"
#include "raw.h"

enum { RECORDS = 200, DAMAGES = 6 };

/* Messages of the damaged user: some, and more that are deleted and not erased. */
enum { MESSAGES = 16, DELETED = 60 };

static const struct pn_user OTHER[] = {{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}, {"e", 1}, {"f", 1}};
enum { OTHERS = sizeof(OTHER) / sizeof(OTHER[0]) };

/* ---- Operations on the user whose record is damaged ---- */

static int set_some(struct fixture *f) {
	const struct pn_record records[] = {
		{str("a"), str("changed")}, {str("b"), NONE}, {str("new"), str("value")}};
	return pn_kv_set(&f->keyval, JULIET, records, 3);
}

static int replace_all(struct fixture *f) {
	struct pn_record records[] = {{str("a"), str("1")}, {str("c"), str("changed")}};
	return pn_kv_replace(&f->keyval, JULIET, records, 2);
}

static int replace_by_nothing(struct fixture *f) {
	return pn_kv_replace(&f->keyval, JULIET, NULL, 0);
}

static int delete_key(struct fixture *f) {
	return pn_kv_delete_all(&f->keyval, str("a"));
}

static int append_one(struct fixture *f) {
	return append(f, "one", 30, "a@b/c", NULL);
}

static int append_to_somebody_new(struct fixture *f) {
	return append(f, "new", 31, "new@b/c", NULL);
}

static int append_earlier(struct fixture *f) {
	return append(f, "earlier", 3, "e@f", NULL);
}

static int append_again(struct fixture *f) {
	return append_to(f, JULIET, "again", 32, "a@b/d", "key", NULL);
}

static int set_message(struct fixture *f) {
	struct pn_buf stanza = packed("changed");
	const struct pn_str peer = str("e@f/g");
	const double when = 1;
	const struct pn_archive_change change = {
		.stanza = {(char *)stanza.data, stanza.len}, .when = &when, .peer = &peer};
	const int err = pn_archive_set(&f->archive, JULIET, str("key"), &change);
	pn_buf_free(&stanza);
	return err;
}

static int delete_query(struct fixture *f, const struct pn_archive_query *query) {
	const int64_t count = delete_matching(f, query);
	return count < 0 ? (int)count : PN_OK;
}

static int delete_some(struct fixture *f) {
	const struct pn_archive_query middle = {
		.has_start = true, .start = 4, .has_end = true, .end = 6};
	return delete_query(f, &middle);
}

static int delete_with(struct fixture *f) {
	const struct pn_archive_query query = {.peer = str("a@b")};
	return delete_query(f, &query);
}

static int truncate_archive(struct fixture *f) {
	const struct pn_archive_query query = {.has_keep = true, .keep = 4};
	return delete_query(f, &query);
}

static int delete_everything(struct fixture *f) {
	return delete_query(f, &EVERYTHING);
}

static int expire(struct fixture *f) {
	const struct pn_archive_query old = {.has_end = true, .end = 9};
	struct pn_archive_position position = {0};
	uint64_t count = 0;
	const int more = pn_archive_delete_all(&f->archive, &old, &position, 1000, &count);
	return more < 0 ? more : PN_OK;
}

static int purge(struct fixture *f) {
	return pn_store_purge(f->db, str("host"), JULIET);
}

static int erase(struct fixture *f) {
	const int more = pn_store_erase(f->db, 1000);
	return more < 0 ? more : PN_OK;
}

static int erase_few(struct fixture *f) {
	const int more = pn_store_erase(f->db, 20);
	return more < 0 ? more : PN_OK;
}

typedef int operation(struct fixture *f);

/* Those that remove less come first, so that the others find something. */
static operation *const OPERATIONS[] = {
	append_one,
	append_to_somebody_new,
	append_earlier,
	append_again,
	set_message,
	delete_some,
	delete_with,
	set_some,
	delete_key,
	replace_all,
	erase_few,
	erase,
	expire,
	truncate_archive,
	delete_everything,
	replace_by_nothing,
	purge,
	erase,
	erase,
};
enum { COUNT = sizeof(OPERATIONS) / sizeof(OPERATIONS[0]) };

/* ---- Records as LMDB has them ---- */

struct record {
	struct pn_key key;
	unsigned char value[700];
	size_t len;
};

static struct record records[RECORDS]; /* of the user that is to be damaged */
static int record_count;

static struct image base;

static void raw_put(struct raw *raw, const struct record *record, const void *value, size_t len) {
	MDB_val key = {record->key.len, (void *)record->key.bytes};
	MDB_val data = {len, (void *)value};
	REQUIRE(mdb_put(raw->txn, raw->dbi, &key, &data, 0) == 0);
}

/* Whether the record is a deleted message, which is like the first of these. */
static bool is_alike(MDB_val key) {
	const unsigned char *const bytes = key.mv_data;
	return key.mv_size == 11 && bytes[5] == PN_KIND_MESSAGE && bytes[10] > MESSAGES + 1;
}

static bool is_listed(MDB_val key) {
	for (int i = 0; i < record_count; i++) {
		if (records[i].key.len == key.mv_size &&
		    memcmp(records[i].key.bytes, key.mv_data, key.mv_size) == 0)
			return true;
	}
	return false;
}

/* Adds every record that is not listed yet. */
static void list_records(const char *directory) {
	struct raw raw = raw_open(directory);
	MDB_cursor *cursor;
	MDB_val key, data;
	REQUIRE(mdb_cursor_open(raw.txn, raw.dbi, &cursor) == 0);
	while (mdb_cursor_get(cursor, &key, &data, MDB_NEXT) == 0) {
		if (is_listed(key) || is_alike(key))
			continue;
		REQUIRE(record_count < RECORDS && data.mv_size <= sizeof(records[0].value));
		struct record *const record = &records[record_count++];
		record->key.len = key.mv_size;
		memcpy(record->key.bytes, key.mv_data, key.mv_size);
		record->len = data.mv_size;
		memcpy(record->value, data.mv_data, data.mv_size);
	}
	mdb_cursor_close(cursor);
	raw_close(&raw);
}

/* A sum over every record that the open turn sees. */
static uint64_t sum_records(struct fixture *f) {
	MDB_cursor *cursor;
	MDB_val key, data;
	uint64_t sum = 1;
	struct pn_txn txn;
	REQUIRE(pn_txn_read(f->db, &txn) == PN_OK);
	REQUIRE(mdb_cursor_open(txn.mdb, f->db->dbi, &cursor) == 0);
	while (mdb_cursor_get(cursor, &key, &data, MDB_NEXT) == 0) {
		sum = mix(sum, key.mv_data, key.mv_size);
		sum = mix(sum, data.mv_data, data.mv_size);
	}
	mdb_cursor_close(cursor);
	CHECK(pn_txn_end(&txn, PN_OK) == PN_OK);
	return sum;
}

/* ---- The file ---- */

static void write_juliets(struct fixture *f) {
	static const char *const peers[] = {"a@b/c", "a@b", "e@f", NULL};
	const struct pn_archive_query middle = {
		.has_start = true, .start = 8, .has_end = true, .end = 9};
	const struct pn_archive_query many = {.has_start = true, .start = 200};
	static char key[601];
	memset(key, 'k', sizeof(key) - 1);
	CHECK(put(f, JULIET, "a", "1") == PN_OK && put(f, JULIET, "b", "2") == PN_OK);
	CHECK(put(f, JULIET, key, "long") == PN_OK);
	for (int i = 0; i < MESSAGES; i++)
		CHECK(append_to(f, JULIET, i % 2 == 0 ? "base" : COMPRESSED_TEXT, i == 7 ? 2 : i,
				peers[i % 4], i == 5 ? "key" : NULL, NULL) == PN_OK);
	CHECK(delete_matching(f, &middle) == 2);
	for (int i = 0; i < DELETED; i++)
		CHECK(append(f, "deleted", 200 + i, NULL, NULL) == PN_OK);
	CHECK(delete_matching(f, &many) == DELETED);
	commit(f);
}

static int write_romeos(struct fixture *f, const char *value) {
	const int err = put(f, ROMEO, "key", value);
	return err != PN_OK ? err : append_to(f, ROMEO, value, 100, "a@b/c", NULL, NULL);
}

/* Users whose archives come before and after the damaged one, in the order of digests. */
static void write_others(struct fixture *f) {
	for (int i = 0; i < OTHERS; i++) {
		CHECK(append_to(f, OTHER[i], "old", 1, "a@b/c", NULL, NULL) == PN_OK);
		CHECK(append_to(f, OTHER[i], "new", 100, "a@b/c", NULL, NULL) == PN_OK);
	}
	commit(f);
}

static void base_make(void) {
	struct fixture f;
	setup(&f);
	CHECK(write_romeos(&f, "base") == PN_OK);
	write_others(&f);
	close_db(&f);
	list_records(f.directory);
	const int others = record_count;
	open_db(&f);
	write_juliets(&f);
	close_db(&f);
	list_records(f.directory);
	REQUIRE(record_count > others + 42);
	record_count -= others;
	memmove(records, records + others, (size_t)record_count * sizeof(records[0]));
	base = image_read(f.directory, "data.mdb");
	directory_remove(f.directory);
}

/* Gives the record another value, or removes it. */
static void damage(struct raw *raw, const struct record *record, int way) {
	MDB_val key = {record->key.len, (void *)record->key.bytes};
	unsigned char value[sizeof(record->value)];
	const size_t len = record->len;
	memcpy(value, record->value, len);
	switch (way) {
	case 0:
		REQUIRE(mdb_del(raw->txn, raw->dbi, &key, NULL) == 0);
		return;
	case 1:
		raw_put(raw, record, value, 0);
		return;
	case 2:
		raw_put(raw, record, value, len / 2 + 1 < len ? len / 2 + 1 : 1);
		return;
	case 3:
		value[0] = 9; /* version */
		break;
	case 4:
		memset(value + 1, 0xff, len - 1);
		break;
	default:
		memset(value + 1, 0, len - 1);
	}
	raw_put(raw, record, value, len);
}

static void site_make(struct fixture *f, const struct record *record, int way) {
	*f = (struct fixture){.options = {.interval = 60000, .verify = true}};
	directory_make(f->directory);
	f->options.directory = f->directory;
	image_write(&base, f->directory, "data.mdb");
	struct raw raw = raw_open(f->directory);
	damage(&raw, record, way);
	raw_close(&raw);
	open_db(f);
}

/* ---- Tests ---- */

static int failures;

/* Runs an operation between two writes of another user. */
static bool play(struct fixture *f, int number) {
	char before[32], after[32];
	snprintf(before, sizeof(before), "before %d", number);
	snprintf(after, sizeof(after), "after %d", number);
	bool good = write_romeos(f, before) == PN_OK;
	const uint64_t sum = sum_records(f);
	const int err = OPERATIONS[number](f);
	failures += err < 0;
	good = (err >= 0 || sum_records(f) == sum) && good;
	good = write_romeos(f, after) == PN_OK && good;
	good = pn_db_commit(f->db) == PN_OK && good;
	return holds(f, ROMEO, "key", after) &&
	       total(f, ROMEO, &EVERYTHING) == 1 + 2 * (number + 1) && good;
}

TEST(any_damaged_record_of_one_user_does_not_affect_another_user) {
	for (int i = 0; i < record_count; i++) {
		for (int way = 0; way < DAMAGES; way++) {
			struct fixture f;
			site_make(&f, &records[i], way);
			for (int number = 0; number < COUNT; number++) {
				if (!CHECK(play(&f, number)))
					printf("# operation %d, record %c %c, damage %d\n", number,
					       records[i].key.bytes[0],
					       records[i].key.len > 5 ? records[i].key.bytes[5]
								      : ' ',
					       way);
			}
			teardown(&f);
		}
	}
	CHECK(failures > record_count * DAMAGES); /* or else not much was tried */
}

/* Deletes in slices. Returns the number of archives that were skipped, or an error. */
static int64_t expire_all(struct fixture *f, uint64_t slice) {
	const struct pn_archive_query old = {.has_end = true, .end = 9};
	struct pn_archive_position position = {0};
	uint64_t count = 0;
	int more;
	do {
		more = pn_archive_delete_all(&f->archive, &old, &position, slice, &count);
		CHECK(pn_db_commit(f->db) == PN_OK);
	} while (more > 0);
	return more < 0 ? more : (int64_t)position.damaged;
}

TEST(any_damaged_record_of_one_archive_does_not_stop_the_expiry_of_others) {
	int64_t passed = 0;
	for (int i = 0; i < record_count; i++) {
		for (int way = 0; way < DAMAGES; way++) {
			struct fixture f;
			site_make(&f, &records[i], way);
			const int64_t damaged = expire_all(&f, i % 2 == 0 ? SLICE : 3);
			CHECK(damaged == 0 || damaged == 1);
			for (int other = 0; other < OTHERS; other++)
				CHECK(total(&f, OTHER[other], &EVERYTHING) == 1);
			passed += damaged;
			teardown(&f);
		}
	}
	CHECK(passed > record_count); /* or else not much was tried */
}

int main(void) {
	base_make();
	REQUIRE(!test_state.failed);
	const int status = test_run("damage");
	image_free(&base);
	return status;
}
