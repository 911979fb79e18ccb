/* A direct query to one name server. */
#include <pn/err.h>

#include "dns.h"

enum { SECONDS = 2, ATTEMPTS = 2, UDP_SIZE = 1232 };

/* An IPv4 or IPv6 address, or NULL. */
static ldns_rdf *address_of(const char *text) {
	ldns_rdf *address = ldns_rdf_new_frm_str(LDNS_RDF_TYPE_A, text);
	return address != NULL ? address : ldns_rdf_new_frm_str(LDNS_RDF_TYPE_AAAA, text);
}

static ldns_status prepare(ldns_resolver *resolver, const ldns_rdf *address, uint16_t port) {
	const struct timeval timeout = {.tv_sec = SECONDS};
	ldns_resolver_set_port(resolver, port);
	ldns_resolver_set_recursive(resolver, false);
	ldns_resolver_set_dnssec(resolver, true); /* to get signatures; nothing is validated */
	ldns_resolver_set_edns_udp_size(resolver, UDP_SIZE);
	ldns_resolver_set_defnames(resolver, false);
	ldns_resolver_set_dnsrch(resolver, false);
	ldns_resolver_set_timeout(resolver, timeout);
	ldns_resolver_set_retry(resolver, ATTEMPTS);
	ldns_resolver_set_retrans(resolver, 0);
	return ldns_resolver_push_nameserver(resolver, address);
}

/* After SERVFAIL ldns returns an error and the packet: that is an answer. */
static int ask(ldns_resolver *resolver, const ldns_rdf *name, enum pn_dns_type type,
	       struct pn_dns_answer *answer) {
	ldns_pkt *packet = NULL;
	const ldns_status status = ldns_resolver_send(&packet, resolver, name, (ldns_rr_type)type,
						      LDNS_RR_CLASS_IN, 0);
	int err = pn_dns_status(status);
	if (packet != NULL)
		err = pn_dns_read(packet, type, answer);
	else if (err == PN_OK)
		err = PN_ENOANSWER;
	ldns_pkt_free(packet);
	return err;
}

int pn_dns_ask(const char *address, uint16_t port, const char *name, enum pn_dns_type type,
	       struct pn_dns_answer *answer) {
	int err = PN_EINVAL;
	*answer = (struct pn_dns_answer){0};
	ldns_rdf *server = address_of(address);
	ldns_rdf *question = ldns_dname_new_frm_str(name);
	ldns_resolver *resolver = ldns_resolver_new();
	if (resolver == NULL)
		err = PN_ENOMEM;
	else if (server != NULL && question != NULL)
		err = pn_dns_status(prepare(resolver, server, port));
	if (resolver != NULL && server != NULL && question != NULL && err == PN_OK)
		err = ask(resolver, question, type, answer);
	ldns_resolver_deep_free(resolver);
	ldns_rdf_deep_free(question);
	ldns_rdf_deep_free(server);
	return err;
}
