/* Segments of the log: the one file that knows their bytes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <pn/alloc.h>
#include <pn/err.h>
#include <pn/wire.h>

#include "crypt.h"
#include "db.h"
#include "log_segment.h"

enum { VERSION = 1 };

static const char MAGIC[8] = "pn-log";

/* ---- Names ---- */

void pn_log_name(char name[PN_LOG_NAME], uint64_t first) {
	snprintf(name, PN_LOG_NAME, "log.%016" PRIx64, first);
}

/* Whether a name is that of a segment. */
static bool parse_name(const char *name, uint64_t *first) {
	char again[PN_LOG_NAME];
	if (sscanf(name, "log.%16" SCNx64, first) != 1)
		return false;
	pn_log_name(again, *first);
	return strcmp(name, again) == 0;
}

static int insert(struct pn_log_list *list, uint64_t first) {
	uint64_t *const firsts = pn_realloc(list->firsts, (list->count + 1) * sizeof(first));
	if (firsts == NULL)
		return PN_ENOMEM;
	size_t i = list->count++;
	for (; i > 0 && firsts[i - 1] > first; i--)
		firsts[i] = firsts[i - 1];
	firsts[i] = first;
	list->firsts = firsts;
	return PN_OK;
}

static int read_names(DIR *names, struct pn_log_list *list) {
	const struct dirent *entry;
	uint64_t first;
	errno = 0;
	while ((entry = readdir(names)) != NULL) {
		if (parse_name(entry->d_name, &first) && insert(list, first) != PN_OK)
			return PN_ENOMEM;
		errno = 0;
	}
	return errno != 0 ? pn_db_error(errno) : PN_OK;
}

int pn_log_list(int directory, struct pn_log_list *list) {
	*list = (struct pn_log_list){0};
	const int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *const names = fd >= 0 ? fdopendir(fd) : NULL;
	if (names == NULL) {
		const int err = pn_db_error(errno);
		if (fd >= 0)
			close(fd);
		return err;
	}
	const int err = read_names(names, list);
	closedir(names);
	if (err == PN_OK)
		return PN_OK;
	pn_free(list->firsts);
	*list = (struct pn_log_list){0};
	return err;
}

/* ---- Writing ---- */

uint64_t pn_log_seed(const unsigned char header[PN_LOG_HEADER]) {
	enum { SEEDED = PN_LOG_HEADER - 8 };
	return XXH3_64bits(header, SEEDED);
}

int pn_log_write_header(struct pn_buf *out, const struct pn_log_id *id, uint64_t first,
			uint64_t *seed) {
	uint64_t salt;
	const int err = pn_crypt_random(&salt, sizeof(salt));
	if (err != PN_OK)
		return err;
	pn_buf_append(out, MAGIC, sizeof(MAGIC));
	pn_wire_put_u32(out, VERSION);
	pn_wire_put_u32(out, 0);
	pn_buf_append(out, id->store, PN_LOG_STORE);
	pn_wire_put_u64(out, id->epoch);
	pn_wire_put_u64(out, first);
	pn_wire_put_u64(out, salt);
	if (out->err != PN_OK)
		return out->err;
	*seed = pn_log_seed(out->data);
	pn_wire_put_u64(out, *seed);
	return out->err;
}

/* `head` are the bytes 8 to 31 of the record. */
static uint64_t check_of(const unsigned char *head, const void *payload, size_t len,
			 uint64_t seed) {
	unsigned char bytes[PN_LOG_RECORD];
	uint64_t content = XXH3_64bits_withSeed(payload, len, seed);
	memcpy(bytes, head, PN_LOG_RECORD - 8);
	for (size_t i = PN_LOG_RECORD; i-- > PN_LOG_RECORD - 8; content >>= 8)
		bytes[i] = (unsigned char)content;
	return XXH3_64bits_withSeed(bytes, sizeof(bytes), seed);
}

void pn_log_write_head(struct pn_buf *out, uint64_t seed, uint64_t number, uint64_t synced,
		       const void *payload, uint32_t len) {
	const size_t check = out->len;
	pn_wire_put_u64(out, 0);
	pn_wire_put_u64(out, number);
	pn_wire_put_u64(out, synced);
	pn_wire_put_u32(out, len);
	pn_wire_put_u32(out, 0);
	if (out->err != PN_OK)
		return;
	const uint64_t value = check_of(out->data + check + 8, payload, len, seed);
	pn_wire_set_u32(out, check, (uint32_t)(value >> 32));
	pn_wire_set_u32(out, check + 4, (uint32_t)value);
}

/* ---- Reading ---- */

static int read_all(int fd, struct pn_log_segment *segment) {
	struct stat file;
	if (fstat(fd, &file) != 0)
		return pn_db_error(errno);
	const size_t size = (size_t)file.st_size;
	segment->bytes = pn_malloc(size + 1); /* some allocators give NULL for 0 */
	if (segment->bytes == NULL)
		return PN_ENOMEM;
	while (segment->size < size) {
		const ssize_t len = pread(fd, segment->bytes + segment->size, size - segment->size,
					  (off_t)segment->size);
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return pn_db_error(errno);
		if (len == 0)
			break;
		segment->size += (size_t)len;
	}
	return PN_OK;
}

static int read_header(struct pn_log_segment *segment) {
	struct pn_wire wire = pn_wire_open(segment->bytes, segment->size);
	const char *const magic = pn_wire_take(&wire, sizeof(MAGIC));
	const uint32_t version = pn_wire_u32(&wire);
	(void)pn_wire_u32(&wire);
	const char *const store = pn_wire_take(&wire, PN_LOG_STORE);
	const uint64_t epoch = pn_wire_u64(&wire);
	const uint64_t first = pn_wire_u64(&wire);
	(void)pn_wire_u64(&wire);
	const uint64_t seed = pn_wire_u64(&wire);
	if (wire.err != PN_OK || memcmp(magic, MAGIC, sizeof(MAGIC)) != 0 ||
	    seed != pn_log_seed(segment->bytes))
		return 0;
	if (version != VERSION)
		return PN_EVERSION;
	if (first != segment->first)
		return 0; /* a segment that was renamed, and not written before the power failed */
	memcpy(segment->id.store, store, PN_LOG_STORE);
	segment->id.epoch = epoch;
	segment->seed = seed;
	return 1;
}

int pn_log_load(int directory, uint64_t first, struct pn_log_segment *segment) {
	char name[PN_LOG_NAME];
	*segment = (struct pn_log_segment){.first = first};
	pn_log_name(name, first);
	const int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return pn_db_error(errno);
	const int err = read_all(fd, segment);
	close(fd);
	return err == PN_OK ? read_header(segment) : err;
}

uint64_t pn_log_number_at(const struct pn_log_segment *segment, size_t at) {
	enum { NUMBER = 8 };
	if (segment->size < NUMBER || at > segment->size - NUMBER)
		return 0;
	struct pn_wire wire =
		pn_wire_open(segment->bytes + at + NUMBER, segment->size - at - NUMBER);
	return pn_wire_u64(&wire);
}

bool pn_log_record_at(const struct pn_log_segment *segment, size_t at,
		      struct pn_log_record *record) {
	if (at > segment->size)
		return false;
	struct pn_wire wire = pn_wire_open(segment->bytes + at, segment->size - at);
	const uint64_t check = pn_wire_u64(&wire);
	const unsigned char *const head = wire.pos;
	record->number = pn_wire_u64(&wire);
	record->synced = pn_wire_u64(&wire);
	record->len = pn_wire_u32(&wire);
	(void)pn_wire_u32(&wire);
	record->payload = (const unsigned char *)pn_wire_take(&wire, record->len);
	return wire.err == PN_OK &&
	       check == check_of(head, record->payload, record->len, segment->seed);
}
