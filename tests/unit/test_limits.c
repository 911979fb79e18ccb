/* Limits that change while the database is open, and the bytes of a host. */
#include "store_fixture.h"

enum { MEGABYTE = 1024 * 1024, LIMIT = 4 * MEGABYTE, VALUE = 10000 };

/* ---- The limit of the data file ---- */

static int put_large(struct fixture *f, int number) {
	static char value[VALUE + 1];
	char key[16];
	memset(value, 'x', VALUE);
	snprintf(key, sizeof(key), "%d", number);
	const int err = put(f, JULIET, key, value);
	CHECK(pn_db_commit(f->db) == PN_OK);
	return err;
}

/* Puts records from `number` on until one is refused. Returns its number. */
static int fill_up(struct fixture *f, int number) {
	int err;
	while ((err = put_large(f, number)) == PN_OK)
		number++;
	CHECK(err == PN_EFULL);
	return number;
}

static void remove_large(struct fixture *f, int count) {
	for (int number = 0; number < count; number++) {
		char key[16];
		snprintf(key, sizeof(key), "%d", number);
		CHECK(drop(f, JULIET, key) == PN_OK);
		commit(f);
	}
}

static struct pn_db_info info_of(struct fixture *f) {
	struct pn_db_info info = {0};
	CHECK(pn_db_info(f->db, &info) == PN_OK);
	return info;
}

TEST(a_higher_limit_of_the_file_allows_writes_at_once) {
	struct fixture f;
	setup_with(&f, (struct pn_db_options){.interval = 60000, .max_bytes = LIMIT});
	const int count = fill_up(&f, 0);
	CHECK(put_large(&f, count) == PN_EFULL);
	pn_db_set_max(f.db, 2 * LIMIT);
	CHECK(put_large(&f, count) == PN_OK && info_of(&f).max_bytes == 2 * LIMIT);
	CHECK(fill_up(&f, count) > count * 3 / 2);
	pn_db_set_max(f.db, 0);
	CHECK(put_large(&f, 2 * count) == PN_OK && info_of(&f).max_bytes > (uint64_t)LIMIT * 1000);
	check_whole(&f);
	teardown(&f);
}

TEST(below_a_lower_limit_of_the_file_writes_have_to_fit_into_its_free_pages) {
	enum { MANY = 2 * LIMIT / VALUE };
	struct fixture f;
	setup_with(&f, (struct pn_db_options){.interval = 60000});
	for (int number = 0; number < MANY; number++)
		CHECK(put_large(&f, number) == PN_OK);
	const uint64_t before = info_of(&f).file_bytes;
	pn_db_set_max(f.db, LIMIT);
	const int last = fill_up(&f, MANY);
	CHECK(last > MANY && info_of(&f).file_bytes <= before + MEGABYTE / 4);
	remove_large(&f, MANY / 2);
	CHECK(fill_up(&f, last) > last + MANY / 8);
	check_whole(&f);
	teardown(&f);
}

int main(void) {
	return test_run("limits");
}
