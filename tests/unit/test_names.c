/* Names of pn/cert.h: RFC 9525, 4985, 6120 section 13.7 */
#include "../oom/alloc.h"
#include "cert_fixture.h"

/* ---- One certificate with some names, compared with one reference ---- */

struct outcome {
	size_t count;        /* of names */
	size_t matched;      /* how many of them matched */
	bool broken;         /* the extension as a whole has a fault */
	size_t faulty;       /* how many names have one */
	char reason[256];    /* of the last name */
	struct pn_name last; /* its value is not to be read any more */
	char value[1100];    /* but here */
};

static void compare(struct outcome *outcome, const struct pn_name *name,
		    const struct pn_reference *reference) {
	const char *reason = NULL;
	const bool matches = pn_name_matches(name, reference, &reason);
	CHECK(reason != NULL && reason[0] != '\0');
	CHECK(!matches || name->fault == NULL);
	CHECK(name->kind[0] != '\0' && memchr(name->kind, '\0', sizeof(name->kind)) != NULL);
	outcome->matched += matches ? 1 : 0;
	outcome->faulty += name->fault != NULL ? 1 : 0;
	outcome->last = *name;
	snprintf(outcome->reason, sizeof(outcome->reason), "%s", reason != NULL ? reason : "");
	snprintf(outcome->value, sizeof(outcome->value), "%.*s", (int)name->value.len,
		 name->value.bytes);
}

static struct outcome look(const struct cert *cert, const char *domain, const char *service) {
	struct outcome outcome = {0};
	struct pn_names *names = NULL;
	struct pn_chain *chain = chain_of_one(cert);
	struct pn_reference *reference = reference_of(domain, service);
	REQUIRE(pn_names_new(&names, chain, 0) == PN_OK);
	outcome.count = pn_names_count(names);
	outcome.broken = pn_names_fault(names) != NULL;
	for (size_t i = 0; i < outcome.count; i++)
		compare(&outcome, pn_names_at(names, i), reference);
	pn_names_free(names);
	pn_reference_free(reference);
	pn_chain_free(chain);
	CHECK(test_alloc.blocks == 0);
	return outcome;
}

/* The one name of a certificate; the names' memory is given back. */
static struct outcome look_at_san(struct pn_buf *san, const char *domain) {
	const struct cert cert = cert_make((struct cert_wish){.san = san});
	pn_buf_free(san);
	const struct outcome outcome = look(&cert, domain, "xmpp-server");
	cert_free(cert);
	return outcome;
}

static struct outcome look_at_words(const char *words, const char *domain) {
	struct pn_buf san = {0};
	san_words(&san, words);
	return look_at_san(&san, domain);
}

/* Whether a certificate with these names, as san_words() reads them, is the domain's. */
static bool is(const char *words, const char *domain) {
	return look_at_words(words, domain).matched > 0;
}

static struct outcome look_at_string(int choice, const void *bytes, size_t len) {
	struct pn_buf san = {0};
	san_string(&san, choice, bytes, len);
	return look_at_san(&san, "a.example");
}

static struct outcome look_at_other(const char *oid, int tag, const void *bytes, size_t len) {
	struct pn_buf san = {0};
	san_other(&san, oid, tag, bytes, len);
	return look_at_san(&san, "a.example");
}

static bool is_refused(struct outcome outcome) {
	return outcome.count == 1 && outcome.matched == 0 && outcome.faulty == 1;
}

/* ---- DNS-ID ---- */

TEST(a_dns_id_matches_its_domain_alone) {
	CHECK(is("dns:a.example", "a.example"));
	CHECK(!is("dns:a.example", "b.example"));
	CHECK(!is("dns:a.example", "b.a.example"));
	CHECK(!is("dns:b.a.example", "a.example"));
	CHECK(!is("dns:a.exampl", "a.example"));
	CHECK(!is("dns:xa.example", "a.example"));
	CHECK(!is("dns:a.example.org", "a.example"));
}

TEST(a_dns_id_is_compared_without_regard_to_case) {
	CHECK(is("dns:A.eXAMPLE", "a.example"));
	CHECK(is("dns:a.example", "A.Example"));
}

TEST(a_dns_id_may_be_one_label) {
	CHECK(is("dns:localhost", "localhost"));
	CHECK(!is("dns:example", "a.example"));
}

TEST(a_dot_at_the_end_of_the_reference_does_not_matter) {
	CHECK(is("dns:a.example", "a.example."));
}

TEST(a_dns_id_with_a_nul_matches_nothing) {
	CHECK(is_refused(look_at_string(SAN_DNS, "a.example\0.evil.example", 23)));
	CHECK(is_refused(look_at_string(SAN_DNS, "a.example\0", 10)));
	CHECK(is_refused(look_at_string(SAN_DNS, "\0a.example", 10)));
}

TEST(a_dns_id_that_is_not_a_domain_name_matches_nothing) {
	static const char *const values[] = {"",
					     ".",
					     "a.example.",
					     ".a.example",
					     "a..example",
					     "a.example/x",
					     "a.example\n",
					     " a.example",
					     "user@a.example",
					     "https://a.example",
					     "b\xc3\xbc"
					     "cher.example",
					     "a.example:5269"};
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		const struct outcome outcome =
			look_at_string(SAN_DNS, values[i], strlen(values[i]));
		if (!CHECK(is_refused(outcome)))
			printf("# %s\n", values[i]);
	}
}

TEST(a_label_of_64_bytes_and_a_name_of_254_match_nothing) {
	char label[64 + 9] = "";
	char longer[256] = "";
	memset(label, 'l', 64);
	memcpy(label + 64, ".example", 8);
	CHECK(is_refused(look_at_string(SAN_DNS, label, 64 + 8)));
	CHECK(!is_refused(look_at_string(SAN_DNS, label + 1, 63 + 8)));
	for (size_t i = 0; i < 254; i++)
		longer[i] = i % 50 == 49 ? '.' : 'l';
	CHECK(is_refused(look_at_string(SAN_DNS, longer, 254)));
	CHECK(!is_refused(look_at_string(SAN_DNS, longer, 253)));
}

/* ---- "*" ---- */

TEST(a_star_stands_for_one_left_most_label) {
	CHECK(is("dns:*.a.example", "b.a.example"));
	CHECK(is("dns:*.A.Example", "B.a.example"));
	CHECK(!is("dns:*.a.example", "a.example"));
	CHECK(!is("dns:*.a.example", "c.b.a.example"));
	CHECK(!is("dns:*.a.example", "b.b.example"));
	CHECK(is("dns:*.a.example", "xn--bcher-kva.a.example"));
}

TEST(a_star_that_is_not_a_whole_left_most_label_matches_nothing) {
	CHECK(!is("dns:*", "example"));
	CHECK(!is("dns:*", "a.example"));
	CHECK(!is("dns:*.", "example"));
	CHECK(!is("dns:f*.a.example", "foo.a.example"));
	CHECK(!is("dns:*o.a.example", "foo.a.example"));
	CHECK(!is("dns:f*o.a.example", "foo.a.example"));
	CHECK(!is("dns:**.a.example", "foo.a.example"));
	CHECK(!is("dns:*.*.example", "b.a.example"));
	CHECK(!is("dns:b.*.example", "b.a.example"));
	CHECK(!is("dns:b.a.*", "b.a.example"));
	CHECK(!is("dns:xn--*.a.example", "xn--bcher-kva.a.example"));
	CHECK(!is("dns:*a.example", "a.example"));
}

TEST(a_star_never_stands_before_a_public_suffix) {
	CHECK(!is("dns:*.im", "jabber.im"));
	CHECK(!is("dns:*.co.uk", "a.co.uk"));
	CHECK(!is("dns:*.Co.Uk", "a.co.uk"));
	CHECK(!is("dns:*.ck", "a.ck"));
	CHECK(!is("dns:*.a.ck", "b.a.ck"));
	CHECK(!is("dns:*.xn--p1ai", "a.xn--p1ai"));
	CHECK(is("dns:*.a.co.uk", "b.a.co.uk"));
	CHECK(is("dns:*.www.ck", "b.www.ck"));
}

TEST(a_star_stands_for_nothing_in_an_xmppaddr) {
	CHECK(!is("xmpp:*.a.example", "b.a.example"));
	CHECK(!is("xmpp:*", "a.example"));
}

/* ---- SRV-ID ---- */

TEST(a_srv_id_matches_its_service_and_domain) {
	CHECK(is("srv:_xmpp-server.a.example", "a.example"));
	CHECK(is("srv:_XMPP-Server.A.Example", "a.example"));
	CHECK(!is("srv:_xmpp-client.a.example", "a.example"));
	CHECK(!is("srv:_xmpp-server.b.example", "a.example"));
	CHECK(!is("srv:_xmpp-server.b.a.example", "a.example"));
	CHECK(!is("srv:_xmpp-serve.a.example", "a.example"));
	CHECK(!is("srv:_xmpp-servers.a.example", "a.example"));
}

TEST(a_srv_id_matches_the_requested_service) {
	const struct cert cert =
		cert_make((struct cert_wish){.names = "srv:_xmpp-client.a.example"});
	CHECK(look(&cert, "a.example", "xmpp-client").matched == 1);
	CHECK(look(&cert, "a.example", "XMPP-CLIENT").matched == 1);
	CHECK(look(&cert, "a.example", "xmpp-server").matched == 0);
	cert_free(cert);
}

TEST(a_srv_id_without_its_service_label_matches_nothing) {
	static const char *const values[] = {"a.example",
					     "xmpp-server.a.example",
					     "_xmpp-server",
					     "_xmpp-server.",
					     "_.a.example",
					     "",
					     "._xmpp-server.a.example",
					     "_xmpp-server..a.example",
					     "_xmpp-server.a.example.",
					     "_xmpp-server._tcp.a.example"};
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		const struct outcome outcome =
			look_at_other(OID_SRV, V_ASN1_IA5STRING, values[i], strlen(values[i]));
		if (!CHECK(outcome.count == 1 && outcome.matched == 0))
			printf("# %s\n", values[i]);
	}
}

TEST(a_srv_id_with_a_nul_matches_nothing) {
	CHECK(is_refused(look_at_other(OID_SRV, V_ASN1_IA5STRING,
				       "_xmpp-server.a.example\0.evil.example", 36)));
	CHECK(is_refused(look_at_other(OID_SRV, V_ASN1_IA5STRING, "_xmpp-server\0.a.example", 23)));
}

/* ---- XmppAddr ---- */

TEST(an_xmppaddr_matches_its_domain_alone) {
	CHECK(is("xmpp:a.example", "a.example"));
	CHECK(is("xmpp:A.Example", "a.example"));
	CHECK(!is("xmpp:b.example", "a.example"));
	CHECK(!is("xmpp:b.a.example", "a.example"));
}

TEST(an_xmppaddr_with_a_localpart_or_a_resource_matches_nothing) {
	CHECK(!is("xmpp:user@a.example", "a.example"));
	CHECK(!is("xmpp:@a.example", "a.example"));
	CHECK(!is("xmpp:a.example/x", "a.example"));
	CHECK(!is("xmpp:a.example/", "a.example"));
	CHECK(!is("xmpp:b.example/@a.example", "a.example"));
}

TEST(an_xmppaddr_with_a_nul_matches_nothing) {
	CHECK(is_refused(look_at_other(OID_XMPP, V_ASN1_UTF8STRING, "a.example\0.evil", 15)));
	CHECK(is_refused(look_at_other(OID_XMPP, V_ASN1_UTF8STRING, "a.example\0", 10)));
}

TEST(an_xmppaddr_that_is_not_utf8_matches_nothing) {
	static const char *const values[] = {"\xff", "a.example\xc3", "\xc0\xae.example",
					     "\xed\xa0\x80.example", "\xf4\x90\x80\x80.example"};
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		CHECK(is_refused(
			look_at_other(OID_XMPP, V_ASN1_UTF8STRING, values[i], strlen(values[i]))));
}

/* ---- otherNames of any type ---- */

static const int TAGS[] = {V_ASN1_BOOLEAN,
			   V_ASN1_INTEGER,
			   V_ASN1_BIT_STRING,
			   V_ASN1_OCTET_STRING,
			   V_ASN1_NULL,
			   V_ASN1_OBJECT,
			   V_ASN1_ENUMERATED,
			   V_ASN1_UTF8STRING,
			   V_ASN1_NUMERICSTRING,
			   V_ASN1_PRINTABLESTRING,
			   V_ASN1_T61STRING,
			   V_ASN1_IA5STRING,
			   V_ASN1_UTCTIME,
			   V_ASN1_GENERALIZEDTIME,
			   V_ASN1_VISIBLESTRING,
			   V_ASN1_UNIVERSALSTRING,
			   V_ASN1_BMPSTRING,
			   TAG_SEQUENCE,
			   TAG_SEQUENCE | 1,
			   TAG_CONTEXT | TAG_CONSTRUCTED,
			   TAG_CONTEXT | SAN_DNS,
			   TAG_CONSTRUCTED | V_ASN1_UTF8STRING,
			   0x40 | V_ASN1_IA5STRING};

/* Each kind with each type but its own. Either the extension is refused whole, or the name is. */
TEST(an_othername_of_another_type_than_its_own_matches_nothing) {
	static const struct {
		const char *oid;
		int tag;
		const char *value;
	} kinds[] = {{OID_SRV, V_ASN1_IA5STRING, "_xmpp-server.a.example"},
		     {OID_XMPP, V_ASN1_UTF8STRING, "a.example"}};
	for (size_t i = 0; i < 2 * sizeof(TAGS) / sizeof(TAGS[0]); i++) {
		const char *value = kinds[i % 2].value;
		const int tag = TAGS[i / 2];
		const struct outcome outcome =
			look_at_other(kinds[i % 2].oid, tag, value, strlen(value));
		const bool refused = is_refused(outcome) || (outcome.broken && outcome.count == 0);
		if (!CHECK(tag == kinds[i % 2].tag ? outcome.matched == 1 : refused))
			printf("# %s of type 0x%02x\n", value, (unsigned)tag);
	}
}

TEST(an_empty_othername_of_any_type_matches_nothing) {
	for (size_t i = 0; i < 2 * sizeof(TAGS) / sizeof(TAGS[0]); i++) {
		const struct outcome outcome =
			look_at_other(i % 2 == 0 ? OID_SRV : OID_XMPP, TAGS[i / 2], "", 0);
		CHECK(outcome.matched == 0 && (outcome.broken || outcome.faulty == 1));
	}
}

TEST(an_unknown_othername_is_shown_by_its_oid) {
	const struct outcome outcome = look_at_other("\x2a\x03\x04", V_ASN1_UTF8STRING, "x", 1);
	CHECK(outcome.count == 1 && outcome.matched == 0);
	CHECK(outcome.last.type == PN_NAME_OTHER);
	CHECK_STR(outcome.last.kind, "1.2.3.4");
}

TEST(an_oid_that_is_too_long_to_show_is_cut) {
	char oid[301] = "";
	memset(oid, 0x7f, 300);
	oid[0] = 0x2a;
	const struct outcome outcome = look_at_other(oid, V_ASN1_UTF8STRING, "a.example", 9);
	CHECK(outcome.count == 1 && outcome.matched == 0);
	CHECK(outcome.last.type == PN_NAME_OTHER && strncmp(outcome.last.kind, "1.2.127", 7) == 0);
}

/* ---- International names ---- */

#define BUECHER                                                                                    \
	"b\xc3\xbc"                                                                                \
	"cher.example"
#define A_BUECHER "xn--bcher-kva.example"

TEST(a_reference_in_unicode_matches_names_in_a_labels) {
	CHECK(is("dns:" A_BUECHER, BUECHER));
	CHECK(is("dns:XN--BCHER-KVA.example", BUECHER));
	CHECK(is("srv:_xmpp-server." A_BUECHER, BUECHER));
	CHECK(is("dns:" A_BUECHER, "B\xc3\x9c"
				   "CHER.Example"));
	CHECK(is("dns:*." A_BUECHER, "a." BUECHER));
	CHECK(!is("dns:bucher.example", BUECHER));
}

TEST(a_reference_in_a_labels_matches_them) {
	CHECK(is("dns:" A_BUECHER, A_BUECHER));
	CHECK(is("srv:_xmpp-server." A_BUECHER, A_BUECHER));
	CHECK(!is("dns:xn--bcher-kvb.example", A_BUECHER));
}

TEST(an_xmppaddr_in_unicode_matches_either_form_of_the_reference) {
	CHECK(is("xmpp:" BUECHER, BUECHER));
	CHECK(is("xmpp:" BUECHER, A_BUECHER));
	CHECK(is("xmpp:" A_BUECHER, BUECHER));
	CHECK(!is("xmpp:bucher.example", BUECHER));
}

/* ---- References ---- */

TEST(a_reference_must_be_a_domain_name) {
	static const struct {
		const char *bytes;
		size_t len;
	} domains[] = {{"", 0},
		       {".", 1},
		       {"a..example", 10},
		       {".a.example", 10},
		       {"a.example..", 11},
		       {"a.example\0", 10},
		       {"a\0.example", 10},
		       {"*.a.example", 11},
		       {"a b.example", 11},
		       {"a@a.example", 11},
		       {"a.example/b", 11},
		       {"\xff.example", 9},
		       {"a.example\xc3", 10}};
	for (size_t i = 0; i < sizeof(domains) / sizeof(domains[0]); i++) {
		struct pn_reference *reference = NULL;
		const struct pn_str domain = {domains[i].bytes, domains[i].len};
		const int err = pn_reference_new(&reference, domain, str("xmpp-server"));
		if (!CHECK(err == PN_EINVAL && reference == NULL)) {
			printf("# case %zu\n", i);
			pn_reference_free(reference);
		}
	}
	CHECK(test_alloc.blocks == 0);
}

TEST(a_reference_has_at_most_63_bytes_a_label_and_253_altogether) {
	char domain[260];
	for (size_t label = 63; label <= 64; label++) {
		struct pn_reference *reference = NULL;
		memset(domain, 'l', label);
		memcpy(domain + label, ".example", 8);
		CHECK(pn_reference_new(&reference, (struct pn_str){domain, label + 8},
				       str("xmpp-server")) == (label == 63 ? PN_OK : PN_EINVAL));
		pn_reference_free(reference);
	}
	for (size_t i = 0; i < 254; i++)
		domain[i] = i % 50 == 49 ? '.' : 'l';
	for (size_t len = 253; len <= 254; len++) {
		struct pn_reference *reference = NULL;
		CHECK(pn_reference_new(&reference, (struct pn_str){domain, len},
				       str("xmpp-server")) == (len == 253 ? PN_OK : PN_EINVAL));
		pn_reference_free(reference);
	}
}

/* ---- Addresses ---- */

static bool address_is(const void *bytes, size_t len, const char *domain) {
	struct pn_buf san = {0};
	san_string(&san, SAN_IP, bytes, len);
	return look_at_san(&san, domain).matched == 1;
}

TEST(an_address_matches_an_ip_id_alone) {
	static const unsigned char six[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
	CHECK(address_is("\xc0\x00\x02\x01", 4, "192.0.2.1"));
	CHECK(!address_is("\xc0\x00\x02\x02", 4, "192.0.2.1"));
	CHECK(address_is(six, 16, "2001:db8::1"));
	CHECK(address_is(six, 16, "2001:DB8:0::1"));
	CHECK(!address_is(six, 16, "2001:db8::2"));
	CHECK(!is("dns:192.0.2.1", "192.0.2.1"));
	CHECK(!is("xmpp:192.0.2.1", "192.0.2.1"));
	CHECK(!is("srv:_xmpp-server.192.0.2.1", "192.0.2.1"));
	CHECK(!is("dns:*.0.2.1", "192.0.2.1"));
	CHECK(!address_is("192.0.2.1", 9, "192.0.2.1"));
}

TEST(an_ip_id_is_shown_as_text) {
	static const unsigned char six[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
	CHECK_STR(look_at_string(SAN_IP, "\xc0\x00\x02\x01", 4).value, "192.0.2.1");
	CHECK_STR(look_at_string(SAN_IP, six, 16).value, "2001:db8::1");
}

TEST(an_ip_id_of_a_wrong_length_matches_nothing) {
	static const unsigned char bytes[32] = {192, 0, 2, 1};
	for (size_t len = 0; len <= sizeof(bytes); len++)
		CHECK(is_refused(look_at_string(SAN_IP, bytes, len)) == (len != 4 && len != 16));
}

/* ---- Descriptions ---- */

TEST(every_kind_of_name_has_its_fields_name) {
	static const struct {
		const char *words;
		enum pn_name_type type;
		const char *kind, *value;
	} cases[] = {
		{"dns:a.example", PN_NAME_DNS, "DNS-ID", "a.example"},
		{"srv:_xmpp-server.a.example", PN_NAME_SRV, "SRV-ID", "_xmpp-server.a.example"},
		{"xmpp:a.example", PN_NAME_XMPP, "XmppAddr", "a.example"},
		{"uri:xmpp:a.example", PN_NAME_URI, "URI-ID", "xmpp:a.example"},
		{"email:a@a.example", PN_NAME_EMAIL, "email", "a@a.example"}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct outcome outcome = look_at_words(cases[i].words, "b.example");
		CHECK(outcome.count == 1 && outcome.faulty == 0);
		CHECK(outcome.last.type == cases[i].type);
		CHECK_STR(outcome.last.kind, cases[i].kind);
		CHECK_STR(outcome.value, cases[i].value);
	}
}

TEST(names_of_other_kinds_match_nothing) {
	CHECK(!is("uri:a.example", "a.example"));
	CHECK(!is("uri:xmpp:a.example", "a.example"));
	CHECK(!is("email:a.example", "a.example"));
	CHECK(!is("email:a@a.example", "a.example"));
}

TEST(the_value_of_a_name_is_the_one_in_the_certificate) {
	const struct cert cert = cert_make((struct cert_wish){.names = "dns:A.eXample"});
	struct pn_chain *chain = chain_of_one(&cert);
	struct pn_names *names = NULL;
	REQUIRE(pn_names_new(&names, chain, 0) == PN_OK && pn_names_count(names) == 1);
	const struct pn_str value = pn_names_at(names, 0)->value;
	CHECK(value.len == 9 && memcmp(value.bytes, "A.eXample", 9) == 0);
	pn_names_free(names);
	pn_chain_free(chain);
	cert_free(cert);
}

/* ---- The extension ---- */

TEST(the_common_name_is_ignored) {
	const struct cert bare = cert_make((struct cert_wish){.subject = "a.example"});
	const struct cert other =
		cert_make((struct cert_wish){.subject = "a.example", .names = "dns:b.example"});
	CHECK(look(&bare, "a.example", "xmpp-server").count == 0);
	CHECK(!look(&bare, "a.example", "xmpp-server").broken);
	CHECK(look(&other, "a.example", "xmpp-server").matched == 0);
	cert_free(bare);
	cert_free(other);
}

static void add_names_twice(X509 *x) {
	struct pn_buf san = {0};
	san_words(&san, "dns:a.example");
	cert_extend_names(x, &san);
	cert_extend_names(x, &san);
	pn_buf_free(&san);
}

TEST(a_certificate_with_two_subjectaltnames_has_no_names) {
	const struct cert cert = cert_make((struct cert_wish){.alter = add_names_twice});
	const struct outcome outcome = look(&cert, "a.example", "xmpp-server");
	CHECK(outcome.broken && outcome.count == 0);
	cert_free(cert);
}

TEST(a_subjectaltname_that_cannot_be_read_has_no_names) {
	static const struct {
		const char *bytes;
		size_t len;
	} cases[] = {
		{"", 0},
		{"garbage", 7},
		{"\x30\x0b\x82\x09"
		 "a.exampl",
		 12}, /* ends before its value */
		{"\x30\x84\xff\xff\xff\xff\x82\x09"
		 "a.example",
		 17}, /* 4 GiB */
		{"\x30\x0b\x82\x7f"
		 "a.example",
		 13}, /* a name that is longer */
		{"\x30\x80\x82\x09"
		 "a.example",
		 13}, /* no end of an indefinite one */
		{"\x31\x0b\x82\x09"
		 "a.example",
		 13}, /* a set */
		{"\x82\x09"
		 "a.example",
		 11}, /* a name alone */
		{"\x30\x0b\x82\x09"
		 "a.example\0",
		 14}, /* more behind it */
		{"\x30\x0b\x8f\x09"
		 "a.example",
		 13},                            /* no such choice */
		{"\x30\x04\xa0\x02\x06\x00", 6}, /* an otherName without a value */
		{"\x30\x02\xa0\x00", 4},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct cert cert =
			cert_make((struct cert_wish){.raw_san = {cases[i].bytes, cases[i].len}});
		const struct outcome outcome = look(&cert, "a.example", "xmpp-server");
		if (!CHECK(outcome.broken && outcome.count == 0))
			printf("# case %zu: %zu names\n", i, outcome.count);
		cert_free(cert);
	}
}

TEST(five_thousand_names_are_read_and_the_last_one_matches) {
	struct pn_buf san = {0};
	char name[64];
	for (int i = 0; i < 4999; i++) {
		snprintf(name, sizeof(name), "n%d.example", i);
		san_string(&san, SAN_DNS, name, strlen(name));
	}
	san_words(&san, "srv:_xmpp-server.a.example");
	const struct outcome outcome = look_at_san(&san, "a.example");
	CHECK(outcome.count == 5000 && outcome.matched == 1 && outcome.faulty == 0);
	CHECK(outcome.last.type == PN_NAME_SRV);
}

TEST(one_bad_name_does_not_spoil_the_others) {
	struct pn_buf san = {0};
	san_string(&san, SAN_DNS, "a.example\0.evil", 15);
	san_other(&san, OID_XMPP, V_ASN1_INTEGER, "\x01", 1);
	san_words(&san, "dns:a.example");
	const struct outcome outcome = look_at_san(&san, "a.example");
	CHECK(outcome.count == 3 && outcome.matched == 1 && outcome.faulty == 2);
}

int main(void) {
	return test_run("names");
}
