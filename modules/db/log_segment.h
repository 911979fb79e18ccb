/* A segment of the log: its name, header and records, as pn/log.h draws them. */
#ifndef PN_DB_LOG_SEGMENT_H
#define PN_DB_LOG_SEGMENT_H

#include <pn/buf.h>
#include <pn/log.h>

enum {
	PN_LOG_HEADER = 64,
	PN_LOG_RECORD = 32, /* bytes of a record before its payload */
	PN_LOG_ALIGN = 8,
	PN_LOG_NAME = 32 /* bytes of a name, with the NUL */
};

#define PN_LOG_NEXT "log.next"

/* Bytes that a record takes. */
static inline size_t pn_log_record_size(size_t payload) {
	return PN_LOG_RECORD + (payload + PN_LOG_ALIGN - 1) / PN_LOG_ALIGN * PN_LOG_ALIGN;
}

void pn_log_name(char name[PN_LOG_NAME], uint64_t first);

/* The numbers of the segments in a directory, in order. The caller frees `firsts`. */
struct pn_log_list {
	uint64_t *firsts;
	size_t count;
};

int pn_log_list(int directory, struct pn_log_list *list);

/* The seed of a header. */
uint64_t pn_log_seed(const unsigned char header[PN_LOG_HEADER]);

/* The header of a new segment. Sets *seed. `out` is empty. */
int pn_log_write_header(struct pn_buf *out, const struct pn_log_id *id, uint64_t first,
			uint64_t *seed);

/* Writes what stands before the payload of a record. */
void pn_log_write_head(struct pn_buf *out, uint64_t seed, uint64_t number, uint64_t synced,
		       const void *payload, uint32_t len);

/* A segment in memory. */
struct pn_log_segment {
	unsigned char *bytes; /* owned */
	size_t size;
	struct pn_log_id id;
	uint64_t first;
	uint64_t seed;
};

/*
 * Reads a segment. Returns 1; or 0 if its header is not whole, or does not belong to the name: then
 * it holds no records. Errors also: PN_EVERSION. The caller frees the bytes in any case.
 */
int pn_log_load(int directory, uint64_t first, struct pn_log_segment *segment);

struct pn_log_record {
	uint64_t number;
	uint64_t synced;
	const unsigned char *payload; /* borrowed from the segment */
	size_t len;
};

/* The number that a record at an offset would have; 0 at the end. */
uint64_t pn_log_number_at(const struct pn_log_segment *segment, size_t at);

/* Whether a whole record lies at an offset. */
bool pn_log_record_at(const struct pn_log_segment *segment, size_t at,
		      struct pn_log_record *record);

#endif
