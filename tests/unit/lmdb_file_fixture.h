/* A file with branches, leaves, runs and free lists, and pointers to its parts to damage them. The
 * numbers are those of modules/db/lmdb_layout.h, written again: a wrong one there fails here. */
#ifndef TEST_LMDB_FILE_FIXTURE_H
#define TEST_LMDB_FILE_FIXTURE_H

#include "../oom/alloc.h"
#include "lmdb_image.h"
#include "test.h"

struct fixture {
	struct image image;
	size_t page_size;
	uint64_t newest; /* the meta in force */
	uint8_t *meta;
	uint8_t *free_record, *record; /* of the free tree and of the main tree */
	uint8_t *free_list;            /* the free tree's root, a leaf */
	uint8_t *root;                 /* a branch */
	uint8_t *first, *second;       /* its first leaves */
	uint8_t *run;                  /* the first run of `first` */
};

static inline uint16_t get16(const uint8_t *at) {
	return (uint16_t)(at[0] | at[1] << 8);
}

static inline uint64_t get64(const uint8_t *at) {
	uint64_t value;
	memcpy(&value, at, sizeof(value));
	return value;
}

static inline void put16(uint8_t *at, uint64_t value) {
	memcpy(at, &(uint16_t){(uint16_t)value}, 2);
}

static inline void put32(uint8_t *at, uint64_t value) {
	memcpy(at, &(uint32_t){(uint32_t)value}, 4);
}

static inline void put64(uint8_t *at, uint64_t value) {
	memcpy(at, &value, 8);
}

static inline uint8_t *page(const struct fixture *f, uint64_t number) {
	REQUIRE((number + 1) * f->page_size <= f->image.size);
	return f->image.bytes + number * f->page_size;
}

static inline size_t nodes(const uint8_t *page) {
	return (get16(page + 12) - 16u) / 2;
}

static inline uint8_t *pointer(uint8_t *page, size_t index) {
	return page + 16 + 2 * index;
}

static inline uint8_t *node(uint8_t *page, size_t index) {
	return page + get16(pointer(page, index));
}

static inline uint8_t *key(uint8_t *page, size_t index) {
	return node(page, index) + 8;
}

static inline uint8_t *value(uint8_t *page, size_t index) {
	return key(page, index) + get16(node(page, index) + 6);
}

static inline uint64_t child(uint8_t *page, size_t index) {
	return get64(node(page, index)) & 0xffffffffffff;
}

/* The first node of a leaf whose value is in a run. */
static inline size_t long_node(uint8_t *leaf) {
	size_t i = 0;
	while (i < nodes(leaf) && get16(node(leaf, i) + 4) != 1)
		i++;
	REQUIRE(i < nodes(leaf));
	return i;
}

static inline uint64_t number(const uint8_t *page) {
	return get64(page);
}

static inline void setup(struct fixture *f) {
	static struct image sample;
	if (sample.bytes == NULL)
		sample = lmdb_sample();
	*f = (struct fixture){.image = image_copy(&sample)};
	f->page_size = (size_t)sysconf(_SC_PAGESIZE);
	f->newest = SAMPLE_TXNS % 2;
	f->meta = page(f, f->newest);
	f->free_record = f->meta + 40;
	f->record = f->meta + 88;
	f->free_list = page(f, get64(f->free_record + 40));
	f->root = page(f, get64(f->record + 40));
	f->first = page(f, child(f->root, 0));
	f->second = page(f, child(f->root, 1));
	f->run = page(f, get64(value(f->first, long_node(f->first))));
}

static inline void check(struct fixture *f, int want) {
	struct pn_lmdb_report report;
	CHECK(image_verify(&f->image, &report) == want);
	CHECK(report.problem == NULL && report.bad_page == 0);
	CHECK(test_alloc.blocks == 0);
	image_free(&f->image);
}

/* Checks that the damage is found, and on which page. */
static inline void damaged(struct fixture *f, uint64_t at, const char *problem) {
	struct pn_lmdb_report report;
	const int err = image_verify(&f->image, &report);
	CHECK(err == PN_ECORRUPT);
	if (err == PN_ECORRUPT) {
		CHECK(report.bad_page == at);
		CHECK_STR(report.problem, problem);
	}
	CHECK(report.pages == 0 && report.used == 0 && report.entries == 0);
	CHECK(test_alloc.blocks == 0);
	image_free(&f->image);
}

#endif
