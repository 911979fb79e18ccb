/* Syncing the log to disk. */
#include <pn/alloc.h>
#include <pn/err.h>

#include "sync.h"
#include "worker.h"

enum { RETRY = 1000 /* ms after a failure */ };

/* `job` belongs to the worker while it is busy. */
struct pn_sync {
	struct pn_log *log; /* borrowed; NULL: none */
	unsigned interval;
	uint64_t due; /* when the next sync may begin */
	bool failed;  /* for good */
	int error;    /* of the last sync, until it was told */
	struct pn_log_sync job;
	struct pn_worker worker;
};

static int run_job(void *context) {
	return pn_log_sync_run(context);
}

static void settle(struct pn_sync *sync, int result) {
	pn_log_sync_end(sync->log, &sync->job, result);
	sync->error = result;
	sync->failed = sync->failed || result == PN_EIO;
}

static void collect(struct pn_sync *sync, bool wait) {
	int result;
	if (pn_worker_collect(&sync->worker, wait, &result))
		settle(sync, result);
}

static bool is_done(const struct pn_sync *sync) {
	return sync->log == NULL || pn_log_synced(sync->log) >= pn_log_last(sync->log);
}

void pn_sync_set_log(struct pn_sync *sync, struct pn_log *log) {
	collect(sync, true);
	sync->log = log;
}

int pn_sync_now(struct pn_sync *sync) {
	collect(sync, true);
	while (!sync->failed && !is_done(sync) && pn_log_sync_begin(sync->log, &sync->job))
		settle(sync, pn_log_sync_run(&sync->job));
	return sync->failed ? PN_EIO : PN_OK;
}

void pn_sync_appended(struct pn_sync *sync) {
	if (sync->interval == 0)
		(void)pn_sync_now(sync);
}

static int begin(struct pn_sync *sync) {
	if (!pn_log_sync_begin(sync->log, &sync->job))
		return PN_OK;
	const int err = pn_worker_ask(&sync->worker);
	if (err != PN_OK)
		pn_log_sync_end(sync->log, &sync->job, err);
	return err;
}

int pn_sync_run(struct pn_sync *sync, uint64_t now, int *wait) {
	collect(sync, false);
	int err = sync->error;
	sync->error = PN_OK;
	*wait = -1;
	if (err == PN_OK && sync->failed && !is_done(sync))
		err = PN_EIO;
	if (err == PN_OK && (pn_worker_is_busy(&sync->worker) || is_done(sync)))
		return PN_OK;
	if (err == PN_OK && now < sync->due) {
		*wait = (int)(sync->due - now);
		return PN_OK;
	}
	if (err == PN_OK) {
		sync->due = now + sync->interval;
		err = begin(sync);
	}
	if (err != PN_OK) {
		sync->due = now + RETRY;
		*wait = RETRY;
	}
	return err;
}

uint64_t pn_sync_durable(struct pn_sync *sync) {
	collect(sync, false);
	return sync->log != NULL ? pn_log_synced(sync->log) : 0;
}

bool pn_sync_is_running(struct pn_sync *sync) {
	return pn_worker_is_busy(&sync->worker);
}

int pn_sync_state(const struct pn_sync *sync) {
	return sync->failed ? PN_EIO : PN_OK;
}

int pn_sync_new(struct pn_sync **out, unsigned interval, int event) {
	struct pn_sync *const sync = pn_malloc(sizeof(*sync));
	if (sync == NULL)
		return PN_ENOMEM;
	*sync = (struct pn_sync){.interval = interval};
	pn_worker_init(&sync->worker, run_job, &sync->job, event);
	*out = sync;
	return PN_OK;
}

void pn_sync_free(struct pn_sync *sync) {
	if (sync == NULL)
		return;
	pn_worker_stop(&sync->worker);
	pn_free(sync);
}

void pn_sync_forget(struct pn_sync *sync) {
	pn_free(sync); /* the thread stayed in the parent */
}
