/* TLSA records (RFC 6698, RFC 7671): which of the published records are usable. */
#ifndef PN_TLSA_H
#define PN_TLSA_H

#include <stddef.h>

#include <pn/buf.h>
#include <pn/str.h>

enum pn_tlsa_usage {
	PN_TLSA_PKIX_TA = 0,
	PN_TLSA_PKIX_EE = 1,
	PN_TLSA_DANE_TA = 2,
	PN_TLSA_DANE_EE = 3
};
enum pn_tlsa_selector { PN_TLSA_CERT = 0, PN_TLSA_SPKI = 1 };
enum pn_tlsa_match { PN_TLSA_FULL = 0, PN_TLSA_SHA256 = 1, PN_TLSA_SHA512 = 2 };

/* A record as it is in DNS, with any values: an unknown or malformed record is unusable, which is
 * not an error. */
struct pn_tlsa {
	unsigned usage, selector, match;
	struct pn_str data; /* borrowed */
};

/*
 * Why a record is unusable, or NULL. Static text. A usable record has a usage from 0 to 3, the
 * selector 0 or 1, and a digest of the right length, or a whole certificate or key that can be
 * decoded.
 */
const char *pn_tlsa_fault(const struct pn_tlsa *record);

/*
 * Digest agility (RFC 7671 section 9): whether to ignore the usable record `index` because a usable
 * record of the same usage and selector has a stronger digest. Records of matching type 0 are never
 * ignored.
 */
int pn_tlsa_outdone(const struct pn_tlsa *records, size_t count, size_t index);

#endif
