/* The file "durable", and recovery from it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "db.h"
#include "durable.h"
#include "lmdb_file.h"
#include "lmdb_layout.h"

enum { RECORD = sizeof(struct pn_durable) };

static const char FILE_NAME[] = "durable";
static const char MAGIC[16] = "pn-durable 1";

/* In a meta page: half of the smallest page away from what LMDB writes, in a sector of its own. */
enum { STAMP_AT = 2048, STAMP = 16 };

_Static_assert(RECORD == 2 * PN_META, "the record has no padding");

/* Reads the id of this boot of the machine; all zero if it is unknown. */
static void read_boot_id(unsigned char boot[PN_BOOT_ID]) {
	char text[64];
	size_t have = 0;
	memset(boot, 0, PN_BOOT_ID);
	const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	const ssize_t len = read(fd, text, sizeof(text));
	close(fd);
	for (ssize_t i = 0; i < len && have < (size_t)PN_BOOT_ID * 2; i++) {
		const char c = text[i];
		const int digit = c >= '0' && c <= '9'   ? c - '0'
				  : c >= 'a' && c <= 'f' ? c - 'a' + 10
							 : -1;
		if (digit < 0)
			continue;
		boot[have / 2] = (unsigned char)(boot[have / 2] << 4 | digit);
		have++;
	}
}

static bool same_boot(const unsigned char boot[PN_BOOT_ID]) {
	static const unsigned char unknown[PN_BOOT_ID] = {0};
	unsigned char now[PN_BOOT_ID];
	read_boot_id(now);
	return memcmp(now, unknown, PN_BOOT_ID) != 0 && memcmp(now, boot, PN_BOOT_ID) == 0;
}

static int record_digest(const struct pn_durable *record, pn_digest digest) {
	const char *rest = (const char *)record->boot;
	const struct pn_str bytes = {rest, sizeof(*record) - offsetof(struct pn_durable, boot)};
	return pn_db_digest(NULL, &bytes, 1, digest);
}

/* Reads the record in `slot`. Returns 1, or 0 if there is no intact one. */
static int read_slot(int fd, int slot, struct pn_durable *record) {
	pn_digest digest;
	if (pread(fd, record, sizeof(*record), (off_t)slot * RECORD) != (ssize_t)sizeof(*record))
		return 0;
	if (memcmp(record->magic, MAGIC, sizeof(MAGIC)) != 0)
		return 0;
	const int err = record_digest(record, digest);
	if (err != PN_OK)
		return err;
	return memcmp(digest, record->digest, PN_DIGEST) == 0;
}

static bool is_newer(const struct pn_durable *a, const struct pn_durable *b) {
	return a->txnid != b->txnid ? a->txnid > b->txnid : a->number > b->number;
}

/* Reads the newer record and sets *slot to its slot. Returns 1, or 0 if there is no intact one. */
static int read_record(int fd, struct pn_durable *record, int *slot) {
	struct pn_durable other;
	const int first = read_slot(fd, 0, record);
	const int second = read_slot(fd, 1, &other);
	if (first < 0 || second < 0)
		return PN_ENOMEM;
	*slot = second > 0 && (first == 0 || is_newer(&other, record));
	if (*slot == 1)
		*record = other;
	return first > 0 || second > 0;
}

int pn_durable_write(int fd, struct pn_durable *record) {
	struct pn_durable old;
	int slot;
	const int found = read_record(fd, &old, &slot);
	if (found < 0)
		return found;
	read_boot_id(record->boot);
	const bool same = found > 0 && memcmp(old.boot, record->boot, PN_BOOT_ID) == 0;
	if (same && old.txnid > record->txnid)
		return PN_OK;
	if (same && record->structure == PN_STRUCTURE_UNKNOWN)
		record->structure = old.structure; /* another process has verified it */
	record->number = found > 0 && old.txnid == record->txnid ? old.number + 1 : 0;
	memcpy(record->magic, MAGIC, sizeof(MAGIC));
	const int err = record_digest(record, record->digest);
	if (err != PN_OK)
		return err;
	const off_t at = found > 0 ? (off_t)(1 - slot) * RECORD : 0;
	const ssize_t len = pwrite(fd, record, sizeof(*record), at);
	if (len != (ssize_t)sizeof(*record))
		return len < 0 ? pn_db_error(errno) : PN_ENOSPACE;
	return fdatasync(fd) == 0 ? PN_OK : pn_db_error(errno);
}

/* ---- Recovery ---- */

/* LMDB overwrites the meta page of the transaction before next. In a file without transactions both
 * are equal. */
void pn_durable_make_metas(const unsigned char meta[PN_META], unsigned char *metas,
			   size_t page_size) {
	const uint64_t txnid = meta_txnid(meta);
	memset(metas, 0, 2 * page_size);
	for (uint64_t i = 0; i < 2; i++) {
		const uint64_t number = i == (txnid & 1) || txnid == 0 ? txnid : txnid - 1;
		unsigned char *const page = metas + i * page_size;
		memcpy(page, meta, PN_META);
		memcpy(page, &i, sizeof(i));
		memcpy(page + META_TXNID, &number, sizeof(number));
	}
}

/* ---- Whose record it is ---- */

static bool has_stamp(const unsigned char *meta) {
	static const unsigned char none[STAMP] = {0};
	return memcmp(meta + STAMP_AT, none, STAMP) != 0;
}

/* Whether the record is of this file. One of two stamps may be newer: the power failed while it was
 * written, and then all of the file was durable. */
static bool is_of(int fd, const struct pn_durable *record) {
	unsigned char stamp[STAMP];
	bool same = false;
	for (size_t i = 0; i < METAS && !same; i++) {
		const off_t at = (off_t)(i * lmdb_page_size()) + STAMP_AT;
		same = pread(fd, stamp, STAMP, at) == STAMP &&
		       memcmp(stamp, record->meta + STAMP_AT, STAMP) == 0;
	}
	return same;
}

int pn_durable_stamp(int fd) {
	unsigned char stamp[STAMP];
	int err = pn_crypt_random(stamp, STAMP);
	for (size_t i = 0; i < METAS && err == PN_OK; i++) {
		const off_t at = (off_t)(i * lmdb_page_size()) + STAMP_AT;
		const ssize_t len = pwrite(fd, stamp, STAMP, at);
		if (len != STAMP)
			err = len < 0 ? pn_db_error(errno) : PN_ENOSPACE;
	}
	return err;
}

/* ---- Going back ---- */

/*
 * Rolls back to the record's state, unless the record belongs to another file: somebody has
 * replaced this one by hand. Earlier versions wrote no stamp: then that shows in the pages.
 */
static int roll_back(int fd, const struct pn_durable *record) {
	const size_t page_size = lmdb_page_size();
	const bool stamped = has_stamp(record->meta);
	struct pn_lmdb_report report;
	unsigned char *metas = pn_malloc(2 * page_size);
	if (metas == NULL)
		return PN_ENOMEM;
	pn_durable_make_metas(record->meta, metas, page_size);
	const struct pn_lmdb_state state = {.fd = fd, .metas = metas, .without_records = stamped};
	int err = pn_lmdb_verify_state(&state, &report);
	if (err == PN_OK &&
	    (pwrite(fd, metas, 2 * page_size, 0) != (ssize_t)(2 * page_size) || fsync(fd) != 0))
		err = pn_db_error(errno);
	pn_free(metas);
	return err == PN_ECORRUPT && !stamped ? PN_OK : err;
}

/* Whether the newer meta is of a later transaction than the record. */
static bool is_later(int fd, const struct pn_durable *record) {
	unsigned char meta[PN_META];
	uint64_t newest = 0;
	for (size_t i = 0; i < METAS; i++) {
		if (pread(fd, meta, PN_META, (off_t)(i * lmdb_page_size())) != PN_META)
			return false; /* not a database: opening it will fail */
		if (is_meta(meta) && meta_txnid(meta) > newest)
			newest = meta_txnid(meta);
	}
	return newest > record->txnid;
}

/* What was found in this boot counts, and damage whenever it was found. */
static enum pn_structure structure_of(const struct pn_durable *record) {
	if (record->structure == PN_STRUCTURE_DAMAGED)
		return PN_STRUCTURE_DAMAGED;
	return record->structure == PN_STRUCTURE_SOUND && same_boot(record->boot)
		       ? PN_STRUCTURE_SOUND
		       : PN_STRUCTURE_UNKNOWN;
}

static int recover(int fd, int record_fd, enum pn_structure *structure) {
	struct pn_durable record;
	int slot;
	const int found = read_record(record_fd, &record, &slot);
	if (found <= 0)
		return found;
	const bool ours = is_of(fd, &record);
	const bool stamped = ours && has_stamp(record.meta);
	if (stamped)
		*structure = structure_of(&record);
	if (same_boot(record.boot) || !ours || !is_later(fd, &record))
		return stamped;
	const int err = roll_back(fd, &record);
	return err == PN_OK ? stamped : err;
}

int pn_durable_recover(int directory, enum pn_structure *structure) {
	int err = PN_OK;
	*structure = PN_STRUCTURE_UNKNOWN;
	const int record_fd = openat(directory, FILE_NAME, O_RDONLY | O_CLOEXEC);
	if (record_fd < 0)
		return errno == ENOENT ? PN_OK : pn_db_error(errno);
	const int fd = openat(directory, "data.mdb", O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		err = recover(fd, record_fd, structure);
		close(fd);
	} else if (errno != ENOENT) {
		err = pn_db_error(errno);
	}
	close(record_fd);
	return err;
}

enum pn_structure pn_durable_structure(int directory) {
	struct pn_durable record;
	int slot;
	enum pn_structure structure = PN_STRUCTURE_UNKNOWN;
	const int record_fd = openat(directory, FILE_NAME, O_RDONLY | O_CLOEXEC);
	const int fd = openat(directory, "data.mdb", O_RDONLY | O_CLOEXEC);
	if (record_fd >= 0 && fd >= 0 && read_record(record_fd, &record, &slot) > 0 &&
	    is_of(fd, &record))
		structure = structure_of(&record);
	if (record_fd >= 0)
		close(record_fd);
	if (fd >= 0)
		close(fd);
	return structure;
}

bool pn_db_is_damaged(const char *path) {
	const int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return false;
	const enum pn_structure structure = pn_durable_structure(directory);
	close(directory);
	return structure == PN_STRUCTURE_DAMAGED;
}

int pn_durable_drop(int directory) {
	if (unlinkat(directory, FILE_NAME, 0) != 0 && errno != ENOENT)
		return pn_db_error(errno);
	return PN_OK;
}

int pn_durable_open(int directory) {
	const int fd = openat(directory, FILE_NAME, O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
	if (fd < 0)
		return pn_db_error(errno);
	(void)fallocate(fd, 0, 0, 2 * RECORD); /* both records, for a disk that is full later */
	return fd;
}
