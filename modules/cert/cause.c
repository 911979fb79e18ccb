/* Causes: OpenSSL's errors as reasons to refuse a peer. */
#include "cert.h"

/* A cause that differs between the leaf and its authorities. */
static enum pn_cause by_depth(int depth, enum pn_cause leaf, enum pn_cause above) {
	return depth == 0 ? leaf : above;
}

enum pn_cause pn_cause_of(int error, int depth) {
	switch (error) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return by_depth(depth, PN_CAUSE_EXPIRED, PN_CAUSE_AUTHORITY_EXPIRED);
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return by_depth(depth, PN_CAUSE_EARLY, PN_CAUSE_AUTHORITY_EARLY);
	case X509_V_ERR_INVALID_PURPOSE:
		return by_depth(depth, PN_CAUSE_PURPOSE, PN_CAUSE_AUTHORITY);
	case X509_V_ERR_INVALID_CA:
	case X509_V_ERR_KEYUSAGE_NO_CERTSIGN:
	case X509_V_ERR_PATH_LENGTH_EXCEEDED:
		return PN_CAUSE_AUTHORITY;
	case X509_V_ERR_PERMITTED_VIOLATION:
	case X509_V_ERR_EXCLUDED_VIOLATION:
	case X509_V_ERR_SUBTREE_MINMAX:
	case X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE:
	case X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX:
	case X509_V_ERR_UNSUPPORTED_NAME_SYNTAX:
		return PN_CAUSE_CONSTRAINT;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_UNTRUSTED:
		return PN_CAUSE_UNTRUSTED;
	case X509_V_ERR_EE_KEY_TOO_SMALL:
	case X509_V_ERR_CA_KEY_TOO_SMALL:
	case X509_V_ERR_CA_MD_TOO_WEAK:
		return PN_CAUSE_WEAK;
	default:
		return PN_CAUSE_CHAIN;
	}
}

const char *pn_cause_code(enum pn_cause cause) {
	static const char *const CODES[] = {
#define CAUSE_CODE(name, code, text) [PN_CAUSE_##name] = code,
		PN_CAUSES(CAUSE_CODE)
#undef CAUSE_CODE
	};
	return CODES[cause];
}

const char *pn_cause_text(enum pn_cause cause) {
	static const char *const TEXTS[] = {
#define CAUSE_TEXT(name, code, text) [PN_CAUSE_##name] = text,
		PN_CAUSES(CAUSE_TEXT)
#undef CAUSE_TEXT
	};
	return TEXTS[cause];
}
