/*
 * pn/db.h: making commits durable, in the background and at once, and what becomes of it where
 * the disk fails or is full. The linker puts this file between the store and the system calls.
 */
#include "sync_fixture.h"

/* ---- In the background ---- */

TEST(a_commit_is_synced_in_the_background_and_the_event_signals_it) {
	struct fixture f;
	int wait;
	setup_interval(&f, INTERVAL);
	write_one(&f, "1");
	CHECK(!is_durable(&f) && !event(&f, 0));
	CHECK(sync_at(&f, 1000, &wait) == PN_OK && wait == -1);
	CHECK(event(&f, LONG));
	CHECK(is_durable(&f));
	CHECK(sync_at(&f, 1001, &wait) == PN_OK && wait == -1);
	CHECK(!event(&f, 0));
	teardown(&f);
}

TEST(a_commit_is_not_synced_twice) {
	struct fixture f;
	int wait;
	setup_interval(&f, INTERVAL);
	write_one(&f, "1");
	CHECK(sync_at(&f, 1000, &wait) == PN_OK);
	CHECK(event(&f, LONG));
	const unsigned before = faults.syncs;
	for (uint64_t now = 1000; now < 3000; now += INTERVAL)
		CHECK(sync_at(&f, now, &wait) == PN_OK && wait == -1);
	CHECK(pn_db_flush(f.db) == PN_OK);
	CHECK(faults.syncs == before);
	teardown(&f);
}

TEST(two_attempts_begin_an_interval_apart) {
	struct fixture f;
	int wait;
	setup_interval(&f, INTERVAL);
	write_one(&f, "1");
	CHECK(sync_at(&f, 1000, &wait) == PN_OK);
	CHECK(event(&f, LONG));
	write_one(&f, "2");
	CHECK(sync_at(&f, 1001, &wait) == PN_OK && wait == INTERVAL - 1);
	CHECK(sync_at(&f, 1000 + INTERVAL - 1, &wait) == PN_OK && wait == 1);
	CHECK(!is_durable(&f));
	CHECK(sync_at(&f, 1000 + INTERVAL, &wait) == PN_OK);
	CHECK(event(&f, LONG));
	CHECK(is_durable(&f));
	teardown(&f);
}

TEST(turns_are_made_durable_while_another_one_is_open) {
	struct fixture f;
	int wait;
	setup_interval(&f, INTERVAL);
	write_one(&f, "1");
	CHECK(put(&f, JULIET, "key", "2") == PN_OK);
	CHECK(sync_at(&f, 1000, &wait) == PN_OK && wait == -1);
	CHECK(event(&f, LONG));
	CHECK(is_durable(&f));
	commit(&f);
	CHECK(!is_durable(&f));
	CHECK(sync_at(&f, 1000 + INTERVAL, &wait) == PN_OK);
	CHECK(event(&f, LONG));
	CHECK(is_durable(&f));
	teardown(&f);
}

TEST(a_store_may_be_written_to_and_closed_while_an_attempt_is_under_way) {
	struct fixture f;
	char value[16];
	int wait;
	for (int round = 0; round < 20; round++) {
		setup_interval(&f, INTERVAL);
		for (int i = 0; i < 20; i++) {
			snprintf(value, sizeof(value), "%d", i);
			write_one(&f, value);
			CHECK(sync_at(&f, (uint64_t)i * INTERVAL, &wait) == PN_OK);
		}
		reopen(&f);
		CHECK(holds(&f, JULIET, "key", value));
		teardown(&f);
	}
}

TEST(if_no_thread_can_be_created_the_sync_is_retried) {
	struct fixture f;
	int wait;
	setup_interval(&f, INTERVAL);
	write_one(&f, "1");
	faults.pthread_create = EAGAIN;
	CHECK(sync_at(&f, 1000, &wait) == PN_ENOMEM && wait > 0);
	repair();
	CHECK(sync_at(&f, 1000 + (uint64_t)wait, &wait) == PN_OK);
	CHECK(event(&f, LONG));
	CHECK(is_durable(&f));
	teardown(&f);
}

/* ---- At once ---- */

TEST(a_flush_commits_and_returns_when_all_is_durable) {
	struct fixture f;
	setup_interval(&f, INTERVAL);
	CHECK(put(&f, JULIET, "key", "value") == PN_OK);
	CHECK(pn_db_flush(f.db) == PN_OK);
	CHECK(pn_db_pending(f.db) == 0 && is_durable(&f));
	teardown(&f);
}

TEST(with_an_interval_of_0_a_commit_is_durable_when_it_returns) {
	struct fixture f;
	int wait;
	setup_interval(&f, 0);
	for (int i = 0; i < 3; i++) {
		write_one(&f, i % 2 == 0 ? "1" : "2");
		CHECK(is_durable(&f));
		CHECK(sync_at(&f, 1000, &wait) == PN_OK && (wait == -1 || wait == IDLE));
	}
	teardown(&f);
}

/* Makes an operation fail after it has written, and then the undoing of it. */
static void lose_turn(struct fixture *f) {
	faults.txn_begin = ENOMEM;
	test_alloc_fail(2, true);
	CHECK(put(f, ROMEO, "key", "3") == PN_ENOMEM);
	test_alloc_fail(0, false);
	faults.txn_begin = 0;
}

TEST(a_turn_that_cannot_be_written_is_lost_and_every_call_fails_until_the_commit) {
	struct fixture f;
	setup_interval(&f, INTERVAL);
	write_one(&f, "1");
	CHECK(put(&f, JULIET, "key", "2") == PN_OK);
	lose_turn(&f);
	CHECK(pn_db_pending(f.db) == 1); /* so that the caller commits, and gets the error */
	CHECK(put(&f, JULIET, "later", "1") == PN_ELOST);
	CHECK(append_to(&f, JULIET, "later", 1, NULL, NULL, NULL) == PN_ELOST);
	CHECK(pn_db_begin(f.db) == PN_ELOST);
	CHECK(holds(&f, JULIET, "key", "1"));
	CHECK(pn_db_commit(f.db) == PN_ELOST);
	CHECK(pn_db_pending(f.db) == 0);
	write_one(&f, "next");
	CHECK(count_records(&f, JULIET) == 1 && count_records(&f, ROMEO) == 0);
	check_whole(&f);
	teardown(&f);
}

TEST(a_lost_turn_does_not_stop_the_sync_of_earlier_ones) {
	struct fixture f;
	setup_interval(&f, INTERVAL);
	write_one(&f, "1");
	CHECK(put(&f, JULIET, "key", "2") == PN_OK);
	lose_turn(&f);
	CHECK(pn_db_flush(f.db) == PN_ELOST);
	CHECK(is_durable(&f));
	CHECK(holds(&f, JULIET, "key", "1"));
	teardown(&f);
}

/* ---- A disk that fails ---- */

/* Checks that writes fail, that reads work, and that the error is returned again. */
static void check_failed(struct fixture *f) {
	int wait;
	repair();
	CHECK(pn_db_begin(f->db) == PN_EIO);
	CHECK(put(f, JULIET, "key", "later") == PN_EIO);
	CHECK(holds(f, JULIET, "key", "1"));
	CHECK(pn_db_flush(f->db) == PN_EIO);
	CHECK(sync_at(f, 1000000, &wait) == PN_EIO);
	CHECK(!is_durable(f));
	teardown(f);
}

TEST(a_disk_that_failed_to_sync_is_not_trusted_again) {
	static const int errors[] = {EIO, ENOSPC, EDQUOT};
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct fixture f;
		int wait;
		setup_interval(&f, INTERVAL);
		write_one(&f, "1");
		faults.fdatasync_log = errors[i];
		CHECK(sync_at(&f, 1000, &wait) == PN_OK);
		CHECK(event(&f, LONG));
		CHECK(sync_at(&f, 1001, &wait) == PN_EIO);
		check_failed(&f);
	}
}

TEST(a_flush_reports_a_failed_disk) {
	struct fixture f;
	setup_interval(&f, INTERVAL);
	write_one(&f, "1");
	faults.fdatasync_log = EIO;
	CHECK(pn_db_flush(f.db) == PN_EIO);
	check_failed(&f);
}

TEST(a_durable_commit_reports_a_failed_disk_through_sync) {
	struct fixture f;
	int wait;
	setup_interval(&f, 0);
	faults.fdatasync_log = EIO;
	write_one(&f, "1");
	CHECK(!is_durable(&f));
	CHECK(sync_at(&f, 1000, &wait) == PN_EIO);
	check_failed(&f);
}

/* ---- A disk that is full ---- */

/* The file "durable" is written again with the next commit to LMDB; until then the log is kept. */
TEST(a_state_of_the_data_file_that_cannot_be_named_is_told_and_loses_nothing) {
	struct fixture f;
	int wait;
	setup_open(&f, INTERVAL);
	CHECK(sync_at(&f, 1000, &wait) == PN_OK);
	write_one(&f, "1");
	CHECK(sync_at(&f, 1000, &wait) == PN_OK);
	CHECK(event(&f, LONG));
	CHECK(is_durable(&f));
	faults.pwrite_most = 5000;
	CHECK(sync_at(&f, 1000 + IDLE, &wait) == PN_OK);
	CHECK(event(&f, LONG));
	CHECK(sync_at(&f, 1001 + IDLE, &wait) == PN_ENOSPACE);
	CHECK(is_durable(&f));
	repair();
	write_one(&f, "2");
	CHECK(sync_at(&f, 2000, &wait) == PN_OK);
	CHECK(event(&f, LONG));
	CHECK(sync_at(&f, 2000 + IDLE, &wait) == PN_OK);
	CHECK(event(&f, LONG));
	CHECK(sync_at(&f, 2001 + IDLE, &wait) == PN_OK);
	teardown(&f);
}

TEST(a_data_file_that_the_disk_does_not_take_is_told_and_loses_nothing) {
	struct fixture f;
	int wait;
	setup_open(&f, INTERVAL);
	CHECK(sync_at(&f, 1000, &wait) == PN_OK);
	write_one(&f, "1");
	CHECK(sync_at(&f, 1000, &wait) == PN_OK);
	CHECK(event(&f, LONG));
	faults.fdatasync_data = EIO;
	CHECK(sync_at(&f, 1000 + IDLE, &wait) == PN_OK);
	CHECK(event(&f, LONG));
	CHECK(sync_at(&f, 1001 + IDLE, &wait) == PN_EIO);
	repair();
	CHECK(put(&f, JULIET, "key", "later") == PN_EIO);
	CHECK(is_durable(&f) && holds(&f, JULIET, "key", "1"));
	reopen(&f);
	CHECK(holds(&f, JULIET, "key", "1"));
	write_one(&f, "2");
	teardown(&f);
}

static char long_text[100001];

static int append_long(struct fixture *f, double when) {
	fill_noise(long_text, sizeof(long_text) - 1);
	return append_to(f, JULIET, long_text, when, "a@b/c", NULL, NULL);
}

/* Appends one message a turn until that fails. Returns the error, and adds the successes to *count.
 */
static int fill(struct fixture *f, int *count) {
	for (int i = 0; i < 2000; i++, ++*count) {
		const int err = append_long(f, *count);
		if (err != PN_OK)
			return err;
		commit(f);
	}
	return PN_OK;
}

/* Deletes the older half of `count` messages in slices, and erases them. */
static void make_room(struct fixture *f, int count) {
	const struct pn_archive_query half = {.has_end = true, .end = count / 2 - 1};
	uint64_t deleted = 0;
	int more;
	do {
		more = pn_archive_delete(&f->archive, JULIET, &half, 10, &deleted);
		CHECK(pn_db_flush(f->db) == PN_OK); /* the durable state keeps old pages */
	} while (more > 0);
	CHECK(more == 0 && deleted == (uint64_t)count / 2);
	do {
		more = pn_store_erase(f->db, SLICE);
		CHECK(pn_db_flush(f->db) == PN_OK);
	} while (more > 0);
	CHECK(more == 0);
}

/* Checks that a full database refuses writes, and can be read and deleted from. */
static void check_full(struct fixture *f, int error, int count) {
	CHECK(append_long(f, count) == error);
	CHECK(pn_db_pending(f->db) == 0);
	CHECK(total(f, JULIET, &EVERYTHING) == count);
	make_room(f, count);
	CHECK(total(f, JULIET, &EVERYTHING) == count - count / 2);
}

/* Checks that `count` more messages can be appended, and that the database is intact. */
static void check_room(struct fixture *f, int count) {
	const int64_t before = total(f, JULIET, &EVERYTHING);
	for (int i = 0; i < count; i++) {
		CHECK(append_long(f, 10000 + i) == PN_OK);
		CHECK(pn_db_flush(f->db) == PN_OK);
	}
	CHECK(total(f, JULIET, &EVERYTHING) == before + count);
	check_whole(f);
}

TEST(a_store_that_has_reached_its_limit_is_read_deleted_from_and_then_written_to_again) {
	enum { LIMIT = 32 * 1024 * 1024 };
	struct fixture f;
	struct pn_db_info info = {0};
	int count = 0;
	memset(&faults, 0, sizeof(faults));
	setup_with(&f, (struct pn_db_options){.interval = INTERVAL, .max_bytes = LIMIT});
	CHECK(fill(&f, &count) == PN_EFULL);
	CHECK(count > LIMIT / 2 / 100000 && count < LIMIT / 100000);
	check_full(&f, PN_EFULL, count);
	check_room(&f, count / 8);
	CHECK(pn_db_info(f.db, &info) == PN_OK);
	CHECK(info.max_bytes == LIMIT && info.file_bytes <= LIMIT);
	teardown(&f);
}

TEST(a_store_at_its_limit_is_so_too_after_it_was_closed) {
	enum { LIMIT = 16 * 1024 * 1024 };
	struct fixture f;
	int count = 0;
	memset(&faults, 0, sizeof(faults));
	setup_with(&f, (struct pn_db_options){.interval = INTERVAL, .max_bytes = LIMIT});
	CHECK(fill(&f, &count) == PN_EFULL);
	reopen(&f);
	CHECK(fill(&f, &count) == PN_EFULL); /* pages that only the pin had kept can be used now */
	check_full(&f, PN_EFULL, count);
	reopen(&f);
	check_room(&f, count / 8);
	teardown(&f);
}

TEST(a_full_store_that_is_emptied_by_one_transaction_is_written_to_again_at_once) {
	enum { LIMIT = 16 * 1024 * 1024 };
	struct fixture f;
	int count = 0;
	uint64_t deleted = 0;
	struct pn_db_info info = {0};
	memset(&faults, 0, sizeof(faults));
	setup_with(&f, (struct pn_db_options){.interval = 3600 * 1000, .max_bytes = LIMIT});
	CHECK(fill(&f, &count) == PN_EFULL);
	while (pn_archive_delete(&f.archive, JULIET, &EVERYTHING, 10, &deleted) > 0)
		;
	CHECK(deleted == (uint64_t)count);
	while (pn_store_erase(f.db, SLICE) > 0)
		;
	CHECK(pn_db_flush(f.db) == PN_OK);
	check_room(&f, count / 4);
	CHECK(pn_db_info(f.db, &info) == PN_OK);
	CHECK(info.file_bytes <= LIMIT);
	teardown(&f);
}

/* Every turn frees as many pages as it uses, and the next may use them once it is durable. */
TEST(a_store_whose_data_stay_below_its_limit_goes_on_however_much_a_turn_writes) {
	enum { LIMIT = 4 * 1024 * 1024, TURNS = 40, PER_TURN = 50 };
	struct fixture f;
	struct pn_db_info info = {0};
	int refused = 0;
	memset(&faults, 0, sizeof(faults));
	setup_with(&f, (struct pn_db_options){.interval = 3600 * 1000, .max_bytes = LIMIT});
	for (int turn = 0; turn < TURNS; turn++) {
		char value[1001] = {0};
		memset(value, 'a' + turn % 26, sizeof(value) - 1);
		for (int i = 0; i < PER_TURN; i++) {
			char key[32];
			snprintf(key, sizeof(key), "key %d", i);
			refused += put(&f, JULIET, key, value) != PN_OK;
		}
		commit(&f);
		CHECK(holds(&f, JULIET, "key 0", value));
	}
	CHECK(refused == 0);
	CHECK(count_records(&f, JULIET) == PER_TURN);
	CHECK(pn_db_info(f.db, &info) == PN_OK);
	CHECK(info.file_bytes <= LIMIT);
	check_whole(&f);
	teardown(&f);
}

TEST(a_full_disk_is_an_error_before_any_write_is_accepted_and_passes) {
	struct fixture f;
	int count = 0;
	setup_interval(&f, INTERVAL);
	for (; count < 200; count++)
		CHECK(append_long(&f, count) == PN_OK);
	commit(&f);
	faults.full = true;
	CHECK(fill(&f, &count) == PN_ENOSPACE);
	CHECK(count < 400);
	check_full(&f, PN_ENOSPACE, count);
	repair();
	check_room(&f, 10);
	teardown(&f);
}

TEST(on_a_full_disk_scattered_messages_are_deleted) {
	enum { MESSAGES = 2000 };
	const struct pn_archive_query of_one = {.peer = str("e@f")};
	struct fixture f;
	uint64_t deleted = 0;
	int count = MESSAGES, more;
	setup_interval(&f, INTERVAL);
	for (int i = 0; i < MESSAGES; i++)
		CHECK(append(&f, "short", i, i % 4 == 0 ? "e@f" : "a@b/c", NULL) == PN_OK);
	CHECK(pn_db_flush(f.db) == PN_OK);
	faults.full = true;
	CHECK(fill(&f, &count) == PN_ENOSPACE);
	do
		more = pn_archive_delete(&f.archive, JULIET, &of_one, SLICE, &deleted);
	while (more > 0);
	CHECK(more == 0 && deleted == MESSAGES / 4);
	do {
		more = pn_store_erase(f.db, SLICE);
		CHECK(pn_db_flush(f.db) == PN_OK); /* the durable state keeps old pages */
	} while (more > 0);
	CHECK(more == 0);
	repair();
	check_whole(&f);
	teardown(&f);
}

/* Another process takes the space between the turns and LMDB's commit. */
TEST(turns_for_which_the_disk_has_no_space_any_more_are_read_and_written_once_it_has) {
	struct fixture f;
	int wait;
	setup_open(&f, INTERVAL);
	CHECK(sync_at(&f, 1000, &wait) == PN_OK);
	write_one(&f, "1");
	CHECK(append_long(&f, 1) == PN_OK);
	commit(&f);
	faults.full = true;
	faults.txn_commit = ENOSPC;
	CHECK(sync_at(&f, 1000, &wait) == PN_OK);
	CHECK(sync_at(&f, 1000 + IDLE, &wait) == PN_ENOSPACE);
	CHECK(holds(&f, JULIET, "key", "1") && total(&f, JULIET, &EVERYTHING) == 1);
	reopen(&f); /* the commit fails again */
	pn_db_keep_open(f.db);
	CHECK(holds(&f, JULIET, "key", "1") && total(&f, JULIET, &EVERYTHING) == 1);
	CHECK(sync_at(&f, 2000, &wait) == PN_ENOSPACE);
	repair();
	write_one(&f, "2");
	CHECK(sync_at(&f, 3000, &wait) == PN_OK);
	CHECK(sync_at(&f, 3000 + IDLE, &wait) == PN_OK);
	reopen(&f);
	CHECK(holds(&f, JULIET, "key", "2") && total(&f, JULIET, &EVERYTHING) == 1);
	check_whole(&f);
	teardown(&f);
}

TEST(a_file_system_that_cannot_reserve_space_is_used_nevertheless) {
	struct fixture f;
	setup_interval(&f, INTERVAL);
	faults.fallocate = EOPNOTSUPP;
	for (int i = 0; i < 100; i++)
		CHECK(append_long(&f, i) == PN_OK);
	commit(&f);
	CHECK(total(&f, JULIET, &EVERYTHING) == 100);
	teardown(&f);
}

int main(void) {
	return test_run("sync");
}
