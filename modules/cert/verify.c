/* Verification of a chain: RFC 5280 section 6 by OpenSSL, RFC 6698 and 7671 here. */
#include <string.h>

#include <pn/wire.h>

#include "cert.h"

/* The peer and its zone choose the size of everything: these limit the work for them. */
enum {
	SECURITY_LEVEL = 2, /* RSA and DSA from 2048 bits, no SHA-1, as on a server's connections */
	DEPTH_MAX = 32,
	SENT_MAX = 32,      /* certificates of a chain, and of records */
	TRIES_MAX = 32,     /* of bare keys on certificates: a key decides how slow each is */
	FORBIDDEN_MAX = 64, /* matching names that are compared with all name constraints */
	ERRORS_MAX = 64,    /* texts of errors */
};

/* A verification under way. */
struct work {
	const struct pn_verify *verify;
	struct pn_verdict *verdict;
	struct pn_records records;
	STACK_OF(X509) * sent; /* certificates to build chains from: the peer's up to `sent_count`,
				  then `provided`; borrowed */
	int sent_count;
	STACK_OF(X509) * provided; /* certificates in records of usage 0; owned */
	unsigned tries;            /* of bare keys on certificates */
	unsigned errors;           /* in the chain that is being built */
	int error, error_depth;    /* the first of them; X509_V_OK if there is none */
	STACK_OF(X509) * built;    /* the chain that was built last, the leaf first; owned */
	size_t record;             /* the record that matched last, */
	int depth;                 /* and the position of its certificate in the chain */
	bool anchor_sent;          /* a record of usage 2 is for a certificate that was sent */
};

static X509 *certificate(const struct work *work, int depth) {
	return sk_X509_value(work->sent, depth);
}

static const struct pn_der_parts *leaf_parts(const struct work *work) {
	return &work->verify->chain->certs[0].parts;
}

static void add_error(struct work *work, int depth, const char *text) {
	const size_t len = strlen(text) < UINT8_MAX ? strlen(text) : UINT8_MAX;
	work->errors++;
	if (work->errors > ERRORS_MAX)
		return;
	pn_wire_put_u8(&work->verdict->errors, (uint8_t)depth);
	pn_wire_put_u8(&work->verdict->errors, (uint8_t)len);
	pn_buf_append(&work->verdict->errors, text, len);
}

/* ---- Certificates to build chains from ---- */

static int add_sent(struct work *work) {
	const struct pn_chain *chain = work->verify->chain;
	work->sent = sk_X509_new_null();
	int err = work->sent != NULL ? PN_OK : PN_ENOMEM;
	for (size_t i = 0; i < chain->count && i < SENT_MAX && err == PN_OK; i++) {
		X509 *cert;
		err = pn_chain_x509(chain, i, &cert);
		if (err == PN_OK && sk_X509_push(work->sent, cert) <= 0)
			err = PN_ENOMEM;
	}
	work->sent_count = sk_X509_num(work->sent);
	return err;
}

static int add_one_provided(struct work *work, const struct pn_tlsa *record) {
	const unsigned char *at = (const unsigned char *)record->data.bytes;
	X509 *cert = d2i_X509(NULL, &at, (long)record->data.len);
	if (cert == NULL || sk_X509_push(work->provided, cert) <= 0) {
		X509_free(cert);
		return PN_ENOMEM; /* a usable record can be decoded */
	}
	return sk_X509_push(work->sent, cert) > 0 ? PN_OK : PN_ENOMEM;
}

/* As in OpenSSL, the peer need not send a certificate that a record of usage 0 holds whole: it may
 * be part of a chain to a public authority. */
static int add_provided(struct work *work) {
	const struct pn_tlsa *record;
	size_t next = 0;
	int err = PN_OK;
	work->provided = sk_X509_new_null();
	if (work->provided == NULL)
		return PN_ENOMEM;
	while (err == PN_OK && sk_X509_num(work->provided) < SENT_MAX &&
	       (record = pn_records_whole(&work->records, PN_TLSA_PKIX_TA, PN_TLSA_CERT, &next)))
		err = add_one_provided(work, record);
	return err;
}

/* Whether a certificate is among those from `from` to before `end`. */
static bool is_among(const struct work *work, const X509 *cert, int from, int end) {
	for (int i = from; i < end; i++) {
		if (X509_cmp(certificate(work, i), cert) == 0)
			return true;
	}
	return false;
}

/* Whether the chain has a certificate that only a record provides. */
static bool is_completed(const struct work *work) {
	for (int i = 1; i < sk_X509_num(work->built); i++) {
		const X509 *cert = sk_X509_value(work->built, i);
		if (is_among(work, cert, work->sent_count, sk_X509_num(work->sent)) &&
		    !is_among(work, cert, 0, work->sent_count))
			return true;
	}
	return false;
}

/* ---- Matches ---- */

static int note_match(struct work *work, size_t record, int depth) {
	work->record = record;
	work->depth = depth;
	return 1;
}

/* Finds a record for a certificate of a chain, from `depth` on. Returns 1, 0, or a negative code.
 */
static int match_chain(struct work *work, enum pn_tlsa_usage usage, STACK_OF(X509) * chain,
		       int depth) {
	for (; depth < sk_X509_num(chain); depth++) {
		size_t record;
		const int result = pn_records_find_x509(&work->records, usage,
							sk_X509_value(chain, depth), &record);
		if (result != 0)
			return result > 0 ? note_match(work, record, depth) : result;
	}
	return 0;
}

/* The record that matched last proves the chain. */
static int accept(struct work *work) {
	work->verdict->dane = PN_DANE_MATCH;
	work->verdict->record = work->record;
	work->verdict->depth = (size_t)work->depth;
	work->verdict->chain_valid = work->verdict->record_matches = true;
	work->verdict->completed = is_completed(work);
	return 1;
}

/* Combines whether a chain is good, and whether a record matches one of its certificates. Returns
 * 1, 0, or a negative code. */
static int conclude(struct work *work, bool is_good, int matched) {
	if (matched <= 0)
		return matched;
	if (is_good)
		return accept(work);
	if (!work->verdict->record_matches)
		work->verdict->cause = pn_cause_of(work->error, work->error_depth);
	work->verdict->record_matches = true;
	return 0;
}

/* ---- Building chains ---- */

static int note_error(int ok, X509_STORE_CTX *context) {
	struct work *work = X509_STORE_CTX_get_app_data(context);
	const int error = X509_STORE_CTX_get_error(context);
	const int depth = X509_STORE_CTX_get_error_depth(context);
	if (!ok && work->error == X509_V_OK) {
		work->error = error;
		work->error_depth = depth;
	}
	if (!ok)
		add_error(work, depth, X509_verify_cert_error_string(error));
	/* Continue, to report all errors; but after a failed allocation the others are not real */
	return error != X509_V_ERR_OUT_OF_MEM;
}

static void set_parameters(X509_VERIFY_PARAM *param, int64_t now, unsigned long flags) {
	X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
	X509_VERIFY_PARAM_set_time(param, (time_t)now);
	X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
	X509_VERIFY_PARAM_set_depth(param, DEPTH_MAX);
	X509_VERIFY_PARAM_set_flags(param, flags);
}

/* Returns 1 and the chain in work->built, 0 and errors, or PN_ENOMEM. */
static int build(struct work *work, X509_STORE *trusted, unsigned long flags) {
	X509_STORE_CTX *context = X509_STORE_CTX_new();
	if (context == NULL ||
	    X509_STORE_CTX_init(context, trusted, certificate(work, 0), work->sent) != 1 ||
	    X509_STORE_CTX_set_app_data(context, work) != 1) {
		X509_STORE_CTX_free(context);
		return PN_ENOMEM;
	}
	set_parameters(X509_STORE_CTX_get0_param(context), work->verify->now, flags);
	X509_STORE_CTX_set_verify_cb(context, note_error);
	work->errors = 0;
	work->error = X509_V_OK;
	const int result = X509_verify_cert(context);
	const bool memory =
		result <= 0 && (pn_openssl_no_memory() ||
				X509_STORE_CTX_get_error(context) == X509_V_ERR_OUT_OF_MEM);
	sk_X509_pop_free(work->built, X509_free);
	work->built = X509_STORE_CTX_get1_chain(context);
	X509_STORE_CTX_free(context);
	if (memory || work->built == NULL)
		return PN_ENOMEM;
	if (result < 0 && work->errors == 0)
		add_error(work, 0, "the chain cannot be verified");
	if (work->errors > 0 && work->error == X509_V_OK)
		work->error = X509_V_ERR_UNSPECIFIED;
	return result == 1 && work->errors == 0;
}

/* ---- Public authorities ---- */

static int trust(X509_STORE *store, X509 *cert) {
	return X509_STORE_add_cert(store, cert) == 1 ? PN_OK : PN_ENOMEM;
}

static int trust_pem(X509_STORE *store, struct pn_str pem) {
	struct pn_chain *chain;
	if (pem.len == 0)
		return PN_OK;
	int err = pn_chain_new(&chain, pem);
	if (err != PN_OK)
		return err;
	for (size_t i = 0; i < chain->count && err == PN_OK; i++) {
		X509 *cert;
		err = pn_chain_x509(chain, i, &cert);
		if (err == PN_OK)
			err = trust(store, cert);
	}
	pn_chain_free(chain);
	return err;
}

static int trust_authorities(X509_STORE *store, const struct pn_authorities *from) {
	int err = trust_pem(store, from->pem);
	if (err == PN_OK && from->file != NULL && X509_STORE_load_file(store, from->file) != 1)
		err = PN_ECERT;
	if (err == PN_OK && from->directory != NULL &&
	    X509_STORE_load_path(store, from->directory) != 1)
		err = PN_ECERT;
	return err;
}

static int verify_public(struct work *work) {
	X509_STORE *store = X509_STORE_new();
	int err = store != NULL ? trust_authorities(store, &work->verify->authorities) : PN_ENOMEM;
	if (err == PN_OK)
		err = build(work, store, 0);
	X509_STORE_free(store);
	return err;
}

/* Usages 0 and 1 restrict which public chains are valid. */
static int match_public(struct work *work) {
	size_t record;
	const int leaf =
		pn_records_find(&work->records, PN_TLSA_PKIX_EE, leaf_parts(work), &record);
	if (leaf != 0)
		return leaf > 0 ? note_match(work, record, 0) : leaf;
	return match_chain(work, PN_TLSA_PKIX_TA, work->built, 1);
}

/* ---- Trust anchors of the domain: usage 2 ---- */

static bool is_signed_by(struct work *work, X509 *cert, const struct pn_tlsa *record) {
	if (work->tries++ >= TRIES_MAX)
		return false;
	const unsigned char *at = (const unsigned char *)record->data.bytes;
	EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)record->data.len);
	const bool is_signed = key != NULL && X509_verify(cert, key) == 1;
	EVP_PKEY_free(key);
	return is_signed;
}

/* The peer need not send an anchor that a record holds whole (RFC 7671 section 5.2.2). */
static int trust_whole(struct work *work, X509_STORE *store) {
	const struct pn_tlsa *record;
	size_t next = 0;
	int err = PN_OK;
	while (err == PN_OK &&
	       (record = pn_records_whole(&work->records, PN_TLSA_DANE_TA, PN_TLSA_CERT, &next))) {
		const unsigned char *at = (const unsigned char *)record->data.bytes;
		X509 *anchor = d2i_X509(NULL, &at, (long)record->data.len);
		err = anchor != NULL ? trust(store, anchor) : PN_ENOMEM;
		X509_free(anchor);
	}
	return err;
}

/* A bare key (RFC 7671 section 5.2.3) vouches for the certificates that it has signed. */
static int trust_signed(struct work *work, X509_STORE *store) {
	const struct pn_tlsa *record;
	size_t next = 0;
	int err = PN_OK;
	while ((record = pn_records_whole(&work->records, PN_TLSA_DANE_TA, PN_TLSA_SPKI, &next))) {
		for (int i = 0; i < sk_X509_num(work->sent) && err == PN_OK; i++) {
			if (is_signed_by(work, certificate(work, i), record))
				err = trust(store, certificate(work, i));
		}
	}
	return err;
}

static int trust_matching(struct work *work, X509_STORE *store) {
	int err = PN_OK;
	for (int i = 1; i < sk_X509_num(work->sent) && err == PN_OK; i++) {
		size_t record;
		const int matched = pn_records_find_x509(&work->records, PN_TLSA_DANE_TA,
							 certificate(work, i), &record);
		work->anchor_sent = work->anchor_sent || matched > 0;
		err = matched > 0 ? trust(store, certificate(work, i)) : matched;
	}
	return err;
}

static int trust_anchors(struct work *work, X509_STORE *store) {
	int err = trust_whole(work, store);
	if (err == PN_OK)
		err = trust_signed(work, store);
	return err == PN_OK ? trust_matching(work, store) : err;
}

/* No certificate of the chain is an anchor: it ends at one that a bare key has signed. */
static int match_signed(struct work *work) {
	const int top = sk_X509_num(work->built) - 1;
	const struct pn_tlsa *record;
	size_t next = 0;
	work->tries = 0;
	while ((record = pn_records_whole(&work->records, PN_TLSA_DANE_TA, PN_TLSA_SPKI, &next))) {
		if (is_signed_by(work, sk_X509_value(work->built, top), record))
			return note_match(work, next - 1, top + 1);
	}
	return 0;
}

static int verify_anchored(struct work *work) {
	X509_STORE *store = X509_STORE_new();
	int result = store != NULL ? trust_anchors(work, store) : PN_ENOMEM;
	if (result == PN_OK)
		result = build(work, store, X509_V_FLAG_PARTIAL_CHAIN);
	X509_STORE_free(store);
	if (result < 0)
		return result;
	const int matched = match_chain(work, PN_TLSA_DANE_TA, work->built, 1);
	return conclude(work, result > 0, matched != 0 ? matched : match_signed(work));
}

/* ---- Identity ---- */

/* Whether a matching name counts. Only a valid chain shows all name constraints; OpenSSL applies
 * those on DNS names and addresses itself, also in the chains that the server's TLS builds. */
static bool counts(const struct work *work, const struct pn_constraints *constraints,
		   const struct pn_name *name) {
	if (!work->verdict->chain_valid && name->type != PN_NAME_DNS && name->type != PN_NAME_IP)
		return false;
	return pn_constraints_allow(constraints, name);
}

static bool matches_any(const struct pn_verify *verify, const struct pn_name *name) {
	const char *reason;
	for (size_t r = 0; r < verify->reference_count; r++) {
		if (pn_name_matches(name, verify->references[r], &reason))
			return true;
	}
	return false;
}

static void identify(struct work *work, const struct pn_names *names,
		     const struct pn_constraints *constraints) {
	unsigned forbidden = 0;
	bool counted = false;
	for (size_t i = 0; i < pn_names_count(names) && !counted; i++) {
		const struct pn_name *name = pn_names_at(names, i);
		if (!matches_any(work->verify, name))
			continue;
		if (forbidden < FORBIDDEN_MAX)
			counted = counts(work, constraints, name);
		forbidden += counted ? 0 : 1;
	}
	work->verdict->identity_valid = counted;
	if (work->verdict->chain_valid && !counted)
		work->verdict->cause = forbidden > 0 ? PN_CAUSE_CONSTRAINT : PN_CAUSE_NAME;
}

/* After the chain, whose authorities may forbid names. */
static int verify_identity(struct work *work) {
	struct pn_names *names;
	struct pn_constraints *constraints = NULL;
	int err = pn_names_new(&names, work->verify->chain, 0);
	if (err != PN_OK)
		return err;
	err = pn_constraints_new(&constraints, work->built);
	if (err == PN_OK)
		identify(work, names, constraints);
	pn_constraints_free(constraints);
	pn_names_free(names);
	return err;
}

/* ---- The verdict ---- */

/* A matching record of usage 3 decides alone: names, dates and authorities are not checked (RFC
 * 7671 section 5.1). */
static int verify_leaf(struct work *work) {
	size_t record;
	const int matched =
		pn_records_find(&work->records, PN_TLSA_DANE_EE, leaf_parts(work), &record);
	if (matched <= 0)
		return matched;
	work->verdict->identity_valid = true;
	note_match(work, record, 0);
	return accept(work);
}

/* Returns 1 if the chain is good, 0 if it is not, or a negative code. */
static int verify_chain(struct work *work) {
	const bool *has_usage = work->records.has_usage;
	const bool has_public = has_usage[PN_TLSA_PKIX_TA] || has_usage[PN_TLSA_PKIX_EE];
	int result = has_usage[PN_TLSA_DANE_TA] ? verify_anchored(work) : 0;
	if (result != 0 || (work->records.any && !has_public))
		return result;
	result = verify_public(work);
	if (result >= 0 && work->records.any)
		return conclude(work, result > 0, match_public(work));
	work->verdict->chain_valid = result > 0;
	return result;
}

/* Sets the cause if the chain is not valid and no record matches a certificate of it. */
static void blame(struct work *work) {
	struct pn_verdict *verdict = work->verdict;
	if (!work->records.any) {
		verdict->cause = pn_cause_of(work->error, work->error_depth);
	} else if (work->anchor_sent) { /* but it has not signed the chain */
		verdict->cause = PN_CAUSE_UNTRUSTED;
		verdict->record_matches = true;
	} else {
		verdict->cause = PN_CAUSE_NO_MATCH;
		add_error(work, 0, "no matching DANE TLSA records");
	}
}

/* Returns a negative code, or 0 or more. */
static int verify_certificates(struct work *work) {
	int result = add_sent(work);
	if (result == PN_OK)
		result = add_provided(work);
	if (result == PN_OK)
		result = verify_chain(work);
	if (result < 0)
		return result;
	if (work->verdict->chain_valid) {
		work->verdict->errors.len = 0; /* of another way that was tried before */
		work->verdict->cause = PN_CAUSE_NONE;
	} else if (!work->verdict->record_matches) {
		blame(work);
	}
	return verify_identity(work);
}

static int verify_all(struct work *work) {
	const struct pn_verify *verify = work->verify;
	int result = pn_records_choose(&work->records, verify->records, verify->record_count);
	if (result != PN_OK)
		return result;
	if (verify->record_count > 0)
		work->verdict->dane = work->records.any ? PN_DANE_MISMATCH : PN_DANE_UNUSABLE;
	if (work->records.has_usage[PN_TLSA_DANE_EE])
		result = verify_leaf(work);
	return result == 0 ? verify_certificates(work) : result;
}

int pn_cert_verify(const struct pn_verify *verify, struct pn_verdict *verdict) {
	struct work work = {.verify = verify, .verdict = verdict};
	*verdict = (struct pn_verdict){.dane = PN_DANE_NONE};
	pn_openssl_enter();
	int err = verify_all(&work);
	if (verdict->errors.err != PN_OK)
		err = verdict->errors.err;
	if (err < 0) { /* an incomplete verification is never "valid" */
		verdict->chain_valid = verdict->identity_valid = false;
		verdict->cause = PN_CAUSE_CHAIN;
	}
	sk_X509_pop_free(work.built, X509_free);
	sk_X509_free(work.sent);
	sk_X509_pop_free(work.provided, X509_free);
	pn_records_free(&work.records);
	return pn_openssl_leave(err < 0 ? err : PN_OK);
}
