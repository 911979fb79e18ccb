/* TLSA records, and requests for certificates: RFC 6698, RFC 7671 */
#include "../oom/alloc.h"
#include "cert_fixture.h"

/* ---- Which records are usable ---- */

static bool usable(unsigned usage, unsigned selector, unsigned match, const void *data,
		   size_t len) {
	const struct pn_tlsa record = {usage, selector, match, {data, len}};
	const char *fault = pn_tlsa_fault(&record);
	CHECK(fault == NULL || fault[0] != '\0');
	return fault == NULL;
}

TEST(every_known_combination_with_good_data_is_usable) {
	const struct cert cert = cert_make((struct cert_wish){0});
	for (unsigned i = 0; i < 4 * 2 * 3; i++) {
		struct records records = {0};
		CHECK(pn_tlsa_fault(records_add(&records, &cert, i / 6, i / 3 % 2, i % 3)) == NULL);
	}
	cert_free(cert);
}

TEST(unknown_values_are_unusable) {
	static const unsigned values[] = {5, 128, 254, 255, 256, 259, 65536, UINT32_MAX};
	static const char digest[32] = "";
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		CHECK(!usable(values[i], 1, 1, digest, 32));
		CHECK(!usable(3, values[i], 1, digest, 32));
		CHECK(!usable(3, 1, values[i], digest, 32));
	}
	CHECK(!usable(4, 1, 1, digest, 32));
	CHECK(!usable(3, 2, 1, digest, 32));
	CHECK(!usable(3, 1, 3, digest, 32));
	CHECK(usable(3, 1, 1, digest, 32));
}

TEST(a_digest_of_any_other_length_is_unusable) {
	static const char digest[130] = "";
	for (size_t len = 0; len <= sizeof(digest); len++) {
		CHECK(usable(3, 1, 1, digest, len) == (len == 32));
		CHECK(usable(2, 0, 2, digest, len) == (len == 64));
	}
}

TEST(whole_certificates_and_keys_must_be_readable) {
	const struct cert cert = cert_make((struct cert_wish){0});
	for (unsigned selector = 0; selector <= 1; selector++) {
		struct records records = {0};
		const struct pn_str data = records_add(&records, &cert, 2, selector, 0)->data;
		CHECK(usable(2, selector, 0, data.bytes, data.len));
		CHECK(!usable(2, 1 - selector, 0, data.bytes, data.len));
		CHECK(!usable(2, selector, 0, data.bytes, data.len + 1)); /* more behind it */
		for (size_t len = 0; len < data.len; len++)
			CHECK(!usable(2, selector, 0, data.bytes, len));
		CHECK(!usable(2, selector, 0, "garbage", 7));
	}
	cert_free(cert);
}

/* ---- Digest agility ---- */

/* Whether record 0 of the list is left out. Each is three digits and its data is right, unless
 * "!" stands behind it: then it is one byte too short. */
static bool outdone(const char *const *list) {
	static const char digest[64] = "";
	static const size_t lengths[] = {0, 32, 64};
	struct pn_tlsa records[8];
	size_t count = 0;
	const struct cert cert = cert_make((struct cert_wish){0});
	struct records whole = {0};
	for (; list[count] != NULL; count++) {
		const char *text = list[count];
		struct pn_tlsa *record = &records[count];
		*record = (struct pn_tlsa){(unsigned)text[0] - '0',
					   (unsigned)text[1] - '0',
					   (unsigned)text[2] - '0',
					   {digest, 0}};
		record->data.len = lengths[record->match] - (text[3] == '!' ? 1 : 0);
		if (record->match == 0)
			*record = *records_add(&whole, &cert, record->usage, record->selector, 0);
	}
	const bool result = pn_tlsa_outdone(records, count, 0) != 0;
	cert_free(cert);
	return result;
}
#define OUTDONE(...) outdone((const char *const[]){__VA_ARGS__, NULL})

TEST(sha_512_outdoes_sha_256_of_the_same_usage_and_selector) {
	CHECK(OUTDONE("311", "312"));
	CHECK(OUTDONE("201", "311", "202"));
	CHECK(!OUTDONE("312", "311"));
	CHECK(!OUTDONE("311"));
	CHECK(!OUTDONE("311", "311"));
	CHECK(!OUTDONE("312", "312"));
}

TEST(a_digest_of_another_usage_or_selector_outdoes_nothing) {
	CHECK(!OUTDONE("311", "302"));
	CHECK(!OUTDONE("311", "212"));
	CHECK(!OUTDONE("311", "112", "012", "202", "302"));
}

TEST(an_unusable_digest_outdoes_nothing) {
	CHECK(!OUTDONE("311", "312!"));
	CHECK(OUTDONE("311", "312!", "312"));
}

TEST(a_whole_value_neither_outdoes_nor_is_outdone) {
	CHECK(!OUTDONE("310", "311", "312"));
	CHECK(!OUTDONE("311", "310"));
}

/* ---- Every usage, selector and matching type ---- */

/* Whether a record of this usage may be one of certificate `depth` of leaf, intermediate, root. */
static bool may_match(unsigned usage, size_t depth) {
	return (usage == PN_TLSA_PKIX_EE || usage == PN_TLSA_DANE_EE) == (depth == 0);
}

static struct answer ask_hierarchy(const struct hierarchy *h, const struct records *records) {
	return ask((struct question){.chain = {&h->leaf, &h->intermediate, &h->root},
				     .trusted = &h->root,
				     .records = records});
}

TEST(a_record_of_each_kind_matches_the_certificates_that_its_usage_allows) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct cert *const certs[] = {&h.leaf, &h.intermediate, &h.root};
	for (unsigned i = 0; i < 3 * 4 * 2 * 3; i++) {
		struct records records = {0};
		const unsigned usage = i / 6 % 4;
		const size_t depth = i / 24;
		records_add(&records, certs[depth], usage, i / 3 % 2, i % 3);
		const struct answer answer = ask_hierarchy(&h, &records);
		const bool good = may_match(usage, depth)
					  ? answer.accepted && answer.dane == PN_DANE_MATCH &&
						    answer.record == 0 && answer.depth == depth
					  : !answer.accepted && answer.dane == PN_DANE_MISMATCH;
		if (!CHECK(good))
			printf("# %u %u %u of depth %zu: accepted %d, dane %d, depth %zu: %s\n",
			       usage, i / 3 % 2, i % 3, depth, answer.accepted, answer.dane,
			       answer.depth, answer.error);
	}
	hierarchy_free(h);
}

TEST(a_record_of_another_certificate_is_a_mismatch_and_the_peer_is_refused) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct hierarchy other = hierarchy_make((struct cert_wish){0});
	for (unsigned i = 0; i < 4 * 2 * 3; i++) {
		struct records records = {0};
		const struct cert *cert = may_match(i / 6, 0) ? &other.leaf : &other.root;
		records_add(&records, cert, i / 6, i / 3 % 2, i % 3);
		const struct answer answer = ask_hierarchy(&h, &records);
		CHECK(!answer.accepted && !answer.chain && answer.dane == PN_DANE_MISMATCH);
		CHECK(answer.errors > 0);
	}
	hierarchy_free(h);
	hierarchy_free(other);
}

TEST(a_digest_with_one_bit_wrong_is_a_mismatch) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	for (size_t bit = 0; bit < 256; bit += 5) {
		struct records records = {0};
		records_add(&records, &h.leaf, 3, 1, 1);
		records.data[0][bit / 8] ^= (unsigned char)(1u << bit % 8);
		const struct answer answer = ask_hierarchy(&h, &records);
		CHECK(!answer.accepted && answer.dane == PN_DANE_MISMATCH);
	}
	hierarchy_free(h);
}

/* ---- Records together ---- */

TEST(without_records_there_is_plain_pkix) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct records none = {0};
	CHECK(ask_hierarchy(&h, &none).accepted);
	CHECK(ask_hierarchy(&h, &none).dane == PN_DANE_NONE);
	const struct answer untrusted =
		ask((struct question){.chain = {&h.leaf, &h.intermediate}, .records = &none});
	CHECK(!untrusted.accepted && !untrusted.chain && untrusted.dane == PN_DANE_NONE);
	hierarchy_free(h);
}

TEST(with_unusable_records_alone_there_is_plain_pkix) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	struct records records = {0};
	records_add(&records, &h.leaf, 4, 1, 1);
	records_add(&records, &h.leaf, 3, 1, 1)->data.len--;
	records_add(&records, &h.leaf, 3, 1, 1)->match = 2;
	records_add(&records, &h.leaf, 255, 0, 0);
	records_add_raw(&records, 3, 0, 0, "garbage", 7);
	CHECK(ask_hierarchy(&h, &records).accepted);
	CHECK(ask_hierarchy(&h, &records).dane == PN_DANE_UNUSABLE);
	const struct answer untrusted =
		ask((struct question){.chain = {&h.leaf, &h.intermediate}, .records = &records});
	CHECK(!untrusted.accepted && !untrusted.chain && untrusted.dane == PN_DANE_UNUSABLE);
	hierarchy_free(h);
}

TEST(an_unusable_record_does_not_excuse_a_usable_one_that_does_not_match) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	struct records records = {0};
	records_add(&records, &h.leaf, 4, 1, 1);
	records_add(&records, &h.root, 3, 1, 1);
	const struct answer answer = ask_hierarchy(&h, &records);
	CHECK(!answer.accepted && answer.dane == PN_DANE_MISMATCH);
	hierarchy_free(h);
}

TEST(one_good_record_among_fifty_is_found_wherever_it_stands) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	for (size_t at = 0; at < 50; at += 7) {
		struct records records = {0};
		for (size_t i = 0; i < 50; i++) {
			unsigned char digest[32];
			memset(digest, (int)i, sizeof(digest));
			if (i == at)
				records_add(&records, &h.leaf, 3, 1, 1);
			else
				records_add_raw(&records, (unsigned)i % 5, 1, 1, digest, 32);
		}
		const struct answer answer = ask((struct question){
			.chain = {&h.leaf}, .records = &records, .domain = "b.example"});
		CHECK(answer.accepted && answer.dane == PN_DANE_MATCH);
		CHECK(answer.record == at && answer.depth == 0);
	}
	hierarchy_free(h);
}

/* The wrong one of the other digest stands once before and once behind it. */
TEST(only_the_strongest_digest_counts_in_any_order) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	for (unsigned i = 0; i < 4 * 4; i++) {
		const unsigned usage = i / 4;
		const unsigned strong = i % 2; /* whether the right one is SHA-512 */
		const struct cert *right = may_match(usage, 0) ? &h.leaf : &h.intermediate;
		const struct cert *wrong = may_match(usage, 0) ? &h.intermediate : &h.leaf;
		struct records records = {0};
		if (i / 2 % 2 == 0)
			records_add(&records, right, usage, 0, 1 + strong);
		records_add(&records, wrong, usage, 0, 2 - strong);
		if (i / 2 % 2 == 1)
			records_add(&records, right, usage, 0, 1 + strong);
		const struct answer answer = ask_hierarchy(&h, &records);
		CHECK(answer.accepted == (strong == 1));
		CHECK(answer.dane == (strong == 1 ? PN_DANE_MATCH : PN_DANE_MISMATCH));
	}
	hierarchy_free(h);
}

TEST(a_malformed_sha_512_does_not_disable_sha_256) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	struct records records = {0};
	records_add(&records, &h.leaf, 3, 1, 2)->data.len = 63;
	records_add(&records, &h.leaf, 3, 1, 1);
	const struct answer answer = ask_hierarchy(&h, &records);
	CHECK(answer.accepted && answer.dane == PN_DANE_MATCH && answer.record == 1);
	hierarchy_free(h);
}

TEST(a_pkix_record_that_matches_does_not_make_a_chain_trusted) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct cert *const certs[] = {&h.leaf, &h.intermediate, &h.root};
	for (size_t depth = 0; depth < 3; depth++) {
		struct records records = {0};
		records_add(&records, certs[depth], depth == 0 ? 1 : 0, 1, 1);
		const struct answer answer = ask((struct question){
			.chain = {&h.leaf, &h.intermediate, &h.root}, .records = &records});
		CHECK(!answer.accepted && !answer.chain);
		CHECK(answer.dane == PN_DANE_MISMATCH);
	}
	hierarchy_free(h);
}

/* The record requires PKIX, independent of another record that does not match. */
TEST(a_record_of_usage_2_that_does_not_match_lowers_nothing_for_usage_0_and_1) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct hierarchy other = hierarchy_make((struct cert_wish){0});
	for (unsigned usage = 0; usage <= 1; usage++) {
		struct records records = {0};
		records_add(&records, usage == 0 ? &h.intermediate : &h.leaf, usage, 1, 1);
		records_add(&records, &other.root, 2, 0, 0);
		records_add(&records, &other.leaf, 3, 1, 1);
		const struct answer untrusted = ask((struct question){
			.chain = {&h.leaf, &h.intermediate, &h.root}, .records = &records});
		CHECK(!untrusted.accepted && untrusted.dane == PN_DANE_MISMATCH);
		CHECK(ask_hierarchy(&h, &records).accepted);
	}
	hierarchy_free(h);
	hierarchy_free(other);
}

/* ---- Usage 3: the key alone ---- */

TEST(usage_3_checks_neither_names_nor_dates_nor_authorities) {
	const struct cert_wish wishes[] = {{.names = "dns:b.example"},
					   {.subject = "a.example"},
					   {.names = "dns:a.example", .until = NOW - 1000},
					   {.names = "dns:a.example", .from = NOW + 1000},
					   {.nid = NID_ext_key_usage, .value = "clientAuth"},
					   {.nid = NID_key_usage, .value = "critical,keyCertSign"},
					   {.authority = true},
					   {.rsa_bits = 1024},
					   {.digest = EVP_sha1()}};
	for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
		const struct cert cert = cert_make(wishes[i]);
		for (unsigned kind = 0; kind < 6; kind++) {
			struct records records = {0};
			records_add(&records, &cert, 3, kind / 3, kind % 3);
			const struct answer answer =
				ask((struct question){.chain = {&cert}, .records = &records});
			CHECK(answer.accepted && answer.dane == PN_DANE_MATCH);
			CHECK(answer.record == 0 && answer.depth == 0);
		}
		cert_free(cert);
	}
}

TEST(usage_3_ignores_the_certificates_sent_with_the_leaf) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct hierarchy other = hierarchy_make((struct cert_wish){0});
	struct records records = {0};
	records_add(&records, &h.leaf, 3, 1, 1);
	CHECK(ask((struct question){.chain = {&h.leaf, &other.leaf, &other.root, &h.leaf},
				    .records = &records})
		      .accepted);
	/* but it is the leaf that must match */
	CHECK(!ask((struct question){.chain = {&other.leaf, &h.leaf, &h.root},
				     .trusted = &other.intermediate,
				     .records = &records})
		       .accepted);
	hierarchy_free(h);
	hierarchy_free(other);
}

TEST(usage_1_requires_names_and_dates) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){.until = NOW + 1000});
	struct question question = {.chain = {&h.leaf, &h.intermediate}, .trusted = &h.root};
	struct records records = {0};
	records_add(&records, &h.leaf, 1, 1, 1);
	question.records = &records;
	CHECK(ask(question).accepted);
	question.now = NOW + 2000;
	CHECK(!ask(question).chain && ask(question).dane == PN_DANE_MISMATCH);
	question.now = NOW - 2 * YEAR;
	CHECK(!ask(question).chain && ask(question).dane == PN_DANE_MISMATCH);
	question.now = NOW;
	question.domain = "b.example";
	CHECK(ask(question).chain && !ask(question).identity);
	hierarchy_free(h);
}

/* A peer that its key proves must not be refused because of another record. */
TEST(usage_3_is_enough_beside_a_record_of_usage_1_that_matches_too) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){.names = "dns:b.example"});
	for (int order = 0; order < 2; order++) {
		struct records records = {0};
		records_add(&records, &h.leaf, order == 0 ? 1 : 3, 1, 1);
		records_add(&records, &h.leaf, order == 0 ? 3 : 1, 1, 1);
		const struct answer answer = ask((struct question){
			.chain = {&h.leaf}, .records = &records, .now = NOW + 9 * YEAR});
		CHECK(answer.accepted && answer.record == (order == 0 ? 1 : 0));
	}
	hierarchy_free(h);
}

/* ---- Usages 0 and 2: an authority ---- */

TEST(usage_2_needs_no_other_authority) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct cert *const certs[] = {&h.leaf, &h.intermediate, &h.root};
	for (unsigned i = 0; i < 2 * 6; i++) {
		struct records records = {0};
		const size_t depth = 1 + i / 6;
		records_add(&records, certs[depth], 2, i / 3 % 2, i % 3);
		const struct answer answer = ask((struct question){
			.chain = {&h.leaf, &h.intermediate, &h.root}, .records = &records});
		CHECK(answer.accepted && answer.dane == PN_DANE_MATCH && answer.depth == depth);
	}
	hierarchy_free(h);
}

TEST(the_digest_of_an_authority_that_was_not_sent_proves_nothing) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	for (unsigned kind = 0; kind < 4; kind++) {
		struct records records = {0};
		records_add(&records, &h.root, 2, kind / 2, 1 + kind % 2);
		const struct answer answer = ask((struct question){
			.chain = {&h.leaf, &h.intermediate}, .records = &records});
		CHECK(!answer.accepted && answer.dane == PN_DANE_MISMATCH);
	}
	hierarchy_free(h);
}

TEST(an_authority_that_was_not_sent_may_be_in_the_record) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct hierarchy other = hierarchy_make((struct cert_wish){0});
	for (unsigned selector = 0; selector <= 1; selector++) {
		struct records good = {0};
		struct records bad = {0};
		records_add(&good, &h.root, 2, selector, 0);
		records_add(&bad, &other.root, 2, selector, 0);
		struct question question = {.chain = {&h.leaf, &h.intermediate}, .records = &good};
		CHECK(ask(question).accepted && ask(question).dane == PN_DANE_MATCH);
		question.records = &bad;
		CHECK(!ask(question).accepted && ask(question).dane == PN_DANE_MISMATCH);
		question.records = &good;
		question.domain = "b.example";
		CHECK(ask(question).chain && !ask(question).identity);
		question.now = NOW + 2 * YEAR;
		CHECK(!ask(question).chain);
	}
	hierarchy_free(h);
	hierarchy_free(other);
}

TEST(usage_2_requires_names_and_dates) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){.until = NOW + 1000});
	struct records records = {0};
	struct question question = {.chain = {&h.leaf, &h.intermediate, &h.root},
				    .records = &records};
	records_add(&records, &h.root, 2, 0, 1);
	CHECK(ask(question).accepted);
	question.domain = "b.example";
	CHECK(ask(question).chain && !ask(question).identity);
	question.domain = NULL;
	question.now = NOW + 2000;
	CHECK(!ask(question).chain);
	hierarchy_free(h);
}

TEST(usage_2_never_matches_the_leaf) {
	const struct cert leaf =
		cert_make((struct cert_wish){.names = "dns:a.example", .authority = true});
	for (unsigned kind = 0; kind < 6; kind++) {
		struct records records = {0};
		records_add(&records, &leaf, 2, kind / 3, kind % 3);
		const struct answer answer =
			ask((struct question){.chain = {&leaf}, .records = &records});
		CHECK(answer.dane != PN_DANE_MATCH || answer.depth > 0);
		CHECK(kind % 3 == 0 || !answer.accepted);
	}
	cert_free(leaf);
}

TEST(usage_0_finds_the_trusted_root_that_was_not_sent) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	struct records records = {0};
	records_add(&records, &h.root, 0, 0, 1);
	const struct answer answer = ask((struct question){
		.chain = {&h.leaf, &h.intermediate}, .trusted = &h.root, .records = &records});
	CHECK(answer.accepted && answer.dane == PN_DANE_MATCH && answer.depth == 2);
	hierarchy_free(h);
}

/* A further certificate that did not issue anything is not part of the path. */
TEST(an_authority_beside_the_path_proves_nothing) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct hierarchy other = hierarchy_make((struct cert_wish){0});
	for (unsigned usage = 0; usage <= 2; usage += 2) {
		struct records records = {0};
		records_add(&records, &other.root, usage, 0, 1);
		const struct answer answer =
			ask((struct question){.chain = {&h.leaf, &h.intermediate, &other.root},
					      .trusted = &h.root,
					      .records = &records});
		CHECK(!answer.accepted && answer.dane == PN_DANE_MISMATCH);
	}
	hierarchy_free(h);
	hierarchy_free(other);
}

TEST(an_issuer_that_is_not_an_authority_proves_nothing) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){.subject = "a.example"});
	const struct cert forged = cert_make((struct cert_wish){
		.subject = "victim", .issuer = &h.leaf, .names = "dns:a.example"});
	for (unsigned usage = 0; usage <= 2; usage += 2) {
		struct records records = {0};
		records_add(&records, &h.leaf, usage, 0, 1);
		records_add(&records, &h.root, usage, 0, 1);
		const struct answer answer =
			ask((struct question){.chain = {&forged, &h.leaf, &h.intermediate, &h.root},
					      .trusted = &h.root,
					      .records = &records});
		CHECK(!answer.accepted && !answer.chain);
	}
	cert_free(forged);
	hierarchy_free(h);
}

/* ---- Making records ---- */

TEST(generated_data_match) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	const struct cert *const certs[] = {&h.leaf, &h.intermediate, &h.root, NULL};
	struct pn_chain *chain = chain_of(certs);
	for (unsigned i = 0; i < 3 * 6; i++) {
		struct records records = {0};
		struct pn_buf data = {0};
		const struct pn_str want =
			records_add(&records, certs[i / 6], 3, i / 3 % 2, i % 3)->data;
		CHECK(pn_cert_tlsa(chain, i / 6, i / 3 % 2, i % 3, &data) == PN_OK);
		CHECK(data.len == want.len && memcmp(data.data, want.bytes, want.len) == 0);
		pn_buf_free(&data);
	}
	pn_chain_free(chain);
	hierarchy_free(h);
	CHECK(test_alloc.blocks == 0);
}

TEST(no_data_are_generated_for_unknown_values) {
	const struct cert cert = cert_make((struct cert_wish){0});
	struct pn_chain *chain = chain_of_one(&cert);
	struct pn_buf data = {0};
	CHECK(pn_cert_tlsa(chain, 0, 2, 1, &data) == PN_EINVAL);
	CHECK(pn_cert_tlsa(chain, 0, 1, 3, &data) == PN_EINVAL);
	CHECK(pn_cert_tlsa(chain, 0, 256, 256, &data) == PN_EINVAL);
	CHECK(data.len == 0 && data.data == NULL);
	pn_chain_free(chain);
	cert_free(cert);
}

/* ---- Making requests ---- */

static X509_REQ *requested;

static void take_names(X509 *x) {
	STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(requested);
	REQUIRE(sk_X509_EXTENSION_num(extensions) == 1);
	X509_add_ext(x, sk_X509_EXTENSION_value(extensions, 0), -1);
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
}

/* The names of a certificate that is issued as requested, with a space behind each. */
static void print_requested(char *out, size_t size) {
	const struct cert cert = cert_make((struct cert_wish){.alter = take_names});
	struct pn_chain *chain = chain_of_one(&cert);
	struct pn_names *names = NULL;
	size_t len = 0;
	REQUIRE(pn_names_new(&names, chain, 0) == PN_OK);
	for (size_t i = 0; i < pn_names_count(names); i++) {
		const struct pn_str value = pn_names_at(names, i)->value;
		len += (size_t)snprintf(out + len, size - len, "%.*s ", (int)value.len,
					value.bytes);
	}
	pn_names_free(names);
	pn_chain_free(chain);
	cert_free(cert);
}

TEST(a_request_has_every_name_and_is_signed_with_its_new_key) {
	const struct pn_str domains[] = {str("a.example"), str("b.example")};
	const char *const services[] = {"xmpp-client", "xmpp-server", NULL};
	for (int rsa = 0; rsa < 2; rsa++) {
		const struct pn_request request = {
			.domains = domains, .count = 2, .services = services, .rsa = rsa == 1};
		char names[256] = "";
		struct pn_buf key = {0};
		struct pn_buf csr = {0};
		REQUIRE(pn_cert_request(&request, &key, &csr) == PN_OK);
		BIO *secret = BIO_new_mem_buf(key.data, (int)key.len);
		BIO *public = BIO_new_mem_buf(csr.data, (int)csr.len);
		EVP_PKEY *pair = PEM_read_bio_PrivateKey(secret, NULL, NULL, NULL);
		requested = PEM_read_bio_X509_REQ(public, NULL, NULL, NULL);
		CHECK(X509_REQ_verify(requested, pair) == 1);
		CHECK(EVP_PKEY_get_bits(pair) == (rsa == 1 ? 3072 : 256));
		print_requested(names, sizeof(names));
		CHECK_STR(names,
			  "a.example b.example _xmpp-client.a.example _xmpp-server.a.example "
			  "_xmpp-client.b.example _xmpp-server.b.example ");
		EVP_PKEY_free(pair);
		X509_REQ_free(requested);
		BIO_free(secret);
		BIO_free(public);
		pn_buf_free(&key);
		pn_buf_free(&csr);
	}
}

int main(void) {
	return test_run("tlsa");
}
