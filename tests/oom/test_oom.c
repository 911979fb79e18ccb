/*
 * Every operation of the cores, again and again, with the first allocation failing, then the
 * second, and so on until none fails; once with that one alone failing and once with all after it.
 * A run either fails with PN_ENOMEM or does the whole operation, and leaves no memory behind.
 */
#include <stdint.h>

#include <pn/buf.h>
#include <pn/err.h>
#include <pn/smq.h>
#include <pn/stanza.h>
#include <pn/wire.h>

#include "../unit/test.h"
#include "../unit/tokens.h"
#include "alloc.h"

/*
 * One operation: makes what it needs, works, checks what it left, and frees all.
 * Returns what the core returned. Once test_alloc.failed is set, it may be PN_ENOMEM.
 */
typedef int operation(void);

static void fail_each(operation *run) {
	for (int fail_after = 0; fail_after <= 1; fail_after++) {
		size_t failures = 0;
		for (size_t nth = 1;; nth++) {
			test_alloc_fail(nth, fail_after != 0);
			const int err = run();
			const bool failed = test_alloc.failed;
			test_alloc_fail(0, false);
			if (!CHECK(err == PN_OK || (failed && err == PN_ENOMEM)))
				printf("# %d when allocation %zu%s failed\n", err, nth,
				       fail_after != 0 ? " and all after it" : "");
			if (!CHECK(test_alloc.blocks == 0 && test_alloc.bytes == 0))
				return;
			if (!failed)
				break;
			failures += err == PN_ENOMEM ? 1 : 0;
		}
		CHECK(failures > 0);
	}
}

/* Lets allocations succeed for as long as it takes to see that an object is still usable. */
static struct test_alloc pause_failing(void) {
	const struct test_alloc saved = test_alloc;
	test_alloc_fail(0, false);
	return saved;
}

static void resume_failing(struct test_alloc saved) {
	saved.blocks = test_alloc.blocks;
	saved.bytes = test_alloc.bytes;
	test_alloc = saved;
}

/* ---- Base ---- */

static int append_to_a_buffer(void) {
	struct pn_buf buf = {0};
	size_t good = 0;
	for (int i = 0; i < 2000; i++) {
		pn_buf_append(&buf, "abc", 3);
		good += buf.err == PN_OK ? 3 : 0;
	}
	CHECK(buf.len == good);
	CHECK(buf.len <= buf.cap && (buf.data == NULL) == (buf.cap == 0));
	const int err = buf.err;
	const struct test_alloc saved = pause_failing();
	pn_buf_reset(&buf, SIZE_MAX);
	pn_buf_append(&buf, "abc", 3);
	CHECK(buf.err == PN_OK && buf.len == 3);
	resume_failing(saved);
	pn_buf_free(&buf);
	return err;
}

TEST(a_buffer_survives_every_failing_allocation) {
	fail_each(append_to_a_buffer);
}

static int write_to_the_wire(void) {
	struct pn_buf buf = {0};
	for (unsigned int i = 0; i < 300; i++) {
		pn_wire_put_u8(&buf, 1);
		pn_wire_put_u32(&buf, i);
		pn_wire_put_bytes(&buf, "hello", 5);
	}
	const int err = buf.err;
	CHECK(err != PN_OK || buf.len == 300 * 14);
	pn_buf_free(&buf);
	return err;
}

TEST(the_wire_survives_every_failing_allocation) {
	fail_each(write_to_the_wire);
}

/* ---- Stanza ---- */

/* Calls for a stanza of many elements, attributes and texts, 40 deep. */
static int encode_stanza(struct pn_buf *out, bool *delayed, size_t *splice) {
	struct pn_encoder enc;
	pn_encoder_init(&enc, out);
	for (int i = 0; i < 40; i++) {
		pn_encoder_start(&enc, str("element"));
		pn_encoder_attr(&enc, str("xmlns"), str(i % 2 == 0 ? "urn:x" : "urn:y"));
		pn_encoder_attr(&enc, str("urn:z\1key"), str("<value>"));
		pn_encoder_text(&enc, str("text & more text"));
	}
	for (int i = 0; i < 40; i++)
		pn_encoder_end(&enc);
	const int err = pn_encoder_finish(&enc);
	CHECK(enc.elements == NULL);
	CHECK(pn_encoder_finish(&enc) == err);
	*delayed = enc.delayed;
	*splice = enc.splice;
	return err;
}

static int encode(void) {
	struct pn_buf out = {0};
	bool delayed;
	size_t splice;
	const int err = encode_stanza(&out, &delayed, &splice);
	if (err == PN_OK)
		CHECK(memcmp(out.data + splice, "</element>", 11 - 1) == 0);
	pn_buf_free(&out);
	return err;
}

TEST(the_encoder_survives_every_failing_allocation) {
	fail_each(encode);
}

static int splice_a_delay(void) {
	static const char xml[] = "<message><body>hi</body></message>";
	struct pn_buf out = {0};
	struct pn_buf delay = {0};
	int err = pn_stanza_delay(&delay, str("a@b"), 0);
	if (err == PN_OK) {
		const struct pn_str child = {(const char *)delay.data, delay.len};
		err = pn_stanza_splice(&out, str(xml), strlen("<message><body>hi</body>"), child);
		CHECK(err != PN_OK || out.len == sizeof(xml) - 1 + delay.len);
	}
	pn_buf_free(&delay);
	pn_buf_free(&out);
	return err;
}

TEST(delay_and_splice_survive_every_failing_allocation) {
	fail_each(splice_a_delay);
}

/*
 * Writes a stanza that makes expat allocate wherever it does: long names, many attributes,
 * namespaces, references, depth, long text. Returns its length.
 */
static size_t write_stanza(char *xml, size_t size) {
	size_t len = (size_t)snprintf(xml, size, "<m xmlns:p='urn:p'");
	for (int i = 0; i < 40; i++)
		len += (size_t)snprintf(xml + len, size - len, " p:attribute%d='a&#66;c &amp; d'",
					i);
	len += (size_t)snprintf(xml + len, size - len, ">");
	for (int i = 0; i < 40; i++)
		len += (size_t)snprintf(xml + len, size - len, "<e%d xmlns='urn:%d'>x&lt;y", i, i);
	len += (size_t)snprintf(xml + len, size - len, "%05000d", 0);
	for (int i = 40; i-- > 0;)
		len += (size_t)snprintf(xml + len, size - len, "</e%d>", i);
	len += (size_t)snprintf(xml + len, size - len, "</m>");
	return len;
}

static int decode(void) {
	static const struct pn_decode_limits limits = {0};
	static char xml[16 * 1024];
	static size_t len; /* of the tokens, as the first run without a failure wrote them */
	struct pn_buf out = {0};
	const struct pn_str stanza = {xml, write_stanza(xml, sizeof(xml))};
	int err = pn_stanza_decode(&out, stanza, limits);
	if (err == PN_EXML && test_alloc.failed)
		err = PN_ENOMEM; /* as expat has it where a prefix finds no memory */
	if (err == PN_OK) {
		len = len == 0 ? out.len : len;
		CHECK(out.len == len);
	}
	pn_buf_free(&out);
	return err;
}

TEST(the_decoder_survives_every_failing_allocation) {
	CHECK(decode() == PN_OK);
	fail_each(decode);
}

/* Texts of such lengths that each token in turn, also the last, is the one that needs more memory.
 */
static int decode_at_the_edge_of_the_buffer(void) {
	static const struct pn_decode_limits limits = {0};
	int first = PN_OK;
	for (int len = 230; len <= 256; len++) {
		char xml[300];
		struct pn_buf out = {0};
		snprintf(xml, sizeof(xml), "<a>%0*d</a>", len, 0);
		const int err = pn_stanza_decode(&out, str(xml), limits);
		if (err == PN_OK)
			CHECK(out.len == (size_t)len + 12 && out.data[out.len - 1] == PN_TOKEN_END);
		first = err != PN_OK ? err : first;
		pn_buf_free(&out);
	}
	return first;
}

TEST(no_token_is_lost_at_the_edge_of_the_buffer) {
	fail_each(decode_at_the_edge_of_the_buffer);
}

static int decode_what_is_wrong(void) {
	static const struct pn_decode_limits limits = {.depth = 2};
	static const struct {
		const char *xml;
		int err;
	} cases[] = {
		{"<a b='c'>&d;</a>", PN_ERESTRICTED},
		{"<a b='c'></d>", PN_EXML},
		{"<a><b><c/></b></a>", PN_EDEPTH},
	};
	int first = PN_OK;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pn_buf out = {0};
		const int err = pn_stanza_decode(&out, str(cases[i].xml), limits);
		CHECK(err == cases[i].err || err == PN_ENOMEM);
		first = err == PN_ENOMEM ? err : first;
		pn_buf_free(&out);
	}
	return first;
}

TEST(an_error_in_the_xml_is_never_taken_for_another_one_or_for_success) {
	fail_each(decode_what_is_wrong);
}

/* ---- Queue ---- */

static int make_a_queue(void) {
	struct pn_smq *const untouched = (struct pn_smq *)&test_alloc;
	struct pn_smq *queue = untouched;
	struct pn_smq_pool pool = {0};
	const int err = pn_smq_new(&queue, &pool, (struct pn_smq_limits){0}, 7);
	if (err != PN_OK) {
		CHECK(queue == untouched);
		return err;
	}
	pn_smq_free(queue);
	return err;
}

TEST(a_queue_that_cannot_be_made_leaves_the_output_untouched) {
	fail_each(make_a_queue);
}

static void check_figures(const struct pn_smq *queue, const struct pn_smq_pool *pool,
			  uint32_t items) {
	CHECK(pn_smq_held(queue) == items && pool->items == items);
	CHECK(pn_smq_pushed(queue) == items && pn_smq_acked(queue) == 0);
	CHECK(pn_smq_bytes(queue) == (size_t)items * (PN_SMQ_ITEM_COST + 4));
	CHECK(pool->bytes == pn_smq_bytes(queue));
}

static int push_to_a_queue(void) {
	static const struct pn_smq_item item = {.bytes = "abcd", .len = 4};
	struct pn_smq_pool pool = {0};
	struct pn_smq *queue;
	if (pn_smq_new(&queue, &pool, (struct pn_smq_limits){0}, 0) != PN_OK)
		return PN_ENOMEM;
	int err = PN_OK;
	uint32_t held = 0;
	for (int i = 0; i < 5; i++) {
		const int pushed = pn_smq_push(queue, &item);
		held += pushed == PN_OK ? 1 : 0;
		err = pushed != PN_OK ? pushed : err;
		check_figures(queue, &pool, held);
	}
	const struct test_alloc saved = pause_failing();
	CHECK(pn_smq_push(queue, &item) == PN_OK);
	check_figures(queue, &pool, held + 1);
	CHECK(pn_smq_ack(queue, held + 1) == held + 1);
	resume_failing(saved);
	pn_smq_free(queue);
	CHECK(pool.items == 0 && pool.bytes == 0);
	return err;
}

TEST(a_failed_push_changes_nothing_and_the_queue_goes_on) {
	fail_each(push_to_a_queue);
}

static int do_all_but_push(void) {
	static const struct pn_smq_item item = {.bytes = "abcd", .len = 4};
	struct pn_smq_pool pool = {0};
	struct pn_smq *queue;
	struct pn_smq_item got;
	const struct test_alloc saved = pause_failing();
	REQUIRE(pn_smq_new(&queue, &pool, (struct pn_smq_limits){.items = 3}, 0) == PN_OK);
	for (int i = 0; i < 5; i++)
		REQUIRE(pn_smq_push(queue, &item) == PN_OK);
	resume_failing(saved);
	CHECK(pn_smq_shed(queue, NULL, NULL) == 2);
	CHECK(pn_smq_at(queue, 2, &got) == 1);
	CHECK(pn_smq_drop(queue) == 1);
	CHECK(pn_smq_ack(queue, 4) == 4);
	pn_smq_free(queue);
	return PN_OK;
}

TEST(nothing_but_push_and_new_allocates_in_a_queue) {
	test_alloc_fail(1, true);
	CHECK(do_all_but_push() == PN_OK);
	CHECK(!test_alloc.failed);
	test_alloc_fail(0, false);
}

int main(void) {
	return test_run("oom");
}
