/* What the files of this folder share. */
#ifndef PN_DNS_PRIVATE_H
#define PN_DNS_PRIVATE_H

#include <ldns/ldns.h>

#include <pn/dns.h>

/* The code of pn/err.h for a status of ldns's. */
int pn_dns_status(ldns_status status);

/* Fills an answer that is all zero. */
int pn_dns_read(const ldns_pkt *packet, enum pn_dns_type type, struct pn_dns_answer *answer);

#endif
