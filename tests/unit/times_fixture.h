/* An archive whose messages have times in any order, a list of what it should have, and a count of
 * the steps that queries take. */
#ifndef TEST_TIMES_FIXTURE_H
#define TEST_TIMES_FIXTURE_H

#include <lmdb.h>
#include <math.h>

#include "../../modules/archive/archive.h"
#include "store_fixture.h"

/* ---- Steps: records that are looked up, and moves of cursors. To decompress a message takes more
 * time than some of them. ---- */

enum { PER_MESSAGE = 3 };

static unsigned steps;

int __real_mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data);
int __wrap_mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data);
int __real_mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op);
int __wrap_mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op);

int __wrap_mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data) {
	steps++;
	return __real_mdb_get(txn, dbi, key, data);
}

int __wrap_mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op) {
	steps++;
	return __real_mdb_cursor_get(cursor, key, data, op);
}

/* ---- An archive, and a list of what it should have ---- */

enum { MOST = 30000, MANY = 12000, PAGE = 50, TRIES = 150, DAY = 86400, GAP = 10, PEERS = 3 };

static const char *const PEER[PEERS] = {"a@b", "c@d/e", "c@d/f"};

static struct {
	struct fixture f;
	int count;
	double now; /* the right time */
	struct {
		double when;
		int peer;
		bool gone;
	} messages[MOST];
} model;

static inline void open_model(void) {
	setup(&model.f);
	model.count = 0;
	model.now = 1e9;
	srandom(test_seed());
}

static inline int below(int bound) {
	return (int)(random() % bound);
}

static inline void append_keyed(double when, int peer, const char *key) {
	const int i = model.count++;
	char text[16];
	REQUIRE(i < MOST);
	model.messages[i].when = when;
	model.messages[i].peer = peer;
	model.messages[i].gone = false;
	snprintf(text, sizeof(text), "%d", i);
	CHECK(append_to(&model.f, JULIET, text, when, PEER[peer], key, NULL) == PN_OK);
	if (i % 100 == 0)
		commit(&model.f);
}

/* Appends messages some seconds apart, by a clock that is wrong by `wrong` seconds. */
static inline void append_some(int count, double wrong) {
	for (int i = 0; i < count; i++) {
		model.now += GAP;
		append_keyed(model.now + wrong, i % PEERS, NULL);
	}
}

static inline bool matches(int i, const struct pn_archive_query *query) {
	const double when = model.messages[i].when;
	const char *peer = PEER[model.messages[i].peer];
	const size_t len = query->peer.len;
	if (model.messages[i].gone || (query->has_start && when < query->start) ||
	    (query->has_end && when > query->end))
		return false;
	return query->peer.bytes == NULL || (strncmp(peer, query->peer.bytes, len) == 0 &&
					     (peer[len] == '\0' || peer[len] == '/'));
}

static inline uint64_t count_matches(const struct pn_archive_query *query) {
	uint64_t count = 0;
	for (int i = 0; i < model.count; i++)
		count += matches(i, query);
	return count;
}

/* The number of the match after the `i`th message, in the query's direction; -1 at the end. */
static inline int next_match(int i, const struct pn_archive_query *query) {
	const int step = query->reverse ? -1 : 1;
	for (i += step; i >= 0 && i < model.count; i += step) {
		if (matches(i, query))
			return i;
	}
	return -1;
}

/* Reads the page of a query, compares it, and returns its steps. */
static inline unsigned compare_page(const struct pn_archive_query *query) {
	struct pn_archive_cursor *cursor;
	struct pn_message message;
	uint64_t count = 0;
	int at = query->reverse ? model.count : -1;
	unsigned read = 0;
	steps = 0;
	REQUIRE(pn_archive_find(&cursor, &model.f.archive, JULIET, query, PAGE, &count) == PN_OK);
	for (; read < PAGE && pn_archive_next(cursor, &message) == 1; read++) {
		const struct pn_str text = body(message.stanza);
		at = next_match(at, query);
		CHECK(at >= 0 && atoi(text.bytes) == at && message.when == model.messages[at].when);
	}
	const unsigned taken = steps + PER_MESSAGE * read;
	CHECK(read == PAGE || next_match(at, query) == -1);
	CHECK(count == count_matches(query));
	pn_archive_cursor_free(cursor);
	return taken;
}

/* Any query by time. */
static inline struct pn_archive_query any_query(void) {
	static const char *const peers[] = {NULL, NULL, "a@b", "c@d", "c@d/e"};
	const char *peer = peers[below(5)];
	struct pn_archive_query query = {
		.has_start = below(4) > 0,
		.has_end = below(4) > 0,
		.peer = peer != NULL ? str(peer) : NONE,
		.reverse = below(2) == 0,
	};
	query.start = model.messages[below(model.count)].when + below(3) - 1;
	query.end = query.start + below(3) * below(20000);
	return query;
}

/* Compares some pages. Returns the most steps that one has taken. */
static inline unsigned compare_pages(int tries) {
	unsigned most = 0;
	for (int i = 0; i < tries; i++) {
		const struct pn_archive_query query = any_query();
		const unsigned taken = compare_page(&query);
		most = taken > most ? taken : most;
	}
	return most;
}

/* ---- Helpers of tests ---- */

static inline void delete_from_both(const struct pn_archive_query *query) {
	const uint64_t count = count_matches(query);
	for (int i = 0; i < model.count; i++)
		model.messages[i].gone = model.messages[i].gone || matches(i, query);
	CHECK(delete_matching(&model.f, query) == (int64_t)count);
}

static inline void append_two_clocks(int count) {
	for (int i = 0; i < count; i++)
		append_some(1 + i % 2, i % 2 == 0 ? 0 : -DAY);
}

static inline struct pn_archive_state state_of_model(void) {
	struct pn_txn txn;
	struct pn_archive archive;
	pn_txn_read(model.f.db, &txn);
	CHECK(pn_archive_open(&archive, &txn, &model.f.archive, JULIET));
	pn_txn_end(&txn, PN_OK);
	return archive.state;
}

#endif
