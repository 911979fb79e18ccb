/*
 * pn/db.h: when the structure of the data file is verified, and the use of a file that is damaged.
 * The linker puts this file between the database and the system calls.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>

#include "../../modules/archive/archive.h"
#include "crash.h"

enum { PAGE = 4096, FEW = 500, MANY = 8000, LONG = 10000, RETRY = 10000 };

/* ---- System calls ---- */

static struct {
	unsigned pages;     /* read in whole by pread() */
	unsigned in_thread; /* of these: by a thread */
	off_t unreadable;   /* at this offset; 0: none */
	int pthread_create; /* its error */
	bool held;          /* a thread that reads its second page waits until it is joined */
} calls;

static pthread_t main_thread;
static sem_t reached, joined;

ssize_t __real_pread(int fd, void *to, size_t len, off_t at);
ssize_t __wrap_pread(int fd, void *to, size_t len, off_t at);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *argument);
int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result);

static void hold(void) {
	sem_post(&reached);
	sem_wait(&joined);
}

ssize_t __wrap_pread(int fd, void *to, size_t len, off_t at) {
	const bool in_thread = pthread_equal(pthread_self(), main_thread) == 0;
	if (len == PAGE && at >= 2 * PAGE) {
		calls.pages++;
		calls.in_thread += in_thread;
		if (calls.held && in_thread && calls.in_thread == 2)
			hold();
	}
	if (calls.unreadable != 0 && at <= calls.unreadable && at + (off_t)len > calls.unreadable) {
		errno = EIO;
		return -1;
	}
	return __real_pread(fd, to, len, at);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *argument) {
	return calls.pthread_create != 0 ? calls.pthread_create
					 : __real_pthread_create(thread, attr, run, argument);
}

int __wrap_pthread_join(pthread_t thread, void **result) {
	if (calls.held)
		sem_post(&joined);
	return __real_pthread_join(thread, result);
}

/* ---- Fixture: the files of a database after the machine was started again ---- */

struct files {
	struct image data, durable;
	uint64_t leaf; /* the number of a page of the main tree, in the archive */
};

static struct files files_of(const struct fixture *f) {
	return (struct files){image_read(f->directory, "data.mdb"),
			      image_read(f->directory, "durable"), 0};
}

static void files_free(struct files *files) {
	image_free(&files->data);
	image_free(&files->durable);
}

/* The text of each message: it is stored as it is, and pages are full of it. */
static const char *noise(void) {
	static char text[150];
	fill_noise(text, sizeof(text) - 1);
	return text;
}

static void fill(struct fixture *f, int count) {
	static char long_value[9000];
	memset(long_value, 'v', sizeof(long_value) - 1);
	CHECK(put(f, ROMEO, "long", long_value) == PN_OK);
	for (int i = 0; i < count; i++) {
		CHECK(append(f, noise(), i, i % 3 == 0 ? "a@b/c" : "e@f", NULL) == PN_OK);
		if (i % 100 == 99)
			commit(f);
	}
	const struct pn_archive_query middle = {
		.has_start = true, .start = count / 3, .has_end = true, .end = count / 2};
	CHECK(delete_matching(f, &middle) > 0);
	CHECK(put(f, HOST, "key", "value") == PN_OK);
}

/* The page that has the message. A page begins with its number. */
static uint64_t find_leaf(struct fixture *f, uint64_t seq) {
	struct pn_txn txn;
	struct pn_archive archive;
	struct pn_wire value;
	uint64_t number;
	pn_txn_read(f->db, &txn);
	REQUIRE(pn_archive_open(&archive, &txn, &f->archive, JULIET));
	const struct pn_key key = pn_message_key(&archive, seq);
	REQUIRE(pn_get(&txn, &key, &value));
	memcpy(&number, value.pos - (uintptr_t)value.pos % PAGE, sizeof(number));
	pn_txn_end(&txn, PN_OK);
	return number;
}

/* Of a database that was closed in an earlier boot. */
static struct files files_make(int count) {
	struct fixture f;
	memset(&calls, 0, sizeof(calls));
	main_thread = pthread_self();
	setup(&f);
	fill(&f, count);
	reopen(&f);
	const uint64_t leaf = find_leaf(&f, (uint64_t)count * 3 / 4);
	close_db(&f);
	struct files files = files_of(&f);
	files.leaf = leaf;
	directory_remove(f.directory);
	age_records(&files.durable);
	return files;
}

static void site_make(struct fixture *f, const struct files *files) {
	crash_site(f, &files->data, &files->durable);
	memset(&calls, 0, sizeof(calls));
}

static void site_open(struct fixture *f, const struct files *files) {
	site_make(f, files);
	open_db(f);
}

static struct pn_verification look(struct fixture *f) {
	struct pn_verification now;
	pn_db_verification(f->db, &now);
	return now;
}

static int sync_at(struct fixture *f, uint64_t now) {
	int wait;
	return pn_db_sync(f->db, now, &wait);
}

/* As an event loop does it, until there is a result. */
static enum pn_structure verify_in_background(struct fixture *f) {
	struct pollfd event = {.fd = pn_db_event_fd(f->db), .events = POLLIN};
	pn_db_keep_open(f->db);
	CHECK(sync_at(f, 1000) == PN_OK);
	while (look(f).structure == PN_STRUCTURE_UNKNOWN) {
		REQUIRE(poll(&event, 1, LONG) == 1);
		pn_db_event_clear(f->db);
		CHECK(sync_at(f, 1000) == PN_OK);
	}
	return look(f).structure;
}

/* Waits until the file "durable" tells of the structure. */
static void await_record(struct fixture *f) {
	struct pollfd event = {.fd = pn_db_event_fd(f->db), .events = POLLIN};
	for (;;) {
		struct image durable = image_read(f->directory, "durable");
		const bool told =
			durable.bytes[newest_slot(&durable) * RECORD_SIZE + RECORD_STRUCTURE] ==
			look(f).structure;
		image_free(&durable);
		if (told)
			return;
		REQUIRE(poll(&event, 1, LONG) == 1);
		pn_db_event_clear(f->db);
		CHECK(sync_at(f, 1000) == PN_OK);
	}
}

/* ---- Damage ---- */

enum { WAYS = 5 };

static void damage_page(unsigned char *page, int way) {
	switch (way) {
	case 0:
		memset(page, 0, PAGE);
		break;
	case 1:
		garble(page, PAGE);
		break;
	case 2:
		garble(page + 16, PAGE - 16);
		break;
	case 3:
		page[12] ^= 0x40; /* the number of nodes */
		break;
	default:
		garble(page + 16, 8); /* where nodes are */
	}
}

static struct files files_damaged(const struct files *files, uint64_t page, int way) {
	const struct files damaged = {image_copy(&files->data), image_copy(&files->durable), 0};
	damage_page(damaged.data.bytes + page * PAGE, way);
	return damaged;
}

/* ---- When ---- */

TEST(a_new_file_and_one_that_is_opened_again_in_the_same_boot_are_not_read) {
	struct fixture f;
	memset(&calls, 0, sizeof(calls));
	main_thread = pthread_self();
	setup(&f);
	CHECK(look(&f).structure == PN_STRUCTURE_SOUND && look(&f).total == 0);
	fill(&f, MANY);
	reopen(&f);
	calls.pages = 0;
	reopen(&f);
	CHECK(calls.pages < 20);
	CHECK(verify_in_background(&f) == PN_STRUCTURE_SOUND);
	CHECK(total(&f, JULIET, &EVERYTHING) > MANY / 2);
	CHECK(look(&f).total == 0 && calls.in_thread == 0 && calls.pages < 20);
	teardown(&f);
}

TEST(after_a_kill_in_the_same_boot_nothing_is_verified) {
	struct fixture f, site;
	memset(&calls, 0, sizeof(calls));
	setup(&f);
	fill(&f, FEW);
	make_checkpoint(&f);
	struct files killed = files_of(&f);
	site_open(&site, &killed);
	CHECK(look(&site).structure == PN_STRUCTURE_SOUND);
	teardown(&site);
	teardown(&f);
	files_free(&killed);
}

TEST(in_another_boot_all_pages_are_verified_in_the_background_once) {
	struct files files = files_make(MANY);
	struct fixture f;
	site_open(&f, &files);
	CHECK(look(&f).structure == PN_STRUCTURE_UNKNOWN && !look(&f).running);
	CHECK(sync_at(&f, 1000) == PN_OK); /* without an event loop there is no thread */
	CHECK(!look(&f).running && calls.in_thread == 0);
	CHECK(verify_in_background(&f) == PN_STRUCTURE_SOUND);
	CHECK(calls.in_thread > files.data.size / PAGE / 3);
	await_record(&f);
	struct files killed = files_of(&f);
	check_whole(&f);
	reopen(&f);
	CHECK(look(&f).structure == PN_STRUCTURE_SOUND);
	teardown(&f);
	site_open(&f, &killed);
	CHECK(look(&f).structure == PN_STRUCTURE_SOUND);
	teardown(&f);
	files_free(&files);
	files_free(&killed);
}

TEST(a_process_that_is_killed_while_it_verifies_leaves_it_to_the_next_one) {
	struct files files = files_make(FEW);
	struct fixture f, site;
	site_open(&f, &files);
	CHECK(put(&f, JULIET, "key", "value") == PN_OK);
	commit(&f);
	make_checkpoint(&f);
	struct files killed = files_of(&f);
	site_open(&site, &killed);
	CHECK(look(&site).structure == PN_STRUCTURE_UNKNOWN);
	CHECK(holds(&site, JULIET, "key", "value"));
	teardown(&site);
	teardown(&f);
	files_free(&files);
	files_free(&killed);
}

TEST(opening_reads_as_many_pages_of_a_large_file_as_of_a_small_one) {
	static const int counts[] = {FEW, MANY};
	for (size_t i = 0; i < 2; i++) {
		struct files files = files_make(counts[i]);
		struct fixture f;
		site_open(&f, &files);
		CHECK(calls.pages < 40);
		teardown(&f);
		files_free(&files);
	}
}

TEST(a_file_that_was_put_in_place_by_hand_is_verified_in_the_same_boot_too) {
	struct files files = files_make(FEW);
	struct fixture f;
	setup(&f);
	close_db(&f);
	image_write(&files.data, f.directory, "data.mdb");
	open_db(&f);
	CHECK(look(&f).structure == PN_STRUCTURE_UNKNOWN);
	CHECK(verify_in_background(&f) == PN_STRUCTURE_SOUND);
	teardown(&f);
	files_free(&files);
}

TEST(a_tool_verifies_at_once_also_what_was_verified_in_this_boot) {
	struct files files = files_make(FEW);
	struct fixture f;
	const uint64_t leaf = files.leaf;
	site_open(&f, &files);
	CHECK(pn_db_verify(f.db) == PN_OK && look(&f).structure == PN_STRUCTURE_SOUND);
	CHECK(pn_db_verify(f.db) == PN_OK);
	close_db(&f);
	struct files damaged = files_of(&f);
	damage_page(damaged.data.bytes + leaf * PAGE, 0);
	image_write(&damaged.data, f.directory, "data.mdb");
	f.options.anew = true;
	open_db(&f);
	CHECK(look(&f).structure == PN_STRUCTURE_UNKNOWN);
	CHECK(pn_db_verify(f.db) == PN_ECORRUPT);
	CHECK(look(&f).structure == PN_STRUCTURE_DAMAGED && look(&f).bad_page == leaf);
	teardown(&f);
	files_free(&files);
	files_free(&damaged);
}

/* ---- Damage is found ---- */

/* Checks that only those reads fail that need the damaged page. */
static void check_reads(struct fixture *f) {
	char texts[64];
	CHECK(holds(f, HOST, "key", "value"));
	CHECK(find_texts(f, JULIET, &EVERYTHING, 1, texts, sizeof(texts)) == PN_OK);
	struct pn_archive_cursor *cursor;
	struct pn_message message;
	int found = pn_archive_find(&cursor, &f->archive, JULIET, &EVERYTHING, UINT64_MAX, NULL);
	REQUIRE(found == PN_OK);
	while ((found = pn_archive_next(cursor, &message)) > 0)
		;
	pn_archive_cursor_free(cursor);
	CHECK(found == PN_ECORRUPT);
}

static void check_writes_are_refused(struct fixture *f) {
	CHECK(put(f, JULIET, "refused", "1") == PN_EDAMAGED);
	CHECK(append_to(f, ROMEO, "refused", 1, NULL, NULL, NULL) == PN_EDAMAGED);
	CHECK(delete_matching(f, &EVERYTHING) == PN_EDAMAGED);
	CHECK(pn_store_purge(f->db, str("host"), JULIET) == PN_EDAMAGED);
	CHECK(pn_db_pending(f->db) == 0);
	CHECK(holds(f, JULIET, "refused", NULL));
}

TEST(a_damaged_page_is_found_in_the_background_then_writing_stops_and_reading_goes_on) {
	struct files files = files_make(MANY);
	const uint64_t leaf = files.leaf;
	for (int way = 0; way < WAYS; way++) {
		struct files damaged = files_damaged(&files, leaf, way);
		struct fixture f;
		site_open(&f, &damaged);
		CHECK(put(&f, JULIET, "before", "1") == PN_OK);
		commit(&f);
		CHECK(put(&f, JULIET, "meanwhile", "1") == PN_OK);
		CHECK(verify_in_background(&f) == PN_STRUCTURE_DAMAGED);
		CHECK(look(&f).bad_page == leaf && look(&f).problem != NULL);
		commit(&f); /* the turn that was open */
		check_writes_are_refused(&f);
		check_reads(&f);
		CHECK(holds(&f, JULIET, "before", "1") && holds(&f, JULIET, "meanwhile", "1"));
		CHECK(sync_at(&f, 20000) == PN_OK);
		reopen(&f);
		CHECK(look(&f).structure == PN_STRUCTURE_DAMAGED);
		check_writes_are_refused(&f);
		check_reads(&f);
		CHECK(holds(&f, JULIET, "before", "1") && holds(&f, JULIET, "meanwhile", "1"));
		teardown(&f);
		files_free(&damaged);
	}
	files_free(&files);
}

TEST(damage_is_remembered_in_the_next_boot_and_forgotten_once_a_verification_finds_none) {
	struct files files = files_make(MANY);
	const uint64_t leaf = files.leaf;
	struct files damaged = files_damaged(&files, leaf, 0);
	struct fixture f;
	site_open(&f, &damaged);
	CHECK(verify_in_background(&f) == PN_STRUCTURE_DAMAGED);
	await_record(&f);
	CHECK(pn_db_is_damaged(f.directory));
	struct files later = files_of(&f); /* as after a kill */
	age_records(&later.durable);
	teardown(&f);
	site_open(&f, &later);
	CHECK(look(&f).structure == PN_STRUCTURE_DAMAGED);
	check_writes_are_refused(&f);
	close_db(&f);
	CHECK(pn_db_is_damaged(f.directory));
	for (size_t meta = 0; meta < 2; meta++)
		files.data.bytes[meta * PAGE + PAGE / 2]++; /* another stamp */
	image_write(&files.data, f.directory, "data.mdb");
	CHECK(!pn_db_is_damaged(f.directory)); /* what was damaged is another file */
	open_db(&f);
	teardown(&f);
	CHECK(!pn_db_is_damaged(f.directory));
	memcpy(later.data.bytes + leaf * PAGE, files.data.bytes + leaf * PAGE, PAGE);
	site_open(&f, &later);
	check_writes_are_refused(&f);
	CHECK(pn_db_verify(f.db) == PN_OK && look(&f).structure == PN_STRUCTURE_SOUND);
	CHECK(put(&f, JULIET, "after", "1") == PN_OK);
	check_whole(&f);
	reopen(&f);
	CHECK(look(&f).structure == PN_STRUCTURE_SOUND && !pn_db_is_damaged(f.directory));
	teardown(&f);
	files_free(&files);
	files_free(&damaged);
	files_free(&later);
}

TEST(a_page_that_cannot_be_read_is_damage_too) {
	struct files files = files_make(MANY);
	const uint64_t leaf = files.leaf;
	for (int background = 0; background < 2; background++) {
		struct fixture f;
		site_open(&f, &files);
		calls.unreadable = (off_t)leaf * PAGE;
		if (background)
			CHECK(verify_in_background(&f) == PN_STRUCTURE_DAMAGED);
		check_reads(&f);
		CHECK(look(&f).structure == PN_STRUCTURE_DAMAGED && look(&f).bad_page == leaf);
		CHECK_STR(look(&f).problem, "cannot be read");
		check_writes_are_refused(&f);
		teardown(&f);
	}
	files_free(&files);
}

/* ---- Before it is found ---- */

static void ignore_problem(void *context, const char *text) {
	(void)context;
	(void)text;
}

static int find_problems(struct pn_db *db) {
	struct pn_check *check;
	struct pn_progress progress;
	int more = pn_check_new(&check, db, ignore_problem, NULL);
	if (more != PN_OK)
		return more;
	do
		more = pn_check_step(check, &progress);
	while (more > 0);
	pn_check_free(check);
	return more;
}

/* Operations of every kind. Each succeeds, or fails because of the damage. */
static void use(struct fixture *f) {
	const struct pn_archive_query old = {.has_end = true, .end = FEW / 4};
	const struct pn_archive_query of_one = {.peer = str("e@f")};
	char texts[64];
	const int results[] = {
		put(f, JULIET, "key", "value"),
		append(f, "new", FEW + 1, "a@b/c", NULL),
		append_to(f, ROMEO, "new", 1, "a@b/c", NULL, NULL),
		find_texts(f, JULIET, &of_one, 500, texts, sizeof(texts)),
		(int)total(f, JULIET, &old),
		(int)delete_matching(f, &old),
		(int)delete_matching(f, &of_one),
		put(f, ROMEO, "long", NULL),
		pn_store_purge(f->db, str("host"), ROMEO),
		pn_store_erase(f->db, SLICE),
		find_problems(f->db),
	};
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
		CHECK(results[i] >= 0 || results[i] == PN_ECORRUPT || results[i] == PN_EDAMAGED);
	CHECK(pn_db_commit(f->db) == PN_OK);
}

TEST(whichever_page_is_damaged_operations_before_the_verification_fail_and_do_not_crash) {
	struct files files = files_make(FEW);
	int refused = 0, harmless = 0;
	srandom(test_seed());
	for (uint64_t page = 2; page < files.data.size / PAGE; page++) {
		for (int way = 0; way < WAYS; way++) {
			struct files damaged = files_damaged(&files, page, way);
			struct fixture f;
			site_make(&f, &damaged);
			const int opened = try_open(&f);
			CHECK(opened == PN_OK || opened == PN_ECORRUPT);
			refused += opened == PN_ECORRUPT;
			if (opened == PN_OK) {
				databases_open++;
				use(&f);
				harmless += pn_db_verify(f.db) == PN_OK;
				close_db(&f);
			}
			directory_remove(f.directory);
			files_free(&damaged);
		}
	}
	/* A free page is not read; a used one may be freed by the operations. */
	const int all = (int)(files.data.size / PAGE - 2) * WAYS;
	CHECK(refused > 0 && refused < all / 2 && harmless < all);
	files_free(&files);
}

/* ---- Closing, and failures of the verification itself ---- */

TEST(closing_does_not_wait_for_the_verification) {
	struct files files = files_make(MANY);
	struct fixture f;
	REQUIRE(sem_init(&reached, 0, 0) == 0 && sem_init(&joined, 0, 0) == 0);
	site_open(&f, &files);
	calls.held = true;
	pn_db_keep_open(f.db);
	CHECK(sync_at(&f, 1000) == PN_OK);
	sem_wait(&reached);
	CHECK(look(&f).running && look(&f).done < look(&f).total);
	CHECK(put(&f, JULIET, "key", "value") == PN_OK);
	close_db(&f);
	CHECK(calls.in_thread <= 3);
	calls.held = false;
	open_db(&f);
	CHECK(holds(&f, JULIET, "key", "value"));
	CHECK(look(&f).structure == PN_STRUCTURE_UNKNOWN);
	teardown(&f);
	files_free(&files);
}

TEST(if_no_thread_can_be_created_the_verification_is_tried_again) {
	struct files files = files_make(FEW);
	struct fixture f;
	site_open(&f, &files);
	pn_db_keep_open(f.db);
	calls.pthread_create = EAGAIN;
	CHECK(sync_at(&f, 1000) == PN_OK && !look(&f).running);
	calls.pthread_create = 0;
	CHECK(sync_at(&f, 1000 + RETRY - 1) == PN_OK && !look(&f).running);
	CHECK(sync_at(&f, 1000 + RETRY) == PN_OK && verify_in_background(&f) == PN_STRUCTURE_SOUND);
	teardown(&f);
	files_free(&files);
}

TEST(if_any_allocation_fails_opening_or_verifying_fails_and_may_be_tried_again) {
	struct files files = files_make(FEW);
	bool opened = false;
	for (size_t at = 1; !opened; at++) {
		struct fixture f;
		site_make(&f, &files);
		test_alloc_fail(at, false);
		const int err = pn_db_open(&f.db, &f.options);
		test_alloc_fail(0, false);
		opened = err == PN_OK;
		CHECK(opened || (err == PN_ENOMEM && test_alloc.blocks == 0));
		if (opened)
			pn_db_close(f.db);
		open_db(&f);
		int result = PN_ENOMEM;
		for (size_t n = 1; result == PN_ENOMEM; n++) {
			test_alloc_fail(n, false);
			result = pn_db_verify(f.db);
			test_alloc_fail(0, false);
		}
		CHECK(result == PN_OK && look(&f).structure == PN_STRUCTURE_SOUND);
		check_whole(&f);
		teardown(&f);
	}
	files_free(&files);
}

int main(void) {
	return test_run("verification");
}
