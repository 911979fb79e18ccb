/*
 * The file "durable": which state of the data file is on the disk.
 *
 * It holds two records of 8192 bytes; the one with the higher transaction and number counts.
 *
 *      0    magic "pn-durable"     16   digest(16) of everything that follows
 *      32   boot id of the machine (16)                48   transaction u64
 *      56   structure (1): enum pn_structure           57   zero (3)
 *      60   number u32 among the records of that transaction, from 0       64   zero to 4096
 *      4096 meta page of that transaction, as LMDB has it on page 0 or 1
 *
 * A record is written after the pages of its transaction are on the disk. Every process that has
 * the database open keeps a reader at a transaction that is not newer than the record's, so LMDB
 * overwrites no page that the record's state needs. If the machine has stopped since (the boot id
 * differs), the record's meta page is written over the newer ones.
 *
 * Both meta pages have a stamp, random bytes behind the part that LMDB writes. The first process to
 * open a data file to which no record belongs writes a new one. A record whose meta page has
 * another stamp belongs to another file, or to this one before it was used elsewhere: somebody has
 * replaced it by hand.
 */
#ifndef PN_DB_DURABLE_H
#define PN_DB_DURABLE_H

#include <pn/db.h>

enum {
	PN_META = 4096, /* the part of a meta page that LMDB writes, whatever its size */
	PN_BOOT_ID = 16
};

struct pn_durable {
	char magic[16];
	unsigned char digest[PN_DIGEST];
	unsigned char boot[PN_BOOT_ID];
	uint64_t txnid;
	unsigned char structure;
	unsigned char none[3];
	uint32_t number;
	unsigned char zero[PN_META - 16 - PN_DIGEST - PN_BOOT_ID - 16];
	unsigned char meta[PN_META];
};

/* Opens or creates the file. Returns a descriptor or an error. */
int pn_durable_open(int directory);

/* Writes the record, with the transaction, the structure and the meta page that the caller has set,
 * durably; unless another process has written that of a later transaction. */
int pn_durable_write(int fd, struct pn_durable *record);

/*
 * Before the environment is opened, while no other process has the database open: goes back to the
 * durable state where the machine has stopped. Sets *structure to what is known of the file.
 * Returns 1 if the record belongs to the file, otherwise 0.
 */
int pn_durable_recover(int directory, enum pn_structure *structure);

/* What is known of the structure of the data file, whether or not a process has the database open.
 */
enum pn_structure pn_durable_structure(int directory);

/* Writes a new stamp to a data file of which all is durable, or that nobody has open. It is durable
 * once the file is synced, before the next record is written. `fd` is open for writing. */
int pn_durable_stamp(int fd);

/* Makes both meta pages from that of a state, one of them as that of the transaction before. */
void pn_durable_make_metas(const unsigned char meta[PN_META], unsigned char *metas,
			   size_t page_size);

/* Removes the file, where all of the data file is durable. */
int pn_durable_drop(int directory);

#endif
