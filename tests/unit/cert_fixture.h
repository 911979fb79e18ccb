/*
 * Certificates that are created by the tests, so that none expires: authorities, leaves, and
 * certificates that no authority would sign; and verifications of them. By default keys are of
 * P-256 and signatures ECDSA with SHA-256.
 */
#ifndef TEST_CERT_FIXTURE_H
#define TEST_CERT_FIXTURE_H

#include <stdint.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <pn/cert.h>
#include <pn/err.h>
#include <pn/wire.h>

#include "test.h"
#include "tokens.h"

enum { NOW = 1700000000, YEAR = 365 * 86400 };

/* ---- DER ---- */

enum { TAG_OID = 0x06, TAG_SEQUENCE = 0x30, TAG_CONTEXT = 0x80, TAG_CONSTRUCTED = 0x20 };

/* Appends a value: tag, length and content. */
static inline void der_add(struct pn_buf *der, int tag, const void *bytes, size_t len) {
	const unsigned char head[] = {(unsigned char)tag, 0x83, (unsigned char)(len >> 16),
				      (unsigned char)(len >> 8), (unsigned char)len};
	const unsigned char brief[] = {(unsigned char)tag, (unsigned char)len};
	const unsigned char middle[] = {(unsigned char)tag, 0x81, (unsigned char)len};
	const unsigned char longer[] = {(unsigned char)tag, 0x82, head[3], head[4]};
	REQUIRE(len < 1 << 24);
	if (len < 0x80)
		pn_buf_append(der, brief, sizeof(brief));
	else if (len < 1 << 8)
		pn_buf_append(der, middle, sizeof(middle));
	else if (len < 1 << 16)
		pn_buf_append(der, longer, sizeof(longer));
	else
		pn_buf_append(der, head, sizeof(head));
	pn_buf_append(der, bytes, len);
}

/* ---- subjectAltName: the names one after the other, without the sequence around them ---- */

enum { SAN_EMAIL = 1, SAN_DNS = 2, SAN_DIRECTORY = 4, SAN_URI = 6, SAN_IP = 7, SAN_OID = 8 };

static const char OID_SRV[] = "\x2b\x06\x01\x05\x05\x07\x08\x07";
static const char OID_XMPP[] = "\x2b\x06\x01\x05\x05\x07\x08\x05";

/* Appends a name that is a string, of any bytes. */
static inline void san_string(struct pn_buf *san, int choice, const void *bytes, size_t len) {
	der_add(san, TAG_CONTEXT | choice, bytes, len);
}

/* Appends an otherName with a value of any tag. */
static inline void san_other(struct pn_buf *san, const char *oid, int tag, const void *bytes,
			     size_t len) {
	struct pn_buf value = {0};
	struct pn_buf name = {0};
	der_add(&value, tag, bytes, len);
	der_add(&name, TAG_OID, oid, strlen(oid));
	der_add(&name, TAG_CONTEXT | TAG_CONSTRUCTED, value.data, value.len);
	der_add(san, TAG_CONTEXT | TAG_CONSTRUCTED, name.data, name.len);
	pn_buf_free(&value);
	pn_buf_free(&name);
}

static inline void san_word(struct pn_buf *san, const char *word, size_t len) {
	static const struct {
		const char *prefix;
		int choice; /* 0: an otherName */
		const char *oid;
		int tag;
	} kinds[] = {{"dns:", SAN_DNS, NULL, 0},
		     {"srv:", 0, OID_SRV, V_ASN1_IA5STRING},
		     {"xmpp:", 0, OID_XMPP, V_ASN1_UTF8STRING},
		     {"uri:", SAN_URI, NULL, 0},
		     {"email:", SAN_EMAIL, NULL, 0}};
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const size_t skip = strlen(kinds[i].prefix);
		if (len < skip || memcmp(word, kinds[i].prefix, skip) != 0)
			continue;
		if (kinds[i].choice != 0)
			san_string(san, kinds[i].choice, word + skip, len - skip);
		else
			san_other(san, kinds[i].oid, kinds[i].tag, word + skip, len - skip);
		return;
	}
	REQUIRE(false);
}

/* Appends names written as words: "dns:a.example srv:_xmpp-server.a.example xmpp:a.example". */
static inline void san_words(struct pn_buf *san, const char *words) {
	while (*words != '\0') {
		const size_t len = strcspn(words, " ");
		san_word(san, words, len);
		words += len + (words[len] == ' ' ? 1 : 0);
	}
}

/* ---- Certificates ---- */

struct cert {
	X509 *x509;
	EVP_PKEY *key;
};

struct cert_wish {
	const char *subject;       /* the common name; NULL: "leaf" */
	int subject_type;          /* V_ASN1_...; then it has 12 bytes, any ones. 0: UTF-8 */
	const struct cert *issuer; /* NULL: it signs itself */
	const char *names;         /* as for san_words(); NULL: none */
	const struct pn_buf *san;  /* the same as DER */
	struct pn_str raw_san;     /* or all of the extension's value, whatever it is */
	bool authority;            /* CA:TRUE and keyCertSign */
	const char *serial;        /* hexadecimal; NULL: the next free one */
	int64_t from, until;       /* 0: a year before and behind NOW */
	const char *dates;         /* or both of them as text, whatever it is, of this type */
	int dates_type;
	int nid; /* one more extension, and its value as openssl.cnf has it */
	const char *value;
	unsigned rsa_bits;      /* 0: P-256 */
	const EVP_MD *digest;   /* NULL: SHA-256 */
	void (*alter)(X509 *x); /* what else is to be done before it is signed; or NULL */
};

static inline void cert_extend(X509 *x, int nid, const char *value) {
	X509V3_CTX ctx;
	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, &ctx, nid, value);
	REQUIRE(extension != NULL && X509_add_ext(x, extension, -1) == 1);
	X509_EXTENSION_free(extension);
}

/* Adds an extension whose value is any bytes. */
static inline void cert_extend_raw(X509 *x, int nid, const void *bytes, size_t len) {
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	REQUIRE(value != NULL && ASN1_OCTET_STRING_set(value, bytes, (int)len) == 1);
	X509_EXTENSION *extension = X509_EXTENSION_create_by_NID(NULL, nid, 0, value);
	REQUIRE(extension != NULL && X509_add_ext(x, extension, -1) == 1);
	X509_EXTENSION_free(extension);
	ASN1_OCTET_STRING_free(value);
}

static inline void cert_extend_names(X509 *x, const struct pn_buf *san) {
	struct pn_buf value = {0};
	der_add(&value, TAG_SEQUENCE, san->data, san->len);
	REQUIRE(value.err == PN_OK);
	cert_extend_raw(x, NID_subject_alt_name, value.data, value.len);
	pn_buf_free(&value);
}

static inline void cert_set_names(X509 *x, const struct cert_wish *wish) {
	struct pn_buf san = {0};
	if (wish->names != NULL) {
		san_words(&san, wish->names);
		cert_extend_names(x, &san);
	}
	if (wish->san != NULL)
		cert_extend_names(x, wish->san);
	if (wish->raw_san.bytes != NULL)
		cert_extend_raw(x, NID_subject_alt_name, wish->raw_san.bytes, wish->raw_san.len);
	pn_buf_free(&san);
}

static inline void cert_set_dates(X509 *x, const struct cert_wish *wish) {
	const time_t from = wish->from != 0 ? wish->from : NOW - YEAR;
	const time_t until = wish->until != 0 ? wish->until : NOW + YEAR;
	REQUIRE(ASN1_TIME_set(X509_getm_notBefore(x), from) != NULL);
	REQUIRE(ASN1_TIME_set(X509_getm_notAfter(x), until) != NULL);
	if (wish->dates == NULL)
		return;
	ASN1_STRING *date = ASN1_STRING_type_new(wish->dates_type);
	REQUIRE(date != NULL && ASN1_STRING_set(date, wish->dates, -1) == 1);
	REQUIRE(X509_set1_notBefore(x, date) == 1 && X509_set1_notAfter(x, date) == 1);
	ASN1_STRING_free(date);
}

static inline void cert_set_subject(X509 *x, const struct cert_wish *wish) {
	const unsigned char *text =
		(const unsigned char *)(wish->subject != NULL ? wish->subject : "leaf");
	const int type = wish->subject_type != 0 ? wish->subject_type : MBSTRING_UTF8;
	const int len = wish->subject_type != 0 ? 12 : -1;
	REQUIRE(X509_NAME_add_entry_by_NID(X509_get_subject_name(x), NID_commonName, type, text,
					   len, -1, 0) == 1);
}

static inline void cert_set_serial(X509 *x, const struct cert_wish *wish) {
	static unsigned long next = 1;
	BIGNUM *number = BN_new();
	REQUIRE(number != NULL && BN_set_word(number, next++) == 1);
	REQUIRE(wish->serial == NULL || BN_hex2bn(&number, wish->serial) > 0);
	REQUIRE(BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x)) != NULL);
	BN_free(number);
}

static inline struct cert cert_make(struct cert_wish wish) {
	const struct cert made = {X509_new(), wish.rsa_bits == 0 ? EVP_EC_gen("P-256")
								 : EVP_RSA_gen(wish.rsa_bits)};
	const struct cert *issuer = wish.issuer != NULL ? wish.issuer : &made;
	X509 *x = made.x509;
	REQUIRE(x != NULL && made.key != NULL);
	X509_set_version(x, X509_VERSION_3);
	cert_set_serial(x, &wish);
	cert_set_subject(x, &wish);
	REQUIRE(X509_set_issuer_name(x, X509_get_subject_name(issuer->x509)) == 1);
	X509_set_pubkey(x, made.key);
	cert_set_dates(x, &wish);
	if (wish.authority) {
		cert_extend(x, NID_basic_constraints, "critical,CA:TRUE");
		cert_extend(x, NID_key_usage, "critical,keyCertSign");
	}
	cert_set_names(x, &wish);
	if (wish.value != NULL)
		cert_extend(x, wish.nid, wish.value);
	if (wish.alter != NULL)
		wish.alter(x);
	REQUIRE(X509_sign(x, issuer->key, wish.digest != NULL ? wish.digest : EVP_sha256()) > 0);
	return made;
}

static inline void cert_free(struct cert cert) {
	X509_free(cert.x509);
	EVP_PKEY_free(cert.key);
}

/* ---- Texts and chains ---- */

/* Appends DER as PEM, whatever it is. */
static inline void pem_add_der(struct pn_buf *pem, const void *der, size_t len) {
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	REQUIRE(bio != NULL && PEM_write_bio(bio, PEM_STRING_X509, "", der, (long)len) > 0);
	const long size = BIO_get_mem_data(bio, &text);
	pn_buf_append(pem, text, (size_t)size);
	REQUIRE(pem->err == PN_OK);
	BIO_free(bio);
}

static inline void pem_add(struct pn_buf *pem, const struct cert *cert) {
	unsigned char *der = NULL;
	const int len = i2d_X509(cert->x509, &der);
	REQUIRE(len > 0);
	pem_add_der(pem, der, (size_t)len);
	OPENSSL_free(der);
}

static inline struct pn_str buf_str(const struct pn_buf *buf) {
	return (struct pn_str){buf->data != NULL ? (const char *)buf->data : "", buf->len};
}

/* The chain of certificates up to the first NULL. */
static inline struct pn_chain *chain_of(const struct cert *const *certs) {
	struct pn_buf pem = {0};
	struct pn_chain *chain = NULL;
	for (size_t i = 0; certs[i] != NULL; i++)
		pem_add(&pem, certs[i]);
	REQUIRE(pn_chain_new(&chain, buf_str(&pem)) == PN_OK);
	pn_buf_free(&pem);
	return chain;
}

static inline struct pn_chain *chain_of_one(const struct cert *cert) {
	const struct cert *const certs[] = {cert, NULL};
	return chain_of(certs);
}

/* ---- TLSA records, made without the code under test ---- */

enum { RECORDS = 64, RECORD_LEN = 2048 };

struct records { /* not to be copied: the list points into it */
	struct pn_tlsa list[RECORDS];
	unsigned char data[RECORDS][RECORD_LEN];
	size_t count;
};

static inline struct pn_tlsa *records_add_raw(struct records *records, unsigned usage,
					      unsigned selector, unsigned match, const void *bytes,
					      size_t len) {
	REQUIRE(records->count < RECORDS && len <= RECORD_LEN);
	unsigned char *data = records->data[records->count];
	memcpy(data, bytes, len);
	struct pn_tlsa *record = &records->list[records->count++];
	*record = (struct pn_tlsa){usage, selector, match, {(const char *)data, len}};
	return record;
}

/* Adds the record that a certificate matches. */
static inline struct pn_tlsa *records_add(struct records *records, const struct cert *cert,
					  unsigned usage, unsigned selector, unsigned match) {
	unsigned char *der = NULL;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned digest_len = 0;
	struct pn_tlsa *record;
	const int len = selector == PN_TLSA_CERT
				? i2d_X509(cert->x509, &der)
				: i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert->x509), &der);
	REQUIRE(len > 0);
	if (match == PN_TLSA_FULL) {
		record = records_add_raw(records, usage, selector, match, der, (size_t)len);
	} else {
		REQUIRE(EVP_Digest(der, (size_t)len, digest, &digest_len,
				   match == PN_TLSA_SHA256 ? EVP_sha256() : EVP_sha512(),
				   NULL) == 1);
		record = records_add_raw(records, usage, selector, match, digest, digest_len);
	}
	OPENSSL_free(der);
	return record;
}

/* ---- Questions ---- */

struct question {
	const struct cert *chain[8];   /* as it is sent, the leaf first, up to the first NULL */
	struct pn_str text;            /* or as PEM */
	const struct pn_chain *parsed; /* or parsed already */
	const struct cert *trusted;    /* the one authority, or NULL */
	const char *file, *directory;  /* of authorities, or NULL */
	const struct records *records; /* or NULL */
	const char *domain;            /* whom it must be; NULL: "a.example" */
	int64_t now;                   /* 0: NOW */
};

struct answer {
	bool accepted, chain, identity; /* accepted is both of the others */
	enum pn_dane dane;
	size_t record, depth;
	enum pn_cause cause;
	bool record_matches, completed;
	size_t errors;                /* how many texts of errors there are */
	unsigned error_at;            /* the first one's depth */
	char error[PN_CERT_TEXT * 4]; /* its text */
};

static inline struct pn_reference *reference_of(const char *domain, const char *service) {
	struct pn_reference *reference = NULL;
	REQUIRE(pn_reference_new(&reference, str(domain), str(service)) == PN_OK);
	return reference;
}

/* Reads the errors, each of which must be whole and have a text. */
static inline void answer_errors(struct answer *answer, const struct pn_buf *errors) {
	struct pn_wire wire = pn_wire_open(errors->data, errors->len);
	while (wire.left > 0 && wire.err == PN_OK) {
		const unsigned depth = pn_wire_u8(&wire);
		const size_t len = pn_wire_u8(&wire);
		const char *text = pn_wire_take(&wire, len);
		if (!CHECK(text != NULL && len > 0))
			return;
		if (answer->errors++ > 0)
			continue;
		answer->error_at = depth;
		snprintf(answer->error, sizeof(answer->error), "%.*s", (int)len, text);
	}
	CHECK(wire.err == PN_OK);
}

static inline struct answer ask_about(const struct pn_verify *verify) {
	struct pn_verdict verdict = {0};
	struct answer answer = {0};
	CHECK(pn_cert_verify(verify, &verdict) == PN_OK);
	answer.chain = verdict.chain_valid;
	answer.identity = verdict.identity_valid;
	answer.accepted = verdict.chain_valid && verdict.identity_valid;
	answer.dane = verdict.dane;
	answer.record = verdict.record;
	answer.depth = verdict.depth;
	answer.cause = verdict.cause;
	answer.record_matches = verdict.record_matches;
	answer.completed = verdict.completed;
	CHECK(answer.accepted == (answer.cause == PN_CAUSE_NONE));
	answer_errors(&answer, &verdict.errors);
	pn_buf_free(&verdict.errors);
	return answer;
}

static inline struct answer ask(struct question question) {
	struct pn_buf pem = {0};
	struct pn_chain *chain = NULL;
	struct pn_reference *reference = reference_of(
		question.domain != NULL ? question.domain : "a.example", "xmpp-server");
	if (question.text.bytes != NULL)
		REQUIRE(pn_chain_new(&chain, question.text) == PN_OK);
	else if (question.parsed == NULL)
		chain = chain_of(question.chain);
	if (question.trusted != NULL)
		pem_add(&pem, question.trusted);
	const struct pn_verify verify = {
		.chain = question.parsed != NULL ? question.parsed : chain,
		.records = question.records != NULL ? question.records->list : NULL,
		.record_count = question.records != NULL ? question.records->count : 0,
		.references = &reference,
		.reference_count = 1,
		.authorities = {buf_str(&pem), question.file, question.directory},
		.now = question.now != 0 ? question.now : NOW,
	};
	const struct answer answer = ask_about(&verify);
	pn_reference_free(reference);
	pn_chain_free(chain);
	pn_buf_free(&pem);
	return answer;
}

/* ---- An authority, one below it, and a server ---- */

struct hierarchy {
	struct cert root, intermediate, leaf;
};

/* The leaf's wish is completed. */
static inline struct hierarchy hierarchy_make(struct cert_wish leaf) {
	struct hierarchy h;
	h.root = cert_make((struct cert_wish){.subject = "root", .authority = true});
	h.intermediate = cert_make((struct cert_wish){
		.subject = "intermediate", .issuer = &h.root, .authority = true});
	leaf.issuer = &h.intermediate;
	if (leaf.names == NULL && leaf.san == NULL)
		leaf.names = "dns:a.example";
	h.leaf = cert_make(leaf);
	return h;
}

static inline void hierarchy_free(struct hierarchy h) {
	cert_free(h.root);
	cert_free(h.intermediate);
	cert_free(h.leaf);
}

#endif
