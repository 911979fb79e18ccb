/* Memory that ends at an inaccessible page: reading beyond its end is a SIGSEGV. */
#ifndef TEST_GUARD_H
#define TEST_GUARD_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct guard {
	char *base;
	size_t usable; /* bytes before the inaccessible page */
	size_t size;   /* of the whole mapping */
};

/* Room for up to `len` bytes. */
static inline struct guard guard_new(size_t len) {
	const size_t unit = (size_t)sysconf(_SC_PAGESIZE);
	const size_t usable = (len / unit + 1) * unit;
	struct guard guard = {.usable = usable, .size = usable + unit};
	guard.base =
		mmap(NULL, guard.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (guard.base == MAP_FAILED || mprotect(guard.base + usable, unit, PROT_NONE) != 0)
		abort();
	return guard;
}

/* Copies `len` bytes to the end of the memory. Returns the copy. */
static inline const char *guard_put(struct guard *guard, const void *bytes, size_t len) {
	return memcpy(guard->base + guard->usable - len, bytes, len);
}

static inline void guard_free(struct guard *guard) {
	munmap(guard->base, guard->size);
}

#endif
