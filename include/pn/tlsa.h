/*
 * TLSA records (RFC 6698, RFC 7671): what a certificate's record holds, and which of the published
 * ones may be used.
 */
#ifndef PN_TLSA_H
#define PN_TLSA_H

#include <stddef.h>

#include <pn/buf.h>
#include <pn/stanza.h>

enum pn_tlsa_usage {
	PN_TLSA_PKIX_TA = 0,
	PN_TLSA_PKIX_EE = 1,
	PN_TLSA_DANE_TA = 2,
	PN_TLSA_DANE_EE = 3
};
enum pn_tlsa_selector { PN_TLSA_CERT = 0, PN_TLSA_SPKI = 1 };
enum pn_tlsa_match { PN_TLSA_FULL = 0, PN_TLSA_SHA256 = 1, PN_TLSA_SHA512 = 2 };

/* A record as DNS has it. Any values: what is unknown or malformed is unusable, not an error. */
struct pn_tlsa {
	unsigned usage, selector, match;
	struct pn_str data; /* borrowed */
};

/*
 * What is wrong with a record: NULL if it is usable. Static text. Usable are usages 0 to 3,
 * selectors 0 and 1, digests of the right length, and whole certificates and keys that can be read.
 */
const char *pn_tlsa_fault(const struct pn_tlsa *record);

/*
 * Digest agility (RFC 7671 section 9): whether usable record `index` is to be left out, because a
 * usable one of the same usage and selector has a stronger digest. Whole values (0) never are.
 */
int pn_tlsa_outdone(const struct pn_tlsa *records, size_t count, size_t index);

#endif
