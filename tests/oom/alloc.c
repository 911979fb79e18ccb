#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <pn/alloc.h>

#include "alloc.h"

enum {
	JUNK = 0xa5,
	CHUNK_HEADER = sizeof(size_t) /* glibc: the size that stands before a block */
};

struct test_alloc test_alloc;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* for the counts */

void test_alloc_fail(size_t nth, bool fail_after) {
	test_alloc.calls = 0;
	test_alloc.fail_at = nth;
	test_alloc.fail_after = fail_after;
	test_alloc.failed = false;
}

static bool fails(void) {
	pthread_mutex_lock(&mutex);
	const size_t call = ++test_alloc.calls;
	const size_t at = test_alloc.fail_at;
	const bool fail = at > 0 && (call == at || (test_alloc.fail_after && call > at));
	test_alloc.failed = test_alloc.failed || fail;
	pthread_mutex_unlock(&mutex);
	return fail;
}

static void *allocate(size_t size) {
	if (size == 0) /* pn/alloc.h rules it out */
		abort();
	void *block = malloc(size);
	if (block == NULL)
		abort();
	memset(block, JUNK, size);
	pthread_mutex_lock(&mutex);
	test_alloc.blocks++;
	test_alloc.bytes += malloc_usable_size(block) + CHUNK_HEADER;
	pthread_mutex_unlock(&mutex);
	return block;
}

void *pn_malloc(size_t size) {
	return fails() ? NULL : allocate(size);
}

void *pn_realloc(void *old, size_t size) {
	if (fails())
		return NULL;
	void *block = allocate(size);
	if (old != NULL) {
		const size_t held = malloc_usable_size(old);
		memcpy(block, old, held < size ? held : size);
		pn_free(old);
	}
	return block;
}

void pn_free(void *block) {
	if (block == NULL)
		return;
	const size_t held = malloc_usable_size(block);
	pthread_mutex_lock(&mutex);
	test_alloc.blocks--;
	test_alloc.bytes -= held + CHUNK_HEADER;
	pthread_mutex_unlock(&mutex);
	memset(block, JUNK, held);
	free(block);
}
