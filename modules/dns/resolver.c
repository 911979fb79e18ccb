/* A validating resolver: libunbound. */
#include <string.h>
#include <unbound.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "dns.h"

/* libunbound detects unusable settings in the first lookup, and some versions abort the process in
 * the second one. */
struct pn_resolver {
	struct ub_ctx *context;
	bool works; /* false after such a failure: no more lookups */
};

static int code_of(int error) {
	switch (error) {
	case UB_NOERROR:
		return PN_OK;
	case UB_NOMEM:
		return PN_ENOMEM;
	case UB_SYNTAX:
	case UB_READFILE:
	case UB_AFTERFINAL:
		return PN_EINVAL;
	default:
		return PN_ERESOLVER;
	}
}

int pn_resolver_new(struct pn_resolver **resolver) {
	struct pn_resolver *made = pn_malloc(sizeof(*made));
	if (made == NULL)
		return PN_ENOMEM;
	made->context = ub_ctx_create();
	if (made->context == NULL) {
		pn_free(made);
		return PN_ENOMEM;
	}
	made->works = true;
	ub_ctx_debugout(made->context, NULL); /* else it writes to standard error */
	*resolver = made;
	return PN_OK;
}

void pn_resolver_free(struct pn_resolver *resolver) {
	if (resolver == NULL)
		return;
	ub_ctx_delete(resolver->context);
	pn_free(resolver);
}

int pn_resolver_set(struct pn_resolver *resolver, enum pn_dns_setting setting, const char *value) {
	struct ub_ctx *context = resolver->context;
	switch (setting) {
	case PN_DNS_RESOLVCONF:
		return code_of(ub_ctx_resolvconf(context, value));
	case PN_DNS_HOSTSTXT:
		return code_of(ub_ctx_hosts(context, value));
	case PN_DNS_FORWARD:
		return code_of(ub_ctx_set_fwd(context, value));
	case PN_DNS_TRUSTED:
		return code_of(ub_ctx_add_ta(context, value));
	case PN_DNS_TRUSTFILE:
		return code_of(ub_ctx_add_ta_file(context, value));
	case PN_DNS_ROOTHINTS:
		return code_of(ub_ctx_set_option(context, "root-hints:", value));
	default:
		return PN_EINVAL;
	}
}

int pn_resolver_option(struct pn_resolver *resolver, const char *name, const char *value) {
	return code_of(ub_ctx_set_option(resolver->context, name, value));
}

/* Adds the fields that are not in the packet. */
static int judge(struct pn_dns_answer *answer, const struct ub_result *result) {
	answer->rcode = (unsigned)result->rcode;
	answer->nxdomain = result->nxdomain != 0;
	answer->secure = result->secure != 0;
	answer->bogus = result->bogus != 0;
	answer->authoritative = false;
	if (answer->bogus && result->why_bogus != NULL)
		pn_buf_append(&answer->reason, result->why_bogus, strlen(result->why_bogus));
	return answer->reason.err;
}

/* After a server failure the packet may be empty or missing. */
static int read_result(const struct ub_result *result, enum pn_dns_type type,
		       struct pn_dns_answer *answer) {
	const struct pn_str packet = {result->answer_packet, (size_t)result->answer_len};
	int err = PN_OK;
	if (packet.bytes != NULL && packet.len > 0)
		err = pn_dns_parse(packet, type, answer);
	if (err == PN_EINVAL && result->rcode != 0) {
		pn_dns_answer_free(answer);
		err = PN_OK;
	}
	return err == PN_OK ? judge(answer, result) : err;
}

int pn_resolver_lookup(struct pn_resolver *resolver, const char *name, enum pn_dns_type type,
		       struct pn_dns_answer *answer) {
	struct ub_result *result = NULL;
	*answer = (struct pn_dns_answer){0};
	if (!resolver->works)
		return PN_ERESOLVER;
	int err = code_of(ub_resolve(resolver->context, name, type, LDNS_RR_CLASS_IN, &result));
	resolver->works = err != PN_ERESOLVER;
	if (err == PN_OK)
		err = read_result(result, type, answer);
	ub_resolve_free(result);
	return err;
}
