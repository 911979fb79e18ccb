/* pn/db.h: LMDB's transaction stays open over many turns; the log has those that it loses. */
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
	setup_interval(&f, INTERVAL);
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

TEST(turns_that_come_without_a_pause_are_committed_to_lmdb_by_age) {
	struct fixture f;
	int wait;
	setup_interval(&f, INTERVAL);
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
	setup_interval(&f, INTERVAL);
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
	setup_interval(&f, INTERVAL);
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
	setup_interval(&f, INTERVAL);
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

int main(void) {
	return test_run("turns");
}
