/* modules/db/room.c: no turn extends the file beyond its reserved space. */
#include "../../modules/db/db.h"
#include "store_fixture.h"

/* Nothing is synced here, so no page is reused: every write extends the file. */

enum { USERS = 60, MESSAGES = 300, LARGE = 6000, PEERS = 12, NAME = 200 };

static struct pn_user user_of(int number, char name[NAME]) {
	snprintf(name, NAME, "user%d", number);
	return (struct pn_user){name, strlen(name)};
}

/* Appends a message with a full JID, and a key at a random place in the order. */
static void append_keyed(struct fixture *f, int user, int number) {
	char name[NAME], key[NAME], peer[NAME], text[NAME];
	snprintf(key, sizeof(key), "%08lx-%0150d", (unsigned long)random(), number);
	snprintf(peer, sizeof(peer), "peer%d@host/resource", number % PEERS);
	fill_noise(text, 150);
	text[150] = 0;
	CHECK(append_to(f, user_of(user, name), text, number, peer, key, NULL) == PN_OK);
}

static uint64_t last_page(const struct fixture *f) {
	MDB_envinfo info;
	REQUIRE(mdb_env_info(f->db->env, &info) == 0);
	return info.me_last_pgno;
}

/* Commits, and returns whether the file grew by no more than was reserved. */
static bool stays_within(struct fixture *f) {
	const uint64_t before = last_page(f);
	const uint64_t reserved = f->db->estimate / f->db->page_size;
	commit(f);
	const uint64_t added = last_page(f) - before;
	if (added > reserved)
		printf("# %llu pages were added, %llu reserved\n", (unsigned long long)added,
		       (unsigned long long)reserved);
	return added <= reserved;
}

static void fill(struct fixture *f, int messages) {
	srandom(11);
	setup(f);
	for (int number = 0; number < messages; number++) {
		for (int user = 0; user < USERS; user++)
			append_keyed(f, user, number);
		if (number % 50 == 0)
			commit(f); /* rarely: the file must not grow by GROWTH_MAX */
	}
	commit(f);
}

TEST(messages_of_many_archives_in_one_turn) {
	struct fixture f;
	fill(&f, MESSAGES);
	for (int number = 0; number < 20; number++) {
		for (int user = 0; user < USERS; user++)
			append_keyed(&f, user, MESSAGES + number);
		CHECK(stays_within(&f));
	}
	teardown(&f);
}

TEST(one_operation_in_a_turn) {
	struct fixture f;
	char name[NAME];
	fill(&f, MESSAGES / 10);
	for (int number = 0; number < 200; number++) {
		append_keyed(&f, number % USERS, MESSAGES + number);
		CHECK(stays_within(&f));
		CHECK(put(&f, user_of(USERS + number, name), "key", "value") == PN_OK);
		CHECK(stays_within(&f));
	}
	teardown(&f);
}

/* Erases what is deleted, each slice in a turn of its own. */
static void erase_by_slices(struct fixture *f, unsigned slice) {
	int more;
	do {
		more = pn_store_erase(f->db, slice);
		CHECK(more >= 0 && stays_within(f));
	} while (more > 0);
}

/* Deletes the matches of every user in slices, each in a turn of its own; and erases them. */
static void delete_by_slices(struct fixture *f, const struct pn_archive_query *query,
			     uint64_t slice) {
	for (int user = 0; user < USERS; user++) {
		uint64_t count = 0;
		char name[NAME];
		int more;
		do {
			more = pn_archive_delete(&f->archive, user_of(user, name), query, slice,
						 &count);
			CHECK(more >= 0);
			CHECK(stays_within(f));
		} while (more > 0);
	}
	erase_by_slices(f, (unsigned)slice);
}

TEST(deletions_of_neighbours) {
	const struct pn_archive_query older = {.has_end = true, .end = MESSAGES / 2};
	const struct pn_archive_query old = {.has_end = true, .end = MESSAGES - 10};
	struct fixture f;
	fill(&f, MESSAGES);
	delete_by_slices(&f, &older, SLICE / 10);
	delete_by_slices(&f, &old, SLICE);
	teardown(&f);
}

/* One archive, in which every message has a key and the keys are in no order. */
static void fill_one(struct fixture *f, int messages) {
	srandom(12);
	setup(f);
	for (int number = 0; number < messages; number++) {
		append_keyed(f, 0, number);
		if (number % 500 == 0)
			commit(f);
	}
	commit(f);
}

TEST(deletions_of_neighbours_with_keys) {
	const struct pn_archive_query older = {.has_end = true, .end = LARGE / 2};
	struct fixture f;
	fill_one(&f, LARGE);
	delete_by_slices(&f, &older, SLICE);
	teardown(&f);
}

/* Each message is the only one of its peer, which is removed along with it. */
TEST(deletions_of_neighbours_with_peers_of_their_own) {
	const struct pn_archive_query older = {.has_end = true, .end = LARGE / 2};
	struct fixture f;
	setup(&f);
	for (int i = 0; i < LARGE; i++) {
		char name[NAME], peer[NAME];
		snprintf(peer, sizeof(peer), "peer%d@host/resource", i);
		CHECK(append_to(&f, user_of(0, name), "hello", i, peer, NULL, NULL) == PN_OK);
		if (i % 100 == 0)
			commit(&f);
	}
	commit(&f);
	delete_by_slices(&f, &older, SLICE);
	teardown(&f);
}

TEST(deletions_of_scattered_messages) {
	const struct pn_archive_query of_one = {.peer = str("peer3@host")};
	struct fixture f;
	fill_one(&f, LARGE);
	delete_by_slices(&f, &of_one, SLICE);
	teardown(&f);
}

/* Two clocks in turns, and as many peers as messages: three lists for each that is out of order. */
static void append_unordered(struct fixture *f, int i) {
	char name[NAME], peer[NAME];
	snprintf(peer, sizeof(peer), "peer%d@host/resource", i % 500);
	CHECK(append_to(f, user_of(0, name), "hello", i % 2 == 0 ? i : i - 1000, peer, NULL,
			NULL) == PN_OK);
}

TEST(messages_out_of_order) {
	struct fixture f;
	setup(&f);
	for (int i = 0; i < LARGE; i++) {
		append_unordered(&f, i);
		if (i % 100 == 0)
			CHECK(stays_within(&f));
	}
	for (int i = 0; i < 100; i++) {
		append_unordered(&f, LARGE + i);
		CHECK(stays_within(&f));
	}
	teardown(&f);
}

TEST(deletions_of_messages_out_of_order) {
	const struct pn_archive_query older = {.has_end = true, .end = LARGE / 2};
	const struct pn_archive_query of_one = {.peer = str("peer3@host")};
	struct fixture f;
	setup(&f);
	for (int i = 0; i < LARGE; i++) {
		append_unordered(&f, i);
		if (i % 100 == 0)
			commit(&f);
	}
	commit(&f);
	delete_by_slices(&f, &of_one, SLICE);
	delete_by_slices(&f, &older, SLICE);
	teardown(&f);
}

/* Neighbours that are out of order share the records of their lists: batches of many. */
TEST(deletions_of_neighbours_out_of_order) {
	const struct pn_archive_query all_but = {.has_keep = true, .keep = 100};
	struct fixture f;
	char name[NAME], peer[NAME];
	srandom(13);
	setup(&f);
	for (int i = 0; i < LARGE; i++) {
		snprintf(peer, sizeof(peer), "peer%d@host/resource", i % 2);
		CHECK(append_to(&f, user_of(0, name), "hello", (int)random() % LARGE, peer, NULL,
				NULL) == PN_OK);
		if (i % 100 == 0)
			commit(&f);
	}
	commit(&f);
	delete_by_slices(&f, &all_but, SLICE);
	teardown(&f);
}

/* Each moves a message to a peer that has newer ones, whose index is renumbered. */
TEST(changes_of_peers) {
	enum { FEW = 20000 };
	static struct id ids[FEW];
	const struct pn_str peer = str("peer1@host/resource");
	struct fixture f;
	struct pn_buf stanza = packed("changed");
	const struct pn_archive_change change = {.stanza = {(char *)stanza.data, stanza.len},
						 .peer = &peer};
	setup(&f);
	for (int i = 0; i < FEW; i++)
		CHECK(append(&f, "x", i, i % 2 == 0 ? "peer0@host/resource" : peer.bytes,
			     &ids[i]) == PN_OK);
	commit(&f);
	for (int i = 0; i < 5; i++) {
		CHECK(pn_archive_set(&f.archive, JULIET, id_str(&ids[i * 2]), &change) == PN_OK);
		CHECK(stays_within(&f));
	}
	pn_buf_free(&stanza);
	teardown(&f);
}

TEST(replaced_messages) {
	struct fixture f;
	fill_one(&f, LARGE);
	for (int turn = 0; turn < 10; turn++) {
		for (int i = 0; i < 50; i++) {
			char name[NAME], key[NAME];
			snprintf(key, sizeof(key), "%0150d", turn * 50 + i);
			for (int again = 0; again < 2; again++)
				CHECK(append_to(&f, user_of(0, name), key, i, "new@host/resource",
						key, NULL) == PN_OK);
		}
		CHECK(stays_within(&f));
	}
	teardown(&f);
}

/* ---- Collections ---- */

static void store_of(struct fixture *f, int number, char name[NAME]) {
	snprintf(name, NAME, "pep_%d", number);
	REQUIRE(pn_store_init(&f->keyval, f->db, PN_TYPE_KEYVAL, str("host"), str(name)) == PN_OK);
}

/* Collections of many users in many stores. */
static void fill_stores(struct fixture *f, int users, int stores) {
	char name[NAME], store[NAME];
	setup(f);
	for (int user = 0; user < users; user++) {
		for (int i = 0; i < stores; i++) {
			store_of(f, i, store);
			CHECK(put(f, user_of(user, name), "key", "value") == PN_OK);
		}
		if (user % 50 == 0)
			commit(f);
	}
	commit(f);
}

TEST(new_collections) {
	struct fixture f;
	char name[NAME], store[NAME];
	fill_stores(&f, 1000, 5);
	for (int turn = 0; turn < 10; turn++) {
		for (int i = 0; i < 100; i++) {
			store_of(&f, 5 + i % 3, store);
			CHECK(put(&f, user_of(turn * 100 + i, name), "key", "value") == PN_OK);
		}
		CHECK(stays_within(&f));
	}
	teardown(&f);
}

TEST(emptied_collections) {
	struct fixture f;
	char name[NAME], store[NAME];
	fill_stores(&f, 1000, 5);
	for (int turn = 0; turn < 10; turn++) {
		for (int i = 0; i < 100; i++) {
			store_of(&f, i % 5, store);
			CHECK(drop(&f, user_of(turn * 100 + i, name), "key") == PN_OK);
		}
		CHECK(stays_within(&f));
	}
	teardown(&f);
}

TEST(purges_and_erasing) {
	struct fixture f;
	char name[NAME];
	fill_stores(&f, 1000, 5);
	for (int turn = 0; turn < 10; turn++) {
		for (int i = 0; i < 20; i++)
			CHECK(pn_store_purge(f.db, str("host"), user_of(turn * 100 + i, name)) ==
			      PN_OK);
		CHECK(stays_within(&f));
	}
	erase_by_slices(&f, SLICE);
	teardown(&f);
}

TEST(a_table_of_many_records) {
	enum { RECORDS = 600, SIZE = 1400 };
	static char values[SIZE], keys[RECORDS][NAME];
	static struct pn_record records[RECORDS];
	struct fixture f;
	setup(&f);
	memset(values, 'x', SIZE);
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < RECORDS; i++) {
			snprintf(keys[i], NAME, "%08lx", (unsigned long)random());
			records[i] = (struct pn_record){str(keys[i]), {values, SIZE}};
		}
		CHECK(pn_kv_set(&f.keyval, JULIET, records, RECORDS) == PN_OK);
		CHECK(stays_within(&f));
		CHECK(pn_kv_replace(&f.keyval, ROMEO, records, RECORDS) == PN_OK);
		CHECK(stays_within(&f));
	}
	teardown(&f);
}

TEST(large_values) {
	struct fixture f;
	char *const value = calloc(1, 300000);
	REQUIRE(value != NULL);
	setup(&f);
	for (int size = 1000; size < 300000; size += 7000) {
		char name[NAME];
		memset(value, 'x', (size_t)size);
		CHECK(put(&f, user_of(size % 10, name), "key", value) == PN_OK);
		CHECK(stays_within(&f));
	}
	free(value);
	teardown(&f);
}

/* ---- The file ---- */

static uint64_t file_bytes(const struct fixture *f) {
	struct pn_db_info info = {0};
	CHECK(pn_db_info(f->db, &info) == PN_OK);
	return info.file_bytes;
}

/* Values of any size in free pages that are in runs of any length: a commit never runs out of them.
 */
TEST(a_full_database_whose_free_pages_are_scattered) {
	enum { LIMIT = 4 * 1024 * 1024, KEYS = 600, LONGEST = 60000 };
	static char value[LONGEST + 1];
	struct fixture f;
	int refused = 0;
	srandom(13);
	memset(value, 'x', LONGEST);
	setup_with(&f, (struct pn_db_options){.interval = 60000, .max_bytes = LIMIT});
	for (int i = 0; i < 1500; i++) {
		char key[16], old[16];
		const size_t len = (size_t)random() % (random() % 4 == 0 ? LONGEST : 2000);
		const struct pn_record record = {str(key), {value, len}};
		snprintf(key, sizeof(key), "%ld", random() % KEYS);
		const int err = pn_kv_set(&f.keyval, JULIET, &record, 1);
		CHECK(err == PN_OK || err == PN_EFULL);
		refused += err == PN_EFULL;
		if (err == PN_EFULL) {
			snprintf(old, sizeof(old), "%ld", random() % KEYS);
			CHECK(drop(&f, JULIET, old) == PN_OK);
		}
		CHECK((i % 8 == 0 ? pn_db_flush(f.db) : pn_db_commit(f.db)) == PN_OK);
		if (!CHECK(file_bytes(&f) <= LIMIT))
			break;
	}
	CHECK(refused > 50);
	teardown(&f);
}

/* Whether the file has no more than a little space on the disk behind its end. */
static bool is_lean(const struct fixture *f) {
	enum { MOST = 2 * 1024 * 1024 + 64 * 1024 };
	char path[PATH_SIZE * 2];
	struct stat file;
	snprintf(path, sizeof(path), "%s/data.mdb", f->directory);
	return stat(path, &file) == 0 && file.st_blocks * 512 <= file.st_size + MOST;
}

TEST(the_file_has_little_space_on_the_disk_beside_its_pages) {
	enum { RECORDS = 16000, PREDICTED = 64 * 1024 * 1024 };
	struct fixture f;
	setup(&f);
	CHECK(is_lean(&f));
	for (int i = 0; i < RECORDS; i++) {
		char key[16];
		snprintf(key, sizeof(key), "%d", i);
		CHECK(put(&f, JULIET, key, "value") == PN_OK);
	}
	CHECK(f.db->estimate > PREDICTED && is_lean(&f));
	commit(&f);
	CHECK(is_lean(&f));
	for (int i = 0; i < 1000; i++) {
		append_keyed(&f, i % USERS, i);
		commit(&f);
	}
	CHECK(is_lean(&f));
	close_db(&f);
	CHECK(is_lean(&f));
	open_db(&f);
	teardown(&f);
}

/* The durable state keeps its pages, so the database makes a newer one durable by itself. */
TEST(the_file_stops_growing_if_nothing_is_synced) {
	enum { MEGABYTE = 1024 * 1024, TURNS = 300, MOST = 264 };
	struct fixture f;
	char *const value = calloc(1, MEGABYTE + 1);
	REQUIRE(value != NULL);
	memset(value, 'x', MEGABYTE);
	setup(&f);
	for (int i = 0; i < TURNS; i++) {
		value[0] = (char)('a' + i % 26);
		CHECK(put(&f, JULIET, "key", value) == PN_OK);
		commit(&f);
	}
	CHECK(file_bytes(&f) < (uint64_t)MOST * MEGABYTE);
	free(value);
	teardown(&f);
}

int main(void) {
	return test_run("room");
}
