/*
 * A disk whose power can be cut. While a tape runs, every change to the files of one directory is
 * noted, and every sync: the functions of libc that make them are replaced, for LMDB too. From a
 * tape a directory is made as a power failure may leave it: what was synced is there; of the rest
 * any part, whole sectors, in any order.
 *
 * Changes through a map are not seen. Of the store's files that is lock.mdb, which LMDB makes anew
 * when nobody has it open.
 */
#ifndef TEST_DISK_H
#define TEST_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { DISK_NAME = 32, DISK_FILES = 32, DISK_OPS = 20000 };

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
	size_t before; /* a sync is of what was noted before this number: when it was begun */
};

struct disk_bytes {
	unsigned char *bytes; /* owned */
	size_t size;
};

struct disk_entry {
	char name[DISK_NAME];
	int file;
};

/* Too large for a stack. Files have numbers; two that had one name are two files. */
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

/* Begins to note. The directory need not exist; what is there is durable. */
void disk_record(struct tape *tape, const char *directory);
void disk_stop(void);
void tape_free(struct tape *tape);

/* From now on it is another start of the machine. */
void disk_boot(void);

/* While the gate is closed, a sync of another thread does not end: what is written now is later. */
void disk_gate(bool closed);

struct cut {
	size_t at;     /* operations that were done; the one after them may be done in part */
	unsigned seed; /* of what is left */
	bool no_syncs; /* negative controls: syncs of files, or of names, do nothing */
	bool no_name_syncs;
};

/* Makes the directory as the cut leaves it, if that leaves one. */
void disk_cut(const struct tape *tape, struct cut cut, const char *directory);

#endif
