/* pn/compress.h */
#include <zstd.h>
#include <zstd_errors.h>

#include <pn/compress.h>
#include <pn/err.h>
#include <pn/pack.h>
#include <pn/wire.h>

#include "../oom/alloc.h"
#include "guard.h"
#include "test.h"
#include "tokens.h"

/* ---- Functions of libzstd that fail ---- */

enum failing { NONE, CREATE, LOAD, RUN };

static enum failing failing;

#define OUT_OF_MEMORY ((size_t)-ZSTD_error_memory_allocation)

#define WRAP(type, name, parameters, arguments, when, failure)                                     \
	type __real_##name parameters;                                                             \
	type __wrap_##name parameters;                                                             \
	type __wrap_##name parameters {                                                            \
		return failing == (when) ? (failure) : __real_##name arguments;                    \
	}

WRAP(ZSTD_CCtx *, ZSTD_createCCtx, (void), (), CREATE, NULL)
WRAP(ZSTD_DCtx *, ZSTD_createDCtx, (void), (), CREATE, NULL)
WRAP(size_t, ZSTD_CCtx_loadDictionary, (ZSTD_CCtx * ctx, const void *dict, size_t len),
     (ctx, dict, len), LOAD, OUT_OF_MEMORY)
WRAP(size_t, ZSTD_DCtx_loadDictionary, (ZSTD_DCtx * ctx, const void *dict, size_t len),
     (ctx, dict, len), LOAD, OUT_OF_MEMORY)
WRAP(size_t, ZSTD_compress2, (ZSTD_CCtx * ctx, void *to, size_t most, const void *from, size_t len),
     (ctx, to, most, from, len), RUN, OUT_OF_MEMORY)
WRAP(size_t, ZSTD_decompressDCtx,
     (ZSTD_DCtx * ctx, void *to, size_t most, const void *from, size_t len),
     (ctx, to, most, from, len), RUN, OUT_OF_MEMORY)

/* ---- Fixture ---- */

static struct pn_compressor compressor;

static void teardown(void) {
	pn_compressor_free(&compressor);
	CHECK(test_alloc.blocks == 0 && test_alloc.bytes == 0);
}

static struct pn_str buf_str(const struct pn_buf *buf) {
	return (struct pn_str){(const char *)buf->data, buf->len};
}

/* A chat message, as clients send them. */
static void pack_chat(struct pn_buf *out) {
	static const char id[] = "5f0c8a41-93d7-4be2-a6c5-1d2e3f405162";
	struct pn_pack pack;
	pn_pack_init(&pack, out);
	pn_pack_start(&pack, str("message"));
	pn_pack_attr(&pack, str("from"), str("mercutio@verona.example/street"));
	pn_pack_attr(&pack, str("to"), str("tybalt@verona.example"));
	pn_pack_attr(&pack, str("type"), str("chat"));
	pn_pack_attr(&pack, str("id"), str(id));
	pn_pack_start(&pack, str("body"));
	pn_pack_text(&pack, str("Will you walk? Then let us go, and see whose turn it is"));
	pn_pack_end(&pack);
	pn_pack_start(&pack, str("origin-id"));
	pn_pack_attr(&pack, str("xmlns"), str("urn:xmpp:sid:0"));
	pn_pack_attr(&pack, str("id"), str(id));
	pn_pack_end(&pack);
	pn_pack_end(&pack);
	CHECK(pn_pack_error(&pack) == PN_OK);
}

/* Bytes that begin like a packed stanza; `noise`: they cannot be compressed. */
static void put_bytes(struct pn_buf *out, size_t len, bool noise) {
	uint64_t random = len;
	pn_wire_put_u8(out, PN_PACK_VERSION);
	while (out->len < len) {
		random = random * 6364136223846793005 + 1442695040888963407;
		pn_wire_put_u8(out, (uint8_t)(random >> 33) & (noise ? 0xff : 0x03));
	}
}

/* Compresses, reads back and compares. Returns the length of the stored form. */
static size_t store_and_read(const struct pn_buf *packed) {
	struct pn_str stored;
	struct pn_buf back = {0};
	CHECK(pn_compress(&compressor, buf_str(packed), &stored) == PN_OK);
	const size_t len = stored.len;
	CHECK(pn_decompressed_size(stored) == (int)packed->len);
	CHECK(pn_decompress(&compressor, stored, &back) == PN_OK);
	CHECK(back.len == packed->len && memcmp(back.data, packed->data, back.len) == 0);
	pn_buf_free(&back);
	return len;
}

/* Returns the result, and checks that a failure appends nothing. */
static int read_stored(struct pn_str stored) {
	struct pn_buf packed = {0};
	pn_wire_put_u8(&packed, 'x');
	const int err = pn_decompress(&compressor, stored, &packed);
	CHECK(err == PN_OK ? (int)packed.len == 1 + pn_decompressed_size(stored) : packed.len == 1);
	CHECK(packed.data[0] == 'x');
	pn_buf_free(&packed);
	return err;
}

/* Sets `stored` to a compressed chat message. */
static void store_chat(struct pn_buf *stored) {
	struct pn_buf packed = {0};
	struct pn_str found;
	pack_chat(&packed);
	CHECK(pn_compress(&compressor, buf_str(&packed), &found) == PN_OK);
	CHECK(found.bytes[0] == PN_COMPRESSED);
	pn_buf_append(stored, found.bytes, found.len);
	pn_buf_free(&packed);
}

/* ---- Storing ---- */

TEST(a_chat_message_takes_less_than_three_quarters_and_comes_back_unchanged) {
	struct pn_buf packed = {0};
	pack_chat(&packed);
	CHECK(store_and_read(&packed) < packed.len * 3 / 4);
	pn_buf_free(&packed);
	teardown();
}

TEST(stanzas_of_any_size_come_back_unchanged) {
	static const size_t sizes[] = {0x7fff, 0x8000, 0xffff, 0x10000, 1 << 20, 3 << 20};
	for (size_t size = 1; size < 600; size++) {
		struct pn_buf packed = {0};
		put_bytes(&packed, size, size % 2 == 0);
		CHECK(store_and_read(&packed) <= size);
		pn_buf_free(&packed);
	}
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct pn_buf packed = {0};
		put_bytes(&packed, sizes[i], false);
		CHECK(store_and_read(&packed) < sizes[i] / 2);
		pn_buf_free(&packed);
	}
	teardown();
}

TEST(a_stanza_that_does_not_get_shorter_is_stored_as_it_is) {
	struct pn_buf packed = {0};
	struct pn_str stored;
	put_bytes(&packed, 1000, true);
	CHECK(pn_compress(&compressor, buf_str(&packed), &stored) == PN_OK);
	CHECK(stored.bytes == (char *)packed.data && stored.len == packed.len);
	pn_buf_free(&packed);
	teardown();
}

TEST(bytes_that_are_not_a_packed_stanza_are_stored_and_read_as_they_are) {
	static const char zeros[200];
	const struct pn_str samples[] = {{"", 0}, {zeros, sizeof(zeros)}, {"\3\3\3", 3}};
	for (size_t i = 0; i < 3; i++) {
		struct pn_str stored;
		CHECK(pn_compress(&compressor, samples[i], &stored) == PN_OK);
		CHECK(stored.bytes == samples[i].bytes && stored.len == samples[i].len);
		CHECK(read_stored(stored) == PN_OK);
	}
	teardown();
}

/* Written once, and never to be changed: stores have it. */
TEST(a_stanza_that_was_compressed_by_the_first_version_is_read) {
	static const unsigned char stored[] = {
		0x02, 0x00, 0xd0, 0xed, 0x03, 0x00, 0xf3, 0x87, 0x18, 0x1e, 0x8f, 0x69, 0xc4, 0xe1,
		0x8d, 0x38, 0xb4, 0xee, 0xf3, 0x38, 0xde, 0xb4, 0x89, 0x50, 0x1c, 0xff, 0xa6, 0x2d,
		0xc4, 0x61, 0xfa, 0x38, 0xbc, 0xc7, 0x38, 0xb4, 0x17, 0xc9, 0x70, 0x90, 0xa0, 0x84,
		0x6d, 0x14, 0xc7, 0xb7, 0xa9, 0x38, 0x30, 0x6c, 0x54, 0x83, 0xad, 0xb8, 0x82, 0xc5,
		0xbc, 0xd2, 0xc6, 0x7a, 0xd1, 0x9f, 0x5d, 0x42, 0xcb, 0xef, 0x86, 0xf3, 0xad, 0x0a,
		0x71, 0xa7, 0x1a, 0xca, 0xba, 0x33, 0x8f, 0x97, 0x95, 0xe1, 0x61, 0xdb, 0x52, 0x79,
		0x2d, 0x6c, 0x74, 0xbc, 0x7f, 0x8c, 0xcb, 0x76, 0xea, 0x3f, 0x5b, 0xdb, 0xba, 0x3f,
		0x79, 0x6c, 0x23, 0xef, 0xe3, 0xdd, 0x67, 0x30, 0x02, 0x07, 0xfc, 0x56, 0x05, 0x40,
		0xc5, 0xfe, 0x8d, 0x35, 0x41, 0x98, 0x9b, 0xdb, 0xfa, 0x02, 0x63, 0x72, 0x9d, 0xa7,
		0x96, 0x44, 0xe8, 0x60, 0x11};
	struct pn_buf packed = {0}, chat = {0};
	pack_chat(&chat);
	CHECK(pn_decompress(&compressor, (struct pn_str){(const char *)stored, sizeof(stored)},
			    &packed) == PN_OK);
	CHECK(packed.len == chat.len && memcmp(packed.data, chat.data, chat.len) == 0);
	pn_buf_free(&packed);
	pn_buf_free(&chat);
	teardown();
}

/* ---- Damage ---- */

TEST(a_compressed_stanza_that_is_cut_is_damage) {
	struct pn_buf stored = {0};
	store_chat(&stored);
	struct guard guard = guard_new(stored.len);
	for (size_t len = 1; len < stored.len; len++) {
		const char *const cut = guard_put(&guard, stored.data, len);
		CHECK(read_stored((struct pn_str){cut, len}) == PN_ECORRUPT);
	}
	guard_free(&guard);
	pn_buf_free(&stored);
	teardown();
}

TEST(a_changed_byte_is_damage_or_results_in_other_bytes_of_the_same_size) {
	struct pn_buf stored = {0};
	store_chat(&stored);
	for (size_t at = 1; at < stored.len; at++) {
		for (int bit = 0; bit < 8; bit++) {
			stored.data[at] ^= (unsigned char)(1 << bit);
			const int err = read_stored(buf_str(&stored));
			CHECK(err == PN_OK || err == PN_ECORRUPT);
			stored.data[at] ^= (unsigned char)(1 << bit);
		}
	}
	CHECK(read_stored(buf_str(&stored)) == PN_OK);
	pn_buf_free(&stored);
	teardown();
}

TEST(a_wrong_size_is_damage) {
	struct pn_buf stored = {0};
	store_chat(&stored);
	const int size = pn_decompressed_size(buf_str(&stored));
	for (int wrong = 0; wrong < 0x8000; wrong += 1 + 97 * (wrong > 1000)) {
		stored.data[1] = (unsigned char)(wrong >> 8);
		stored.data[2] = (unsigned char)wrong;
		CHECK(read_stored(buf_str(&stored)) == (wrong == size ? PN_OK : PN_ECORRUPT));
	}
	pn_buf_free(&stored);
	teardown();
}

/* A block of one byte that is repeated 128 KiB times: last, type 1, size << 3. */
static const unsigned char REPEATED[] = {0x02, 0x00, 0x10, 0x01}, LAST[] = {0x03, 0x00, 0x10, 0x01};

static void put_bomb(struct pn_buf *bomb, const unsigned char size[4], size_t blocks) {
	pn_wire_put_u8(bomb, PN_COMPRESSED);
	pn_buf_append(bomb, size, 4);
	for (size_t i = 1; i < blocks; i++)
		pn_buf_append(bomb, REPEATED, sizeof(REPEATED));
	pn_buf_append(bomb, LAST, sizeof(LAST));
}

TEST(a_bomb_is_damage_and_does_not_take_more_memory_than_it_says) {
	static const unsigned char fits[] = {0x80, 0x08, 0, 0}, above[] = {0x84, 0, 0, 1};
	static const unsigned char small[] = {0x80, 0, 0x80, 0};
	struct pn_buf bomb = {0}, packed = {0};
	put_bomb(&bomb, fits, 4);
	CHECK(read_stored(buf_str(&bomb)) == PN_OK); /* half a megabyte */
	pn_buf_reset(&bomb, 0);
	put_bomb(&bomb, small, 4096);
	CHECK(pn_decompress(&compressor, buf_str(&bomb), &packed) == PN_ECORRUPT);
	CHECK(packed.len == 0 && packed.cap <= 0x8000);
	pn_buf_reset(&bomb, 0);
	put_bomb(&bomb, above, 513);
	CHECK(pn_decompressed_size(buf_str(&bomb)) == PN_ECORRUPT);
	CHECK(read_stored(buf_str(&bomb)) == PN_ECORRUPT);
	pn_buf_free(&packed);
	pn_buf_free(&bomb);
	teardown();
}

/* It would be taken for another compressed stanza. */
TEST(a_compressed_stanza_within_one_is_damage) {
	struct pn_buf bomb = {0};
	static const unsigned char size[] = {0x80, 2, 0, 0};
	put_bomb(&bomb, size, 1);
	CHECK(read_stored(buf_str(&bomb)) == PN_OK);
	bomb.data[bomb.len - 1] = PN_COMPRESSED;
	CHECK(read_stored(buf_str(&bomb)) == PN_ECORRUPT);
	pn_buf_free(&bomb);
	teardown();
}

/* ---- Memory ---- */

TEST(a_stanza_that_comes_twice_in_a_row_is_compressed_once) {
	struct pn_buf packed[3] = {{0}}, copy = {0};
	struct pn_str stored;
	pack_chat(&packed[0]);
	put_bytes(&packed[1], 64, true); /* does not get shorter */
	put_bytes(&packed[2], 300 * 1024, false);
	for (int i = 0; i < 3; i++) {
		CHECK(pn_compress(&compressor, buf_str(&packed[i]), &stored) == PN_OK);
		copy.len = 0;
		pn_buf_append(&copy, stored.bytes, stored.len);
		failing = i < 2 ? RUN : NONE; /* long ones are compressed again */
		CHECK(pn_compress(&compressor, buf_str(&packed[i]), &stored) == PN_OK);
		CHECK(stored.len == copy.len && memcmp(stored.bytes, copy.data, copy.len) == 0);
		failing = NONE;
	}
	packed[0].data[packed[0].len - 4] ^= 1; /* of the same length */
	CHECK(pn_compress(&compressor, buf_str(&packed[0]), &stored) == PN_OK);
	pn_buf_append(&copy, stored.bytes, stored.len);
	for (int i = 0; i < 3; i++) {
		CHECK(store_and_read(&packed[i]) > 0);
		pn_buf_free(&packed[i]);
	}
	pn_buf_free(&copy);
	teardown();
}

TEST(later_stanzas_of_usual_sizes_are_stored_and_read_without_an_allocation) {
	struct pn_buf packed = {0}, back = {0};
	struct pn_buf copy = {0};
	pack_chat(&packed);
	store_chat(&copy);
	CHECK(pn_decompress(&compressor, buf_str(&copy), &back) == PN_OK);
	const size_t before = test_alloc.calls;
	failing = CREATE;
	for (int i = 0; i < 100; i++) {
		struct pn_str stored;
		CHECK(pn_compress(&compressor, buf_str(&packed), &stored) == PN_OK);
		back.len = 0;
		CHECK(pn_decompress(&compressor, buf_str(&copy), &back) == PN_OK);
	}
	failing = NONE;
	CHECK(test_alloc.calls == before);
	pn_buf_free(&packed);
	pn_buf_free(&back);
	pn_buf_free(&copy);
	teardown();
}

TEST(if_memory_runs_out_nothing_is_changed_and_the_next_attempt_succeeds) {
	struct pn_buf packed = {0}, copy = {0};
	struct pn_str stored;
	pack_chat(&packed);
	store_chat(&copy);
	for (failing = CREATE; failing <= RUN; failing++) {
		pn_compressor_free(&compressor);
		CHECK(pn_compress(&compressor, buf_str(&packed), &stored) == PN_ENOMEM);
		CHECK(read_stored(buf_str(&copy)) == PN_ENOMEM);
		const enum failing which = failing;
		failing = NONE;
		CHECK(store_and_read(&packed) == copy.len);
		failing = which;
	}
	failing = NONE;
	pn_buf_free(&packed);
	pn_buf_free(&copy);
	teardown();
}

TEST(if_any_allocation_of_ours_fails_it_is_reported_and_nothing_is_leaked) {
	struct pn_buf packed = {0}, copy = {0};
	pack_chat(&packed);
	store_chat(&copy);
	bool failed = true;
	for (size_t at = 1; failed; at++) {
		struct pn_str stored;
		struct pn_buf back = {0};
		pn_compressor_free(&compressor);
		test_alloc_fail(at, false);
		int err = pn_compress(&compressor, buf_str(&packed), &stored);
		if (err == PN_OK)
			err = pn_decompress(&compressor, buf_str(&copy), &back);
		failed = test_alloc.failed;
		test_alloc_fail(0, false);
		CHECK(err == (failed ? PN_ENOMEM : PN_OK));
		pn_buf_free(&back);
	}
	pn_buf_free(&packed);
	pn_buf_free(&copy);
	teardown();
}

int main(void) {
	return test_run("compress");
}
