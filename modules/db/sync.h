/*
 * Making commits durable: fdatasync in a thread, and the record of what is durable.
 *
 * The file "durable" holds two records of 8192 bytes; the one with the higher transaction counts.
 *
 *      0    magic "pn-durable"     16   digest(16) of everything that follows
 *      32   boot id of the machine (16)                48   transaction u64
 *      64   zero to 4096           4096 meta page of that transaction, as LMDB has it on page 0 or
 * 1
 *
 * A record is written after the data pages of its transaction are on the disk. Every process that
 * has the store open keeps a reader at a transaction that is not newer than the record's, so LMDB
 * overwrites no page that the record's state needs. Where the machine went down since (the boot id
 * differs) the record's meta page is put in the place of the newer ones.
 */
#ifndef PN_STORE_SYNC_H
#define PN_STORE_SYNC_H

#include <lmdb.h>

#include <pn/db.h>

struct pn_sync;

/* For an environment that was opened in `directory`; borrowed descriptors. Starts no thread. */
int pn_sync_new(struct pn_sync **sync, MDB_env *env, int directory, int locks, unsigned interval);

/* Waits for the thread. Does not make anything durable. */
void pn_sync_free(struct pn_sync *sync);

/* Drops what a forked child inherited. */
void pn_sync_forget(struct pn_sync *sync);

/* 0, or PN_EIO once the disk has failed to take what was committed: it can no longer be trusted. */
int pn_sync_state(const struct pn_sync *sync);

/* After a commit, with the writer's lock held. Waits for the disk where the interval is 0. */
void pn_sync_committed(struct pn_sync *sync);

/* Makes the last commit durable. The caller holds the writer's lock. */
int pn_sync_now(struct pn_sync *sync);

/* Gives up the readers' transactions. Only with the writer's lock, and before pn_sync_now(). */
void pn_sync_release(struct pn_sync *sync);

/* As pn_db_sync(), pn_db_durable() and the event descriptor of pn/db.h. */
int pn_sync_run(struct pn_sync *sync, uint64_t committed, uint64_t now, int *wait);
uint64_t pn_sync_durable(struct pn_sync *sync);
int pn_sync_event_fd(const struct pn_sync *sync);

/*
 * Before the environment is opened, with the store to oneself: goes back to the durable state where
 * that is necessary. Sets *undone to the number of transactions that are gone.
 */
int pn_sync_recover(int directory, uint64_t *undone);

/* Removes the record, where all of the data file is durable. */
int pn_sync_drop_record(int directory);

#endif
