/* modules/db/lmdb_file.h */
#include <fcntl.h>

#include "lmdb_file_fixture.h"

/* ---- Valid files ---- */

TEST(an_empty_file_is_sound) {
	struct pn_lmdb_report report;
	const int fd = file_new();
	CHECK(pn_lmdb_verify(fd, &report) == PN_OK);
	CHECK(report.pages == 0 && report.used == 0 && report.txnid == 0);
	close(fd);
}

TEST(a_file_without_a_transaction_is_sound) {
	struct pn_lmdb_report report;
	const int fd = file_new();
	mdb_env_close(lmdb_open(fd));
	CHECK(pn_lmdb_verify(fd, &report) == PN_OK);
	CHECK(report.pages == 2 && report.used == 2 && report.txnid == 0);
	CHECK(lmdb_use(fd, &report) == NULL);
	close(fd);
}

TEST(the_report_agrees_with_LMDB) {
	struct fixture f;
	setup(&f);
	struct pn_lmdb_report report;
	const int fd = file_of(&f.image);
	REQUIRE(pn_lmdb_verify(fd, &report) == PN_OK);
	MDB_env *env = lmdb_open(fd);
	MDB_stat stat;
	MDB_envinfo info;
	REQUIRE(mdb_env_stat(env, &stat) == 0 && mdb_env_info(env, &info) == 0);
	mdb_env_close(env);
	CHECK(report.entries == stat.ms_entries && report.txnid == info.me_last_txnid);
	CHECK(report.pages == info.me_last_pgno + 1);
	CHECK(report.used == 2 + get64(f.free_record + 8) + get64(f.free_record + 16) +
				     get64(f.free_record + 24) + stat.ms_branch_pages +
				     stat.ms_leaf_pages + stat.ms_overflow_pages);
	CHECK(report.used + report.free_pages == report.pages);
	CHECK(stat.ms_depth == 2 && nodes(f.root) > 2 && nodes(f.free_list) > 2);
	const char *failed = lmdb_use(fd, &report);
	CHECK_STR(failed != NULL ? failed : "", "");
	close(fd);
	image_free(&f.image);
}

static uint32_t next_random(uint64_t *state) {
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33);
}

/* Sizes around all that LMDB tells apart, and keys that are prefixes of others. */
static bool random_step(MDB_txn *txn, MDB_dbi dbi, uint64_t *state) {
	static const size_t sizes[] = {0, 1, 2, 7, 100, 1500, 2030, 2040, 4079, 4080, 4081, 20000};
	static uint8_t bytes[20000];
	char name[512];
	const uint32_t random = next_random(state);
	memset(name, "abc"[random % 3], sizeof(name));
	snprintf(name, sizeof(name), "%u", next_random(state) % 4000);
	name[strlen(name)] = 'x';
	MDB_val k = {random % 11 == 0 ? 511 : 1 + random % 40, name};
	MDB_val v = {sizes[random / 64 % (random % 13 == 0 ? 12 : 6)], bytes};
	const int err = random % 5 < 3 ? mdb_put(txn, dbi, &k, &v, 0) : mdb_del(txn, dbi, &k, NULL);
	return err == 0 || err == MDB_NOTFOUND;
}

/* In a directory of its own, as a reader that pins free pages needs the lock beside the file. */
static void random_transactions(uint64_t seed, int txns, int steps, bool pinned) {
	char directory[] = P_tmpdir "/test_lmdb_file-XXXXXX";
	char path[64];
	char lock[80];
	REQUIRE(mkdtemp(directory) != NULL);
	snprintf(path, sizeof(path), "%s/data", directory);
	snprintf(lock, sizeof(lock), "%s-lock", path);
	MDB_env *env = lmdb_open_path(path, 0);
	MDB_txn *reader = NULL;
	MDB_dbi dbi;
	for (int t = 0; t < txns; t++) {
		if (t % 50 == 0 && reader != NULL)
			mdb_txn_abort(reader);
		if (t % 50 == 0)
			reader = pinned ? lmdb_begin(env, MDB_RDONLY, &dbi) : NULL;
		MDB_txn *txn = lmdb_begin(env, 0, &dbi);
		for (int i = 0; i < steps; i++)
			CHECK(random_step(txn, dbi, &seed));
		if (t % 97 == 96)
			CHECK(lmdb_thin(txn, dbi) > 0);
		const int64_t entries = lmdb_walk(txn, dbi);
		REQUIRE(mdb_txn_commit(txn) == 0);
		struct pn_lmdb_report report;
		mdb_filehandle_t fd;
		REQUIRE(mdb_env_get_fd(env, &fd) == 0);
		if (!CHECK(pn_lmdb_verify(fd, &report) == PN_OK))
			printf("# transaction %d, page %ju: %s\n", t, (uintmax_t)report.bad_page,
			       report.problem);
		CHECK(report.entries == (uint64_t)entries && report.txnid == (uint64_t)t + 1);
		CHECK(report.used + report.free_pages == report.pages);
	}
	if (reader != NULL)
		mdb_txn_abort(reader);
	mdb_env_close(env);
	CHECK(unlink(path) == 0 && unlink(lock) == 0 && rmdir(directory) == 0);
}

TEST(a_file_is_sound_after_each_of_many_random_transactions) {
	random_transactions(test_seed(), 300, 60, false);
}

TEST(a_file_is_sound_after_large_transactions) {
	random_transactions(test_seed() + 1, 12, 5000, false);
}

TEST(a_file_is_sound_while_readers_pin_its_free_pages) {
	random_transactions(test_seed() + 2, 300, 30, true);
}

TEST(a_free_list_may_take_pages_of_its_own) {
	const int fd = file_new();
	MDB_env *env = lmdb_open(fd);
	MDB_dbi dbi;
	MDB_txn *txn = lmdb_begin(env, 0, &dbi);
	for (int i = 0; i < 1000; i++)
		lmdb_put_one(txn, dbi, i, 9000);
	REQUIRE(mdb_txn_commit(txn) == 0);
	txn = lmdb_begin(env, 0, &dbi);
	CHECK(lmdb_clear(txn, dbi));
	REQUIRE(mdb_txn_commit(txn) == 0);
	mdb_env_close(env);
	struct image image = image_of(fd);
	struct pn_lmdb_report report;
	CHECK(pn_lmdb_verify(fd, &report) == PN_OK);
	CHECK(report.entries == 0 && report.free_pages > 3000);
	CHECK(get64(image.bytes + 40 + 24) > 1); /* runs of the free tree, in meta 0 */
	CHECK(lmdb_use(fd, &report) == NULL);
	image_free(&image);
	close(fd);
}

TEST(a_file_without_a_tree_that_is_cut_off_is_damaged) {
	struct pn_lmdb_report report;
	const int fd = file_new();
	mdb_env_close(lmdb_open(fd));
	REQUIRE(ftruncate(fd, sysconf(_SC_PAGESIZE) + 200) == 0);
	CHECK(pn_lmdb_verify(fd, &report) == PN_ECORRUPT && report.bad_page == 1);
	close(fd);
}

TEST(free_pages_at_the_end_need_not_be_in_the_file) {
	const int fd = file_new();
	MDB_env *env = lmdb_open(fd);
	MDB_dbi dbi;
	for (int t = 0; t < 4; t++) {
		MDB_txn *txn = lmdb_begin(env, 0, &dbi);
		lmdb_put_one(txn, dbi, t, 10);
		/* The last takes new pages for its run, and gives them back before they are
		 * written. */
		lmdb_put_one(txn, dbi, 9, t == 3 ? 20000 : 10);
		lmdb_put_one(txn, dbi, 9, 0);
		REQUIRE(mdb_txn_commit(txn) == 0);
	}
	mdb_env_close(env);
	struct pn_lmdb_report report;
	struct stat st;
	REQUIRE(fstat(fd, &st) == 0);
	CHECK(pn_lmdb_verify(fd, &report) == PN_OK);
	CHECK(report.pages * (uint64_t)sysconf(_SC_PAGESIZE) > (uint64_t)st.st_size);
	CHECK(report.used + report.free_pages == report.pages);
	CHECK(lmdb_use(fd, &report) == NULL);
	close(fd);
}

/* ---- Files that are not ours, and failures ---- */

TEST(a_text_is_foreign) {
	struct fixture f;
	setup(&f);
	memset(f.image.bytes, 'x', f.image.size);
	check(&f, PN_EFOREIGN);
}

TEST(a_file_of_a_few_bytes_is_foreign) {
	struct fixture f;
	setup(&f);
	f.image.size = 16;
	check(&f, PN_EFOREIGN);
}

TEST(a_file_without_the_magic_is_foreign) {
	struct fixture f;
	setup(&f);
	put32(page(&f, 0) + 16, 0xbeefc0df);
	put32(page(&f, 1) + 16, 0xdec0efbe);
	check(&f, PN_EFOREIGN);
}

TEST(a_file_of_another_page_size_is_foreign) {
	struct fixture f;
	setup(&f);
	put32(page(&f, 0) + 40, 2 * f.page_size);
	put32(page(&f, 1) + 40, 2 * f.page_size);
	check(&f, PN_EFOREIGN);
}

TEST(a_file_of_another_data_version_is_distinguished) {
	struct fixture f;
	setup(&f);
	put32(page(&f, 0) + 20, 2);
	put32(page(&f, 1) + 20, 2);
	check(&f, PN_EVERSION);
}

TEST(a_file_that_cannot_be_read_is_an_error_of_reading) {
	struct pn_lmdb_report report;
	CHECK(pn_lmdb_verify(-1, &report) == PN_EIO);
	struct fixture f;
	setup(&f);
	const int fd = file_of(&f.image);
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	const int unreadable = open(path, O_WRONLY | O_CLOEXEC);
	REQUIRE(unreadable >= 0);
	CHECK(pn_lmdb_verify(unreadable, &report) == PN_EIO);
	CHECK(report.problem == NULL && test_alloc.blocks == 0);
	close(unreadable);
	close(fd);
	image_free(&f.image);
}

TEST(each_allocation_may_fail) {
	struct fixture f;
	setup(&f);
	struct pn_lmdb_report report;
	int err;
	size_t nth = 0;
	do {
		test_alloc_fail(++nth, false);
		err = image_verify(&f.image, &report);
		CHECK(err == (test_alloc.failed ? PN_ENOMEM : PN_OK));
		CHECK(test_alloc.blocks == 0);
	} while (err == PN_ENOMEM);
	CHECK(nth > 1);
	test_alloc_fail(0, false);
	image_free(&f.image);
}

/* ---- Damage anywhere ---- */

/* Bytes of a file that LMDB steers by. */
struct spots {
	size_t offsets[20000];
	size_t count;
};

static void add_spots(struct spots *spots, const struct fixture *f, const uint8_t *from,
		      size_t count) {
	REQUIRE(spots->count + count <= sizeof(spots->offsets) / sizeof(spots->offsets[0]));
	for (size_t i = 0; i < count; i++)
		spots->offsets[spots->count++] = (size_t)(from - f->image.bytes) + i;
}

/* The header, the pointers, and of each node the header and the ends of its key. */
static void add_tree_page(struct spots *spots, const struct fixture *f, uint8_t *page) {
	add_spots(spots, f, page, get16(page + 12));
	for (size_t i = 0; i < nodes(page); i++) {
		const size_t key_size = get16(node(page, i) + 6);
		add_spots(spots, f, node(page, i), 8 + (key_size > 0 ? 3 : 0));
		add_spots(spots, f, key(page, i) + key_size - (key_size > 8 ? 1 : 0), 8);
	}
}

static void find_spots(struct spots *spots, struct fixture *f) {
	spots->count = 0;
	add_spots(spots, f, page(f, 0), 152);
	add_spots(spots, f, page(f, 1), 152);
	add_tree_page(spots, f, f->root);
	for (size_t i = 0; i < nodes(f->root); i++)
		add_tree_page(spots, f, page(f, child(f->root, i)));
	add_tree_page(spots, f, f->free_list);
	for (size_t i = 0; i < nodes(f->free_list); i++)
		add_spots(spots, f, value(f->free_list, i), get16(node(f->free_list, i)));
	add_spots(spots, f, f->run, 16);
}

/* Either it is found, or LMDB can use the file in full. Says which. */
static bool is_found_or_harmless(const struct image *image, bool *found) {
	struct pn_lmdb_report report;
	const int fd = file_of(image);
	const int err = pn_lmdb_verify(fd, &report);
	*found = err != PN_OK;
	const char *failed = err == PN_OK ? lmdb_use(fd, &report) : NULL;
	if (failed != NULL)
		printf("# LMDB failed: %s\n", failed);
	close(fd);
	return failed == NULL && (err == PN_OK || err == PN_ECORRUPT);
}

TEST(a_changed_byte_is_found_or_does_no_harm) {
	static const uint8_t changes[] = {0x01, 0x80, 0xff};
	static struct spots spots;
	struct fixture f;
	setup(&f);
	find_spots(&spots, &f);
	size_t found_count = 0;
	for (size_t i = 0; i < spots.count * sizeof(changes); i++) {
		uint8_t *byte = f.image.bytes + spots.offsets[i / sizeof(changes)];
		const uint8_t was = *byte;
		bool found;
		*byte ^= changes[i % sizeof(changes)];
		if (!CHECK(is_found_or_harmless(&f.image, &found)))
			printf("# byte %zu: %d to %d\n", spots.offsets[i / sizeof(changes)], was,
			       *byte);
		*byte = was;
		found_count += found ? 1 : 0;
	}
	CHECK(found_count > spots.count);
	check(&f, PN_OK);
}

TEST(bytes_behind_a_meta_in_its_page_do_not_matter) {
	struct fixture f;
	setup(&f);
	memset(page(&f, 0) + 152, 0xff, f.page_size - 152);
	memset(page(&f, 1) + 152, 0x55, f.page_size - 152);
	bool found;
	CHECK(is_found_or_harmless(&f.image, &found) && !found);
	image_free(&f.image);
}

/* Whether a page is in use; else it may be missing. */
static bool is_free(const struct fixture *f, uint64_t number) {
	for (size_t i = 0; i < nodes(f->free_list); i++) {
		for (size_t n = 0; n < get64(value(f->free_list, i)); n++) {
			if (get64(value(f->free_list, i) + 8 * (n + 1)) == number)
				return true;
		}
	}
	return false;
}

TEST(a_file_that_is_cut_off_is_found_to_be_damaged) {
	struct fixture f;
	setup(&f);
	uint64_t pages = f.image.size / f.page_size;
	while (is_free(&f, pages - 1))
		pages--;
	CHECK(pages > 10);
	const size_t torn[] = {0, 1, 17, f.page_size / 2, f.page_size - 1};
	const size_t whole = f.image.size;
	for (size_t i = 1; i < pages * 5; i++) {
		struct pn_lmdb_report report;
		f.image.size = i / 5 * f.page_size + torn[i % 5];
		const int err = image_verify(&f.image, &report);
		CHECK(err == (f.image.size < 44 ? PN_EFOREIGN : PN_ECORRUPT));
	}
	f.image.size = whole;
	check(&f, PN_OK);
}

int main(void) {
	return test_run("lmdb_file");
}
