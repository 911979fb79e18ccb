/*
 * The allocator of the cores as a test sees it: linked in place of modules/base/alloc.c, it counts
 * what is held, fails on demand, fills new and freed memory with junk, and moves every block that
 * is resized, so that a stale pointer or a field without a value shows.
 */
#ifndef TEST_ALLOC_H
#define TEST_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

struct test_alloc {
	size_t blocks;   /* held now */
	size_t bytes;    /* of memory that they take, the allocator's own share included */
	size_t calls;    /* of pn_malloc and pn_realloc since the last test_alloc_fail() */
	size_t fail_at;  /* the call that fails, 1 being the first; 0: none */
	bool fail_after; /* so does every later one */
	bool failed;     /* a call has failed since the last test_alloc_fail() */
};

extern struct test_alloc test_alloc;

/* From now on the nth call fails, the next one being 1; with 0 none does. */
void test_alloc_fail(size_t nth, bool fail_after);

#endif
