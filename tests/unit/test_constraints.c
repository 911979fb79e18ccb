/* Name constraints of pn/cert.h, for every kind of name that stands for a domain: RFC 5280 section
 * 4.2.1.10, RFC 4985; and the causes of refusals. */
#include "cert_fixture.h"

/* ---- Questions about a leaf below an authority with constraints ---- */

struct scene {
	const char *constraint; /* of the authority, as openssl.cnf has it; NULL: `alter` */
	void (*alter)(X509 *x);
	const char *names;  /* of the leaf, as for san_words() */
	const char *domain; /* whom it must be; NULL: "a.example" */
	bool of_root;       /* the constraint is the root's */
};

/* By whom the chain is trusted. */
enum trusted { PUBLIC, PUBLISHED, PUBLISHED_KEY };

static struct answer look(struct scene scene, enum trusted trusted) {
	struct cert_wish constrained = {.subject = scene.of_root ? "root" : "constrained",
					.authority = true,
					.nid = NID_name_constraints,
					.value = scene.constraint,
					.alter = scene.alter};
	struct records records = {0};
	const struct cert root =
		cert_make(scene.of_root ? constrained
					: (struct cert_wish){.subject = "root", .authority = true});
	constrained.issuer = &root;
	const struct cert middle = cert_make(scene.of_root ? (struct cert_wish){.subject = "middle",
										.authority = true,
										.issuer = &root}
							   : constrained);
	const struct cert leaf =
		cert_make((struct cert_wish){.issuer = &middle, .names = scene.names});
	if (trusted == PUBLISHED)
		records_add(&records, scene.of_root ? &root : &middle, 2, 0, 1);
	if (trusted == PUBLISHED_KEY)
		records_add(&records, &root, 2, 1, 0);
	const struct answer answer =
		ask((struct question){.chain = {&leaf, &middle, scene.of_root ? &root : NULL},
				      .trusted = trusted == PUBLIC ? &root : NULL,
				      .records = &records,
				      .domain = scene.domain});
	cert_free(leaf);
	cert_free(middle);
	cert_free(root);
	return answer;
}

/* Whether the result is the same for any trust anchor, and for constraints of any authority; but a
 * bare key constrains nothing, whatever the certificate that has it. */
static bool is_each(struct scene scene, bool (*is)(const struct answer *answer)) {
	for (unsigned i = 0; i < 5; i++) {
		scene.of_root = i / 3 == 1;
		const struct answer answer = look(scene, (enum trusted)(i % 3));
		if (is(&answer))
			continue;
		printf("# \"%s\", names %s, trusted %u: chain %d, identity %d, %s %s\n",
		       scene.constraint != NULL ? scene.constraint : "?", scene.names, i,
		       answer.chain, answer.identity, pn_cause_code(answer.cause), answer.error);
		return false;
	}
	return true;
}

static bool is_accepted(const struct answer *answer) {
	return answer->accepted && answer->errors == 0;
}

/* The chain is good, and the one name that matches does not count. */
static bool is_forbidden(const struct answer *answer) {
	return answer->chain && !answer->identity && answer->cause == PN_CAUSE_CONSTRAINT;
}

/* OpenSSL takes the whole chain for bad. */
static bool is_bad_chain(const struct answer *answer) {
	return !answer->chain && !answer->identity && answer->cause == PN_CAUSE_CONSTRAINT;
}

static bool allows(const char *constraint, const char *names) {
	return is_each((struct scene){.constraint = constraint, .names = names}, is_accepted);
}

static bool forbids(const char *constraint, const char *names) {
	return is_each((struct scene){.constraint = constraint, .names = names}, is_forbidden);
}

#define SRV "srv:_xmpp-server.a.example"
#define XMPP "xmpp:a.example"

/* ---- Permitted and excluded ---- */

TEST(an_authority_for_another_domain_certifies_no_kind_of_name) {
	CHECK(forbids("critical,permitted;DNS:b.example", SRV));
	CHECK(forbids("critical,permitted;DNS:b.example", XMPP));
	CHECK(forbids("permitted;DNS:b.example", SRV " " XMPP));
	CHECK(forbids("permitted;DNS:b.example", "dns:b.example " SRV " " XMPP));
	CHECK(is_each(
		(struct scene){.constraint = "permitted;DNS:b.example", .names = "dns:a.example"},
		is_bad_chain));
}

TEST(an_authority_for_the_domain_certifies_every_kind_of_name) {
	static const char *const constraints[] = {"permitted;DNS:a.example",
						  "permitted;DNS:example",
						  "permitted;DNS:A.Example",
						  "permitted;DNS:.example",
						  "permitted;DNS:b.example,permitted;DNS:a.example",
						  "excluded;DNS:b.example",
						  "excluded;DNS:.a.example",
						  "excluded;DNS:xa.example"};
	for (size_t i = 0; i < sizeof(constraints) / sizeof(constraints[0]); i++) {
		CHECK(allows(constraints[i], "dns:a.example"));
		CHECK(allows(constraints[i], SRV));
		CHECK(allows(constraints[i], XMPP));
	}
}

TEST(an_excluded_domain_is_excluded_for_names_of_every_kind) {
	static const char *const constraints[] = {"excluded;DNS:a.example", "excluded;DNS:example",
						  "excluded;DNS:A.Example", "excluded;DNS:.example",
						  "permitted;DNS:a.example,excluded;DNS:a.example"};
	for (size_t i = 0; i < sizeof(constraints) / sizeof(constraints[0]); i++) {
		CHECK(forbids(constraints[i], SRV));
		CHECK(forbids(constraints[i], XMPP));
	}
}

static NAME_CONSTRAINTS *constraints_of(const char *base, GENERAL_SUBTREE **subtree) {
	NAME_CONSTRAINTS *made = NAME_CONSTRAINTS_new();
	ASN1_IA5STRING *text = ASN1_IA5STRING_new();
	*subtree = GENERAL_SUBTREE_new();
	REQUIRE(made != NULL && *subtree != NULL && text != NULL);
	REQUIRE(ASN1_STRING_set(text, base, -1) == 1);
	GENERAL_NAME_set0_value((*subtree)->base, GEN_DNS, text);
	made->permittedSubtrees = sk_GENERAL_SUBTREE_new_null();
	REQUIRE(sk_GENERAL_SUBTREE_push(made->permittedSubtrees, *subtree) > 0);
	return made;
}

static void constraints_add(X509 *x, NAME_CONSTRAINTS *made) {
	REQUIRE(X509_add1_ext_i2d(x, NID_name_constraints, made, 1, 0) == 1);
	NAME_CONSTRAINTS_free(made);
}

static void permit_all(X509 *x) {
	GENERAL_SUBTREE *subtree;
	constraints_add(x, constraints_of("", &subtree));
}

static void exclude_all(X509 *x) {
	GENERAL_SUBTREE *subtree;
	NAME_CONSTRAINTS *made = constraints_of("", &subtree);
	made->excludedSubtrees = made->permittedSubtrees;
	made->permittedSubtrees = NULL;
	constraints_add(x, made);
}

TEST(an_empty_constraint_applies_to_every_domain) {
	CHECK(is_each((struct scene){.alter = permit_all, .names = SRV " " XMPP}, is_accepted));
	CHECK(is_each((struct scene){.alter = exclude_all, .names = SRV " " XMPP}, is_forbidden));
}

TEST(a_part_of_a_label_is_not_a_domain) {
	CHECK(forbids("permitted;DNS:xample", SRV));
	CHECK(forbids("permitted;DNS:.a.example", XMPP));
	CHECK(forbids("permitted;DNS:a.example.net", XMPP));
	CHECK(forbids("permitted;DNS:x.a.example", SRV));
}

TEST(constraints_of_other_forms_do_not_limit_domains) {
	static const char *const constraints[] = {"permitted;email:b.example",
						  "permitted;IP:192.0.2.0/255.255.255.0",
						  "excluded;URI:a.example"};
	for (size_t i = 0; i < sizeof(constraints) / sizeof(constraints[0]); i++) {
		CHECK(allows(constraints[i], SRV));
		CHECK(allows(constraints[i], XMPP));
	}
}

TEST(a_forbidden_name_is_as_if_it_were_not_there) {
	CHECK(forbids("permitted;DNS:b.example", SRV " " SRV " xmpp:c.example"));
	const struct answer other = look((struct scene){.constraint = "permitted;DNS:b.example",
							.names = SRV " srv:_xmpp-server.b.example",
							.domain = "b.example"},
					 PUBLIC);
	CHECK(other.accepted);
	const struct answer absent = look(
		(struct scene){.constraint = "permitted;DNS:b.example", .names = "dns:b.example"},
		PUBLIC);
	CHECK(absent.chain && !absent.identity && absent.cause == PN_CAUSE_NAME);
}

TEST(every_authority_must_allow_a_name) {
	const struct cert root = cert_make((struct cert_wish){.subject = "root",
							      .authority = true,
							      .nid = NID_name_constraints,
							      .value = "permitted;DNS:b.example"});
	const struct cert middle =
		cert_make((struct cert_wish){.subject = "middle",
					     .issuer = &root,
					     .authority = true,
					     .nid = NID_name_constraints,
					     .value = "permitted;DNS:a.example"});
	const struct cert last = cert_make(
		(struct cert_wish){.subject = "last", .issuer = &middle, .authority = true});
	const struct cert leaf = cert_make((struct cert_wish){.issuer = &last, .names = SRV});
	const struct answer answer =
		ask((struct question){.chain = {&leaf, &last, &middle}, .trusted = &root});
	CHECK(is_forbidden(&answer));
	cert_free(leaf);
	cert_free(last);
	cert_free(middle);
	cert_free(root);
}

/* What stands beside the path has no say. */
TEST(an_authority_that_is_not_in_the_path_forbids_nothing) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){.names = XMPP});
	const struct cert other = cert_make((struct cert_wish){.subject = "other",
							       .authority = true,
							       .nid = NID_name_constraints,
							       .value = "permitted;DNS:b.example"});
	CHECK(ask((struct question){.chain = {&h.leaf, &other, &h.intermediate},
				    .trusted = &h.root})
		      .accepted);
	cert_free(other);
	hierarchy_free(h);
}

/* ---- Wildcards and Unicode ---- */

TEST(a_wildcard_must_not_cover_an_excluded_domain) {
	const struct scene star = {.names = "srv:_xmpp-server.*.a.example",
				   .domain = "b.a.example"};
	static const struct {
		const char *constraint;
		bool allowed;
	} cases[] = {{"excluded;DNS:b.a.example", false},  {"excluded;DNS:c.a.example", false},
		     {"excluded;DNS:.c.a.example", false}, {"excluded;DNS:a.example", false},
		     {"excluded;DNS:c.b.a.example", true}, {"excluded;DNS:b.xa.example", true},
		     {"permitted;DNS:a.example", true},    {"permitted;DNS:.a.example", true},
		     {"permitted;DNS:b.a.example", false}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct scene scene = star;
		scene.constraint = cases[i].constraint;
		CHECK(is_each(scene, cases[i].allowed ? is_accepted : is_forbidden));
	}
}

TEST(an_xmppaddr_in_unicode_is_compared_in_a_labels) {
	struct scene scene = {.names = "xmpp:b\xc3\xbc"
				       "cher.example",
			      .domain = "xn--bcher-kva.example",
			      .constraint = "permitted;DNS:xn--bcher-kva.example"};
	CHECK(is_each(scene, is_accepted));
	scene.names = "xmpp:B\xc3\x9c"
		      "CHER.example";
	CHECK(is_each(scene, is_accepted));
	scene.constraint = "excluded;DNS:XN--BCHER-KVA.example";
	CHECK(is_each(scene, is_forbidden));
	scene.constraint = "permitted;DNS:bucher.example";
	CHECK(is_each(scene, is_forbidden));
}

/* ---- Constraints that cannot be compared ---- */

TEST(a_constraint_that_is_not_a_domain_name_forbids_all_names) {
	static const char *const bases[] = {"a..example", "*.example", "a.example.",
					    "..example",  "a example", "a.ex\xc3\xa4mple"};
	for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
		char constraint[64];
		snprintf(constraint, sizeof(constraint), "%s;DNS:%s",
			 i % 2 == 0 ? "permitted" : "excluded", bases[i]);
		CHECK(forbids(constraint, SRV));
		CHECK(forbids(constraint, XMPP));
	}
}

/* Adds a constraint with bounds, which RFC 5280 does not allow. */
static void add_bounded(X509 *x, bool maximum) {
	GENERAL_SUBTREE *subtree;
	NAME_CONSTRAINTS *made = constraints_of("a.example", &subtree);
	ASN1_INTEGER *bound = ASN1_INTEGER_new();
	REQUIRE(bound != NULL && ASN1_INTEGER_set(bound, 1) == 1);
	*(maximum ? &subtree->maximum : &subtree->minimum) = bound;
	constraints_add(x, made);
}

static void add_minimum(X509 *x) {
	add_bounded(x, false);
}

static void add_maximum(X509 *x) {
	add_bounded(x, true);
}

static void add_garbage(X509 *x) {
	cert_extend_raw(x, NID_name_constraints, "\x30\x03\xa0\x01\x00", 5);
}

static void add_two(X509 *x) {
	cert_extend(x, NID_name_constraints, "permitted;DNS:a.example");
	cert_extend(x, NID_name_constraints, "permitted;DNS:a.example");
}

static bool is_refused(const struct answer *answer) {
	return !answer->accepted;
}

TEST(a_constraint_with_invalid_bounds_or_a_duplicate_one_forbids_all_names) {
	void (*const ways[])(X509 * x) = {add_minimum, add_maximum, add_garbage, add_two};
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		CHECK(is_each((struct scene){.alter = ways[i], .names = SRV}, is_refused));
		CHECK(is_each((struct scene){.alter = ways[i], .names = XMPP}, is_refused));
	}
}

/* OpenSSL compares no otherName, and takes the whole chain for bad. */
TEST(a_constraint_in_the_form_of_the_name_itself_forbids_it) {
	static const char srv[] =
		"permitted;otherName:1.3.6.1.5.5.7.8.7;IA5:_xmpp-server.a.example";
	static const char xmpp[] = "permitted;otherName:1.3.6.1.5.5.7.8.5;UTF8:a.example";
	CHECK(is_each((struct scene){.constraint = srv, .names = SRV}, is_refused));
	CHECK(is_each((struct scene){.constraint = xmpp, .names = XMPP}, is_refused));
	CHECK(allows(srv, "dns:a.example"));
	CHECK(allows(xmpp, "dns:a.example"));
}

/* ---- A hostile number of them ---- */

TEST(five_thousand_forbidden_names_below_two_hundred_constraints_are_soon_refused) {
	struct pn_buf constraint = {0};
	struct pn_buf names = {0};
	pn_buf_append(&constraint, "permitted;DNS:b.example", 23);
	for (int i = 0; i < 200; i++)
		pn_buf_append(&constraint, ",permitted;DNS:b.example", 24);
	for (int i = 0; i < 5000; i++)
		pn_buf_append(&names, SRV " ", sizeof(SRV " ") - 1);
	names.data[names.len - 1] = '\0';
	pn_buf_append(&constraint, "", 1);
	const struct answer answer =
		look((struct scene){.constraint = (const char *)constraint.data,
				    .names = (const char *)names.data},
		     PUBLISHED);
	CHECK(!answer.accepted && answer.cause == PN_CAUSE_CONSTRAINT);
	pn_buf_free(&constraint);
	pn_buf_free(&names);
}

int main(void) {
	return test_run("constraints");
}
