/* Locks of an open file description: they end with the process, and work between threads. */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <pn/err.h>

#include "db.h"

static int set(int fd, enum pn_lock lock, short type) {
	struct flock range = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = lock,
		.l_len = 1,
	};
	return fcntl(fd, F_OFD_SETLK, &range);
}

/* Polls: a blocking wait would stop the server for as long as another process is stuck. */
int pn_lock_take(int fd, enum pn_lock lock, bool shared, unsigned wait) {
	const struct timespec moment = {.tv_nsec = 1000 * 1000};
	for (;;) {
		if (set(fd, lock, shared ? F_RDLCK : F_WRLCK) == 0)
			return PN_OK;
		if (errno != EAGAIN && errno != EACCES && errno != EINTR)
			return pn_db_error(errno);
		if (wait-- == 0)
			return PN_EBUSY;
		nanosleep(&moment, NULL);
	}
}

void pn_lock_drop(int fd, enum pn_lock lock) {
	(void)set(fd, lock, F_UNLCK);
}

/* The process that holds the lock sees that another one waits, and commits: see turn.c. */
int pn_lock_take_writer(int fd, unsigned wait) {
	int err = pn_lock_take(fd, PN_LOCK_WRITER, false, 0);
	if (err != PN_EBUSY)
		return err;
	err = pn_lock_take(fd, PN_LOCK_WAITING, true, 0);
	if (err == PN_OK)
		err = pn_lock_take(fd, PN_LOCK_WRITER, false, wait);
	pn_lock_drop(fd, PN_LOCK_WAITING);
	return err;
}

bool pn_lock_is_taken(int fd, enum pn_lock lock) {
	struct flock range = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = lock,
		.l_len = 1,
	};
	return fcntl(fd, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
}
