/* Ids of messages: keys that the caller chose, and opaque ids, which encode the position. */
#include <string.h>

#include <pn/err.h>

#include "archive.h"

/* ---- 16 bytes as text: base64url without padding (RFC 4648, section 5) ---- */

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void to_text(const unsigned char block[PN_BLOCK], char *text) {
	uint32_t bits = 0;
	int have = 0;
	for (int i = 0; i < PN_BLOCK; i++) {
		bits = bits << 8 | block[i];
		for (have += 8; have >= 6; have -= 6)
			*text++ = ALPHABET[bits >> (have - 6) & 63];
	}
	*text = ALPHABET[bits << (6 - have) & 63];
}

static int letter_value(char letter) {
	if (letter >= 'A' && letter <= 'Z')
		return letter - 'A';
	if (letter >= 'a' && letter <= 'z')
		return letter - 'a' + 26;
	if (letter >= '0' && letter <= '9')
		return letter - '0' + 52;
	return letter == '-' ? 62 : letter == '_' ? 63 : -1;
}

static bool from_text(struct pn_str text, unsigned char block[PN_BLOCK]) {
	uint32_t bits = 0;
	int have = 0;
	size_t n = 0;
	if (text.len != PN_ARCHIVE_ID_LEN)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		const int value = letter_value(text.bytes[i]);
		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t)value;
		have += 6;
		if (have >= 8) {
			have -= 8;
			block[n++] = (unsigned char)(bits >> have);
		}
	}
	return (bits & ((1u << have) - 1)) == 0; /* unused bits are 0: one spelling for each id */
}

/* ---- Opaque ids ---- */

enum { CHECK = 3 }; /* zero bytes at the end: one forged id in 2^24 passes as one of ours */

/* The contents of an opaque id. */
struct opaque_id {
	uint32_t archive;
	uint64_t seq;
	uint32_t epoch;
};

static void put_uint(unsigned char *bytes, uint64_t value, int size) {
	for (int i = size - 1; i >= 0; i--, value >>= 8)
		bytes[i] = (unsigned char)value;
}

static uint64_t get_uint(const unsigned char *bytes, int size) {
	uint64_t value = 0;
	for (int i = 0; i < size; i++)
		value = value << 8 | bytes[i];
	return value;
}

void pn_id_make(const struct pn_archive *archive, uint64_t seq, uint32_t epoch,
		char id[PN_ARCHIVE_ID_LEN]) {
	unsigned char plain[PN_BLOCK] = {0};
	unsigned char block[PN_BLOCK];
	put_uint(plain, archive->number, 4);
	put_uint(plain + 4, seq, 5);
	put_uint(plain + 9, epoch, 4);
	if (pn_txn_fail(archive->txn, pn_db_encipher(archive->txn->db, plain, block)) == PN_OK)
		to_text(block, id);
}

/* Returns whether it is an opaque id of this database. */
static bool read_id(struct pn_txn *txn, struct pn_str id, struct opaque_id *out) {
	static const unsigned char zero[CHECK] = {0};
	unsigned char plain[PN_BLOCK] = {0};
	unsigned char block[PN_BLOCK];
	if (!from_text(id, block) ||
	    pn_txn_fail(txn, pn_db_decipher(txn->db, block, plain)) != PN_OK ||
	    memcmp(plain + PN_BLOCK - CHECK, zero, CHECK) != 0)
		return false;
	out->archive = (uint32_t)get_uint(plain, 4);
	out->seq = get_uint(plain + 4, 5);
	out->epoch = (uint32_t)get_uint(plain + 9, 4);
	return true;
}

static uint64_t find_opaque(const struct pn_archive *archive, struct pn_str id) {
	struct opaque_id found;
	struct pn_stored stored;
	if (!read_id(archive->txn, id, &found) || found.archive != archive->number ||
	    !pn_message_get(archive, found.seq, &stored, NULL))
		return 0;
	return stored.epoch == found.epoch && stored.key.bytes == NULL ? found.seq : 0;
}

/* ---- Keys of messages ---- */

static uint64_t find_key(const struct pn_archive *archive, struct pn_str id) {
	struct pn_wire value;
	const struct pn_key key = pn_name_key(archive->txn, archive->number, PN_KIND_NAME, id);
	if (!pn_get(archive->txn, &key, &value))
		return 0;
	const uint64_t seq = pn_wire_u64(&value);
	return pn_txn_sound(archive->txn, &value) ? seq : 0;
}

uint64_t pn_id_find(const struct pn_archive *archive, struct pn_str id) {
	struct pn_stored stored;
	uint64_t seq = find_opaque(archive, id);
	if (seq == 0)
		seq = find_key(archive, id);
	if (seq != 0 && archive->marks.count > 0 && pn_message_get(archive, seq, &stored, NULL) &&
	    pn_marks_cover(archive, seq, &stored))
		return 0;
	return seq;
}

void pn_id_put(const struct pn_archive *archive, struct pn_str key, uint64_t seq) {
	const struct pn_key name = pn_name_key(archive->txn, archive->number, PN_KIND_NAME, key);
	struct pn_buf value = pn_value();
	pn_wire_put_u64(&value, seq);
	pn_put(archive->txn, &name, &value);
}
