/* Syncing the log to disk: in a thread, at an interval, or at once. */
#ifndef PN_DB_SYNC_H
#define PN_DB_SYNC_H

#include <stdint.h>

#include <pn/log.h>

struct pn_sync;

/* interval: ms between two syncs; 0: every turn is synced at its end. Starts no thread. */
int pn_sync_new(struct pn_sync **sync, unsigned interval, int event);

/* Waits for the thread. Syncs nothing. */
void pn_sync_free(struct pn_sync *sync);

/* Drops what a forked child inherited. */
void pn_sync_forget(struct pn_sync *sync);

/* The log to be synced, borrowed. Waits for a sync of the one before; NULL: there is none. */
void pn_sync_set_log(struct pn_sync *sync, struct pn_log *log);

/* Syncs the log before it returns. */
int pn_sync_now(struct pn_sync *sync);

/* A turn was appended. Waits for the disk where the interval is 0: pn_sync_run() tells an error. */
void pn_sync_appended(struct pn_sync *sync);

/*
 * Begins a sync in the background if one is due `now` (ms) and none is under way. Sets *wait to the
 * ms until it should be called again, -1: not before the next turn or event. Returns 0, or the
 * error of an earlier sync.
 */
int pn_sync_run(struct pn_sync *sync, uint64_t now, int *wait);

/* Number of the last turn that is durable by the log. */
uint64_t pn_sync_durable(struct pn_sync *sync);

/* Whether a sync is under way in the background. */
bool pn_sync_is_running(struct pn_sync *sync);

/* 0, or PN_EIO once a sync has failed: the log can no longer be trusted. */
int pn_sync_state(const struct pn_sync *sync);

#endif
