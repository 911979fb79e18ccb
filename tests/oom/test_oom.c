/*
 * Every operation of the cores, again and again, with the first allocation failing, then the
 * second, and so on until none fails; once with that one alone failing and once with all after it.
 * A run either fails with PN_ENOMEM or does the whole operation, and leaves no memory behind.
 */
#include <stdint.h>

#include <pn/buf.h>
#include <pn/err.h>
#include <pn/pack.h>
#include <pn/smq.h>
#include <pn/stanza.h>
#include <pn/wire.h>

#include "../unit/stream_fixture.h"
#include "../unit/test.h"
#include "../unit/tokens.h"
#include "alloc.h"

/*
 * One operation: creates its objects, runs, checks the results, and frees all. Returns the result
 * of the core. Once test_alloc.failed is set, it may be PN_ENOMEM.
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

TEST(an_error_in_the_xml_is_never_reported_as_another_one_or_as_success) {
	fail_each(decode_what_is_wrong);
}

static int pack_document(void) {
	static char xml[16 * 1024];
	struct pn_buf out = {0};
	const int err =
		pn_pack_document(&out, (struct pn_str){xml, write_stanza(xml, sizeof(xml))});
	pn_buf_free(&out);
	return err == PN_EXML && test_alloc.failed ? PN_ENOMEM : err;
}

TEST(packing_a_document_survives_every_failing_allocation) {
	CHECK(pack_document() == PN_OK);
	fail_each(pack_document);
}

/* ---- Queue ---- */

static int make_an_account(void) {
	struct pn_smq_account *const untouched = (struct pn_smq_account *)&test_alloc;
	struct pn_smq_pool pool = {0};
	size_t made = 0;
	int err = PN_OK;
	struct pn_smq_account *accounts[40];
	for (size_t i = 0; i < 40; i++) {
		struct pn_smq_account *account = untouched;
		const int result = pn_smq_account_new(&account, &pool, "a@b");
		CHECK((result == PN_OK) == (account != untouched));
		if (result == PN_OK)
			accounts[made++] = account;
		err = result != PN_OK ? result : err;
		CHECK(pool.accounts == made && pn_smq_largest(&pool) == NULL);
	}
	for (size_t i = 0; i < made; i++)
		pn_smq_account_free(accounts[i]);
	CHECK(pool.accounts == 0 && pool.heap == NULL);
	return err;
}

TEST(an_account_that_cannot_be_created_leaves_the_output_and_the_pool_untouched) {
	fail_each(make_an_account);
}

static int make_a_queue(void) {
	struct pn_smq *const untouched = (struct pn_smq *)&test_alloc;
	struct pn_smq *queue = untouched;
	struct pn_smq_pool pool = {0};
	struct pn_smq_account *account;
	if (pn_smq_account_new(&account, &pool, "a@b") != PN_OK)
		return PN_ENOMEM;
	const int err = pn_smq_new(&queue, account, (struct pn_smq_limits){0}, 7);
	CHECK((err == PN_OK) == (queue != untouched));
	CHECK(pn_smq_account_queues(account) == (err == PN_OK ? 1 : 0));
	if (err == PN_OK)
		pn_smq_free(queue);
	pn_smq_account_free(account);
	return err;
}

TEST(a_queue_that_cannot_be_created_leaves_the_output_untouched) {
	fail_each(make_a_queue);
}

/* An account with two queues. */
struct queues {
	struct pn_smq_pool pool;
	struct pn_smq_account *account;
	struct pn_smq *first;
	struct pn_smq *second;
};

static int open_queues(struct queues *q, struct pn_smq_limits limits) {
	*q = (struct queues){0};
	int err = pn_smq_account_new(&q->account, &q->pool, "a@b");
	if (err == PN_OK)
		err = pn_smq_new(&q->first, q->account, limits, 0);
	if (err == PN_OK)
		err = pn_smq_new(&q->second, q->account, limits, 0);
	return err;
}

static void close_queues(struct queues *q) {
	pn_smq_free(q->first);
	pn_smq_free(q->second);
	pn_smq_account_free(q->account);
	CHECK(q->pool.items == 0 && q->pool.bytes == 0 && q->pool.accounts == 0);
}

/* Whether the queue holds `items` that cost `bytes` each, and the account and the pool them alone.
 */
static void check_figures(const struct queues *q, const struct pn_smq *queue, uint32_t items,
			  size_t bytes) {
	CHECK(pn_smq_held(queue) == items && q->pool.items == items);
	CHECK(pn_smq_pushed(queue) == items && pn_smq_acked(queue) == 0);
	CHECK(pn_smq_bytes(queue) == items * bytes);
	CHECK(q->pool.bytes == items * bytes && pn_smq_account_bytes(q->account) == items * bytes);
	CHECK(pn_smq_largest(&q->pool) == (items > 0 ? q->account : NULL));
}

static int push_to_a_queue(uint64_t key, size_t cost) {
	struct pn_smq_item item = {.bytes = "abcd", .len = 4, .key = key};
	struct queues q;
	enum pn_smq_fate fate;
	int err = open_queues(&q, (struct pn_smq_limits){0});
	if (err == PN_OK) {
		uint32_t held = 0;
		for (int i = 0; i < 5; i++) {
			const int pushed = pn_smq_push(q.first, &item);
			held += pushed == PN_OK ? 1 : 0;
			err = pushed != PN_OK ? pushed : err;
			check_figures(&q, q.first, held, cost + 4);
			item.key *= 2; /* each is a message of its own */
		}
		const struct test_alloc saved = pause_failing();
		CHECK(pn_smq_push(q.first, &item) == PN_OK);
		check_figures(&q, q.first, held + 1, cost + 4);
		CHECK(pn_smq_ack(q.first, held) == held);
		CHECK(pn_smq_push(q.second, &item) == PN_OK);
		CHECK(pn_smq_take(q.first, &fate) == 1);
		CHECK(fate == (key != 0 ? PN_SMQ_HELD : PN_SMQ_ALONE));
		resume_failing(saved);
	}
	close_queues(&q);
	return err;
}

static int push_without_a_key(void) {
	return push_to_a_queue(0, PN_SMQ_ITEM_COST);
}

static int push_with_a_key(void) {
	return push_to_a_queue(1, PN_SMQ_ITEM_COST + PN_SMQ_KEY_COST);
}

TEST(a_failed_push_changes_nothing_and_the_queue_goes_on) {
	fail_each(push_without_a_key);
	fail_each(push_with_a_key);
}

static int push_copies(void) {
	enum { COUNT = 20 };
	struct queues q;
	int err = open_queues(&q, (struct pn_smq_limits){0});
	if (err == PN_OK) {
		bool copied[COUNT];
		for (uint64_t i = 0; i < COUNT; i++) {
			const struct pn_smq_item item = {.key = i + 1};
			const struct test_alloc saved = pause_failing();
			REQUIRE(pn_smq_push(q.second, &item) == PN_OK);
			resume_failing(saved);
			copied[i] = pn_smq_push(q.first, &item) == PN_OK;
			err = copied[i] ? err : PN_ENOMEM;
		}
		for (uint32_t i = 0; i < COUNT; i++) {
			enum pn_smq_fate fate;
			CHECK(pn_smq_take(q.second, &fate) == 1);
			CHECK(fate == (copied[i] ? PN_SMQ_HELD : PN_SMQ_ALONE));
		}
	}
	close_queues(&q);
	return err;
}

TEST(a_copy_that_cannot_be_pushed_is_unknown_to_the_others) {
	fail_each(push_copies);
}

static int do_all_but_push(void) {
	struct queues q;
	struct pn_smq_item got;
	const struct test_alloc saved = pause_failing();
	REQUIRE(open_queues(&q, (struct pn_smq_limits){.items = 3}) == PN_OK);
	for (uint64_t i = 0; i < 5; i++) {
		const struct pn_smq_item item = {.bytes = "abcd", .len = 4, .key = i};
		REQUIRE(pn_smq_push(q.first, &item) == PN_OK);
		REQUIRE(pn_smq_push(q.second, &item) == PN_OK);
	}
	resume_failing(saved);
	while (pn_smq_over(q.first))
		CHECK(pn_smq_take(q.first, NULL) == 1);
	CHECK(pn_smq_at(q.first, 2, &got) == 1);
	CHECK(pn_smq_take(q.first, NULL) == 1);
	CHECK(pn_smq_ack(q.first, 4) == 4);
	CHECK(pn_smq_ack(q.second, 4) == 4);
	CHECK(pn_smq_largest(&q.pool) == q.account);
	close_queues(&q);
	return PN_OK;
}

TEST(nothing_but_push_and_new_allocates_in_a_queue) {
	test_alloc_fail(1, true);
	CHECK(do_all_but_push() == PN_OK);
	CHECK(!test_alloc.failed);
	test_alloc_fail(0, false);
}

/* ---- Streams ---- */

/* Several stanzas, an incomplete token, and a parser that is made again. */
static int use_stream(size_t idle) {
	static const char *const parts[] = {
		"<?xml version='1.0'?>" HEADER,
		"<iq><a xmlns='urn:a' b='c'>text</a></iq><me",
		"ssage xml:lang='en'><body>long long long text</body></message>",
		"<iq><stream:x",
		"/></iq></stream:stream>",
	};
	struct fixture f = {0};
	int err = fixture_open(&f, idle);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && err == PN_OK; i++)
		err = fixture_feed(&f, str(parts[i])) == 0 ? PN_OK : PN_ENOMEM;
	if (err == PN_OK && !f.memory_failed) {
		CHECK(f.stanzas == 3);
		CHECK(strstr((const char *)f.log.data, "(x {" STREAMS "}") != NULL);
	}
	fixture_close(&f);
	return err == PN_OK && f.memory_failed ? PN_ENOMEM : err;
}

static int parse_stream(void) {
	return use_stream(1);
}

static int parse_stream_without_idle_parsers(void) {
	return use_stream(0);
}

TEST(streams_are_parsed_or_fail) {
	fail_each(parse_stream);
	fail_each(parse_stream_without_idle_parsers);
}

int main(void) {
	return test_run("oom");
}
