/* The one escaper: text and attribute values alike. Private to stanza/. */
#ifndef PN_STANZA_ESCAPE_H
#define PN_STANZA_ESCAPE_H

#include <pn/stanza.h>

/* Appends str with ' " < > & as &apos; &quot; &lt; &gt; &amp; and every other byte as it is. */
void pn_escape(struct pn_buf *out, struct pn_str str);

#endif
