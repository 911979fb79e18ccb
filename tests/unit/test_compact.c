/* pn/db.h: compaction of an open database, beside turns, other processes and faults */
#include <sys/resource.h>

#include "crash.h"
#include "process.h"
#include "sync_fixture.h"

enum { FILL = 6000, KEPT = 3000, STEPS = 10000, TURNS_MEANWHILE = 400, MANY = 50, LARGE = 100000 };

/* ---- System calls that fail, or at which the process dies ---- */

static struct {
	const char *file; /* writes to this file fail */
	unsigned calls;   /* of those that are counted */
	unsigned at;      /* the one that fails; 0: none */
	bool dies;
} plan;

/* Whether the call is to fail, with EIO. */
static bool is_due(void) {
	plan.calls++;
	if (plan.at == 0 || plan.calls != plan.at)
		return false;
	if (plan.dies)
		_exit(0);
	errno = EIO;
	return true;
}

int __wrap_fsync(int fd);
int __wrap_renameat(int from_at, const char *from, int to_at, const char *to);
int __wrap_unlinkat(int at, const char *name, int flags);
int __real_fsync(int fd);
int __real_renameat(int from_at, const char *from, int to_at, const char *to);
int __real_unlinkat(int at, const char *name, int flags);

int __wrap_fsync(int fd) {
	faults.all_syncs++;
	return is_due() ? -1 : __real_fsync(fd);
}

int __wrap_renameat(int from_at, const char *from, int to_at, const char *to) {
	return is_due() ? -1 : __real_renameat(from_at, from, to_at, to);
}

int __wrap_unlinkat(int at, const char *name, int flags) {
	return is_due() ? -1 : __real_unlinkat(at, name, flags);
}

/* ---- A database of which most was deleted ---- */

static void fill(struct fixture *f) {
	const struct pn_archive_query most = {.has_end = true, .end = FILL - KEPT - 1};
	srandom(test_seed());
	memset(&plan, 0, sizeof(plan));
	setup_open(f, INTERVAL);
	for (int i = 0; i < FILL; i++) {
		char text[30] = "";
		fill_noise(text, sizeof(text) - 1);
		CHECK(append(f, text, i, "a@b/c", NULL) == PN_OK);
		if (i % 100 == 0)
			commit(f);
	}
	CHECK(delete_matching(f, &most) == FILL - KEPT);
	while (pn_store_erase(f->db, FILL) > 0)
		commit(f);
	commit(f);
}

static off_t file_size(const struct fixture *f) {
	struct stat st;
	char file[PATH_SIZE + 16];
	snprintf(file, sizeof(file), "%s/data.mdb", f->directory);
	REQUIRE(stat(file, &st) == 0);
	return st.st_size;
}

static bool has_file(const struct fixture *f, const char *name) {
	char file[PATH_SIZE * 2];
	snprintf(file, sizeof(file), "%s/%s", f->directory, name);
	return access(file, F_OK) == 0;
}

/* ---- Compacting ---- */

typedef void meanwhile(struct fixture *f, int step);

static void nothing(struct fixture *f, int step) {
	(void)f;
	(void)step;
}

static void write_turns(struct fixture *f, int step) {
	int wait;
	if (step < TURNS_MEANWHILE)
		turn(f, 100 + step);
	if (step % 3 == 0)
		CHECK(sync_at(f, 1000 + 400 * (uint64_t)step, &wait) == PN_OK);
}

/* Goes on until the switch is made, or an error. */
static int run(struct pn_compaction *compaction, struct fixture *f, meanwhile *work) {
	struct pn_progress progress;
	int more = 1;
	for (int step = 0; more > 0 && step < STEPS; step++) {
		more = pn_compact_step(compaction, &progress);
		work(f, step);
		if (more == 0)
			more = pn_compact_switch(compaction);
	}
	if (more == 0)
		CHECK(progress.done == progress.total);
	return more;
}

static int compact(struct fixture *f, meanwhile *work) {
	struct pn_compaction *compaction;
	int err = pn_compact_new(&compaction, f->db, false, NULL);
	if (err != PN_OK)
		return err;
	err = run(compaction, f, work);
	pn_compact_free(compaction);
	CHECK(!has_file(f, PN_COMPACT_FILE));
	return err;
}

/* The store has this content, also if it is opened anew. */
static void check_contents(struct fixture *f, uint64_t sum) {
	check_whole(f);
	CHECK(contents(f) == sum);
	reopen(f);
	check_whole(f);
	CHECK(contents(f) == sum);
}

TEST(the_file_shrinks_and_everything_is_kept) {
	struct fixture f;
	fill(&f);
	const uint64_t sum = contents(&f);
	const off_t before = file_size(&f);
	CHECK(compact(&f, nothing) == PN_OK);
	CHECK(file_size(&f) < before * 3 / 4);
	check_contents(&f, sum);
	teardown(&f);
}

TEST(the_switch_waits_for_few_syncs) {
	enum { FEW = 7 };
	struct fixture f;
	struct pn_compaction *compaction;
	struct pn_progress progress;
	fill(&f);
	REQUIRE(pn_compact_new(&compaction, f.db, false, NULL) == PN_OK);
	while (pn_compact_step(compaction, &progress) > 0)
		;
	turn(&f, 1);
	const unsigned before = faults.all_syncs;
	CHECK(pn_compact_switch(compaction) == PN_OK);
	const unsigned syncs = faults.all_syncs - before;
	if (!CHECK(syncs <= FEW))
		printf("# %u syncs\n", syncs);
	pn_compact_free(compaction);
	check_contents(&f, contents(&f));
	teardown(&f);
}

TEST(turns_that_are_written_meanwhile_are_kept) {
	struct fixture f;
	fill(&f);
	const off_t before = file_size(&f);
	CHECK(compact(&f, write_turns) == PN_OK);
	turn(&f, 1000);
	CHECK(file_size(&f) < before);
	check_contents(&f, contents(&f));
	CHECK(compact(&f, write_turns) == PN_OK); /* and once more, in the new epoch */
	check_contents(&f, contents(&f));
	teardown(&f);
}

static int written; /* turns of write_all_turns() */

static void write_many_turns(struct fixture *f, int step) {
	for (int i = 0; i < 30 && written < TURNS_MEANWHILE; i++)
		turn(f, 100 + written++);
	if (step == 0)
		make_checkpoint(f);
}

/* A checksum without the ids of messages, which are random. */
static uint64_t content_after_turns(bool compacted) {
	struct fixture f;
	struct pn_buf list = {0};
	static char texts[1 << 18];
	fill(&f);
	srandom(test_seed());
	written = 0;
	if (compacted)
		CHECK(compact(&f, write_many_turns) == PN_OK && written > 50);
	while (written < TURNS_MEANWHILE)
		write_many_turns(&f, 1);
	CHECK(pn_kv_load(&f.keyval, JULIET, &list) > 0);
	CHECK(find_texts(&f, JULIET, &EVERYTHING, UINT64_MAX, texts, sizeof(texts)) == PN_OK);
	const uint64_t sum = mix(mix(1, list.data, list.len), texts, strlen(texts));
	pn_buf_free(&list);
	check_contents(&f, contents(&f));
	teardown(&f);
	return sum;
}

TEST(the_content_is_that_of_the_same_turns_without_a_compaction) {
	CHECK(content_after_turns(true) == content_after_turns(false));
}

/* Waits for the thread, with turns in between. */
static int run_in_background(struct pn_compaction *compaction, struct fixture *f) {
	struct pn_progress progress;
	int more = 1;
	for (int step = 0; more > 0 && step < STEPS; step++) {
		more = pn_compact_step(compaction, &progress);
		if (more > 0 && step >= TURNS_MEANWHILE)
			(void)event(f, LONG);
		write_turns(f, step);
		if (more == 0)
			more = pn_compact_switch(compaction);
	}
	return more;
}

TEST(a_thread_does_the_work_while_turns_are_written) {
	struct fixture f;
	struct pn_compaction *compaction;
	fill(&f);
	REQUIRE(pn_compact_new(&compaction, f.db, true, NULL) == PN_OK);
	CHECK(run_in_background(compaction, &f) == PN_OK);
	pn_compact_free(compaction);
	check_contents(&f, contents(&f));
	teardown(&f);
}

TEST(a_page_of_an_archive_that_was_begun_before_is_read_to_its_end) {
	struct fixture f;
	struct pn_archive_cursor *cursor;
	struct pn_message message;
	int found, count = 1;
	fill(&f);
	for (int i = 0; i < 500; i++)
		CHECK(append(&f, "more", FILL + i, NULL, NULL) == PN_OK);
	commit(&f);
	REQUIRE(pn_archive_find(&cursor, &f.archive, JULIET, &EVERYTHING, UINT64_MAX, NULL) ==
		PN_OK);
	CHECK(pn_archive_next(cursor, &message) == 1);
	CHECK(compact(&f, nothing) == PN_OK);
	while ((found = pn_archive_next(cursor, &message)) > 0)
		count++;
	CHECK(found == 0 && count == KEPT + 500);
	pn_archive_cursor_free(cursor);
	teardown(&f);
}

TEST(numbers_of_turns_go_on_and_all_are_durable_after_the_switch) {
	struct fixture f;
	fill(&f);
	const uint64_t committed = pn_db_committed(f.db);
	CHECK(pn_db_durable(f.db) < committed);
	CHECK(compact(&f, nothing) == PN_OK);
	CHECK(pn_db_committed(f.db) == committed && pn_db_durable(f.db) == committed);
	turn(&f, 1);
	CHECK(pn_db_committed(f.db) == committed + 1);
	CHECK(pn_db_flush(f.db) == PN_OK && is_durable(&f));
	CHECK(pn_db_replayed(f.db) == 0 && !pn_db_rejected(f.db));
	teardown(&f);
}

TEST(an_open_turn_is_committed_by_the_switch) {
	struct fixture f;
	struct pn_compaction *compaction;
	struct pn_progress progress;
	fill(&f);
	REQUIRE(pn_compact_new(&compaction, f.db, false, NULL) == PN_OK);
	while (pn_compact_step(compaction, &progress) > 0)
		continue;
	CHECK(put(&f, JULIET, "open", "1") == PN_OK);
	CHECK(pn_compact_switch(compaction) == PN_OK);
	CHECK(pn_db_pending(f.db) == 0 && holds(&f, JULIET, "open", "1"));
	pn_compact_free(compaction);
	check_contents(&f, contents(&f));
	teardown(&f);
}

/* So many that LMDB's transaction is committed several times. */
TEST(turns_after_the_switch_are_committed_and_kept) {
	struct fixture f;
	int wait;
	fill(&f);
	for (int round = 0; round < 3; round++) {
		CHECK(compact(&f, nothing) == PN_OK);
		for (int i = 0; i < 1500; i++) {
			CHECK(append(&f, "after", FILL + i, "a@b/c", NULL) == PN_OK);
			commit(&f);
			CHECK(sync_at(&f, 1000 + (uint64_t)i, &wait) == PN_OK);
		}
		CHECK(!pn_db_rejected(f.db) && pn_db_replayed(f.db) == 0);
		CHECK(total(&f, JULIET, &EVERYTHING) == KEPT + 1500 * (round + 1));
	}
	check_contents(&f, contents(&f));
	teardown(&f);
}

/* ---- Ending early ---- */

static uint64_t log_bytes(struct fixture *f) {
	struct pn_db_info info;
	CHECK(pn_db_info(f->db, &info) == PN_OK);
	return info.log_bytes;
}

/* Begins a compaction, and writes some megabytes to the log. */
static struct pn_compaction *begin_and_write_much(struct fixture *f) {
	struct pn_compaction *compaction;
	struct pn_progress progress;
	static char value[LARGE + 1];
	memset(value, 'x', LARGE);
	fill(f);
	REQUIRE(pn_compact_new(&compaction, f->db, false, NULL) == PN_OK);
	CHECK(pn_compact_step(compaction, &progress) == 1);
	for (int i = 0; i < MANY; i++) {
		value[i] = 'y';
		write_one(f, value);
	}
	return compaction;
}

TEST(the_log_is_kept_until_the_compaction_ends_and_cut_then) {
	struct fixture f;
	struct pn_compaction *const compaction = begin_and_write_much(&f);
	make_checkpoint(&f);
	CHECK(pn_db_flush(f.db) == PN_OK);
	int wait;
	CHECK(sync_at(&f, 2000, &wait) == PN_OK);
	CHECK(log_bytes(&f) > MANY * LARGE);
	pn_compact_free(compaction);
	CHECK(!has_file(&f, PN_COMPACT_FILE));
	for (int i = 0; i < MANY; i++) /* some segments at once */
		CHECK(sync_at(&f, 3000 + (uint64_t)i, &wait) == PN_OK);
	CHECK(log_bytes(&f) < MANY * LARGE / 2);
	check_contents(&f, contents(&f));
	teardown(&f);
}

TEST(a_second_compaction_is_refused_while_one_runs) {
	struct fixture f;
	struct pn_compaction *first, *second;
	struct signal_pipe done;
	fill(&f);
	pipe_make(&done);
	REQUIRE(pn_compact_new(&first, f.db, false, NULL) == PN_OK);
	CHECK(pn_compact_new(&second, f.db, false, NULL) == PN_EBUSY);
	const pid_t child = fork();
	if (child == 0) {
		open_as_another(&f);
		CHECK(pn_compact_new(&second, f.db, false, NULL) == PN_EBUSY);
		CHECK(has_file(&f, PN_COMPACT_FILE));
		pn_db_close(f.db);
		leave();
	}
	CHECK(succeeds(child));
	CHECK(run(first, &f, nothing) == PN_OK);
	pn_compact_free(first);
	check_contents(&f, contents(&f));
	pipe_close(&done);
	teardown(&f);
}

/* ---- Beside other processes ---- */

TEST(while_another_process_has_the_store_open_the_switch_waits_and_names_it) {
	struct fixture f;
	struct pn_compaction *compaction;
	struct signal_pipe begun, done;
	pid_t others[4];
	fill(&f);
	pipe_make(&begun);
	pipe_make(&done);
	REQUIRE(pn_compact_new(&compaction, f.db, false, NULL) == PN_OK);
	CHECK(pn_db_others(f.db, others, 4) == 0);
	const pid_t child = fork();
	if (child == 0) {
		open_as_another(&f);
		tell(&begun);
		await(&done);
		CHECK(holds(&f, JULIET, "turn", "399"));
		pn_db_close(f.db);
		leave();
	}
	await(&begun);
	CHECK(run(compaction, &f, write_turns) == PN_EBUSY);
	for (int i = 0; i < TURNS_MEANWHILE; i++)
		turn(&f, i);
	make_checkpoint(&f);
	CHECK(pn_db_others(f.db, others, 4) == 1 && others[0] == child);
	CHECK(pn_compact_switch(compaction) == PN_EBUSY);
	tell(&done);
	CHECK(succeeds(child));
	CHECK(run(compaction, &f, nothing) == PN_OK);
	pn_compact_free(compaction);
	check_contents(&f, contents(&f));
	pipe_close(&begun);
	pipe_close(&done);
	teardown(&f);
}

/* In a child: writes a few turns, and closes the store or is killed. */
static void write_as_another(struct fixture *f, int step, bool killed) {
	char key[32];
	open_as_another(f);
	for (int i = 0; i < 3; i++) {
		snprintf(key, sizeof(key), "child %d %d", step, i);
		CHECK(put(f, ROMEO, key, "1") == PN_OK && pn_db_commit(f->db) == PN_OK);
	}
	if (killed)
		leave();
	pn_db_close(f->db);
	leave();
}

static bool others_are_killed;

static void let_others_write(struct fixture *f, int step) {
	if (step < 3) {
		make_checkpoint(f);
		const pid_t child = fork();
		if (child == 0)
			write_as_another(f, step, others_are_killed);
		CHECK(succeeds(child));
	}
	if (step < 10)
		turn(f, step);
}

TEST(turns_of_other_processes_are_kept_also_if_they_were_killed) {
	for (int killed = 0; killed < 2; killed++) {
		struct fixture f;
		fill(&f);
		others_are_killed = killed == 1;
		CHECK(compact(&f, let_others_write) == PN_OK);
		CHECK(count_records(&f, ROMEO) == 9);
		check_contents(&f, contents(&f));
		CHECK(count_records(&f, ROMEO) == 9);
		teardown(&f);
	}
}

/* In a child: another process with an event loop, which cuts the log. */
static void cut_as_another(struct fixture *f) {
	int wait;
	open_as_another(f);
	pn_db_keep_open(f->db);
	write_one(f, "child");
	make_checkpoint(f);
	CHECK(pn_db_flush(f->db) == PN_OK);
	CHECK(sync_at(f, 2000, &wait) == PN_OK);
	pn_db_close(f->db);
	leave();
}

TEST(another_process_does_not_cut_the_log_that_is_needed) {
	struct fixture f;
	struct pn_compaction *const compaction = begin_and_write_much(&f);
	CHECK(pn_db_flush(f.db) == PN_OK);
	make_checkpoint(&f);
	const pid_t child = fork();
	if (child == 0)
		cut_as_another(&f);
	CHECK(succeeds(child));
	CHECK(run(compaction, &f, nothing) == PN_OK);
	CHECK(holds(&f, JULIET, "key", "child"));
	pn_compact_free(compaction);
	check_contents(&f, contents(&f));
	teardown(&f);
}

/* ---- Faults ---- */

/* No file can be written behind this offset. */
static void limit_files(rlim_t size) {
	struct rlimit limit;
	REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
	limit.rlim_cur = size;
	signal(SIGXFSZ, SIG_IGN);
	REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

TEST(without_room_on_the_disk_the_copy_is_removed_and_the_store_goes_on) {
	struct fixture f;
	fill(&f);
	for (int i = 0; i < 2000; i++)
		CHECK(append(&f, "a message of some length", FILL + i, "a@b/c", NULL) == PN_OK);
	make_checkpoint(&f);
	const uint64_t sum = contents(&f);
	limit_files(64 * 1024);
	CHECK(compact(&f, nothing) == PN_ENOSPACE);
	limit_files(RLIM_INFINITY);
	CHECK(contents(&f) == sum);
	CHECK(compact(&f, write_turns) == PN_OK);
	check_contents(&f, contents(&f));
	teardown(&f);
}

/* Runs a compaction of which one call fails. Returns false if there are fewer calls. */
static bool compact_with_fault(unsigned at) {
	struct fixture f;
	fill(&f);
	write_turns(&f, 0);
	CHECK(pn_db_flush(f.db) == PN_OK);
	const uint64_t sum = contents(&f);
	plan.at = at;
	plan.calls = 0;
	const int err = compact(&f, nothing);
	const bool reached = plan.calls >= at;
	plan.at = 0;
	CHECK(reached ? err == PN_OK || err == PN_EIO : err == PN_OK);
	CHECK(contents(&f) == sum);
	turn(&f, 1);
	check_contents(&f, contents(&f));
	teardown(&f);
	return reached;
}

TEST(if_any_call_of_the_switch_fails_the_store_goes_on_with_everything) {
	unsigned at = 1;
	while (compact_with_fault(at))
		at++;
	CHECK(at > 5);
}

/* The child is killed at a call. Returns false if it has compacted the store before. */
static bool die_in_compaction(unsigned at) {
	struct fixture f;
	fill(&f);
	write_turns(&f, 0);
	const uint64_t sum = contents(&f);
	close_db(&f);
	const pid_t child = fork();
	if (child == 0) {
		REQUIRE(try_open(&f) == PN_OK);
		plan.at = at;
		plan.dies = true;
		plan.calls = 0;
		REQUIRE(compact(&f, nothing) == PN_OK);
		_exit(3);
	}
	int status;
	REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status));
	open_db(&f);
	CHECK(!pn_db_rejected(f.db));
	CHECK(!has_file(&f, PN_COMPACT_FILE));
	check_contents(&f, sum);
	teardown(&f);
	return WEXITSTATUS(status) == 0;
}

TEST(a_process_that_is_killed_in_a_compaction_loses_nothing_and_leaves_no_copy) {
	unsigned at = 1;
	while (die_in_compaction(at))
		at++;
	CHECK(at > 5);
}

int main(void) {
	return test_run("compact");
}
