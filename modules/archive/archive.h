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

static inline uint64_t pn_max(uint64_t a, uint64_t b) {
	return a > b ? a : b;
}

enum {
	PN_PEER_ALL = 0,   /* as peer number: positions of all messages, and not of one peer's */
	PN_PEER_LISTS = 3, /* that have a message: of all, of its peer, of the peer's bare form */
};

/* The record n. */
struct pn_archive_state {
	uint64_t next;      /* seq of the next message */
	uint64_t count;     /* messages */
	uint64_t bytes;     /* of records of messages before compression, also of deleted ones */
	double latest;      /* the greatest `when` in order of the last run; -INFINITY at first */
	uint32_t next_peer; /* number of the next peer */
	uint64_t listed;    /* records e */
	uint64_t unordered; /* messages out of order without records e, also deleted ones */
	uint32_t runs;      /* records t */
	uint64_t streak;    /* messages out of order that were appended in a row, and last */
	uint64_t marked;    /* messages that are deleted and not erased yet: those of the marks */
};

/* Positions from `from` up to, not including, `to`. */
struct pn_range {
	uint64_t from;
	uint64_t to;
};

static inline struct pn_range pn_range_intersect(struct pn_range a, struct pn_range b) {
	return (struct pn_range){pn_max(a.from, b.from), pn_min(a.to, b.to)};
}

/* The numbers of a peer and of its bare form (0: its name is bare, or it is PN_PEER_ALL). */
struct pn_peers {
	uint32_t peer;
	uint32_t bare;
};

/*
 * Messages that are deleted and not erased yet: those of the peer with a seq in `seqs` and a time
 * from `start` to `end`.
 */
struct pn_mark {
	struct pn_peers peers;
	struct pn_range seqs;
	double start, end; /* -INFINITY, INFINITY: no bound */
};

/* The marks of an archive. No message belongs to two of them. */
enum { PN_MARKS_MAX = 16 };
struct pn_marks {
	unsigned count;
	struct pn_mark marks[PN_MARKS_MAX];
};

struct pn_peer;
struct pn_recent;

/* An archive, for one operation. */
struct pn_archive {
	struct pn_txn *txn;
	const struct pn_store *store; /* NULL if it was opened by its number */
	uint32_t number;              /* of its collection; 0: it does not exist yet */
	struct pn_archive_state state;
	uint64_t counted; /* of state.bytes, in those of the host */
	struct pn_marks marks;
	unsigned scattered; /* index records of deleted messages, on leaves of their own: k and p */
	struct pn_recent *recent; /* NULL: other appends are of no use to it */
};

/*
 * Open the archive of a user, or by its number, and read its state. Return whether it exists. If it
 * does not, the number is 0 and the state that of a new archive.
 */
bool pn_archive_open(struct pn_archive *archive, struct pn_txn *txn, const struct pn_store *store,
		     struct pn_user user);
bool pn_archive_open_number(struct pn_archive *archive, struct pn_txn *txn, uint32_t number);

void pn_archive_write_state(struct pn_archive *archive);

/* ---- The archives and peers of the last appends ---- */

/* The same as pn_archive_open() for an append; `txn` has written nothing yet. And its end: `result`
 * of the operation. In between nothing else is appended. */
void pn_recent_open(struct pn_archive *archive, struct pn_txn *txn, const struct pn_store *store,
		    struct pn_user user);
void pn_recent_close(struct pn_archive *archive, struct pn_user user, int result);

/* Reads a peer of the archive; its name is `name`. Returns whether it is known. */
bool pn_recent_peer(const struct pn_archive *archive, struct pn_str name, struct pn_peer *peer);

/* Keeps a peer, which was read or written. */
void pn_recent_put_peer(const struct pn_archive *archive, struct pn_str name,
			const struct pn_peer *peer);

/* Removes the archive, which is empty or not. pn_store_erase() erases its records. */
void pn_archive_drop(struct pn_archive *archive);

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

/* The seq in a key of kind m, e or t; 0 for other keys. */
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

/* Successive messages of a peer, which have successive ordinals. */
enum { PN_CHUNK = 32 }; /* the most */
struct pn_chunk {
	uint64_t ordinal; /* of the first one */
	unsigned count;
	uint64_t seqs[PN_CHUNK];
};

/* The record q. */
struct pn_peer {
	uint32_t number;
	uint32_t bare;        /* number of its bare form; 0: its name is bare */
	struct pn_str name;   /* borrowed */
	struct pn_chunk tail; /* its newest messages, may be empty */
};

/* The number of the peer with the name; 0 if there is none. */
uint32_t pn_peer_find(const struct pn_archive *archive, struct pn_str name);

/* The same by its record p, which it need not have. */
uint32_t pn_peer_named(const struct pn_archive *archive, struct pn_str name);

/* Read the value of a record q, or what stands before its chunk. Return whether it is one. */
bool pn_peer_read(struct pn_txn *txn, struct pn_wire value, struct pn_peer *peer);
bool pn_peer_read_name(struct pn_txn *txn, struct pn_wire value, struct pn_peer *peer);

/* Reads the record of a peer. Returns whether it could be read. */
bool pn_peer_get(const struct pn_archive *archive, uint32_t number, struct pn_peer *peer);

/* The same for its name and bare form, which is cheaper. */
bool pn_peer_name(const struct pn_archive *archive, uint32_t number, struct pn_str *name,
		  uint32_t *bare);

/* Write the record of a peer, or its tail alone. */
void pn_peer_put(const struct pn_archive *archive, const struct pn_peer *peer);
void pn_peer_put_tail(const struct pn_archive *archive, uint32_t number,
		      const struct pn_chunk *tail);

/* The numbers of the peer of a message, which may be 0, and of its bare form. */
struct pn_peers pn_peers_of(const struct pn_archive *archive, uint32_t peer);

/* Finds or creates a peer and its bare form. Adds a message to the indexes of both, unless `seq` is
 * 0. */
struct pn_peers pn_peer_make(struct pn_archive *archive, struct pn_str name, uint64_t seq);

/* Removes messages from the index of a peer, and the peer if it has no others. See
 * pn_index_remove(). */
void pn_peer_remove(struct pn_archive *archive, uint32_t number, const uint64_t *seqs,
		    size_t count);

/* ---- The index of a peer ---- */

/* Reads a chunk whose first seq is known, up to the end of the value. Returns whether it is one. */
bool pn_chunk_read(struct pn_wire *value, uint64_t ordinal, uint64_t first, struct pn_chunk *chunk);

/* Appends it, without its ordinal and its first seq. */
void pn_chunk_write(struct pn_buf *value, const struct pn_chunk *chunk);

/* The prefix of the records w of a peer. */
struct pn_key pn_peer_prefix(const struct pn_archive *archive, uint32_t peer);

/* The seq in a key of kind w; 0 for other keys. */
uint64_t pn_peer_seq_of(struct pn_str key);

/* A walk over the messages of a peer. */
struct pn_index {
	uint64_t seq; /* of the current one; 0: none */
	uint64_t ordinal;
	/* private */
	const struct pn_archive *archive;
	uint32_t peer;
	struct pn_cursor cursor;
	struct pn_chunk record, tail;
	struct pn_chunk *chunk; /* one of them */
	unsigned at;
};

/* Close it in all cases; and before the index is changed. */
void pn_index_open(struct pn_index *index, const struct pn_archive *archive, uint32_t peer);
void pn_index_close(struct pn_index *index);

/* Move to a message and return whether there is one: the first one that is at least `seq`; the last
 * one before it; the next one; the previous one. The latter two: from a message. */
bool pn_index_seek(struct pn_index *index, uint64_t seq);
bool pn_index_seek_before(struct pn_index *index, uint64_t seq);
bool pn_index_next(struct pn_index *index);
bool pn_index_previous(struct pn_index *index);

/* Adds a message, and writes the peer. One that is not the newest renumbers the whole index. */
void pn_index_add(const struct pn_archive *archive, struct pn_peer *peer, uint64_t seq);

/* Removes messages: 1 to PN_BATCH_MAX of them, in order. Returns whether others are left: if not,
 * the peer is to be forgotten. */
bool pn_index_remove(struct pn_archive *archive, uint32_t peer, const uint64_t *seqs, size_t count);

/* ---- Deleted positions: the records h, see pn/archive.h ---- */

/* Whether two positions are in one block. Blocks are dropped as a whole. */
bool pn_deleted_same_block(uint64_t a, uint64_t b);

/* Counts positions as deleted. They are in order; the array is changed. */
void pn_deleted_add(const struct pn_archive *archive, uint32_t peer, uint64_t *positions,
		    size_t count);

/* The number of deleted positions in the range. */
uint64_t pn_deleted_count(const struct pn_archive *archive, uint32_t peer, struct pn_range range);

/* Drops the positions from `from` on. */
void pn_deleted_drop_from(const struct pn_archive *archive, uint32_t peer, uint64_t from);

/* Drops the blocks whose positions are all below `first`. */
void pn_deleted_drop_below(const struct pn_archive *archive, uint32_t peer, uint64_t first);

/* Drops all positions. */
void pn_deleted_drop(const struct pn_archive *archive, uint32_t peer);

/* ---- Runs: the records t ---- */

/* Messages whose `latest` never decreases. */
struct pn_run {
	struct pn_range range;
	double start;  /* not above any `latest` in it */
	double latest; /* not below any */
};

/* A walk over the runs that have messages, in order. */
struct pn_runs {
	const struct pn_archive *archive;
	struct pn_run run; /* the current one, or the last one at the end */
	/* private */
	struct pn_cursor cursor;
	bool has_cursor, begun, ended;
	uint64_t from; /* of the next run */
	double start;
};

void pn_runs_open(struct pn_runs *runs, const struct pn_archive *archive);
bool pn_runs_next(struct pn_runs *runs);
void pn_runs_close(struct pn_runs *runs);

/*
 * The seq of the first message of a run whose `latest` is at least `when`, or above it if `above`
 * is set; the end of the run if there is none.
 */
uint64_t pn_time_find(const struct pn_archive *archive, const struct pn_run *run, double when,
		      bool above);

/* Whether a message that is earlier than state.latest begins a run. */
bool pn_run_is_due(const struct pn_archive *archive);

/* Begins a run with the message, which is about to be appended. */
void pn_run_begin(struct pn_archive *archive, uint64_t seq, double when);

/* ---- Messages that are out of order: the records o ---- */

/* The messages of a list, which is that of a peer or of all (PN_PEER_ALL), within bounds. */
struct pn_area {
	uint32_t list;
	struct pn_range range;
	double start, end; /* inclusive */
};

/* All messages of the list. */
struct pn_area pn_area_all(uint32_t list);

enum { PN_MATCHES = 64 };

/* Matches in the order in which they were looked for. */
struct pn_matches {
	size_t count;
	uint64_t seqs[2 * PN_MATCHES];
};

/* Adds a message that is out of order to its lists. */
void pn_unordered_add(struct pn_archive *archive, uint64_t seq, double when, struct pn_peers peers);

/* Removes messages from a list, in order of seq. */
void pn_unordered_remove(struct pn_archive *archive, uint32_t list, const uint64_t *seqs,
			 size_t count);

/* Whether two messages are in one record of a list, with which both are removed. */
bool pn_unordered_same_block(uint64_t a, uint64_t b);

enum {
	PN_UNORDERED_PUTS = 4 * PN_PEER_LISTS, /* of adding a message, or removing it */
	/* Pages that the records of neighbours in a list change. Their bytes in the log count here,
	 * too. Test: "room: deletions of messages out of order". */
	PN_UNORDERED_LEAVES = 2,
};

/* The number of messages in the area. */
uint64_t pn_unordered_count(const struct pn_archive *archive, const struct pn_area *area);

/* The number of messages of a list within a page and the ranges, which ascend and do not overlap.
 */
uint64_t pn_unordered_count_within(const struct pn_archive *archive, uint32_t list,
				   struct pn_range page, const struct pn_range *ranges,
				   size_t count);

/* Finds the first of them, or the last ones with `reverse`: at least `want`, which is at most
 * PN_MATCHES, unless there are fewer. */
void pn_unordered_find(const struct pn_archive *archive, const struct pn_area *area, bool reverse,
		       size_t want, struct pn_matches *matches);

/* Calls `span` with the least and the greatest time of groups of neighbours that are all messages
 * together. If it returns true, also for the groups within this one. */
void pn_unordered_spans(const struct pn_archive *archive,
			bool (*span)(void *context, double least, double greatest), void *context);

/* Whether a list has the message. Sets *when to the time that it has there. */
bool pn_unordered_get(const struct pn_archive *archive, uint32_t list, uint64_t seq, double *when);

/* Whether the record o at the cursor agrees with those above and below it. Sets *leaf to the
 * positions of single messages, or to none. */
bool pn_unordered_check(const struct pn_archive *archive, const struct pn_cursor *cursor,
			struct pn_area *leaf);

/* ---- Messages that are out of order in an archive of format 1: the records e ---- */

/* The number of those in the area. Reads each of them. */
uint64_t pn_listed_count(const struct pn_archive *archive, const struct pn_area *area);

/* The first or last of them, 0 if there is none. */
uint64_t pn_listed_find(const struct pn_archive *archive, const struct pn_area *area, bool reverse);

/* As pn_unordered_spans(). */
void pn_listed_spans(const struct pn_archive *archive,
		     bool (*span)(void *context, double least, double greatest), void *context);

/* Removes the record e of a message. Returns whether it had one. */
bool pn_listed_remove(struct pn_archive *archive, uint64_t seq);

/* Converts some records e to records o. */
void pn_listed_convert(struct pn_archive *archive);

/* ---- Erasing: removes the records of messages ---- */

enum {
	PN_BATCH_MAX = 256,
	/* Scattered messages, which are not neighbours, that fit in a batch. */
	PN_BATCH_SCATTERED = 48,
	PN_BATCH_LISTS = PN_BATCH_SCATTERED + 1,
	/* Bytes that an operation claims for a batch: less than SET_ASIDE of room.c. Test: "sync:
	 * on a full disk scattered messages are deleted". */
	PN_BATCH_CLAIM = PN_BATCH_SCATTERED * 12 * 1024,
};

/* Messages whose records are removed together. All zero, but the first two, at first. */
struct pn_batch {
	unsigned most;  /* messages, up to PN_BATCH_MAX */
	bool scattered; /* records of other messages may be between theirs */
	unsigned count;
	size_t bytes;    /* of the claim, without leaves */
	unsigned leaves; /* of their own, which other records may change */
	unsigned lists_count;
	struct pn_batch_list {
		uint32_t peer;
		bool unordered; /* has messages out of order, and the last of them: */
		uint64_t seq;
	} lists[PN_BATCH_LISTS];
	struct pn_batch_message {
		uint64_t seq;
		struct pn_peers peers;
		size_t saved; /* by compression */
		bool keyed;
		bool out_of_order;
	} messages[PN_BATCH_MAX];
};

/* Adds a message. Returns false if there is no room for it. Seqs are added in ascending order, or
 * in descending order. */
bool pn_batch_add(struct pn_batch *batch, const struct pn_archive *archive, uint64_t seq,
		  const struct pn_stored *stored);

/* Removes the records, and updates the bytes of the state, which the caller writes. */
void pn_batch_remove(struct pn_batch *batch, struct pn_archive *archive);

/* The same for one message. */
void pn_message_remove(struct pn_archive *archive, uint64_t seq);

/* The bytes of the claim that were needed. */
size_t pn_batch_used(const struct pn_batch *batch, const struct pn_archive *archive);

/* ---- Queries ---- */

/* The number of messages with a seq in the range, of one peer or of all (PN_PEER_ALL). Includes
 * deleted messages that are not erased yet, as does pn_time_find(). */
uint64_t pn_range_count(const struct pn_archive *archive, uint32_t peer, struct pn_range range);

/*
 * A query in terms of an archive. Messages within `ranges` match in time and others do not, except
 * for messages that are out of order.
 */
struct pn_plan {
	uint32_t peer;           /* PN_PEER_ALL: any */
	struct pn_range *ranges; /* selected by start and end. Owned, ascending */
	size_t ranges_count;
	struct pn_range page; /* selected by before and after */
	double start, end;    /* -INFINITY, INFINITY: no bound */
	bool out_of_order;    /* there are messages out of order, and a bound in time */
	bool listed;          /* some of them have records e */
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

/* Makes the plan whose matches are the messages of a mark. Free it in all cases. */
void pn_plan_mark(const struct pn_archive *archive, const struct pn_mark *mark,
		  struct pn_plan *plan);

/* Whether the message matches in time and peer, and is not deleted. */
bool pn_plan_matches(const struct pn_archive *archive, const struct pn_plan *plan, uint64_t seq,
		     const struct pn_stored *stored);

/* The same for a message that is known to have the plan's peer. */
bool pn_plan_admits(const struct pn_archive *archive, const struct pn_plan *plan, uint64_t seq,
		    const struct pn_stored *stored);

/* Whether the range has any message of the peer that is in order, deleted or not. `index`: that of
 * the peer, which is moved; NULL: it is opened, or the plan has no peer. */
bool pn_plan_any_in_order(const struct pn_archive *archive, const struct pn_plan *plan,
			  struct pn_range range, struct pn_index *index);

/* The number of matches within the page. */
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
	/* private */
	struct pn_cursor cursor;   /* over messages, or: */
	struct pn_index index;     /* of a peer */
	enum pn_kind kind;         /* of the records that are walked over; 0: closed */
	bool ahead;                /* the next matches of both kinds are known: */
	uint64_t in_order;         /* its seq, 0: none */
	struct pn_stored next;     /* that message */
	uint64_t unordered;        /* likewise */
	struct pn_matches matches; /* more of them */
	size_t taken;              /* of these */
	size_t want;               /* matches to be found next time */
};

/* Moves to the next match; false at the end. Close the walk in all cases. */
bool pn_walk_next(struct pn_walk *walk);
void pn_walk_close(struct pn_walk *walk);

/* ---- Marks: the record y, see pn/archive.h ---- */

/* Reads the marks, for an archive of which only the number is known. */
void pn_marks_read(struct pn_archive *archive);

void pn_marks_write(const struct pn_archive *archive);

/* Whether the message is deleted. */
bool pn_marks_cover(const struct pn_archive *archive, uint64_t seq, const struct pn_stored *stored);

/*
 * A mark of which every message of the peer with a seq in its range is deleted, and `seq` is in
 * it: a walk over the peer skips the range. NULL if there is none.
 */
const struct pn_range *pn_marks_skip(const struct pn_archive *archive, uint32_t peer, uint64_t seq);

/* Sets *both to the messages of the plan that the mark deletes. Returns false if there are none. */
bool pn_mark_intersect(const struct pn_archive *archive, const struct pn_mark *mark,
		       const struct pn_plan *plan, struct pn_mark *both);

/* Whether the mark has a bound in time. */
bool pn_mark_is_timed(const struct pn_mark *mark);

/* Marks the matches of a plan without ids. Returns false, and changes nothing, if there is no room
 * for it. The caller updates the state and writes both. */
bool pn_marks_add(struct pn_archive *archive, const struct pn_plan *plan);

/* Excludes a message, which is about to change, from the marks that would cover it. Returns false
 * if there is no room for that. */
bool pn_marks_spare(struct pn_archive *archive, uint64_t seq, const struct pn_stored *stored);

#endif
