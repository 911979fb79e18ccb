/*
 * Certificates of strangers: what they say, whom they name, and whether they prove it.
 *
 * RFC 5280 (certificates), 6120 section 13.7, 9525 and 4985 (names), 6698 and 7671 (DANE). Nothing
 * here trusts its input: a certificate may hold any ASN.1 type anywhere, and any bytes in a string.
 * There is no global state, and no clock is read.
 *
 * Failures: PN_ECERT (no certificate, or one that cannot be read), PN_ENOMEM, PN_EINVAL. A verdict
 * is no failure: a chain that proves nothing returns PN_OK and a verdict that says so.
 */
#ifndef PN_CERT_H
#define PN_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pn/buf.h>
#include <pn/stanza.h>
#include <pn/tlsa.h>

/* ---- Chains ---- */

struct pn_chain; /* certificates as they were sent, the leaf first */

/*
 * Reads the certificates of a PEM text of any number of them; what stands between them is ignored.
 * The caller frees. What has not the form of a certificate is PN_ECERT, also behind good ones. What
 * is inside is decoded where it is needed, and may be PN_ECERT then.
 */
int pn_chain_new(struct pn_chain **chain, struct pn_str pem);

/* NULL does nothing. */
void pn_chain_free(struct pn_chain *chain);

/* How many certificates, at least 1. */
size_t pn_chain_count(const struct pn_chain *chain);

/* ---- What a certificate says ---- */

enum { PN_DIGEST_LEN = 32, PN_CERT_TEXT = 64 };

struct pn_cert_info {
	struct pn_buf subject, issuer; /* RFC 2253 text in UTF-8, control characters escaped */
	struct pn_buf serial;          /* hexadecimal, "-" in front where it is negative */
	bool has_not_before, has_not_after;
	int64_t not_before, not_after; /* seconds since 1970; absent where the date is absurd */
	char key_type[PN_CERT_TEXT];   /* "RSA", "EC", "ED25519" ...; "" where it is unknown */
	int key_bits;                  /* 0 where it is unknown */
	bool authority;                /* it may issue others: basicConstraints */
	bool self_issued;              /* subject and issuer are the same name */
	unsigned char sha256[PN_DIGEST_LEN];      /* of the certificate's DER */
	unsigned char spki_sha256[PN_DIGEST_LEN]; /* of its SubjectPublicKeyInfo */
};

/* Describes certificate `index` of the chain, from 0. *info need not be initialised; the caller
 * frees it, also after a failure. */
int pn_cert_describe(const struct pn_chain *chain, size_t index, struct pn_cert_info *info);

void pn_cert_info_free(struct pn_cert_info *info);

/* ---- Names ---- */

/*
 * X(name, type)   the kinds of presented identifiers. The text is what people read; for an
 * otherName of another kind it is the OID instead.
 */
#define PN_NAME_TYPES(X)                                                                           \
	X(DNS, "DNS-ID")                                                                           \
	X(SRV, "SRV-ID")                                                                           \
	X(XMPP, "XmppAddr")                                                                        \
	X(IP, "IP-ID")                                                                             \
	X(URI, "URI-ID")                                                                           \
	X(EMAIL, "email")                                                                          \
	X(DIRECTORY, "directory")                                                                  \
	X(OTHER, "other")

enum pn_name_type {
#define PN_NAME_ENUM(name, text) PN_NAME_##name,
	PN_NAME_TYPES(PN_NAME_ENUM)
#undef PN_NAME_ENUM
};

struct pn_name {
	enum pn_name_type type;
	char kind[PN_CERT_TEXT]; /* the text of the type; of OTHER the OID, dotted, possibly cut */
	struct pn_str value;     /* as in the certificate, any bytes; of IP its usual text */
	const char *fault;       /* why it can match nothing at all; NULL: it is well-formed */
};

struct pn_names; /* the subjectAltName of one certificate */

/*
 * Reads the names of certificate `index`. The caller frees. A certificate without them has 0; one
 * whose extension cannot be read, or that has two, has 0 and a fault.
 */
int pn_names_new(struct pn_names **names, const struct pn_chain *chain, size_t index);
void pn_names_free(struct pn_names *names);
size_t pn_names_count(const struct pn_names *names);

/* What is wrong with the extension as a whole, or NULL. Static text. */
const char *pn_names_fault(const struct pn_names *names);

/* Name `index`, from 0. Borrowed until the names are freed. */
const struct pn_name *pn_names_at(const struct pn_names *names, size_t index);

/*
 * A reference identifier (RFC 9525): the domain that the peer must prove, and the service,
 * "xmpp-server" or "xmpp-client". The domain may be in Unicode or in A-labels, or an IP address; a
 * dot at its end is taken off.
 */
struct pn_reference; /* prepared once, compared with many names */

/* Returns PN_EINVAL for what is no domain name. The caller frees. */
int pn_reference_new(struct pn_reference **reference, struct pn_str domain, struct pn_str service);
void pn_reference_free(struct pn_reference *reference);

/*
 * Whether a name matches. *reason is a static text that tells why or why not. Common names are
 * never looked at. "*" stands for one left-most label, never before a public suffix.
 */
bool pn_name_matches(const struct pn_name *name, const struct pn_reference *reference,
		     const char **reason);

/* ---- Verdicts ---- */

/* Whom to trust: a PEM text, a file or a directory with hashed names; those that are NULL are not
 * used. */
struct pn_authorities {
	struct pn_str pem; /* len 0: none */
	const char *file;
	const char *directory;
};

struct pn_verify {
	const struct pn_chain *chain;
	const struct pn_tlsa *records; /* known to be secure */
	size_t record_count;
	struct pn_reference *const *references; /* one of them must match */
	size_t reference_count;
	struct pn_authorities authorities;
	int64_t now; /* seconds since 1970 */
};

enum pn_dane {
	PN_DANE_NONE,     /* there was no record */
	PN_DANE_UNUSABLE, /* none could be used: as without any */
	PN_DANE_MATCH,    /* one matched, and the chain that it asks for is good */
	PN_DANE_MISMATCH, /* usable ones, and none did so: the peer must be refused */
};

/*
 * X(name, code, text)   why a peer is not accepted. The code is for callers to compare; the text
 * completes "The certificate matches a record, but ".
 */
#define PN_CAUSES(X)                                                                               \
	X(NONE, "none", "nothing is wrong")                                                        \
	X(NO_MATCH, "no-match", "no record is its own")                                            \
	X(PURPOSE, "purpose", "its purpose does not allow it")                                     \
	X(CONSTRAINT, "name-constraint", "a name constraint of an authority forbids it")           \
	X(NAME, "name", "it is not valid for this name")                                           \
	X(EXPIRED, "expired", "it has expired")                                                    \
	X(AUTHORITY_EXPIRED, "authority-expired", "an authority of its chain has expired")         \
	X(EARLY, "not-yet-valid", "it is not valid yet")                                           \
	X(AUTHORITY_EARLY, "authority-not-yet-valid",                                              \
	  "an authority of its chain is not valid yet")                                            \
	X(AUTHORITY, "not-an-authority", "a certificate of its chain must not issue it")           \
	X(UNTRUSTED, "untrusted", "its chain does not lead to a trusted authority")                \
	X(WEAK, "weak", "a key or a signature of its chain is too weak")                           \
	X(CHAIN, "chain", "its chain is not valid")

enum pn_cause {
#define PN_CAUSE_ENUM(name, code, text) PN_CAUSE_##name,
	PN_CAUSES(PN_CAUSE_ENUM)
#undef PN_CAUSE_ENUM
};

/* Static texts. */
const char *pn_cause_code(enum pn_cause cause);
const char *pn_cause_text(enum pn_cause cause);

struct pn_verdict {
	bool chain_valid;
	bool identity_valid; /* a name that every authority of the chain allows; an SRV-ID or an
				XmppAddr counts where the chain is valid alone */
	enum pn_dane dane;
	size_t record; /* which record matched, from 0; with PN_DANE_MATCH alone */
	size_t depth; /* the certificate that it matched, 0 is the leaf; a bare key stands one above
			 the last */
	enum pn_cause cause;  /* what is wrong first; PN_CAUSE_NONE: the peer is accepted */
	bool record_matches;  /* a usable record is that of a certificate, whatever else is wrong */
	bool completed;       /* a record of usage 0 holds a certificate of the chain that was not
				 sent: who knows less than the records found no chain */
	struct pn_buf errors; /* for each: depth u8, length u8, text; the caller frees the buffer */
};

/*
 * Accept the peer exactly when chain_valid and identity_valid. A matching usage 3 makes both true
 * and looks at nothing else. The chain is checked as a server's, whichever side the peer is on;
 * keys and digests as at OpenSSL's security level 2. Returns 0, PN_ENOMEM, or PN_ECERT if the
 * authorities, or certificates that have to be looked at, cannot be read: then nothing is valid.
 */
int pn_cert_verify(const struct pn_verify *verify, struct pn_verdict *verdict);

/* Appends the data of the record (usage aside) that certificate `index` would match. PN_EINVAL for
 * an unknown selector or matching type. */
int pn_cert_tlsa(const struct pn_chain *chain, size_t index, unsigned selector, unsigned match,
		 struct pn_buf *data);

/* ---- Keys ---- */

/*
 * Appends the public key, as the DER of a SubjectPublicKeyInfo, of the first private key in a PEM
 * text, or else of the first public key, or else of the first request for a certificate. What else
 * stands in the text, certificates for instance, does not count. `password` is for a private key
 * that is enciphered; len 0: there is none, and none is asked for. PN_EKEY if there is no such key,
 * or it cannot be read.
 */
int pn_public_key(struct pn_str pem, struct pn_str password, struct pn_buf *spki);

/* Whether the leaf of a chain is for the key that pn_public_key() finds: sets *fits. PN_EKEY as
 * there, PN_ECERT if the leaf's key cannot be read. */
int pn_key_fits(const struct pn_chain *chain, struct pn_str pem, struct pn_str password,
		bool *fits);

/* ---- Requests ---- */

struct pn_request {
	const struct pn_str
		*domains; /* DNS names in A-labels; the first is the subject's common name too */
	size_t count;     /* at least 1 */
	const char *const *services; /* "xmpp-client", "xmpp-server": SRV-IDs for every domain; ends
					with NULL */
	bool rsa;                    /* RSA of 3072 bits instead of ECDSA with P-256 */
	struct pn_str key; /* PEM of the private key to use instead of a new one; len 0: none */
};

/* Makes a private key (PKCS #8), or takes the one that there is, and a request for a certificate
 * (PKCS #10); both appended as PEM. PN_EKEY for a key that cannot be read, or that cannot sign.
 * What the key's buffer held is the caller's to wipe. */
int pn_cert_request(const struct pn_request *request, struct pn_buf *key, struct pn_buf *csr);

#endif
