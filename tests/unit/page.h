/* Memory that ends where a page begins that must not be touched: reading past it is a SIGSEGV. */
#ifndef TEST_PAGE_H
#define TEST_PAGE_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct page {
	char *base;
	size_t usable; /* bytes before the forbidden page */
	size_t size;   /* of the whole mapping */
};

/* Room for up to `len` bytes. */
static inline struct page page_new(size_t len) {
	const size_t unit = (size_t)sysconf(_SC_PAGESIZE);
	const size_t usable = (len / unit + 1) * unit;
	struct page page = {.usable = usable, .size = usable + unit};
	page.base =
		mmap(NULL, page.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page.base == MAP_FAILED || mprotect(page.base + usable, unit, PROT_NONE) != 0)
		abort();
	return page;
}

/* Puts `len` bytes right before the forbidden page. Returns where they begin. */
static inline const char *page_put(struct page *page, const void *bytes, size_t len) {
	return memcpy(page->base + page->usable - len, bytes, len);
}

static inline void page_free(struct page *page) {
	munmap(page->base, page->size);
}

#endif
