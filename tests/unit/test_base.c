/* pn/err.h, pn/buf.h, pn/wire.h */
#include <stdint.h>

#include <pn/buf.h>
#include <pn/err.h>
#include <pn/wire.h>

#include "../oom/alloc.h"
#include "guard.h"
#include "test.h"

/* ---- Errors ---- */

static const int CODES[] = {
#define CODE(name, code, condition, text) PN_##name,
	PN_ERRORS(CODE)
#undef CODE
};
enum { CODE_COUNT = sizeof(CODES) / sizeof(CODES[0]) };

TEST(every_code_is_negative_and_unlike_the_others) {
	for (int i = 0; i < CODE_COUNT; i++) {
		CHECK(CODES[i] < 0);
		for (int j = 0; j < i; j++)
			CHECK(CODES[i] != CODES[j]);
	}
}

TEST(every_code_has_a_condition_and_a_text) {
	for (int i = 0; i < CODE_COUNT; i++) {
		CHECK(pn_err_condition(CODES[i])[0] != '\0');
		CHECK(strcmp(pn_err_text(CODES[i]), "unknown error") != 0);
	}
	CHECK_STR(pn_err_condition(PN_EXML), "not-well-formed");
	CHECK_STR(pn_err_condition(PN_EHEAD), "head");
	CHECK_STR(pn_err_condition(PN_ETAIL), "tail");
	CHECK_STR(pn_err_condition(PN_ENOANSWER), "no-answer");
}

TEST(an_unknown_code_has_a_condition_and_a_text) {
	static const int unknown[] = {0, 1, -1000, INT32_MIN, INT32_MAX};
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		CHECK_STR(pn_err_condition(unknown[i]), "internal-server-error");
		CHECK_STR(pn_err_text(unknown[i]), "unknown error");
	}
}

/* ---- Buffer ---- */

TEST(a_zeroed_buffer_is_empty_and_can_be_freed_twice) {
	struct pn_buf buf = {0};
	pn_buf_append(&buf, NULL, 0);
	CHECK(buf.data == NULL && buf.len == 0 && buf.cap == 0 && buf.err == 0);
	pn_buf_free(&buf);
	pn_buf_free(&buf);
	CHECK(buf.data == NULL && buf.cap == 0);
}

TEST(a_buffer_keeps_appended_bytes_while_it_grows) {
	struct pn_buf buf = {0};
	for (unsigned int i = 0; i < 100000; i++) {
		const unsigned char bytes[3] = {(unsigned char)i, (unsigned char)(i >> 8), 7};
		pn_buf_append(&buf, bytes, i % 4);
	}
	CHECK(buf.err == 0);
	CHECK(buf.len == 150000);
	size_t at = 0;
	for (unsigned int i = 0; i < 100000; at += i % 4, i++)
		CHECK(i % 4 == 0 || buf.data[at] == (unsigned char)i);
	pn_buf_free(&buf);
	CHECK(test_alloc.blocks == 0);
}

TEST(a_reserved_buffer_appends_without_allocating) {
	struct pn_buf buf = {0};
	CHECK(pn_buf_reserve(&buf, 5000) == PN_OK);
	CHECK(buf.len == 0 && buf.cap >= 5000);
	test_alloc_fail(1, true);
	for (int i = 0; i < 5000; i++)
		pn_buf_append(&buf, "x", 1);
	test_alloc_fail(0, false);
	CHECK(buf.err == 0 && buf.len == 5000);
	pn_buf_free(&buf);
}

TEST(a_reserve_that_overflows_is_out_of_memory_and_sticks) {
	struct pn_buf buf = {0};
	pn_buf_append(&buf, "abc", 3);
	CHECK(pn_buf_reserve(&buf, SIZE_MAX) == PN_ENOMEM);
	CHECK(pn_buf_reserve(&buf, SIZE_MAX - 3) == PN_ENOMEM);
	CHECK(pn_buf_reserve(&buf, 0) == PN_ENOMEM);
	pn_buf_append(&buf, "def", 3);
	CHECK(buf.err == PN_ENOMEM);
	CHECK(buf.len == 3 && memcmp(buf.data, "abc", 3) == 0);
	pn_buf_free(&buf);
	CHECK(buf.err == 0);
}

TEST(a_failed_append_changes_nothing_but_the_error) {
	struct pn_buf buf = {0};
	pn_buf_append(&buf, "abc", 3);
	test_alloc_fail(1, false);
	char big[4096] = {0};
	pn_buf_append(&buf, big, sizeof(big));
	pn_buf_append(&buf, "d", 1);
	test_alloc_fail(0, false);
	CHECK(buf.err == PN_ENOMEM);
	CHECK(buf.len == 3 && memcmp(buf.data, "abc", 3) == 0);
	pn_buf_free(&buf);
}

TEST(a_reset_buffer_keeps_its_memory_up_to_a_size) {
	struct pn_buf buf = {0};
	pn_buf_append(&buf, "abc", 3);
	const size_t cap = buf.cap;
	pn_buf_reset(&buf, cap);
	CHECK(buf.len == 0 && buf.cap == cap && buf.data != NULL);
	pn_buf_reset(&buf, cap - 1);
	CHECK(buf.len == 0 && buf.cap == 0 && buf.data == NULL);
	CHECK(test_alloc.blocks == 0);
}

TEST(a_reset_clears_the_error_of_a_buffer) {
	struct pn_buf buf = {0};
	pn_buf_append(&buf, "abc", 3);
	(void)pn_buf_reserve(&buf, SIZE_MAX);
	pn_buf_reset(&buf, SIZE_MAX);
	CHECK(buf.err == 0);
	pn_buf_append(&buf, "def", 3);
	CHECK(buf.len == 3 && memcmp(buf.data, "def", 3) == 0);
	pn_buf_free(&buf);
}

/* ---- Wire ---- */

TEST(integers_and_bytes_are_written_in_the_documented_layout) {
	static const unsigned char want[] = {0xfe, 0x01, 0x02, 0x03, 0x04, 0, 0, 0,
					     2,    'h',  'i',  0,    0,    0, 0};
	struct pn_buf buf = {0};
	pn_wire_put_u8(&buf, 0xfe);
	pn_wire_put_u32(&buf, 0x01020304);
	pn_wire_put_bytes(&buf, "hi", 2);
	pn_wire_put_bytes(&buf, NULL, 0);
	CHECK(buf.err == 0);
	CHECK(buf.len == sizeof(want) && memcmp(buf.data, want, sizeof(want)) == 0);
	pn_buf_free(&buf);
}

/* Reads what the test below writes, and says whether all of it was there. */
static bool read_record(struct pn_wire *wire) {
	size_t len;
	const bool a = pn_wire_u8(wire) == 0xff;
	const bool b = pn_wire_u32(wire) == 0xfffefdfc;
	const char *bytes = pn_wire_bytes(wire, &len);
	const bool c = len == 5 && memcmp(bytes, "hello", 5) == 0;
	(void)pn_wire_bytes(wire, &len);
	return a && b && c && len == 0 && wire->err == PN_OK;
}

TEST(a_cursor_reads_back_written_values_and_fails_for_every_truncation) {
	struct pn_buf buf = {0};
	pn_wire_put_u8(&buf, 0xff);
	pn_wire_put_u32(&buf, 0xfffefdfc);
	pn_wire_put_bytes(&buf, "hello", 5);
	pn_wire_put_bytes(&buf, "", 0);

	struct guard guard = guard_new(buf.len);
	for (size_t len = 0; len <= buf.len; len++) {
		struct pn_wire wire = pn_wire_open(guard_put(&guard, buf.data, len), len);
		CHECK(read_record(&wire) == (len == buf.len));
		CHECK(wire.err == (len == buf.len ? PN_OK : PN_ETRUNCATED));
	}
	guard_free(&guard);
	pn_buf_free(&buf);
}

TEST(a_cursor_that_failed_gives_zero_and_empty_bytes_for_ever) {
	static const unsigned char bytes[] = {0, 0, 0, 9, 'a', 'b'};
	struct pn_wire wire = pn_wire_open(bytes, sizeof(bytes));
	size_t len = 99;
	CHECK(pn_wire_bytes(&wire, &len) == NULL);
	CHECK(len == 0 && wire.err == PN_ETRUNCATED);
	CHECK(pn_wire_u8(&wire) == 0);
	CHECK(pn_wire_u32(&wire) == 0);
	CHECK(pn_wire_bytes(&wire, &len) == NULL && len == 0);
	CHECK(wire.err == PN_ETRUNCATED);
}

TEST(a_varint_takes_a_byte_for_7_bits_and_up_to_63_bits) {
	static const unsigned char coded[] = {0x00, 0x7f, 0x80, 0x01, 0xac, 0x02};
	static const uint64_t numbers[] = {0, 127, 128, 300};
	static const unsigned char too_long[] = {0xff, 0xff, 0xff, 0xff, 0xff,
						 0xff, 0xff, 0xff, 0xff, 0x01};
	const uint64_t most = UINT64_MAX >> 1;
	struct pn_buf buf = {0};
	for (size_t i = 0; i < 4; i++)
		pn_wire_put_varint(&buf, numbers[i]);
	CHECK(buf.len == sizeof(coded) && memcmp(buf.data, coded, sizeof(coded)) == 0);
	pn_wire_put_varint(&buf, most);
	CHECK(buf.len == sizeof(coded) + 9);
	struct pn_wire wire = pn_wire_open(buf.data, buf.len);
	for (size_t i = 0; i < 4; i++)
		CHECK(pn_wire_varint(&wire) == numbers[i]);
	CHECK(pn_wire_varint(&wire) == most && wire.left == 0 && wire.err == PN_OK);
	CHECK(pn_wire_varint(&wire) == 0 && wire.err == PN_ETRUNCATED);
	wire = pn_wire_open(too_long, sizeof(too_long));
	CHECK(pn_wire_varint(&wire) == 0 && wire.err == PN_ETRUNCATED);
	wire = pn_wire_open(coded + 2, 1);
	CHECK(pn_wire_varint(&wire) == 0 && wire.err == PN_ETRUNCATED);
	pn_buf_free(&buf);
}

TEST(a_length_near_2_to_the_32_is_truncated_and_not_wrapped) {
	static const unsigned char bytes[] = {0xff, 0xff, 0xff, 0xff, 'a'};
	struct guard guard = guard_new(sizeof(bytes));
	struct pn_wire wire = pn_wire_open(guard_put(&guard, bytes, sizeof(bytes)), sizeof(bytes));
	size_t len;
	CHECK(pn_wire_bytes(&wire, &len) == NULL);
	CHECK(wire.err == PN_ETRUNCATED);
	guard_free(&guard);
}

int main(void) {
	return test_run("base");
}
