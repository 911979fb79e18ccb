#include <stdlib.h>

#include <pn/alloc.h>

void *pn_malloc(size_t size) {
	return malloc(size);
}

void *pn_realloc(void *ptr, size_t size) {
	return realloc(ptr, size);
}

void pn_free(void *ptr) {
	free(ptr);
}
