/* Reading ahead of a walk. The linker puts this file between the database and the system calls. */
#include <lmdb.h>

#include "../../modules/db/db.h"
#include "store_fixture.h"

enum { WINDOW = 32 * 4096, WINDOWS = 4096, MESSAGES = 20000 };

static struct {
	unsigned asked; /* windows that the system was asked to read */
	unsigned often; /* of these: before */
	unsigned other; /* anything but a window */
	unsigned char of[WINDOWS];
} calls;

int __wrap_posix_fadvise(int fd, off_t at, off_t len, int advice);

int __wrap_posix_fadvise(int fd, off_t at, off_t len, int advice) {
	(void)fd;
	const off_t window = at / WINDOW;
	if (advice != POSIX_FADV_WILLNEED || at % WINDOW != 0 || len != WINDOW ||
	    window >= WINDOWS) {
		calls.other++;
		return 0;
	}
	calls.asked++;
	calls.often += calls.of[window];
	calls.of[window] = 1;
	return 0;
}

static void fill(struct fixture *f) {
	char text[150] = "";
	for (int i = 0; i < MESSAGES; i++) {
		fill_noise(text, sizeof(text) - 1);
		CHECK(append(f, text, i, "a@b/c", NULL) == PN_OK);
		if (i % 500 == 499)
			commit(f);
	}
	commit(f);
}

TEST(a_copy_asks_for_the_pages_that_it_needs_next_each_window_once) {
	struct fixture f;
	struct pn_copy *copy;
	struct pn_progress progress;
	struct pn_db_info info = {0};
	char file[PATH_SIZE + 16];
	setup(&f);
	fill(&f);
	CHECK(pn_db_info(f.db, &info) == PN_OK);
	const uint64_t windows = info.used_bytes / WINDOW;
	snprintf(file, sizeof(file), "%s.copy", f.directory);
	memset(&calls, 0, sizeof(calls));
	REQUIRE(pn_copy_new(&copy, f.db, file, NULL) == PN_OK);
	CHECK(pn_copy_step(copy, &progress) == 1);
	CHECK(calls.asked > 0 && calls.asked < windows / 2);
	int more;
	do
		more = pn_copy_step(copy, &progress);
	while (more == 1);
	CHECK(more == 0 && progress.done == progress.total);
	CHECK(calls.asked >= windows && calls.often == 0 && calls.other == 0);
	pn_copy_free(copy);
	REQUIRE(unlink(file) == 0);
	teardown(&f);
}

TEST(a_copy_of_a_database_with_few_records_asks_for_nothing) {
	struct fixture f;
	struct pn_copy *copy;
	struct pn_progress progress;
	char file[PATH_SIZE + 16];
	setup(&f);
	snprintf(file, sizeof(file), "%s.copy", f.directory);
	memset(&calls, 0, sizeof(calls));
	REQUIRE(pn_copy_new(&copy, f.db, file, NULL) == PN_OK);
	CHECK(pn_copy_step(copy, &progress) == 0);
	CHECK(calls.asked == 0 && calls.other == 0);
	pn_copy_free(copy);
	REQUIRE(unlink(file) == 0);
	teardown(&f);
}

TEST(the_system_reads_ahead_only_for_a_process_that_reads_large_parts) {
	for (int all = 0; all < 2; all++) {
		struct fixture f;
		unsigned flags = 0;
		setup_with(&f, (struct pn_db_options){.interval = 1000, .reads_all = all});
		CHECK(mdb_env_get_flags(f.db->env, &flags) == MDB_SUCCESS);
		CHECK(((flags & MDB_NORDAHEAD) == 0) == all);
		teardown(&f);
	}
}

int main(void) {
	return test_run("ahead");
}
