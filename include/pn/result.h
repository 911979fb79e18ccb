/*
 * Results of archive queries (XEP-0313, section 5.1): packed stanzas, wrapped as XML.
 *
 *      <message to='TO' from='FROM'><result xmlns='urn:xmpp:mam:2' queryid='QUERY' id='ID'>
 *      <forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='STAMP'/>
 *      STANZA, whose namespace is jabber:client
 *      </forwarded></result></message>
 */
#ifndef PN_RESULT_H
#define PN_RESULT_H

#include <stdbool.h>

#include <pn/buf.h>
#include <pn/str.h>

/* All strings are borrowed. */
struct pn_result {
	struct pn_str to;     /* bytes = NULL: no attribute; so are the next two */
	struct pn_str from;   /* the archive's JID */
	struct pn_str query;  /* the client's id of the query */
	struct pn_str id;     /* of the message in the archive */
	struct pn_str stanza; /* packed, pn/pack.h */
	double when;          /* seconds since 1970, finite */
	bool without_to;      /* leave out the stanza's "to": messages of rooms */
	bool whole_seconds;   /* leave out fractions of seconds, which have six digits otherwise */
};

/*
 * Appends a result. After an error the appended bytes are undefined. Returns 0; PN_EVERSION or
 * PN_ECORRUPT (the stanza cannot be read); PN_EINVAL (the year has not four digits); PN_ENOMEM,
 * PN_ESIZE or PN_EDEPTH (pn/stanza.h).
 */
int pn_result_encode(struct pn_buf *out, const struct pn_result *result);

#endif
