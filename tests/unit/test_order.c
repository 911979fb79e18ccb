/* pn/archive.h: records of messages out of order: those of format 1, changes, and damage. */
#include "times_fixture.h"

/* ---- Archives of format 1: a record e for each message out of order, and no runs ---- */

/* Puts a message into the index of a peer, which is created if it has none. Returns its number. */
static uint32_t index_old(struct pn_archive *archive, struct pn_str name, uint32_t bare,
			  uint64_t seq) {
	pn_digest digest;
	uint32_t number = pn_peer_named(archive, name);
	REQUIRE(pn_db_digest(model.f.db, &name, 1, digest) == PN_OK);
	if (number == 0) {
		number = archive->state.next_peer++;
		const struct pn_key by_name = pn_key_peer_name(archive->number, digest);
		const struct pn_key by_number = pn_key_peer_id(archive->number, number);
		struct pn_buf value = pn_value();
		pn_wire_put_u32(&value, bare);
		pn_buf_append(&value, name.bytes, name.len);
		pn_put(archive->txn, &by_number, &value);
		pn_put_u32(archive->txn, &by_name, number);
	}
	struct pn_peer peer = {0};
	if (pn_peer_get(archive, number, &peer) && peer.tail.count > 0) { /* not as old */
		pn_index_add(archive, &peer, seq);
		return number;
	}
	const struct pn_range before = {0, seq};
	const struct pn_key entry = pn_key_peer(archive->number, number, seq);
	pn_put_u32(archive->txn, &entry, (uint32_t)pn_range_count(archive, number, before));
	return number;
}

static void append_old(double when, int peer) {
	const int i = model.count;
	struct pn_txn txn;
	struct pn_archive archive;
	char text[16];
	REQUIRE(model.count++ < MOST);
	model.messages[i].when = when;
	model.messages[i].peer = peer;
	model.messages[i].gone = false;
	snprintf(text, sizeof(text), "%d", i);
	struct pn_buf stanza = packed(text);
	pn_txn_write(model.f.db, &txn, (struct pn_claim){.puts = 10, .bytes = 1000});
	if (!pn_archive_open(&archive, &txn, &model.f.archive, JULIET))
		archive.number = pn_collection_make(&txn, &model.f.archive, JULIET);
	const uint64_t seq = archive.state.next++;
	const uint32_t bare = peer > 0 ? index_old(&archive, str("c@d"), 0, seq) : 0;
	const uint32_t number = index_old(&archive, str(PEER[peer]), bare, seq);
	const bool late = when < archive.state.latest;
	const struct pn_stored stored = {
		.peer = number,
		.when = when,
		.latest = late ? archive.state.latest : when,
		.out_of_order = late,
		.stanza = {(char *)stanza.data, stanza.len},
	};
	archive.state.count++;
	archive.state.bytes += pn_message_put(&archive, seq, &stored);
	archive.state.latest = stored.latest;
	if (stored.out_of_order) {
		const struct pn_key key = pn_key_seq(archive.number, PN_KIND_LISTED, seq);
		struct pn_buf value = pn_value();
		pn_wire_put_f64(&value, when);
		pn_put(&txn, &key, &value);
		archive.state.listed++;
	}
	pn_archive_write_state(&archive);
	CHECK(pn_txn_end(&txn, PN_OK) == PN_OK);
	pn_buf_free(&stanza);
}

/* Clocks in turns, then a message from the future, and more: all of these are out of order. */
static void open_old_model(int count) {
	open_model();
	for (int i = 0; i < count; i++) {
		model.now += GAP;
		append_old(i % 3 == 0 ? model.now - DAY / 8 : model.now, i % PEERS);
		if (i == count / 2)
			append_old(model.now + 1e9, 0);
	}
	commit(&model.f);
}

TEST(an_archive_of_the_format_before_is_read_as_it_is) {
	open_old_model(600);
	CHECK(state_of_model().listed > 300 && state_of_model().unordered == 0);
	compare_pages(TRIES);
	check_whole(&model.f);
	const struct pn_archive_query some = {.has_end = true, .end = model.now - 3000};
	delete_from_both(&some);
	compare_pages(TRIES);
	check_whole(&model.f);
	teardown(&model.f);
}

TEST(an_archive_of_the_format_before_is_converted_by_what_is_appended_to_it) {
	open_old_model(600);
	uint64_t listed = state_of_model().listed;
	for (int i = 0; i < 60; i++) {
		append_some(1, i % 4 == 0 ? -DAY : 0);
		const uint64_t now = state_of_model().listed;
		CHECK(now == 0 || now < listed);
		listed = now;
		compare_pages(TRIES / 10);
		check_whole(&model.f);
	}
	CHECK(listed == 0);
	compare_pages(TRIES);
	teardown(&model.f);
}

TEST(a_cursor_goes_on_while_its_archive_is_converted) {
	open_old_model(600);
	const struct pn_archive_query query = {.has_end = true, .end = model.now};
	struct pn_archive_cursor *cursor;
	struct pn_message message;
	int at = -1;
	REQUIRE(pn_archive_find(&cursor, &model.f.archive, JULIET, &query, UINT64_MAX, NULL) ==
		PN_OK);
	const int last = model.count;
	while (pn_archive_next(cursor, &message) == 1) {
		at = next_match(at, &query);
		CHECK(at >= 0 && at < last && atoi(body(message.stanza).bytes) == at);
		append_some(1, 1e6);
	}
	CHECK(next_match(at, &query) == -1);
	pn_archive_cursor_free(cursor);
	teardown(&model.f);
}

/* ---- Changed times ---- */

TEST(messages_whose_times_are_changed_are_found_by_the_new_ones) {
	enum { FEW = 300 };
	struct id ids[FEW];
	open_model();
	for (int i = 0; i < FEW; i++) {
		model.messages[i].when = i;
		model.messages[i].peer = i % PEERS;
		model.messages[i].gone = false;
		model.count++;
		char text[16];
		snprintf(text, sizeof(text), "%d", i);
		CHECK(append(&model.f, text, i, PEER[i % PEERS], &ids[i]) == PN_OK);
	}
	for (int n = 0; n < 400; n++) {
		const int i = below(FEW);
		const double when = below(FEW);
		const struct pn_str peer = str(PEER[below(PEERS)]);
		char text[16];
		snprintf(text, sizeof(text), "%d", i);
		struct pn_buf stanza = packed(text);
		const struct pn_archive_change change = {
			.stanza = {(char *)stanza.data, stanza.len},
			.when = below(4) > 0 ? &when : NULL,
			.peer = below(4) == 0 ? &peer : NULL,
		};
		CHECK(pn_archive_set(&model.f.archive, JULIET, id_str(&ids[i]), &change) == PN_OK);
		pn_buf_free(&stanza);
		if (change.when != NULL)
			model.messages[i].when = when;
		for (int p = 0; p < PEERS && change.peer != NULL; p++) {
			if (PEER[p] == peer.bytes)
				model.messages[i].peer = p;
		}
		compare_pages(2);
	}
	check_whole(&model.f);
	teardown(&model.f);
}

/* ---- Damage ---- */

static void ignore_problem(void *context, const char *text) {
	unsigned *problems = context;
	(void)text;
	*problems += 1;
}

static unsigned count_problems(void) {
	struct pn_check *check;
	struct pn_progress progress;
	unsigned count = 0;
	REQUIRE(pn_check_new(&check, model.f.db, ignore_problem, &count) == PN_OK);
	while (pn_check_step(check, &progress) > 0)
		continue;
	pn_check_free(check);
	return count;
}

/* Puts a value at a key, or removes the record if it has no bytes. */
static void put_raw(const struct pn_key *key, struct pn_str bytes) {
	struct pn_txn txn;
	struct pn_buf value = {0};
	pn_txn_write(model.f.db, &txn, (struct pn_claim){.puts = 1, .bytes = 2000});
	if (bytes.len == 0) {
		pn_remove(&txn, key);
	} else {
		pn_buf_append(&value, bytes.bytes, bytes.len);
		pn_put(&txn, key, &value);
	}
	CHECK(pn_txn_end(&txn, PN_OK) == PN_OK);
	commit(&model.f);
}

/* Damages a record in some ways, and repairs it. */
static void damage(const struct pn_key *key, struct pn_str bytes) {
	static const struct pn_str none = {"", 0};
	static char changed[2000];
	REQUIRE(bytes.len <= sizeof(changed));
	put_raw(key, none);
	CHECK(count_problems() > 0);
	put_raw(key, (struct pn_str){bytes.bytes, bytes.len - 1});
	CHECK(count_problems() > 0);
	memset(changed, 0xff, bytes.len);
	changed[0] = bytes.bytes[0];
	put_raw(key, (struct pn_str){changed, bytes.len});
	CHECK(count_problems() > 0);
	put_raw(key, bytes);
	CHECK(count_problems() == 0);
}

/* Copies the `i`th record of a kind. Returns whether there is one. */
static bool copy_record(enum pn_kind kind, int i, struct pn_key *key, struct pn_buf *value) {
	struct pn_txn txn;
	struct pn_archive archive;
	struct pn_cursor cursor;
	pn_txn_read(model.f.db, &txn);
	CHECK(pn_archive_open(&archive, &txn, &model.f.archive, JULIET));
	const struct pn_key prefix = pn_archive_prefix(&archive, kind);
	pn_cursor_open(&txn, &cursor, &prefix);
	bool any = pn_cursor_first(&cursor);
	for (; any && i > 0; i--)
		any = pn_cursor_next(&cursor);
	if (any) {
		key->len = cursor.key.len;
		memcpy(key->bytes, cursor.key.bytes, key->len);
		*value = pn_value();
		pn_buf_append(value, cursor.value.pos, cursor.value.left);
	}
	pn_cursor_close(&cursor);
	CHECK(pn_txn_end(&txn, PN_OK) == PN_OK);
	return any;
}

TEST(a_check_finds_damage_in_every_record_of_times_and_peers) {
	static const enum pn_kind kinds[] = {PN_KIND_UNORDERED, PN_KIND_RUN, PN_KIND_LISTED,
					     PN_KIND_PEER_ID, PN_KIND_PEER};
	int found = 0;
	open_model();
	append_old(model.now + 3, 1);
	append_old(model.now + 1, 2);
	append_old(model.now + 2, 0);
	append_two_clocks(50);
	append_some(60, -1e6);
	append_two_clocks(50);
	/* what was appended has converted the first ones: one more, as the format before has it */
	append_old(model.now - 1e5, 1);
	commit(&model.f);
	REQUIRE(count_problems() == 0);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		struct pn_key key;
		struct pn_buf value;
		for (int i = 0; copy_record(kinds[k], i, &key, &value); i++, found++) {
			damage(&key, (struct pn_str){(char *)value.data, value.len});
			pn_buf_free(&value);
		}
	}
	CHECK(found > 30);
	teardown(&model.f);
}

int main(void) {
	return test_run("order");
}
