/*
 * X.509 certificates of peers: contents, names, and whether they prove an identity.
 *
 * RFC 5280 (certificates), 6120 section 13.7, 9525 and 4985 (names), 6698 and 7671 (DANE). Input is
 * hostile: a certificate may hold any ASN.1 type anywhere, and any bytes in a string. There is no
 * global state, and no function reads the clock.
 *
 * Errors: PN_ECERT (a certificate is missing or cannot be decoded), PN_ENOMEM, PN_EINVAL. A verdict
 * is not an error: for a chain that proves nothing, pn_cert_verify() returns PN_OK.
 */
#ifndef PN_CERT_H
#define PN_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pn/buf.h>
#include <pn/str.h>
#include <pn/tlsa.h>

/* ---- Chains ---- */

/*
 * Certificates in the order in which they were sent, the leaf first. A chain is parsed once for any
 * number of calls. Parsing finds the parts of each certificate. The first function that needs more
 * than digests and names decodes the certificate, and the chain keeps the result, also through a
 * const pointer: only one thread at a time may use a chain.
 */
struct pn_chain;

/*
 * Parses a PEM text of one or more certificates; anything between them is ignored. The caller
 * frees. PN_ECERT if any block is not one certificate. Its contents may still be malformed: then
 * functions that decode it return PN_ECERT.
 */
int pn_chain_new(struct pn_chain **chain, struct pn_str pem);

/* NULL does nothing. */
void pn_chain_free(struct pn_chain *chain);

/* Number of certificates, at least 1. */
size_t pn_chain_count(const struct pn_chain *chain);

/* ---- Descriptions ---- */

enum { PN_DIGEST_LEN = 32, PN_CERT_TEXT = 64 };

struct pn_cert_info {
	struct pn_buf subject, issuer; /* RFC 2253 text in UTF-8, control characters escaped */
	struct pn_buf serial;          /* hexadecimal, after "-" if it is negative */
	bool has_not_before, has_not_after;
	int64_t not_before, not_after;       /* seconds since 1970; absent if the date is invalid */
	char key_type[PN_CERT_TEXT];         /* "RSA", "EC", "ED25519" ...; "" if unknown */
	int key_bits;                        /* 0 if unknown */
	bool authority;                      /* basicConstraints: it may issue certificates */
	bool self_issued;                    /* subject and issuer are the same name */
	unsigned char sha256[PN_DIGEST_LEN]; /* of the certificate's DER */
	unsigned char spki_sha256[PN_DIGEST_LEN]; /* of its SubjectPublicKeyInfo */
};

/* Describes certificate `index` of the chain, from 0. Decodes it. *info need not be initialised;
 * the caller frees it, also after a failure. */
int pn_cert_describe(const struct pn_chain *chain, size_t index, struct pn_cert_info *info);

void pn_cert_info_free(struct pn_cert_info *info);

/* ---- Names ---- */

/*
 * X(name, type)   types of presented identifiers, with the text for people. An otherName of another
 * type has its OID instead.
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
	char kind[PN_CERT_TEXT]; /* text of the type; for OTHER the dotted OID, possibly truncated
				  */
	struct pn_str value;     /* any bytes, as in the certificate; for IP the address as text */
	const char *fault;       /* why it can never match; NULL if it is well-formed */
};

struct pn_names; /* the subjectAltName of one certificate; does not borrow from the chain */

/*
 * Reads the names of certificate `index`, without decoding it. The caller frees. There are 0 names
 * and no fault if the certificate has no subjectAltName, and 0 names and a fault if it has two of
 * them or a malformed one.
 */
int pn_names_new(struct pn_names **names, const struct pn_chain *chain, size_t index);
void pn_names_free(struct pn_names *names); /* NULL does nothing */
size_t pn_names_count(const struct pn_names *names);

/* Why the extension cannot be used, or NULL. Static text. */
const char *pn_names_fault(const struct pn_names *names);

/* Name `index`, from 0. Borrowed until the names are freed. */
const struct pn_name *pn_names_at(const struct pn_names *names, size_t index);

/*
 * A reference identifier (RFC 9525), to match with many names: the domain that the peer must prove,
 * and the service, "xmpp-server" or "xmpp-client".
 */
struct pn_reference;

/* The domain may be in Unicode or in A-labels, or an IP address; a dot at its end is removed. The
 * caller frees. PN_EINVAL if the domain or the service is invalid. */
int pn_reference_new(struct pn_reference **reference, struct pn_str domain, struct pn_str service);
void pn_reference_free(struct pn_reference *reference); /* NULL does nothing */

/*
 * Whether a name matches. *reason is a static text that says why, or why not. Common names are
 * never matched. "*" matches one left-most label, but never directly below a public suffix.
 */
bool pn_name_matches(const struct pn_name *name, const struct pn_reference *reference,
		     const char **reason);

/* ---- Verdicts ---- */

/* Trusted authorities: a PEM text, a file, and a directory with hashed names; each may be absent.
 */
struct pn_authorities {
	struct pn_str pem;     /* len 0 if absent */
	const char *file;      /* NULL if absent */
	const char *directory; /* NULL if absent */
};

struct pn_verify {
	const struct pn_chain *chain;
	const struct pn_tlsa *records; /* validated with DNSSEC by the caller */
	size_t record_count;
	struct pn_reference *const *references; /* a name must match one of them */
	size_t reference_count;
	struct pn_authorities authorities;
	int64_t now; /* seconds since 1970 */
};

enum pn_dane {
	PN_DANE_NONE,     /* there are no records */
	PN_DANE_UNUSABLE, /* no record is usable: the verdict is as without records */
	PN_DANE_MATCH,    /* a record matches, and the chain that its usage demands is valid */
	PN_DANE_MISMATCH, /* there are usable records, and none is a PN_DANE_MATCH: refuse the peer
			   */
};

/*
 * X(name, code, text)   why a peer is refused. Callers compare the code; the text completes "The
 * certificate matches a record, but ".
 */
#define PN_CAUSES(X)                                                                               \
	X(NONE, "none", "nothing is wrong")                                                        \
	X(NO_MATCH, "no-match", "no record matches it")                                            \
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
	bool identity_valid; /* a name matches, and every authority of the chain permits it; an
				SRV-ID or an XmppAddr counts only if the chain is valid */
	enum pn_dane dane;
	size_t record; /* of PN_DANE_MATCH: index of the record, */
	size_t depth; /* and of its certificate, 0 for the leaf; a bare key is one above the last */
	enum pn_cause cause; /* the first reason to refuse the peer; PN_CAUSE_NONE: accept it */
	bool record_matches; /* a usable record matches a certificate, whatever else is wrong */
	bool completed; /* the chain has a certificate that was not sent but is in a record of usage
			   0: without the records nobody finds this chain */
	struct pn_buf errors; /* for each: depth u8, length u8, text; the caller frees the buffer */
};

/*
 * Accept the peer exactly if chain_valid and identity_valid. A matching record of usage 3 makes
 * both true; nothing else is checked then, and no certificate is decoded. The chain is checked as a
 * server's in both directions, keys and digests by OpenSSL's security level 2. Returns 0,
 * PN_ENOMEM, or PN_ECERT if the authorities or a certificate that is needed cannot be decoded;
 * after a failure nothing is valid.
 */
int pn_cert_verify(const struct pn_verify *verify, struct pn_verdict *verdict);

/* Appends the data of a TLSA record that certificate `index` matches. PN_EINVAL for an unknown
 * selector or matching type. */
int pn_cert_tlsa(const struct pn_chain *chain, size_t index, unsigned selector, unsigned match,
		 struct pn_buf *data);

/* ---- Keys ---- */

/*
 * Appends the public key, as the DER of a SubjectPublicKeyInfo, of the first private key in a PEM
 * text; if it has none, of the first public key; else of the first request for a certificate. Other
 * blocks, such as certificates, are ignored. `password` decrypts the private key; len 0 if there is
 * none. PN_EKEY if the text has no key, or the key cannot be decoded.
 */
int pn_public_key(struct pn_str pem, struct pn_str password, struct pn_buf *spki);

/* Sets *fits: whether the leaf is for the key that pn_public_key() finds. Returns PN_EKEY as there,
 * and PN_ECERT if the key of the leaf cannot be decoded. */
int pn_key_fits(const struct pn_chain *chain, struct pn_str pem, struct pn_str password,
		bool *fits);

/* ---- Requests ---- */

struct pn_request {
	const struct pn_str *domains; /* DNS names in A-labels; the first is the common name too */
	size_t count;                 /* at least 1 */
	const char *const *services; /* "xmpp-client", "xmpp-server": SRV-IDs for every domain; ends
					with NULL */
	bool rsa;          /* a new key is RSA with 3072 bits instead of ECDSA with P-256 */
	struct pn_str key; /* PEM of a private key; len 0 for a new key */
};

/* Appends, as PEM, the private key (PKCS #8) and a request for a certificate (PKCS #10). PN_EKEY
 * for a given key that cannot be decoded, or cannot sign. The caller wipes the buffer of the key.
 */
int pn_cert_request(const struct pn_request *request, struct pn_buf *key, struct pn_buf *csr);

#endif
