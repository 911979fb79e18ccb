/* What the parts of the certificate core share. */
#ifndef PN_CERT_PRIVATE_H
#define PN_CERT_PRIVATE_H

#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <pn/cert.h>
#include <pn/err.h>

/* Parts of an encoding, as they stand there; borrowed from it. */
struct pn_der_parts {
	struct pn_str encoding[2]; /* by selector: the certificate, its SubjectPublicKeyInfo */
	struct pn_str extensions;  /* the encoded sequence of them; len 0: there are none */
};

enum { PN_DER_MAX = 1 << 24 }; /* more than a handshake can carry */

/* Returns false for what is no certificate, or more than one. What is inside the parts, and the
 * fields beside them, may still be anything. */
bool pn_der_find(struct pn_str der, struct pn_der_parts *parts);

struct pn_certificate {
	unsigned char *der; /* owned, OpenSSL's */
	struct pn_der_parts parts;
	X509 *x509; /* owned, decoded when it is asked for first; NULL until then */
};

struct pn_chain {
	struct pn_certificate *certs; /* owned */
	size_t count;                 /* at least 1 */
};

/* Certificate `index`, decoded. Borrowed. Returns PN_ECERT if it cannot be, or PN_ENOMEM. */
int pn_chain_x509(const struct pn_chain *chain, size_t index, X509 **x509);

/*
 * OpenSSL keeps errors in a queue that the connections of the same thread look at, so every public
 * function takes away what it has added: it begins with pn_openssl_enter() and returns through
 * pn_openssl_leave(), which gives PN_ENOMEM instead of `err` where memory was what was missing.
 */
void pn_openssl_enter(void);
int pn_openssl_leave(int err);

/* Whether the last thing that failed did so for want of memory. */
bool pn_openssl_no_memory(void);

/* For OpenSSL's readers of PEM: a block that is enciphered makes them ask for a pass phrase, and
 * there is none. */
int pn_openssl_no_pass_phrase(char *buf, int size, int writing, void *context);

/* As pn_tlsa_fault(), but where memory was missing, PN_ENOMEM. */
int pn_tlsa_check(const struct pn_tlsa *record, const char **fault);

/* Appends a name as text in one line, without control characters. Returns 0 or PN_ENOMEM. */
int pn_print_name(const X509_NAME *name, struct pn_buf *out);

/* Appends what a record with this matching type holds of an encoding. */
int pn_tlsa_associate(struct pn_str encoding, unsigned match, struct pn_buf *data);

/* ---- Name constraints ---- */

struct pn_constraints; /* of the authorities of one chain */

/* Reads those of every certificate above the leaf; NULL, or a chain of one, has none. The caller
 * frees. Returns 0 or PN_ENOMEM. */
int pn_constraints_new(struct pn_constraints **constraints, STACK_OF(X509) * chain);
void pn_constraints_free(struct pn_constraints *constraints);

/* Whether every authority allows the leaf a name without a fault. What cannot be compared is not
 * allowed. */
bool pn_constraints_allow(const struct pn_constraints *constraints, const struct pn_name *name);

/* What an error of OpenSSL, X509_V_ERR_..., at this depth of a chain says about a peer. */
enum pn_cause pn_cause_of(int error, int depth);

/* What keeps bytes from being a domain name, or NULL. Static text. */
const char *pn_domain_fault(struct pn_str domain, bool wildcard);

enum { PN_DOMAIN_MAX = 253 };

/* The domain in A-labels and small letters, ended by a NUL. Returns false for what is none. Unicode
 * is mapped as by UTS 46, which nameprep is a part of: but characters that nameprep turns into
 * others, such as sharp s into ss, stand for a domain of their own. */
bool pn_domain_ascii(struct pn_str domain, char ascii[PN_DOMAIN_MAX + 1]);

/* Whether such a domain has A-labels that stand for what IDNA allows alone. */
bool pn_domain_is_idna(const char *ascii);

#endif
