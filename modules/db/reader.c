/* Read transactions: the one that operations use, and those of all processes. */
#include <stdio.h>
#include <unistd.h>

#include "db.h"

int pn_db_renew_reader(struct pn_db *db) {
	return db->read != NULL ? mdb_txn_renew(db->read)
				: mdb_txn_begin(db->env, NULL, MDB_RDONLY, &db->read);
}

/* For mdb_reader_list(): a line is "PID THREAD TRANSACTION", with "-" for an idle reader. */
static int note_reader(const char *line, void *context) {
	struct pn_readers *const readers = context;
	size_t transaction;
	if (sscanf(line, "%*s %*s %zu", &transaction) != 1)
		return 0;
	readers->count++;
	if (transaction < readers->oldest)
		readers->oldest = transaction;
	return 0;
}

struct pn_readers pn_db_readers(const struct pn_db *db) {
	struct pn_readers readers = {.count = 0, .oldest = SIZE_MAX};
	(void)mdb_reader_list(db->env, note_reader, &readers);
	return readers;
}

/* ---- Processes ---- */

struct processes {
	pid_t *pids;
	size_t count, most;
};

/* A process has several readers. */
static int note_process(const char *line, void *context) {
	struct processes *const found = context;
	int pid;
	if (sscanf(line, "%d", &pid) != 1 || pid == getpid())
		return 0;
	for (size_t i = 0; i < found->count; i++)
		if (found->pids[i] == pid)
			return 0;
	if (found->count < found->most)
		found->pids[found->count++] = pid;
	return 0;
}

/* Each process that has the database open keeps a reader, at the durable state. */
size_t pn_db_others(struct pn_db *db, pid_t *pids, size_t most) {
	struct processes found = {.pids = pids, .most = most};
	int dead;
	if (db->env != NULL && mdb_reader_check(db->env, &dead) == MDB_SUCCESS)
		(void)mdb_reader_list(db->env, note_process, &found);
	return found.count;
}
