/* The records of a database that is not open, as LMDB has them. */
#ifndef TEST_RAW_H
#define TEST_RAW_H

#include <lmdb.h>

#include "test.h"

enum { RAW_MAP_SIZE = 1 << 26 };

struct raw {
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
};

static inline struct raw raw_open(const char *directory) {
	struct raw raw;
	REQUIRE(mdb_env_create(&raw.env) == 0 && mdb_env_set_mapsize(raw.env, RAW_MAP_SIZE) == 0);
	REQUIRE(mdb_env_open(raw.env, directory, MDB_NOSYNC, 0600) == 0);
	REQUIRE(mdb_txn_begin(raw.env, NULL, 0, &raw.txn) == 0);
	REQUIRE(mdb_dbi_open(raw.txn, NULL, 0, &raw.dbi) == 0);
	return raw;
}

static inline void raw_close(struct raw *raw) {
	REQUIRE(mdb_txn_commit(raw->txn) == 0);
	mdb_env_close(raw->env);
}

#endif
