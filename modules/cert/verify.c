#include <string.h>

#include <pn/alloc.h>
#include <pn/wire.h>

#include "cert.h"

enum {
	SECURITY_LEVEL =
		2, /* RSA and DSA from 2048 bits, no SHA-1: as a server's connections ask for */
	DEPTH_MAX = 32,
	SENT_MAX = 32,  /* certificates of the chain that are looked at */
	TRIES_MAX = 32, /* of bare keys on certificates: a key may make each as slow as it likes */
	FORBIDDEN_MAX =
		64, /* names that match and are not allowed: a chain may have many constraints */
	ERRORS_MAX = 64, /* texts: a hostile chain does not fill the log */
	SELECTORS = 2,
	MATCHES = 3
};

/* A verification under way. */
struct work {
	const struct pn_verify *verify;
	struct pn_verdict *verdict;
	STACK_OF(X509) * sent; /* what is looked at of the chain, once a chain has to be built, and
				  behind it `published`; borrowed certificates */
	int sent_count;        /* of those that were sent */
	STACK_OF(X509) * published; /* what records of usage 0 hold whole; owned */
	bool *usable;               /* for each record; owned */
	bool has_usage[PN_TLSA_DANE_EE + 1];
	unsigned tries;         /* of bare keys on certificates */
	unsigned errors;        /* of the chain that is being built */
	int error, error_depth; /* the first one of them; X509_V_OK: there is none */
	STACK_OF(X509) * built; /* the chain that was built last, the leaf first; owned */
	size_t record;          /* the one that was found last, */
	int depth;              /* and where in the chain */
	bool anchor_sent;       /* a record is that of a certificate that was sent */
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

/* A hostile chain may have as many as a handshake can carry. */
static int choose_certificates(struct work *work) {
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

/* ---- Records ---- */

static int choose_records(struct work *work) {
	const struct pn_verify *verify = work->verify;
	bool any = false;
	if (verify->record_count == 0)
		return PN_OK;
	work->usable = pn_malloc(verify->record_count * sizeof(*work->usable));
	if (work->usable == NULL)
		return PN_ENOMEM;
	for (size_t i = 0; i < verify->record_count; i++) {
		const struct pn_tlsa *record = &verify->records[i];
		const char *fault;
		const int err = pn_tlsa_check(record, &fault);
		if (err != PN_OK) /* not "unusable": that would leave it without effect */
			return err;
		work->usable[i] =
			fault == NULL && !pn_tlsa_outdone(verify->records, verify->record_count, i);
		if (work->usable[i])
			work->has_usage[record->usage] = any = true;
	}
	work->verdict->dane = any ? PN_DANE_MISMATCH : PN_DANE_UNUSABLE;
	return PN_OK;
}

/* What records may hold of one certificate, made when it is asked for first. */
struct associations {
	const struct pn_der_parts *parts;
	struct pn_buf data[SELECTORS][MATCHES]; /* owned */
};

/* Returns 1, 0, or a negative code. */
static int is_associated(struct associations *of, const struct pn_tlsa *record) {
	struct pn_buf *data = &of->data[record->selector][record->match];
	if (data->len == 0) {
		const int err = pn_tlsa_associate(of->parts->encoding[record->selector],
						  record->match, data);
		if (err != PN_OK)
			return err;
	}
	return data->len == record->data.len &&
	       memcmp(data->data, record->data.bytes, data->len) == 0;
}

/* Finds a usable record of this usage that is the certificate's. Returns 1, 0, or a negative code.
 */
static int find_record(const struct work *work, enum pn_tlsa_usage usage,
		       const struct pn_der_parts *parts, size_t *index) {
	struct associations of = {.parts = parts};
	int found = 0;
	for (size_t i = 0; i < work->verify->record_count && found == 0; i++) {
		if (!work->usable[i] || work->verify->records[i].usage != usage)
			continue;
		found = is_associated(&of, &work->verify->records[i]);
		*index = i;
	}
	for (int i = 0; i < SELECTORS * MATCHES; i++)
		pn_buf_free(&of.data[i / MATCHES][i % MATCHES]);
	return found;
}

/* The same for a certificate that need not have been sent. */
static int find_record_of(const struct work *work, enum pn_tlsa_usage usage, const X509 *cert,
			  size_t *index) {
	unsigned char *der = NULL;
	struct pn_der_parts parts;
	const int len = i2d_X509(cert, &der);
	int found = PN_ECERT;
	if (len > 0 && pn_der_find((struct pn_str){(const char *)der, (size_t)len}, &parts))
		found = find_record(work, usage, &parts, index);
	OPENSSL_free(der);
	return found;
}

static int take_published(struct work *work, const struct pn_tlsa *record) {
	const unsigned char *at = (const unsigned char *)record->data.bytes;
	X509 *cert = d2i_X509(NULL, &at, (long)record->data.len);
	if (cert == NULL || sk_X509_push(work->published, cert) <= 0) {
		X509_free(cert);
		return PN_ENOMEM; /* a usable record can be decoded */
	}
	return sk_X509_push(work->sent, cert) > 0 ? PN_OK : PN_ENOMEM;
}

/* What a record of usage 0 holds whole need not be sent, as OpenSSL has it: it is part of a chain
 * if it leads to a public authority. */
static int choose_published(struct work *work) {
	int err = PN_OK;
	work->published = sk_X509_new_null();
	if (work->published == NULL)
		return PN_ENOMEM;
	for (size_t i = 0; i < work->verify->record_count && err == PN_OK; i++) {
		const struct pn_tlsa *record = &work->verify->records[i];
		if (work->usable[i] && record->usage == PN_TLSA_PKIX_TA &&
		    record->selector == PN_TLSA_CERT && record->match == PN_TLSA_FULL &&
		    sk_X509_num(work->published) < SENT_MAX)
			err = take_published(work, record);
	}
	return err;
}

/* Remembers which record is that of a certificate of the chain. */
static int note_match(struct work *work, size_t record, int depth) {
	work->record = record;
	work->depth = depth;
	return 1;
}

/* As find_record_of(), from `depth` on in a chain. */
static int match_chain(struct work *work, enum pn_tlsa_usage usage, STACK_OF(X509) * chain,
		       int depth) {
	for (; depth < sk_X509_num(chain); depth++) {
		size_t record;
		const int result =
			find_record_of(work, usage, sk_X509_value(chain, depth), &record);
		if (result != 0)
			return result > 0 ? note_match(work, record, depth) : result;
	}
	return 0;
}

static bool was_sent(const struct work *work, const X509 *cert) {
	for (int i = 0; i < work->sent_count; i++) {
		if (X509_cmp(certificate(work, i), cert) == 0)
			return true;
	}
	return false;
}

static bool was_published(const struct work *work, const X509 *cert) {
	for (int i = work->sent_count; i < sk_X509_num(work->sent); i++) {
		if (X509_cmp(certificate(work, i), cert) == 0)
			return true;
	}
	return false;
}

/* Whether the chain has a certificate that only a record brings. */
static bool is_completed(const struct work *work) {
	for (int i = 1; i < sk_X509_num(work->built); i++) {
		const X509 *cert = sk_X509_value(work->built, i);
		if (was_published(work, cert) && !was_sent(work, cert))
			return true;
	}
	return false;
}

/* The record that was found last lets the peer in, as far as the chain is concerned. */
static int accept(struct work *work) {
	work->verdict->dane = PN_DANE_MATCH;
	work->verdict->record = work->record;
	work->verdict->depth = (size_t)work->depth;
	work->verdict->chain_valid = work->verdict->record_matches = true;
	work->verdict->completed = is_completed(work);
	return 1;
}

/* Puts together whether a chain is good, and whether a record is that of one of its certificates.
 * Returns 1, 0, or a negative code. */
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
	/* Going on shows what else is wrong; but where memory is missing, nothing more is to be
	 * learnt */
	return error != X509_V_ERR_OUT_OF_MEM;
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
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(context);
	X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
	X509_VERIFY_PARAM_set_time(param, (time_t)work->verify->now);
	X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
	X509_VERIFY_PARAM_set_depth(param, DEPTH_MAX);
	X509_VERIFY_PARAM_set_flags(param, flags);
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

/* Usages 0 and 1 limit whom a public chain may come from. */
static int match_public(struct work *work) {
	size_t record;
	const int leaf = find_record(work, PN_TLSA_PKIX_EE, leaf_parts(work), &record);
	if (leaf != 0)
		return leaf > 0 ? note_match(work, record, 0) : leaf;
	return match_chain(work, PN_TLSA_PKIX_TA, work->built, 1);
}

/* ---- Trust anchors that the domain publishes itself: usage 2 ---- */

/* An anchor that the record holds whole need not be in the chain (RFC 7671 section 5.2.2). */
static int trust_whole(X509_STORE *store, const struct pn_tlsa *record) {
	const unsigned char *at = (const unsigned char *)record->data.bytes;
	X509 *anchor = d2i_X509(NULL, &at, (long)record->data.len);
	const int err = anchor != NULL ? trust(store, anchor) : PN_ENOMEM;
	X509_free(anchor);
	return err;
}

static bool is_signed_by(struct work *work, X509 *cert, const struct pn_tlsa *record) {
	if (work->tries++ >= TRIES_MAX)
		return false;
	const unsigned char *at = (const unsigned char *)record->data.bytes;
	EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)record->data.len);
	const bool is_signed = key != NULL && X509_verify(cert, key) == 1;
	EVP_PKEY_free(key);
	return is_signed;
}

/* A bare key (RFC 7671 section 5.2.3) vouches for the certificates that were signed with it. */
static int trust_signed(struct work *work, X509_STORE *store, const struct pn_tlsa *record) {
	int err = PN_OK;
	for (int i = 0; i < sk_X509_num(work->sent) && err == PN_OK; i++) {
		if (is_signed_by(work, certificate(work, i), record))
			err = trust(store, certificate(work, i));
	}
	return err;
}

static int trust_published(struct work *work, X509_STORE *store) {
	int err = PN_OK;
	for (size_t i = 0; i < work->verify->record_count && err == PN_OK; i++) {
		const struct pn_tlsa *record = &work->verify->records[i];
		if (!work->usable[i] || record->usage != PN_TLSA_DANE_TA ||
		    record->match != PN_TLSA_FULL)
			continue;
		if (record->selector == PN_TLSA_CERT)
			err = trust_whole(store, record);
		else
			err = trust_signed(work, store, record);
	}
	for (int i = 1; i < sk_X509_num(work->sent) && err == PN_OK; i++) {
		size_t record;
		const int matched =
			find_record_of(work, PN_TLSA_DANE_TA, certificate(work, i), &record);
		work->anchor_sent = work->anchor_sent || matched > 0;
		err = matched > 0 ? trust(store, certificate(work, i)) : matched;
	}
	return err;
}

/* No certificate of the chain is an anchor: so it ends at one that a bare key has signed. */
static int match_signed(struct work *work) {
	const int top = sk_X509_num(work->built) - 1;
	work->tries = 0;
	for (size_t i = 0; i < work->verify->record_count; i++) {
		const struct pn_tlsa *record = &work->verify->records[i];
		if (work->usable[i] && record->usage == PN_TLSA_DANE_TA &&
		    record->selector == PN_TLSA_SPKI && record->match == PN_TLSA_FULL &&
		    is_signed_by(work, sk_X509_value(work->built, top), record))
			return note_match(work, i, top + 1);
	}
	return 0;
}

static int verify_published(struct work *work) {
	X509_STORE *store = X509_STORE_new();
	int result = store != NULL ? trust_published(work, store) : PN_ENOMEM;
	if (result == PN_OK)
		result = build(work, store, X509_V_FLAG_PARTIAL_CHAIN);
	X509_STORE_free(store);
	if (result < 0)
		return result;
	const int matched = match_chain(work, PN_TLSA_DANE_TA, work->built, 1);
	return conclude(work, result > 0, matched != 0 ? matched : match_signed(work));
}

/* ---- Identity ---- */

/* Whether a name that matches counts. Constraints are known where the chain is; of DNS-IDs OpenSSL
 * has seen to them, whoever has built the chain. */
static bool counts(const struct work *work, const struct pn_constraints *constraints,
		   const struct pn_name *name) {
	if (!work->verdict->chain_valid && name->type != PN_NAME_DNS && name->type != PN_NAME_IP)
		return false;
	return pn_constraints_allow(constraints, name);
}

/* Returns whether one of the references matches. */
static bool is_asked_for(const struct pn_verify *verify, const struct pn_name *name) {
	const char *reason;
	for (size_t r = 0; r < verify->reference_count; r++) {
		if (pn_name_matches(name, verify->references[r], &reason))
			return true;
	}
	return false;
}

/* Enters whether a name counts, and why not. */
static void identify(struct work *work, const struct pn_names *names,
		     const struct pn_constraints *constraints) {
	unsigned forbidden = 0;
	bool counted = false;
	for (size_t i = 0; i < pn_names_count(names) && !counted; i++) {
		const struct pn_name *name = pn_names_at(names, i);
		if (!is_asked_for(work->verify, name))
			continue;
		if (forbidden < FORBIDDEN_MAX)
			counted = counts(work, constraints, name);
		forbidden += counted ? 0 : 1;
	}
	work->verdict->identity_valid = counted;
	if (work->verdict->chain_valid && !counted)
		work->verdict->cause = forbidden > 0 ? PN_CAUSE_CONSTRAINT : PN_CAUSE_NAME;
}

/* Once the chain is there, for its authorities have a say. */
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

/* Usage 3 says all there is to say: names, dates and authorities are not looked at. */
static int verify_leaf(struct work *work) {
	size_t record;
	const int matched = find_record(work, PN_TLSA_DANE_EE, leaf_parts(work), &record);
	if (matched <= 0)
		return matched;
	work->verdict->identity_valid = true;
	note_match(work, record, 0);
	return accept(work);
}

/* Returns 1 once the chain is good, 0 if it is not, or an error. */
static int verify_chain(struct work *work) {
	const bool limited = work->has_usage[PN_TLSA_PKIX_TA] || work->has_usage[PN_TLSA_PKIX_EE];
	int result = work->has_usage[PN_TLSA_DANE_TA] ? verify_published(work) : 0;
	if (result != 0 || (work->verdict->dane == PN_DANE_MISMATCH && !limited))
		return result;
	result = verify_public(work);
	if (result >= 0 && work->verdict->dane == PN_DANE_MISMATCH)
		return conclude(work, result > 0, match_public(work));
	work->verdict->chain_valid = result > 0;
	return result;
}

/* The chain is not valid, and no record is that of one of its certificates. */
static void blame(struct work *work) {
	struct pn_verdict *verdict = work->verdict;
	if (verdict->dane != PN_DANE_MISMATCH) {
		verdict->cause = pn_cause_of(work->error, work->error_depth);
	} else if (work->anchor_sent) { /* and has not signed what it was sent with */
		verdict->cause = PN_CAUSE_UNTRUSTED;
		verdict->record_matches = true;
	} else {
		verdict->cause = PN_CAUSE_NO_MATCH;
		add_error(work, 0, "no matching DANE TLSA records");
	}
}

static int verify_all(struct work *work) {
	int result = choose_records(work);
	if (result == PN_OK && work->has_usage[PN_TLSA_DANE_EE])
		result = verify_leaf(work);
	if (result != 0)
		return result;
	result = choose_certificates(work);
	if (result == PN_OK)
		result = choose_published(work);
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

int pn_cert_verify(const struct pn_verify *verify, struct pn_verdict *verdict) {
	struct work work = {.verify = verify, .verdict = verdict};
	*verdict = (struct pn_verdict){.dane = PN_DANE_NONE};
	pn_openssl_enter();
	int err = verify_all(&work);
	if (verdict->errors.err != PN_OK)
		err = verdict->errors.err;
	if (err < 0) { /* what could not be found out is never "valid" */
		verdict->chain_valid = verdict->identity_valid = false;
		verdict->cause = PN_CAUSE_CHAIN;
	}
	sk_X509_pop_free(work.built, X509_free);
	sk_X509_free(work.sent);
	sk_X509_pop_free(work.published, X509_free);
	pn_free(work.usable);
	return pn_openssl_leave(err < 0 ? err : PN_OK);
}
