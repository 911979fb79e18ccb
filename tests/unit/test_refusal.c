/* Causes of pn/cert.h for a refused peer with a matching record; and certificates in records. RFC
 * 7671, and DANE as OpenSSL does it. */
#include "cert_fixture.h"

/* ---- A record matches, but the peer is refused ---- */

struct fault {
	struct cert_wish authority, leaf; /* completed */
	const char *domain;
	enum pn_cause cause;
};

/* Whether the cause is reported for records of every usage that requires a chain; a mismatch of
 * another record is reported as usual. */
static bool is_told(struct fault fault) {
	fault.authority.subject = "authority";
	const struct cert authority = cert_make(fault.authority);
	fault.leaf.issuer = &authority;
	if (fault.leaf.names == NULL)
		fault.leaf.names = "dns:a.example";
	const struct cert leaf = cert_make(fault.leaf);
	const struct cert other = cert_make((struct cert_wish){.subject = "other"});
	bool good = true;
	for (unsigned i = 0; i < 8; i++) {
		const unsigned usage = i % 4 == 3 ? 2 : i % 4;
		struct records records = {0};
		const struct cert *matched = usage == 1 ? &leaf : &authority;
		records_add(&records, i < 4 ? matched : &other, usage, i % 4 == 3,
			    i % 4 == 3 ? 0 : 1);
		const struct answer answer = ask((struct question){.chain = {&leaf, &authority},
								   .trusted = &authority,
								   .records = &records,
								   .domain = fault.domain});
		const enum pn_cause cause = i < 4 ? fault.cause : PN_CAUSE_NO_MATCH;
		if (answer.accepted || answer.cause != cause || answer.record_matches != (i < 4)) {
			printf("# usage %u: %s, %s\n", usage, pn_cause_code(answer.cause),
			       answer.error);
			good = false;
		}
	}
	cert_free(other);
	cert_free(leaf);
	cert_free(authority);
	return good;
}

#define GOOD                                                                                       \
	{ .authority = true }

TEST(a_wrong_purpose_is_the_cause) {
	CHECK(is_told((struct fault){
		GOOD, {.nid = NID_ext_key_usage, .value = "clientAuth"}, NULL, PN_CAUSE_PURPOSE}));
}

TEST(a_name_constraint_is_the_cause_whether_openssl_or_we_detect_it) {
	const struct cert_wish authority = {
		.authority = true, .nid = NID_name_constraints, .value = "permitted;DNS:b.example"};
	CHECK(is_told((struct fault){authority, {0}, NULL, PN_CAUSE_CONSTRAINT}));
	CHECK(is_told(
		(struct fault){authority, {.names = "xmpp:a.example"}, NULL, PN_CAUSE_CONSTRAINT}));
}

TEST(an_expired_or_not_yet_valid_certificate_is_the_cause) {
	CHECK(is_told((struct fault){GOOD, {.until = NOW - 1000}, NULL, PN_CAUSE_EXPIRED}));
	CHECK(is_told((struct fault){
		{.authority = true, .until = NOW - 1000}, {0}, NULL, PN_CAUSE_AUTHORITY_EXPIRED}));
	CHECK(is_told((struct fault){GOOD, {.from = NOW + 1000}, NULL, PN_CAUSE_EARLY}));
	CHECK(is_told((struct fault){
		{.authority = true, .from = NOW + 1000}, {0}, NULL, PN_CAUSE_AUTHORITY_EARLY}));
}

TEST(another_name_is_the_cause) {
	CHECK(is_told((struct fault){GOOD, {0}, "b.example", PN_CAUSE_NAME}));
}

TEST(a_weak_key_or_signature_is_the_cause) {
	CHECK(is_told((struct fault){GOOD, {.rsa_bits = 1024}, NULL, PN_CAUSE_WEAK}));
	CHECK(is_told((struct fault){GOOD, {.digest = EVP_sha1()}, NULL, PN_CAUSE_WEAK}));
}

TEST(an_issuer_that_is_not_an_authority_is_the_cause) {
	CHECK(is_told((struct fault){{.nid = NID_basic_constraints, .value = "critical,CA:FALSE"},
				     {0},
				     NULL,
				     PN_CAUSE_AUTHORITY}));
}

TEST(an_untrusted_authority_is_the_cause) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct cert other =
		cert_make((struct cert_wish){.subject = "elsewhere", .authority = true});
	for (unsigned usage = 0; usage < 2; usage++) {
		struct records records = {0};
		records_add(&records, usage == 1 ? &h.leaf : &h.intermediate, usage, 0, 1);
		const struct answer answer =
			ask((struct question){.chain = {&h.leaf, &h.intermediate},
					      .trusted = &other,
					      .records = &records});
		CHECK(!answer.accepted && answer.record_matches &&
		      answer.cause == PN_CAUSE_UNTRUSTED);
	}
	hierarchy_free(h);
	cert_free(other);
}

/* It is in the record, and has not signed the chain. */
TEST(an_authority_beside_the_path_is_the_cause) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct hierarchy other = hierarchy_make((struct cert_wish){.subject = "x"});
	struct records records = {0};
	records_add(&records, &other.leaf, 2, 0, 1);
	const struct answer answer = ask((struct question){
		.chain = {&h.leaf, &h.intermediate, &other.leaf}, .records = &records});
	CHECK(!answer.accepted && answer.record_matches && answer.cause == PN_CAUSE_UNTRUSTED);
	hierarchy_free(h);
	hierarchy_free(other);
}

TEST(without_records_the_chain_or_the_name_is_the_cause) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	struct question question = {.chain = {&h.leaf, &h.intermediate}};
	CHECK(ask(question).cause == PN_CAUSE_UNTRUSTED && !ask(question).record_matches);
	question.trusted = &h.root;
	question.domain = "b.example";
	CHECK(ask(question).cause == PN_CAUSE_NAME && !ask(question).record_matches);
	question.now = NOW + 2 * (int64_t)YEAR;
	CHECK(ask(question).cause == PN_CAUSE_AUTHORITY_EXPIRED ||
	      ask(question).cause == PN_CAUSE_EXPIRED);
	hierarchy_free(h);
}

TEST(every_cause_has_its_code_and_its_text) {
	static const char *const codes[] = {
#define CODE(name, code, text) code,
		PN_CAUSES(CODE)
#undef CODE
	};
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		CHECK(strcmp(pn_cause_code((enum pn_cause)i), codes[i]) == 0);
		CHECK(strlen(pn_cause_text((enum pn_cause)i)) > 0);
		for (size_t j = 0; j < i; j++)
			CHECK(strcmp(codes[i], codes[j]) != 0);
	}
}

/* ---- Certificates in records of usage 0 ---- */

static struct answer ask_with(const struct hierarchy *h, const struct cert *of, unsigned match,
			      bool is_sent, const struct cert *trusted) {
	struct records records = {0};
	records_add(&records, of, 0, 0, match);
	return ask((struct question){.chain = {&h->leaf, is_sent ? &h->intermediate : NULL},
				     .trusted = trusted,
				     .records = &records});
}

/* Number 39 of OpenSSL's tests of DANE */
TEST(a_whole_authority_in_a_usage_0_record_need_not_be_sent) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct answer answer = ask_with(&h, &h.intermediate, 0, false, &h.root);
	CHECK(answer.accepted && answer.dane == PN_DANE_MATCH && answer.depth == 1);
	CHECK(answer.completed);
	CHECK(!ask_with(&h, &h.intermediate, 0, true, &h.root).completed);
	CHECK(ask_with(&h, &h.intermediate, 0, true, &h.root).accepted);
	hierarchy_free(h);
}

TEST(a_digest_of_an_authority_does_not_supply_it) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct answer answer = ask_with(&h, &h.intermediate, 1, false, &h.root);
	CHECK(!answer.accepted && !answer.completed && answer.cause == PN_CAUSE_NO_MATCH);
	hierarchy_free(h);
}

TEST(an_authority_in_a_record_is_not_trusted) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct cert other =
		cert_make((struct cert_wish){.subject = "elsewhere", .authority = true});
	const struct answer answer = ask_with(&h, &h.intermediate, 0, false, &other);
	CHECK(!answer.accepted && answer.record_matches && answer.cause == PN_CAUSE_UNTRUSTED);
	CHECK(!ask_with(&h, &h.root, 0, true, NULL).accepted);
	CHECK(!ask_with(&h, &h.root, 0, true, &other).accepted);
	hierarchy_free(h);
	cert_free(other);
}

TEST(an_authority_in_a_record_matches_the_one_in_the_chain) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct cert other = cert_make((struct cert_wish){.subject = "x", .authority = true});
	const struct answer answer = ask_with(&h, &other, 0, true, &h.root);
	CHECK(!answer.accepted && !answer.record_matches && answer.cause == PN_CAUSE_NO_MATCH);
	cert_free(other);
	hierarchy_free(h);
}

TEST(constraints_of_an_authority_in_a_record_apply) {
	const struct cert root =
		cert_make((struct cert_wish){.subject = "root", .authority = true});
	const struct cert middle =
		cert_make((struct cert_wish){.subject = "middle",
					     .issuer = &root,
					     .authority = true,
					     .nid = NID_name_constraints,
					     .value = "permitted;DNS:b.example"});
	const struct cert leaf =
		cert_make((struct cert_wish){.issuer = &middle, .names = "xmpp:a.example"});
	struct records records = {0};
	records_add(&records, &middle, 0, 0, 0);
	const struct answer answer =
		ask((struct question){.chain = {&leaf}, .trusted = &root, .records = &records});
	CHECK(answer.chain && !answer.identity && answer.cause == PN_CAUSE_CONSTRAINT);
	cert_free(leaf);
	cert_free(middle);
	cert_free(root);
}

TEST(other_records_may_match_a_chain_that_one_record_completes) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	struct records records = {0};
	records_add(&records, &h.intermediate, 0, 0, 0);
	records_add(&records, &h.leaf, 1, 1, 1);
	const struct answer answer =
		ask((struct question){.chain = {&h.leaf}, .trusted = &h.root, .records = &records});
	CHECK(answer.accepted && answer.completed && answer.record == 1 && answer.depth == 0);
	hierarchy_free(h);
}

/* OpenSSL's chains hold this many; further published certificates are ignored. */
TEST(sixty_authorities_in_records_do_no_harm) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct cert other = cert_make((struct cert_wish){.subject = "x", .authority = true});
	struct records records = {0};
	while (records.count < RECORDS - 1)
		records_add(&records, &other, 0, 0, 0);
	records_add(&records, &h.leaf, 1, 1, 1);
	CHECK(ask((struct question){.chain = {&h.leaf, &h.intermediate},
				    .trusted = &h.root,
				    .records = &records})
		      .accepted);
	cert_free(other);
	hierarchy_free(h);
}

int main(void) {
	return test_run("refusal");
}
