/* A thread that does one job at a time. */
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

#include <pn/err.h>

#include "worker.h"

static void *run(void *argument) {
	struct pn_worker *const worker = argument;
	const uint64_t one = 1;
	pthread_mutex_lock(&worker->mutex);
	while (!worker->stop) {
		if (worker->state != PN_WORKER_ASKED) {
			pthread_cond_wait(&worker->change, &worker->mutex);
			continue;
		}
		pthread_mutex_unlock(&worker->mutex);
		const int result = worker->job(worker->context);
		pthread_mutex_lock(&worker->mutex);
		worker->state = PN_WORKER_DONE;
		worker->result = result;
		pthread_cond_broadcast(&worker->change);
		(void)!write(worker->event, &one, sizeof(one));
	}
	pthread_mutex_unlock(&worker->mutex);
	return NULL;
}

/* Signals are the main thread's business. */
static int start_thread(struct pn_worker *worker) {
	sigset_t all, before;
	if (worker->running)
		return PN_OK;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	worker->running = pthread_create(&worker->thread, NULL, run, worker) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return worker->running ? PN_OK : PN_ENOMEM;
}

void pn_worker_init(struct pn_worker *worker, int (*job)(void *context), void *context, int event) {
	*worker = (struct pn_worker){.job = job, .context = context, .event = event};
	pthread_mutex_init(&worker->mutex, NULL);
	pthread_cond_init(&worker->change, NULL);
}

int pn_worker_ask(struct pn_worker *worker) {
	const int err = start_thread(worker);
	if (err != PN_OK)
		return err;
	pthread_mutex_lock(&worker->mutex);
	worker->state = PN_WORKER_ASKED;
	pthread_cond_broadcast(&worker->change);
	pthread_mutex_unlock(&worker->mutex);
	return PN_OK;
}

bool pn_worker_is_busy(struct pn_worker *worker) {
	pthread_mutex_lock(&worker->mutex);
	const bool busy = worker->state == PN_WORKER_ASKED;
	pthread_mutex_unlock(&worker->mutex);
	return busy;
}

bool pn_worker_collect(struct pn_worker *worker, bool wait, int *result) {
	pthread_mutex_lock(&worker->mutex);
	while (wait && worker->state == PN_WORKER_ASKED)
		pthread_cond_wait(&worker->change, &worker->mutex);
	const bool done = worker->state == PN_WORKER_DONE;
	if (done) {
		worker->state = PN_WORKER_IDLE;
		*result = worker->result;
	}
	pthread_mutex_unlock(&worker->mutex);
	return done;
}

void pn_worker_stop(struct pn_worker *worker) {
	pthread_mutex_lock(&worker->mutex);
	worker->stop = true;
	pthread_cond_broadcast(&worker->change);
	pthread_mutex_unlock(&worker->mutex);
	if (worker->running)
		pthread_join(worker->thread, NULL);
	pthread_cond_destroy(&worker->change);
	pthread_mutex_destroy(&worker->mutex);
}
