/* Comparing every record with those that depend on it. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>
#include <pn/pack.h>

#include "archive.h"

enum { STEP_RECORDS = 1000, TEXT = 240 };

/* What was counted of the archive whose messages the walk is at. */
struct tally {
	uint32_t archive;
	uint64_t messages;
	uint64_t bytes;
	uint64_t seq; /* of the last */
	double latest;
};

struct pn_check {
	struct pn_store *store; /* in use, so that it is not closed before */
	MDB_txn *txn;           /* one state, for all steps */
	struct pn_cursor cursor;
	struct pn_progress progress;
	void (*problem)(void *context, const char *text);
	void *context;
	bool begun;
	uint64_t collections; /* records c, d and u: as many of each */
	uint64_t directory;
	uint64_t users;
	struct tally tally;
};

__attribute__((format(printf, 2, 3))) static int report(struct pn_check *check, const char *format,
							...) {
	char text[TEXT];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	check->problem(check->context, text);
	return PN_OK;
}

/* ---- Collections ---- */

/* The type of a collection; 0 if it is in the trash, whose records need not agree; or none. */
static int type_of(struct pn_check *check, uint32_t collection) {
	const struct pn_key key = pn_key_collection(PN_KIND_TRASH, collection);
	struct pn_names names;
	struct pn_wire value;
	const int trash = pn_get(check->store, &key, &value);
	if (trash != 0)
		return trash < 0 ? trash : 0;
	const int err = pn_collection_names(check->store, collection, &names);
	return err != PN_OK ? err : (int)names.type;
}

/* Whether the record's collection exists and has the type: 1, or 0 where that was reported. */
static int belongs(struct pn_check *check, uint32_t collection, enum pn_type type) {
	const char kind = check->cursor.key.bytes[5];
	const int found = type_of(check, collection);
	if (found == PN_ECORRUPT) {
		report(check, "a record of kind %c belongs to collection %u, which is not there",
		       kind, collection);
		return 0;
	}
	if (found > 0 && found != (int)type) {
		report(check, "a record of kind %c belongs to collection %u of another type", kind,
		       collection);
		return 0;
	}
	return found < 0 ? found : found > 0;
}

/* The archive's messages and exceptions have been counted: compare with its state. */
static int check_state(struct pn_check *check, uint32_t archive) {
	const struct tally *tally = &check->tally;
	struct pn_state state;
	uint64_t positions;
	const int found = pn_state_read(check->store, archive, &state);
	if (found <= 0)
		return found == 0 || found == PN_ECORRUPT
			       ? report(check, "archive %u has no state that can be read", archive)
			       : found;
	const int err = pn_range_count(check->store, archive, PN_WITH_ALL,
				       (struct pn_range){0, state.next}, &positions);
	if (err != PN_OK)
		return err;
	const uint64_t messages = tally->messages;
	const uint64_t bytes = tally->bytes;
	if (state.count != messages || state.bytes != bytes)
		report(check, "archive %u counts %llu messages of %llu bytes, it has %llu of %llu",
		       archive, (unsigned long long)state.count, (unsigned long long)state.bytes,
		       (unsigned long long)messages, (unsigned long long)bytes);
	if (positions != messages)
		report(check, "archive %u has %llu messages by position, and %llu in fact", archive,
		       (unsigned long long)positions, (unsigned long long)messages);
	return PN_OK;
}

/* An archive whose messages the walk will not come to. */
static int check_not_empty(struct pn_check *check, uint32_t archive) {
	const struct pn_range all = {0, UINT64_MAX >> 24};
	uint64_t count;
	const int err = pn_range_count(check->store, archive, PN_WITH_ALL, all, &count);
	if (err == PN_OK && count == 0)
		report(check, "archive %u has no messages, but it is there", archive);
	return err;
}

static int check_collection(struct pn_check *check, uint32_t collection) {
	struct pn_names names;
	struct pn_space space;
	uint32_t found_collection;
	const int err = pn_names_read(check->cursor.value, &names);
	check->collections++;
	if (err != PN_OK)
		return report(check, "the names of collection %u cannot be read", collection);
	if (pn_space_init(&space, names.type, names.host, names.store) != PN_OK)
		return PN_ENOMEM;
	const int found = pn_collection_find(check->store, &space, names.user, &found_collection);
	if (found < 0)
		return found;
	if (found == 0 || found_collection != collection)
		report(check, "collection %u is not in the directory", collection);
	return PN_OK;
}

/* Between two messages that follow one another there are deleted positions, and nothing else. */
static int check_gap(struct pn_check *check, uint32_t archive, uint32_t with, uint64_t before,
		     uint64_t position) {
	uint64_t holes;
	if (position <= before)
		return report(check, "with %u of archive %u: position %llu follows %llu", with,
			      archive, (unsigned long long)position, (unsigned long long)before);
	const int err = pn_holes_count(check->store, archive, with, before + 1, position, &holes);
	if (err == PN_OK && holes != position - before - 1)
		report(check,
		       "with %u of archive %u: between positions %llu and %llu %llu are deleted",
		       with, archive, (unsigned long long)before, (unsigned long long)position,
		       (unsigned long long)holes);
	return err;
}

/* ---- Messages ---- */

static int check_index(struct pn_check *check, uint32_t archive, uint32_t with, uint64_t seq) {
	const struct pn_key key = pn_key_with(archive, with, seq);
	struct pn_wire value;
	const int found = pn_get(check->store, &key, &value);
	if (found == 0)
		report(check, "message %llu of archive %u is missing in the index of with %u",
		       (unsigned long long)seq, archive, with);
	return found < 0 ? found : PN_OK;
}

static int check_with_of(struct pn_check *check, uint32_t archive, uint64_t seq,
			 const struct pn_stored *stored) {
	struct pn_str name;
	uint32_t bare = 0;
	if (stored->with == 0)
		return PN_OK;
	int err = pn_with_name(check->store, archive, stored->with, &name, &bare);
	if (err == PN_ECORRUPT)
		return report(check, "with %u of message %llu of archive %u is not there",
			      stored->with, (unsigned long long)seq, archive);
	if (err == PN_OK)
		err = check_index(check, archive, stored->with, seq);
	if (err == PN_OK && bare != 0)
		err = check_index(check, archive, bare, seq);
	return err;
}

static int check_name_of(struct pn_check *check, uint32_t archive, uint64_t seq,
			 const struct pn_stored *stored) {
	struct pn_key key;
	struct pn_wire value;
	if (stored->key.bytes == NULL)
		return PN_OK;
	const int err = pn_name_key(check->store, archive, stored->key, &key);
	if (err != PN_OK)
		return err;
	const int found = pn_get(check->store, &key, &value);
	if (found < 0)
		return found;
	if (found == 0 || pn_wire_u64(&value) != seq)
		report(check, "message %llu of archive %u is not found by its key",
		       (unsigned long long)seq, archive);
	return PN_OK;
}

static int check_exception_of(struct pn_check *check, uint32_t archive, uint64_t seq,
			      const struct pn_stored *stored) {
	const struct pn_key key = pn_key_seq(archive, PN_KIND_EXCEPTION, seq);
	struct pn_wire value;
	const int found = pn_get(check->store, &key, &value);
	if (found < 0)
		return found;
	if (stored->exception != (found > 0) || (found > 0 && pn_wire_f64(&value) != stored->when))
		report(check, "message %llu of archive %u and its exception do not agree",
		       (unsigned long long)seq, archive);
	return PN_OK;
}

static int check_message(struct pn_check *check, uint32_t archive, uint64_t seq) {
	struct tally *const tally = &check->tally;
	struct pn_stored stored;
	struct pn_wire tokens;
	if (tally->archive != archive)
		*tally = (struct tally){.archive = archive, .latest = -HUGE_VAL};
	if (tally->messages++ > 0) {
		const int gap = check_gap(check, archive, PN_WITH_ALL, tally->seq, seq);
		if (gap != PN_OK)
			return gap;
	}
	tally->seq = seq;
	tally->bytes += check->cursor.size;
	if (pn_stored_read(check->cursor.value, &stored) != PN_OK ||
	    pn_unpack(stored.stanza, &tokens) != PN_OK)
		return report(check, "message %llu of archive %u cannot be read",
			      (unsigned long long)seq, archive);
	if (stored.latest < tally->latest)
		report(check, "message %llu of archive %u is out of the order of time",
		       (unsigned long long)seq, archive);
	tally->latest = stored.latest;
	int err = check_with_of(check, archive, seq, &stored);
	if (err == PN_OK)
		err = check_name_of(check, archive, seq, &stored);
	if (err == PN_OK)
		err = check_exception_of(check, archive, seq, &stored);
	return err;
}

/* ---- Indexes: each entry leads to a message that leads back ---- */

static int check_leads(struct pn_check *check, uint32_t archive, uint64_t seq,
		       struct pn_stored *stored) {
	const struct pn_key key = pn_key_seq(archive, PN_KIND_MESSAGE, seq);
	struct pn_wire value;
	const int found = pn_get(check->store, &key, &value);
	if (found < 0)
		return found;
	if (found == 0 || pn_stored_read(value, stored) != PN_OK) {
		report(check,
		       "a record of kind %c of archive %u leads to message %llu, which is not "
		       "there",
		       check->cursor.key.bytes[5], archive, (unsigned long long)seq);
		return 0;
	}
	return 1;
}

static int check_with_entry(struct pn_check *check, uint32_t archive, uint32_t with, uint64_t seq) {
	struct pn_stored stored;
	struct pn_str name;
	uint32_t bare = 0;
	const int found = check_leads(check, archive, seq, &stored);
	if (found <= 0)
		return found;
	if (stored.with != with && stored.with != 0) {
		const int err = pn_with_name(check->store, archive, stored.with, &name, &bare);
		if (err == PN_ECORRUPT)
			return report(check, "with %u of message %llu of archive %u is not there",
				      stored.with, (unsigned long long)seq, archive);
		if (err != PN_OK)
			return err;
	}
	if (stored.with != with && bare != with)
		report(check, "message %llu of archive %u is in the index of with %u by mistake",
		       (unsigned long long)seq, archive, with);
	return PN_OK;
}

/* Positions of a correspondent agree with what the index holds. */
static int check_with_count(struct pn_check *check, uint32_t archive, uint32_t with) {
	const struct pn_key start = pn_key_with(archive, with, 0);
	const struct pn_range all = {0, UINT64_MAX >> 24};
	struct pn_cursor cursor;
	uint32_t found_archive, found_with;
	uint64_t seq, positions, entries = 0, before = 0;
	int err = pn_range_count(check->store, archive, with, all, &positions);
	if (err == PN_OK)
		err = pn_cursor_open(check->store, &cursor);
	if (err != PN_OK)
		return err == PN_ECORRUPT
			       ? report(check, "the index of with %u of archive %u is broken", with,
					archive)
			       : err;
	for (err = pn_cursor_seek(&cursor, &start);
	     err > 0 && pn_key_read_with(cursor.key, &found_archive, &found_with, &seq) &&
	     found_archive == archive && found_with == with;
	     err = pn_cursor_next(&cursor)) {
		const uint64_t ordinal = pn_wire_u32(&cursor.value);
		const int gap =
			entries++ > 0 ? check_gap(check, archive, with, before, ordinal) : PN_OK;
		before = ordinal;
		if (gap != PN_OK) {
			err = gap;
			break;
		}
	}
	pn_cursor_close(&cursor);
	if (err >= 0 && entries != positions)
		report(check,
		       "with %u of archive %u has %llu messages by position, and %llu in fact",
		       with, archive, (unsigned long long)positions, (unsigned long long)entries);
	return err < 0 ? err : PN_OK;
}

static int check_with_name(struct pn_check *check, uint32_t archive, uint32_t with) {
	struct pn_str name;
	uint32_t bare, number;
	int err = pn_with_name(check->store, archive, with, &name, &bare);
	if (err != PN_OK)
		return err == PN_ECORRUPT ? report(check, "with %u of archive %u cannot be read",
						   with, archive)
					  : err;
	const int found = pn_with_find(check->store, archive, name, &number);
	if (found < 0)
		return found;
	if (found == 0 || number != with)
		report(check, "with %u of archive %u is not found by its name", with, archive);
	return check_with_count(check, archive, with);
}

static int check_exception(struct pn_check *check, uint32_t archive, uint64_t seq) {
	struct pn_stored stored;
	const int found = check_leads(check, archive, seq, &stored);
	if (found > 0 && !stored.exception)
		report(check, "message %llu of archive %u is listed as an exception by mistake",
		       (unsigned long long)seq, archive);
	return found < 0 ? found : PN_OK;
}

/* ---- The walk ---- */

static int check_archive_record(struct pn_check *check, uint32_t archive, enum pn_kind kind) {
	const struct pn_str key = check->cursor.key;
	struct pn_wire value = check->cursor.value;
	struct pn_stored stored;
	uint32_t with;
	uint64_t seq;
	int found;
	switch (kind) {
	case PN_KIND_STATE:
		return check_not_empty(check, archive);
	case PN_KIND_MESSAGE:
		return pn_key_read_seq(key, PN_KIND_MESSAGE, &archive, &seq)
			       ? check_message(check, archive, seq)
			       : PN_ECORRUPT;
	case PN_KIND_EXCEPTION:
		return pn_key_read_seq(key, PN_KIND_EXCEPTION, &archive, &seq)
			       ? check_exception(check, archive, seq)
			       : PN_ECORRUPT;
	case PN_KIND_WITH:
		return pn_key_read_with(key, &archive, &with, &seq)
			       ? check_with_entry(check, archive, with, seq)
			       : PN_ECORRUPT;
	case PN_KIND_WITH_NAME:
		return check_with_name(check, archive, pn_wire_u32(&value));
	case PN_KIND_NAME:
		found = check_leads(check, archive, pn_wire_u64(&value), &stored);
		return found < 0 ? found : PN_OK;
	default:
		return PN_OK;
	}
}

static int check_owned_record(struct pn_check *check) {
	uint32_t collection;
	enum pn_kind kind;
	if (!pn_key_read_record(check->cursor.key, &collection, &kind))
		return report(check, "a record belongs to no collection");
	const bool keyval = kind == PN_KIND_VALUE;
	const int good = belongs(check, collection, keyval ? PN_TYPE_KEYVAL : PN_TYPE_ARCHIVE);
	if (good <= 0 || keyval)
		return good < 0 ? good : PN_OK;
	const int err = check_archive_record(check, collection, kind);
	return err == PN_ECORRUPT
		       ? report(check, "a record of archive %u cannot be read", collection)
		       : err;
}

static int check_record(struct pn_check *check) {
	const struct pn_str key = check->cursor.key;
	uint32_t collection;
	switch (key.bytes[0]) {
	case PN_KIND_FORMAT:
	case PN_KIND_STORES:
	case PN_KIND_TRASH:
		return PN_OK;
	case PN_KIND_DIRECTORY:
		check->directory++;
		return PN_OK;
	case PN_KIND_USER:
		check->users++;
		return PN_OK;
	case PN_KIND_COLLECTION:
		if (pn_key_read_collection(key, PN_KIND_COLLECTION, &collection))
			return check_collection(check, collection);
		break;
	case PN_KIND_RECORD:
		return check_owned_record(check);
	default:
		break;
	}
	return report(check, "a record has a key of no known kind");
}

/* The messages of the tally's archive are behind the walk. */
static int finish_archive(struct pn_check *check) {
	const uint32_t archive = check->tally.archive;
	if (archive == 0)
		return PN_OK;
	const int err = check_state(check, archive);
	check->tally = (struct tally){0};
	return err;
}

static int leaves_archive(const struct pn_check *check) {
	uint32_t archive;
	uint64_t seq;
	return check->tally.archive != 0 &&
	       (!pn_key_read_seq(check->cursor.key, PN_KIND_MESSAGE, &archive, &seq) ||
		archive != check->tally.archive);
}

static int finish(struct pn_check *check) {
	if (check->collections != check->directory || check->collections != check->users)
		report(check, "there are %llu collections, %llu by store, and %llu by user",
		       (unsigned long long)check->collections, (unsigned long long)check->directory,
		       (unsigned long long)check->users);
	return finish_archive(check);
}

static int walk(struct pn_check *check) {
	const struct pn_key start = {.len = 1, .bytes = {0}};
	for (int i = 0; i < STEP_RECORDS; i++) {
		int err = check->begun ? pn_cursor_next(&check->cursor)
				       : pn_cursor_seek(&check->cursor, &start);
		check->begun = true;
		if (err == 0)
			return finish(check);
		if (err > 0 && check->cursor.value.err != PN_OK) {
			report(check, "the value of a record of kind %c cannot be read",
			       check->cursor.key.bytes[0]);
			continue;
		}
		if (err > 0 && leaves_archive(check))
			err = finish_archive(check);
		if (err >= 0)
			err = check_record(check);
		if (err < 0)
			return err;
		check->progress.done++;
	}
	return 1;
}

int pn_check_step(struct pn_check *check, struct pn_progress *progress) {
	check->store->txn = check->txn;
	const int more = walk(check);
	check->store->txn = NULL;
	*progress = check->progress;
	return more;
}

int pn_check_new(struct pn_check **out, struct pn_store *store,
		 void (*problem)(void *context, const char *text), void *context) {
	MDB_stat stat;
	struct pn_check *check = pn_malloc(sizeof(*check));
	if (check == NULL)
		return PN_ENOMEM;
	*check = (struct pn_check){.store = store, .problem = problem, .context = context};
	store->users++;
	store->views++;
	int err = pn_store_commit(store);
	if (err == PN_OK)
		err = pn_store_error(mdb_txn_begin(store->env, NULL, MDB_RDONLY, &check->txn));
	if (err == PN_OK)
		err = pn_store_error(mdb_stat(check->txn, store->dbi, &stat));
	store->txn = check->txn;
	if (err == PN_OK)
		err = pn_cursor_open(store, &check->cursor);
	store->txn = NULL;
	if (err != PN_OK) {
		pn_check_free(check);
		return err;
	}
	check->progress.total = stat.ms_entries;
	*out = check;
	return PN_OK;
}

void pn_check_free(struct pn_check *check) {
	if (check == NULL)
		return;
	pn_cursor_close(&check->cursor);
	mdb_txn_abort(check->txn);
	check->store->views--;
	pn_store_close(check->store);
	pn_free(check);
}
