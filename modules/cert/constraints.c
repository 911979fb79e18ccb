/*
 * Name constraints of the authorities in a chain: RFC 5280 section 4.2.1.10.
 *
 * OpenSSL applies dNSName constraints to DNS-IDs, but not to the otherNames that identify the same
 * domain: SRV-ID (RFC 4985) and XmppAddr.
 */
#include <string.h>
#include <strings.h>

#include <pn/alloc.h>

#include "cert.h"

struct pn_constraints {
	bool unreadable; /* one cannot be decoded: no name is allowed */
	size_t count;
	NAME_CONSTRAINTS *list[]; /* owned, of each authority that has any */
};

/* ---- Reading ---- */

/* Returns 1 and the constraints of an authority, 0 if it has none, or PN_ENOMEM. */
static int read_one(const X509 *authority, NAME_CONSTRAINTS **found, bool *unreadable) {
	int critical = -1;
	*found = X509_get_ext_d2i(authority, NID_name_constraints, &critical, NULL);
	if (*found != NULL)
		return 1;
	if (critical == -1) /* no such extension */
		return 0;
	if (pn_openssl_no_memory())
		return PN_ENOMEM;
	*unreadable = true;
	return 0;
}

int pn_constraints_new(struct pn_constraints **constraints, STACK_OF(X509) * chain) {
	const int count = chain != NULL ? sk_X509_num(chain) : 0;
	const size_t size = sizeof(struct pn_constraints) + (size_t)count * sizeof(void *);
	struct pn_constraints *made = pn_malloc(size);
	int found = made != NULL ? 0 : PN_ENOMEM;
	if (made != NULL)
		memset(made, 0, size);
	for (int i = 1; i < count && found >= 0; i++) {
		found = read_one(sk_X509_value(chain, i), &made->list[made->count],
				 &made->unreadable);
		made->count += found > 0 ? 1 : 0;
	}
	if (found < 0) {
		pn_constraints_free(made);
		return found;
	}
	*constraints = made;
	return PN_OK;
}

void pn_constraints_free(struct pn_constraints *constraints) {
	if (constraints == NULL)
		return;
	for (size_t i = 0; i < constraints->count; i++)
		NAME_CONSTRAINTS_free(constraints->list[i]);
	pn_free(constraints);
}

/* ---- Comparing ---- */

/* Relation of a name to a subtree. */
enum relation {
	APART, /* the subtree is for names of another form */
	OUTSIDE,
	INSIDE,
	UNKNOWN, /* they cannot be compared */
};

/* The domain of a name, in A-labels, possibly with a wildcard, and the form of that name. */
struct candidate {
	struct pn_str domain;
	int other_nid; /* of an otherName; NID_undef for a dNSName */
};

static bool ends_in(struct pn_str domain, struct pn_str end) {
	return domain.len >= end.len &&
	       strncasecmp(domain.bytes + domain.len - end.len, end.bytes, end.len) == 0;
}

/* "Any DNS name that can be constructed by simply adding zero or more labels to the left-hand
 * side"; as in OpenSSL, one or more if the base begins with a dot. */
static bool is_below(struct pn_str domain, struct pn_str base) {
	if (base.len == 0)
		return true;
	if (!ends_in(domain, base))
		return false;
	return domain.len == base.len || base.bytes[0] == '.' ||
	       domain.bytes[domain.len - base.len - 1] == '.';
}

/* Whether the names that the wildcard matches include the base. */
static bool is_covered(struct pn_str base, struct pn_str wildcard) {
	if (wildcard.len < 2 || wildcard.bytes[0] != '*' || base.len == 0)
		return false;
	if (base.bytes[0] == '.')
		base = (struct pn_str){base.bytes + 1, base.len - 1};
	const char *dot = memchr(base.bytes, '.', base.len);
	const struct pn_str parent = {wildcard.bytes + 1, wildcard.len - 1};
	return dot != NULL && (size_t)(base.bytes + base.len - dot) == parent.len &&
	       ends_in(base, parent);
}

static bool has_bounds(const GENERAL_SUBTREE *subtree) {
	return subtree->maximum != NULL ||
	       (subtree->minimum != NULL && ASN1_INTEGER_get(subtree->minimum) != 0);
}

static enum relation relation_to_domain(const struct candidate *name, const ASN1_IA5STRING *text,
					bool excluded) {
	const struct pn_str base = {(const char *)ASN1_STRING_get0_data(text),
				    (size_t)ASN1_STRING_length(text)};
	const size_t dot = base.len > 0 && base.bytes[0] == '.' ? 1 : 0;
	const struct pn_str bare = {base.bytes + dot, base.len - dot};
	if (base.len > 0 && pn_domain_fault(bare, false) != NULL)
		return UNKNOWN;
	if (is_below(name->domain, base) || (excluded && is_covered(base, name->domain)))
		return INSIDE;
	return OUTSIDE;
}

static enum relation relation_to(const struct candidate *name, const GENERAL_SUBTREE *subtree,
				 bool excluded) {
	const GENERAL_NAME *base = subtree->base;
	if (base->type == GEN_DNS)
		return has_bounds(subtree) ? UNKNOWN
					   : relation_to_domain(name, base->d.dNSName, excluded);
	/* OpenSSL does not compare otherNames: it refuses chains with such constraints */
	if (base->type == GEN_OTHERNAME && name->other_nid != NID_undef &&
	    OBJ_obj2nid(base->d.otherName->type_id) == name->other_nid)
		return UNKNOWN;
	return APART;
}

static bool is_excluded(const struct candidate *name, STACK_OF(GENERAL_SUBTREE) * subtrees) {
	for (int i = 0; i < sk_GENERAL_SUBTREE_num(subtrees); i++) {
		const enum relation relation =
			relation_to(name, sk_GENERAL_SUBTREE_value(subtrees, i), true);
		if (relation == INSIDE || relation == UNKNOWN)
			return true;
	}
	return false;
}

/* One that no subtree is about is permitted. */
static bool is_permitted(const struct candidate *name, STACK_OF(GENERAL_SUBTREE) * subtrees) {
	bool concerned = false;
	bool inside = false;
	for (int i = 0; i < sk_GENERAL_SUBTREE_num(subtrees); i++) {
		const enum relation relation =
			relation_to(name, sk_GENERAL_SUBTREE_value(subtrees, i), false);
		if (relation == UNKNOWN)
			return false;
		concerned = concerned || relation != APART;
		inside = inside || relation == INSIDE;
	}
	return inside || !concerned;
}

static bool allow(const struct pn_constraints *constraints, const struct candidate *name) {
	for (size_t i = 0; i < constraints->count; i++) {
		if (is_excluded(name, constraints->list[i]->excludedSubtrees) ||
		    !is_permitted(name, constraints->list[i]->permittedSubtrees))
			return false;
	}
	return !constraints->unreadable;
}

bool pn_constraints_allow(const struct pn_constraints *constraints, const struct pn_name *name) {
	char ascii[PN_DOMAIN_MAX + 1];
	struct candidate candidate = {name->value, NID_undef};
	if (name->type == PN_NAME_SRV) {
		const char *dot = memchr(name->value.bytes, '.', name->value.len);
		const size_t service = (size_t)(dot + 1 - name->value.bytes);
		candidate.domain = (struct pn_str){dot + 1, name->value.len - service};
		candidate.other_nid = NID_SRVName;
	} else if (name->type == PN_NAME_XMPP) {
		if (!pn_domain_ascii(name->value, ascii))
			return false;
		candidate = (struct candidate){{ascii, strlen(ascii)}, NID_XmppAddr};
	} else if (name->type != PN_NAME_DNS) {
		return !constraints->unreadable; /* OpenSSL applies the constraints */
	}
	return allow(constraints, &candidate);
}
