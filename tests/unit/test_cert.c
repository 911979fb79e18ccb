/* Reading and describing certificates with pn/cert.h: RFC 5280 */
#include <openssl/ui.h>

#include "../oom/alloc.h"
#include "cert_fixture.h"
#include "guard.h"

/* ---- Reading ---- */

/* How many certificates a text has, or the error. */
static int read_text(struct pn_str text) {
	const size_t blocks = test_alloc.blocks;
	struct pn_chain *chain = NULL;
	int result = pn_chain_new(&chain, text);
	CHECK((result == PN_OK) == (chain != NULL));
	if (result == PN_OK) {
		result = (int)pn_chain_count(chain);
		CHECK(result > 0);
	}
	pn_chain_free(chain);
	CHECK(test_alloc.blocks == blocks);
	return result;
}

static int read_parts(const struct pn_str *parts) {
	struct pn_buf text = {0};
	for (; parts->bytes != NULL; parts++)
		pn_buf_append(&text, parts->bytes, parts->len);
	const struct pn_str copy = {memcpy(malloc(text.len + 1), buf_str(&text).bytes, text.len),
				    text.len};
	pn_buf_free(&text);
	const int result = read_text(copy);
	free((char *)copy.bytes);
	return result;
}
#define READ(...) read_parts((const struct pn_str[]){__VA_ARGS__, {NULL, 0}})

static const char BEGIN[] = "-----BEGIN CERTIFICATE-----";
static const char END[] = "-----END CERTIFICATE-----";

TEST(a_text_without_a_certificate_is_an_error) {
	CHECK(READ(str("")) == PN_ECERT);
	CHECK(READ(str("no certificate")) == PN_ECERT);
	CHECK(READ({"\0\0\0\0", 4}) == PN_ECERT);
	CHECK(READ(str("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")) ==
	      PN_ECERT);
	CHECK(READ(str(BEGIN)) == PN_ECERT);
	CHECK(READ(str(BEGIN), str("\n"), str(END)) == PN_ECERT);
	CHECK(READ(str(BEGIN), str("\nAAAA\n"), str(END), str("\n")) == PN_ECERT);
	CHECK(READ(str(BEGIN), str("\n!!!!\n"), str(END), str("\n")) == PN_ECERT);
}

TEST(text_between_certificates_is_ignored) {
	const struct cert cert = cert_make((struct cert_wish){0});
	struct pn_buf pem = {0};
	pem_add(&pem, &cert);
	const struct pn_str one = {(const char *)pem.data, pem.len};
	const struct pn_str key =
		str("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
	CHECK(READ(one) == 1);
	CHECK(READ(one, one, one) == 3);
	CHECK(READ(str("subject=CN = x\n"), one, str("\n\nmore\n"), one, str("behind")) == 2);
	CHECK(READ(key, one, key, one, key) == 2);
	CHECK(READ(one, {"\0\0\0\n", 4}, one) == 2);
	CHECK(READ({one.bytes, one.len - 1}) == 1);
	pn_buf_free(&pem);
	cert_free(cert);
}

TEST(a_bad_certificate_behind_good_ones_is_an_error) {
	const struct cert cert = cert_make((struct cert_wish){0});
	struct pn_buf pem = {0};
	pem_add(&pem, &cert);
	const struct pn_str one = {(const char *)pem.data, pem.len};
	CHECK(READ(one, str(BEGIN), str("\nAAAA\n"), str(END), str("\n")) == PN_ECERT);
	CHECK(READ(one, str(BEGIN), str("\n!\n"), str(END), str("\n"), one) == PN_ECERT);
	CHECK(READ(one, str(BEGIN)) == PN_ECERT);
	pn_buf_free(&pem);
	cert_free(cert);
}

TEST(lines_may_end_with_a_carriage_return) {
	const struct cert cert = cert_make((struct cert_wish){0});
	struct pn_buf pem = {0};
	struct pn_buf text = {0};
	pem_add(&pem, &cert);
	for (size_t i = 0; i < pem.len; i++)
		pn_buf_append(&text, pem.data[i] == '\n' ? "\r\n" : (const char *)&pem.data[i],
			      pem.data[i] == '\n' ? 2 : 1);
	pn_buf_free(&pem);
	CHECK(READ({(const char *)text.data, text.len}, {"", 0}) == 1);
	pn_buf_free(&text);
	cert_free(cert);
}

/* How often a needle stands in the text. */
static int count_of(struct pn_str text, const char *needle) {
	const size_t len = strlen(needle);
	int count = 0;
	for (size_t i = 0; i + len <= text.len; i++)
		count += memcmp(text.bytes + i, needle, len) == 0 ? 1 : 0;
	return count;
}

TEST(every_truncation_returns_the_whole_certificates_or_is_an_error) {
	const struct cert cert = cert_make((struct cert_wish){.names = "dns:a.example"});
	struct pn_buf pem = {0};
	pem_add(&pem, &cert);
	pem_add(&pem, &cert);
	struct guard guard = guard_new(pem.len);
	char *const copy = memcpy(malloc(pem.len), pem.data, pem.len);
	const size_t all = pem.len;
	pn_buf_free(&pem);
	for (size_t len = 0; len <= all; len++) {
		const struct pn_str text = {guard_put(&guard, copy, len), len};
		const int whole = count_of(text, END);
		const bool open = count_of(text, BEGIN) > whole;
		const int got = read_text(text);
		if (!CHECK(open || whole == 0 ? got == PN_ECERT : got == whole))
			printf("# %zu of %zu bytes: %d\n", len, all, got);
	}
	free(copy);
	guard_free(&guard);
	cert_free(cert);
}

static bool asked; /* somebody was asked for a pass phrase */

static int refuse_to_answer(UI *ui, UI_STRING *text) {
	(void)ui;
	(void)text;
	asked = true;
	return 0;
}

TEST(a_pass_phrase_is_never_prompted_for) {
	static const char block[] = "Proc-Type: 4,ENCRYPTED\n"
				    "DEK-Info: AES-128-CBC,000102030405060708090A0B0C0D0E0F\n\n"
				    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
	UI_METHOD *method = UI_create_method("test");
	UI_method_set_reader(method, refuse_to_answer);
	UI_set_default_method(method);
	CHECK(READ(str(BEGIN), str("\n"), str(block), str(END), str("\n")) == PN_ECERT);
	CHECK(!asked);
	UI_set_default_method(UI_OpenSSL());
	UI_destroy_method(method);
}

/* Peers must not mark a certificate as trusted in the way of OpenSSL's own tools. */
TEST(a_trusted_certificate_of_openssl_is_not_trusted) {
	const struct cert cert = cert_make((struct cert_wish){.names = "dns:a.example"});
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	X509_add1_trust_object(cert.x509, OBJ_nid2obj(NID_server_auth));
	REQUIRE(PEM_write_bio_X509_AUX(bio, cert.x509) == 1);
	const size_t len = (size_t)BIO_get_mem_data(bio, &text);
	const struct pn_str pem = {text, len};
	CHECK(read_text(pem) == PN_ECERT || !ask((struct question){.text = pem}).chain);
	BIO_free(bio);
	cert_free(cert);
}

/* ---- Describing ---- */

static struct pn_cert_info describe(const struct cert *cert) {
	struct pn_cert_info info;
	struct pn_chain *chain = chain_of_one(cert);
	memset(&info, 0xa5, sizeof(info));
	REQUIRE(pn_cert_describe(chain, 0, &info) == PN_OK);
	pn_chain_free(chain);
	return info;
}

static bool text_is(const struct pn_buf *got, const char *want) {
	const bool same = got->len == strlen(want) && memcmp(got->data, want, got->len) == 0;
	if (!same)
		printf("# got  %.*s\n# want %s\n", (int)got->len, (const char *)got->data, want);
	return same;
}

TEST(a_certificate_is_described_as_it_is) {
	const struct cert root =
		cert_make((struct cert_wish){.subject = "root", .authority = true});
	const struct cert cert = cert_make((struct cert_wish){.subject = "le\xc3\xa4"
									 "f",
							      .issuer = &root,
							      .from = NOW,
							      .until = NOW + YEAR});
	struct pn_cert_info info = describe(&cert);
	CHECK(text_is(&info.subject, "CN=le\xc3\xa4"
				     "f"));
	CHECK(text_is(&info.issuer, "CN=root"));
	CHECK(info.has_not_before && info.not_before == NOW);
	CHECK(info.has_not_after && info.not_after == NOW + YEAR);
	CHECK_STR(info.key_type, "EC");
	CHECK(info.key_bits == 256);
	CHECK(!info.authority && !info.self_issued);
	pn_cert_info_free(&info);
	info = describe(&root);
	CHECK(info.authority && info.self_issued);
	pn_cert_info_free(&info);
	cert_free(cert);
	cert_free(root);
	CHECK(test_alloc.blocks == 0);
}

TEST(the_digests_are_those_of_the_certificate_and_of_its_key) {
	const struct cert cert = cert_make((struct cert_wish){0});
	struct pn_cert_info info = describe(&cert);
	struct records records = {0};
	CHECK(memcmp(info.sha256, records_add(&records, &cert, 3, 0, 1)->data.bytes, 32) == 0);
	CHECK(memcmp(info.spki_sha256, records_add(&records, &cert, 3, 1, 1)->data.bytes, 32) == 0);
	pn_cert_info_free(&info);
	cert_free(cert);
}

TEST(a_serial_may_have_any_length_and_sign) {
	static char longer[1001];
	const char *const serials[] = {"01",   "-01",
				       "-80",  "7F",
				       "80",   "FFFFFFFFFFFFFFFFFF",
				       longer, "-0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF"};
	memset(longer, 'A', 1000);
	for (size_t i = 0; i < sizeof(serials) / sizeof(serials[0]); i++) {
		const struct cert cert = cert_make((struct cert_wish){.serial = serials[i]});
		struct pn_cert_info info = describe(&cert);
		CHECK(text_is(&info.serial, serials[i]));
		pn_cert_info_free(&info);
		cert_free(cert);
	}
}

static bool is_decoded(const struct pn_chain *chain) {
	struct pn_cert_info info;
	const int err = pn_cert_describe(chain, 0, &info);
	pn_cert_info_free(&info);
	return err == PN_OK;
}

static bool is_refused_as_unreadable(const struct pn_chain *chain) {
	struct pn_verdict verdict = {.chain_valid = true, .identity_valid = true};
	const int err = pn_cert_verify(&(struct pn_verify){.chain = chain, .now = NOW}, &verdict);
	pn_buf_free(&verdict.errors);
	return err == PN_ECERT && !verdict.chain_valid && !verdict.identity_valid;
}

/* Newer OpenSSLs do not decode such a certificate at all. */
TEST(an_absurd_date_is_absent_and_proves_nothing) {
	static const char *const dates[] = {"",
					    "Z",
					    "99999999999999Z",
					    "20231314000000Z",
					    "20230230000000Z",
					    "2023",
					    "20231114221320",
					    "-0231114221320Z",
					    "202311142213\xff\xffZ",
					    "%n%n%n%n%n%n%nZ",
					    "20231114221320Z20231114221320Z"};
	for (size_t i = 0; i < 2 * sizeof(dates) / sizeof(dates[0]); i++) {
		const int type = i % 2 == 0 ? V_ASN1_GENERALIZEDTIME : V_ASN1_UTCTIME;
		const struct cert cert = cert_make((struct cert_wish){
			.names = "dns:a.example", .dates = dates[i / 2], .dates_type = type});
		struct pn_chain *chain = chain_of_one(&cert);
		if (is_decoded(chain)) {
			struct pn_cert_info info = describe(&cert);
			if (!CHECK(!info.has_not_before && !info.has_not_after))
				printf("# %s: %lld\n", dates[i / 2], (long long)info.not_after);
			CHECK(!ask((struct question){.chain = {&cert}, .trusted = &cert}).chain);
			pn_cert_info_free(&info);
		} else {
			CHECK(is_refused_as_unreadable(chain));
		}
		pn_chain_free(chain);
		cert_free(cert);
	}
}

TEST(dates_far_away_are_seconds_too) {
	static const struct {
		const char *text;
		int64_t seconds;
	} dates[] = {{"99991231235959Z", 253402300799},
		     {"19691231235959Z", -1},
		     {"20380119031408Z", 2147483648},
		     {"00010101000000Z", -62135596800}};
	for (size_t i = 0; i < sizeof(dates) / sizeof(dates[0]); i++) {
		const struct cert cert = cert_make((struct cert_wish){
			.dates = dates[i].text, .dates_type = V_ASN1_GENERALIZEDTIME});
		struct pn_cert_info info = describe(&cert);
		if (!CHECK(info.has_not_after && info.not_after == dates[i].seconds))
			printf("# %s: %lld\n", dates[i].text, (long long)info.not_after);
		pn_cert_info_free(&info);
		cert_free(cert);
	}
}

TEST(a_subject_of_any_type_has_no_control_characters) {
	static const struct {
		int type;
		const char bytes[12];
	} subjects[] = {{V_ASN1_UTF8STRING, "a\0b\n\r\x1b[31m\x7f"},
			{V_ASN1_UTF8STRING, "\xc2\x9b[31m\xc2\x85\xc2\x80"},
			{V_ASN1_UTF8STRING, "a,b+c=\\\"<>;"},
			{V_ASN1_PRINTABLESTRING, "a\0b\n\r\x1b[31m\x7f"},
			{V_ASN1_IA5STRING, "a\0b\n\r\x1b[31m\x7f"},
			{V_ASN1_T61STRING, "\x9b[31m\x85\x80\n\r\x1b\xff"},
			{V_ASN1_BMPSTRING, "\0a\0\0\0\n\0\x1b\0\x9b\0\x7f"},
			{V_ASN1_UNIVERSALSTRING, "\0\0\0\x1b\0\0\0\x9b\0\0\0\n"}};
	const struct cert root = cert_make((struct cert_wish){.subject = "root"});
	for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
		const struct cert cert =
			cert_make((struct cert_wish){.subject = subjects[i].bytes,
						     .subject_type = subjects[i].type,
						     .issuer = &root});
		struct pn_cert_info info = describe(&cert);
		CHECK(info.subject.len > 3);
		for (size_t at = 0; at < info.subject.len; at++) {
			const unsigned char c = info.subject.data[at];
			const bool is_c1 = c == 0xc2 && info.subject.data[at + 1] < 0xa0;
			if (!CHECK(c >= ' ' && c != 0x7f && !is_c1))
				printf("# subject %zu\n", i);
		}
		pn_cert_info_free(&info);
		cert_free(cert);
	}
	cert_free(root);
}

static const char *key_type; /* NULL: an unknown one */

static void alter_key(X509 *x) {
	if (key_type != NULL) {
		EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, key_type);
		REQUIRE(key != NULL && X509_set_pubkey(x, key) == 1);
		EVP_PKEY_free(key);
	} else {
		unsigned char *bytes = OPENSSL_zalloc(32);
		X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(x), OBJ_txt2obj("1.2.3.4", 1),
				       V_ASN1_NULL, NULL, bytes, 32);
	}
}

TEST(keys_are_described_by_type_and_size) {
	struct cert cert = cert_make((struct cert_wish){.rsa_bits = 2048});
	struct pn_cert_info info = describe(&cert);
	CHECK_STR(info.key_type, "RSA");
	CHECK(info.key_bits == 2048);
	pn_cert_info_free(&info);
	cert_free(cert);
	key_type = "ED25519";
	cert = cert_make((struct cert_wish){.alter = alter_key});
	info = describe(&cert);
	CHECK_STR(info.key_type, "ED25519");
	pn_cert_info_free(&info);
	cert_free(cert);
}

TEST(an_unknown_key_is_described_without_type_and_size) {
	key_type = NULL;
	const struct cert cert =
		cert_make((struct cert_wish){.names = "dns:a.example", .alter = alter_key});
	struct pn_cert_info info = describe(&cert);
	CHECK_STR(info.key_type, "");
	CHECK(info.key_bits == 0);
	CHECK(!ask((struct question){.chain = {&cert}, .trusted = &cert}).chain);
	pn_cert_info_free(&info);
	cert_free(cert);
}

/* ---- Damage ---- */

/* Each bit is covered by the signature, or by the rules of the encoding. */
TEST(no_changed_bit_of_a_certificate_goes_unnoticed) {
	const struct hierarchy h = hierarchy_make((struct cert_wish){0});
	unsigned char *der = NULL;
	const size_t len = (size_t)i2d_X509(h.leaf.x509, &der);
	unsigned readable = 0;
	for (size_t bit = 0; bit <= len * 8; bit++) {
		const bool changed = bit < len * 8; /* the last one is as it was */
		struct pn_buf pem = {0};
		struct pn_chain *chain = NULL;
		der[changed ? bit / 8 : 0] ^= (unsigned char)(changed ? 1u << bit % 8 : 0);
		pem_add_der(&pem, der, len);
		pem_add(&pem, &h.intermediate);
		if (pn_chain_new(&chain, buf_str(&pem)) == PN_OK && !is_decoded(chain)) {
			CHECK(is_refused_as_unreadable(chain));
		} else if (chain != NULL) {
			const struct answer answer =
				ask((struct question){.text = buf_str(&pem), .trusted = &h.root});
			if (!CHECK(answer.accepted == !changed))
				printf("# bit %zu of byte %zu\n", bit % 8, bit / 8);
			readable++;
		}
		der[changed ? bit / 8 : 0] ^= (unsigned char)(changed ? 1u << bit % 8 : 0);
		pn_chain_free(chain);
		pn_buf_free(&pem);
	}
	CHECK(readable > len);
	OPENSSL_free(der);
	hierarchy_free(h);
}

/* ---- The positions of a certificate's parts ---- */

static int read_der(const unsigned char *der, size_t len) {
	struct pn_buf pem = {0};
	pem_add_der(&pem, der, len);
	const int result = read_text(buf_str(&pem));
	pn_buf_free(&pem);
	return result;
}

TEST(a_certificate_ends_where_its_encoding_does) {
	const struct cert cert = cert_make((struct cert_wish){.names = "dns:a.example"});
	unsigned char *der = NULL;
	const size_t len = (size_t)i2d_X509(cert.x509, &der);
	unsigned char *copy = memcpy(malloc(len + 1), der, len);
	copy[len] = 0;
	CHECK(read_der(copy, len) == 1);
	CHECK(read_der(copy, len + 1) == PN_ECERT);
	for (size_t shorter = 1; shorter < len; shorter++)
		CHECK(read_der(copy, shorter) == PN_ECERT);
	copy[1] = 0x80; /* an indefinite length */
	CHECK(read_der(copy, len) == PN_ECERT);
	free(copy);
	OPENSSL_free(der);
	cert_free(cert);
}

/* OpenSSL finds the same key and the same extensions, whichever of the optional fields are there.
 */
TEST(the_parts_are_those_that_openssl_decodes) {
	const struct cert_wish wishes[] = {
		{0}, {.names = "dns:a.example xmpp:b.example"}, {.rsa_bits = 2048}};
	for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
		const struct cert cert = cert_make(wishes[i]);
		struct pn_chain *chain = chain_of_one(&cert);
		for (unsigned selector = 0; selector < 2; selector++) {
			unsigned char *want = NULL;
			struct pn_buf got = {0};
			const int len =
				selector == 0
					? i2d_X509(cert.x509, &want)
					: i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert.x509), &want);
			CHECK(pn_cert_tlsa(chain, 0, selector, PN_TLSA_FULL, &got) == PN_OK);
			CHECK(got.len == (size_t)len && memcmp(got.data, want, got.len) == 0);
			pn_buf_free(&got);
			OPENSSL_free(want);
		}
		pn_chain_free(chain);
		cert_free(cert);
	}
}

int main(void) {
	return test_run("cert");
}
