/* modules/archive/recent.c and index.c: a naive list beside archives whose appends are interleaved
 * with whatever else is written, undone, or fails. */
#include <errno.h>

#include <lmdb.h>

#include "store_fixture.h"

enum { ARCHIVES = 3, PEERS = 45, KEYS = 6, MOST = 20000, ROUNDS = 12000 };

/* ---- Writes of LMDB that fail ---- */

static unsigned fail_in; /* the how-manieth one; 0: none */

int __real_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags);
int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags);

int __wrap_mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags) {
	if (fail_in > 0 && --fail_in == 0)
		return ENOMEM;
	return __real_mdb_put(txn, dbi, key, value, flags);
}

/* ---- The model ---- */

static const struct pn_user USERS[ARCHIVES] = {{"juliet", 6}, {"romeo", 5}, {NULL, 0}};

struct model {
	int count;
	struct {
		int user, peer, key; /* key 0: none */
		bool gone;
		struct id id;
	} messages[MOST];
};

static struct {
	struct fixture f;
	struct model now, committed;
} test;

static int below(int bound) {
	return (int)(random() % bound);
}

/* Every third peer is a resource of the one before. */
static const char *peer_name(int peer) {
	static char names[2][32];
	static int turn;
	char *const name = names[turn = !turn];
	if (peer % 3 == 2)
		snprintf(name, 32, "peer%d@host/phone", peer - 1);
	else
		snprintf(name, 32, "peer%d@host", peer);
	return name;
}

static bool has_peer(int i, int peer) {
	const int other = test.now.messages[i].peer;
	return other == peer || (other % 3 == 2 && other - 1 == peer);
}

/* peer -1: any */
static bool matches(int i, int user, int peer) {
	return !test.now.messages[i].gone && test.now.messages[i].user == user &&
	       (peer < 0 || has_peer(i, peer));
}

/* ---- Operations on both ---- */

static void append_one(void) {
	struct model *const now = &test.now;
	const int i = now->count, user = below(ARCHIVES), key = below(8) == 0 ? 1 + below(KEYS) : 0;
	/* few have most, as in conversations */
	const int peer = below(3) > 0 ? below(4) : below(PEERS);
	char text[16], name[16];
	REQUIRE(i < MOST);
	snprintf(text, sizeof(text), "%d", i);
	snprintf(name, sizeof(name), "key%d", key);
	fail_in = below(6) == 0 ? 1 + (unsigned)below(9) : 0;
	const bool may_fail = fail_in > 0;
	const int err = append_to(&test.f, USERS[user], text, i, peer_name(peer),
				  key > 0 ? name : NULL, &now->messages[i].id);
	fail_in = 0;
	CHECK(err == PN_OK || (may_fail && err == PN_ENOMEM));
	if (err != PN_OK)
		return;
	for (int j = 0; j < i && key > 0; j++) {
		if (now->messages[j].user == user && now->messages[j].key == key)
			now->messages[j].gone = true;
	}
	now->messages[i].user = user;
	now->messages[i].peer = peer;
	now->messages[i].key = key;
	now->messages[i].gone = false;
	now->count++;
}

static void delete_some(void) {
	const int user = below(ARCHIVES), peer = below(3) == 0 ? -1 : below(PEERS);
	const int from = below(test.now.count + 1), to = from + below(200);
	const struct pn_archive_query query = {
		.has_start = true,
		.start = from,
		.has_end = true,
		.end = to,
		.peer = peer >= 0 ? str(peer_name(peer)) : NONE,
	};
	uint64_t count = 0;
	while (pn_archive_delete(&test.f.archive, USERS[user], &query, SLICE, &count) == 1)
		continue;
	for (int i = from; i <= to && i < test.now.count; i++) {
		if (matches(i, user, peer)) {
			test.now.messages[i].gone = true;
			count--;
		}
	}
	CHECK(count == 0);
}

static void change_one(void) {
	const int i = below(test.now.count + 1), peer = below(PEERS);
	const struct pn_str name = str(peer_name(peer));
	if (i == test.now.count || test.now.messages[i].gone || test.now.messages[i].key > 0)
		return;
	char text[16];
	snprintf(text, sizeof(text), "%d", i);
	struct pn_buf stanza = packed(text);
	const struct pn_archive_change change = {
		.stanza = {(char *)stanza.data, stanza.len},
		.peer = &name,
	};
	CHECK(pn_archive_set(&test.f.archive, USERS[test.now.messages[i].user],
			     id_str(&test.now.messages[i].id), &change) == PN_OK);
	pn_buf_free(&stanza);
	test.now.messages[i].peer = peer;
}

static void remove_archive(void) {
	const int user = below(ARCHIVES);
	uint64_t count = 0;
	CHECK(pn_archive_delete(&test.f.archive, USERS[user], &EVERYTHING, SLICE, &count) == 0);
	for (int i = 0; i < test.now.count; i++)
		test.now.messages[i].gone |= test.now.messages[i].user == user;
}

static void end_turn(void) {
	commit(&test.f);
	test.committed = test.now;
}

static void abort_turn(void) {
	pn_db_abort(test.f.db);
	test.now = test.committed;
}

static void restart(void) {
	end_turn();
	reopen(&test.f);
	if (below(2) == 0)
		pn_db_keep_open(test.f.db);
}

/* ---- Comparing ---- */

static void compare(int user, int peer) {
	const struct pn_archive_query query = {
		.peer = peer >= 0 ? str(peer_name(peer)) : NONE,
		.reverse = below(2) == 0,
	};
	struct pn_archive_cursor *cursor;
	struct pn_message message;
	uint64_t count = 0;
	const int step = query.reverse ? -1 : 1;
	int i = query.reverse ? test.now.count - 1 : 0;
	REQUIRE(pn_archive_find(&cursor, &test.f.archive, USERS[user], &query, SIZE_MAX, &count) ==
		PN_OK);
	while (pn_archive_next(cursor, &message) == 1) {
		while (i >= 0 && i < test.now.count && !matches(i, user, peer))
			i += step;
		REQUIRE(i >= 0 && i < test.now.count);
		CHECK(atoi(body(message.stanza).bytes) == i);
		i += step;
		count--;
	}
	CHECK(count == 0);
	for (; i >= 0 && i < test.now.count; i += step)
		CHECK(!matches(i, user, peer));
	pn_archive_cursor_free(cursor);
}

static void do_any(void) {
	const int what = below(200);
	if (what < 150)
		append_one();
	else if (what < 156)
		delete_some();
	else if (what < 160)
		change_one();
	else if (what < 166)
		CHECK(put(&test.f, ROMEO, "key", what % 2 == 0 ? "value" : "other") == PN_OK);
	else if (what < 170)
		abort_turn();
	else if (what < 180)
		end_turn();
	else if (what < 181)
		CHECK(pn_store_erase(test.f.db, 100) >= 0);
	else if (what < 190)
		compare(below(ARCHIVES), below(PEERS + 1) - 1);
	else if (below(60) == 0)
		remove_archive();
	else if (below(20) == 0)
		restart();
}

TEST(archives_are_right_whatever_is_written_between_appends) {
	setup(&test.f);
	srandom(test_seed());
	for (int round = 0; round < ROUNDS; round++) {
		do_any();
		if (round % 1000 == 999) {
			end_turn();
			check_whole(&test.f);
		}
	}
	end_turn();
	check_whole(&test.f);
	for (int peer = -1; peer < PEERS; peer++) {
		for (int user = 0; user < ARCHIVES; user++)
			compare(user, peer);
	}
	teardown(&test.f);
}

int main(void) {
	return test_run("recent");
}
