/* Deleted positions, counted in blocks of 256 to the power of 1, 2, 3 ... */
#include <string.h>

#include <pn/err.h>

#include "archive.h"

enum {
	BITS = 8,                 /* a block of one level is 256 of the level below */
	BITMAP = (1 << BITS) / 8, /* bytes */
	LEVELS = 5,               /* 40 bits of position */
	POSITION_IN_BLOCK = (1 << BITS) - 1,
};

/* The bitmap of a block, all zero where there is none. Returns 0 or an error. */
static int read_bitmap(struct pn_store *store, const struct pn_key *key,
		       unsigned char bitmap[BITMAP]) {
	struct pn_wire value;
	const int found = pn_get(store, key, &value);
	memset(bitmap, 0, BITMAP);
	if (found <= 0)
		return found;
	const char *bytes = pn_wire_take(&value, BITMAP);
	if (bytes == NULL)
		return PN_ECORRUPT;
	memcpy(bitmap, bytes, BITMAP);
	return PN_OK;
}

/* Sets or clears a bit. Returns 1 if that changed it, 0 if not. */
static int change_bit(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t position,
		      bool deleted) {
	const struct pn_key key = pn_key_holes(archive, with, 0, position >> BITS);
	static const unsigned char empty[BITMAP] = {0};
	unsigned char value[1 + BITMAP] = {PN_VALUE_VERSION};
	unsigned char *const bitmap = value + 1;
	int err = read_bitmap(store, &key, bitmap);
	if (err != PN_OK)
		return err;
	unsigned char *const byte = &bitmap[(position & POSITION_IN_BLOCK) / 8];
	const unsigned char bit = (unsigned char)(1u << (position & 7));
	if (((*byte & bit) != 0) == deleted)
		return 0;
	*byte ^= bit;
	err = memcmp(bitmap, empty, BITMAP) != 0 ? pn_put(store, &key, value, sizeof(value))
						 : pn_remove(store, &key);
	return err < 0 ? err : 1;
}

static int put_count(struct pn_store *store, const struct pn_key *key, uint64_t count) {
	unsigned char bytes[9] = {PN_VALUE_VERSION};
	if (count == 0) {
		const int removed = pn_remove(store, key);
		return removed < 0 ? removed : PN_OK;
	}
	for (int i = 0; i < 8; i++)
		bytes[8 - i] = (unsigned char)(count >> (8 * i));
	return pn_put(store, key, bytes, sizeof(bytes));
}

static int change_count(struct pn_store *store, const struct pn_key *key, int difference) {
	struct pn_wire value;
	const int found = pn_get(store, key, &value);
	if (found < 0)
		return found;
	const uint64_t before = found > 0 ? pn_wire_u64(&value) : 0;
	if (found > 0 && value.err != PN_OK)
		return PN_ECORRUPT;
	const uint64_t count = before + (uint64_t)(int64_t)difference;
	return put_count(store, key, count > before + 1 ? 0 : count); /* below zero: damaged */
}

static int change(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t position,
		  bool deleted) {
	int err = change_bit(store, archive, with, position, deleted);
	if (err <= 0)
		return err;
	err = PN_OK;
	for (uint8_t level = 1; level < LEVELS && err == PN_OK; level++) {
		const uint64_t block = position >> (BITS * (level + 1));
		const struct pn_key key = pn_key_holes(archive, with, level, block);
		err = change_count(store, &key, deleted ? 1 : -1);
	}
	return err;
}

int pn_holes_add(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t position) {
	return change(store, archive, with, position, true);
}

int pn_holes_remove(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t position) {
	return change(store, archive, with, position, false);
}

/* ---- Counting ---- */

static unsigned count_bits(const unsigned char *bitmap, unsigned from, unsigned to) {
	unsigned count = 0;
	for (unsigned i = from; i < to; i++)
		count += (bitmap[i / 8] >> (i & 7)) & 1;
	return count;
}

/* Adds the bits from `from` to `to`, of 256, in one block. */
static int add_part(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t block,
		    unsigned from, unsigned to, uint64_t *count) {
	const struct pn_key key = pn_key_holes(archive, with, 0, block);
	unsigned char bitmap[BITMAP];
	if (from >= to)
		return PN_OK;
	const int err = read_bitmap(store, &key, bitmap);
	if (err == PN_OK)
		*count += count_bits(bitmap, from, to);
	return err;
}

/* Adds whole blocks of one level, from `from` up to, not including, `to`. */
static int add_blocks(struct pn_cursor *cursor, uint32_t archive, uint32_t with, uint8_t level,
		      struct pn_range blocks, uint64_t *count) {
	const struct pn_key start = pn_key_holes(archive, with, level, blocks.from);
	uint32_t found_archive, found_with;
	uint8_t found_level;
	uint64_t block;
	if (blocks.from >= blocks.to)
		return PN_OK;
	int err = pn_cursor_seek(cursor, &start);
	while (err > 0 &&
	       pn_key_read_holes(cursor->key, &found_archive, &found_with, &found_level, &block) &&
	       found_archive == archive && found_with == with && found_level == level &&
	       block < blocks.to) {
		if (level > 0) {
			*count += pn_wire_u64(&cursor->value);
		} else {
			const char *bitmap = pn_wire_take(&cursor->value, BITMAP);
			if (bitmap != NULL)
				*count += count_bits((const unsigned char *)bitmap, 0, 1u << BITS);
		}
		if (cursor->value.err != PN_OK)
			return PN_ECORRUPT;
		err = pn_cursor_next(cursor);
	}
	return err < 0 ? err : PN_OK;
}

/* Adds whole blocks of level 0: as many as possible by the counts of the levels above. */
static int add_levels(struct pn_cursor *cursor, uint32_t archive, uint32_t with,
		      struct pn_range blocks, uint64_t *count) {
	int err = PN_OK;
	for (uint8_t level = 0; err == PN_OK && blocks.from < blocks.to; level++) {
		const struct pn_range above = {(blocks.from + POSITION_IN_BLOCK) >> BITS,
					       blocks.to >> BITS};
		if (level == LEVELS - 1 || above.from >= above.to)
			return add_blocks(cursor, archive, with, level, blocks, count);
		const struct pn_range left = {blocks.from, above.from << BITS};
		const struct pn_range right = {above.to << BITS, blocks.to};
		err = add_blocks(cursor, archive, with, level, left, count);
		if (err == PN_OK)
			err = add_blocks(cursor, archive, with, level, right, count);
		blocks = above;
	}
	return err;
}

/* Whether there is any deleted position at or after the block of `from`. */
static int any(struct pn_cursor *cursor, uint32_t archive, uint32_t with, uint64_t from) {
	const struct pn_key start = pn_key_holes(archive, with, 0, from >> BITS);
	uint32_t found_archive, found_with;
	uint8_t level;
	uint64_t block;
	const int found = pn_cursor_seek(cursor, &start);
	if (found <= 0)
		return found;
	return pn_key_read_holes(cursor->key, &found_archive, &found_with, &level, &block) &&
	       found_archive == archive && found_with == with && level == 0;
}

int pn_holes_count(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t from,
		   uint64_t to, uint64_t *count) {
	struct pn_cursor cursor;
	const uint64_t first = from >> BITS;
	const uint64_t last = to >> BITS;
	const unsigned in_first = (unsigned)(from & POSITION_IN_BLOCK);
	const unsigned in_last = (unsigned)(to & POSITION_IN_BLOCK);
	*count = 0;
	if (from >= to)
		return PN_OK;
	int err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = any(&cursor, archive, with, from);
	if (err > 0 && first == last) {
		err = add_part(store, archive, with, first, in_first, in_last, count);
	} else if (err > 0) {
		err = add_part(store, archive, with, first, in_first, 1u << BITS, count);
		if (err == PN_OK)
			err = add_part(store, archive, with, last, 0, in_last, count);
		if (err == PN_OK)
			err = add_levels(&cursor, archive, with, (struct pn_range){first + 1, last},
					 count);
	}
	pn_cursor_close(&cursor);
	return err;
}

/* ---- Forgetting ---- */

/* Whether the cursor is on a block of that level. Sets *block. */
static bool on_level(const struct pn_cursor *cursor, uint32_t archive, uint32_t with, uint8_t level,
		     uint64_t *block) {
	uint32_t found_archive, found_with;
	uint8_t found_level;
	return pn_key_read_holes(cursor->key, &found_archive, &found_with, &found_level, block) &&
	       found_archive == archive && found_with == with && found_level == level;
}

/* Removes the blocks of a level that begin after `last`. */
static int cut_blocks(struct pn_store *store, uint32_t archive, uint32_t with, uint8_t level,
		      uint64_t last) {
	const struct pn_key start = pn_key_holes(archive, with, level, last + 1);
	struct pn_cursor cursor;
	uint64_t block;
	int err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = pn_cursor_seek(&cursor, &start);
	while (err > 0 && on_level(&cursor, archive, with, level, &block)) {
		err = pn_cursor_remove(store, &cursor);
		if (err == PN_OK)
			err = pn_cursor_seek(&cursor, &start);
	}
	pn_cursor_close(&cursor);
	return err < 0 ? err : PN_OK;
}

/* Counts the blocks of the level below that are left in the block where the cut is. */
static int recount(struct pn_store *store, uint32_t archive, uint32_t with, uint8_t level,
		   uint64_t from) {
	const uint64_t at = from >> (BITS * (level + 1));
	const struct pn_key key = pn_key_holes(archive, with, level, at);
	struct pn_range below = {at << BITS, (at + 1) << BITS};
	struct pn_cursor cursor;
	struct pn_wire value;
	uint64_t count = 0;
	const int found = pn_get(store, &key, &value);
	if (found <= 0)
		return found;
	const uint64_t before = pn_wire_u64(&value);
	int err = pn_cursor_open(store, &cursor);
	if (err == PN_OK)
		err = add_blocks(&cursor, archive, with, (uint8_t)(level - 1), below, &count);
	pn_cursor_close(&cursor);
	if (err != PN_OK || count >= before)
		return err; /* what lies before the first position is counted no more */
	return put_count(store, &key, count);
}

int pn_holes_cut(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t from) {
	const uint64_t in_block = from & POSITION_IN_BLOCK;
	const uint64_t last = from >> BITS;
	const uint64_t end = in_block != 0 ? (last + 1) << BITS : from;
	int err = PN_OK;
	for (uint64_t position = from; position < end && err == PN_OK; position++)
		err = pn_holes_remove(store, archive, with, position);
	for (uint8_t level = 0; level < LEVELS && err == PN_OK; level++) {
		/* the block of `from` stays, unless nothing of it does */
		const uint64_t block = from >> (BITS * (level + 1));
		const bool whole = (block << (BITS * (level + 1))) == from;
		if (whole && block == 0)
			return pn_holes_trim(store, archive, with, UINT64_MAX);
		err = cut_blocks(store, archive, with, level, whole ? block - 1 : block);
		if (err == PN_OK && level > 0 && !whole)
			err = recount(store, archive, with, level, from);
	}
	return err;
}

int pn_holes_trim(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t first) {
	struct pn_cursor cursor;
	int err = pn_cursor_open(store, &cursor);
	for (uint8_t level = 0; level < LEVELS && err >= 0; level++) {
		const struct pn_key start = pn_key_holes(archive, with, level, 0);
		uint32_t found_archive, found_with;
		uint8_t found_level;
		uint64_t block;
		err = pn_cursor_seek(&cursor, &start);
		while (err > 0 &&
		       pn_key_read_holes(cursor.key, &found_archive, &found_with, &found_level,
					 &block) &&
		       found_archive == archive && found_with == with && found_level == level &&
		       block < first >> (BITS * (level + 1))) {
			err = pn_cursor_remove(store, &cursor);
			if (err == PN_OK)
				err = pn_cursor_seek(&cursor, &start);
		}
	}
	pn_cursor_close(&cursor);
	return err < 0 ? err : PN_OK;
}
