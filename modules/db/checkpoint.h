/*
 * Making the data file durable. LMDB runs without syncs: after a power failure the newest state of
 * the data file may be damaged. So a thread syncs the file now and then, and names the state that
 * is on the disk in the file "durable"; a reader keeps the pages of that state. The log from there
 * on is kept.
 */
#ifndef PN_DB_CHECKPOINT_H
#define PN_DB_CHECKPOINT_H

#include <lmdb.h>

#include <pn/db.h>

struct pn_checkpoint;

/* For an environment that was opened in `directory`; borrowed descriptors. Starts no thread. */
int pn_checkpoint_new(struct pn_checkpoint **checkpoint, MDB_env *env, int directory, int locks,
		      int event);

/* Waits for the thread. Makes nothing durable. */
void pn_checkpoint_free(struct pn_checkpoint *checkpoint);

/* Drops what a forked child inherited. */
void pn_checkpoint_forget(struct pn_checkpoint *checkpoint);

/* Space on the disk behind the end of the data file. */
struct pn_room {
	uint64_t from;
	uint64_t end; /* 0: none */
};

/* Allocates the space. Returns 0 or an error. */
int pn_checkpoint_allocate(int fd, struct pn_room room);

/*
 * Begins to make the last commit durable, in the background, and to allocate the space. `number` is
 * that of the last turn in it. The caller holds the writer's lock. Does nothing while an earlier
 * one is under way.
 */
int pn_checkpoint_begin(struct pn_checkpoint *checkpoint, uint64_t number, struct pn_room room);

/* Where the space ends that was allocated, once; 0: none was. */
uint64_t pn_checkpoint_allocated(struct pn_checkpoint *checkpoint);

/* Makes the last commit durable before it returns. The caller holds the writer's lock. */
int pn_checkpoint_now(struct pn_checkpoint *checkpoint, uint64_t number);

/* The same; but if an attempt under way does that, it is sufficient to wait for it. */
int pn_checkpoint_finish(struct pn_checkpoint *checkpoint, uint64_t number);

/* Whether the durable state is LMDB's last commit. */
bool pn_checkpoint_is_last(struct pn_checkpoint *checkpoint);

/* The number of the last turn in the durable state. */
uint64_t pn_checkpoint_durable(struct pn_checkpoint *checkpoint);

/* The error of an attempt in the background, once; or 0. */
int pn_checkpoint_error(struct pn_checkpoint *checkpoint);

/* 0, or PN_EIO once a sync has failed: the data file can no longer be trusted. */
int pn_checkpoint_state(const struct pn_checkpoint *checkpoint);

/* What the file "durable" says of the structure of the data file from now on. */
void pn_checkpoint_set_structure(struct pn_checkpoint *checkpoint, enum pn_structure structure);

/* Whether an attempt is under way. */
bool pn_checkpoint_is_busy(struct pn_checkpoint *checkpoint);

/* Gives up the readers' transactions. Only with the writer's lock, and before
 * pn_checkpoint_now(). */
void pn_checkpoint_release(struct pn_checkpoint *checkpoint);

#endif
