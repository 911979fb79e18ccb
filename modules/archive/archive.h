/* What the files about archives share: an archive in an operation, its records, and queries. */
#ifndef PN_ARCHIVE_ARCHIVE_H
#define PN_ARCHIVE_ARCHIVE_H

#include <pn/archive.h>
#include <pn/collection.h>

/* No seq is as high: a key has 40 bits for it. */
#define PN_SEQ_END (UINT64_C(1) << 40)

static inline uint64_t pn_min(uint64_t a, uint64_t b) {
	return a < b ? a : b;
}

/* Positions are counted for all messages, or for those of one peer. */
enum { PN_PEER_ALL = 0 };

/* The record n. */
struct pn_archive_state {
	uint64_t next;         /* seq of the next message */
	uint64_t count;        /* messages */
	uint64_t bytes;        /* of the messages' records */
	double latest;         /* the greatest `when` that was appended; -INFINITY at first */
	uint32_t next_peer;    /* number of the next peer */
	uint64_t out_of_order; /* messages whose `when` is not their `latest` */
};

/* An archive, for one operation. */
struct pn_archive {
	struct pn_txn *txn;
	uint32_t number; /* of its collection; 0: it does not exist yet */
	struct pn_archive_state state;
};

/*
 * Finds the archive of the user, or of a number, and reads its state. Whether it exists; if not,
 * the state is that of a new one.
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
	struct pn_str key; /* bytes = NULL: it has an opaque id */
	struct pn_str stanza;
};

struct pn_key pn_message_key(const struct pn_archive *archive, uint64_t seq);

/* The prefix of an archive's records of a kind. */
struct pn_key pn_archive_prefix(const struct pn_archive *archive, enum pn_kind kind);

/* Whether the value is a message; without a transaction, and failing it otherwise. */
bool pn_stored_parse(struct pn_wire value, struct pn_stored *stored);
bool pn_stored_read(struct pn_txn *txn, struct pn_wire value, struct pn_stored *stored);

/* Whether there is the message. `bytes` may be NULL: those of its record. */
bool pn_message_get(const struct pn_archive *archive, uint64_t seq, struct pn_stored *stored,
		    size_t *bytes);

/* Writes the record. Returns its bytes. */
size_t pn_message_put(const struct pn_archive *archive, uint64_t seq,
		      const struct pn_stored *stored);

/* Lists a message among those out of order, or takes it off the list, as it now is. */
void pn_message_list(struct pn_archive *archive, uint64_t seq, bool was,
		     const struct pn_stored *now);

/* The seq in the key of a message, or of one out of order; 0 if it is not such a key. */
uint64_t pn_seq_of(struct pn_str key);

/* ---- Ids ---- */

/* The seq of the message with that id; 0 if there is none. */
uint64_t pn_id_find(const struct pn_archive *archive, struct pn_str id);

/* Writes the opaque id of a message. */
void pn_id_make(const struct pn_archive *archive, uint64_t seq, uint32_t epoch,
		char id[PN_ARCHIVE_ID_LEN]);

/* Lets a message be found by its own key, or not any more. */
void pn_id_put(const struct pn_archive *archive, struct pn_str key, uint64_t seq);

/* ---- Peers ---- */

/* The number of a peer; 0 if there is none of that name. */
uint32_t pn_peer_find(const struct pn_archive *archive, struct pn_str name);

/* Whether it can be read: the peer's name, borrowed, and the number of its bare form (0: it is
 * bare). */
bool pn_peer_name(const struct pn_archive *archive, uint32_t peer, struct pn_str *name,
		  uint32_t *bare);

/* A peer, and its bare form, 0 if it is bare itself. */
struct pn_peers {
	uint32_t peer;
	uint32_t bare;
};

/* Finds a peer, or makes it, and its bare form. */
struct pn_peers pn_peer_make(struct pn_archive *archive, struct pn_str name);

/* A walk over the index of a peer. */
struct pn_key pn_peer_prefix(const struct pn_archive *archive, uint32_t peer);

/* The seq in a key of the index; 0 if it is not such a key. */
uint64_t pn_peer_seq_of(struct pn_str key);

/*
 * Puts a message in the index of a peer, or takes it out. One that is not the newest makes all be
 * numbered anew.
 */
void pn_peer_add(const struct pn_archive *archive, uint32_t peer, uint64_t seq);
void pn_peer_remove(const struct pn_archive *archive, uint32_t peer, uint64_t seq);

/* ---- Deleted positions, see h in pn/archive.h ---- */

/* Positions from `from` up to, not including, `to`. */
struct pn_range {
	uint64_t from;
	uint64_t to;
};

/* Whether two positions are in one block, of which none is dropped before all of it is. */
bool pn_deleted_same_block(uint64_t a, uint64_t b);

void pn_deleted_add(const struct pn_archive *archive, uint32_t peer, uint64_t position);

/* The number of deleted positions in the range. */
uint64_t pn_deleted_count(const struct pn_archive *archive, uint32_t peer, struct pn_range range);

/* Drops those from `from` on. */
void pn_deleted_drop_from(const struct pn_archive *archive, uint32_t peer, uint64_t from);

/* Drops those below `first`, as far as whole blocks go. */
void pn_deleted_drop_below(const struct pn_archive *archive, uint32_t peer, uint64_t first);

/* Drops all. */
void pn_deleted_drop(const struct pn_archive *archive, uint32_t peer);

/* ---- Deleting ---- */

/* Deletes one message, and keeps the state up to date, which the caller writes. */
void pn_message_delete(struct pn_archive *archive, uint64_t seq);

/* ---- Queries ---- */

/* The number of messages with a seq in the range, of one peer or of all. */
uint64_t pn_range_count(const struct pn_archive *archive, uint32_t peer, struct pn_range range);

/*
 * The place of a time: the seq of the first message whose `latest` is at least `when` (or, with
 * `above`, greater), state.next if there is none.
 */
uint64_t pn_time_find(const struct pn_archive *archive, double when, bool above);

/*
 * A query in terms of an archive. Messages in `main` match by position, as far as time goes, except
 * for those out of order; outside of it only those can match.
 */
struct pn_plan {
	uint32_t peer;        /* PN_PEER_ALL: any */
	struct pn_range main; /* what start and end select */
	struct pn_range page; /* what before and after select */
	double start, end;    /* -INFINITY, INFINITY where there is no bound */
	bool out_of_order;    /* those out of order have to be looked at */
	bool reverse;
	uint64_t *ids; /* owned; NULL: any. Ascending, each once */
	size_t ids_count;
};

/*
 * Makes a plan. Returns false if nothing can match. The operation fails with PN_ENOTFOUND for an
 * unknown id. Free the plan in all cases.
 */
bool pn_plan_make(const struct pn_archive *archive, const struct pn_archive_query *query,
		  struct pn_plan *plan);
void pn_plan_free(struct pn_plan *plan);

/* The number of messages that match, page left out of account. */
uint64_t pn_plan_count(const struct pn_archive *archive, const struct pn_plan *plan);

/*
 * A walk over the matches within the page, in the plan's direction. Set `archive` and `plan`, and
 * `seq` to where the walk goes on: after it, 0: from the beginning.
 */
struct pn_walk {
	const struct pn_archive *archive;
	const struct pn_plan *plan;
	uint64_t seq;            /* of the match */
	struct pn_stored stored; /* borrowed */
	struct pn_cursor cursor; /* private, as is kind */
	enum pn_kind kind;       /* of the cursor's records; 0: it is closed */
};

/* Moves to the next match; false at the end. Close the walk in all cases. */
bool pn_walk_next(struct pn_walk *walk);
void pn_walk_close(struct pn_walk *walk);

#endif
