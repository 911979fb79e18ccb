/* pn/db.h: LMDB's transaction stays open over many turns; the log has those that it loses. */
#include <sys/wait.h>

#include "../../modules/db/turn.h"
#include "process.h"
#include "sync_fixture.h"

static uint64_t lmdb_commits(struct fixture *f) {
	MDB_envinfo info;
	CHECK(mdb_env_info(f->db->env, &info) == MDB_SUCCESS);
	return info.me_last_txnid;
}

TEST(without_a_loop_that_syncs_each_turn_is_committed_to_lmdb) {
	struct fixture f;
	setup_interval(&f, INTERVAL);
	const uint64_t before = lmdb_commits(&f);
	write_one(&f, "1");
	write_one(&f, "2");
	CHECK(lmdb_commits(&f) == before + 2);
	teardown(&f);
}

TEST(turns_are_committed_to_lmdb_together_once_none_has_come_for_a_while) {
	struct fixture f;
	int wait;
	setup_open(&f, INTERVAL);
	CHECK(sync_at(&f, 1000, &wait) == PN_OK && wait == -1);
	const uint64_t before = lmdb_commits(&f);
	write_one(&f, "1");
	CHECK(sync_at(&f, 2000, &wait) == PN_OK && wait == IDLE);
	write_one(&f, "2");
	CHECK(sync_at(&f, 2000 + IDLE - 1, &wait) == PN_OK && wait > 0);
	CHECK(sync_at(&f, 2000 + IDLE, &wait) == PN_OK);
	CHECK(lmdb_commits(&f) == before && holds(&f, JULIET, "key", "2"));
	CHECK(sync_at(&f, 2000 + IDLE - 1 + IDLE, &wait) == PN_OK);
	CHECK(lmdb_commits(&f) == before + 1 && holds(&f, JULIET, "key", "2"));
	teardown(&f);
}

TEST(the_size_that_is_shown_covers_pages_that_are_not_committed) {
	struct fixture f;
	struct pn_db_info info = {0};
	char key[16];
	int wait;
	setup_open(&f, INTERVAL);
	CHECK(sync_at(&f, 1000, &wait) == PN_OK);
	for (int i = 0; i < 500; i++) {
		snprintf(key, sizeof(key), "%d", i);
		CHECK(put(&f, JULIET, key, "a value that takes some bytes") == PN_OK);
		commit(&f);
		CHECK(pn_db_info(f.db, &info) == PN_OK && info.file_bytes >= info.used_bytes);
	}
	teardown(&f);
}

TEST(turns_that_come_without_a_pause_are_committed_to_lmdb_by_age) {
	struct fixture f;
	int wait;
	setup_open(&f, INTERVAL);
	CHECK(sync_at(&f, 1000, &wait) == PN_OK);
	const uint64_t before = lmdb_commits(&f);
	for (uint64_t now = 2000; now < 2000 + 2 * AGE; now += IDLE / 2) {
		write_one(&f, now % 2 == 0 ? "even" : "odd");
		CHECK(sync_at(&f, now, &wait) == PN_OK);
	}
	CHECK(lmdb_commits(&f) == before + 1);
	teardown(&f);
}

TEST(many_changes_are_committed_to_lmdb_at_once) {
	struct fixture f;
	char value[16];
	int wait;
	setup_open(&f, INTERVAL);
	CHECK(sync_at(&f, 1000, &wait) == PN_OK);
	const uint64_t before = lmdb_commits(&f);
	for (int i = 0; i < 10000; i++) {
		snprintf(value, sizeof(value), "%d", i);
		write_one(&f, value);
	}
	CHECK(lmdb_commits(&f) > before);
	CHECK(lmdb_commits(&f) < before + 10);
	teardown(&f);
}

TEST(a_turn_that_is_undone_leaves_those_before_it) {
	struct fixture f;
	int wait;
	setup_open(&f, INTERVAL);
	CHECK(sync_at(&f, 1000, &wait) == PN_OK);
	write_one(&f, "1");
	write_one(&f, "2");
	CHECK(put(&f, JULIET, "key", "3") == PN_OK);
	pn_db_abort(f.db);
	CHECK(holds(&f, JULIET, "key", "2"));
	faults.pwritev = EIO;
	CHECK(put(&f, JULIET, "key", "4") == PN_OK);
	CHECK(pn_db_commit(f.db) == PN_EIO); /* it cannot be logged */
	CHECK(pn_db_pending(f.db) == 0 && holds(&f, JULIET, "key", "2"));
	repair();
	write_one(&f, "5");
	reopen(&f);
	CHECK(holds(&f, JULIET, "key", "5"));
	check_whole(&f);
	teardown(&f);
}

/* What LMDB does not commit is in the log: it is read from there. */
TEST(turns_that_lmdb_does_not_commit_are_not_lost) {
	struct fixture f;
	int wait;
	setup_open(&f, INTERVAL);
	CHECK(sync_at(&f, 1000, &wait) == PN_OK);
	write_one(&f, "1");
	write_one(&f, "2");
	CHECK(sync_at(&f, 2000, &wait) == PN_OK);
	faults.txn_commit = EIO;
	CHECK(sync_at(&f, 2000 + IDLE, &wait) == PN_EIO);
	CHECK(holds(&f, JULIET, "key", "2"));
	repair();
	CHECK(holds(&f, JULIET, "key", "2"));
	write_one(&f, "3");
	CHECK(holds(&f, JULIET, "key", "3"));
	reopen(&f);
	CHECK(holds(&f, JULIET, "key", "3"));
	check_whole(&f);
	teardown(&f);
}

/* A turn of several records. Returns its result: nothing or all of it is stored. */
static int write_turn(struct fixture *f, int number) {
	char value[16];
	snprintf(value, sizeof(value), "%d", number);
	int err = put(f, JULIET, "key", value);
	if (err == PN_OK)
		err = append_to(f, JULIET, value, number, "a@b/c", NULL, NULL);
	if (err == PN_OK)
		err = put(f, ROMEO, value, value);
	if (err != PN_OK) {
		pn_db_abort(f->db);
		return err;
	}
	return pn_db_commit(f->db);
}

/* Whether the turns up to `last` are there, and none is there in part. */
static bool holds_turns(struct fixture *f, int last, int count) {
	char value[16];
	snprintf(value, sizeof(value), "%d", last);
	return holds(f, JULIET, "key", value) && total(f, JULIET, &EVERYTHING) == count &&
	       count_records(f, ROMEO) == count;
}

static void open_turns(struct fixture *f, int count) {
	int wait;
	setup_open(f, INTERVAL);
	CHECK(sync_at(f, 1000, &wait) == PN_OK);
	for (int i = 1; i <= count; i++)
		CHECK(write_turn(f, i) == PN_OK);
}

TEST(a_put_that_fails_loses_its_turn_and_none_of_100_open_ones) {
	enum { OPEN = 100 };
	struct fixture f;
	bool failed = true;
	for (unsigned put = 1; failed; put++) {
		open_turns(&f, OPEN);
		const uint64_t before = lmdb_commits(&f);
		faults.put = put;
		failed = write_turn(&f, OPEN + 1) != PN_OK;
		faults.put = 0;
		const int stored = failed ? OPEN : OPEN + 1;
		CHECK(holds_turns(&f, stored, stored) && lmdb_commits(&f) == before);
		CHECK(write_turn(&f, OPEN + 2) == PN_OK);
		CHECK(holds_turns(&f, OPEN + 2, stored + 1));
		reopen(&f);
		CHECK(holds_turns(&f, OPEN + 2, stored + 1));
		check_whole(&f);
		teardown(&f);
		REQUIRE(put < 100 && (failed || put > 5));
	}
}

TEST(a_turn_that_the_log_does_not_take_is_lost_and_none_of_100_open_ones) {
	enum { OPEN = 100 };
	static const int errors[] = {EIO, ENOSPC, EDQUOT, EFBIG};
	struct fixture f;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		open_turns(&f, OPEN);
		faults.pwritev = errors[i];
		CHECK(write_turn(&f, OPEN + 1) != PN_OK);
		CHECK(holds_turns(&f, OPEN, OPEN));
		repair();
		CHECK(write_turn(&f, OPEN + 2) == PN_OK);
		CHECK(holds_turns(&f, OPEN + 2, OPEN + 1));
		reopen(&f);
		CHECK(holds_turns(&f, OPEN + 2, OPEN + 1));
		check_whole(&f);
		teardown(&f);
	}
}

/* Every call of LMDB fails while the turns are written again. Then the log is read. */
TEST(turns_that_cannot_be_written_again_are_read_from_the_log) {
	enum { OPEN = 100 };
	struct fixture f;
	open_turns(&f, OPEN);
	faults.put = 3;
	CHECK(put(&f, JULIET, "key", "101") == PN_OK);
	faults.put = 1;
	faults.txn_begin = ENOMEM;
	CHECK(put(&f, ROMEO, "101", "101") != PN_OK);
	faults.put = 0;
	CHECK(put(&f, ROMEO, "102", "102") == PN_ELOST);
	CHECK(pn_db_commit(f.db) == PN_ELOST);
	repair();
	CHECK(holds_turns(&f, OPEN, OPEN));
	CHECK(write_turn(&f, OPEN + 3) == PN_OK);
	reopen(&f);
	CHECK(holds_turns(&f, OPEN + 3, OPEN + 1));
	check_whole(&f);
	teardown(&f);
}

/* ---- Beside another process ---- */

/* In a child: opens the database as another process, which waits for this one, and writes. */
static void write_as_another(struct fixture *f, int number) {
	char key[32];
	open_as_another(f);
	snprintf(key, sizeof(key), "child %d", number);
	const bool sees = holds(f, JULIET, "first", "1");
	const bool wrote = put(f, JULIET, key, "1") == PN_OK && pn_db_commit(f->db) == PN_OK;
	pn_db_close(f->db);
	_exit(sees && wrote ? 0 : 2);
}

/* Writes turns without a pause until the child has ended. Returns whether that went well. */
static bool write_until_ended(struct fixture *f, pid_t child) {
	int status, wait, turns = 0;
	char value[16];
	while (waitpid(child, &status, WNOHANG) == 0) {
		snprintf(value, sizeof(value), "%d", turns++);
		write_one(f, value);
		CHECK(sync_at(f, 1000, &wait) ==
		      PN_OK); /* the clock stands still: no age, no idleness */
		usleep(500);
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 && holds(f, JULIET, "key", value);
}

TEST(a_busy_server_lets_others_read_what_it_has_written_and_write_in_turn) {
	enum { CHILDREN = 5 };
	struct fixture f;
	char key[32];
	int wait;
	setup_open(&f, INTERVAL);
	CHECK(sync_at(&f, 1000, &wait) == PN_OK);
	CHECK(put(&f, JULIET, "first", "1") == PN_OK);
	commit(&f);
	for (int i = 0; i < CHILDREN; i++) {
		const pid_t child = fork();
		if (child == 0)
			write_as_another(&f, i);
		CHECK(write_until_ended(&f, child));
		snprintf(key, sizeof(key), "child %d", i);
		CHECK(holds(&f, JULIET, key, "1"));
	}
	reopen(&f);
	CHECK(count_records(&f, JULIET) == 2 + CHILDREN);
	check_whole(&f);
	teardown(&f);
}

/* What a killed process has logged is applied by the next one that writes. */
TEST(turns_of_a_process_that_is_killed_are_applied_by_the_next_writer) {
	struct fixture f;
	setup_interval(&f, INTERVAL);
	write_one(&f, "1");
	for (int i = 0; i < 3; i++) {
		const pid_t child = fork();
		if (child == 0) {
			int wait;
			open_as_another(&f);
			pn_db_keep_open(f.db);
			(void)sync_at(&f, 1000, &wait);
			write_one(&f, i == 0 ? "a" : i == 1 ? "b" : "c");
			write_one(&f, i == 0 ? "child 0" : i == 1 ? "child 1" : "child 2");
			_exit(holds(&f, JULIET, "key", "1"));
		}
		int status;
		REQUIRE(waitpid(child, &status, 0) == child);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		if (i < 2) /* or nobody writes before it is closed */
			CHECK(put(&f, ROMEO, "key", "parent") == PN_OK &&
			      pn_db_commit(f.db) == PN_OK);
		if (i < 2)
			CHECK(holds(&f, JULIET, "key", i == 0 ? "child 0" : "child 1"));
	}
	reopen(&f);
	CHECK(holds(&f, JULIET, "key", "child 2"));
	check_whole(&f);
	teardown(&f);
}

/* In a child: has the store open first, and writes its last turn when the parent has it open too.
 */
static void write_before_and_after(struct fixture *f, const struct signal_pipe *first,
				   const struct signal_pipe *second) {
	int wait;
	REQUIRE(try_open(f) == PN_OK);
	pn_db_keep_open(f->db);
	write_one(f, "before");
	CHECK(sync_at(f, 1000, &wait) == PN_OK && pn_turn_checkpoint(f->db) == PN_OK);
	tell(first);
	await(second);
	write_one(f, "after");
	leave(); /* killed */
}

TEST(turns_of_a_killed_process_that_had_the_store_open_before_are_applied_too) {
	for (int writes = 0; writes < 2; writes++) {
		struct fixture f;
		struct signal_pipe first, second;
		setup_interval(&f, INTERVAL);
		close_db(&f);
		pipe_make(&first);
		pipe_make(&second);
		const pid_t child = fork();
		if (child == 0)
			write_before_and_after(&f, &first, &second);
		await(&first);
		open_db(&f);
		CHECK(holds(&f, JULIET, "key", "before"));
		tell(&second);
		CHECK(succeeds(child));
		if (writes == 1)
			CHECK(put(&f, ROMEO, "key", "parent") == PN_OK &&
			      pn_db_commit(f.db) == PN_OK);
		reopen(&f);
		CHECK(holds(&f, JULIET, "key", "after"));
		CHECK(holds(&f, ROMEO, "key", writes == 1 ? "parent" : NULL));
		check_whole(&f);
		pipe_close(&first);
		pipe_close(&second);
		teardown(&f);
	}
}

/* ---- Near the limit of the file ---- */

enum { LIMIT = 4 * 1024 * 1024, VALUE = 10000 };

/* Writes one of some records again, so that what is stored stays far below the limit. */
static int write_again(struct fixture *f, int number) {
	static char value[VALUE + 1];
	char key[16];
	int wait;
	memset(value, 'a' + number % 26, VALUE);
	snprintf(key, sizeof(key), "%d", number % 20);
	const int err = put(f, JULIET, key, value);
	commit(f);
	CHECK(sync_at(f, 1000 + (uint64_t)number, &wait) == PN_OK);
	return err;
}

static void setup_limited(struct fixture *f) {
	memset(&faults, 0, sizeof(faults));
	setup_with(f, (struct pn_db_options){.interval = INTERVAL, .max_bytes = LIMIT});
	pn_db_keep_open(f->db);
}

TEST(near_the_limit_writes_go_on_as_the_disk_makes_pages_free) {
	struct fixture f;
	setup_limited(&f);
	for (int number = 0; number < 3 * LIMIT / VALUE; number++) {
		int err;
		while ((err = write_again(&f, number)) == PN_EFULL)
			CHECK(event(&f, LONG));
		CHECK(err == PN_OK);
	}
	check_whole(&f);
	teardown(&f);
}

TEST(near_the_limit_a_write_fails_while_the_disk_is_busy_and_succeeds_afterwards) {
	struct fixture f;
	int number = 0, err;
	setup_limited(&f);
	for (; number < LIMIT / VALUE / 2; number++)
		CHECK(write_again(&f, number) == PN_OK);
	pthread_mutex_lock(&busy_disk);
	while ((err = write_again(&f, number)) == PN_OK)
		number++;
	CHECK(err == PN_EFULL && write_again(&f, number) == PN_EFULL);
	CHECK(holds(&f, JULIET, "none", NULL) && count_records(&f, JULIET) == 20);
	pthread_mutex_unlock(&busy_disk);
	while (write_again(&f, number) == PN_EFULL)
		CHECK(event(&f, LONG));
	check_whole(&f);
	teardown(&f);
}

int main(void) {
	return test_run("turns");
}
