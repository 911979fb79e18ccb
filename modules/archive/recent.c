/*
 * The archives and peers of the last appends: a message of a conversation finds them without a
 * digest and without a record. They are right as long as nothing but appends has been written, in
 * one transaction of LMDB; otherwise all are forgotten.
 */
#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "archive.h"

enum {
	ARCHIVES = 64,
	PEERS = 256,
	NAME = 64, /* bytes of a name that is kept; few are longer */
};

struct name {
	size_t len;
	char bytes[NAME];
};

/* Each has one place, by the hash of its name. Those of an earlier era are forgotten. */
struct pn_recent {
	uint64_t moment; /* pn_db_moment() after the last append; 0: it has not ended, or failed */
	uint64_t era;
	struct {
		uint64_t era;
		struct pn_archive_state state;
		struct name user;
		pn_digest store;
		uint32_t number;
	} archives[ARCHIVES];
	struct {
		uint64_t era;
		struct pn_peer peer; /* its name is the one here */
		struct name name;
		uint32_t archive;
	} peers[PEERS];
};

static bool is(const struct name *name, struct pn_str str) {
	return name->len == str.len && memcmp(name->bytes, str.bytes, str.len) == 0;
}

static void set(struct name *name, struct pn_str str) {
	name->len = str.len;
	memcpy(name->bytes, str.bytes, str.len);
}

/* FNV-1a */
static size_t hash(struct pn_str name, uint32_t seed) {
	uint32_t sum = UINT32_C(2166136261) ^ seed;
	for (size_t i = 0; i < name.len; i++)
		sum = (sum ^ (unsigned char)name.bytes[i]) * UINT32_C(16777619);
	return sum ^ sum >> 16;
}

/* NULL: memory is missing. */
static struct pn_recent *recent_of(struct pn_db *db) {
	struct pn_db_notes *const notes = pn_db_notes(db);
	if (notes->recent == NULL) {
		notes->recent = pn_malloc(sizeof(struct pn_recent));
		if (notes->recent != NULL)
			memset(notes->recent, 0, sizeof(struct pn_recent));
	}
	return notes->recent;
}

static size_t place_of(const struct pn_store *store, struct pn_str user) {
	uint32_t seed;
	memcpy(&seed, store->digest, sizeof(seed));
	return hash(user, seed) % ARCHIVES;
}

/* Reads what an open archive needs. Returns whether it is here. */
static bool take(struct pn_archive *archive, const struct pn_recent *recent, struct pn_str user) {
	const size_t at = place_of(archive->store, user);
	if (recent->archives[at].era != recent->era || !is(&recent->archives[at].user, user) ||
	    memcmp(recent->archives[at].store, archive->store->digest, PN_DIGEST) != 0)
		return false;
	archive->number = recent->archives[at].number;
	archive->state = recent->archives[at].state;
	archive->counted = archive->state.bytes;
	if (archive->state.marked > 0)
		pn_marks_read(archive);
	return true;
}

void pn_recent_open(struct pn_archive *archive, struct pn_txn *txn, const struct pn_store *store,
		    struct pn_user user) {
	const struct pn_str name = {user.bytes, user.len};
	struct pn_recent *const recent = txn->err == PN_OK ? recent_of(txn->db) : NULL;
	if (recent != NULL && recent->moment != pn_db_moment(txn->db))
		recent->era++;
	if (recent != NULL)
		recent->moment = 0;
	*archive = (struct pn_archive){.txn = txn, .store = store};
	if (recent == NULL || name.bytes == NULL || name.len > NAME || !take(archive, recent, name))
		pn_archive_open(archive, txn, store, user);
	archive->recent = recent;
}

void pn_recent_close(struct pn_archive *archive, struct pn_user user, int result) {
	const struct pn_str name = {user.bytes, user.len};
	struct pn_recent *const recent = archive->recent;
	if (recent == NULL || result != PN_OK)
		return; /* all is forgotten */
	recent->moment = pn_db_moment(archive->store->db);
	if (name.bytes == NULL || name.len > NAME)
		return;
	const size_t at = place_of(archive->store, name);
	recent->archives[at].era = recent->era;
	recent->archives[at].number = archive->number;
	recent->archives[at].state = archive->state;
	set(&recent->archives[at].user, name);
	memcpy(recent->archives[at].store, archive->store->digest, PN_DIGEST);
}

bool pn_recent_peer(const struct pn_archive *archive, struct pn_str name, struct pn_peer *peer) {
	const struct pn_recent *const recent = archive->recent;
	const size_t at = hash(name, archive->number) % PEERS;
	if (recent == NULL || recent->peers[at].era != recent->era ||
	    recent->peers[at].archive != archive->number || !is(&recent->peers[at].name, name))
		return false;
	*peer = recent->peers[at].peer;
	peer->name = name;
	return true;
}

void pn_recent_put_peer(const struct pn_archive *archive, struct pn_str name,
			const struct pn_peer *peer) {
	struct pn_recent *const recent = archive->recent;
	const size_t at = hash(name, archive->number) % PEERS;
	if (recent == NULL || name.len > NAME)
		return;
	recent->peers[at].era = recent->era;
	recent->peers[at].archive = archive->number;
	recent->peers[at].peer = *peer;
	set(&recent->peers[at].name, name);
}
