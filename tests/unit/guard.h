/* Memory that ends where a page begins that must not be touched: reading past it is a SIGSEGV. */
#ifndef TEST_GUARD_H
#define TEST_GUARD_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct guard {
	char *base;
	size_t usable; /* bytes before the forbidden page */
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

/* Puts `len` bytes right before the forbidden page. Returns where they begin. */
static inline const char *guard_put(struct guard *guard, const void *bytes, size_t len) {
	return memcpy(guard->base + guard->usable - len, bytes, len);
}

static inline void guard_free(struct guard *guard) {
	munmap(guard->base, guard->size);
}

#endif
