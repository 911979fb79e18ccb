/* Deleted positions, counted in blocks of 256, 256^2, 256^3 ... positions. */
#include <string.h>

#include <pn/err.h>

#include "archive.h"

enum {
	BITS = 8,                 /* a block has 2^8 blocks of the level below */
	BITMAP = (1 << BITS) / 8, /* bytes */
	LEVELS = 5,               /* for 40 bits of position */
	POSITION_IN_BLOCK = (1 << BITS) - 1,
};

/* The number of the block that has the position, in a level. */
static uint64_t block_of(uint64_t position, uint8_t level) {
	return position >> (BITS * (level + 1));
}

bool pn_deleted_same_block(uint64_t a, uint64_t b) {
	return block_of(a, 0) == block_of(b, 0);
}

static struct pn_key block_key(const struct pn_archive *archive, uint32_t peer, uint8_t level,
			       uint64_t block) {
	return pn_key_block(archive->number, PN_KIND_DELETED, peer, level, block);
}

/* The prefix of the blocks of a level. */
static struct pn_key level_prefix(const struct pn_archive *archive, uint32_t peer, uint8_t level) {
	struct pn_key key = block_key(archive, peer, level, 0);
	key.len -= 8; /* the block */
	return key;
}

/* The number of the block at the cursor. */
static uint64_t cursor_block(const struct pn_cursor *cursor) {
	uint32_t archive, peer;
	uint8_t level;
	uint64_t block;
	if (pn_key_read_block(cursor->key, PN_KIND_DELETED, &archive, &peer, &level, &block))
		return block;
	pn_txn_fail(cursor->txn, PN_ECORRUPT);
	return UINT64_MAX;
}

/* ---- Changing ---- */

/* Reads the bitmap of a block, all zero if it has no record. */
static void read_bitmap(struct pn_txn *txn, const struct pn_key *key,
			unsigned char bitmap[BITMAP]) {
	struct pn_wire value;
	memset(bitmap, 0, BITMAP);
	if (!pn_get(txn, key, &value))
		return;
	const char *bytes = pn_wire_take(&value, BITMAP);
	if (pn_txn_sound(txn, &value))
		memcpy(bitmap, bytes, BITMAP);
}

static void write_bitmap(struct pn_txn *txn, const struct pn_key *key,
			 const unsigned char bitmap[BITMAP]) {
	static const unsigned char empty[BITMAP] = {0};
	if (memcmp(bitmap, empty, BITMAP) == 0) {
		pn_remove(txn, key);
		return;
	}
	struct pn_buf value = pn_value();
	pn_buf_append(&value, bitmap, BITMAP);
	pn_put(txn, key, &value);
}

/* The number of the first positions that are in one block of the level. */
static size_t count_in_block(const uint64_t *positions, size_t count, uint8_t level) {
	const uint64_t block = block_of(positions[0], level);
	size_t in_block = 1;
	while (in_block < count && block_of(positions[in_block], level) == block)
		in_block++;
	return in_block;
}

/* Sets or clears the bits of positions, which are in one block. Moves those whose bit was different
 * to the front, and returns their number. */
static size_t change_bits(const struct pn_archive *archive, uint32_t peer, uint64_t *positions,
			  size_t count, bool deleted) {
	const struct pn_key key = block_key(archive, peer, 0, block_of(positions[0], 0));
	unsigned char bitmap[BITMAP];
	size_t changed = 0;
	read_bitmap(archive->txn, &key, bitmap);
	for (size_t i = 0; i < count; i++) {
		unsigned char *const byte = &bitmap[(positions[i] & POSITION_IN_BLOCK) / 8];
		const unsigned char bit = (unsigned char)(1u << (positions[i] & 7));
		if (((*byte & bit) != 0) == deleted)
			continue;
		*byte ^= bit;
		positions[changed++] = positions[i];
	}
	if (changed > 0)
		write_bitmap(archive->txn, &key, bitmap);
	return changed;
}

static void put_count(struct pn_txn *txn, const struct pn_key *key, uint64_t count) {
	if (count == 0) {
		pn_remove(txn, key);
		return;
	}
	struct pn_buf value = pn_value();
	pn_wire_put_u64(&value, count);
	pn_put(txn, key, &value);
}

/* The count of a block, 0 if it has no record. */
static uint64_t get_count(struct pn_txn *txn, const struct pn_key *key) {
	struct pn_wire value;
	if (!pn_get(txn, key, &value))
		return 0;
	const uint64_t count = pn_wire_u64(&value);
	return pn_txn_sound(txn, &value) ? count : 0;
}

static void change_count(const struct pn_archive *archive, uint32_t peer, uint8_t level,
			 uint64_t block, size_t difference, bool deleted) {
	const struct pn_key key = block_key(archive, peer, level, block);
	const uint64_t before = get_count(archive->txn, &key);
	put_count(archive->txn, &key,
		  deleted ? before + difference : before - pn_min(before, difference));
}

/* Changes positions, which are in order, and the order of the array. */
static void change(const struct pn_archive *archive, uint32_t peer, uint64_t *positions,
		   size_t count, bool deleted) {
	size_t changed = 0;
	for (size_t i = 0, part; i < count; i += part) {
		part = count_in_block(positions + i, count - i, 0);
		const size_t different = change_bits(archive, peer, positions + i, part, deleted);
		memmove(positions + changed, positions + i, different * sizeof(positions[0]));
		changed += different;
	}
	for (uint8_t level = 1; level < LEVELS; level++) {
		for (size_t i = 0, part; i < changed; i += part) {
			part = count_in_block(positions + i, changed - i, level);
			change_count(archive, peer, level, block_of(positions[i], level), part,
				     deleted);
		}
	}
}

void pn_deleted_add(const struct pn_archive *archive, uint32_t peer, uint64_t *positions,
		    size_t count) {
	change(archive, peer, positions, count, true);
}

/* ---- Counting ---- */

static unsigned count_bits(const unsigned char *bitmap, unsigned from, unsigned to) {
	unsigned count = 0;
	for (unsigned i = from; i < to; i++)
		count += (bitmap[i / 8] >> (i & 7)) & 1;
	return count;
}

/* Counts the bits from `from` up to, not including, `to` in one block. */
static uint64_t count_part(const struct pn_archive *archive, uint32_t peer, uint64_t block,
			   unsigned from, unsigned to) {
	const struct pn_key key = block_key(archive, peer, 0, block);
	unsigned char bitmap[BITMAP];
	if (from >= to)
		return 0;
	read_bitmap(archive->txn, &key, bitmap);
	return count_bits(bitmap, from, to);
}

/* The number of deleted positions in the block at the cursor. */
static uint64_t count_block(struct pn_cursor *cursor, uint8_t level) {
	if (level > 0)
		return pn_wire_u64(&cursor->value);
	const char *bitmap = pn_wire_take(&cursor->value, BITMAP);
	return bitmap != NULL ? count_bits((const unsigned char *)bitmap, 0, 1u << BITS) : 0;
}

/* Counts whole blocks of one level. */
static uint64_t count_blocks(const struct pn_archive *archive, uint32_t peer, uint8_t level,
			     struct pn_range blocks) {
	const struct pn_key prefix = level_prefix(archive, peer, level);
	const struct pn_key start = block_key(archive, peer, level, blocks.from);
	struct pn_cursor cursor;
	uint64_t count = 0;
	if (blocks.from >= blocks.to)
		return 0;
	pn_cursor_open(archive->txn, &cursor, &prefix);
	for (bool any = pn_cursor_seek(&cursor, &start); any; any = pn_cursor_next(&cursor)) {
		if (cursor_block(&cursor) >= blocks.to)
			break;
		count += count_block(&cursor, level);
		pn_txn_sound(archive->txn, &cursor.value);
	}
	pn_cursor_close(&cursor);
	return count;
}

/* Counts whole blocks of level 0, by the counts of the levels above where possible. */
static uint64_t count_levels(const struct pn_archive *archive, uint32_t peer,
			     struct pn_range blocks) {
	uint64_t count = 0;
	for (uint8_t level = 0; blocks.from < blocks.to; level++) {
		const struct pn_range above = {(blocks.from + POSITION_IN_BLOCK) >> BITS,
					       blocks.to >> BITS};
		if (level == LEVELS - 1 || above.from >= above.to)
			return count + count_blocks(archive, peer, level, blocks);
		const struct pn_range left = {blocks.from, above.from << BITS};
		const struct pn_range right = {above.to << BITS, blocks.to};
		count += count_blocks(archive, peer, level, left);
		count += count_blocks(archive, peer, level, right);
		blocks = above;
	}
	return count;
}

/* Whether any position is deleted in the block of `from` or after it. */
static bool any_from(const struct pn_archive *archive, uint32_t peer, uint64_t from) {
	const struct pn_key prefix = level_prefix(archive, peer, 0);
	const struct pn_key start = block_key(archive, peer, 0, block_of(from, 0));
	struct pn_cursor cursor;
	if (!pn_cursor_find(archive->txn, &cursor, &prefix, &start))
		return false;
	pn_cursor_close(&cursor);
	return true;
}

uint64_t pn_deleted_count(const struct pn_archive *archive, uint32_t peer, struct pn_range range) {
	const uint64_t first = block_of(range.from, 0);
	const uint64_t last = block_of(range.to, 0);
	const unsigned in_first = (unsigned)(range.from & POSITION_IN_BLOCK);
	const unsigned in_last = (unsigned)(range.to & POSITION_IN_BLOCK);
	if (range.from >= range.to || !any_from(archive, peer, range.from))
		return 0;
	if (first == last)
		return count_part(archive, peer, first, in_first, in_last);
	return count_part(archive, peer, first, in_first, 1u << BITS) +
	       count_part(archive, peer, last, 0, in_last) +
	       count_levels(archive, peer, (struct pn_range){first + 1, last});
}

/* ---- Dropping ---- */

/* Removes the blocks of a level from `from` up to, not including, `to`. */
static void remove_blocks(const struct pn_archive *archive, uint32_t peer, uint8_t level,
			  struct pn_range blocks) {
	const struct pn_key prefix = level_prefix(archive, peer, level);
	const struct pn_key start = block_key(archive, peer, level, blocks.from);
	struct pn_cursor cursor;
	pn_cursor_open(archive->txn, &cursor, &prefix);
	for (bool any = pn_cursor_seek(&cursor, &start); any; any = pn_cursor_next(&cursor)) {
		if (cursor_block(&cursor) >= blocks.to)
			break;
		pn_cursor_remove(&cursor);
	}
	pn_cursor_close(&cursor);
}

/* Recounts the block of `from` by the blocks of the level below that are left. */
static void recount(const struct pn_archive *archive, uint32_t peer, uint8_t level, uint64_t from) {
	const uint64_t at = block_of(from, level);
	const struct pn_key key = block_key(archive, peer, level, at);
	const struct pn_range below = {at << BITS, (at + 1) << BITS};
	const uint64_t before = get_count(archive->txn, &key);
	if (before == 0)
		return;
	const uint64_t count = count_blocks(archive, peer, (uint8_t)(level - 1), below);
	if (count < before) /* blocks at the archive's beginning were dropped: not an increase */
		put_count(archive->txn, &key, count);
}

void pn_deleted_drop_from(const struct pn_archive *archive, uint32_t peer, uint64_t from) {
	const uint64_t block_end = (block_of(from, 0) + 1) << BITS;
	if ((from & POSITION_IN_BLOCK) != 0) {
		uint64_t rest[1 << BITS];
		size_t count = 0;
		for (uint64_t position = from; position < block_end; position++)
			rest[count++] = position;
		change(archive, peer, rest, count, false);
	}
	for (uint8_t level = 0; level < LEVELS; level++) {
		/* the block of `from` stays, unless `from` is its first position */
		const uint64_t block = block_of(from, level);
		const bool whole = block << (BITS * (level + 1)) == from;
		remove_blocks(archive, peer, level,
			      (struct pn_range){whole ? block : block + 1, UINT64_MAX});
		if (level > 0 && !whole)
			recount(archive, peer, level, from);
	}
}

void pn_deleted_drop_below(const struct pn_archive *archive, uint32_t peer, uint64_t first) {
	for (uint8_t level = 0; level < LEVELS; level++)
		remove_blocks(archive, peer, level, (struct pn_range){0, block_of(first, level)});
}

void pn_deleted_drop(const struct pn_archive *archive, uint32_t peer) {
	for (uint8_t level = 0; level < LEVELS; level++)
		remove_blocks(archive, peer, level, (struct pn_range){0, UINT64_MAX});
}
