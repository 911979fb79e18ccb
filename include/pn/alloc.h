/*
 * The allocator of every core.
 *
 * A test that makes allocations fail links its own definitions of these functions in place of
 * modules/base/alloc.c. So the cores need no hook: no mutable static, no cost.
 */
#ifndef PN_ALLOC_H
#define PN_ALLOC_H

#include <stddef.h>

/* As malloc, realloc and free of C11, but size must not be 0. */
void *pn_malloc(size_t size);
void *pn_realloc(void *ptr, size_t size);
void pn_free(void *ptr);

#endif
