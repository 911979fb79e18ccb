/*
 * Making commits durable: fdatasync in a thread, and a record of the durable state.
 *
 * The file "durable" has two records of 8192 bytes; the one with the higher transaction counts.
 *
 *      0    magic "pn-durable"               16   digest(16) of the bytes that follow
 *      32   boot id of the machine (16)      48   transaction u64
 *      56   zero to 4096                     4096 meta page of that transaction
 *
 * A record is written after the pages of its transaction are on the disk. Every process that has
 * the database open keeps a read transaction at that state or an older one, so LMDB does not
 * overwrite pages of the record's state. If the machine has restarted since (the boot id differs),
 * recovery replaces newer meta pages by that of the record.
 */
#ifndef PN_DB_SYNC_H
#define PN_DB_SYNC_H

#include <lmdb.h>

#include <pn/db.h>

struct pn_sync;

/* For an environment that is open in `directory`; borrows both descriptors. The thread starts with
 * the first pn_sync_run() that has work. interval: ms, see pn/db.h. */
int pn_sync_new(struct pn_sync **sync, MDB_env *env, int directory, int locks, unsigned interval);

/* Waits for the thread. Does not sync. NULL is allowed. */
void pn_sync_free(struct pn_sync *sync);

/* Frees the handle in a forked child. NULL is allowed. */
void pn_sync_forget(struct pn_sync *sync);

/* 0, or PN_EIO after a failed fdatasync: the kernel may have dropped the pages, so later syncs
 * cannot be trusted. */
int pn_sync_state(const struct pn_sync *sync);

/* To be called after a commit, with the writer's lock held. Syncs if the interval is 0. */
void pn_sync_committed(struct pn_sync *sync);

/* Syncs the last commit. The caller holds the writer's lock. */
int pn_sync_now(struct pn_sync *sync);

/* Ends the read transactions. The caller holds the writer's lock, and calls pn_sync_now() next. */
void pn_sync_release(struct pn_sync *sync);

/* As pn_db_sync(), pn_db_durable() and the event descriptor of pn/db.h. */
int pn_sync_run(struct pn_sync *sync, uint64_t committed, uint64_t now, int *wait);
uint64_t pn_sync_durable(struct pn_sync *sync);
int pn_sync_event_fd(const struct pn_sync *sync);

/*
 * Rolls back to the durable state if the machine has restarted. To be called before the environment
 * is opened, while no other process has the database open. Sets *undone to the number of
 * transactions that were rolled back.
 */
int pn_sync_recover(int directory, uint64_t *undone);

/* Removes the record. The data file must be synced. */
int pn_sync_drop_record(int directory);

#endif
