/* pn/stanza.h: the decoder. */
#include <stdint.h>

#include <pn/err.h>
#include <pn/stanza.h>

#include "../oom/alloc.h"
#include "guard.h"
#include "test.h"
#include "tokens.h"

#define XML_NS "http://www.w3.org/XML/1998/namespace"
#define STREAM_NS "http://etherx.jabber.org/streams"

static const struct pn_decode_limits DEFAULTS = {0};

static int decode(struct pn_str xml, struct pn_decode_limits limits) {
	struct pn_buf out = {0};
	const int err = pn_stanza_decode(&out, xml, limits);
	pn_buf_free(&out);
	CHECK(test_alloc.blocks == 0);
	return err;
}

static void check_error(const char *xml, int want) {
	const int err = decode(str(xml), DEFAULTS);
	if (!CHECK(err == want))
		printf("# %d, not %d: %s\n", err, want, xml);
}

static void check_errors(const char *const *xml, size_t count, int want) {
	for (size_t i = 0; i < count; i++)
		check_error(xml[i], want);
}

#define CHECK_ERRORS(list, want) check_errors((list), sizeof(list) / sizeof((list)[0]), (want))

/* Decodes the bytes where they end at a forbidden page, and compares the tokens' dump. */
static void check_decodes_to(struct pn_str xml, const char *want) {
	struct pn_buf tokens = {0};
	struct pn_buf dump = {0};
	struct guard guard = guard_new(xml.len);
	const struct pn_str placed = {guard_put(&guard, xml.bytes, xml.len), xml.len};
	const int err = pn_stanza_decode(&tokens, placed, DEFAULTS);
	guard_free(&guard);
	if (CHECK(err == PN_OK)) {
		tokens_dump(&dump, &tokens);
		CHECK_STR((const char *)dump.data, want);
	} else {
		printf("# %d: %.*s\n", err, (int)xml.len, xml.bytes);
	}
	pn_buf_free(&tokens);
	pn_buf_free(&dump);
}

static void check_decodes(const char *xml, const char *want) {
	check_decodes_to(str(xml), want);
}

/* Bytes that a test writes piece by piece. */
static void put(struct pn_buf *buf, const char *text, size_t times) {
	for (size_t i = 0; i < times; i++)
		pn_buf_append(buf, text, strlen(text));
}

static struct pn_str all(const struct pn_buf *buf) {
	return (struct pn_str){(const char *)buf->data, buf->len};
}

/* ---- Results ---- */

TEST(elements_attributes_and_text_become_tokens_in_document_order) {
	check_decodes("<message to='a@b' type=\"chat\"><body>hi</body> tail</message>",
		      "(message to=a@b type=chat(body \"hi\") \" tail\")");
	check_decodes("<presence/>", "(presence)");
	check_decodes("<presence></presence>", "(presence)");
}

TEST(adjacent_text_is_one_token) {
	check_decodes("<a>1&amp;2&#51;\n<![CDATA[<4>]]>5<b/>6</a>", "(a \"1&23\n<4>5\"(b) \"6\")");
	check_decodes("<a><![CDATA[]]></a>", "(a)");
}

TEST(predefined_entities_and_character_references_are_resolved) {
	check_decodes("<a b='&apos;&quot;&lt;&gt;&amp;&#x1F600;&#9;'>&apos;&quot;&lt;&gt;&amp;</a>",
		      "(a b='\"<>&\xf0\x9f\x98\x80\t \"'\"<>&\")");
}

TEST(an_element_of_jabber_client_has_no_xmlns) {
	check_decodes("<iq xmlns='jabber:client'><a/></iq>", "(iq(a))");
	check_decodes("<c:iq xmlns:c='jabber:client'><c:a/></c:iq>", "(iq(a))");
}

TEST(an_element_of_another_namespace_has_its_xmlns_and_so_have_all_inside_it) {
	check_decodes("<iq><q xmlns='urn:x'><i/><b xmlns='jabber:client'/></q><c/></iq>",
		      "(iq(q xmlns=urn:x(i xmlns=urn:x)(b xmlns=jabber:client))(c))");
	check_decodes("<iq xmlns='jabber:server'><a xmlns='jabber:client'><b/></a></iq>",
		      "(iq xmlns=jabber:server(a xmlns=jabber:client(b xmlns=jabber:client)))");
	check_decodes("<iq xmlns='jabber:clienT'/>", "(iq xmlns=jabber:clienT)");
	check_decodes("<iq xmlns='jabber:client2'/>", "(iq xmlns=jabber:client2)");
}

TEST(an_empty_xmlns_is_an_xmlns) {
	check_decodes("<iq><a xmlns=''><b/></a></iq>", "(iq(a xmlns=(b xmlns=)))");
}

TEST(the_prefix_of_the_stream_can_be_used) {
	check_decodes("<stream:error><x/></stream:error>",
		      "(error xmlns=" STREAM_NS "(x xmlns=jabber:client))");
}

TEST(an_attribute_of_a_namespace_keeps_it_before_a_separator) {
	check_decodes("<a xmlns:p='urn:p' p:k='1' k='2'/>", "(a urn:p\1k=1 k=2)");
	check_decodes("<p:a xmlns:p='urn:p' p:k='1'/>", "(a xmlns=urn:p urn:p\1k=1)");
}

TEST(the_four_attributes_of_xml_keep_their_prefix) {
	check_decodes("<a xml:lang='en' xml:space='s' xml:base='b' xml:id='i'/>",
		      "(a xml:lang=en xml:space=s xml:base=b xml:id=i)");
	check_decodes("<a xml:other='o' xml:langx='l' xml:lan='n'/>",
		      "(a " XML_NS "\1other=o " XML_NS "\1langx=l " XML_NS "\1lan=n)");
}

TEST(the_language_of_a_parent_is_not_inherited) {
	check_decodes("<a xml:lang='de'><b/></a>", "(a xml:lang=de(b))");
}

TEST(unicode_of_every_length_passes) {
	static const char text[] =
		"\x7f \xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80"
		" \xef\xbf\xbd \xf0\x90\x80\x80 \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf";
	char xml[256];
	char want[256];
	snprintf(xml, sizeof(xml), "<a b='%s'>%s</a>", text, text);
	snprintf(want, sizeof(want), "(a b=%s \"%s\")", text, text);
	check_decodes(xml, want);
	check_decodes("<\xc3\xa4 \xc3\xb6='1'/>", "(\xc3\xa4 \xc3\xb6=1)");
}

TEST(white_space_in_an_attribute_is_normalised_as_xml_requires) {
	check_decodes("<a b='1\n2\t3\r\n4'>1\r\n2\r3</a>", "(a b=1 2 3 4 \"1\n2\n3\")");
}

/* ---- Errors ---- */

TEST(every_truncation_of_a_stanza_is_not_well_formed) {
	const struct pn_str xml =
		str("<m to='a' x:y='z' xmlns:x='urn:x'><b>h&amp;i \xf0\x9f\x98\x80"
		    "</b><![CDATA[x]]><c xmlns='urn:c'/></m>");
	struct guard guard = guard_new(xml.len);
	for (size_t len = 0; len <= xml.len; len++) {
		const struct pn_str cut = {guard_put(&guard, xml.bytes, len), len};
		CHECK(decode(cut, DEFAULTS) == (len == xml.len ? PN_OK : PN_EXML));
	}
	guard_free(&guard);
}

TEST(a_stanza_without_its_beginning_is_refused) {
	const struct pn_str xml = str("<m to='a'><b>h&amp;i</b><c xmlns='urn:c'/></m>");
	for (size_t cut = 1; cut < xml.len; cut++)
		CHECK(decode((struct pn_str){xml.bytes + cut, xml.len - cut}, DEFAULTS) == PN_EXML);
}

TEST(anything_beside_one_element_is_not_well_formed) {
	static const char *const xml[] = {
		"",
		" ",
		"x",
		"<a/><b/>",
		"<a/><a/>",
		"<a></a><b></b>",
		" <a/>",
		"<a/> ",
		"<a/>\n",
		"x<a/>",
		"<a/>x",
		"<a/>&amp;",
		"&#32;<a/>",
		"<a/>&#32;",
		"<![CDATA[x]]><a/>",
		"<a/><![CDATA[x]]>",
		"\xef\xbb\xbf<a/>",
	};
	CHECK_ERRORS(xml, PN_EXML);
}

TEST(markup_that_is_not_well_formed_is_refused) {
	static const char *const xml[] = {
		"<a",
		"<a></b>",
		"<a><b></a></b>",
		"</a>",
		"<a b/>",
		"<a b=c/>",
		"<a b='<'/>",
		"<a b='1' b='2'/>",
		"<a>]]></a>",
		"<a>&</a>",
		"<a>&amp</a>",
		"<1/>",
		"<a:b/>",
		"<a b:c='d'/>",
		"<a xmlns:b=''/>",
		"<:a/>",
		"<a:b:c xmlns:a='x'/>",
		"<a xmlns:x='u' xmlns:y='u' x:k='1' y:k='2'/>",
		"<a b='1'c='2'/>",
		"<xmlns:a/>",
		"<a xmlns:xmlns='x'/>",
		"<a xmlns:xml='x'/>",
		"<a xmlns:b='" XML_NS "'/>",
	};
	CHECK_ERRORS(xml, PN_EXML);
}

TEST(a_stanza_cannot_end_the_stream_around_it) {
	static const char *const xml[] = {
		"</stream:stream>",
		"<a/></stream:stream>",
		"<a></stream:stream>",
		"</stream:stream><a/>",
		"<a/></stream:stream><b/>",
		"<a/></stream:stream><stream:stream xmlns:stream='" STREAM_NS "'>",
		"<a/></stream:stream><stream:stream xmlns:stream='" STREAM_NS "'><b/>",
		"</stream:stream><stream:stream xmlns:stream='" STREAM_NS "'><a/>",
		"<a/></stream:stream",
		"<stream:stream>",
		"<a/><stream:stream>",
	};
	CHECK_ERRORS(xml, PN_EXML);
}

TEST(nothing_that_swallows_the_end_of_the_stream_passes) {
	static const char *const xml[] = {"<a/><![CDATA[", "<a/><b c='", "<a/><", "<a/></",
					  "<a><![CDATA[",  "<a b='",     "<a/>&", "<a/><b"};
	CHECK_ERRORS(xml, PN_EXML);
	check_error("<a/><!--", PN_EXML);
	check_error("<a/><?b", PN_EXML);
}

TEST(comments_instructions_and_entities_are_restricted) {
	static const char *const xml[] = {
		"<!-- --><a/>",
		"<a><!-- --></a>",
		"<a/><!---->",
		"<?b?><a/>",
		"<a><?b c?></a>",
		"<a/><?b?>",
		"<a>&foo;</a>",
		"<a b='&foo;'/>",
		"&foo;<a/>",
		"<?xml version='1.0'?><a/>",
		"<a><?xml version='1.0'?></a>",
		"<a/></stream:stream><!-- -->",
	};
	CHECK_ERRORS(xml, PN_ERESTRICTED);
}

TEST(a_dtd_is_not_well_formed_after_the_start_of_a_stream) {
	static const char *const xml[] = {
		"<!DOCTYPE a><a/>",       "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
		"<a><!DOCTYPE a></a>",    "<a/><!DOCTYPE a>",
		"<a><!ENTITY b 'c'></a>",
	};
	CHECK_ERRORS(xml, PN_EXML);
}

TEST(control_characters_are_not_well_formed_in_any_disguise) {
	for (unsigned int c = 0; c < 32; c++) {
		const bool allowed = c == '\t' || c == '\n' || c == '\r';
		const char raw[] = {'<', 'a', '>', (char)c, '<', '/', 'a', '>'};
		const char value[] = {'<', 'a', ' ', 'b', '=', '\'', (char)c, '\'', '/', '>'};
		char reference[32];
		snprintf(reference, sizeof(reference), "<a b='&#%u;'>&#x%x;</a>", c, c);
		const int want = allowed ? PN_OK : PN_EXML;
		CHECK(decode((struct pn_str){raw, sizeof(raw)}, DEFAULTS) == want);
		CHECK(decode((struct pn_str){value, sizeof(value)}, DEFAULTS) == want);
		check_error(reference, want);
	}
}

TEST(invalid_utf_8_is_not_well_formed) {
	static const char *const bad[] = {
		"\x80",
		"\xbf",
		"\xc3",
		"\xc3(",
		"\xc0\x80",
		"\xc1\xbf",
		"\xe0\x80\x80",
		"\xe0\x9f\xbf",
		"\xe2\x82",
		"\xe2(\xa1",
		"\xed\xa0\x80",
		"\xed\xbf\xbf",
		"\xef\xbf\xbe",
		"\xef\xbf\xbf",
		"\xf0\x80\x80\x80",
		"\xf0\x8f\xbf\xbf",
		"\xf0\x9f\x98",
		"\xf4\x90\x80\x80",
		"\xf5\x80\x80\x80",
		"\xff",
		"\xfe",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char xml[64];
		snprintf(xml, sizeof(xml), "<a>%s</a>", bad[i]);
		check_error(xml, PN_EXML);
		snprintf(xml, sizeof(xml), "<a b='%s'/>", bad[i]);
		check_error(xml, PN_EXML);
		snprintf(xml, sizeof(xml), "<a%s/>", bad[i]);
		check_error(xml, PN_EXML);
	}
}

TEST(an_encoding_other_than_utf_8_is_refused) {
	static const char utf16[] = "\xff\xfe<\0a\0/\0>\0";
	CHECK(decode((struct pn_str){utf16, sizeof(utf16) - 1}, DEFAULTS) == PN_EXML);
	check_error("<?xml version='1.0' encoding='ISO-8859-1'?><a/>", PN_ERESTRICTED);
}

/* ---- Limits ---- */

TEST(a_stanza_may_reach_the_limit_in_bytes_and_not_pass_it) {
	const struct pn_str xml = str("<a>12345</a>");
	CHECK(decode(xml, (struct pn_decode_limits){.bytes = xml.len}) == PN_OK);
	CHECK(decode(xml, (struct pn_decode_limits){.bytes = xml.len - 1}) == PN_ESIZE);
	CHECK(decode(xml, (struct pn_decode_limits){.bytes = 1}) == PN_ESIZE);
}

TEST(the_limit_in_bytes_has_a_maximum) {
	struct pn_buf xml = {0};
	pn_buf_reserve(&xml, PN_STANZA_MAX_BYTES + 1);
	REQUIRE(xml.err == 0);
	memset(xml.data, 'x', PN_STANZA_MAX_BYTES + 1);
	xml.len = PN_STANZA_MAX_BYTES + 1;
	struct pn_buf out = {0};
	CHECK(pn_stanza_decode(&out, all(&xml), DEFAULTS) == PN_ESIZE);
	CHECK(pn_stanza_decode(&out, all(&xml), (struct pn_decode_limits){.bytes = SIZE_MAX}) ==
	      PN_ESIZE);
	xml.len--;
	CHECK(pn_stanza_decode(&out, all(&xml), DEFAULTS) == PN_EXML);
	CHECK(out.data == NULL);
	pn_buf_free(&xml);
}

TEST(a_stanza_may_reach_the_limit_in_depth_and_not_pass_it) {
	const struct pn_str xml = str("<a><b><c/></b><b><c></c></b></a>");
	CHECK(decode(xml, (struct pn_decode_limits){.depth = 3}) == PN_OK);
	CHECK(decode(xml, (struct pn_decode_limits){.depth = 2}) == PN_EDEPTH);
	CHECK(decode(xml, (struct pn_decode_limits){.depth = 1}) == PN_EDEPTH);
	CHECK(decode(str("<a/>"), (struct pn_decode_limits){.depth = 1}) == PN_OK);
}

TEST(a_stanza_may_reach_the_limit_in_elements_and_not_pass_it) {
	const struct pn_str xml = str("<a><b/><b/><b>x</b></a>");
	CHECK(decode(xml, (struct pn_decode_limits){.elements = 4}) == PN_OK);
	CHECK(decode(xml, (struct pn_decode_limits){.elements = 3}) == PN_EELEMENTS);
	CHECK(decode(xml, (struct pn_decode_limits){.elements = 1}) == PN_EELEMENTS);
	CHECK(decode(str("<a/>"), (struct pn_decode_limits){.elements = 1}) == PN_OK);
}

TEST(the_first_error_is_reported) {
	static const struct pn_decode_limits limits = {.depth = 1, .elements = 1};
	CHECK(decode(str("<a><b><!-- --></b>"), limits) == PN_EDEPTH);
	CHECK(decode(str("<a><!-- --><b/>"), limits) == PN_ERESTRICTED);
	CHECK(decode(str("<a></b><!-- -->"), limits) == PN_EXML);
	CHECK(decode(str("<a/><b/>"), limits) == PN_EXML);
}

/* ---- Size ---- */

static void check_depth(size_t depth, int want) {
	struct pn_buf xml = {0};
	put(&xml, "<a>", depth);
	put(&xml, "</a>", depth);
	struct pn_buf tokens = {0};
	CHECK(pn_stanza_decode(&tokens, all(&xml), DEFAULTS) == want);
	if (want == PN_OK)
		CHECK(tokens.len == depth * (1 + 4 + 1 + 1));
	pn_buf_free(&tokens);
	pn_buf_free(&xml);
}

TEST(deep_stanzas_decode_up_to_the_default_limit) {
	check_depth(200, PN_OK);
	check_depth(90000, PN_OK);
	check_depth(PN_STANZA_MAX_DEPTH, PN_OK);
	check_depth(PN_STANZA_MAX_DEPTH + 1, PN_EDEPTH);
}

TEST(five_hundred_children_decode) {
	struct pn_buf xml = {0};
	struct pn_buf want = {0};
	put(&xml, "<a>", 1);
	put(&xml, "<b c='d'>e</b>", 500);
	put(&xml, "</a>", 1);
	put(&want, "(a", 1);
	put(&want, "(b c=d \"e\")", 500);
	put(&want, ")", 1);
	pn_buf_append(&want, "", 1);
	check_decodes_to(all(&xml), (const char *)want.data);
	pn_buf_free(&xml);
	pn_buf_free(&want);
}

TEST(a_megabyte_of_text_is_one_token) {
	enum { MB = 1024 * 1024 };
	struct pn_buf xml = {0};
	put(&xml, "<a>", 1);
	put(&xml, "\xf0\x9f\x98\x80", MB / 4);
	put(&xml, "</a>", 1);
	struct pn_buf tokens = {0};
	CHECK(pn_stanza_decode(&tokens, all(&xml), DEFAULTS) == PN_OK);
	CHECK(tokens.len == 6 + 5 + MB + 1);
	CHECK(memcmp(tokens.data + 11, xml.data + 3, MB) == 0);
	pn_buf_free(&tokens);
	pn_buf_free(&xml);
}

TEST(a_megabyte_in_one_attribute_decodes) {
	enum { MB = 1024 * 1024 };
	struct pn_buf xml = {0};
	put(&xml, "<a b='", 1);
	put(&xml, "&lt;xyz", MB / 4);
	put(&xml, "'/>", 1);
	struct pn_buf tokens = {0};
	CHECK(pn_stanza_decode(&tokens, all(&xml), DEFAULTS) == PN_OK);
	CHECK(tokens.len == 6 + 1 + 5 + 4 + MB + 1);
	pn_buf_free(&tokens);
	pn_buf_free(&xml);
}

TEST(tokens_are_appended_to_the_content_of_the_buffer) {
	struct pn_buf out = {0};
	put(&out, "before", 1);
	CHECK(pn_stanza_decode(&out, str("<a>b<c/></a>"), DEFAULTS) == PN_OK);
	CHECK(memcmp(out.data, "before\1\0\0\0\1a\3\0\0\0\1b\1\0\0\0\1c\4\4", out.len) == 0);
	CHECK(out.len == 6 + 6 + 6 + 6 + 2);
	pn_buf_free(&out);
}

TEST(a_buffer_with_an_error_is_not_written_to) {
	struct pn_buf out = {0};
	put(&out, "before", 1);
	(void)pn_buf_reserve(&out, SIZE_MAX);
	CHECK(pn_stanza_decode(&out, str("<a>b<c/>d</a>"), DEFAULTS) == PN_ENOMEM);
	CHECK(out.len == 6);
	pn_buf_free(&out);
}

int main(void) {
	return test_run("decode");
}
