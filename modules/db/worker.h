/* A thread that does one job at a time, which waits for the disk. */
#ifndef PN_DB_WORKER_H
#define PN_DB_WORKER_H

#include <pthread.h>
#include <stdbool.h>

/*
 * The thread touches what stands below the mutex, with it held; what `context` points to belongs to
 * the job from pn_worker_ask() until pn_worker_collect() has returned true.
 */
struct pn_worker {
	int (*job)(void *context); /* returns 0 or an error */
	void *context;
	int event; /* eventfd that a job's end is written to, borrowed */
	bool running;
	pthread_t thread;

	pthread_mutex_t mutex;
	pthread_cond_t change;
	enum { PN_WORKER_IDLE, PN_WORKER_ASKED, PN_WORKER_DONE } state;
	bool stop;
	int result; /* of the job, with PN_WORKER_DONE */
};

/* Starts no thread. */
void pn_worker_init(struct pn_worker *worker, int (*job)(void *context), void *context, int event);

/* Starts the job; there is none. Returns 0, or PN_ENOMEM: the thread cannot be started. */
int pn_worker_ask(struct pn_worker *worker);

bool pn_worker_is_busy(struct pn_worker *worker);

/* Takes the result of a job that has ended, and returns true; with `wait` also of one that has not.
 * Returns false where there is none. */
bool pn_worker_collect(struct pn_worker *worker, bool wait, int *result);

/* Waits for the job, and ends the thread. The result is lost. */
void pn_worker_stop(struct pn_worker *worker);

#endif
