/* pn/stanza.h: the encoder, splice and delay. The decoder has test_decode.c. */
#include <pn/err.h>
#include <pn/stanza.h>

#include "../oom/alloc.h"
#include "guard.h"
#include "test.h"
#include "tokens.h"

/* ---- Fixture: an encoder and its output ---- */

struct fixture {
	struct pn_buf buf;
	struct pn_encoder enc;
};

static void setup(struct fixture *f) {
	*f = (struct fixture){0};
	pn_encoder_init(&f->enc, &f->buf);
}

static void teardown(struct fixture *f) {
	pn_encoder_finish(&f->enc);
	pn_buf_free(&f->buf);
	CHECK(test_alloc.blocks == 0);
}

static void start(struct fixture *f, const char *name) {
	pn_encoder_start(&f->enc, str(name));
}

static void attr(struct fixture *f, const char *key, const char *value) {
	pn_encoder_attr(&f->enc, str(key), str(value));
}

static void text(struct fixture *f, const char *value) {
	pn_encoder_text(&f->enc, str(value));
}

static void end(struct fixture *f) {
	pn_encoder_end(&f->enc);
}

/* What was written, as a string that lives until the buffer is next touched. */
static const char *written(struct fixture *f) {
	pn_buf_append(&f->buf, "", 1);
	f->buf.len--;
	return (const char *)f->buf.data;
}

static void check_encodes_to(struct fixture *f, const char *want) {
	CHECK(pn_encoder_finish(&f->enc) == PN_OK);
	CHECK_STR(written(f), want);
	teardown(f);
}

/* ---- Encoder ---- */

TEST(an_element_without_children_is_closed_in_its_own_tag) {
	struct fixture f;
	setup(&f);
	start(&f, "presence");
	attr(&f, "to", "a@b");
	end(&f);
	CHECK(f.enc.splice == strlen("<presence to='a@b'"));
	check_encodes_to(&f, "<presence to='a@b'/>");
}

TEST(children_stand_between_the_tags_of_their_parent) {
	struct fixture f;
	setup(&f);
	start(&f, "message");
	start(&f, "body");
	text(&f, "hi");
	end(&f);
	text(&f, "tail");
	end(&f);
	CHECK(f.enc.splice == strlen("<message><body>hi</body>tail"));
	check_encodes_to(&f, "<message><body>hi</body>tail</message>");
}

TEST(an_empty_text_is_a_child) {
	struct fixture f;
	setup(&f);
	start(&f, "a");
	text(&f, "");
	end(&f);
	check_encodes_to(&f, "<a></a>");
}

TEST(five_characters_are_escaped_in_text_and_in_attributes_alike) {
	struct fixture f;
	setup(&f);
	start(&f, "a");
	attr(&f, "b", "'\"<>&\t\n;");
	text(&f, "'\"<>&\t\n;");
	end(&f);
	check_encodes_to(&f, "<a b='&apos;&quot;&lt;&gt;&amp;\t\n;'>"
			     "&apos;&quot;&lt;&gt;&amp;\t\n;</a>");
}

TEST(every_other_byte_is_written_as_it_is) {
	char bytes[256];
	size_t len = 0;
	for (int c = 0; c < 256; c++) {
		if (c == 0 || strchr("'\"<>&", c) == NULL)
			bytes[len++] = (char)c;
	}
	struct fixture f;
	setup(&f);
	start(&f, "a");
	pn_encoder_text(&f.enc, (struct pn_str){bytes, len});
	end(&f);
	CHECK(pn_encoder_finish(&f.enc) == PN_OK);
	CHECK(f.buf.len == len + 7 && memcmp(f.buf.data + 3, bytes, len) == 0);
	teardown(&f);
}

TEST(an_xmlns_is_left_out_if_it_repeats_the_parents_own_one) {
	struct fixture f;
	setup(&f);
	start(&f, "iq");
	attr(&f, "xmlns", "jabber:client");
	start(&f, "query");
	attr(&f, "xmlns", "urn:x");
	start(&f, "item");
	attr(&f, "xmlns", "urn:x");
	start(&f, "deeper");
	attr(&f, "xmlns", "urn:x");
	end(&f);
	start(&f, "deeper");
	attr(&f, "xmlns", "urn:y");
	end(&f);
	end(&f);
	start(&f, "item");
	end(&f);
	end(&f);
	start(&f, "same");
	attr(&f, "xmlns", "jabber:client");
	end(&f);
	end(&f);
	check_encodes_to(&f, "<iq xmlns='jabber:client'><query xmlns='urn:x'><item>"
			     "<deeper/><deeper xmlns='urn:y'/></item><item/></query><same/></iq>");
}

TEST(an_xmlns_is_written_if_only_the_grandparent_has_the_same) {
	struct fixture f;
	setup(&f);
	start(&f, "a");
	attr(&f, "xmlns", "urn:x");
	start(&f, "b");
	start(&f, "c");
	attr(&f, "xmlns", "urn:x");
	end(&f);
	end(&f);
	end(&f);
	check_encodes_to(&f, "<a xmlns='urn:x'><b><c xmlns='urn:x'/></b></a>");
}

TEST(an_empty_xmlns_differs_from_none) {
	struct fixture f;
	setup(&f);
	start(&f, "a");
	start(&f, "b");
	attr(&f, "xmlns", "");
	start(&f, "c");
	attr(&f, "xmlns", "");
	end(&f);
	start(&f, "d");
	end(&f);
	end(&f);
	end(&f);
	check_encodes_to(&f, "<a><b xmlns=''><c/><d/></b></a>");
}

TEST(an_xmlns_with_the_same_beginning_is_another) {
	struct fixture f;
	setup(&f);
	start(&f, "a");
	attr(&f, "xmlns", "urn:x");
	start(&f, "b");
	attr(&f, "xmlns", "urn:xx");
	end(&f);
	end(&f);
	check_encodes_to(&f, "<a xmlns='urn:x'><b xmlns='urn:xx'/></a>");
}

TEST(an_attribute_of_a_namespace_gets_a_prefix_declared_on_the_spot) {
	struct fixture f;
	setup(&f);
	start(&f, "a");
	attr(&f, "urn:x'\1k", "<1>");
	attr(&f, "xml:lang", "en");
	attr(&f, "urn:y\1k", "2");
	start(&f, "b");
	attr(&f, "urn:x\1k", "3");
	end(&f);
	end(&f);
	check_encodes_to(&f, "<a xmlns:ns1='urn:x&apos;' ns1:k='&lt;1&gt;' xml:lang='en'"
			     " xmlns:ns2='urn:y' ns2:k='2'><b xmlns:ns1='urn:x' ns1:k='3'/></a>");
}

TEST(the_namespace_of_the_prefix_xml_is_as_in_xml_or_as_in_tostring) {
	static const char *const WANT[] = {
		"<a xml:lang='en'/>",
		"<a xmlns:ns1='http://www.w3.org/XML/1998/namespace' ns1:lang='en'"
		" xmlns='http://www.w3.org/XML/1998/namespace'/>",
	};
	for (int as_tostring = 0; as_tostring <= 1; as_tostring++) {
		struct fixture f;
		setup(&f);
		f.enc.as_tostring = as_tostring != 0;
		start(&f, "a");
		attr(&f, "http://www.w3.org/XML/1998/namespace\1lang", "en");
		attr(&f, "xmlns", "http://www.w3.org/XML/1998/namespace");
		end(&f);
		check_encodes_to(&f, WANT[as_tostring]);
	}
}

TEST(only_the_first_separator_of_an_attribute_name_separates) {
	struct fixture f;
	setup(&f);
	start(&f, "a");
	attr(&f, "\1k", "1");
	attr(&f, "n\1k\1l", "2");
	attr(&f, "n\1", "3");
	end(&f);
	check_encodes_to(&f, "<a xmlns:ns1='' ns1:k='1' xmlns:ns2='n' ns2:k\1l='2'"
			     " xmlns:ns3='n' ns3:='3'/>");
}

TEST(the_encoder_says_whether_the_root_has_a_delay) {
	static const struct {
		const char *name, *ns;
		bool delayed;
	} cases[] = {
		{"delay", "urn:xmpp:delay", true},
		{"delay", "jabber:x:delay", false},
		{"x", "urn:xmpp:delay", false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f;
		setup(&f);
		start(&f, "message");
		start(&f, cases[i].name);
		attr(&f, "from", "a");
		attr(&f, "xmlns", cases[i].ns);
		end(&f);
		end(&f);
		CHECK(f.enc.delayed == cases[i].delayed);
		teardown(&f);
	}
}

TEST(a_delay_that_is_the_root_or_a_grandchild_does_not_count) {
	struct fixture f;
	setup(&f);
	start(&f, "delay");
	attr(&f, "xmlns", "urn:xmpp:delay");
	start(&f, "forwarded");
	start(&f, "delay");
	attr(&f, "xmlns", "urn:xmpp:delay");
	end(&f);
	end(&f);
	end(&f);
	CHECK(!f.enc.delayed);
	teardown(&f);
}

TEST(an_encoder_takes_elements_90000_deep) {
	enum { DEPTH = 90000 };
	struct fixture f;
	setup(&f);
	for (int i = 0; i < DEPTH; i++)
		start(&f, "a");
	for (int i = 0; i < DEPTH; i++)
		end(&f);
	CHECK(pn_encoder_finish(&f.enc) == PN_OK);
	CHECK(f.buf.len == (size_t)(DEPTH - 1) * 7 + 4);
	teardown(&f);
}

TEST(calls_out_of_order_are_invalid_and_that_sticks) {
	struct fixture f;
	for (int order = 0; order < 6; order++) {
		setup(&f);
		if (order == 0)
			attr(&f, "a", "b"); /* no element */
		if (order == 1)
			text(&f, "x"); /* no element */
		if (order == 2)
			end(&f); /* no element */
		if (order >= 3) {
			start(&f, "a");
			end(&f);
		}
		if (order == 3)
			end(&f); /* once too often */
		if (order == 4)
			start(&f, "b"); /* a second root */
		if (order == 5)
			text(&f, "x"); /* after the root */
		const size_t len = f.buf.len;
		start(&f, "c");
		end(&f);
		CHECK(f.buf.len == len);
		CHECK(pn_encoder_finish(&f.enc) == PN_EINVAL);
		CHECK(pn_encoder_finish(&f.enc) == PN_EINVAL);
		teardown(&f);
	}
}

TEST(an_attribute_after_text_is_invalid) {
	struct fixture f;
	setup(&f);
	start(&f, "a");
	text(&f, "");
	attr(&f, "b", "c");
	end(&f);
	CHECK(pn_encoder_finish(&f.enc) == PN_EINVAL);
	teardown(&f);
}

TEST(an_encoder_that_started_nothing_or_left_an_element_open_is_invalid) {
	struct fixture f;
	setup(&f);
	CHECK(pn_encoder_finish(&f.enc) == PN_EINVAL);
	start(&f, "a");
	start(&f, "b");
	end(&f);
	CHECK(pn_encoder_finish(&f.enc) == PN_EINVAL);
	teardown(&f);
}

TEST(a_zeroed_encoder_can_be_finished) {
	struct pn_encoder enc = {0};
	CHECK(pn_encoder_finish(&enc) == PN_EINVAL);
}

TEST(the_error_of_the_buffer_is_the_error_of_the_encoder) {
	struct fixture f;
	setup(&f);
	start(&f, "a");
	(void)pn_buf_reserve(&f.buf, (size_t)-1);
	end(&f);
	CHECK(pn_encoder_finish(&f.enc) == PN_ENOMEM);
	teardown(&f);
}

/* ---- Splice ---- */

static const char CHILD[] = "<x y='z'/>";

static void check_splices_to(const char *xml, size_t at, const char *want) {
	struct pn_buf out = {0};
	CHECK(pn_stanza_splice(&out, str(xml), at, str(CHILD)) == PN_OK);
	pn_buf_append(&out, "", 1);
	CHECK_STR((const char *)out.data, want);
	pn_buf_free(&out);
}

TEST(a_child_is_spliced_in_behind_the_others) {
	check_splices_to("<m a='b'><c/></m>", 13, "<m a='b'><c/><x y='z'/></m>");
	check_splices_to("<m></m>", 3, "<m><x y='z'/></m>");
}

TEST(a_child_is_spliced_into_a_root_without_children) {
	check_splices_to("<presence/>", 9, "<presence><x y='z'/></presence>");
	check_splices_to("<presence to='/>'/>", 17, "<presence to='/>'><x y='z'/></presence>");
	check_splices_to("<a/>", 2, "<a><x y='z'/></a>");
}

TEST(a_splice_elsewhere_than_at_the_end_of_the_root_is_invalid_and_writes_nothing) {
	static const struct {
		const char *xml;
		size_t good;
	} cases[] = {
		{"<m a='b'><c/></m>", 13}, {"<m a='b'/>", 8}, {"<m><m></m></m>", 10}, {"", 99}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct pn_str xml = str(cases[i].xml);
		for (size_t at = 0; at <= xml.len + 3; at++) {
			struct pn_buf out = {0};
			const int err = pn_stanza_splice(&out, xml, at, str(CHILD));
			CHECK(err == (at == cases[i].good ? PN_OK : PN_EINVAL));
			CHECK(err == PN_OK || out.len == 0);
			pn_buf_free(&out);
		}
	}
}

TEST(a_splice_into_a_text_without_a_root_is_invalid) {
	static const char *const xml[] = {"/>",   "</>", "</", "<>",  "</></>",
					  "></>", "a",   "<",  "a/>", "</a>"};
	for (size_t i = 0; i < sizeof(xml) / sizeof(xml[0]); i++) {
		for (size_t at = 0; at <= strlen(xml[i]); at++) {
			struct pn_buf out = {0};
			if (!CHECK(pn_stanza_splice(&out, str(xml[i]), at, str(CHILD)) ==
				   PN_EINVAL))
				printf("# %s at %zu\n", xml[i], at);
			pn_buf_free(&out);
		}
	}
}

TEST(a_splice_into_any_truncation_of_a_stanza_is_invalid) {
	const struct pn_str xml = str("<message to='a'><body>hi</body></message>");
	struct guard guard = guard_new(xml.len);
	for (size_t len = 0; len < xml.len; len++) {
		const struct pn_str cut = {guard_put(&guard, xml.bytes, len), len};
		for (size_t at = 0; at <= xml.len; at++) {
			struct pn_buf out = {0};
			CHECK(pn_stanza_splice(&out, cut, at, str(CHILD)) == PN_EINVAL);
			pn_buf_free(&out);
		}
	}
	guard_free(&guard);
}

TEST(an_encoded_stanza_can_be_spliced_again_and_again) {
	struct fixture f;
	setup(&f);
	start(&f, "a");
	end(&f);
	size_t at = f.enc.splice;
	struct pn_str xml = {(const char *)f.buf.data, f.buf.len};
	struct pn_buf out[3] = {{0}, {0}, {0}};
	for (int i = 0; i < 3; i++) {
		REQUIRE(pn_stanza_splice(&out[i], xml, at, str("<b/>")) == PN_OK);
		xml = (struct pn_str){(const char *)out[i].data, out[i].len};
		at = xml.len - strlen("</a>");
	}
	pn_buf_append(&out[2], "", 1);
	CHECK_STR((const char *)out[2].data, "<a><b/><b/><b/></a>");
	for (int i = 0; i < 3; i++)
		pn_buf_free(&out[i]);
	teardown(&f);
}

/* ---- Delay ---- */

static void check_stamp(int64_t seconds, const char *want) {
	char xml[128];
	struct pn_buf out = {0};
	snprintf(xml, sizeof(xml), "<delay xmlns='urn:xmpp:delay' from='a' stamp='%s'/>", want);
	CHECK(pn_stanza_delay(&out, str("a"), seconds) == PN_OK);
	pn_buf_append(&out, "", 1);
	CHECK_STR((const char *)out.data, xml);
	pn_buf_free(&out);
}

TEST(a_delay_carries_its_time_in_utc) {
	check_stamp(0, "1970-01-01T00:00:00Z");
	check_stamp(-1, "1969-12-31T23:59:59Z");
	check_stamp(1709251199, "2024-02-29T23:59:59Z");
	check_stamp(4294967296, "2106-02-07T06:28:16Z");
	check_stamp(-62167219200, "0000-01-01T00:00:00Z");
	check_stamp(253402300799, "9999-12-31T23:59:59Z");
}

TEST(a_time_outside_the_years_0_to_9999_is_invalid) {
	static const int64_t times[] = {-62167219201, 253402300800, INT64_MIN, INT64_MAX};
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		struct pn_buf out = {0};
		CHECK(pn_stanza_delay(&out, str("a"), times[i]) == PN_EINVAL);
		pn_buf_free(&out);
	}
}

TEST(a_delay_of_an_invalid_time_writes_nothing) {
	struct pn_buf out = {0};
	pn_buf_append(&out, "abc", 3);
	CHECK(pn_stanza_delay(&out, str("a"), INT64_MAX) == PN_EINVAL);
	CHECK(out.len == 3);
	pn_buf_free(&out);
}

TEST(the_sender_of_a_delay_is_escaped) {
	struct pn_buf out = {0};
	CHECK(pn_stanza_delay(&out, str("<'&\">@b"), 0) == PN_OK);
	pn_buf_append(&out, "", 1);
	CHECK(strstr((const char *)out.data, " from='&lt;&apos;&amp;&quot;&gt;@b' ") != NULL);
	pn_buf_free(&out);
}

int main(void) {
	return test_run("stanza");
}
