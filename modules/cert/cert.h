/* Shared by the files of the certificate core. */
#ifndef PN_CERT_PRIVATE_H
#define PN_CERT_PRIVATE_H

#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <pn/cert.h>
#include <pn/err.h>

/* ---- OpenSSL's errors ---- */

/*
 * OpenSSL keeps errors in a queue of the thread, which the server's connections read. So every
 * public function removes the errors that it has added: it begins with pn_openssl_enter() and
 * returns through pn_openssl_leave(), which turns `err` into PN_ENOMEM if memory was missing.
 */
void pn_openssl_enter(void);
int pn_openssl_leave(int err);

/* Whether the last error is a failed allocation. */
bool pn_openssl_no_memory(void);

/* ---- Chains ---- */

/* Parts of a certificate's encoding; borrowed from it. */
struct pn_der_parts {
	struct pn_str encoding[2]; /* by selector: the certificate, its SubjectPublicKeyInfo */
	struct pn_str extensions;  /* the encoded sequence; len 0 if there are none */
};

enum { PN_DER_MAX = 1 << 24 }; /* more than a handshake can carry */

/* Returns false if the bytes are not exactly one certificate. The contents of the parts, and all
 * other fields, are not checked. */
bool pn_der_find(struct pn_str der, struct pn_der_parts *parts);

struct pn_certificate {
	unsigned char *der; /* owned, allocated by OpenSSL */
	struct pn_der_parts parts;
	X509 *x509; /* owned; NULL until the first pn_chain_x509() */
};

struct pn_chain {
	struct pn_certificate *certs; /* owned */
	size_t count;                 /* at least 1 */
};

/* Certificate `index`, decoded; borrowed from the chain, which keeps it. Returns 0, PN_ECERT or
 * PN_ENOMEM. */
int pn_chain_x509(const struct pn_chain *chain, size_t index, X509 **x509);

/* Appends a name as one line of text without control characters. Returns 0 or PN_ENOMEM. */
int pn_print_name(const X509_NAME *name, struct pn_buf *out);

/* ---- Keys ---- */

/* The first private key in a PEM text, not encrypted. The caller frees. PN_EKEY, PN_ENOMEM. */
int pn_key_read_private(struct pn_str pem, EVP_PKEY **key);

/* ---- TLSA records ---- */

/* The records of one verification. */
struct pn_records {
	const struct pn_tlsa *list; /* borrowed */
	size_t count;
	bool *usable;                        /* for each record; owned */
	bool any;                            /* one of them is usable */
	bool has_usage[PN_TLSA_DANE_EE + 1]; /* a usable one has this usage */
};

/* Selects the usable records. The caller frees, also after a failure. Returns 0 or PN_ENOMEM. */
int pn_records_choose(struct pn_records *records, const struct pn_tlsa *list, size_t count);
void pn_records_free(struct pn_records *records);

/* The next usable record from *next on that holds a whole certificate or key; NULL if there is
 * none. Sets *next to the record after it. */
const struct pn_tlsa *pn_records_whole(const struct pn_records *records, enum pn_tlsa_usage usage,
				       enum pn_tlsa_selector selector, size_t *next);

/* Finds the first usable record of this usage that matches a certificate. Returns 1, 0, or a
 * negative code. */
int pn_records_find(const struct pn_records *records, enum pn_tlsa_usage usage,
		    const struct pn_der_parts *parts, size_t *index);
int pn_records_find_x509(const struct pn_records *records, enum pn_tlsa_usage usage,
			 const X509 *cert, size_t *index);

/* ---- Name constraints ---- */

struct pn_constraints; /* of all authorities of one chain */

/* Reads those of every certificate above the leaf. NULL and a chain of one have none. The caller
 * frees. Returns 0 or PN_ENOMEM. */
int pn_constraints_new(struct pn_constraints **constraints, STACK_OF(X509) * chain);
void pn_constraints_free(struct pn_constraints *constraints);

/* Whether every authority permits a name that has no fault. A name that cannot be compared with a
 * constraint is not permitted. */
bool pn_constraints_allow(const struct pn_constraints *constraints, const struct pn_name *name);

/* ---- Causes ---- */

/* The cause for an error of OpenSSL, X509_V_ERR_..., at this depth of a chain. */
enum pn_cause pn_cause_of(int error, int depth);

/* ---- Domains ---- */

/* Why bytes are not a domain name, or NULL. Static text. */
const char *pn_domain_fault(struct pn_str domain, bool wildcard);

enum { PN_DOMAIN_MAX = 253 };

/* Converts a domain to A-labels in lower case, ended by a NUL. Returns false if it is invalid.
 * Unicode is mapped by UTS 46, which includes nameprep, except for the characters that only
 * nameprep replaces: sharp s stays a character of its own and does not become ss. */
bool pn_domain_ascii(struct pn_str domain, char ascii[PN_DOMAIN_MAX + 1]);

/* Whether all A-labels of such a domain are valid in IDNA. */
bool pn_domain_is_idna(const char *ascii);

#endif
