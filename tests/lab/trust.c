/*
 * For programs that trust the system's authorities alone: loaded before libc (LD_PRELOAD), it opens
 * the file that the environment names in TRUST in the place of the system's bundle.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char BUNDLE[] = "/etc/ssl/certs/ca-certificates.crt";

static const char *replaced(const char *path) {
	const char *trust = getenv("TRUST");
	return trust != NULL && strcmp(path, BUNDLE) == 0 ? trust : path;
}

typedef FILE *opener(const char *path, const char *mode);

FILE *fopen(const char *path, const char *mode) {
	opener *const real = (opener *)dlsym(RTLD_NEXT, "fopen");
	return real(replaced(path), mode);
}

FILE *fopen64(const char *path, const char *mode) {
	return fopen(path, mode);
}
