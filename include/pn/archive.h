/*
 * Archives: the messages of one user (or room, or pubsub node) in the order in which they were
 * appended.
 *
 * Keys and values, in addition to those of pn/keys.h; every value begins with a version byte:
 *
 *      key: r archive and               value
 *      e seq                            when f64: a message that is out of order, in format 1
 *      h peer level u8 block u64        deleted positions
 *      k tag key                        seq u64
 *      m seq                            message
 *      n                                state: next seq u64, count u64, bytes u64, latest when f64,
 *                                       next peer u32, records e u64; and, unless all are 0:
 *                                       out of order u64, runs u32, streak u64,
 *                                       marked u64
 *      o peer level u8 block u64        messages that are out of order
 *      p digest(peer's name)            peer u32; only if more than 31 peers were created
 *      q peer                           a peer: name, and its newest messages
 *      t seq                            a run begins: end of the run before u64, its latest f64,
 *                                       start f64
 *      w peer seq                       older messages of a peer, from `seq` on
 *
 * The state counts the bytes of the messages' records as if their stanzas were not compressed: that
 * does not change if a copy compresses them.
 *
 * All records of an archive are neighbours, and its state is next to its last message; a peer and
 * what is new in its index are one record: appending a message changes few pages.
 *
 *      message   u8 flags  u32 epoch  u32 peer  f64 when  [f64 latest]  [bytes key]  stanza
 *                flags: 1 out of order, `latest` is present; 2 `key` is present
 *      stanza    packed (pn/pack.h), or compressed (pn/compress.h)
 *      q         u8 0xFF  varint peer of the bare JID (0: the name is bare)
 *                varint length of the name  name  [varint ordinal  varint seq  chunk]
 *                in format 1: peer of the bare JID u32, name
 *      w         u32 ordinal  chunk; in format 1 without a chunk
 *      chunk     up to 31 more messages of the peer: varint, the difference to the seq before. The
 *                ordinals of a chunk are successive; that of the first one precedes it.
 *      archive   the collection's number, u32       seq  40 bits, from 1, never used twice
 *      peer      u32, from 1: the other side of a message; in h and o, 0 stands for all messages
 *
 * Time. Results are in the order of appending, so a query by time has to find the positions whose
 * times match. Most are in runs (here two messages out of order in a row are enough for a new one):
 *
 *      seq    1    2    3    4    5    6    7    8    9   10   11   12   13   14   15   16
 *      when  10   20   30   40   90   91   50   55   60   70   80   92   85   93   94   95
 *            └─ run ──────────┘  └─run─┘  └─ o ─┘   └─ run ────────── o ──────────────────
 *
 * A run is a part of the archive whose times do not decrease, apart from messages that are out of
 * order. `latest` of a message is the greatest `when` of those of its run that are in order, up to
 * it; so a time is found by bisection in each run. A message with an earlier time than the latest
 * is out of order, until a number of them in a row (`streak`) shows that the clock was set back:
 * then the next one begins a run. What the run before has beyond that time becomes a run of its
 * own, so few runs have messages of the same time. A message whose time was changed later is out of
 * order, too. Each run makes queries a little slower: the more there are, the longer a streak has
 * to be.
 *
 * Messages that are out of order are in lists, one of all and one of each peer. A list is a tree
 * over the positions: a block of level 0 has up to 64 messages, one of level n up to 64 blocks of
 * level n-1; there are 4 levels.
 *
 *      block     for each that is present, in order of u8 index, level 0: f64 when
 *                other levels: u32 messages, f64 least when, f64 greatest when
 *
 * A query passes over blocks that it has no match in, and counts those that match as a whole
 * without reading them. That fails for messages whose times are in no order whatsoever: then each
 * block of level 0 is read. In an archive of format 1 such messages have records e instead, each of
 * which a query reads; each message that is appended converts some of them.
 *
 * Counts. A message has a position among all messages, its seq, and one among the messages of each
 * of its peers, its ordinal. The number of messages between two positions is their difference minus
 * the deleted positions between them. These are counted in blocks: level 0 is a bitmap of 256
 * positions (32 bytes), level n the number of deleted positions in 256 blocks of level n-1 (u64).
 * Positions before the first message are not kept.
 *
 * Deletions. A few messages are removed at once. More are marked: the archive's record y, whose key
 * is in pn/keys.h, is a list of marks. No message belongs to two of them.
 *
 *      mark      peer u32, its bare form u32, from u64, to u64, start f64, end f64
 *
 * A message belongs to a mark if it has its peer or bare form, a seq from `from` and below `to`,
 * and a time from `start` to `end`. All reads skip messages of marks, and counts subtract those
 * that a query and a mark have in common. The state has their number in `marked`, and not in its
 * count. Their records, also those in lists of messages out of order, stay until pn_store_erase()
 * removes them, a batch at a time.
 *
 * Ids. A message that was appended without a key has an opaque id: archive, seq, epoch and 24 zero
 * bits as a checksum, encrypted with the database's secret (AES-128, one block) and written as 22
 * characters of base64url (RFC 4648, section 5). It needs no index, reveals nothing and cannot be
 * forged. The epoch is random for each opening of a database, and changes when a turn is undone:
 * then a seq is used again, but with another id.
 *
 * Errors of every function, unless it says otherwise: those of pn/db.h.
 */
#ifndef PN_ARCHIVE_H
#define PN_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pn/store.h>

enum { PN_ARCHIVE_ID_LEN = 22 }; /* characters of an opaque id: 16 bytes in base64url */

/* A message to append, or one that was found. All strings are borrowed. */
struct pn_message {
	struct pn_str id;     /* its key, any bytes, or its opaque id; see pn_archive_append() */
	struct pn_str stanza; /* packed, pn/pack.h */
	struct pn_str peer;   /* any bytes; the bare form of "a/b" is "a". bytes = NULL: none */
	double when;          /* seconds since 1970, finite */
};

/*
 * Appends a message. If message->id.bytes is NULL, the message gets an opaque id, which is written
 * to `id`. Otherwise message->id becomes its key and `id` is left alone; a message that has the key
 * already is deleted. quota: the most messages that the archive may hold, 0: no limit.
 * Errors also: PN_EQUOTA, PN_EINVAL (when is not finite).
 */
int pn_archive_append(const struct pn_store *store, struct pn_user user,
		      const struct pn_message *message, uint64_t quota, char id[PN_ARCHIVE_ID_LEN]);

/* New contents of a message. All strings are borrowed. */
struct pn_archive_change {
	struct pn_str stanza;      /* packed */
	const double *when;        /* seconds since 1970, finite; NULL: unchanged */
	const struct pn_str *peer; /* NULL: unchanged */
};

/*
 * Changes the message `id`, which keeps its id and its position.
 * Errors also: PN_ENOTFOUND, PN_EINVAL (when is not finite), PN_EBUSY (with its new peer and time
 * it would belong to a mark, and there are too many marks to exclude it).
 */
int pn_archive_set(const struct pn_store *store, struct pn_user user, struct pn_str id,
		   const struct pn_archive_change *change);

/* Selects the messages that match all conditions. All zero selects every message. */
struct pn_archive_query {
	bool has_start, has_end;
	double start, end;    /* seconds since 1970, inclusive */
	struct pn_str peer;   /* bytes = NULL: any. A bare JID selects its resources too */
	struct pn_str before; /* ids, exclusive; bytes = NULL: no bound */
	struct pn_str after;
	struct pn_str key; /* the id of one message, which may not exist; bytes = NULL: any */
	const struct pn_str *ids; /* NULL: any */
	size_t ids_count;
	bool ids_optional; /* ignore ids that do not exist; otherwise they are PN_ENOTFOUND */
	bool reverse;      /* newest first */
	bool has_keep;     /* pn_archive_delete() only: spare the `keep` newest matches, or the */
	uint64_t keep;     /* oldest ones if `reverse` is set */
};

/*
 * A cursor returns the matching messages that exist when it reaches them, up to the last message at
 * the time it was made. It does not keep a transaction open: it copies a few dozen messages at a
 * time, and the archive may be written meanwhile.
 */
struct pn_archive_cursor;

/*
 * Sets *cursor, which the caller frees. limit: the most messages that it returns, UINT64_MAX: no
 * limit. total: NULL, or set to the number of matches, regardless of before, after and limit. The
 * store's database stays open, and `store` is borrowed, until this returns.
 * Errors also: PN_ENOTFOUND (unknown id in before, after or ids).
 */
int pn_archive_find(struct pn_archive_cursor **cursor, const struct pn_store *store,
		    struct pn_user user, const struct pn_archive_query *query, uint64_t limit,
		    uint64_t *total);

/* Returns 1 and sets *message, whose strings are borrowed until the next call; or 0 at the end.
 * The database must still be open. */
int pn_archive_next(struct pn_archive_cursor *cursor, struct pn_message *message);

/* NULL is allowed. */
void pn_archive_cursor_free(struct pn_archive_cursor *cursor);

/*
 * Deletes the matching messages, and adds their number to *count. Returns 1 if matches may be left:
 * call it again; 0 if none are. A few are removed, at most `limit`; any larger number is marked as
 * deleted, and all messages of an archive are dropped with it: that takes no longer than deleting
 * one, and pn_store_erase() erases the records. Listed ids, and matches when an archive has too
 * many marks, are always removed.
 * Errors also: PN_ENOTFOUND (unknown id in before, after or ids).
 */
int pn_archive_delete(const struct pn_store *store, struct pn_user user,
		      const struct pn_archive_query *query, uint64_t limit, uint64_t *count);

/* The progress of pn_archive_delete_all(); all zero at first. */
struct pn_archive_position {
	unsigned char user[16]; /* digest of the last user that was handled */
	bool begun;
	uint64_t damaged; /* archives that were skipped, because a record in them is damaged */
};

/*
 * Deletes the matching messages of all users, but not of the host itself. Continues after
 * *position; stops after about `limit` messages and archives. Adds to *count. Returns 1 while there
 * is more to do, then 0. Each archive is an operation of its own: after an error the deletions from
 * earlier archives stand and are counted. A damaged archive is left unchanged.
 */
int pn_archive_delete_all(const struct pn_store *store, const struct pn_archive_query *query,
			  struct pn_archive_position *position, uint64_t limit, uint64_t *count);

/*
 * Appends the days on which the archive has messages, each as the f64 of its midnight UTC in
 * seconds since 1970. The days are not sorted and may repeat.
 */
int pn_archive_dates(const struct pn_store *store, struct pn_user user, struct pn_buf *days);

/* ---- Compression ---- */

/*
 * For pn_copy_new(): pn_archive_compress() is the change, and its context this struct, all zero at
 * first. Compresses the messages of archives that are not compressed. Damaged ones are copied as
 * they are.
 */
struct pn_archive_compression {
	uint64_t messages; /* that were compressed */
	/* private */
	struct pn_compressor compressor;
	struct pn_buf value;
};

int pn_archive_compress(void *context, struct pn_str key, struct pn_str *value);
void pn_archive_compression_free(struct pn_archive_compression *compression);

/* ---- For store/ ---- */

/*
 * Erases some of the deleted messages of an archive that has marks, at most `limit`, and sets
 * *erased to their number. Returns 1 if there may be more.
 */
int pn_archive_erase(struct pn_db *db, uint32_t archive, unsigned limit, unsigned *erased);

/* Sets the number of messages of an archive, and the bytes of their records and of those that are
 * not erased yet, before compression. */
void pn_archive_size(struct pn_txn *txn, uint32_t archive, uint64_t *messages, uint64_t *bytes);

/*
 * Checks the records of archives against each other, while the caller walks all records in order of
 * their keys. Calls `problem` with a sentence for each record that is wrong.
 */
struct pn_archive_check {
	struct pn_txn *txn;
	void (*problem)(void *context, const char *text);
	void *context;
	/* private: sums over the messages of the archive that the walk is in */
	uint32_t archive; /* 0: none */
	uint64_t messages;
	uint64_t bytes;
	uint64_t out_of_order;
	uint64_t seq; /* of the last message */
	double latest;
};

/* Checks the record at the cursor, which belongs to the archive. */
void pn_archive_check_record(struct pn_archive_check *check, uint32_t archive, enum pn_kind kind,
			     const struct pn_cursor *cursor);

/* Checks the record y of an archive. */
void pn_archive_check_marks(struct pn_archive_check *check, uint32_t archive);

/* To be called for each record of the walk before it is checked, and with NULL at the end: checks
 * the sums of an archive once the walk has left its messages. */
void pn_archive_check_passed(struct pn_archive_check *check, const struct pn_cursor *cursor);

#endif
