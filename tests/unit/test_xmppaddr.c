/* XmppAddr in Unicode: RFC 6120 section 13.7.1.4, RFC 3491, UTS 46 */
#include "cert_fixture.h"

#define BUECHER                                                                                    \
	"b\xc3\xbc"                                                                                \
	"cher.example"
#define A_BUECHER "xn--bcher-kva.example"

/* Whether a certificate with these names, as san_words() reads them, is the domain's. */
static bool is(const char *words, const char *domain) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){.names = words});
	const struct answer answer = ask((struct question){
		.chain = {&h.leaf, &h.intermediate}, .trusted = &h.root, .domain = domain});
	CHECK(answer.chain);
	hierarchy_free(h);
	return answer.identity;
}

/* Case, width and composition do not matter; a sharp s differs from two s. */
TEST(an_xmppaddr_is_compared_after_it_has_been_mapped) {
	CHECK(is("xmpp:B\xc3\x9c"
		 "CHER.Example",
		 BUECHER));
	CHECK(is("xmpp:B\xc3\x9c"
		 "CHER.EXAMPLE",
		 A_BUECHER));
	CHECK(is("xmpp:bu\xcc\x88"
		 "cher.example",
		 BUECHER));
	CHECK(is("xmpp:BU\xcc\x88"
		 "CHER.example",
		 BUECHER));
	CHECK(is("xmpp:\xef\xbd\x82\xc3\xbc"
		 "cher.example",
		 BUECHER));
	CHECK(is("xmpp:b\xc3\xbc"
		 "cher\xe3\x80\x82"
		 "example",
		 BUECHER));
	CHECK(is("xmpp:XN--BCHER-KVA.example", BUECHER));
	CHECK(is("xmpp:STRA\xc3\x9f"
		 "E.example",
		 "stra\xc3\x9f"
		 "e.example"));
	CHECK(!is("xmpp:stra\xc3\x9f"
		  "e.example",
		  "strasse.example"));
}

TEST(an_xmppaddr_with_a_label_that_idna_does_not_allow_matches_nothing) {
	static const char *const labels[] = {"\xe2\x98\x95",
					     "xn--53h",
					     "xn--a",
					     "xn--",
					     "xn--i-7iq",
					     "\xef\xbc\xa0"
					     "b",
					     "a\xef\xbc\x8f"
					     "b",
					     "xn--a-ecp",
					     "\xe2\x80\x8c"
					     "a",
					     "\xcc\x88"
					     "a"};
	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
		char name[64];
		snprintf(name, sizeof(name), "xmpp:%s.example", labels[i]);
		CHECK(!is(name, "xn--53h.example") && !is(name, "xn--i-7iq.example") &&
		      !is(name, "xn--a-ecp.example") && !is(name, "a.example"));
	}
}

int main(void) {
	return test_run("xmppaddr");
}
