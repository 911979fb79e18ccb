/*
 * DNS as an operator wants to see it: not only what is published, but how long it may be kept, who
 * has signed it until when, and what a single name server says.
 *
 * RFC 1035, 2308, 2782, 4034, 6698, 8659. Answers come from strangers: a packet may hold anything.
 * No clock is read here, and nothing is logged; the resolver library does the former itself.
 */
#ifndef PN_DNS_H
#define PN_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pn/buf.h>
#include <pn/stanza.h>

/* X(name, number): the types that can be looked up. */
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
	PN_DNS_TEXT = 256, /* longest text of a CAA tag, its NUL included */
	PN_DNS_NAME = 1025 /* a name of 255 bytes, each escaped, and the NUL */
};

/* ---- Answers ---- */

/*
 * One record. Names are in presentation form (RFC 1035 section 5.1) as they were sent, in the same
 * letter case, without the dot at their end.
 *
 *      type      numbers                       tag   value
 *      A, AAAA                                       the address as text
 *      NS, CNAME                                     the name
 *      SRV       priority, weight, port              the target, "." as it is
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

/* A signature over records of the answer, or over the proof that there are none. */
struct pn_dns_signature {
	char type[32];            /* what is signed, "SRV" */
	char signer[PN_DNS_NAME]; /* the zone */
	uint16_t key_tag;
	uint32_t inception,
		expiration; /* seconds since 1970, modulo 2^32 (RFC 4034 section 3.1.5) */
	uint32_t original_ttl;
};

struct pn_dns_answer {
	unsigned rcode;     /* 0 no error, 2 server failure, 3 no such name */
	bool authoritative; /* said by a name server of the zone */
	bool nxdomain; /* the name does not exist; without it and records: it has other types */
	bool secure;   /* validated, from a trust anchor on; never so from pn_dns_ask() */
	bool bogus;    /* validation failed: nothing in the answer may be believed */
	struct pn_buf reason; /* of bogus: text */
	/*
	 * How long the answer may be kept, as published: the signatures' original TTL, else that of
	 * the records as they came; of an answer without records that of RFC 2308.
	 */
	bool has_ttl;
	uint32_t ttl;
	bool aliased;                  /* the name is a CNAME */
	char canonical[PN_DNS_NAME];   /* the end of its chain, or the name itself */
	struct pn_dns_record *records; /* of the type asked for */
	size_t record_count;
	struct pn_dns_signature *signatures;
	size_t signature_count;
};

/* Frees what an answer holds, also one that is all zero. */
void pn_dns_answer_free(struct pn_dns_answer *answer);

/*
 * Reads a packet that answers a question for `type`. *answer need not be initialised; the caller
 * frees it, also after a failure. PN_EINVAL: it cannot be read, or is no answer to such a question.
 */
int pn_dns_parse(struct pn_str packet, enum pn_dns_type type, struct pn_dns_answer *answer);

/* The number of a type's name in upper case, or PN_EINVAL. */
int pn_dns_type_number(const char *name);

/* ---- A validating resolver ---- */

/*
 * X(name): settings; their names in lower case are those of Prosody's option "unbound".
 *
 * RESOLVCONF, HOSTSTXT   a file; NULL is the system's
 * FORWARD                address of a resolver to ask; without any, name servers are asked directly
 * TRUSTED, TRUSTFILE     a trust anchor, a file of them
 * ROOTHINTS              a file of the root's name servers
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
 * Before the first lookup; those of several values may be set again. PN_ENOMEM, or PN_EINVAL for
 * what cannot be used. That of the files is read with the first lookup only.
 */
int pn_resolver_set(struct pn_resolver *resolver, enum pn_dns_setting setting, const char *value);

/* An option of unbound.conf(5), its name with the colon. PN_ENOMEM, PN_EINVAL. */
int pn_resolver_option(struct pn_resolver *resolver, const char *name, const char *value);

/*
 * Looks up a name in A-labels, and waits. *answer as of pn_dns_parse(). A server failure, also one
 * by failed validation, is an answer. PN_EINVAL: the name is none; PN_ERESOLVER: the resolver
 * does not work with its settings; PN_ENOMEM.
 */
int pn_resolver_lookup(struct pn_resolver *resolver, const char *name, enum pn_dns_type type,
		       struct pn_dns_answer *answer);

/* ---- A single name server ---- */

/*
 * Asks the name server at an IPv4 or IPv6 address and port, without recursion, by UDP, by TCP where
 * the answer is cut; waits for some seconds. *answer as of pn_dns_parse(). PN_EINVAL: the address
 * or the name is none; PN_ENOANSWER; PN_ENOMEM.
 */
int pn_dns_ask(const char *address, uint16_t port, const char *name, enum pn_dns_type type,
	       struct pn_dns_answer *answer);

#endif
