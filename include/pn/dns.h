/*
 * DNS lookups for operators: records with their TTLs and signatures, from a validating resolver or
 * from a single name server.
 *
 * RFC 1035, 2308, 2782, 4034, 6698, 8659. Input is hostile: a packet may hold any bytes. No
 * function reads the clock or logs, but libunbound reads the clock to validate signatures.
 */
#ifndef PN_DNS_H
#define PN_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pn/buf.h>
#include <pn/str.h>

/* X(name, number)   the types that can be looked up */
#define PN_DNS_TYPES(X)                                                                            \
	X(A, 1)                                                                                    \
	X(NS, 2)                                                                                   \
	X(CNAME, 5)                                                                                \
	X(AAAA, 28)                                                                                \
	X(SRV, 33)                                                                                 \
	X(TLSA, 52)                                                                                \
	X(CAA, 257)                                                                                \
	X(DS, 43)                                                                                  \
	X(DNSKEY, 48)

enum pn_dns_type {
#define PN_DNS_ENUM(name, number) PN_DNS_##name = (number),
	PN_DNS_TYPES(PN_DNS_ENUM)
#undef PN_DNS_ENUM
};

enum {
	PN_DNS_TEXT = 256, /* size of a CAA tag, with the NUL */
	PN_DNS_NAME = 1025 /* size of a name: 255 bytes, each escaped, and the NUL */
};

/* ---- Answers ---- */

/*
 * One record. Names are in presentation form (RFC 1035 section 5.1), in the case in which they were
 * sent, without the final dot.
 *
 *      type      numbers                       tag   value
 *      A, AAAA                                       the address as text
 *      NS, CNAME                                     the name
 *      SRV       priority, weight, port              the target; "." stays "."
 *      DS        key tag, algorithm, digest type     the digest, any bytes
 *      DNSKEY    flags, protocol, algorithm          the key, any bytes
 *      TLSA      usage, selector, match              the data, any bytes
 *      CAA       flags                         tag   the value, any bytes
 */
struct pn_dns_record {
	uint32_t ttl;
	unsigned numbers[3];
	char tag[PN_DNS_TEXT];
	struct pn_buf value; /* owned by the answer */
};

/* A signature of records in the answer, or of the proof that there are none. */
struct pn_dns_signature {
	char type[32];            /* type covered, such as "SRV" */
	char signer[PN_DNS_NAME]; /* zone that has signed */
	uint16_t key_tag;
	uint32_t inception,
		expiration; /* seconds since 1970, modulo 2^32 (RFC 4034 section 3.1.5) */
	uint32_t original_ttl;
};

struct pn_dns_answer {
	unsigned rcode;     /* 0 no error, 2 server failure, 3 no such name */
	bool authoritative; /* from a name server of the zone */
	bool nxdomain;      /* the name does not exist; else, without records, it has other types */
	bool secure;        /* validated from a trust anchor on; never from pn_dns_ask() */
	bool bogus;         /* validation failed: do not use anything in the answer */
	struct pn_buf reason; /* of bogus: text */
	/*
	 * The published TTL: the original TTL of the signatures, else the TTL of the records as
	 * received; for an answer without records the negative TTL of RFC 2308.
	 */
	bool has_ttl;
	uint32_t ttl;
	bool aliased;                  /* the name is a CNAME */
	char canonical[PN_DNS_NAME];   /* the end of the CNAME chain, or the name itself */
	struct pn_dns_record *records; /* of the type asked for */
	size_t record_count;
	struct pn_dns_signature *signatures;
	size_t signature_count;
};

/* Frees the contents of an answer, which may be all zero. */
void pn_dns_answer_free(struct pn_dns_answer *answer);

/*
 * Parses a packet that answers a question for `type`. *answer need not be initialised; the caller
 * frees it, also after a failure. PN_EINVAL if the packet is malformed, or is not an answer to such
 * a question.
 */
int pn_dns_parse(struct pn_str packet, enum pn_dns_type type, struct pn_dns_answer *answer);

/* The number of the type with this name, in upper case, or PN_EINVAL. */
int pn_dns_type_number(const char *name);

/* ---- A validating resolver ---- */

/*
 * X(name)   settings; in lower case they are the names in Prosody's option "unbound"
 *
 * RESOLVCONF, HOSTSTXT   a file; NULL for the system's file
 * FORWARD                address of a resolver; without one, name servers are asked directly
 * TRUSTED, TRUSTFILE     a trust anchor, a file of trust anchors
 * ROOTHINTS              a file with the name servers of the root
 */
#define PN_DNS_SETTINGS(X)                                                                         \
	X(RESOLVCONF)                                                                              \
	X(HOSTSTXT)                                                                                \
	X(FORWARD)                                                                                 \
	X(TRUSTED)                                                                                 \
	X(TRUSTFILE)                                                                               \
	X(ROOTHINTS)

enum pn_dns_setting {
#define PN_DNS_SETTING_ENUM(name) PN_DNS_##name,
	PN_DNS_SETTINGS(PN_DNS_SETTING_ENUM)
#undef PN_DNS_SETTING_ENUM
};

struct pn_resolver;

/* The caller frees. PN_ENOMEM. */
int pn_resolver_new(struct pn_resolver **resolver);

/* NULL does nothing. */
void pn_resolver_free(struct pn_resolver *resolver);

/*
 * Only before the first lookup. FORWARD and the trust anchors may have several values: set them
 * repeatedly. PN_ENOMEM, or PN_EINVAL for an invalid value. Files are read by the first lookup.
 */
int pn_resolver_set(struct pn_resolver *resolver, enum pn_dns_setting setting, const char *value);

/* Sets an option of unbound.conf(5); `name` ends with the colon. PN_ENOMEM, PN_EINVAL. */
int pn_resolver_option(struct pn_resolver *resolver, const char *name, const char *value);

/*
 * Looks up a name in A-labels, and blocks until the answer is there. *answer as in pn_dns_parse().
 * A server failure, also after failed validation, is an answer. PN_EINVAL for an invalid name,
 * PN_ERESOLVER if the resolver does not work with its settings, PN_ENOMEM.
 */
int pn_resolver_lookup(struct pn_resolver *resolver, const char *name, enum pn_dns_type type,
		       struct pn_dns_answer *answer);

/* ---- A single name server ---- */

/*
 * Asks the name server at an IPv4 or IPv6 address and port, without recursion, by UDP, and by TCP
 * if the answer is truncated; blocks for up to some seconds. *answer as in pn_dns_parse().
 * PN_EINVAL for an invalid address or name, PN_ENOANSWER, PN_ENOMEM.
 */
int pn_dns_ask(const char *address, uint16_t port, const char *name, enum pn_dns_type type,
	       struct pn_dns_answer *answer);

#endif
