/*
 * The input is a chain of certificates, as PEM, or as DER, so that the engine can change bytes that
 * base64 would hide. For any input the core returns a documented result; certificates that can be
 * decoded can be described; a name with a fault matches nothing; and the verdict is never better
 * than the one expected here. Undecodable certificates get no verdict, unless a record of usage 3
 * is the leaf's. The input may also contain a key.
 */
#include <openssl/evp.h>

#include <pn/cert.h>
#include <pn/err.h>
#include <pn/wire.h>

#include "fuzz.h"
#include "../unit/tokens.h"

enum { NOW = 1700000000, PEM_LINE = 48, SEQUENCE = 0x30 };

/* Returns whether it can be decoded. */
static bool check_description(const struct pn_chain *chain, size_t index) {
	struct pn_cert_info info;
	const int err = pn_cert_describe(chain, index, &info);
	FUZZ_ASSERT(err == PN_OK || err == PN_ECERT);
	FUZZ_ASSERT(err == PN_ECERT || info.serial.len > 0);
	FUZZ_ASSERT(memchr(info.key_type, '\0', sizeof(info.key_type)) != NULL);
	for (size_t i = 0; i < info.subject.len; i++)
		FUZZ_ASSERT(info.subject.data[i] >= ' ' && info.subject.data[i] != 0x7f);
	pn_cert_info_free(&info);
	return err == PN_OK;
}

/* Returns how many names match. */
static size_t check_names(const struct pn_chain *chain, size_t index,
			  const struct pn_reference *reference) {
	struct pn_names *names = NULL;
	size_t matched = 0;
	const int err = pn_names_new(&names, chain, index);
	FUZZ_ASSERT(err == PN_OK || err == PN_ECERT);
	if (err != PN_OK)
		return 0;
	FUZZ_ASSERT(pn_names_fault(names) == NULL || pn_names_count(names) == 0);
	for (size_t i = 0; i < pn_names_count(names); i++) {
		const struct pn_name *name = pn_names_at(names, i);
		const char *reason = NULL;
		const bool matches = pn_name_matches(name, reference, &reason);
		FUZZ_ASSERT(reason != NULL && name->value.bytes != NULL);
		FUZZ_ASSERT(memchr(name->kind, '\0', sizeof(name->kind)) != NULL);
		FUZZ_ASSERT(!matches || name->fault == NULL);
		matched += matches ? 1 : 0;
	}
	pn_names_free(names);
	return matched;
}

static void check_errors(const struct pn_verdict *verdict) {
	struct pn_wire wire = pn_wire_open(verdict->errors.data, verdict->errors.len);
	while (wire.left > 0 && wire.err == PN_OK) {
		pn_wire_u8(&wire);
		pn_wire_take(&wire, pn_wire_u8(&wire));
	}
	FUZZ_ASSERT(wire.err == PN_OK);
}

static void check_cause(const struct pn_verdict *verdict) {
	const bool accepted = verdict->chain_valid && verdict->identity_valid;
	FUZZ_ASSERT(accepted == (verdict->cause == PN_CAUSE_NONE));
	FUZZ_ASSERT(pn_cause_text(verdict->cause)[0] != '\0');
	FUZZ_ASSERT(verdict->dane != PN_DANE_MATCH || verdict->record_matches);
	FUZZ_ASSERT(verdict->record_matches || !verdict->completed);
}

/* The last certificate is its own authority, or what a record of usage 0 or 2 brings; the leaf
 * below it does not become better by that. */
static void check_anchor(const struct pn_verify *asked, unsigned kind, bool decoded) {
	struct pn_verify verify = *asked;
	struct pn_verdict verdict = {0};
	struct pn_buf data = {0};
	const size_t last = pn_chain_count(verify.chain) - 1;
	const int err = pn_cert_tlsa(verify.chain, last, 0, 0, &data);
	FUZZ_ASSERT(err == PN_OK || err == PN_ECERT);
	const struct pn_tlsa record = {kind % 2 * 2, 0, 0, {(const char *)data.data, data.len}};
	verify.records = &record;
	verify.record_count = err == PN_OK && data.len > 0 ? 1 : 0;
	const int result = pn_cert_verify(&verify, &verdict);
	FUZZ_ASSERT(result == PN_OK || (result == PN_ECERT && !decoded));
	check_errors(&verdict);
	check_cause(&verdict);
	FUZZ_ASSERT(!verdict.completed || record.usage == PN_TLSA_PKIX_TA);
	pn_buf_free(&verdict.errors);
	pn_buf_free(&data);
}

/* The record that the leaf matches, for any usage; only 3 lets it in without an authority. */
static void check_record(const struct pn_verify *asked, unsigned kind, bool decoded) {
	struct pn_verify verify = *asked;
	struct pn_verdict verdict = {0};
	struct pn_buf data = {0};
	const unsigned usage = kind % 4;
	const int err = pn_cert_tlsa(verify.chain, 0, kind / 4 % 2, kind / 8 % 3, &data);
	FUZZ_ASSERT(err == PN_OK || err == PN_ECERT);
	const struct pn_tlsa record = {
		usage, kind / 4 % 2, kind / 8 % 3, {(const char *)data.data, data.len}};
	verify.records = &record;
	verify.record_count = err == PN_OK && data.len > 0 ? 1 : 0;
	verify.authorities.pem = str("");
	const int result = pn_cert_verify(&verify, &verdict);
	FUZZ_ASSERT(result == PN_OK || (result == PN_ECERT && !decoded));
	FUZZ_ASSERT(result == PN_OK || !verdict.chain_valid);
	check_errors(&verdict);
	check_cause(&verdict);
	if (verify.record_count == 1 && pn_tlsa_fault(&record) == NULL && usage == PN_TLSA_DANE_EE)
		FUZZ_ASSERT(verdict.chain_valid && verdict.identity_valid && verdict.depth == 0);
	else
		FUZZ_ASSERT(!verdict.chain_valid || usage == PN_TLSA_DANE_TA);
	pn_buf_free(&verdict.errors);
	pn_buf_free(&data);
}

static void check_verdict(const struct pn_chain *chain, struct pn_str pem, unsigned kind,
			  bool decoded) {
	struct pn_reference *reference = NULL;
	struct pn_verdict verdict = {0};
	FUZZ_ASSERT(pn_reference_new(&reference, str("a.example"), str("xmpp-server")) == PN_OK);
	size_t matched = 0;
	for (size_t i = pn_chain_count(chain); i-- > 0;)
		matched = check_names(chain, i, reference);
	const struct pn_verify verify = {.chain = chain,
					 .references = &reference,
					 .reference_count = 1,
					 .authorities = {.pem = pem},
					 .now = NOW};
	const int err = pn_cert_verify(&verify, &verdict);
	FUZZ_ASSERT(err == PN_OK || (err == PN_ECERT && !decoded));
	check_errors(&verdict);
	check_cause(&verdict);
	FUZZ_ASSERT(verdict.dane == PN_DANE_NONE);
	/* An authority may forbid a name */
	FUZZ_ASSERT(!verdict.identity_valid || (err == PN_OK && matched > 0));
	pn_buf_free(&verdict.errors);
	check_record(&verify, kind, decoded);
	check_anchor(&verify, kind, decoded);
	pn_reference_free(reference);
}

/* A text that holds a key, too, or instead. */
static void check_key(struct pn_str pem) {
	struct pn_buf spki = {0};
	const int err = pn_public_key(pem, (struct pn_str){NULL, 0}, &spki);
	FUZZ_ASSERT(err == PN_OK || err == PN_EKEY);
	FUZZ_ASSERT((err == PN_OK) == (spki.len > 0));
	pn_buf_free(&spki);
}

/* The certificate as PEM in lines of the usual length; the caller frees. */
static struct pn_buf wrap(const uint8_t *der, size_t size) {
	static const char begin[] = "-----BEGIN CERTIFICATE-----\n";
	static const char end[] = "-----END CERTIFICATE-----\n";
	struct pn_buf pem = {0};
	pn_buf_append(&pem, begin, sizeof(begin) - 1);
	for (size_t at = 0; at < size; at += PEM_LINE) {
		unsigned char line[PEM_LINE / 3 * 4 + 1];
		const size_t left = size - at < PEM_LINE ? size - at : PEM_LINE;
		const int len = EVP_EncodeBlock(line, der + at, (int)left);
		pn_buf_append(&pem, line, (size_t)len);
		pn_buf_append(&pem, "\n", 1);
	}
	pn_buf_append(&pem, end, sizeof(end) - 1);
	return pem;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct pn_buf wrapped = {0};
	struct pn_chain *chain = NULL;
	struct pn_str pem = {(const char *)data, size};
	if (size > 0 && data[0] == SEQUENCE) {
		wrapped = wrap(data, size);
		pem = (struct pn_str){(const char *)wrapped.data, wrapped.len};
	}
	const int err = pn_chain_new(&chain, pem);
	FUZZ_ASSERT(err == PN_OK || err == PN_ECERT);
	bool decoded = true;
	for (size_t i = 0; err == PN_OK && i < pn_chain_count(chain); i++)
		decoded = check_description(chain, i) && decoded;
	if (err == PN_OK)
		check_verdict(chain, pem, data[size - 1], decoded);
	check_key(pem);
	pn_chain_free(chain);
	pn_buf_free(&wrapped);
	return 0;
}
