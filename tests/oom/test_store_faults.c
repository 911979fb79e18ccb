/*
 * A script of every operation of a store, again and again, with the first call of LMDB failing,
 * then the second, and so on, in each way in which that call can fail; and the same with memory.
 * Then nothing is half there, the store goes on, and nothing is leaked. What was written before in
 * the same turn stands, also where LMDB's transaction is of no more use; only where it cannot be
 * written again is the turn lost, and its commit tells.
 */
#include <stdint.h>

#include "../../modules/db/db.h"
#include "../unit/store_fixture.h"
#include "faults.h"

/*
 * ---- The operations. Each changes all that it means to, or nothing; but expiry is a call for each
 *      archive, of which one alone has something to delete. ----
 */

static int set_first(struct fixture *f) {
	return put(f, ROMEO, "key", "value");
}

static int set_some(struct fixture *f) {
	const struct pn_record records[] = {
		{str("a"), str("changed")}, {str("b"), NONE}, {str("new"), str("value")}};
	return pn_kv_set(&f->keyval, JULIET, records, 3);
}

static int replace_all(struct fixture *f) {
	static char key[601];
	memset(key, 'k', 600);
	struct pn_record records[] = {
		{str(key), str("long")}, {str("a"), str("1")}, {str("c"), str("changed")}};
	return pn_kv_replace(&f->keyval, JULIET, records, 3);
}

static int delete_key(struct fixture *f) {
	return pn_kv_delete_all(&f->keyval, str("only juliet's"));
}

static int append_first(struct fixture *f) {
	return append_to(f, ROMEO, "first", 5, "juliet@capulet.lit/balcony", NULL, NULL);
}

static int append_earlier(struct fixture *f) {
	return append_to(f, JULIET, "earlier", 3, "new@b/c", NULL, NULL);
}

static int append_again(struct fixture *f) {
	return append_to(f, JULIET, "again", 20, "a@b/d", "key", NULL);
}

static int set_message(struct fixture *f) {
	struct pn_buf stanza = packed("changed");
	const struct pn_str peer = str("e@f/g");
	const double when = 1;
	const struct pn_archive_change change = {
		.stanza = {(char *)stanza.data, stanza.len}, .when = &when, .peer = &peer};
	const int err = stanza.err != PN_OK
				? stanza.err
				: pn_archive_set(&f->archive, JULIET, str("key"), &change);
	pn_buf_free(&stanza);
	return err;
}

static int delete_some(struct fixture *f) {
	const struct pn_archive_query middle = {
		.has_start = true, .start = 4, .has_end = true, .end = 6};
	const int64_t count = delete_matching(f, &middle);
	return count < 0 ? (int)count : PN_OK;
}

static int truncate_with(struct fixture *f) {
	const struct pn_archive_query query = {.peer = str("a@b"), .has_keep = true, .keep = 2};
	const int64_t count = delete_matching(f, &query);
	return count < 0 ? (int)count : PN_OK;
}

static int expire(struct fixture *f) {
	const struct pn_archive_query old = {.has_end = true, .end = 2};
	struct pn_archive_position position = {0};
	uint64_t count = 0;
	const int more = pn_archive_delete_all(&f->archive, &old, &position, 100, &count);
	return more < 0 ? more : position.damaged > 0 ? PN_ECORRUPT : PN_OK;
}

static int purge(struct fixture *f) {
	return pn_store_purge(f->db, str("host"), JULIET);
}

static int erase(struct fixture *f) {
	const int more = pn_store_erase(f->db, 10);
	return more < 0 ? more : PN_OK;
}

/* ---- Operations that only read ---- */

static int list_everything(struct fixture *f) {
	struct pn_buf buf = {0};
	int err = pn_kv_get(&f->keyval, JULIET, str("a"), &buf);
	if (err >= 0)
		err = pn_kv_load(&f->keyval, JULIET, &buf);
	if (err >= 0)
		err = pn_kv_get_all(&f->keyval, str("a"), &buf);
	if (err >= 0)
		err = pn_store_users(&f->keyval, &buf);
	if (err >= 0)
		err = pn_store_list(f->db, str("host"), JULIET, &buf);
	if (err >= 0)
		err = pn_store_list_all(f->db, str("host"), &buf);
	if (err >= 0)
		err = pn_archive_dates(&f->archive, JULIET, &buf);
	pn_buf_free(&buf);
	return err < 0 ? err : PN_OK;
}

static int find_everything(struct fixture *f) {
	static const struct pn_str ids[] = {{"key", 3}, {"nobody", 6}};
	const struct pn_archive_query queries[] = {
		{.has_start = true, .start = 2, .peer = str("a@b")},
		{.ids = ids, .ids_count = 2, .ids_optional = true, .reverse = true},
		{.after = str("key"), .has_end = true, .end = 100},
		{.peer = str("a@b/c"), .reverse = true},
	};
	char texts[4096];
	for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
		const int64_t count = total(f, JULIET, &queries[i]);
		int err = count < 0 ? (int)count : PN_OK;
		if (err == PN_OK)
			err = find_texts(f, JULIET, &queries[i], 10, texts, sizeof(texts));
		if (err != PN_OK)
			return err;
	}
	return PN_OK;
}

static void ignore_collection(void *context, const struct pn_stat *found) {
	(void)context;
	(void)found;
}

static void note_problem(void *context, const char *text) {
	(void)text;
	*(bool *)context = true;
}

static int inspect(struct fixture *f) {
	struct pn_db_info info;
	uint32_t position = 0;
	const int err = pn_db_info(f->db, &info);
	return err != PN_OK ? err
			    : pn_store_stat(f->db, &position, 10, true, ignore_collection, NULL);
}

/* ---- Operations that commit ---- */

static int check_all_records(struct fixture *f) {
	struct pn_check *check;
	struct pn_progress progress;
	bool problem = false;
	int more = pn_check_new(&check, f->db, note_problem, &problem);
	if (more != PN_OK)
		return more;
	do
		more = pn_check_step(check, &progress);
	while (more > 0);
	pn_check_free(check);
	return more == 0 && problem ? PN_ECORRUPT : more;
}

static int copy(struct fixture *f) {
	struct pn_copy *made;
	struct pn_progress progress;
	char file[PATH_SIZE + 16];
	snprintf(file, sizeof(file), "%s.copy", f->directory);
	int more = pn_copy_new(&made, f->db, file, NULL);
	if (more == PN_OK) {
		do
			more = pn_copy_step(made, &progress);
		while (more > 0);
		pn_copy_free(made);
	}
	CHECK((unlink(file) == 0) == (more == 0)); /* one that is not complete is gone already */
	return more;
}

static size_t switching; /* number of the call before the last switch */

/* A copy that fails leaves the old file in use. */
static int compact(struct fixture *f) {
	struct pn_compaction *compaction;
	struct pn_progress progress;
	char file[PATH_SIZE + 16];
	snprintf(file, sizeof(file), "%s/compact.part", f->directory);
	int more = pn_db_verify(f->db);
	if (more == PN_OK)
		more = pn_compact_new(&compaction, f->db, false, NULL);
	if (more == PN_OK) {
		do {
			more = pn_compact_step(compaction, &progress);
			switching = faults.calls;
			if (more == 0)
				more = pn_compact_switch(compaction);
		} while (more > 0);
		pn_compact_free(compaction);
	}
	CHECK(access(file, F_OK) != 0);
	return more;
}

static int flush(struct fixture *f) {
	return pn_db_flush(f->db);
}

typedef int operation(struct fixture *f);

static operation *const OPERATIONS[] = {
	set_first,    list_everything, set_some,      replace_all, delete_key,
	append_first, append_earlier,  append_again,  set_message, delete_some,
	erase,        find_everything, truncate_with, expire,      inspect,
	purge,        list_everything, erase,         erase,       set_some,
	append_first,
};
enum { COUNT = sizeof(OPERATIONS) / sizeof(OPERATIONS[0]) };

static operation *const COMMITTING[] = {inspect, check_all_records, copy, compact, flush};
enum { COMMITTING_COUNT = sizeof(COMMITTING) / sizeof(COMMITTING[0]) };

/* ---- What is stored ---- */

static uint64_t mix(uint64_t sum, const void *bytes, size_t len) {
	for (size_t i = 0; i < len; i++)
		sum = (sum ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3;
	return sum * 0x100000001b3;
}

static uint64_t state(struct fixture *f) {
	static const struct pn_user users[] = {{"juliet", 6}, {"romeo", 5}};
	uint64_t sum = 0xcbf29ce484222325;
	for (int i = 0; i < 2; i++) {
		struct pn_buf buf = {0};
		char texts[4096];
		CHECK(pn_kv_load(&f->keyval, users[i], &buf) >= 0);
		sum = mix(sum, buf.data, buf.len);
		pn_buf_free(&buf);
		CHECK(find_texts(f, users[i], &EVERYTHING, UINT64_MAX, texts, sizeof(texts)) ==
		      PN_OK);
		sum = mix(sum, texts, strlen(texts));
	}
	return sum;
}

/* ---- The script ---- */

/* A file to begin with: both stores, several peers, keys, a deletion, a message out of order, and
 * many messages that are deleted and not erased. */
static struct base {
	unsigned char bytes[1 << 20];
	size_t size;
	uint64_t states[COUNT + 1]; /* after so many operations */
} base;

static void site_make(struct fixture *f) {
	*f = (struct fixture){.options = {.interval = 60000, .verify = true}};
	directory_make(f->directory);
	f->options.directory = f->directory;
	const int fd = directory_open(f->directory, "data.mdb", O_WRONLY | O_CREAT);
	REQUIRE(write(fd, base.bytes, base.size) == (ssize_t)base.size);
	close(fd);
}

static void base_make(void) {
	static const char *const peers[] = {"a@b/c", "a@b", "e@f", NULL};
	struct fixture f;
	setup(&f);
	CHECK(put(&f, JULIET, "a", "1") == PN_OK && put(&f, JULIET, "b", "2") == PN_OK);
	CHECK(put(&f, JULIET, "only juliet's", "3") == PN_OK);
	for (int i = 0; i < 12; i++)
		CHECK(append_to(&f, JULIET, i % 2 == 0 ? "base" : COMPRESSED_TEXT, i == 7 ? 2 : i,
				peers[i % 4], i == 5 ? "key" : NULL, NULL) == PN_OK);
	const struct pn_archive_query middle = {
		.has_start = true, .start = 8, .has_end = true, .end = 8};
	CHECK(delete_matching(&f, &middle) == 1);
	for (int i = 0; i < 60; i++)
		CHECK(append(&f, "deleted", 200 + i, NULL, NULL) == PN_OK);
	const struct pn_archive_query many = {.has_start = true, .start = 200};
	CHECK(delete_matching(&f, &many) == 60);
	CHECK(pn_db_flush(f.db) == PN_OK);
	const int fd = directory_open(f.directory, "data.mdb", O_RDONLY);
	const ssize_t size = read(fd, base.bytes, sizeof(base.bytes));
	REQUIRE(size > 0 && size < (ssize_t)sizeof(base.bytes));
	base.size = (size_t)size;
	close(fd);
	teardown(&f);
	for (int count = 0; count <= COUNT; count++) {
		site_make(&f);
		open_db(&f);
		for (int i = 0; i < count; i++)
			CHECK(OPERATIONS[i](&f) == PN_OK);
		check_whole(&f);
		base.states[count] = state(&f);
		teardown(&f);
	}
}

static size_t calls; /* of LMDB, of a run in which none fails */

/* The actions of a caller after an error. */
enum attitude { COMMITS, TRIES_AGAIN };

/* The result of a run. */
struct outcome {
	int opened;     /* the result of opening */
	size_t opening; /* calls that it took */
	int done;       /* operations of the turn that went well */
	bool failed;    /* one of the turn did not, the first time */
	int err;        /* of the last one of the turn, or of one that commits */
	int committed;
	int checkpoint; /* of LMDB's commit: the turn was logged before */
};

static struct outcome run(struct fixture *f, enum attitude attitude) {
	struct outcome outcome = {.opened = try_open(f)};
	outcome.opening = faults.calls;
	if (outcome.opened != PN_OK)
		return outcome;
	databases_open++;
	while (outcome.done < COUNT && outcome.err == PN_OK) {
		outcome.err = OPERATIONS[outcome.done](f);
		outcome.failed = outcome.failed || outcome.err != PN_OK;
		if (outcome.err != PN_OK && attitude == TRIES_AGAIN)
			outcome.err = OPERATIONS[outcome.done](f);
		outcome.done += outcome.err == PN_OK ? 1 : 0;
	}
	outcome.committed = pn_db_commit(f->db);
	outcome.checkpoint = f->db->checkpoint_error;
	for (int i = 0; i < COMMITTING_COUNT && outcome.err == PN_OK; i++)
		outcome.err = COMMITTING[i](f);
	return outcome;
}

/* Whether the store has the data of the run. */
static bool holds_result(struct fixture *f, struct outcome outcome) {
	const uint64_t found = state(f);
	if (outcome.committed != PN_OK)
		return found == base.states[0];
	const bool in_part = outcome.done < COUNT && OPERATIONS[outcome.done] == expire;
	return found == base.states[outcome.done] ||
	       (in_part && found == base.states[outcome.done + 1]);
}

/* Looks at all that is left after a run, first as it is open, then after opening it anew. */
static bool judge(struct fixture *f, struct outcome outcome) {
	bool good = true;
	if (outcome.opened != PN_OK) {
		open_db(f);
		return problems(f->db) == 0 && state(f) == base.states[0];
	}
	good = holds_result(f, outcome) && problems(f->db) == 0;
	reopen(f);
	good = holds_result(f, outcome) && problems(f->db) == 0 && good;
	/* it goes on */
	good = put(f, HOST, "next", "turn") == PN_OK && append_earlier(f) == PN_OK && good;
	good = pn_db_commit(f->db) == PN_OK && problems(f->db) == 0 && good;
	return good;
}

static void report(struct outcome outcome, const char *what, int error, size_t at) {
	printf("# %s, error %d, call %zu: opened %d, %d operations, then %d, commit %d\n", what,
	       error, at, outcome.opened, outcome.done, outcome.err, outcome.committed);
}

static bool went_well(struct outcome outcome) {
	return outcome.opened == PN_OK && outcome.err == PN_OK && outcome.committed == PN_OK &&
	       outcome.done == COUNT;
}

/* A run without failures. Returns the number of calls that can fail. */
static void count_calls(void) {
	struct fixture f;
	site_make(&f);
	faults_begin((struct faults){0});
	const struct outcome outcome = run(&f, COMMITS);
	calls = faults_end().calls;
	REQUIRE(went_well(outcome) && judge(&f, outcome));
	REQUIRE(calls > 1000 && calls < FAULT_CALLS);
	teardown(&f);
}

/* The map is made larger, or a smaller one is tried, or opening does without room set aside, also
 * after a compaction. */
static bool is_healed(const struct faults *seen, struct outcome outcome) {
	const bool opens = seen->at <= outcome.opening || seen->at > switching;
	return seen->failed == MDB_MAP_RESIZED || (opens && seen->failed == EINVAL) ||
	       (seen->failed == ENOMEM && strcmp(seen->name, "mdb_env_open") == 0);
}

/* Whether the failed operation returned an error, and earlier writes were not lost. */
static bool is_right(const struct faults *seen, struct outcome outcome, enum attitude attitude) {
	const bool told = is_healed(seen, outcome) || outcome.failed || !went_well(outcome) ||
			  outcome.checkpoint != PN_OK;
	if (seen->failed == 0 || !told)
		return false;
	if (attitude == TRIES_AGAIN && outcome.failed && outcome.done < COUNT)
		return false;
	return !outcome.failed || seen->lasting || outcome.committed == PN_OK;
}

static void try_fault(struct faults fault, enum attitude attitude) {
	struct fixture f;
	site_make(&f);
	switching = FAULT_CALLS;
	faults_begin(fault);
	const struct outcome outcome = run(&f, attitude);
	const struct faults seen = faults_end();
	const bool right = is_right(&seen, outcome, attitude);
	const bool good = judge(&f, outcome);
	if (!CHECK(right) || !CHECK(good))
		report(outcome, seen.name != NULL ? seen.name : "none", seen.failed, fault.at);
	teardown(&f);
}

/* One call in SAMPLE fails, from a first one that differs by the day; with SOAK each. */
enum { SAMPLE = 6 };

static size_t stride(void) {
	return (size_t)test_tries(SAMPLE, 1);
}

static size_t first_call(void) {
	return 1 + test_seed() % stride();
}

/* Makes calls fail, in each of several ways. */
static void try_faults(struct faults fault, int ways, enum attitude attitude) {
	for (fault.way = 0; fault.way < ways; fault.way++) {
		for (fault.at = first_call(); fault.at <= calls; fault.at += stride()) {
			if (fault.way < fault_ways[fault.at])
				try_fault(fault, attitude);
		}
	}
}

TEST(if_any_call_of_lmdb_fails_earlier_writes_of_the_turn_are_kept) {
	try_faults((struct faults){0}, FAULT_WAYS, COMMITS);
}

TEST(also_if_it_leaves_the_transaction_unusable) {
	try_faults((struct faults){.spoils = true}, 1, COMMITS);
}

TEST(a_call_that_has_failed_may_be_made_again_in_the_same_turn) {
	try_faults((struct faults){.spoils = true}, 1, TRIES_AGAIN);
}

TEST(if_all_later_calls_of_lmdb_fail_a_turn_is_there_or_its_commit_fails) {
	try_faults((struct faults){.spoils = true, .lasting = true}, 1, COMMITS);
}

TEST(if_any_allocation_fails_earlier_writes_of_the_turn_are_kept) {
	for (int fail_after = 0; fail_after < 2; fail_after++) {
		bool failed = true;
		for (size_t at = first_call(); failed; at += stride()) {
			struct fixture f;
			site_make(&f);
			test_alloc_fail(at, fail_after != 0);
			const struct outcome outcome = run(&f, COMMITS);
			failed = test_alloc.failed;
			test_alloc_fail(0, false);
			const bool told =
				!failed || !went_well(outcome) || outcome.checkpoint != PN_OK;
			const bool stands = !outcome.failed || outcome.committed == PN_OK;
			const bool good = judge(&f, outcome);
			if (!CHECK(told) || !CHECK(stands) || !CHECK(good))
				report(outcome, "memory", PN_ENOMEM, at);
			teardown(&f);
		}
	}
}

/* ---- The creation of a store ---- */

/* A directory in which there is nothing yet. */
static void empty_site_make(struct fixture *f) {
	site_make(f);
	directory_remove(f->directory);
}

/* Whether the store can be created now, and is empty. */
static bool is_made(struct fixture *f, int opened) {
	struct stat st;
	char name[PATH_SIZE + 16];
	if (opened == PN_OK)
		databases_open++;
	else
		open_db(f);
	snprintf(name, sizeof(name), "%s/data.mdb.new", f->directory);
	const bool good =
		stat(name, &st) != 0 && count_records(f, JULIET) == 0 && problems(f->db) == 0;
	teardown(f);
	return good;
}

TEST(if_any_call_fails_while_a_store_is_created_the_next_attempt_creates_it) {
	for (int way = 0; way < FAULT_WAYS; way++) {
		bool failed = true;
		for (size_t at = 1; failed || at < 60; at++) {
			struct fixture f;
			empty_site_make(&f);
			faults_begin((struct faults){.at = at, .way = way});
			const int opened = try_open(&f);
			const struct faults seen = faults_end();
			failed = seen.failed != 0;
			if (!CHECK(is_made(&f, opened)))
				printf("# %s, error %d: opened %d\n", failed ? seen.name : "none",
				       seen.failed, opened);
		}
	}
}

TEST(if_any_allocation_fails_while_a_store_is_created_the_next_attempt_creates_it) {
	bool failed = true;
	for (size_t at = 1; failed; at++) {
		struct fixture f;
		empty_site_make(&f);
		test_alloc_fail(at, true);
		const int opened = try_open(&f);
		failed = test_alloc.failed;
		test_alloc_fail(0, false);
		CHECK((opened != PN_OK) == failed);
		CHECK(is_made(&f, opened));
	}
}

int main(void) {
	base_make();
	count_calls();
	REQUIRE(!test_state.failed);
	return test_run("store faults");
}
