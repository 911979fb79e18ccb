/* Reading the log: what a data file does not have yet is done again. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "db.h"
#include "log_segment.h"

/* Where the reading stands. */
struct reading {
	int directory;
	const struct pn_log_id *id;
	struct pn_log_list list;
	pn_log_visit *visit;
	void *context;
	uint64_t after; /* records up to this number are passed over */
	uint64_t next;  /* number of the record that comes next */
	struct pn_log_segment segment;
	size_t at; /* offset in the segment, of the first byte that was not read */
};

static bool is_ours(const struct reading *reading) {
	const struct pn_log_id *const id = &reading->segment.id;
	return id->epoch == reading->id->epoch &&
	       memcmp(id->store, reading->id->store, PN_LOG_STORE) == 0;
}

/* Loads a segment in place of the one before. Returns 1, 0 if it holds nothing, or an error. */
static int load(struct reading *reading, uint64_t first) {
	pn_free(reading->segment.bytes);
	reading->at = PN_LOG_HEADER;
	const int found = pn_log_load(reading->directory, first, &reading->segment);
	return found > 0 && !is_ours(reading) ? PN_EFOREIGN : found;
}

/* Reads the records of the segment, which are numbered without a gap, up to number `end`: what lies
 * behind the first one of the next segment was dropped. */
static int read_segment(struct reading *reading, uint64_t end) {
	struct pn_log_record record;
	while (reading->next < end && pn_log_record_at(&reading->segment, reading->at, &record) &&
	       record.number == reading->next) {
		if (record.number > reading->after) {
			const int err = reading->visit(reading->context, record.number,
						       record.payload, record.len);
			if (err != PN_OK)
				return err;
		}
		reading->next++;
		reading->at += pn_log_record_size(record.len);
	}
	return PN_OK;
}

/*
 * Whether the rest of the segment holds a record that was written when a missing one was durable.
 * The number is looked at first: a check is computed for few offsets.
 */
static bool proves_damage(const struct reading *reading) {
	const struct pn_log_segment *const segment = &reading->segment;
	const uint64_t missing =
		reading->next > reading->after ? reading->next : reading->after + 1;
	struct pn_log_record record;
	for (size_t at = reading->at; at < segment->size; at += PN_LOG_ALIGN) {
		const uint64_t number = pn_log_number_at(segment, at);
		if (number > missing && number - missing <= UINT32_MAX &&
		    pn_log_record_at(segment, at, &record) && record.synced >= missing)
			return true;
	}
	return false;
}

/* What lies behind the end, in this segment and in those from index `i` on. */
static int look_behind(struct reading *reading, size_t i) {
	for (;;) {
		if (proves_damage(reading))
			return PN_ECORRUPT;
		int found = 0;
		while (found == 0 && i < reading->list.count)
			found = load(reading, reading->list.firsts[i++]);
		if (found <= 0)
			return found;
	}
}

/* The index of the segment that holds record `number`; of the first one, if all begin behind it. */
static size_t find_segment(const struct pn_log_list *list, uint64_t number) {
	size_t i = 0;
	while (i + 1 < list->count && list->firsts[i + 1] <= number)
		i++;
	return i;
}

static int read_from(struct reading *reading, size_t i) {
	const uint64_t *const firsts = reading->list.firsts;
	const size_t count = reading->list.count;
	int found = load(reading, firsts[i]);
	if (found > 0 && reading->segment.first > reading->next)
		return PN_EFOREIGN; /* the records in between are missing */
	if (found > 0)
		reading->next = reading->segment.first;
	while (found > 0) {
		i++;
		const uint64_t end = i < count ? firsts[i] : UINT64_MAX;
		const int err = read_segment(reading, end);
		if (err != PN_OK || reading->next != end)
			return err != PN_OK ? err : look_behind(reading, i);
		found = load(reading, firsts[i]);
	}
	return found < 0 ? found : look_behind(reading, i + 1);
}

int pn_log_read(int directory, const struct pn_log_id *id, uint64_t after, pn_log_visit *visit,
		void *context, uint64_t *last) {
	struct reading reading = {
		.directory = directory,
		.id = id,
		.visit = visit,
		.context = context,
		.after = after,
		.next = after + 1,
	};
	int err = pn_log_list(directory, &reading.list);
	if (err == PN_OK && reading.list.count > 0)
		err = read_from(&reading, find_segment(&reading.list, after + 1));
	pn_free(reading.segment.bytes);
	pn_free(reading.list.firsts);
	*last = reading.next > after ? reading.next - 1 : after;
	return err;
}

/* Calls `change` with the name of each segment, and makes that durable. */
static int for_each(int directory, int (*change)(int directory, const char *name)) {
	struct pn_log_list list;
	char name[PN_LOG_NAME];
	int err = pn_log_list(directory, &list);
	for (size_t i = 0; err == PN_OK && i < list.count; i++) {
		pn_log_name(name, list.firsts[i]);
		if (change(directory, name) != 0)
			err = pn_db_error(errno);
	}
	pn_free(list.firsts);
	if (err == PN_OK && fsync(directory) != 0)
		err = pn_db_error(errno);
	return err;
}

static int reject(int directory, const char *name) {
	char rejected[PN_LOG_NAME + sizeof("rejected")];
	snprintf(rejected, sizeof(rejected), "rejected%s", strchr(name, '.'));
	return renameat(directory, name, directory, rejected);
}

int pn_log_reject(int directory) {
	return for_each(directory, reject);
}

static int remove_file(int directory, const char *name) {
	return unlinkat(directory, name, 0) == 0 || errno == ENOENT ? 0 : -1;
}

int pn_log_remove(int directory) {
	if (remove_file(directory, PN_LOG_NEXT) != 0)
		return pn_db_error(errno);
	return for_each(directory, remove_file);
}
