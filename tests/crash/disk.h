/*
 * A disk whose power can be cut. While a tape runs, it records every change to the files of one
 * directory, and every sync: the functions of libc are replaced, also for LMDB. From a tape a
 * directory is created as a power failure may leave it: with everything that was synced, and any
 * part of the rest, whole sectors, in any order.
 *
 * Changes through a map are not recorded. Of the store's files this affects lock.mdb, which LMDB
 * creates again when no process has it open.
 */
#ifndef TEST_DISK_H
#define TEST_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { DISK_NAME = 32, DISK_FILES = 128, DISK_OPS = 20000 };

enum disk_kind {
	DISK_MAKE,           /* the directory itself */
	DISK_CREATE,         /* name, file */
	DISK_RENAME,         /* name, file, to */
	DISK_UNLINK,         /* name */
	DISK_WRITE,          /* file, at, bytes */
	DISK_RESIZE,         /* file, at: the new size */
	DISK_SYNC,           /* file */
	DISK_SYNC_DIRECTORY, /* the names in it */
	DISK_SYNC_PARENT,    /* its own name */
};

struct disk_op {
	enum disk_kind kind;
	int file;
	char name[DISK_NAME];
	char to[DISK_NAME];
	off_t at;
	unsigned char *bytes; /* owned */
	size_t size;
	size_t before; /* a sync covers the changes before this number: when it was begun */
};

struct disk_bytes {
	unsigned char *bytes; /* owned */
	size_t size;
};

struct disk_entry {
	char name[DISK_NAME];
	int file;
};

/* Too large for a stack. Files have numbers; two files with the same name in turn are different. */
struct tape {
	struct disk_op ops[DISK_OPS];
	size_t count;
	struct disk_bytes files[DISK_FILES]; /* as they were at the beginning */
	ino_t inodes[DISK_FILES];
	int file_count;
	struct disk_entry entries[DISK_FILES]; /* of the directory, at the beginning */
	int entry_count;
	bool existed; /* the directory, at the beginning */
};

/* Begins to record. The directory need not exist; its present content is durable. */
void disk_record(struct tape *tape, const char *directory);
void disk_stop(void);
void tape_free(struct tape *tape);

/* From now on it is another start of the machine. */
void disk_boot(void);

/* While the gate is closed, a sync of another thread does not end, so writes now come after it. */
void disk_gate(bool closed);

struct cut {
	size_t at;     /* complete operations; the next one may be done in part */
	unsigned seed; /* of the random choices */
	bool no_syncs; /* negative controls: syncs of files, or of names, do nothing */
	bool no_name_syncs;
};

/* Creates the directory as the cut leaves it, if it leaves one. */
void disk_cut(const struct tape *tape, struct cut cut, const char *directory);

#endif
