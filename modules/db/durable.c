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

/* Reads the newer record and sets *slot to its slot. Returns 1, or 0 if there is no intact one. */
static int read_record(int fd, struct pn_durable *record, int *slot) {
	struct pn_durable other;
	const int first = read_slot(fd, 0, record);
	const int second = read_slot(fd, 1, &other);
	if (first < 0 || second < 0)
		return PN_ENOMEM;
	*slot = second > 0 && (first == 0 || other.txnid > record->txnid);
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
	if (found > 0 && old.txnid > record->txnid &&
	    memcmp(old.boot, record->boot, PN_BOOT_ID) == 0)
		return PN_OK;
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

/*
 * Makes both meta pages from the record's, one of them as that of the transaction before: LMDB
 * overwrites that one next. In a file without transactions both are equal.
 */
static void make_metas(const unsigned char *meta, unsigned char *metas, size_t page_size) {
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

/*
 * Rolls back to the record's state, if the file has all pages of it. If somebody has replaced the
 * data file by hand, the record belongs to another file, and this one is left unchanged.
 */
static int roll_back(int fd, const struct pn_durable *record, uint64_t newest, uint64_t *undone) {
	const size_t page_size = lmdb_page_size();
	struct pn_lmdb_report report;
	unsigned char *metas = pn_malloc(2 * page_size);
	if (metas == NULL)
		return PN_ENOMEM;
	make_metas(record->meta, metas, page_size);
	int err = pn_lmdb_verify_state(fd, metas, &report);
	if (err == PN_OK) {
		if (pwrite(fd, metas, 2 * page_size, 0) != (ssize_t)(2 * page_size) ||
		    fsync(fd) != 0)
			err = pn_db_error(errno);
		*undone = newest - record->txnid;
	}
	pn_free(metas);
	return err == PN_ECORRUPT ? PN_OK : err;
}

static int recover(int fd, int record_fd, uint64_t *undone) {
	unsigned char meta[PN_META];
	struct pn_durable record;
	uint64_t newest = 0;
	int slot;
	const int found = read_record(record_fd, &record, &slot);
	if (found <= 0)
		return found;
	if (same_boot(record.boot))
		return PN_OK;
	for (size_t i = 0; i < METAS; i++) {
		if (pread(fd, meta, PN_META, (off_t)(i * lmdb_page_size())) != PN_META)
			return PN_OK; /* not a database: opening it will fail */
		if (is_meta(meta) && meta_txnid(meta) > newest)
			newest = meta_txnid(meta);
	}
	return newest > record.txnid ? roll_back(fd, &record, newest, undone) : PN_OK;
}

int pn_durable_recover(int directory, uint64_t *undone) {
	int err = PN_OK;
	*undone = 0;
	const int record_fd = openat(directory, FILE_NAME, O_RDONLY | O_CLOEXEC);
	if (record_fd < 0)
		return errno == ENOENT ? PN_OK : pn_db_error(errno);
	const int fd = openat(directory, "data.mdb", O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		err = recover(fd, record_fd, undone);
		close(fd);
	} else if (errno != ENOENT) {
		err = pn_db_error(errno);
	}
	close(record_fd);
	return err;
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
