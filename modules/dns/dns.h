/* Shared by the files of this folder. */
#ifndef PN_DNS_PRIVATE_H
#define PN_DNS_PRIVATE_H

#include <ldns/ldns.h>

#include <pn/dns.h>

/* The code of pn/err.h for a status of ldns. */
int pn_dns_status(ldns_status status);

/* As pn_dns_parse(), of a decoded packet. *answer is all zero. */
int pn_dns_read(const ldns_pkt *packet, enum pn_dns_type type, struct pn_dns_answer *answer);

#endif
