/*
 * The allocator of every core.
 *
 * The hook is the linker's: a test that fails allocations links its own definitions of these three
 * functions in place of modules/base/alloc.c. So there is no mutable static, and no cost.
 */
#ifndef PN_ALLOC_H
#define PN_ALLOC_H

#include <stddef.h>

/* As malloc, realloc and free of C11. size is never 0. */
void *pn_malloc(size_t size);
void *pn_realloc(void *ptr, size_t size);
void pn_free(void *ptr);

#endif
