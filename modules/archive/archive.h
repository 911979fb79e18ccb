/* Private to this folder: an archive in an operation, its records, and queries. */
#ifndef PN_ARCHIVE_ARCHIVE_H
#define PN_ARCHIVE_ARCHIVE_H

#include <pn/archive.h>
#include <pn/collection.h>

/* Above every seq, which has 40 bits in a key. */
#define PN_SEQ_END (UINT64_C(1) << 40)

static inline uint64_t pn_min(uint64_t a, uint64_t b) {
	return a < b ? a : b;
}

/* As peer number: positions of all messages, and not of one peer's. */
enum { PN_PEER_ALL = 0 };

/* The record n. */
struct pn_archive_state {
	uint64_t next;         /* seq of the next message */
	uint64_t count;        /* messages */
	uint64_t bytes;        /* of the messages' records, before compression */
	double latest;         /* the greatest `when` that was appended; -INFINITY at first */
	uint32_t next_peer;    /* number of the next peer */
	uint64_t out_of_order; /* messages whose `when` is not their `latest` */
};

/* An archive, for one operation. */
struct pn_archive {
	struct pn_txn *txn;
	uint32_t number; /* of its collection; 0: it does not exist yet */
	struct pn_archive_state state;
	unsigned scattered; /* index records of deleted messages, on leaves of their own: k and p */
};

/*
 * Open the archive of a user, or by its number, and read its state. Return whether it exists. If it
 * does not, the number is 0 and the state that of a new archive.
 */
bool pn_archive_open(struct pn_archive *archive, struct pn_txn *txn, const struct pn_store *store,
		     struct pn_user user);
bool pn_archive_open_number(struct pn_archive *archive, struct pn_txn *txn, uint32_t number);

void pn_archive_write_state(struct pn_archive *archive);

/* ---- Messages ---- */

/* The record m, borrowed. */
struct pn_stored {
	uint32_t epoch;
	uint32_t peer; /* 0: none */
	double when;
	double latest;
	bool out_of_order;
	struct pn_str key;    /* bytes = NULL: it has an opaque id */
	struct pn_str stanza; /* as it is stored, see pn/compress.h */
	size_t saved;         /* bytes by which that is shorter than the packed stanza */
};

/* Compresses a packed stanza, and sets stored->stanza, which is borrowed from the database's
 * compressor, and stored->saved. Returns 0 or PN_ENOMEM. */
int pn_stored_compress(struct pn_db *db, struct pn_str packed, struct pn_stored *stored);

struct pn_key pn_message_key(const struct pn_archive *archive, uint64_t seq);

/* The prefix of the archive's records of a kind. */
struct pn_key pn_archive_prefix(const struct pn_archive *archive, enum pn_kind kind);

/* Read the value of a record m, and return whether it is a message. pn_stored_read() fails the
 * operation if it is not. */
bool pn_stored_parse(struct pn_wire value, struct pn_stored *stored);
bool pn_stored_read(struct pn_txn *txn, struct pn_wire value, struct pn_stored *stored);

/* Reads a message and, unless it is NULL, sets *bytes to its size as the state counts it. Returns
 * whether the message exists. */
bool pn_message_get(const struct pn_archive *archive, uint64_t seq, struct pn_stored *stored,
		    size_t *bytes);

/* Writes the record. Returns its size as the state counts it. */
size_t pn_message_put(const struct pn_archive *archive, uint64_t seq,
		      const struct pn_stored *stored);

/* Adds a message to the records e, or removes it, as now->out_of_order says. was: whether it is
 * there. */
void pn_message_list(struct pn_archive *archive, uint64_t seq, bool was,
		     const struct pn_stored *now);

/* The seq in a key of kind m or e; 0 for other keys. */
uint64_t pn_seq_of(struct pn_str key);

/* ---- Ids ---- */

/* The seq of the message with the id; 0 if there is none. */
uint64_t pn_id_find(const struct pn_archive *archive, struct pn_str id);

/* Writes the opaque id of a message. */
void pn_id_make(const struct pn_archive *archive, uint64_t seq, uint32_t epoch,
		char id[PN_ARCHIVE_ID_LEN]);

/* Writes the record k of a message. */
void pn_id_put(const struct pn_archive *archive, struct pn_str key, uint64_t seq);

/* ---- Peers ---- */

/* The number of the peer with the name; 0 if there is none. */
uint32_t pn_peer_find(const struct pn_archive *archive, struct pn_str name);

/* Sets the peer's name, which is borrowed, and the number of its bare form (0: the name is bare).
 * Returns whether they could be read. */
bool pn_peer_name(const struct pn_archive *archive, uint32_t peer, struct pn_str *name,
		  uint32_t *bare);

/* The numbers of a peer and of its bare form (0: its name is bare). */
struct pn_peers {
	uint32_t peer;
	uint32_t bare;
};

/* Finds or creates a peer and its bare form. */
struct pn_peers pn_peer_make(struct pn_archive *archive, struct pn_str name);

/* The prefix of the index of a peer, the records w. */
struct pn_key pn_peer_prefix(const struct pn_archive *archive, uint32_t peer);

/* The seq in a key of kind w; 0 for other keys. */
uint64_t pn_peer_seq_of(struct pn_str key);

/*
 * Add a message to the index of a peer, or remove it. Adding one that is not the newest renumbers
 * the whole index.
 */
void pn_peer_add(const struct pn_archive *archive, uint32_t peer, uint64_t seq);
void pn_peer_remove(struct pn_archive *archive, uint32_t peer, uint64_t seq);

/* ---- Deleted positions: the records h, see pn/archive.h ---- */

/* Positions from `from` up to, not including, `to`. */
struct pn_range {
	uint64_t from;
	uint64_t to;
};

/* Whether two positions are in one block. Blocks are dropped as a whole. */
bool pn_deleted_same_block(uint64_t a, uint64_t b);

/* Counts a position as deleted. */
void pn_deleted_add(const struct pn_archive *archive, uint32_t peer, uint64_t position);

/* The number of deleted positions in the range. */
uint64_t pn_deleted_count(const struct pn_archive *archive, uint32_t peer, struct pn_range range);

/* Drops the positions from `from` on. */
void pn_deleted_drop_from(const struct pn_archive *archive, uint32_t peer, uint64_t from);

/* Drops the blocks whose positions are all below `first`. */
void pn_deleted_drop_below(const struct pn_archive *archive, uint32_t peer, uint64_t first);

/* Drops all positions. */
void pn_deleted_drop(const struct pn_archive *archive, uint32_t peer);

/* ---- Deleting ---- */

/* Deletes one message and updates the state, which the caller writes. */
void pn_message_delete(struct pn_archive *archive, uint64_t seq);

/* ---- Queries ---- */

/* The number of messages with a seq in the range, of one peer or of all (PN_PEER_ALL). */
uint64_t pn_range_count(const struct pn_archive *archive, uint32_t peer, struct pn_range range);

/*
 * The seq of the first message whose `latest` is at least `when`, or above it if `above` is set;
 * state.next if there is none.
 */
uint64_t pn_time_find(const struct pn_archive *archive, double when, bool above);

/*
 * A query in terms of an archive. Messages within `main` match in time and others do not, except
 * for messages that are out of order, which have to be looked at one by one.
 */
struct pn_plan {
	uint32_t peer;        /* PN_PEER_ALL: any */
	struct pn_range main; /* selected by start and end */
	struct pn_range page; /* selected by before and after */
	double start, end;    /* -INFINITY, INFINITY: no bound */
	bool out_of_order;    /* there are messages out of order, and a bound in time */
	bool reverse;
	uint64_t *ids; /* owned; NULL: any. Ascending, without repetitions */
	size_t ids_count;
};

/*
 * Makes a plan. Returns false if nothing can match. The operation fails with PN_ENOTFOUND for an
 * unknown id. Free the plan in all cases.
 */
bool pn_plan_make(const struct pn_archive *archive, const struct pn_archive_query *query,
		  struct pn_plan *plan);
void pn_plan_free(struct pn_plan *plan);

/* The number of matches, regardless of the page. */
uint64_t pn_plan_count(const struct pn_archive *archive, const struct pn_plan *plan);

/*
 * A walk over the matches within the page, in the plan's direction. The caller sets `archive`,
 * `plan`, and `seq` to the match after which the walk continues (0: from the beginning).
 */
struct pn_walk {
	const struct pn_archive *archive;
	const struct pn_plan *plan;
	uint64_t seq;            /* of the current match */
	struct pn_stored stored; /* borrowed */
	struct pn_cursor cursor; /* private, as is kind */
	enum pn_kind kind;       /* of the records at the cursor; 0: closed */
};

/* Moves to the next match; false at the end. Close the walk in all cases. */
bool pn_walk_next(struct pn_walk *walk);
void pn_walk_close(struct pn_walk *walk);

#endif
