/* What the parts of the certificate core share. */
#ifndef PN_CERT_PRIVATE_H
#define PN_CERT_PRIVATE_H

#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <pn/cert.h>
#include <pn/err.h>

struct pn_chain {
	STACK_OF(X509) * certs; /* owned, at least one */
};

/*
 * OpenSSL keeps errors in a queue that the connections of the same thread look at, so every public
 * function takes away what it has added: it begins with pn_openssl_enter() and returns through
 * pn_openssl_leave(), which gives PN_ENOMEM instead of `err` where memory was what was missing.
 */
void pn_openssl_enter(void);
int pn_openssl_leave(int err);

/* Whether the last thing that failed did so for want of memory. */
bool pn_openssl_no_memory(void);

/* As pn_tlsa_fault(), but where memory was missing, PN_ENOMEM. */
int pn_tlsa_check(const struct pn_tlsa *record, const char **fault);

/* Appends a name as text in one line, without control characters. Returns 0 or PN_ENOMEM. */
int pn_print_name(const X509_NAME *name, struct pn_buf *out);

/* An object's encoding or SubjectPublicKeyInfo; the caller frees with OPENSSL_free(). NULL: failed.
 */
unsigned char *pn_cert_der(X509 *cert, unsigned selector, size_t *len);

/* Appends what a record with these two holds of the certificate. */
int pn_tlsa_associate(X509 *cert, unsigned selector, unsigned match, struct pn_buf *data);

/* What keeps bytes from being a domain name, or NULL. Static text. */
const char *pn_domain_fault(struct pn_str domain, bool wildcard);

enum { PN_DOMAIN_MAX = 253 };

/* The domain in A-labels and small letters, ended by a NUL. Returns false for what is none. */
bool pn_domain_ascii(struct pn_str domain, char ascii[PN_DOMAIN_MAX + 1]);

#endif
