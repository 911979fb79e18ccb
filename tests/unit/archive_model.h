/* A naive archive beside a real one: all messages, and whether each is deleted. */
#ifndef TEST_ARCHIVE_MODEL_H
#define TEST_ARCHIVE_MODEL_H

#include <math.h>

#include "store_fixture.h"

enum { MODEL_MAX = 100000, PEERS = 5, DAY = 86400 };

static const char *const PEER[PEERS] = {"a@b", "a@b/c", "a@b/d", "e@f", NULL};

static struct {
	struct fixture f;
	int count;
	struct {
		double when;
		int peer;
		bool gone;
		struct id id;
	} messages[MODEL_MAX];
} model;

static inline void model_open(void) {
	setup(&model.f);
	model.count = 0;
	srandom(test_seed());
}

static inline int below(int bound) {
	return (int)(random() % bound);
}

static inline void model_append(double when) {
	const int i = model.count++;
	model.messages[i].when = when;
	model.messages[i].peer = below(PEERS);
	model.messages[i].gone = false;
	CHECK(append(&model.f, "x", when, PEER[model.messages[i].peer], &model.messages[i].id) ==
	      PN_OK);
}

static inline bool model_match(int i, const struct pn_archive_query *query) {
	const double when = model.messages[i].when;
	const char *peer = PEER[model.messages[i].peer];
	if (model.messages[i].gone || (query->has_start && when < query->start) ||
	    (query->has_end && when > query->end))
		return false;
	if (query->peer.bytes == NULL)
		return true;
	const size_t len = query->peer.len;
	return peer != NULL && strncmp(peer, query->peer.bytes, len) == 0 &&
	       (peer[len] == '\0' || (peer[len] == '/' && len == 3));
}

static inline int64_t model_count(const struct pn_archive_query *query) {
	int64_t count = 0;
	for (int i = 0; i < model.count; i++)
		count += model_match(i, query) ? 1 : 0;
	return count;
}

/* Deletes the matches from both. */
static inline void model_delete(const struct pn_archive_query *query) {
	int64_t count = 0;
	for (int i = 0; i < model.count; i++) {
		const bool match = model_match(i, query);
		model.messages[i].gone = model.messages[i].gone || match;
		count += match ? 1 : 0;
	}
	CHECK(delete_slices(&model.f, query, SLICE) == count);
}

static inline void model_delete_one(int i) {
	const struct pn_str id = id_str(&model.messages[i].id);
	const struct pn_archive_query one = {.ids = &id, .ids_count = 1, .ids_optional = true};
	CHECK(delete_matching(&model.f, &one) == (model.messages[i].gone ? 0 : 1));
	model.messages[i].gone = true;
	if (i % 50 == 0)
		commit(&model.f);
}

/* A range of time that begins and ends anywhere, of one peer or of all. */
static inline struct pn_archive_query random_query(double latest) {
	struct pn_archive_query query = {.has_start = below(8) > 0, .has_end = below(8) > 0};
	const int peer = below(PEERS);
	query.start = floor(latest * below(1001) / 1000);
	query.end = query.start + floor(latest * below(1001) / 2000);
	if (below(2) == 0 && PEER[peer] != NULL)
		query.peer = str(PEER[peer]);
	return query;
}

/* Compares the first messages from either end. */
static inline void compare_first(struct pn_archive_query query) {
	enum { FIRST = 3 };
	struct pn_archive_cursor *cursor;
	struct pn_message message;
	query.reverse = below(2) == 0;
	int at = query.reverse ? model.count - 1 : 0;
	const int step = query.reverse ? -1 : 1;
	REQUIRE(pn_archive_find(&cursor, &model.f.archive, JULIET, &query, FIRST, NULL) == PN_OK);
	for (int n = 0; n <= FIRST; n++, at += step) {
		const bool found = pn_archive_next(cursor, &message) == 1;
		while (at >= 0 && at < model.count && !model_match(at, &query))
			at += step;
		if (!CHECK(found == (n < FIRST && at >= 0 && at < model.count)) || !found)
			break;
		CHECK(memcmp(message.id.bytes, &model.messages[at].id, message.id.len) == 0);
	}
	pn_archive_cursor_free(cursor);
}

static inline void compare_counts(int rounds, double latest) {
	CHECK(total(&model.f, JULIET, &EVERYTHING) == model_count(&EVERYTHING));
	for (int i = 0; i < rounds; i++) {
		const struct pn_archive_query query = random_query(latest);
		const int64_t got = total(&model.f, JULIET, &query);
		const int64_t want = model_count(&query);
		if (!CHECK(got == want))
			printf("# %g to %g with %.*s: %lld, not %lld\n", query.start, query.end,
			       (int)query.peer.len,
			       query.peer.bytes != NULL ? query.peer.bytes : "", (long long)got,
			       (long long)want);
		compare_first(query);
	}
}

static inline void compare_all(bool reverse) {
	const struct pn_archive_query query = {.reverse = reverse};
	struct pn_archive_cursor *cursor;
	struct pn_message message;
	int at = reverse ? model.count : -1;
	REQUIRE(pn_archive_find(&cursor, &model.f.archive, JULIET, &query, UINT64_MAX, NULL) ==
		PN_OK);
	for (int64_t left = model_count(&query); left > 0; left--) {
		REQUIRE(pn_archive_next(cursor, &message) == 1);
		do
			at += reverse ? -1 : 1;
		while (model.messages[at].gone);
		CHECK(memcmp(message.id.bytes, &model.messages[at].id, message.id.len) == 0);
	}
	CHECK(pn_archive_next(cursor, &message) == 0);
	pn_archive_cursor_free(cursor);
}

/* Leaves the newest in both. */
static inline void model_truncate(int64_t keep) {
	const struct pn_archive_query all_but = {.has_keep = true, .keep = (uint64_t)keep};
	const int64_t count = model_count(&EVERYTHING) - keep;
	for (int64_t i = 0, gone = 0; gone < count; i++) {
		gone += model.messages[i].gone ? 0 : 1;
		model.messages[i].gone = true;
	}
	CHECK(delete_slices(&model.f, &all_but, SLICE) == count);
}

#endif
