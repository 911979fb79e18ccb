/* pn/result.h */
#include <math.h>

#include <pn/err.h>
#include <pn/pack.h>
#include <pn/result.h>

#include "../oom/alloc.h"
#include "test.h"
#include "tokens.h"

/* ---- Fixture: a packed message, and a result of it ---- */

struct fixture {
	struct pn_buf packed;
	struct pn_buf out;
	struct pn_result result;
};

static void pack_message(struct pn_buf *out) {
	struct pn_pack pack;
	pn_pack_init(&pack, out);
	pn_pack_start(&pack, str("message"));
	pn_pack_attr(&pack, str("xmlns"), str("other"));
	pn_pack_attr(&pack, str("to"), str("d"));
	pn_pack_attr(&pack, str("id"), str("<1>"));
	pn_pack_start(&pack, str("body"));
	pn_pack_text(&pack, str("a & b"));
	pn_pack_end(&pack);
	pn_pack_start(&pack, str("x"));
	pn_pack_attr(&pack, str("xmlns"), str("y"));
	pn_pack_attr(&pack, str("to"), str("child"));
	pn_pack_end(&pack);
	pn_pack_end(&pack);
	REQUIRE(pn_pack_error(&pack) == PN_OK);
}

static void setup(struct fixture *f) {
	*f = (struct fixture){.result = {.id = str("7")}};
	pack_message(&f->packed);
	f->result.stanza = (struct pn_str){(const char *)f->packed.data, f->packed.len};
}

static void teardown(struct fixture *f) {
	pn_buf_free(&f->packed);
	pn_buf_free(&f->out);
	CHECK(test_alloc.blocks == 0);
}

static void check_encodes_to(struct fixture *f, const char *want) {
	CHECK(pn_result_encode(&f->out, &f->result) == PN_OK);
	pn_buf_append(&f->out, "", 1);
	CHECK_STR((const char *)f->out.data, want);
	teardown(f);
}

#define DELAY(stamp) "<delay xmlns='urn:xmpp:delay' stamp='" stamp "'/>"
#define STANZA(attr)                                                                               \
	"<message xmlns='jabber:client'" attr " id='&lt;1&gt;'><body>a &amp; b</body><x "          \
	"xmlns='y' to='child'/></message>"
#define WRAPPED(attrs, head, stamp, stanza)                                                        \
	"<message" attrs "><result xmlns='urn:xmpp:mam:2'" head " id='7'>"                         \
	"<forwarded xmlns='urn:xmpp:forward:0'>" DELAY(stamp) stanza                               \
		"</forwarded></result></message>"
#define RESULT(attrs, head, stamp) WRAPPED(attrs, head, stamp, STANZA(" to='d'"))

/* ---- Results ---- */

TEST(a_result_wraps_the_stanza_whose_namespace_becomes_that_of_clients) {
	struct fixture f;
	setup(&f);
	check_encodes_to(&f, RESULT("", "", "1970-01-01T00:00:00Z"));
}

TEST(addresses_and_the_id_of_the_query_are_attributes_and_are_escaped) {
	struct fixture f;
	setup(&f);
	f.result.to = str("a@b/'");
	f.result.from = str("room@c");
	f.result.query = str("<q>");
	check_encodes_to(&f, RESULT(" to='a@b/&apos;' from='room@c'", " queryid='&lt;q&gt;'",
				    "1970-01-01T00:00:00Z"));
}

TEST(the_to_of_the_stanza_alone_can_be_left_out) {
	struct fixture f;
	setup(&f);
	f.result.to = str("a@b");
	f.result.without_to = true;
	check_encodes_to(&f, WRAPPED(" to='a@b'", "", "1970-01-01T00:00:00Z", STANZA("")));
}

TEST(a_fraction_of_a_second_is_truncated_to_six_digits) {
	struct fixture f;
	setup(&f);
	f.result.when = 1700000000.0625;
	check_encodes_to(&f, RESULT("", "", "2023-11-14T22:13:20.062500Z"));
}

TEST(a_fraction_of_a_second_before_1970_belongs_to_the_second_before_it) {
	struct fixture f;
	setup(&f);
	f.result.when = -0.25;
	check_encodes_to(&f, RESULT("", "", "1969-12-31T23:59:59.750000Z"));
}

TEST(whole_seconds_have_no_fraction) {
	struct fixture f;
	setup(&f);
	f.result.when = 1700000000.9;
	f.result.whole_seconds = true;
	check_encodes_to(&f, RESULT("", "", "2023-11-14T22:13:20Z"));
}

TEST(a_time_without_a_year_of_four_digits_is_invalid) {
	static const double times[] = {-62167219201.0, 253402300800.0, 1e300, -1e300};
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		struct fixture f;
		setup(&f);
		f.result.when = times[i];
		CHECK(pn_result_encode(&f.out, &f.result) == PN_EINVAL);
		teardown(&f);
	}
}

TEST(a_damaged_stanza_is_reported_at_any_length) {
	struct fixture f;
	setup(&f);
	const size_t len = f.result.stanza.len;
	for (f.result.stanza.len = 0; f.result.stanza.len < len; f.result.stanza.len++)
		CHECK(pn_result_encode(&f.out, &f.result) == PN_ECORRUPT);
	teardown(&f);
}

TEST(a_result_is_appended_after_any_allocation_has_failed_once) {
	struct fixture f;
	setup(&f);
	int err = PN_ENOMEM;
	for (size_t nth = 1; err == PN_ENOMEM; nth++) {
		pn_buf_free(&f.out);
		test_alloc_fail(nth, false);
		err = pn_result_encode(&f.out, &f.result);
		CHECK(err == PN_ENOMEM || !test_alloc.failed);
	}
	test_alloc_fail(0, false);
	CHECK(err == PN_OK);
	teardown(&f);
}

int main(void) {
	return test_run("result");
}
