/* pn/db.h: copies, and replacing a data file by one */
#include "crash.h"
#include "process.h"

static int cursor_fails_at; /* the call of mdb_cursor_get() that finds damage; 0: none */

int __real_mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op);
int __wrap_mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op);

int __wrap_mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op) {
	if (cursor_fails_at > 0 && --cursor_fails_at == 0)
		return MDB_CORRUPTED;
	return __real_mdb_cursor_get(cursor, key, data, op);
}

static void name_copy(const struct fixture *f, char file[PATH_SIZE + 16]) {
	snprintf(file, PATH_SIZE + 16, "%s.copy", f->directory);
}

static void copy_to(struct fixture *f, const char *file) {
	struct pn_copy *copy;
	struct pn_progress progress;
	REQUIRE(pn_copy_new(&copy, f->db, file, NULL) == PN_OK);
	int more;
	do
		more = pn_copy_step(copy, &progress);
	while (more > 0);
	CHECK(more == 0);
	pn_copy_free(copy);
}

TEST(a_copy_is_whole_while_the_store_goes_on_and_takes_its_place_once_it_is_closed) {
	enum { COUNT = 6000 };
	struct fixture f;
	struct pn_copy *copy;
	struct pn_progress progress = {0};
	char file[PATH_SIZE + 16];
	setup(&f);
	snprintf(file, sizeof(file), "%s.copy", f.directory);
	for (int i = 0; i < COUNT; i++)
		CHECK(append(&f, "hello", i, "a@b/c", NULL) == PN_OK);
	REQUIRE(pn_copy_new(&copy, f.db, file, NULL) == PN_OK);
	int more, steps = 0;
	while ((more = pn_copy_step(copy, &progress)) == 1) {
		CHECK(append(&f, "later", COUNT + 1000, NULL, NULL) == PN_OK);
		commit(&f);
		steps++;
	}
	CHECK(more == 0 && steps > 1 && progress.done == progress.total);
	CHECK(pn_copy_step(copy, &progress) == 0);
	pn_copy_free(copy);
	CHECK(pn_copy_new(&copy, f.db, file, NULL) == PN_EBUSY);
	CHECK(pn_db_replace(f.directory, file) == PN_EBUSY);
	CHECK(total(&f, JULIET, &EVERYTHING) == COUNT + steps);
	close_db(&f);
	CHECK(pn_db_replace(f.directory, file) == PN_OK);
	open_db(&f);
	CHECK(total(&f, JULIET, &EVERYTHING) == COUNT);
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

TEST(damage_that_is_met_while_copying_is_an_error_that_names_the_place) {
	struct fixture f;
	struct pn_copy *copy;
	struct pn_compaction *compaction;
	struct pn_progress progress;
	char file[PATH_SIZE + 16], place[PN_COPY_PLACE];
	setup(&f);
	name_copy(&f, file);
	for (int i = 0; i < 300; i++)
		CHECK(append(&f, "hello", i, "a@b/c", NULL) == PN_OK);
	commit(&f);
	const uint64_t sum = contents(&f);
	REQUIRE(pn_copy_new(&copy, f.db, file, NULL) == PN_OK);
	cursor_fails_at = 201;
	CHECK(pn_copy_step(copy, &progress) == PN_ECORRUPT);
	pn_copy_place(copy, place);
	CHECK(strncmp(place, "after 200 of ", 13) == 0);
	CHECK(strstr(place, "the last one is r\\x00\\x00\\x00\\x01") != NULL);
	CHECK(pn_copy_step(copy, &progress) < 0);
	pn_copy_free(copy);
	CHECK(access(file, F_OK) != 0);
	REQUIRE(pn_compact_new(&compaction, f.db, false, NULL) == PN_OK);
	cursor_fails_at = 1;
	CHECK(pn_compact_step(compaction, &progress) == PN_ECORRUPT);
	pn_compact_place(compaction, place);
	CHECK(strstr(place, "the last one is none") != NULL);
	CHECK(pn_compact_step(compaction, &progress) == PN_ECORRUPT);
	CHECK(pn_compact_switch(compaction) == PN_ECORRUPT);
	pn_compact_free(compaction);
	CHECK(contents(&f) == sum);
	reopen(&f);
	CHECK(contents(&f) == sum);
	teardown(&f);
}

/* ---- The log of another process, and of another file ---- */

/* In a child: a server, which keeps LMDB's transaction open and is asked for it. */
static void serve(struct fixture *f, const struct signal_pipe *logged) {
	int wait;
	open_as_another(f);
	pn_db_keep_open(f->db);
	CHECK(pn_db_sync(f->db, 1000, &wait) == PN_OK);
	for (int i = 0; i < 20; i++)
		turn(f, i);
	CHECK(f->db->write != NULL); /* LMDB does not have them yet */
	tell(logged);
	while (f->db->write != NULL) { /* the next turn finds that another process waits */
		turn(f, 100);
		usleep(1000);
	}
	pn_db_close(f->db);
	leave();
}

TEST(a_copy_has_all_turns_that_another_process_has_logged_before_it_began) {
	struct fixture f;
	struct signal_pipe logged;
	char file[PATH_SIZE + 16];
	setup(&f);
	name_copy(&f, file);
	pipe_make(&logged);
	const pid_t child = fork();
	if (child == 0)
		serve(&f, &logged);
	await(&logged);
	copy_to(&f, file);
	CHECK(succeeds(child));
	turn(&f, 200); /* after the backup */
	close_db(&f);
	CHECK(pn_db_replace(f.directory, file) == PN_OK);
	open_db(&f);
	CHECK(holds(&f, JULIET, "turn", "100"));
	check_whole(&f);
	pipe_close(&logged);
	teardown(&f);
}

static void move_log(const char *from, const char *to) {
	DIR *entries = opendir(from);
	REQUIRE(entries != NULL);
	for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries))
		if (strncmp(entry->d_name, "log.0", 5) == 0)
			REQUIRE(renameat(dirfd(entries), entry->d_name, AT_FDCWD, to) == 0);
	closedir(entries);
}

static unsigned count_files(const char *directory, const char *beginning) {
	unsigned count = 0;
	DIR *entries = opendir(directory);
	REQUIRE(entries != NULL);
	for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries))
		count += strncmp(entry->d_name, beginning, strlen(beginning)) == 0;
	closedir(entries);
	return count;
}

/* In a child: writes the turns after the backup, and is killed. */
static void write_and_die(struct fixture *f) {
	REQUIRE(try_open(f) == PN_OK);
	pn_db_keep_open(f->db);
	for (int i = 50; i < 60; i++)
		turn(f, i);
	leave();
}

/* Restores the same backup twice; a log that continued it in between is beside it again. */
TEST(a_log_that_continued_a_backup_is_set_aside_when_that_is_restored_again) {
	struct fixture f;
	char file[PATH_SIZE + 16], again[PATH_SIZE + 24], log[PATH_SIZE + 16], name[PATH_SIZE * 2];
	setup(&f);
	name_copy(&f, file);
	snprintf(again, sizeof(again), "%s.again", file);
	snprintf(log, sizeof(log), "%s.log", f.directory);
	turns(&f, 0, 20);
	const uint64_t sum = contents(&f);
	copy_to(&f, file);
	struct image backup = image_read("/", file + 1);
	image_write(&backup, "/", again + 1);
	image_free(&backup);
	close_db(&f);
	CHECK(pn_db_replace(f.directory, file) == PN_OK);
	const pid_t child = fork();
	if (child == 0)
		write_and_die(&f);
	CHECK(succeeds(child));
	move_log(f.directory, log);
	CHECK(pn_db_replace(f.directory, again) == PN_OK);
	snprintf(name, sizeof(name), "%s/log.0000000000000001", f.directory);
	REQUIRE(rename(log, name) == 0);
	open_db(&f);
	CHECK(pn_db_rejected(f.db) && pn_db_replayed(f.db) == 0);
	CHECK(contents(&f) == sum);
	CHECK(count_files(f.directory, "rejected.") == 1);
	turn(&f, 70);
	const uint64_t later = contents(&f);
	reopen(&f);
	CHECK(!pn_db_rejected(f.db) && contents(&f) == later);
	check_whole(&f);
	teardown(&f);
}

TEST(a_missing_file_does_not_replace_the_data_file) {
	struct fixture f;
	char file[PATH_SIZE + 16];
	setup(&f);
	name_copy(&f, file);
	turn(&f, 1);
	const uint64_t sum = contents(&f);
	close_db(&f);
	CHECK(pn_db_replace(f.directory, file) == PN_EACCESS);
	CHECK(access(file, F_OK) != 0);
	open_db(&f);
	CHECK(contents(&f) == sum);
	teardown(&f);
}

int main(void) {
	return test_run("copy");
}
