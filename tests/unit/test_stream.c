/* pn/stream.h: streams, and what their parsing costs. */
#include <expat.h>

#include "../oom/alloc.h"
#include "stream_fixture.h"
#include "test.h"
#include "tokens.h"

static void put(struct pn_buf *buf, const char *bytes, size_t times) {
	for (size_t i = 0; i < times; i++)
		pn_buf_append(buf, bytes, strlen(bytes));
}

static struct pn_str all(const struct pn_buf *buf) {
	return (struct pn_str){(const char *)buf->data, buf->len};
}

/* ---- expat's work: the bytes that it reads, those of an incomplete token again in each call ----
 */

static struct {
	int64_t fed;    /* to the parser of this test */
	int64_t held;   /* of them, in an incomplete token */
	uint64_t read;  /* in all calls */
	uint64_t calls; /* of XML_Parse */
} work;

enum XML_Status __real_XML_Parse(XML_Parser expat, const char *bytes, int len, int final);
enum XML_Status __wrap_XML_Parse(XML_Parser expat, const char *bytes, int len, int final);

enum XML_Status __wrap_XML_Parse(XML_Parser expat, const char *bytes, int len, int final) {
	work.calls++;
	work.read += (uint64_t)(len + work.held);
	work.fed += len;
	const enum XML_Status status = __real_XML_Parse(expat, bytes, len, final);
	work.held = work.fed - XML_GetCurrentByteIndex(expat);
	return status;
}

static struct fixture open_client(size_t idle) {
	struct fixture f = {0};
	memset(&work, 0, sizeof(work));
	REQUIRE(fixture_open(&f, idle) == PN_OK);
	return f;
}

static int feed(struct fixture *f, const char *bytes) {
	return fixture_feed(f, str(bytes));
}

static int feed_bytewise(struct fixture *f, struct pn_str bytes) {
	int result = 0;
	for (size_t i = 0; i < bytes.len && result == 0; i++)
		result = fixture_feed(f, (struct pn_str){bytes.bytes + i, 1});
	return result;
}

static void close_client(struct fixture *f) {
	fixture_close(f);
	CHECK(test_alloc.blocks == 0);
}

/* Whole and byte by byte. */
static void check_events(const char *xml, int result, const char *want) {
	for (int bytewise = 0; bytewise <= 1; bytewise++) {
		struct fixture f = open_client(1);
		const int got = bytewise ? feed_bytewise(&f, str(xml)) : feed(&f, xml);
		CHECK_STR(fixture_log(&f), want);
		if (!CHECK(got == result))
			printf("# %s\n", xml);
		close_client(&f);
	}
}

#define OPEN "open (stream {" STREAMS "} xml:lang=de"

/* ---- Events ---- */

TEST(a_stream_opens_and_closes) {
	check_events(HEADER "</stream:stream>", 0, OPEN "close ");
	check_events("<?xml version='1.0'?>" HEADER, 0, OPEN);
}

TEST(a_stanza_has_its_attributes_texts_and_elements) {
	check_events(HEADER "<iq to='a&amp;b'>x<![CDATA[<y>]]>&#33;<z xmlns='urn:z'><iq "
			    "xmlns='jabber:client'/></z></iq>",
		     0, OPEN "stanza (iq to=a&b\"x<y>!\"(z {urn:z}(iq {jabber:client})))");
}

TEST(names_of_the_namespace_xml_keep_their_prefix) {
	check_events(HEADER "<iq xml:lang='a' xml:id='b' xml:x='c'/>", 0,
		     OPEN "stanza (iq xml:lang=a xml:id=b "
			  "http://www.w3.org/XML/1998/namespace\1x=c)");
}

TEST(an_element_in_the_place_of_the_stream_or_of_a_stanza_is_reported) {
	check_events("<html>", 0, "other \"html\"");
	check_events("<html/>", 0, "other \"html\"close ");
	check_events(HEADER "<x/>", 0, OPEN "unknown stanza (x)");
	check_events(HEADER "<stream:error/>", 0, OPEN "error (error {" STREAMS "})");
}

TEST(restricted_xml_ends_the_stream) {
	check_events(HEADER "<!-- a>b - -->", -1, OPEN "restricted ");
	check_events(HEADER "<?a b>c?>", -1, OPEN "restricted ");
	check_events("<!DOCTYPE a [", -1, "restricted ");
	check_events("<!DOCTYPE a SYSTEM 'x>y'>", -1, "restricted ");
}

TEST(xml_that_is_not_well_formed_ends_the_stream) {
	static const char *const broken[] = {"<iq></a>", "<iq a=''a=''/>", "&x;", "<iq><", "<iq '",
					     "</x>",     "<iq>]]>",        "\1",  "<!x",   "< "};
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		struct fixture f = open_client(1);
		CHECK(feed(&f, HEADER) == 0);
		int result = feed(&f, broken[i]);
		if (result == 0)
			result = feed(&f, "<");
		if (!CHECK(result == -1))
			printf("# %s\n", broken[i]);
		CHECK(feed(&f, "<iq/>") == -1);
		close_client(&f);
	}
}

TEST(utf16_is_not_well_formed) {
	struct fixture f = open_client(1);
	CHECK(fixture_feed(&f, (struct pn_str){"\xff\xfe<\0", 4}) == -1);
	CHECK_STR(pn_parser_error(f.parser), "not well-formed (invalid token)");
	close_client(&f);
}

TEST(a_limit_of_elements_ends_the_stream) {
	struct fixture f = open_client(1);
	CHECK(feed(&f, HEADER) == 0);
	pn_stream_limit_elements(f.stream, 2);
	CHECK(feed(&f, "<iq><a/></iq><iq><a/><b>") == -1);
	CHECK(strstr(fixture_log(&f), "elements ") != NULL);
	close_client(&f);
}

TEST(all_bytes_are_reported_once) {
	static const char *const parts[] = {HEADER, "<iq><a>", "x</a>", " </iq> ", "\n<iq/>"};
	struct fixture f = open_client(0);
	size_t len = 0;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		len += strlen(parts[i]);
		CHECK(feed(&f, parts[i]) == 0);
	}
	CHECK((size_t)f.parsed == len);
	close_client(&f);
}

TEST(a_reset_forgets_an_incomplete_stanza) {
	struct fixture f = open_client(1);
	struct pn_parser *next;
	CHECK(feed(&f, HEADER "<iq><a>x") == 0);
	pn_stream_reset(f.stream);
	REQUIRE(pn_parser_new(&next, f.stream) == PN_OK);
	pn_parser_free(f.parser);
	f.parser = next;
	f.expects = true;
	CHECK(feed(&f, HEADER "<iq/>") == 0);
	CHECK_STR(fixture_log(&f), OPEN OPEN "stanza (iq)");
	close_client(&f);
}

TEST(the_end_of_the_document_is_parsed) {
	struct fixture f = open_client(1);
	CHECK(feed(&f, HEADER "<iq/") == 0);
	CHECK(fixture_handle(&f, pn_parser_finish(f.parser)) == -1);
	CHECK_STR(pn_parser_error(f.parser), "unclosed token");
	close_client(&f);
}

/* ---- No byte waits ---- */

TEST(a_stanza_is_complete_with_its_last_byte_wherever_it_is_cut) {
	static const char stanza[] = "<message to='u1@localhost/r' type='chat' "
				     "id='8c1f0a52-4d0e'><body>0123456789</body></message>";
	for (size_t at = 1; at < sizeof(stanza) - 1; at++) {
		struct fixture f = open_client(1);
		CHECK(feed(&f, HEADER) == 0);
		CHECK(fixture_feed(&f, (struct pn_str){stanza, at}) == 0);
		CHECK(f.stanzas == 0);
		CHECK(feed(&f, stanza + at) == 0);
		if (!CHECK(f.stanzas == 1))
			printf("# cut after %zu\n", at);
		close_client(&f);
	}
}

/* ---- Work ---- */

enum { MANY = 256 * 1024 };

/* `begin`, and then `repeated` until there are MANY bytes, one byte at a time. */
static void check_linear(const char *begin, const char *repeated) {
	struct fixture f = open_client(1);
	struct pn_buf xml = {0};
	CHECK(feed(&f, begin) == 0);
	put(&xml, repeated, MANY / strlen(repeated));
	CHECK(feed_bytewise(&f, all(&xml)) == 0);
	if (!CHECK(work.read <= 3 * (uint64_t)MANY && work.calls <= 2 * (uint64_t)MANY))
		printf("# %s%s...: expat reads %llu bytes\n", begin, repeated,
		       (unsigned long long)work.read);
	pn_buf_free(&xml);
	close_client(&f);
}

TEST(each_byte_is_parsed_once_if_bytes_arrive_one_by_one) {
	check_linear(HEADER "<iq a='", "x > ");
	check_linear(HEADER "<iq a='x' ", "x");
	check_linear(HEADER "<iq a='&", "x > ");
	check_linear(HEADER "<iq", "x");
	check_linear(HEADER "<iq></iq", "x");
	check_linear(HEADER "<iq><a>", "x");
	check_linear(HEADER "<iq><![CDATA[", "x");
	check_linear(HEADER "<iq>&", "x");
	check_linear(HEADER "<iq>&#x41", "x");
	check_linear(HEADER "<!-- ", ">- ");
	check_linear(HEADER "<?a ", "> ? ");
	check_linear(HEADER "<iq>", "<a b='>'>x</a>");
	check_linear(HEADER "<iq>", "&amp;");
	check_linear(HEADER, "<iq/>");
	check_linear(HEADER "<iq>", "\xe2\x82\xac\r");
	check_linear("<!DOCTYPE a SYSTEM '", "x>");
	check_linear("<?xml version='", "1");
	check_linear("", " ");
	check_linear("<a b='", "x");
}

TEST(a_large_stanza_is_parsed_once_if_it_arrives_at_once) {
	struct fixture f = open_client(1);
	struct pn_buf xml = {0};
	put(&xml, HEADER "<iq a='", 1);
	put(&xml, "x", MANY);
	put(&xml, "'>", 1);
	put(&xml, "<a>y</a>", MANY);
	put(&xml, "</iq>", 1);
	CHECK(fixture_feed(&f, all(&xml)) == 0);
	CHECK(f.stanzas == 1 && work.read <= xml.len + xml.len / 2);
	pn_buf_free(&xml);
	close_client(&f);
}

/* ---- Memory ---- */

TEST(an_idle_stream_keeps_no_parser_beyond_the_number_of_the_pool) {
	struct fixture f[4] = {0};
	size_t with_parser = 0;
	size_t without = 0;
	for (size_t i = 0; i < 4; i++) {
		const size_t before = test_alloc.bytes;
		f[i] = open_client(i % 2);
		CHECK(feed(&f[i], HEADER "<iq/>") == 0);
		CHECK(pn_stream_pool_idle(f[i].pool) == i % 2);
		*(i % 2 ? &with_parser : &without) = test_alloc.bytes - before;
	}
	CHECK(without < 2048 && with_parser > 2 * without);
	for (size_t i = 0; i < 4; i++) {
		CHECK(feed(&f[i], "<iq><stream:x/></iq></stream:stream>") == 0);
		CHECK_STR(fixture_log(&f[i]), OPEN "stanza (iq)stanza (iq(x {" STREAMS "}))close ");
		fixture_close(&f[i]);
	}
	CHECK(test_alloc.blocks == 0);
}

TEST(a_stream_forgets_the_memory_of_a_large_stanza) {
	struct fixture f = open_client(1);
	struct pn_buf xml = {0};
	CHECK(feed(&f, HEADER "<iq/>") == 0);
	pn_buf_free(&f.log);
	const size_t before = test_alloc.bytes;
	put(&xml, "<iq>", 37000);
	put(&xml, "</iq>", 37000);
	CHECK(fixture_feed(&f, all(&xml)) == 0);
	pn_buf_free(&xml);
	pn_buf_free(&f.log);
	CHECK(f.stanzas == 2 && test_alloc.bytes <= before);
	close_client(&f);
}

TEST(half_a_stanza_takes_memory_in_proportion_to_its_bytes) {
	struct fixture f = open_client(1);
	struct pn_buf xml = {0};
	CHECK(feed(&f, HEADER) == 0);
	const size_t before = test_alloc.bytes;
	put(&xml, "<a>", 37000);
	CHECK(fixture_feed(&f, all(&xml)) == 0);
	CHECK(test_alloc.bytes - before < 200 * (size_t)37000 * 3);
	pn_buf_free(&xml);
	close_client(&f);
}

TEST(long_namespaces_used_in_turns_cannot_take_more_memory_than_the_limit) {
	struct fixture f = open_client(1);
	struct pn_buf xml = {0};
	put(&xml, HEADER "<iq xmlns:p='", 1);
	put(&xml, "p", MANY / 4);
	put(&xml, "' xmlns:q='", 1);
	put(&xml, "q", MANY / 4);
	put(&xml, "'>", 1);
	put(&xml, "<p:a><q:a>", MANY / 20);
	CHECK(fixture_feed(&f, all(&xml)) == -1);
	CHECK(strstr(fixture_log(&f), "excessive ") != NULL);
	CHECK(test_alloc.bytes < (size_t)4 * PN_STREAM_MAX_FACTOR * xml.len);
	pn_buf_free(&xml);
	close_client(&f);
}

TEST(a_stanza_that_is_nested_too_deeply_ends_the_stream) {
	struct fixture f = open_client(1);
	struct pn_buf xml = {0};
	put(&xml, HEADER, 1);
	put(&xml, "<a>", PN_STREAM_MAX_DEPTH);
	CHECK(fixture_feed(&f, all(&xml)) == 0);
	CHECK(feed(&f, "<a>") == -1);
	CHECK(strstr(fixture_log(&f), "excessive ") != NULL);
	pn_buf_free(&xml);
	close_client(&f);
}

int main(void) {
	return test_run("stream");
}
