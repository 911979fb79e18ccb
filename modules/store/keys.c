/* The keys of records, written and read as bytes. */
#include <assert.h>
#include <string.h>

#include <pn/keys.h>

enum {
	COLLECTION_LEN = 5, /* r, collection */
	RECORD_LEN = 6,     /* r, collection, kind */
	SEQ_LEN = 11,       /* ..., seq(5) */
	PEER_ID_LEN = 10,   /* ..., peer(4) */
	PEER_LEN = 15,      /* ..., peer(4), seq(5) */
	BLOCK_LEN = 19,     /* ..., peer(4), level(1), block(8) */
};

/* ---- Writing ---- */

static void put(struct pn_key *key, const void *bytes, size_t len) {
	assert(key->len + len <= PN_KEY_MAX);
	memcpy(key->bytes + key->len, bytes, len);
	key->len += len;
}

/* The low `size` bytes of value, the most significant first. */
static void put_uint(struct pn_key *key, uint64_t value, size_t size) {
	while (size-- > 0)
		key->bytes[key->len++] = (unsigned char)(value >> (8 * size));
}

static struct pn_key start(enum pn_kind kind) {
	struct pn_key key;
	key.bytes[0] = (unsigned char)kind;
	key.len = 1;
	return key;
}

struct pn_key pn_key_directory(enum pn_kind kind, const pn_digest first, enum pn_type type,
			       const unsigned char *second) {
	struct pn_key key = start(kind);
	put(&key, first, PN_DIGEST);
	if (type != 0)
		put_uint(&key, type, 1);
	if (second != NULL)
		put(&key, second, PN_DIGEST);
	return key;
}

struct pn_key pn_key_host(const unsigned char *digest) {
	struct pn_key key = start(PN_KIND_HOST);
	if (digest != NULL)
		put(&key, digest, PN_DIGEST);
	return key;
}

struct pn_key pn_key_collection(enum pn_kind kind, uint32_t collection) {
	struct pn_key key = start(kind);
	put_uint(&key, collection, 4);
	return key;
}

struct pn_key pn_key_record(uint32_t collection, enum pn_kind kind) {
	struct pn_key key = pn_key_collection(PN_KIND_RECORD, collection);
	put_uint(&key, kind, 1);
	return key;
}

struct pn_key pn_key_name(uint32_t collection, enum pn_kind kind, struct pn_str name,
			  const pn_digest digest) {
	struct pn_key key = pn_key_record(collection, kind);
	const bool hashed = name.len > PN_KEY_RAW;
	put_uint(&key, hashed, 1);
	if (hashed)
		put(&key, digest, PN_DIGEST);
	else
		put(&key, name.bytes, name.len);
	return key;
}

struct pn_key pn_key_seq(uint32_t archive, enum pn_kind kind, uint64_t seq) {
	struct pn_key key = pn_key_record(archive, kind);
	put_uint(&key, seq, 5);
	return key;
}

struct pn_key pn_key_peer(uint32_t archive, uint32_t peer, uint64_t seq) {
	struct pn_key key = pn_key_record(archive, PN_KIND_PEER);
	put_uint(&key, peer, 4);
	put_uint(&key, seq, 5);
	return key;
}

struct pn_key pn_key_peer_name(uint32_t archive, const pn_digest digest) {
	struct pn_key key = pn_key_record(archive, PN_KIND_PEER_NAME);
	put(&key, digest, PN_DIGEST);
	return key;
}

struct pn_key pn_key_peer_id(uint32_t archive, uint32_t peer) {
	struct pn_key key = pn_key_record(archive, PN_KIND_PEER_ID);
	put_uint(&key, peer, 4);
	return key;
}

struct pn_key pn_key_block(uint32_t archive, enum pn_kind kind, uint32_t peer, uint8_t level,
			   uint64_t block) {
	struct pn_key key = pn_key_record(archive, kind);
	put_uint(&key, peer, 4);
	put_uint(&key, level, 1);
	put_uint(&key, block, 8);
	return key;
}

/* ---- Reading ---- */

static uint64_t read_uint(struct pn_str key, size_t at, size_t size) {
	uint64_t value = 0;
	for (size_t i = 0; i < size; i++)
		value = value << 8 | (unsigned char)key.bytes[at + i];
	return value;
}

static bool is(struct pn_str key, enum pn_kind kind, size_t len) {
	return key.len == len && key.bytes[0] == (char)PN_KIND_RECORD &&
	       key.bytes[COLLECTION_LEN] == (char)kind;
}

bool pn_key_in_directory(struct pn_str key, const struct pn_key *prefix) {
	return key.len == prefix->len + PN_DIGEST &&
	       memcmp(key.bytes, prefix->bytes, prefix->len) == 0;
}

bool pn_key_read_collection(struct pn_str key, enum pn_kind kind, uint32_t *collection) {
	if (key.len != COLLECTION_LEN || key.bytes[0] != (char)kind)
		return false;
	*collection = (uint32_t)read_uint(key, 1, 4);
	return true;
}

bool pn_key_read_record(struct pn_str key, uint32_t *collection, enum pn_kind *kind) {
	if (key.len < RECORD_LEN || key.bytes[0] != (char)PN_KIND_RECORD)
		return false;
	*collection = (uint32_t)read_uint(key, 1, 4);
	*kind = (enum pn_kind)key.bytes[COLLECTION_LEN];
	return true;
}

bool pn_key_read_seq(struct pn_str key, enum pn_kind kind, uint32_t *archive, uint64_t *seq) {
	if (!is(key, kind, SEQ_LEN))
		return false;
	*archive = (uint32_t)read_uint(key, 1, 4);
	*seq = read_uint(key, RECORD_LEN, 5);
	return true;
}

bool pn_key_read_peer(struct pn_str key, uint32_t *archive, uint32_t *peer, uint64_t *seq) {
	if (!is(key, PN_KIND_PEER, PEER_LEN))
		return false;
	*archive = (uint32_t)read_uint(key, 1, 4);
	*peer = (uint32_t)read_uint(key, RECORD_LEN, 4);
	*seq = read_uint(key, RECORD_LEN + 4, 5);
	return true;
}

bool pn_key_read_peer_id(struct pn_str key, uint32_t *archive, uint32_t *peer) {
	if (!is(key, PN_KIND_PEER_ID, PEER_ID_LEN))
		return false;
	*archive = (uint32_t)read_uint(key, 1, 4);
	*peer = (uint32_t)read_uint(key, RECORD_LEN, 4);
	return true;
}

bool pn_key_read_block(struct pn_str key, enum pn_kind kind, uint32_t *archive, uint32_t *peer,
		       uint8_t *level, uint64_t *block) {
	if (!is(key, kind, BLOCK_LEN))
		return false;
	*archive = (uint32_t)read_uint(key, 1, 4);
	*peer = (uint32_t)read_uint(key, RECORD_LEN, 4);
	*level = (uint8_t)read_uint(key, RECORD_LEN + 4, 1);
	*block = read_uint(key, RECORD_LEN + 5, 8);
	return true;
}

bool pn_key_read_name(struct pn_str key, enum pn_kind kind, uint32_t *collection, bool *hashed,
		      struct pn_str *name) {
	enum pn_kind found;
	if (!pn_key_read_record(key, collection, &found) || found != kind ||
	    key.len < RECORD_LEN + 1 || (unsigned char)key.bytes[RECORD_LEN] > 1)
		return false;
	*hashed = key.bytes[RECORD_LEN] == 1;
	*name = (struct pn_str){key.bytes + RECORD_LEN + 1, key.len - RECORD_LEN - 1};
	return !*hashed || name->len == PN_DIGEST;
}
