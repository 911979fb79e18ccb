/*
 * The input is damage to a file of LMDB. Verifying the damaged file is safe; and if the verifier
 * accepts it, LMDB reads, copies, changes and empties it without a failure.
 *
 *      { u16 where  u8 length  bytes }*     written over those of the file
 *
 *      where    counts the bytes of LMDB's structure: metas, headers, pointers, nodes, free lists
 */
#include "../unit/lmdb_image.h"
#include "fuzz.h"

/* The file, and the offsets of its bytes that are not values. */
static struct {
	struct image image;
	uint32_t *places;
	size_t count;
} base;

static void add_places(size_t from, size_t count) {
	for (size_t i = 0; i < count; i++)
		base.places[base.count++] = (uint32_t)(from + i);
}

static uint16_t get16(size_t offset) {
	uint16_t value;
	memcpy(&value, base.image.bytes + offset, sizeof(value));
	return value;
}

/* Of a branch or leaf: all but free space and the middle of keys. See lmdb_layout.h for the
 * numbers. */
static void add_tree_page(size_t page, size_t page_size) {
	const uint16_t lower = get16(page + 12);
	add_places(page, lower);
	for (size_t at = 16; at < lower; at += 2) {
		const size_t node = page + get16(page + at);
		const size_t key_end = node + 8 + get16(node + 6);
		add_places(node, 12);
		if (key_end + 16 <= page + page_size)
			add_places(key_end - 1, 16);
	}
}

static void find_places(void) {
	const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
	base.places = malloc(base.image.size * sizeof(*base.places));
	FUZZ_ASSERT(base.places != NULL);
	for (size_t page = 0; page < base.image.size; page += page_size) {
		const uint16_t flags = get16(page + 10);
		if (page < 2 * page_size)
			add_places(page, 152);
		else if (flags == 1 || flags == 2)
			add_tree_page(page, page_size);
		else if (flags == 4)
			add_places(page, 16);
	}
}

static void damage(struct image *image, struct fuzz_input *in) {
	while (in->left > 0) {
		const size_t high = fuzz_u8(in);
		const size_t where = (high << 8 | fuzz_u8(in)) % base.count;
		const size_t length = fuzz_u8(in);
		for (size_t i = 0; i < length && in->left > 0; i++)
			image->bytes[base.places[(where + i) % base.count]] = fuzz_u8(in);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	if (base.count == 0) {
		base.image = lmdb_sample();
		find_places();
	}
	struct fuzz_input in = {data, size};
	struct image image = image_copy(&base.image);
	damage(&image, &in);
	struct pn_lmdb_report report;
	const int fd = file_of(&image);
	const int err = pn_lmdb_verify(fd, &report);
	FUZZ_ASSERT(err == PN_OK || err == PN_ECORRUPT || err == PN_EVERSION || err == PN_EFOREIGN);
	FUZZ_ASSERT((err == PN_ECORRUPT) == (report.problem != NULL));
	const char *failed = err == PN_OK ? lmdb_use(fd, &report) : NULL;
	if (failed != NULL)
		fprintf(stderr, "LMDB failed: %s\n", failed);
	FUZZ_ASSERT(failed == NULL);
	close(fd);
	image_free(&image);
	return 0;
}
