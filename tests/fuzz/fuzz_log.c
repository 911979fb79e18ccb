/*
 * The input is damage to the segments of a log. Whatever it is, reading the log is safe, and gives
 * the first records as they were written, or some of them.
 *
 *      { u8 segment  u16 where  u8 length  bytes }*     written over those of the segment
 */
#include <fcntl.h>
#include <unistd.h>

#include <pn/err.h>
#include <pn/log.h>

#include "../../modules/db/log_segment.h"
#include "fuzz.h"

enum { RECORDS = 12, SEGMENTS = 3, PER_SEGMENT = 4, SIZE = 4096 };

static const struct pn_log_id ID = {"0123456789abcde", 7};

/* The segments as they were written, and the directory that they are put into. */
static struct {
	unsigned char bytes[SEGMENTS][SIZE];
	char path[64];
	int directory;
} base;

/* The payload of record `number`: so many bytes of its letter. */
static size_t payload(uint64_t number, unsigned char out[SIZE]) {
	const size_t len = (size_t)(number * 37 % 200);
	memset(out, 'a' + (int)(number % 26), len);
	return len;
}

static void make_segment(int i) {
	unsigned char bytes[SIZE];
	const uint64_t first = (uint64_t)i * PER_SEGMENT + 1;
	struct pn_buf out = {0};
	uint64_t seed;
	FUZZ_ASSERT(pn_log_write_header(&out, &ID, first, &seed) == PN_OK);
	for (uint64_t number = first; number < first + PER_SEGMENT; number++) {
		const size_t len = payload(number, bytes);
		pn_log_write_head(&out, seed, number, number - 1, bytes, (uint32_t)len);
		pn_buf_append(&out, bytes, len);
		while (out.len % PN_LOG_ALIGN != 0)
			pn_buf_append(&out, "", 1);
	}
	FUZZ_ASSERT(out.err == PN_OK && out.len <= SIZE);
	memcpy(base.bytes[i], out.data, out.len);
	pn_buf_free(&out);
}

static void remove_all(void) {
	FUZZ_ASSERT(pn_log_remove(base.directory) == PN_OK);
	rmdir(base.path);
}

static void make_base(void) {
	const char *const parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(base.path, sizeof(base.path), "%s/pn-fuzz-XXXXXX", parent);
	FUZZ_ASSERT(mkdtemp(base.path) != NULL);
	base.directory = open(base.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_ASSERT(base.directory >= 0);
	for (int i = 0; i < SEGMENTS; i++)
		make_segment(i);
	atexit(remove_all);
}

static void damage(unsigned char bytes[SEGMENTS][SIZE], struct fuzz_input *in) {
	while (in->left > 0) {
		unsigned char *const segment = bytes[fuzz_u8(in) % SEGMENTS];
		const size_t high = fuzz_u8(in), low = fuzz_u8(in);
		const size_t at = (high << 8 | low) % SIZE;
		for (size_t len = fuzz_u8(in), i = 0; i < len && at + i < SIZE; i++)
			segment[at + i] = fuzz_u8(in);
	}
}

static void write_segments(unsigned char bytes[SEGMENTS][SIZE]) {
	char name[PN_LOG_NAME];
	for (int i = 0; i < SEGMENTS; i++) {
		pn_log_name(name, (uint64_t)i * PER_SEGMENT + 1);
		const int fd = openat(base.directory, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		FUZZ_ASSERT(fd >= 0 && pwrite(fd, bytes[i], SIZE, 0) == SIZE);
		close(fd);
	}
}

/* `context` is the number of the record before. */
static int compare(void *context, uint64_t number, const void *bytes, size_t len) {
	unsigned char want[SIZE];
	uint64_t *const last = context;
	FUZZ_ASSERT(number == *last + 1 && number <= RECORDS);
	FUZZ_ASSERT(len == payload(number, want) && memcmp(bytes, want, len) == 0);
	*last = number;
	return PN_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static unsigned char bytes[SEGMENTS][SIZE];
	struct fuzz_input in = {data, size};
	if (base.directory == 0)
		make_base();
	memcpy(bytes, base.bytes, sizeof(bytes));
	damage(bytes, &in);
	write_segments(bytes);
	for (uint64_t after = 0; after <= RECORDS; after += 5) {
		uint64_t seen = after, last = 0;
		const int err = pn_log_read(base.directory, &ID, after, compare, &seen, &last);
		FUZZ_ASSERT(err == PN_OK || err == PN_ECORRUPT || err == PN_EFOREIGN ||
			    err == PN_EVERSION);
		FUZZ_ASSERT(last == seen);
		if (size == 0)
			FUZZ_ASSERT(err == PN_OK && last == RECORDS);
	}
	return 0;
}
