/* Every key of the database is built here; pn/store.h and pn/archive.h draw them. */
#ifndef PN_STORE_KEYS_H
#define PN_STORE_KEYS_H

#include <stdint.h>

#include <pn/stanza.h>
#include <pn/store.h>

enum {
	PN_DIGEST = 16,
	PN_KEY_MAX = 511, /* LMDB's limit */
	PN_KEY_RAW = 480, /* longest name that a key holds as it is */
};

/* The first byte of a key. */
enum pn_kind {
	PN_KIND_FORMAT = 'F',
	PN_KIND_COLLECTION = 'c',
	PN_KIND_DIRECTORY = 'd',
	PN_KIND_RECORD = 'r',
	PN_KIND_STORES = 's',
	PN_KIND_USER = 'u',
	PN_KIND_TRASH = 'x',
	/* The byte behind the collection of a key that begins with r. */
	PN_KIND_EXCEPTION = 'e',
	PN_KIND_HOLES = 'h',
	PN_KIND_NAME = 'k',
	PN_KIND_MESSAGE = 'm',
	PN_KIND_STATE =
		'n', /* next to the last message: both change with each one that is appended */
	PN_KIND_WITH_NAME = 'p',
	PN_KIND_WITH_ID = 'q',
	PN_KIND_VALUE = 'v',
	PN_KIND_WITH = 'w',
};

struct pn_key {
	size_t len;
	unsigned char bytes[PN_KEY_MAX];
};

typedef unsigned char pn_digest[PN_DIGEST];

struct pn_key pn_key_format(void);

/* d, u, s: a digest, a type, a digest. With `second` NULL, the prefix that they share. */
struct pn_key pn_key_place(enum pn_kind kind, const pn_digest first, enum pn_type type,
			   const unsigned char *second);

/* c, x: a collection. r: the prefix of all its records. */
struct pn_key pn_key_collection(enum pn_kind kind, uint32_t collection);

/* The state of an archive. Also the prefix of all records of a kind. */
struct pn_key pn_key_record(uint32_t collection, enum pn_kind kind);

/* v, k: a name under a collection, as it is or as its digest. */
struct pn_key pn_key_name(uint32_t collection, enum pn_kind kind, struct pn_str name,
			  const pn_digest digest);

/* m, e */
struct pn_key pn_key_seq(uint32_t archive, enum pn_kind kind, uint64_t seq);
struct pn_key pn_key_with(uint32_t archive, uint32_t with, uint64_t seq);
struct pn_key pn_key_with_name(uint32_t archive, const pn_digest digest);
struct pn_key pn_key_with_id(uint32_t archive, uint32_t with);
struct pn_key pn_key_holes(uint32_t archive, uint32_t with, uint8_t level, uint64_t block);

/* ---- Reading keys back. Each returns false for a key of another kind or shape. ---- */

bool pn_key_starts_with(struct pn_str key, const struct pn_key *prefix);
/* The same, and nothing but a digest follows. */
bool pn_key_is_place(struct pn_str key, const struct pn_key *prefix);
bool pn_key_read_collection(struct pn_str key, enum pn_kind kind, uint32_t *collection);
bool pn_key_read_record(struct pn_str key, uint32_t *collection, enum pn_kind *kind);
bool pn_key_read_seq(struct pn_str key, enum pn_kind kind, uint32_t *archive, uint64_t *seq);
bool pn_key_read_with(struct pn_str key, uint32_t *archive, uint32_t *with, uint64_t *seq);
bool pn_key_read_holes(struct pn_str key, uint32_t *archive, uint32_t *with, uint8_t *level,
		       uint64_t *block);
/* The tag and what follows it: the name itself (tag 0), or its digest (tag 1). */
bool pn_key_read_name(struct pn_str key, enum pn_kind kind, uint32_t *collection, bool *hashed,
		      struct pn_str *name);

#endif
