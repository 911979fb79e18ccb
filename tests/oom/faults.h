/*
 * LMDB's functions as they are when memory, the disk or the file fails. The linker puts these
 * between the store and LMDB: call number `at` of all of them fails, in one of the ways in which
 * that function can. On demand the transaction is of no more use then, as LMDB has it mostly; or
 * all later calls fail as well.
 */
#ifndef TEST_FAULTS_H
#define TEST_FAULTS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include <lmdb.h>

enum { FAULT_WAYS = 5, FAULT_CALLS = 10000 };

struct faults {
	size_t calls; /* so far */
	size_t at;    /* the call that fails, 1 being the first; 0: none */
	int way;      /* 0 to FAULT_WAYS - 1 */
	int failed;   /* its result; 0: none has failed */
	const char *name;
	bool spoils;  /* until its transaction has ended, all that is asked of it fails */
	bool lasting; /* all later calls fail too */
	const MDB_txn *spoilt;
};

extern struct faults faults;

/* In how many ways each call could have failed, as it was counted when none was to fail. */
extern unsigned char fault_ways[FAULT_CALLS];

/* Begins to count anew. Of the plan, calls, failed, name and spoilt are 0. */
void faults_begin(struct faults plan);

/* No call fails or is counted any more. Returns how it was. */
struct faults faults_end(void);

#endif
