/*
 * A slow disk: loaded before libc (LD_PRELOAD), fdatasync() takes SLOW_SYNC ms longer for files
 * whose path has the text SLOW_FILE in it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int is_slow(int fd) {
	const char *const part = getenv("SLOW_FILE");
	char link[64], path[4096] = "";
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return part != NULL && readlink(link, path, sizeof(path) - 1) > 0 &&
	       strstr(path, part) != NULL;
}

int fdatasync(int fd) {
	int (*const sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	const char *const text = getenv("SLOW_SYNC");
	const long wait = text != NULL ? atol(text) : 0;
	const struct timespec pause = {wait / 1000, wait % 1000 * 1000000};
	if (is_slow(fd))
		nanosleep(&pause, NULL);
	return sync(fd);
}
