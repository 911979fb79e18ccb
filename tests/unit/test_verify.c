/* Verdicts of pn/cert.h over whole chains: RFC 5280, 6125 */
#include <unistd.h>

#include "cert_fixture.h"

/* ---- Verdicts ---- */

TEST(a_peer_with_a_trusted_chain_and_its_name_is_accepted) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct answer answer =
		ask((struct question){.chain = {&h.leaf, &h.intermediate}, .trusted = &h.root});
	CHECK(answer.accepted && answer.dane == PN_DANE_NONE && answer.errors == 0);
	CHECK(ask((struct question){.chain = {&h.leaf, &h.root, &h.intermediate, &h.leaf},
				    .trusted = &h.root})
		      .accepted);
	CHECK(ask((struct question){.chain = {&h.leaf, &h.intermediate, &h.root},
				    .trusted = &h.root})
		      .accepted);
	hierarchy_free(h);
}

TEST(another_name_is_refused_with_any_chain) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){.subject = "b.example"});
	const struct answer answer = ask((struct question){
		.chain = {&h.leaf, &h.intermediate}, .trusted = &h.root, .domain = "b.example"});
	CHECK(!answer.accepted && answer.chain && !answer.identity);
	hierarchy_free(h);
}

TEST(without_an_authority_no_chain_is_valid) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct hierarchy other = hierarchy_make((struct cert_wish){0});
	struct question question = {.chain = {&h.leaf, &h.intermediate, &h.root}};
	CHECK(!ask(question).chain && ask(question).errors > 0);
	question.trusted = &other.root;
	CHECK(!ask(question).chain && ask(question).errors > 0);
	/* a certificate that is not a root does not end a path */
	CHECK(!ask((struct question){.chain = {&h.leaf}, .trusted = &h.intermediate}).chain);
	question.chain[1] = NULL;
	question.trusted = &h.root;
	CHECK(!ask(question).chain && ask(question).errors > 0);
	hierarchy_free(h);
	hierarchy_free(other);
}

TEST(a_self_signed_certificate_is_not_trusted) {
	const struct cert cert = cert_make((struct cert_wish){.names = "dns:a.example"});
	const struct answer answer = ask((struct question){.chain = {&cert}});
	CHECK(!answer.chain && answer.errors > 0 && answer.error_at == 0);
	cert_free(cert);
}

TEST(expiry_is_checked_at_the_given_time) {
	const struct hierarchy h =
		hierarchy_make((struct cert_wish){.from = NOW, .until = NOW + 1000});
	struct question question = {.chain = {&h.leaf, &h.intermediate}, .trusted = &h.root};
	static const struct {
		int64_t now;
		bool valid;
	} times[] = {{NOW - 1, false},    {NOW + 1, true},   {NOW + 999, true},
		     {NOW + 1001, false}, {-1, false},       {NOW + 100 * (int64_t)YEAR, false},
		     {INT64_MAX, false},  {INT64_MIN, false}};
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		question.now = times[i].now;
		const struct answer answer = ask(question);
		if (!CHECK(answer.chain == times[i].valid))
			printf("# at %lld: %s\n", (long long)times[i].now, answer.error);
		CHECK(answer.chain == (answer.errors == 0));
	}
	hierarchy_free(h);
}

/* Each peer would be accepted, but for one thing. */
TEST(a_peer_with_one_thing_wrong_is_refused) {
	const struct cert_wish roots[] = {
		{.subject = "root", .nid = NID_basic_constraints, .value = "critical,CA:FALSE"},
		{.subject = "root",
		 .authority = true,
		 .nid = NID_name_constraints,
		 .value = "critical,permitted;DNS:b.example"},
		{.subject = "root",
		 .authority = true,
		 .nid = NID_name_constraints,
		 .value = "critical,excluded;DNS:example"},
		{.subject = "root", .authority = true, .until = NOW - 1000},
		{.subject = "root", .authority = true, .from = NOW + 1000},
		{.subject = "root", .authority = true, .rsa_bits = 1024},
		{.subject = "root", .nid = NID_key_usage, .value = "critical,digitalSignature"}};
	const struct cert_wish leaves[] = {
		{.nid = NID_ext_key_usage, .value = "clientAuth"},
		{.nid = NID_ext_key_usage, .value = "emailProtection"},
		{.digest = EVP_sha1()},
		{.rsa_bits = 1024},
		{.nid = NID_sinfo_access, .value = "critical,caRepository;URI:http://a.example/"}};
	const struct cert good =
		cert_make((struct cert_wish){.subject = "root", .authority = true});
	const size_t count = sizeof(roots) / sizeof(roots[0]);
	for (size_t i = 0; i < count + sizeof(leaves) / sizeof(leaves[0]); i++) {
		const struct cert root = i < count ? cert_make(roots[i]) : good;
		struct cert_wish wish = i < count ? (struct cert_wish){0} : leaves[i - count];
		wish.names = "dns:a.example";
		wish.issuer = &root;
		const struct cert leaf = cert_make(wish);
		const struct answer answer =
			ask((struct question){.chain = {&leaf, &root}, .trusted = &root});
		if (!CHECK(!answer.accepted && !answer.chain && answer.errors > 0))
			printf("# case %zu\n", i);
		cert_free(leaf);
		if (i < count)
			cert_free(root);
	}
	cert_free(good);
}

/* Public authorities issue only for serverAuth, also to connecting servers. */
TEST(a_servers_certificate_need_not_be_valid_for_clients) {
	const struct hierarchy h =
		hierarchy_make((struct cert_wish){.nid = NID_ext_key_usage, .value = "serverAuth"});
	CHECK(ask((struct question){.chain = {&h.leaf, &h.intermediate}, .trusted = &h.root})
		      .accepted);
	hierarchy_free(h);
}

TEST(a_path_longer_than_its_authority_allows_is_refused) {
	const struct cert root =
		cert_make((struct cert_wish){.subject = "root",
					     .nid = NID_basic_constraints,
					     .value = "critical,CA:TRUE,pathlen:0"});
	const struct cert middle = cert_make(
		(struct cert_wish){.subject = "middle", .issuer = &root, .authority = true});
	const struct cert leaf =
		cert_make((struct cert_wish){.issuer = &middle, .names = "dns:a.example"});
	CHECK(!ask((struct question){.chain = {&leaf, &middle}, .trusted = &root}).chain);
	cert_free(leaf);
	cert_free(middle);
	cert_free(root);
}

TEST(one_of_several_references_is_enough_and_none_is_not) {
	const struct cert cert = cert_make((struct cert_wish){.names = "dns:a.example"});
	struct pn_chain *chain = chain_of_one(&cert);
	struct pn_reference *const references[] = {reference_of("b.example", "xmpp-server"),
						   reference_of("a.example", "xmpp-server")};
	struct pn_buf pem = {0};
	pem_add(&pem, &cert);
	struct pn_verify verify = {.chain = chain,
				   .references = references,
				   .authorities = {.pem = buf_str(&pem)},
				   .now = NOW};
	for (verify.reference_count = 0; verify.reference_count <= 2; verify.reference_count++) {
		const struct answer answer = ask_about(&verify);
		CHECK(answer.chain && answer.identity == (verify.reference_count == 2));
	}
	pn_buf_free(&pem);
	pn_reference_free(references[0]);
	pn_reference_free(references[1]);
	pn_chain_free(chain);
	cert_free(cert);
}

/* Certificates after the leaf change neither its match with a record nor its mismatch. */
TEST(usage_3_ignores_the_certificates_after_the_leaf) {
	static const unsigned char empty[] = {0x30, 0x0e, 0x30, 0x0c, 0x02, 0x00, 0x30, 0x00,
					      0x30, 0x00, 0x30, 0x00, 0x30, 0x00, 0x30, 0x00};
	const struct cert cert = cert_make((struct cert_wish){0});
	struct pn_buf pem = {0};
	struct records records = {0};
	pem_add(&pem, &cert);
	pem_add_der(&pem, empty, sizeof(empty));
	records_add(&records, &cert, 3, 1, 1);
	CHECK(ask((struct question){.text = buf_str(&pem), .records = &records}).accepted);
	records.list[0].usage = PN_TLSA_DANE_TA;
	struct pn_chain *chain = NULL;
	struct pn_verdict verdict = {0};
	REQUIRE(pn_chain_new(&chain, buf_str(&pem)) == PN_OK);
	CHECK(pn_cert_verify(&(struct pn_verify){.chain = chain,
						 .records = records.list,
						 .record_count = records.count,
						 .now = NOW},
			     &verdict) == PN_ECERT);
	pn_buf_free(&verdict.errors);
	pn_chain_free(chain);
	pn_buf_free(&pem);
	cert_free(cert);
}

/* Each try verifies a signature, with a key of the peer's choice. */
TEST(eight_keys_are_tried_on_a_usual_chain_and_fewer_on_a_long_one) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct hierarchy other = hierarchy_make((struct cert_wish){0});
	struct records records = {0};
	struct pn_buf pem = {0};
	for (int i = 0; i < 7; i++)
		records_add(&records, &other.root, 2, 1, 0);
	records_add(&records, &h.root, 2, 1, 0);
	pem_add(&pem, &h.leaf);
	for (int i = 0; i < 3; i++)
		pem_add(&pem, &h.intermediate);
	struct question question = {.text = buf_str(&pem), .records = &records};
	CHECK(ask(question).accepted && ask(question).record == 7);
	for (int i = 0; i < 28; i++)
		pem_add(&pem, &h.intermediate);
	question.text = buf_str(&pem);
	CHECK(!ask(question).accepted && ask(question).dane == PN_DANE_MISMATCH);
	pn_buf_free(&pem);
	hierarchy_free(h);
	hierarchy_free(other);
}

/* ---- Many verifications of one chain ---- */

static bool is_same(const struct answer *a, const struct answer *b) {
	return a->chain == b->chain && a->identity == b->identity && a->dane == b->dane &&
	       a->record == b->record && a->depth == b->depth && a->cause == b->cause &&
	       a->record_matches == b->record_matches && a->completed == b->completed &&
	       a->errors == b->errors && a->error_at == b->error_at &&
	       strcmp(a->error, b->error) == 0;
}

/* Certificates decoded for one verification must not affect the next one. */
TEST(each_verification_checks_a_chain_anew) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){.names = "xmpp:a.example"});
	const struct cert other = cert_make((struct cert_wish){.subject = "x", .authority = true});
	static struct records leaf, root, intermediate, none;
	records_add(&leaf, &h.leaf, 3, 1, 1);
	records_add(&root, &h.root, 2, 0, 0);
	records_add(&intermediate, &h.intermediate, 0, 1, 2);
	records_add(&none, &other, 3, 1, 1);
	const struct {
		struct question question;
		bool accepted;
	} cases[] = {
		{{.trusted = &h.root}, true},
		{{.trusted = &other}, false},
		{{.trusted = &h.root, .domain = "b.example"}, false},
		{{.trusted = &h.root, .now = NOW + 2 * (int64_t)YEAR}, false},
		{{.records = &leaf, .domain = "b.example"}, true},
		{{.records = &root}, true},
		{{.records = &intermediate, .trusted = &h.root}, true},
		{{.records = &intermediate}, false},
		{{.records = &none, .trusted = &h.root}, false},
	};
	enum { COUNT = sizeof(cases) / sizeof(cases[0]) };
	const struct cert *const certs[] = {&h.leaf, &h.intermediate, NULL};
	struct pn_chain *const kept = chain_of(certs);
	for (size_t i = 0; i < (size_t)COUNT * COUNT; i++) {
		struct question before = cases[i / COUNT].question;
		struct question question = cases[i % COUNT].question;
		struct pn_chain *const fresh = chain_of(certs);
		question.parsed = fresh;
		const struct answer want = ask(question);
		before.parsed = question.parsed = kept;
		ask(before);
		const struct answer got = ask(question);
		if (!CHECK(is_same(&got, &want) && got.accepted == cases[i % COUNT].accepted))
			printf("# case %zu after %zu\n", i % COUNT, i / COUNT);
		pn_chain_free(fresh);
	}
	pn_chain_free(kept);
	cert_free(other);
	hierarchy_free(h);
}

/* ---- Authorities ---- */

TEST(authorities_may_be_in_a_file_or_a_directory) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct cert other = cert_make((struct cert_wish){.subject = "x", .authority = true});
	const struct cert *const roots[] = {&other, &h.root};
	char directory[] = "/tmp/cert-XXXXXX";
	char file[64] = "";
	REQUIRE(mkdtemp(directory) != NULL);
	for (size_t good = 0; good < 2; good++) {
		snprintf(file, sizeof(file), "%s/%08lx.0", directory,
			 X509_subject_name_hash(h.root.x509));
		FILE *out = fopen(file, "w");
		REQUIRE(out != NULL && PEM_write_X509(out, roots[good]->x509) == 1);
		fclose(out);
		struct question question = {.chain = {&h.leaf, &h.intermediate}, .file = file};
		CHECK(ask(question).accepted == (good == 1));
		question.file = NULL;
		CHECK(!ask(question).accepted);
		question.directory = directory;
		CHECK(ask(question).accepted == (good == 1));
	}
	unlink(file);
	rmdir(directory);
	cert_free(other);
	hierarchy_free(h);
}

TEST(authorities_that_cannot_be_read_are_an_error_and_nothing_is_valid) {
	const struct cert cert = cert_make((struct cert_wish){.names = "dns:a.example"});
	struct pn_chain *chain = chain_of_one(&cert);
	struct pn_reference *reference = reference_of("a.example", "xmpp-server");
	struct pn_verify verify = {
		.chain = chain, .references = &reference, .reference_count = 1, .now = NOW};
	for (int i = 0; i < 3; i++) {
		struct pn_verdict verdict = {.chain_valid = true, .identity_valid = true};
		verify.authorities.pem = i == 0 ? str("garbage") : str("");
		verify.authorities.file = i == 1 ? "/dev/null" : i == 2 ? "/nonexistent" : NULL;
		CHECK(pn_cert_verify(&verify, &verdict) == PN_ECERT);
		CHECK(!verdict.chain_valid && !verdict.identity_valid);
		pn_buf_free(&verdict.errors);
	}
	pn_reference_free(reference);
	pn_chain_free(chain);
	cert_free(cert);
}

int main(void) {
	return test_run("verify");
}
