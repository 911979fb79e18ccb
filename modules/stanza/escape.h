/* Private to this folder: the one escaper, for text and attribute values. */
#ifndef PN_STANZA_ESCAPE_H
#define PN_STANZA_ESCAPE_H

#include <pn/stanza.h>

/* Appends str with ' " < > & as &apos; &quot; &lt; &gt; &amp; and all other bytes unchanged. */
void pn_escape(struct pn_buf *out, struct pn_str str);

#endif
