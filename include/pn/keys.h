/*
 * Every key of the database is built here: the format on the disk.
 *
 * A key begins with the letter of its kind. Integers are big-endian, so keys sort by number. Names
 * may be long and hold any bytes, so keys have digests of them: see pn_db_digest().
 *
 *      kind  key                                        value (after a version byte)
 *      F                                                format, secret: modules/db/format.c
 *      L                                                turns that are here: epoch, number u64
 *      b     digest(host)                               bytes u64 of the host
 *      b                                                the last collection that is counted
 *      d     digest(host, store) type digest(user)      collection
 *      u     digest(host, user) type digest(store)      collection
 *      s     digest(host) type digest(store)            number of users, store
 *      c     collection                                 type, host, store, user
 *      x     collection                                 type: removed, but not erased yet
 *      y     collection                                 an archive's deleted messages that are not
 *                                                       erased yet, see pn/archive.h
 *      r     collection v tag key                       a value of a key-value collection
 *      r     collection e|h|k|m|n|o|p|q|t|w ...         archives, see pn/archive.h
 *
 *      collection  u32, not reused while any record of it is left      type  u8, enum pn_type
 *      tag         u8: 0 followed by the key; 1 by digest(key), and the value begins with bytes key
 *
 * A collection exists as long as it has at least one entry.
 *
 * The bytes of a host are those of the records v and m of its collections, keys included. They are
 * right for collections up to the number in b, a u32; 0xFFFFFFFF: all. Without that record nothing
 * is counted, and the others are void.
 */
#ifndef PN_KEYS_H
#define PN_KEYS_H

#include <stdint.h>

#include <pn/db.h>

enum pn_type {
	PN_TYPE_KEYVAL = 1,
	PN_TYPE_ARCHIVE = 2,
};

/* The longest name that a key holds itself, and not as a digest: below PN_KEY_MAX, less the 7 bytes
 * before it. It is part of the format. */
enum { PN_KEY_RAW = 480 };

/* The first byte of a key. */
enum pn_kind {
	PN_KIND_FORMAT = 'F',
	PN_KIND_POSITION = 'L',
	PN_KIND_HOST = 'b',
	PN_KIND_COLLECTION = 'c',
	PN_KIND_DIRECTORY = 'd',
	PN_KIND_RECORD = 'r',
	PN_KIND_STORES = 's',
	PN_KIND_USER = 'u',
	PN_KIND_TRASH = 'x',
	PN_KIND_MARKS = 'y',
	/* the byte after the collection in a key that begins with r */
	PN_KIND_LISTED = 'e',
	PN_KIND_DELETED = 'h',
	PN_KIND_NAME = 'k',
	PN_KIND_MESSAGE = 'm',
	/* sorts after the last message: appending one changes both */
	PN_KIND_STATE = 'n',
	PN_KIND_UNORDERED = 'o',
	PN_KIND_PEER_NAME = 'p',
	PN_KIND_PEER_ID = 'q',
	PN_KIND_RUN = 't',
	PN_KIND_VALUE = 'v',
	PN_KIND_PEER = 'w',
};

/* d, u, s: a digest, a type, a digest. Without a type (0) or with `second` NULL, the prefix. */
struct pn_key pn_key_directory(enum pn_kind kind, const pn_digest first, enum pn_type type,
			       const unsigned char *second);

/* c, x, y: the key of a collection. r: the prefix of all its records. */
/* b: of a host; or with NULL the one of the last collection that was counted, the prefix. */
struct pn_key pn_key_host(const unsigned char *digest);

/* c, x: the key of a collection. r: the prefix of all its records. */
struct pn_key pn_key_collection(enum pn_kind kind, uint32_t collection);

/* n: the state of an archive. Other kinds: the prefix of all records of the kind. */
struct pn_key pn_key_record(uint32_t collection, enum pn_kind kind);

/* v, k: a name in a collection. `digest`: of the name, used if it is longer than PN_KEY_RAW. */
struct pn_key pn_key_name(uint32_t collection, enum pn_kind kind, struct pn_str name,
			  const pn_digest digest);

/* m, e, t; w; p; q; h, o: see pn/archive.h. */
struct pn_key pn_key_seq(uint32_t archive, enum pn_kind kind, uint64_t seq);
struct pn_key pn_key_peer(uint32_t archive, uint32_t peer, uint64_t seq);
struct pn_key pn_key_peer_name(uint32_t archive, const pn_digest digest);
struct pn_key pn_key_peer_id(uint32_t archive, uint32_t peer);
struct pn_key pn_key_block(uint32_t archive, enum pn_kind kind, uint32_t peer, uint8_t level,
			   uint64_t block);

/* ---- Reading keys back. Each returns false for a key of another kind or shape. ---- */

/* Whether the key is the prefix followed by one digest. */
bool pn_key_in_directory(struct pn_str key, const struct pn_key *prefix);
bool pn_key_read_collection(struct pn_str key, enum pn_kind kind, uint32_t *collection);
bool pn_key_read_record(struct pn_str key, uint32_t *collection, enum pn_kind *kind);
bool pn_key_read_seq(struct pn_str key, enum pn_kind kind, uint32_t *archive, uint64_t *seq);
bool pn_key_read_peer(struct pn_str key, uint32_t *archive, uint32_t *peer, uint64_t *seq);
bool pn_key_read_peer_id(struct pn_str key, uint32_t *archive, uint32_t *peer);
bool pn_key_read_block(struct pn_str key, enum pn_kind kind, uint32_t *archive, uint32_t *peer,
		       uint8_t *level, uint64_t *block);
/* *name is the name itself, or its digest if *hashed is set; borrowed from the key. */
bool pn_key_read_name(struct pn_str key, enum pn_kind kind, uint32_t *collection, bool *hashed,
		      struct pn_str *name);

#endif
