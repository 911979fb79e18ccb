/* Keys with pn/cert.h: the key in a text, and whether it matches a certificate */
#include "../oom/alloc.h"
#include "cert_fixture.h"

static const struct pn_str NO_PASSWORD = {NULL, 0};

/* Appends a private key, encrypted if there is a password. */
static void add_private(struct pn_buf *pem, EVP_PKEY *key, const char *password) {
	char *bytes;
	BIO *bio = BIO_new(BIO_s_mem());
	REQUIRE(PEM_write_bio_PKCS8PrivateKey(
			bio, key, password != NULL ? EVP_aes_128_cbc() : NULL, password,
			password != NULL ? (int)strlen(password) : 0, NULL, NULL) == 1);
	const size_t len = (size_t)BIO_get_mem_data(bio, &bytes);
	pn_buf_append(pem, bytes, len);
	BIO_free(bio);
}

static void add_public(struct pn_buf *pem, EVP_PKEY *key) {
	char *bytes;
	BIO *bio = BIO_new(BIO_s_mem());
	REQUIRE(PEM_write_bio_PUBKEY(bio, key) == 1);
	const size_t len = (size_t)BIO_get_mem_data(bio, &bytes);
	pn_buf_append(pem, bytes, len);
	BIO_free(bio);
}

/* 1 or 0: whether the certificate is for the key; or the error. */
static int fits(const struct cert *cert, const struct pn_buf *pem, struct pn_str password) {
	struct pn_chain *chain = chain_of_one(cert);
	bool result = false;
	const int err = pn_key_fits(chain, buf_str(pem), password, &result);
	pn_chain_free(chain);
	return err == PN_OK ? result : err;
}

/* The error, or how many bytes of the certificate's own key there are. */
static int public_key(const struct cert *cert, struct pn_str pem, struct pn_str password) {
	const size_t blocks = test_alloc.blocks;
	struct pn_buf spki = {0};
	struct pn_buf own = {0};
	struct pn_chain *chain = chain_of_one(cert);
	REQUIRE(pn_cert_tlsa(chain, 0, PN_TLSA_SPKI, PN_TLSA_FULL, &own) == PN_OK);
	pn_chain_free(chain);
	const int err = pn_public_key(pem, password, &spki);
	if (err == PN_OK)
		CHECK(spki.len == own.len && memcmp(spki.data, own.data, own.len) == 0);
	else
		CHECK(spki.len == 0);
	const int len = (int)spki.len;
	pn_buf_free(&spki);
	pn_buf_free(&own);
	CHECK(test_alloc.blocks == blocks);
	return err == PN_OK ? len : err;
}

TEST(a_private_a_public_and_a_requested_key_are_the_certificates_own) {
	for (unsigned bits = 0; bits <= 2048; bits += 2048) {
		const struct cert cert = cert_make((struct cert_wish){.rsa_bits = bits});
		struct pn_buf private = {0};
		struct pn_buf public = {0};
		add_private(&private, cert.key, NULL);
		add_public(&public, cert.key);
		CHECK(public_key(&cert, buf_str(&private), NO_PASSWORD) > 0);
		CHECK(public_key(&cert, buf_str(&public), NO_PASSWORD) > 0);
		CHECK(fits(&cert, &private, NO_PASSWORD) == 1);
		CHECK(fits(&cert, &public, NO_PASSWORD) == 1);
		pn_buf_free(&private);
		pn_buf_free(&public);
		cert_free(cert);
	}
}

TEST(a_request_has_the_key_that_was_made_with_it) {
	const struct pn_str domains[] = {str("a.example")};
	const char *const services[] = {NULL};
	struct pn_buf key = {0};
	struct pn_buf csr = {0};
	struct pn_buf of_key = {0};
	struct pn_buf of_csr = {0};
	REQUIRE(pn_cert_request(
			&(struct pn_request){.domains = domains, .count = 1, .services = services},
			&key, &csr) == PN_OK);
	CHECK(pn_public_key(buf_str(&key), NO_PASSWORD, &of_key) == PN_OK);
	CHECK(pn_public_key(buf_str(&csr), NO_PASSWORD, &of_csr) == PN_OK);
	CHECK(of_key.len > 0 && of_key.len == of_csr.len &&
	      memcmp(of_key.data, of_csr.data, of_key.len) == 0);
	pn_buf_free(&key);
	pn_buf_free(&csr);
	pn_buf_free(&of_key);
	pn_buf_free(&of_csr);
}

TEST(a_key_is_found_behind_certificates) {
	const struct cert cert = cert_make((struct cert_wish){0});
	const struct cert other = cert_make((struct cert_wish){0});
	struct pn_buf pem = {0};
	pem_add(&pem, &other);
	CHECK(public_key(&cert, buf_str(&pem), NO_PASSWORD) == PN_EKEY);
	add_private(&pem, cert.key, NULL);
	CHECK(public_key(&cert, buf_str(&pem), NO_PASSWORD) > 0);
	CHECK(fits(&cert, &pem, NO_PASSWORD) == 1);
	CHECK(fits(&other, &pem, NO_PASSWORD) == 0);
	pn_buf_free(&pem);
	cert_free(cert);
	cert_free(other);
}

TEST(a_key_of_another_type_does_not_fit) {
	const struct cert cert = cert_make((struct cert_wish){0});
	const struct cert rsa = cert_make((struct cert_wish){.rsa_bits = 2048});
	struct pn_buf pem = {0};
	add_private(&pem, rsa.key, NULL);
	CHECK(fits(&cert, &pem, NO_PASSWORD) == 0);
	pn_buf_free(&pem);
	cert_free(cert);
	cert_free(rsa);
}

TEST(an_encrypted_key_needs_its_password) {
	const struct cert cert = cert_make((struct cert_wish){0});
	struct pn_buf pem = {0};
	add_private(&pem, cert.key, "secret");
	CHECK(public_key(&cert, buf_str(&pem), str("secret")) > 0);
	CHECK(fits(&cert, &pem, str("secret")) == 1);
	CHECK(fits(&cert, &pem, str("wrong")) == PN_EKEY);
	CHECK(public_key(&cert, buf_str(&pem), NO_PASSWORD) == PN_EKEY);
	pn_buf_free(&pem);
	cert_free(cert);
}

TEST(a_text_that_is_not_a_key_is_an_error) {
	const struct cert cert = cert_make((struct cert_wish){0});
	static const char *const texts[] = {
		"",
		"no key",
		"-----BEGIN PRIVATE KEY-----\n",
		"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
		"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		CHECK(public_key(&cert, str(texts[i]), NO_PASSWORD) == PN_EKEY);
	CHECK(public_key(&cert, (struct pn_str){"\0\0\0\0", 4}, NO_PASSWORD) == PN_EKEY);
	cert_free(cert);
}

TEST(a_request_is_created_for_an_existing_key) {
	const struct pn_str domains[] = {str("a.example")};
	const char *const services[] = {NULL};
	struct pn_request request = {.domains = domains, .count = 1, .services = services};
	struct pn_buf key = {0}, same = {0}, csr = {0}, of_key = {0}, of_csr = {0};
	REQUIRE(pn_cert_request(&request, &key, &csr) == PN_OK);
	pn_buf_free(&csr);
	request.key = buf_str(&key);
	request.rsa = true; /* which is about a new key */
	REQUIRE(pn_cert_request(&request, &same, &csr) == PN_OK);
	CHECK(same.len == key.len && memcmp(same.data, key.data, key.len) == 0);
	CHECK(pn_public_key(buf_str(&key), NO_PASSWORD, &of_key) == PN_OK);
	CHECK(pn_public_key(buf_str(&csr), NO_PASSWORD, &of_csr) == PN_OK);
	CHECK(of_key.len == of_csr.len && memcmp(of_key.data, of_csr.data, of_key.len) == 0);
	pn_buf_free(&csr);
	pn_buf_free(&same);
	request.key = str("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
	CHECK(pn_cert_request(&request, &same, &csr) == PN_EKEY);
	request.key = buf_str(&of_key);
	CHECK(pn_cert_request(&request, &same, &csr) == PN_EKEY);
	CHECK(same.data == NULL && csr.data == NULL);
	pn_buf_free(&key);
	pn_buf_free(&of_key);
	pn_buf_free(&of_csr);
}

int main(void) {
	return test_run("key");
}
