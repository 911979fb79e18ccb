/* pn/db.h: opening, forking, several processes, and foreign files */
#include <signal.h>
#include <sys/wait.h>

#include <lmdb.h>

#include "store_fixture.h"

/* ---- The registry of the process ---- */

TEST(a_directory_that_is_open_gives_the_same_store_by_any_name) {
	struct fixture f;
	struct pn_db *again, *by_link;
	char name[PATH_SIZE + 8];
	setup(&f);
	snprintf(name, sizeof(name), "%s-link", f.directory);
	REQUIRE(symlink(f.directory, name) == 0);
	const struct pn_db_options link = {.directory = name};
	CHECK(pn_db_open(&again, &f.options) == PN_OK && again == f.db);
	CHECK(pn_db_open(&by_link, &link) == PN_OK && by_link == f.db);
	pn_db_close(f.db);
	pn_db_close(again);
	CHECK(put(&f, JULIET, "key", "value") == PN_OK); /* the third has it open still */
	pn_db_close(by_link);
	unlink(name);
	open_db(&f);
	databases_open--;
	CHECK(holds(&f, JULIET, "key", "value"));
	teardown(&f);
}

TEST(a_directory_is_created_but_its_parent_is_not) {
	struct fixture f;
	struct stat st;
	char name[PATH_SIZE + 16];
	directory_make(f.directory);
	REQUIRE(rmdir(f.directory) == 0);
	const struct pn_db_options options = {.directory = f.directory};
	CHECK(pn_db_open(&f.db, &options) == PN_OK);
	CHECK(stat(f.directory, &st) == 0 && (st.st_mode & 0777) == 0700);
	pn_db_close(f.db);
	snprintf(name, sizeof(name), "%s/none/none", f.directory);
	const struct pn_db_options orphan = {.directory = name};
	CHECK(pn_db_open(&f.db, &orphan) == PN_EACCESS);
	snprintf(name, sizeof(name), "%s/data.mdb", f.directory);
	CHECK(pn_db_open(&f.db, &orphan) == PN_EACCESS); /* no directory */
	CHECK(test_alloc.blocks == 0);
	directory_remove(f.directory);
}

/* ---- Foreign files ---- */

/* The result of opening a directory whose data file has these bytes. */
static int open_bytes(const void *bytes, size_t len, bool verify) {
	struct fixture f;
	directory_make(f.directory);
	const int fd = directory_open(f.directory, "data.mdb", O_WRONLY | O_CREAT);
	REQUIRE(write(fd, bytes, len) == (ssize_t)len);
	close(fd);
	const struct pn_db_options options = {.directory = f.directory, .verify = verify};
	const int err = pn_db_open(&f.db, &options);
	if (err == PN_OK)
		pn_db_close(f.db);
	CHECK(test_alloc.blocks == 0);
	directory_remove(f.directory);
	return err;
}

TEST(a_file_that_is_not_a_database_is_foreign_and_an_empty_one_is_new) {
	static char zero[20000];
	static const char text[] = "a file of another program";
	for (int verify = 0; verify < 2; verify++) {
		CHECK(open_bytes(zero, sizeof(zero), verify) == PN_EFOREIGN);
		CHECK(open_bytes(text, sizeof(text), verify) == PN_EFOREIGN);
		CHECK(open_bytes("", 0, verify) == PN_OK);
	}
}

TEST(files_of_an_interrupted_creation_are_removed) {
	struct fixture f;
	struct stat st;
	char name[PATH_SIZE + 16];
	for (int there = 0; there < 2; there++) {
		setup(&f);
		CHECK(put(&f, JULIET, "key", "value") == PN_OK);
		close_db(&f);
		snprintf(name, sizeof(name), "%s/data.mdb", f.directory);
		REQUIRE(there == 1 || unlink(name) == 0);
		const int fd = directory_open(f.directory, "data.mdb.new", O_WRONLY | O_CREAT);
		REQUIRE(write(fd, "half", 4) == 4);
		close(fd);
		open_db(&f);
		CHECK(holds(&f, JULIET, "key", there == 1 ? "value" : NULL));
		snprintf(name, sizeof(name), "%s/data.mdb.new", f.directory);
		CHECK(stat(name, &st) != 0);
		teardown(&f);
	}
}

/* Writes a record with LMDB to the data file of a database that is not open. */
static void put_raw(const struct fixture *f, const char *key, const void *value, size_t len) {
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_val name = {strlen(key), (void *)key};
	MDB_val data = {len, (void *)value};
	REQUIRE(mdb_env_create(&env) == 0 && mdb_env_set_mapsize(env, 1 << 24) == 0);
	REQUIRE(mdb_env_open(env, f->directory, 0, 0600) == 0);
	REQUIRE(mdb_txn_begin(env, NULL, 0, &txn) == 0 && mdb_dbi_open(txn, NULL, 0, &dbi) == 0);
	REQUIRE(mdb_put(txn, dbi, &name, &data, 0) == 0 && mdb_txn_commit(txn) == 0);
	mdb_env_close(env);
}

TEST(a_database_of_another_program_is_foreign) {
	struct fixture f;
	directory_make(f.directory);
	put_raw(&f, "key", "value", 5);
	const struct pn_db_options options = {.directory = f.directory, .verify = true};
	CHECK(pn_db_open(&f.db, &options) == PN_EFOREIGN);
	put_raw(&f, "F", "\1alue", 5); /* where our format is */
	CHECK(pn_db_open(&f.db, &options) == PN_EFOREIGN);
	put_raw(&f, "F", "\1\0\0\0\1pn-stone\0secret of 16 byte", 30);
	CHECK(pn_db_open(&f.db, &options) == PN_EFOREIGN);
	CHECK(test_alloc.blocks == 0);
	directory_remove(f.directory);
}

/* As the version before made it: without a log, and without a position. */
TEST(a_database_without_a_log_is_opened_and_gets_one) {
	static const char older[] = "\1\0\0\0\1pn-store\0secret of 16 byte";
	struct fixture f = {.options = {.interval = 60000, .verify = true}};
	directory_make(f.directory);
	f.options.directory = f.directory;
	put_raw(&f, "F", older, sizeof(older) - 1);
	open_db(&f);
	CHECK(put(&f, JULIET, "key", "value") == PN_OK);
	commit(&f);
	reopen(&f);
	CHECK(holds(&f, JULIET, "key", "value"));
	check_whole(&f);
	teardown(&f);
}

/* It would write turns past the log. */
TEST(a_database_without_a_log_that_another_process_has_open_is_refused) {
	static const char older[] = "\1\0\0\0\1pn-store\0secret of 16 byte";
	char path[2 * PATH_SIZE];
	struct flock shared = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
	struct fixture f;
	directory_make(f.directory);
	put_raw(&f, "F", older, sizeof(older) - 1);
	snprintf(path, sizeof(path), "%s/lock", f.directory);
	const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	REQUIRE(fd >= 0 && fcntl(fd, F_OFD_SETLK, &shared) == 0);
	const struct pn_db_options options = {.directory = f.directory, .verify = true};
	CHECK(pn_db_open(&f.db, &options) == PN_EOUTDATED);
	close(fd);
	REQUIRE(pn_db_open(&f.db, &options) == PN_OK);
	pn_db_close(f.db);
	CHECK(test_alloc.blocks == 0);
	directory_remove(f.directory);
}

TEST(a_newer_format_is_an_error_and_left_alone) {
	static const char newer[] = "\1\0\0\0\3pn-store\0secret of 16 byte";
	static const char newer_value[] = "\2what it means is not known yet";
	struct fixture f;
	directory_make(f.directory);
	const struct pn_db_options options = {.directory = f.directory, .verify = true};
	put_raw(&f, "F", newer, sizeof(newer) - 1);
	CHECK(pn_db_open(&f.db, &options) == PN_EVERSION);
	put_raw(&f, "F", newer_value, sizeof(newer_value) - 1);
	CHECK(pn_db_open(&f.db, &options) == PN_EVERSION);
	CHECK(test_alloc.blocks == 0);
	directory_remove(f.directory);
}

TEST(a_damaged_file_is_an_error_if_it_is_verified) {
	struct fixture f;
	static unsigned char page[4096];
	setup(&f);
	for (int i = 0; i < 200; i++)
		CHECK(append(&f, "hello", i, "a@b/c", NULL) == PN_OK);
	close_db(&f);
	memset(page, 0xee, sizeof(page));
	const int fd = directory_open(f.directory, "data.mdb", O_WRONLY);
	for (off_t at = 2; at < 100; at++) {
		if (lseek(fd, 0, SEEK_END) >= (at + 1) * 4096)
			REQUIRE(pwrite(fd, page, 4096, at * 4096) == 4096);
	}
	close(fd);
	CHECK(try_open(&f) == PN_ECORRUPT);
	CHECK(test_alloc.blocks == 0);
	directory_remove(f.directory);
}

/* ---- Processes. A child reports by its exit status. ---- */

static bool succeeds(pid_t child) {
	int status;
	return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Ends a child: with 0 if nothing failed in it. */
static _Noreturn void leave(void) {
	fflush(stdout);
	_exit(test_state.failed ? 1 : 0);
}

/* Two names for one process to tell another that it has come so far. */
struct signal_pipe {
	int ends[2];
};

static void pipe_make(struct signal_pipe *pipe_) {
	REQUIRE(pipe(pipe_->ends) == 0);
}

static void tell(const struct signal_pipe *pipe_) {
	REQUIRE(write(pipe_->ends[1], "x", 1) == 1);
}

static void await(const struct signal_pipe *pipe_) {
	char byte;
	REQUIRE(read(pipe_->ends[0], &byte, 1) == 1);
}

static void pipe_close(struct signal_pipe *pipe_) {
	close(pipe_->ends[0]);
	close(pipe_->ends[1]);
}

TEST(a_forked_child_forgets_the_store_and_opens_its_own) {
	struct fixture f;
	struct pn_db *second;
	setup(&f);
	CHECK(pn_db_open(&second, &f.options) == PN_OK);
	CHECK(put(&f, JULIET, "parent", "1") == PN_OK);
	commit(&f);
	const pid_t child = fork();
	if (child == 0) {
		struct pn_db *const parents = f.db;
		CHECK(!pn_db_mine(f.db));
		pn_db_forget(f.db);
		CHECK(try_open(&f) == PN_OK); /* one is left to forget */
		CHECK(f.db != parents && pn_db_mine(f.db));
		pn_db_forget(second);
		CHECK(holds(&f, JULIET, "parent", "1"));
		CHECK(put(&f, JULIET, "child", "1") == PN_OK);
		pn_db_close(f.db);
		leave();
	}
	CHECK(succeeds(child));
	CHECK(pn_db_mine(f.db));
	CHECK(put(&f, JULIET, "parent", "2") == PN_OK);
	commit(&f);
	CHECK(holds(&f, JULIET, "child", "1") && holds(&f, JULIET, "parent", "2"));
	pn_db_close(second);
	check_whole(&f);
	teardown(&f);
}

TEST(a_child_that_was_forked_in_the_middle_of_a_turn_leaves_it_to_its_parent) {
	struct fixture f;
	int wait;
	setup_with(&f, (struct pn_db_options){.interval = 10});
	CHECK(put(&f, JULIET, "key", "1") == PN_OK);
	commit(&f);
	CHECK(pn_db_sync(f.db, 1000, &wait) == PN_OK); /* there is a thread now */
	CHECK(put(&f, JULIET, "key", "2") == PN_OK);
	const pid_t child = fork();
	if (child == 0) {
		pn_db_forget(f.db);
		leave();
	}
	CHECK(succeeds(child));
	commit(&f);
	CHECK(holds(&f, JULIET, "key", "2"));
	CHECK(pn_db_flush(f.db) == PN_OK);
	check_whole(&f);
	teardown(&f);
}

/* In a child: opens the store as another process would. */
static void open_as_another(struct fixture *f) {
	pn_db_forget(f->db);
	REQUIRE(try_open(f) == PN_OK);
}

TEST(while_another_process_writes_a_turn_cannot_begin_but_reading_goes_on) {
	struct fixture f;
	struct signal_pipe begun, done;
	setup(&f);
	pipe_make(&begun);
	pipe_make(&done);
	CHECK(put(&f, JULIET, "key", "1") == PN_OK);
	commit(&f);
	const pid_t child = fork();
	if (child == 0) {
		open_as_another(&f);
		CHECK(put(&f, JULIET, "key", "2") == PN_OK);
		tell(&begun);
		await(&done);
		commit(&f);
		pn_db_close(f.db);
		leave();
	}
	await(&begun);
	CHECK(pn_db_begin(f.db) == PN_EBUSY);
	CHECK(put(&f, JULIET, "key", "3") == PN_EBUSY);
	CHECK(holds(&f, JULIET, "key", "1"));
	tell(&done);
	CHECK(succeeds(child));
	CHECK(holds(&f, JULIET, "key", "2"));
	CHECK(put(&f, JULIET, "key", "3") == PN_OK);
	check_whole(&f);
	pipe_close(&begun);
	pipe_close(&done);
	teardown(&f);
}

TEST(a_process_that_is_killed_in_a_turn_loses_that_turn_and_does_not_block_others) {
	struct fixture f;
	struct signal_pipe begun;
	setup(&f);
	pipe_make(&begun);
	const pid_t child = fork();
	if (child == 0) {
		open_as_another(&f);
		CHECK(put(&f, JULIET, "whole", "1") == PN_OK);
		CHECK(append(&f, "whole", 1, NULL, NULL) == PN_OK);
		commit(&f);
		CHECK(put(&f, JULIET, "half", "1") == PN_OK);
		CHECK(append(&f, "half", 2, NULL, NULL) == PN_OK);
		tell(&begun);
		pause();
	}
	await(&begun);
	kill(child, SIGKILL);
	CHECK(!succeeds(child));
	CHECK(put(&f, JULIET, "next", "1") == PN_OK);
	commit(&f);
	CHECK(holds(&f, JULIET, "whole", "1") && holds(&f, JULIET, "half", NULL));
	check_all(&f, "whole");
	check_whole(&f);
	pipe_close(&begun);
	reopen(&f);
	CHECK(count_records(&f, JULIET) == 2);
	teardown(&f);
}

TEST(alternating_writes_of_two_processes_are_all_there) {
	enum { TURNS = 200 };
	struct fixture f;
	setup(&f);
	CHECK(put(&f, HOST, "key", "value") == PN_OK);
	commit(&f);
	const pid_t child = fork();
	if (child == 0) {
		open_as_another(&f);
		for (int i = 0; i < TURNS; i++) {
			CHECK(append_to(&f, ROMEO, "child", i, "a@b/c", NULL, NULL) == PN_OK);
			CHECK(append(&f, "child", i, "a@b/c", NULL) == PN_OK);
			commit(&f);
		}
		pn_db_close(f.db);
		leave();
	}
	for (int i = 0; i < TURNS; i++) {
		CHECK(append(&f, "parent", i, "a@b/c", NULL) == PN_OK);
		commit(&f);
	}
	CHECK(succeeds(child));
	CHECK(total(&f, JULIET, &EVERYTHING) == 2 * TURNS);
	CHECK(total(&f, ROMEO, &EVERYTHING) == TURNS);
	check_whole(&f);
	teardown(&f);
}

/* In a child: opens the store of a directory where there may be none yet, and writes its name. */
static void make_and_write(struct fixture *f, struct signal_pipe *start, const char *name) {
	await(start);
	REQUIRE(try_open(f) == PN_OK);
	for (int tries = 0; put(f, JULIET, name, "1") != PN_OK; tries++)
		REQUIRE(tries < 10); /* the other one's turn: each waits a second */
	commit(f);
	pn_db_close(f->db);
	leave();
}

TEST(of_two_processes_that_open_a_new_store_at_once_one_creates_it) {
	enum { ROUNDS = 20 };
	static const char *const names[] = {"first", "second"};
	for (int round = 0; round < ROUNDS; round++) {
		struct fixture f;
		struct signal_pipe start[2];
		pid_t children[2];
		setup(&f); /* for its stores */
		close_db(&f);
		directory_remove(f.directory);
		for (int i = 0; i < 2; i++) {
			pipe_make(&start[i]);
			children[i] = fork();
			if (children[i] == 0)
				make_and_write(&f, &start[i], names[i]);
		}
		tell(&start[0]);
		tell(&start[1]);
		CHECK(succeeds(children[0]) && succeeds(children[1]));
		open_db(&f);
		CHECK(count_records(&f, JULIET) == 2);
		check_whole(&f);
		pipe_close(&start[0]);
		pipe_close(&start[1]);
		teardown(&f);
	}
}

/* ---- Copies ---- */

TEST(a_copy_is_whole_while_the_store_goes_on_and_takes_its_place_once_it_is_closed) {
	struct fixture f;
	struct pn_copy *copy;
	struct pn_progress progress = {0};
	char file[PATH_SIZE + 16];
	setup(&f);
	snprintf(file, sizeof(file), "%s.copy", f.directory);
	for (int i = 0; i < 3000; i++)
		CHECK(append(&f, "hello", i, "a@b/c", NULL) == PN_OK);
	REQUIRE(pn_copy_new(&copy, f.db, file, NULL) == PN_OK);
	int more, steps = 0;
	while ((more = pn_copy_step(copy, &progress)) == 1) {
		CHECK(append(&f, "later", 5000, NULL, NULL) == PN_OK);
		commit(&f);
		steps++;
	}
	CHECK(more == 0 && steps > 1 && progress.done == progress.total);
	CHECK(pn_copy_step(copy, &progress) == 0);
	pn_copy_free(copy);
	CHECK(pn_copy_new(&copy, f.db, file, NULL) == PN_EBUSY);
	CHECK(pn_db_replace(f.directory, file) == PN_EBUSY);
	CHECK(total(&f, JULIET, &EVERYTHING) == 3000 + steps);
	close_db(&f);
	CHECK(pn_db_replace(f.directory, file) == PN_OK);
	open_db(&f);
	CHECK(total(&f, JULIET, &EVERYTHING) == 3000);
	CHECK(access(file, F_OK) != 0);
	check_whole(&f);
	teardown(&f);
}

TEST(an_aborted_copy_does_not_leave_a_file) {
	struct fixture f;
	struct pn_copy *copy;
	char file[PATH_SIZE + 16];
	setup(&f);
	snprintf(file, sizeof(file), "%s.copy", f.directory);
	CHECK(put(&f, JULIET, "key", "value") == PN_OK);
	REQUIRE(pn_copy_new(&copy, f.db, file, NULL) == PN_OK);
	CHECK(access(file, F_OK) == 0);
	pn_copy_free(copy);
	CHECK(access(file, F_OK) != 0);
	pn_copy_free(NULL);
	teardown(&f);
}

/* ---- Lists for operators ---- */

static void add_collection(void *context, const struct pn_stat *found) {
	uint64_t *sums = context;
	sums[0]++;
	sums[1] += found->type == PN_TYPE_ARCHIVE ? found->entries : 0;
	sums[2] += found->type == PN_TYPE_KEYVAL ? found->entries : 0;
	CHECK(found->host.len == 4 && memcmp(found->host.bytes, "host", 4) == 0);
}

TEST(every_collection_is_listed_once_in_slices_of_any_size) {
	struct fixture f;
	char name[16];
	setup(&f);
	for (int i = 0; i < 25; i++) {
		snprintf(name, sizeof(name), "user%d", i);
		const struct pn_user user = {name, strlen(name)};
		CHECK(put(&f, user, "a", "1") == PN_OK && put(&f, user, "b", "2") == PN_OK);
		for (int j = 0; j < i; j++)
			CHECK(append_to(&f, user, "x", j, NULL, NULL, NULL) == PN_OK);
	}
	for (unsigned limit = 1; limit < 100; limit += 24) {
		uint64_t sums[3] = {0};
		uint32_t position = 0;
		int more = 1;
		while (more > 0)
			more = pn_store_stat(f.db, &position, limit, true, add_collection, sums);
		CHECK(more == 0);
		CHECK(sums[0] == 25 + 24 && sums[1] == 24 * 25 / 2 && sums[2] == 50);
	}
	teardown(&f);
}

int main(void) {
	return test_run("open");
}
