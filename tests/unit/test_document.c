/* pn/stanza.h and pn/pack.h: documents, and which strings are names and text. */
#include <pn/err.h>
#include <pn/pack.h>

#include "../oom/alloc.h"
#include "guard.h"
#include "test.h"
#include "tokens.h"

static struct pn_str all(const struct pn_buf *buf) {
	return (struct pn_str){(const char *)buf->data, buf->len};
}

static void check_decodes(const char *xml, const char *want) {
	struct pn_buf tokens = {0};
	struct pn_buf dump = {0};
	if (CHECK(pn_stanza_decode_document(&tokens, str(xml)) == PN_OK)) {
		tokens_dump(&dump, &tokens);
		CHECK_STR((const char *)dump.data, want);
	} else {
		printf("# %s\n", xml);
	}
	pn_buf_free(&tokens);
	pn_buf_free(&dump);
}

/* The bytes end at a forbidden page. */
static int pack(struct pn_str xml) {
	struct pn_buf packed = {0};
	struct pn_wire tokens;
	struct guard guard = guard_new(xml.len);
	const struct pn_str placed = {guard_put(&guard, xml.bytes, xml.len), xml.len};
	const int err = pn_pack_document(&packed, placed);
	if (err == PN_OK)
		CHECK(pn_unpack(all(&packed), &tokens) == PN_OK);
	guard_free(&guard);
	pn_buf_free(&packed);
	CHECK(test_alloc.blocks == 0);
	return err;
}

/* ---- Documents ---- */

TEST(every_element_with_a_namespace_has_its_xmlns) {
	check_decodes("<message><body>hi</body></message>", "(message(body \"hi\"))");
	check_decodes("<m xmlns='jabber:client'><b/></m>",
		      "(m xmlns=jabber:client(b xmlns=jabber:client))");
	check_decodes("<m xmlns='urn:x'><a/><b xmlns=''><c/></b><d/></m>",
		      "(m xmlns=urn:x(a xmlns=urn:x)(b(c))(d xmlns=urn:x))");
	check_decodes("<p:a xmlns:p='urn:p' p:k='1' k='2'><b/></p:a>",
		      "(a xmlns=urn:p urn:p\1k=1 k=2(b))");
}

TEST(every_attribute_of_xml_keeps_its_prefix) {
	check_decodes("<a xml:lang='en' xml:other='o' xml:langx=''/>",
		      "(a xml:lang=en xml:other=o xml:langx=)");
}

TEST(space_around_a_document_is_no_text) {
	check_decodes(" \n<a> 1&amp;2<![CDATA[<3>]]></a>\n ", "(a \" 1&2<3>\")");
}

TEST(a_declaration_a_doctype_comments_instructions_and_entities_are_refused) {
	CHECK(pack(str("<?xml version='1.0'?><a/>")) == PN_ERESTRICTED);
	CHECK(pack(str("<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe4</a>")) ==
	      PN_ERESTRICTED);
	CHECK(pack(str("<!DOCTYPE a><a/>")) == PN_ERESTRICTED);
	CHECK(pack(str("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>")) == PN_ERESTRICTED);
	CHECK(pack(str("<a/><!-- b -->")) == PN_ERESTRICTED);
	CHECK(pack(str("<a><?b?></a>")) == PN_ERESTRICTED);
	CHECK(pack(str("<a>&b;</a>")) == PN_ERESTRICTED);
}

TEST(anything_but_one_element_is_not_well_formed) {
	const char *const xml[] = {
		"",          " ",          "x",      "<a",          "<a>",
		"<a/>x",     "<a/><b/>",   "<p:a/>", "<stream:a/>", "<a b='1' b='2'/>",
		"<a>\1</a>", "<a>\xff</a>"};
	for (size_t i = 0; i < sizeof(xml) / sizeof(xml[0]); i++)
		CHECK(pack(str(xml[i])) == PN_EXML);
}

TEST(every_truncation_of_a_document_is_refused) {
	const struct pn_str xml =
		str("<p:a xmlns:p='urn:p' p:k='&lt;'>t\xf0\x9f\x98\x80<b xml:lang='en'/></p:a>");
	CHECK(pack(xml) == PN_OK);
	for (size_t len = 0; len < xml.len; len++)
		CHECK(pack((struct pn_str){xml.bytes, len}) == PN_EXML);
}

TEST(a_namespace_that_cannot_be_a_name_is_refused_before_an_attribute_only) {
	CHECK(pack(str("<a xmlns='urn:&lt;x y'/>")) == PN_OK);
	CHECK(pack(str("<a xmlns:p='urn:&lt;x' p:k=''/>")) == PN_EXML);
	CHECK(pack(str("<a xmlns:p='urn:x y' p:k=''/>")) == PN_EXML);
}

TEST(a_packed_document_is_appended) {
	struct pn_buf out = {0};
	pn_buf_append(&out, "before", 6);
	CHECK(pn_pack_document(&out, str("<body>b<x/></body>")) == PN_OK);
	CHECK(out.len == 6 + 1 + 2 + 3 + 2 + 2);
	CHECK(memcmp(out.data, "before\1\1", 8) == 0);
	pn_buf_free(&out);
}

/* ---- Names and text ---- */

static bool is_text(const char *bytes) {
	struct guard guard = guard_new(strlen(bytes));
	const struct pn_str text = {guard_put(&guard, bytes, strlen(bytes)), strlen(bytes)};
	const bool result = pn_stanza_is_text(text);
	guard_free(&guard);
	return result;
}

TEST(text_is_utf8) {
	const char *const good[] = {"",
				    "az",
				    "\x7f",
				    "\xc2\x80",
				    "\xdf\xbf",
				    "\xe0\xa0\x80",
				    "\xed\x9f\xbf",
				    "\xee\x80\x80",
				    "\xef\xbf\xbd",
				    "\xf0\x90\x80\x80",
				    "\xf4\x8f\xbf\xbf"};
	const char *const bad[] = {"\x80",
				   "\xbf",
				   "\xc0\x80",
				   "\xc1\xbf",
				   "\xc2",
				   "\xc2z",
				   "\xe0\x80\x80",
				   "\xe0\x9f\xbf",
				   "\xe2\x82",
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
				   "a\xe2\x82\xc2"};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CHECK(is_text(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!is_text(bad[i]));
}

TEST(text_has_three_control_characters) {
	for (char c = 0; c < ' '; c++)
		CHECK(pn_stanza_is_text((struct pn_str){&c, 1}) ==
		      (c == '\t' || c == '\n' || c == '\r'));
}

TEST(names_have_no_characters_that_end_them) {
	const char *const good[] = {"a", "xml:lang", "a.-_1", "\xc3\xa4", "|"};
	const char *const bad[] = {"",   "a b", "<",  "a>",   "&",   "'",   "\"",
				   "\t", "\n",  "\1", "\xff", "a\1", "\1a", "a\1\1b"};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		CHECK(pn_stanza_is_name(str(good[i]), false));
		CHECK(pn_stanza_is_name(str(good[i]), true));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(!pn_stanza_is_name(str(bad[i]), false));
		CHECK(!pn_stanza_is_name(str(bad[i]), true));
	}
	CHECK(!pn_stanza_is_name((struct pn_str){"a\0b", 3}, false));
}

TEST(an_attribute_may_have_a_namespace) {
	CHECK(pn_stanza_is_name(str("urn:x\1a"), true));
	CHECK(!pn_stanza_is_name(str("urn:x\1a"), false));
	CHECK(!pn_stanza_is_name(str("urn: x\1a"), true));
	CHECK(!pn_stanza_is_name(str("urn:x\1a b"), true));
}

int main(void) {
	return test_run("document");
}
