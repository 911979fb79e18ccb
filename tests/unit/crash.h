/* Power failures: makes the possible contents of the disk afterwards from the files before. */
#ifndef TEST_CRASH_H
#define TEST_CRASH_H

#include <stddef.h>

#include "../../modules/db/checkpoint.h"
#include "../../modules/db/turn.h"
#include "lmdb_image.h"
#include "store_fixture.h"

enum {
	RECORD_SIZE = 8192,
	RECORD_DIGEST = 16,
	RECORD_BOOT = 32,
	RECORD_TXNID = 48,
	RECORD_STRUCTURE = 56,
	RECORD_NUMBER = 60,
	SLOTS = 2
};
enum { RECORD_STAMP = 2048 }; /* of a meta page */

static inline struct image image_new(size_t size) {
	struct image image = {.bytes = calloc(1, size + 1), .size = size};
	REQUIRE(image.bytes != NULL);
	return image;
}

static inline struct image image_read(const char *directory, const char *name) {
	struct stat st;
	const int fd = directory_open(directory, name, O_RDONLY);
	REQUIRE(fstat(fd, &st) == 0);
	struct image image = image_new((size_t)st.st_size);
	REQUIRE(pread(fd, image.bytes, image.size, 0) == st.st_size);
	close(fd);
	return image;
}

static inline void image_write(const struct image *image, const char *directory, const char *name) {
	const int fd = directory_open(directory, name, O_WRONLY | O_CREAT | O_TRUNC);
	REQUIRE(write(fd, image->bytes, image->size) == (ssize_t)image->size);
	close(fd);
}

/* Makes a durable state of the data file, as the thread does now and then. */
static inline void make_checkpoint(struct fixture *f) {
	CHECK(pn_turn_checkpoint(f->db) == PN_OK);
	REQUIRE(pn_lock_take(f->db->locks, PN_LOCK_WRITER, false, 0) == PN_OK);
	CHECK(pn_checkpoint_now(f->db->checkpoint, pn_db_committed(f->db)) == PN_OK);
	pn_lock_drop(f->db->locks, PN_LOCK_WRITER);
}

/* ---- The record ---- */

static inline uint64_t record_txnid(const struct image *durable, int slot) {
	uint64_t txnid;
	memcpy(&txnid, durable->bytes + slot * RECORD_SIZE + RECORD_TXNID, sizeof(txnid));
	return txnid;
}

static inline bool record_is_there(const struct image *durable, int slot) {
	const size_t end = (size_t)(slot + 1) * RECORD_SIZE;
	return durable->size >= end &&
	       memcmp(durable->bytes + end - RECORD_SIZE, "pn-durable", 10) == 0;
}

/* By transaction, then by number. */
static inline int newest_slot(const struct image *durable) {
	const bool second = record_is_there(durable, 1);
	uint32_t numbers[SLOTS] = {0};
	if (!record_is_there(durable, 0))
		return second ? 1 : -1;
	if (!second || record_txnid(durable, 0) != record_txnid(durable, 1))
		return second && record_txnid(durable, 1) > record_txnid(durable, 0) ? 1 : 0;
	for (int slot = 0; slot < SLOTS; slot++)
		memcpy(&numbers[slot], durable->bytes + slot * RECORD_SIZE + RECORD_NUMBER, 4);
	return numbers[1] > numbers[0] ? 1 : 0;
}

/* Makes the records those of an earlier boot of the machine. */
static inline void age_records(struct image *durable) {
	for (int slot = 0; slot < SLOTS; slot++) {
		if (!record_is_there(durable, slot))
			continue;
		unsigned char *record = durable->bytes + slot * RECORD_SIZE;
		const struct pn_str rest = {(char *)record + RECORD_BOOT,
					    RECORD_SIZE - RECORD_BOOT};
		memset(record + RECORD_BOOT, 0xb0, 16);
		REQUIRE(pn_db_digest(NULL, &rest, 1, record + RECORD_DIGEST) == PN_OK);
	}
}

/* ---- The data ---- */

static inline void garble(unsigned char *bytes, size_t size) {
	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)random();
}

/*
 * Makes a data file as a power failure may leave it, if `old` was durable: each page that differs
 * has its old or new content, half of both, or garbage; any part of the added pages is missing. The
 * two meta pages, whose fields fit in a sector, have no garbage.
 */
static inline struct image power_failure(const struct image *old, const struct image *now) {
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const size_t more = (now->size - old->size) / page + 1;
	struct image left = image_new(old->size + (size_t)random() % more * page);
	memcpy(left.bytes, old->bytes, old->size);
	for (size_t at = 0; at < left.size; at += page) {
		const unsigned char *new = now->bytes + at;
		if (memcmp(left.bytes + at, new, page) == 0)
			continue;
		switch (random() % (at < 2 * page ? 3 : 4)) {
		case 0:
			break;
		case 1:
			memcpy(left.bytes + at, new, page);
			break;
		case 2:
			memcpy(left.bytes + at + page / 2 * (at % (2 * page) / page),
			       new + page / 2 * (at % (2 * page) / page), page / 2);
			break;
		default:
			garble(left.bytes + at, page);
		}
	}
	return left;
}

/* Writes the files to a new directory, without opening the database. */
static inline void crash_site(struct fixture *f, const struct image *data,
			      const struct image *durable) {
	*f = (struct fixture){.options = {.interval = 60000, .verify = true}};
	directory_make(f->directory);
	f->options.directory = f->directory;
	image_write(data, f->directory, "data.mdb");
	image_write(durable, f->directory, "durable");
}

/* ---- Contents ---- */

static inline uint64_t mix(uint64_t sum, const void *bytes, size_t len) {
	for (size_t i = 0; i < len; i++)
		sum = (sum ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3;
	return sum * 0x100000001b3;
}

/* A checksum of all records of the fixture's user. None may be damaged. */
static inline uint64_t contents(struct fixture *f) {
	struct pn_buf buf = {0};
	struct pn_archive_cursor *cursor;
	struct pn_message message;
	CHECK(pn_kv_load(&f->keyval, JULIET, &buf) >= 0);
	uint64_t sum = mix(0xcbf29ce484222325, buf.data, buf.len);
	pn_buf_free(&buf);
	REQUIRE(pn_archive_find(&cursor, &f->archive, JULIET, &EVERYTHING, UINT64_MAX, NULL) ==
		PN_OK);
	int found;
	while ((found = pn_archive_next(cursor, &message)) > 0) {
		sum = mix(sum, message.id.bytes, message.id.len);
		sum = mix(sum, &message.when, sizeof(message.when));
		sum = mix(sum, message.stanza.bytes, message.stanza.len);
	}
	CHECK(found == 0);
	pn_archive_cursor_free(cursor);
	return sum;
}

/* Appends many messages, deletes them two turns later, and erases some in every turn. */
static inline void delete_many(struct fixture *f, int number) {
	enum { MANY = 60, ERASED = 100 };
	const struct pn_archive_query of_one = {.peer = str("many@b")};
	if (number % 4 == 1) {
		for (int i = 0; i < MANY; i++)
			CHECK(append(f, "many", number * 10, "many@b/c", NULL) == PN_OK);
	}
	if (number % 4 == 3)
		CHECK(delete_matching(f, &of_one) >= 0);
	CHECK(pn_store_erase(f->db, ERASED) >= 0);
}

/* Commits a turn with writes of every kind: long and short values, some in runs of pages. */
static inline void turn(struct fixture *f, int number) {
	static const char *const peers[] = {"a@b/c", "a@b/d", "e@f", NULL};
	static char value[9001];
	char key[16];
	char text[16];
	snprintf(text, sizeof(text), "%d", number);
	CHECK(put(f, JULIET, "turn", text) == PN_OK);
	for (int i = 0; i < 3; i++) {
		const size_t len = (size_t)random() % (i == 0 ? 9000 : 200);
		memset(value, 'a' + number % 26, len);
		value[len] = '\0';
		snprintf(key, sizeof(key), "%ld", random() % 40);
		CHECK(put(f, JULIET, key, random() % 5 == 0 ? NULL : value) == PN_OK);
		CHECK(append(f, text, number * 10 + i - (int)(random() % 15), peers[random() % 4],
			     NULL) == PN_OK);
	}
	const struct pn_archive_query old = {.has_end = true, .end = number * 10 - 300};
	if (number % 4 == 0)
		CHECK(delete_matching(f, &old) >= 0);
	delete_many(f, number);
	commit(f);
}

static inline void turns(struct fixture *f, int from, int to) {
	for (int i = from; i < to; i++)
		turn(f, i);
}

#endif
