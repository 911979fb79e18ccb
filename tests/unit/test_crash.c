/* pn/db.h: recovery after a power failure */
#include <lmdb.h>

#include "../../modules/db/lmdb_layout.h"
#include "crash.h"

enum { BEFORE = 30, AFTER = 70 };

#define FAILURES test_tries(60, 600)

/* ---- Fixture: a database with a durable state, and later commits ---- */

struct past {
	struct fixture f;
	struct image old; /* the data file at its sync */
	struct image now; /* the data file later */
	struct image durable;
	uint64_t then; /* contents of the durable state */
	uint64_t txnid;
};

static void look(struct past *past) {
	image_free(&past->now);
	past->now = image_read(past->f.directory, "data.mdb");
}

static void make_durable(struct past *past) {
	make_checkpoint(&past->f);
	image_free(&past->old);
	image_free(&past->durable);
	past->old = image_read(past->f.directory, "data.mdb");
	past->durable = image_read(past->f.directory, "durable");
	past->then = contents(&past->f);
	past->txnid = record_txnid(&past->durable, newest_slot(&past->durable));
}

static void past_setup(struct past *past) {
	*past = (struct past){0};
	srandom(test_seed());
	setup(&past->f);
	turns(&past->f, 0, BEFORE);
	make_durable(past);
	turns(&past->f, BEFORE, AFTER);
	look(past);
}

static void past_teardown(struct past *past) {
	teardown(&past->f);
	image_free(&past->old);
	image_free(&past->now);
	image_free(&past->durable);
}

/* Opens and checks the database. Returns the checksum of its contents. */
static uint64_t open_site(struct fixture *site) {
	open_db(site);
	CHECK(problems(site->db) == 0);
	return contents(site);
}

/* Checks that the database can be written, closed and opened. */
static void go_on(struct fixture *site) {
	turns(site, AFTER, AFTER + 5);
	const uint64_t sum = contents(site);
	reopen(site);
	CHECK(contents(site) == sum);
	CHECK(problems(site->db) == 0);
	teardown(site);
}

/* Checks that the durable state is back after each of `count` power failures. */
static void check_recovery(const struct past *past, int count) {
	for (int i = 0; i < count; i++) {
		struct fixture site;
		struct image left = power_failure(&past->old, &past->now);
		crash_site(&site, &left, &past->durable);
		CHECK(open_site(&site) == past->then);
		go_on(&site);
		image_free(&left);
	}
}

/* Whether the newer of the two metas is of a later transaction than the durable one. */
static bool is_later(const struct past *past, const struct image *data) {
	return meta_txnid(data->bytes) > past->txnid ||
	       meta_txnid(data->bytes + lmdb_page_size()) > past->txnid;
}

/* ---- Power failures ---- */

TEST(a_power_failure_rolls_back_to_the_durable_state) {
	struct past past;
	int later = 0;
	past_setup(&past);
	age_records(&past.durable);
	for (int i = 0; i < FAILURES; i++) {
		struct fixture site;
		struct image left = power_failure(&past.old, &past.now);
		crash_site(&site, &left, &past.durable);
		CHECK(open_site(&site) == past.then);
		later += is_later(&past, &left) ? 1 : 0;
		go_on(&site);
		image_free(&left);
	}
	CHECK(later > FAILURES / 2 && later < FAILURES); /* or else not all was tried */
	past_teardown(&past);
}

/* Copies the log of one store beside the data file of another. */
static void copy_log(const struct fixture *from, const struct fixture *to) {
	DIR *names = opendir(from->directory);
	REQUIRE(names != NULL);
	for (struct dirent *entry = readdir(names); entry != NULL; entry = readdir(names)) {
		if (strncmp(entry->d_name, "log.", 4) != 0)
			continue;
		struct image image = image_read(from->directory, entry->d_name);
		image_write(&image, to->directory, entry->d_name);
		image_free(&image);
	}
	closedir(names);
}

TEST(the_log_brings_back_what_was_written_since) {
	struct past past;
	past_setup(&past);
	const uint64_t now = contents(&past.f);
	age_records(&past.durable);
	for (int i = 0; i < FAILURES / 3; i++) {
		struct fixture site;
		struct image left = power_failure(&past.old, &past.now);
		crash_site(&site, &left, &past.durable);
		copy_log(&past.f, &site);
		CHECK(open_site(&site) == now);
		CHECK(pn_db_replayed(site.db) == AFTER - BEFORE);
		go_on(&site);
		image_free(&left);
	}
	past_teardown(&past);
}

TEST(a_log_that_lacks_a_durable_turn_is_refused_and_nothing_is_changed) {
	struct past past;
	struct fixture site;
	past_setup(&past);
	CHECK(pn_db_flush(past.f.db) == PN_OK);
	turns(&past.f, AFTER, AFTER + 1);
	crash_site(&site, &past.old, &past.durable);
	copy_log(&past.f, &site);
	char log[32] = "";
	DIR *names = opendir(site.directory);
	REQUIRE(names != NULL);
	for (struct dirent *entry = readdir(names); entry != NULL; entry = readdir(names))
		if (strncmp(entry->d_name, "log.0", 5) == 0)
			snprintf(log, sizeof(log), "%.31s", entry->d_name);
	closedir(names);
	struct image good = image_read(site.directory, log), bad = image_read(site.directory, log);
	for (size_t at = 4000; at < 200000; at += 4000)
		bad.bytes[at] ^= 1;
	image_write(&bad, site.directory, log);
	CHECK(pn_db_open(&site.db, &site.options) == PN_ELOG);
	image_write(&good, site.directory, log);
	CHECK(open_site(&site) == contents(&past.f));
	go_on(&site);
	image_free(&good);
	image_free(&bad);
	past_teardown(&past);
}

TEST(a_power_failure_during_recovery_loses_nothing_more) {
	struct past past;
	past_setup(&past);
	age_records(&past.durable);
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	for (int i = 0; i < FAILURES / 3; i++) {
		struct fixture site;
		struct image left = power_failure(&past.old, &past.now);
		crash_site(&site, &left, &past.durable);
		CHECK(open_site(&site) == past.then);
		/* one of the two meta pages that recovery wrote has reached the disk */
		struct image healed = image_read(site.directory, "data.mdb");
		const size_t at = i % 2 == 0 ? page : 0;
		memcpy(left.bytes + at, healed.bytes + at, page);
		teardown(&site);
		crash_site(&site, &left, &past.durable);
		CHECK(open_site(&site) == past.then);
		go_on(&site);
		image_free(&healed);
		image_free(&left);
	}
	past_teardown(&past);
}

TEST(a_killed_process_does_not_lose_committed_data) {
	struct past past;
	struct fixture site;
	past_setup(&past);
	crash_site(&site, &past.now, &past.durable); /* the same start of the machine */
	CHECK(open_site(&site) == contents(&past.f));
	CHECK(pn_db_replayed(site.db) == 0);
	go_on(&site);
	past_teardown(&past);
}

TEST(later_states_replace_earlier_ones) {
	struct past past;
	past_setup(&past);
	for (int i = 1; i <= 6; i++) {
		make_durable(&past);
		turns(&past.f, AFTER + 10 * i, AFTER + 10 * i + 10);
		look(&past);
		age_records(&past.durable);
		check_recovery(&past, 1);
	}
	past_teardown(&past);
}

/* ---- Invalid records ---- */

TEST(a_partly_written_record_leaves_the_former_one_valid) {
	struct past past;
	past_setup(&past);
	struct image before = past.durable;
	struct image old = past.old;
	const uint64_t then = past.then;
	past.durable = past.old = (struct image){0};
	make_durable(&past); /* the state of the torn record */
	age_records(&before);
	age_records(&past.durable);
	const int slot = newest_slot(&past.durable);
	REQUIRE(slot >= 0 && slot != newest_slot(&before));
	const size_t at = (size_t)slot * RECORD_SIZE;
	for (int i = 0; i < FAILURES / 2; i++) {
		struct fixture site;
		const size_t done = (size_t)random() % (RECORD_SIZE / 2);
		struct image torn = image_new(past.durable.size);
		memcpy(torn.bytes, before.bytes, before.size);
		memcpy(torn.bytes + at, past.durable.bytes + at, done);
		if (i % 2 == 0) /* the rest is garbage */
			garble(torn.bytes + at + done, RECORD_SIZE - done);
		if (slot == 1 && i % 3 == 0)
			torn.size = at + done;
		struct image left = power_failure(&old, &past.now);
		crash_site(&site, &left, &torn);
		CHECK(open_site(&site) == then);
		go_on(&site);
		image_free(&left);
		image_free(&torn);
	}
	image_free(&before);
	image_free(&old);
	past_teardown(&past);
}

TEST(without_a_valid_record_the_file_is_not_changed) {
	struct past past;
	past_setup(&past);
	const uint64_t now = contents(&past.f);
	for (int i = 0; i < 4; i++) {
		struct fixture site;
		struct image bad = image_new(SLOTS * RECORD_SIZE);
		memcpy(bad.bytes, past.durable.bytes, past.durable.size);
		age_records(&bad);
		if (i < 2)
			garble(bad.bytes + (i == 0 ? RECORD_DIGEST : 0), bad.size - RECORD_DIGEST);
		bad.size = i == 2 ? 0 : i == 3 ? 100 : bad.size;
		crash_site(&site, &past.now, &bad);
		CHECK(open_site(&site) == now);
		CHECK(pn_db_replayed(site.db) == 0);
		go_on(&site);
		image_free(&bad);
	}
	past_teardown(&past);
}

/* ---- A data file that was replaced by hand ---- */

/* The data file of another database, with `count` transactions. */
static struct image other_file(int count, uint64_t *sum) {
	struct fixture other;
	setup(&other);
	turns(&other, 0, count);
	*sum = contents(&other);
	struct image image = image_read(other.directory, "data.mdb");
	teardown(&other);
	return image;
}

/* The record belongs to another file, which is older or newer, and to this boot or an earlier one.
 */
static void replace_by_hand(int count, bool aged) {
	struct past past;
	struct fixture site;
	uint64_t sum;
	past_setup(&past);
	struct image other = other_file(count, &sum);
	if (aged)
		age_records(&past.durable);
	crash_site(&site, &other, &past.durable);
	CHECK(open_site(&site) == sum);
	CHECK(pn_db_replayed(site.db) == 0);
	/* from now on its own states are made durable */
	past_teardown(&past);
	past = (struct past){.f = site};
	turns(&past.f, count, count + 3);
	make_durable(&past);
	turns(&past.f, count + 3, count + 20);
	look(&past);
	age_records(&past.durable);
	check_recovery(&past, FAILURES / 10);
	image_free(&other);
	past_teardown(&past);
}

TEST(a_file_that_replaced_a_newer_one_by_hand_is_kept_and_synced_from_then_on) {
	replace_by_hand(BEFORE / 2, false);
	replace_by_hand(BEFORE / 2, true);
}

TEST(a_file_that_replaced_an_older_one_by_hand_is_kept_and_synced_from_then_on) {
	replace_by_hand(AFTER * 2, false);
	replace_by_hand(AFTER * 2, true);
}

/* ---- A database without transactions ---- */

/* As LMDB creates it: earlier versions left it so if they were killed. */
static void make_empty_database(const char *directory) {
	MDB_env *env;
	REQUIRE(mdb_env_create(&env) == 0 && mdb_env_open(env, directory, 0, 0600) == 0);
	mdb_env_close(env);
}

/* The first record that opening writes: that of the file as it was found. */
static void keep_first_record(const struct image *durable, const struct image *data) {
	memset(durable->bytes + RECORD_TXNID, 0, RECORD_SIZE / 2 - RECORD_TXNID);
	memcpy(durable->bytes + RECORD_SIZE / 2, data->bytes, RECORD_SIZE / 2);
	memset(durable->bytes + RECORD_SIZE, 0, RECORD_SIZE);
}

/* The stamp that the first process writes, once it has read the format. */
static void remove_stamp(const struct image *data) {
	for (size_t at = RECORD_STAMP; at < 2 * lmdb_page_size(); at += lmdb_page_size())
		memset(data->bytes + at, 0, 16);
}

TEST(a_power_failure_rolls_back_to_a_database_without_transactions_too) {
	struct past past = {0};
	srandom(test_seed());
	past.f.options = (struct pn_db_options){.interval = 60000, .verify = true};
	directory_make(past.f.directory);
	past.f.options.directory = past.f.directory;
	make_empty_database(past.f.directory);
	past.old = image_read(past.f.directory, "data.mdb");
	open_db(&past.f);
	past.then = contents(&past.f);
	past.durable = image_read(past.f.directory, "durable");
	keep_first_record(&past.durable, &past.old);
	REQUIRE(newest_slot(&past.durable) == 0 && record_txnid(&past.durable, 0) == 0);
	turns(&past.f, 0, 5);
	look(&past);
	remove_stamp(&past.now); /* was not there yet either */
	age_records(&past.durable);
	check_recovery(&past, FAILURES);
	past_teardown(&past);
}

/* The record describes another file with more transactions, of this boot or an earlier one. */
static void make_anew(bool aged) {
	struct past past;
	past_setup(&past);
	if (aged)
		age_records(&past.durable);
	close_db(&past.f);
	image_write(&past.durable, past.f.directory, "durable");
	char file[2 * PATH_SIZE];
	snprintf(file, sizeof(file), "%s/data.mdb", past.f.directory);
	REQUIRE(unlink(file) == 0);
	open_db(&past.f);
	turns(&past.f, 0, 3);
	make_durable(&past);
	turns(&past.f, 3, 10);
	look(&past);
	age_records(&past.durable);
	check_recovery(&past, FAILURES / 10);
	past_teardown(&past);
}

TEST(if_the_data_file_was_moved_away_a_new_one_is_created_and_synced_from_then_on) {
	make_anew(false);
	make_anew(true);
}

int main(void) {
	return test_run("crash");
}
