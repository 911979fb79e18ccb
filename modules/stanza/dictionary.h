/* Private to this folder: the dictionary by which stanzas are compressed. */
#ifndef PN_STANZA_DICTIONARY_H
#define PN_STANZA_DICTIONARY_H

enum { PN_STANZA_DICTIONARY = 17059 }; /* bytes */

/* A dictionary of zstd (RFC 8878, section 5) and a NUL. Its content is dictionary.txt, packed. */
extern const char pn_stanza_dictionary[PN_STANZA_DICTIONARY + 1];

#endif
