/*
 * Archives: messages of one user (or room, or node) in the order in which they were appended.
 *
 * Keys and values, in addition to those of pn/keys.h; every value begins with a version byte:
 *
 *      key: r archive and               value
 *      e seq                            when f64: out of order
 *      h peer level u8 block u64        deleted positions
 *      k tag key                        seq u64
 *      m seq                            message
 *      n                                state: next seq u64, count u64, bytes u64, latest when f64,
 *                                       next peer u32, out of order u64
 *      p digest(peer's name)            peer u32
 *      q peer                           peer of the bare JID u32 (0: it is bare), bytes
 *      w peer seq                       ordinal u32
 *
 * All that belongs to an archive lies together, and its state beside its last message: appending
 * one changes few pages.
 *
 *      message   u8 flags  u32 epoch  u32 peer  f64 when  [f64 latest]  [bytes key]  packed stanza
 *                flags: 1 it is out of order, has `latest`; 2 it has a key of its own
 *      archive   the collection's number, u32       seq  40 bits, from 1, never used twice
 *      peer      u32, from 1: with whom a message was exchanged; 0 in h stands for all messages
 *
 * Time. `latest` of a message is the greatest `when` of all that were appended up to it. It never
 * falls from one message to the next, so that a time is found by bisection over the messages. A
 * message whose own `when` differs (the clock went back, or it was set later) is out of order;
 * those are few, and queries by time go through them one by one.
 *
 * Counts. Messages have positions: their seq, and with one peer their ordinal. The number
 * between two of them is the difference less the deleted positions, which are counted in blocks:
 * level 0 is a bitmap of 256 positions (32 bytes), level n the number of deleted positions in a
 * block of 256 of level n-1 (u64). Positions before the first message are not kept.
 *
 * Ids. Where the caller gave no key, the id is archive, seq, epoch and a check of 24 bits,
 * enciphered with the database's secret (AES-128, one block) and written in 22 characters of
 * base64url. It needs no index, tells nothing and cannot be forged. The epoch is drawn at random
 * whenever a database is opened, and changed when a turn is undone, so that a seq that is used
 * again gives another id.
 */
#ifndef PN_ARCHIVE_H
#define PN_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pn/store.h>

enum { PN_ARCHIVE_ID_LEN = 22 };

/* A message given to or read from an archive. All strings are borrowed. */
struct pn_message {
	struct pn_str id;     /* reading: the key or the opaque id */
	struct pn_str stanza; /* packed, pn/pack.h */
	struct pn_str with;   /* the peer: any bytes; of "a/b" the bare form is "a" */
	double when;          /* seconds since 1970, finite */
};

/*
 * Appends a message. key.bytes = NULL: *id gets a new opaque id; else the message has that id, and
 * one that has it already is deleted. quota: the most messages that the archive may hold, 0 none.
 * Errors also: PN_EQUOTA, PN_EINVAL (when is not finite).
 */
int pn_archive_append(struct pn_db *db, const struct pn_store *store, struct pn_user user,
		      const struct pn_message *message, struct pn_str key, uint64_t quota,
		      char id[PN_ARCHIVE_ID_LEN]);

/*
 * Replaces the stanza of the message `id`, and its when and with if they are given. Id and position
 * stay. Returns PN_ENOTFOUND if there is none.
 */
int pn_archive_set(struct pn_db *db, const struct pn_store *store, struct pn_user user,
		   struct pn_str id, struct pn_str stanza, const double *when,
		   const struct pn_str *with);

/* What is asked for: the messages that match everything that is given. */
struct pn_archive_query {
	bool has_start, has_end;
	double start, end;    /* inclusive */
	struct pn_str with;   /* bytes = NULL: all */
	struct pn_str before; /* ids, exclusive; bytes = NULL: no bound */
	struct pn_str after;
	struct pn_str key; /* the one message with that id, if there is one; bytes = NULL: all */
	const struct pn_str *ids; /* NULL: all */
	size_t ids_count;
	bool ids_optional; /* ids that do not exist are ignored; otherwise they are PN_ENOTFOUND */
	bool reverse;      /* newest first */
};

/*
 * A cursor gives the messages that match and exist when it reaches them, up to the last one at the
 * time it was made. It keeps no transaction open, copies a few dozen messages at a time, and may be
 * used while the archive is written to.
 */
struct pn_archive_cursor;

/*
 * total: NULL, or where the number of matches is put, before and after left out of account.
 * limit: the most messages that the cursor will give; UINT64_MAX: all. db and store are borrowed
 * until the cursor is freed. Returns PN_ENOTFOUND for an unknown id.
 */
int pn_archive_find(struct pn_archive_cursor **cursor, struct pn_db *db,
		    const struct pn_store *store, struct pn_user user,
		    const struct pn_archive_query *query, uint64_t limit, uint64_t *total);

/* Returns 1 and sets *message, whose strings are borrowed until the next call; or 0 at the end. */
int pn_archive_next(struct pn_archive_cursor *cursor, struct pn_message *message);

void pn_archive_cursor_free(struct pn_archive_cursor *cursor);

/* Of the matching messages, keep this many of the newest, or of the oldest with query.reverse. */
struct pn_archive_truncate {
	bool wanted;
	uint64_t keep;
};

/*
 * Deletes the messages that match, and adds their number to *count. Once `limit` are deleted it
 * stops and returns 1, if there are more; call again then. 0: done. To delete all that an archive
 * has takes no longer than to delete one.
 */
int pn_archive_delete(struct pn_db *db, const struct pn_store *store, struct pn_user user,
		      const struct pn_archive_query *query, struct pn_archive_truncate truncate,
		      uint64_t limit, uint64_t *count);

/*
 * Deletes the messages that match, of all users but the host itself, a slice at a time: goes on
 * after the place in *position (all zero at first), until `limit` messages are deleted or archives
 * looked at. Adds to *count. Returns 1 while there is more. Each archive is a separate operation:
 * after an error, the deletions from earlier archives stand and are counted. A damaged archive is
 * left unchanged, counted in `damaged`, and skipped.
 */
struct pn_archive_position {
	unsigned char user[16];
	bool begun;
	uint64_t damaged;
};
int pn_archive_delete_all(struct pn_db *db, const struct pn_store *store,
			  const struct pn_archive_query *query,
			  struct pn_archive_position *position, uint64_t limit, uint64_t *count);

/*
 * Appends the days (f64, seconds of midnight UTC) on which the archive has messages: in no order,
 * and a day may be there several times.
 */
int pn_archive_dates(struct pn_db *db, const struct pn_store *store, struct pn_user user,
		     struct pn_buf *days);

/* ---- For store/ ---- */

/* Sets the number of messages of an archive, and the bytes of their records. */
void pn_archive_size(struct pn_txn *txn, uint32_t archive, uint64_t *messages, uint64_t *bytes);

/*
 * Compares the records of archives, which a walk over all records passes in order of their keys.
 * `problem` gets a sentence for each that is wrong.
 */
struct pn_archive_check {
	struct pn_txn *txn;
	void (*problem)(void *context, const char *text);
	void *context;
	/* What was counted of the archive whose messages the walk is at */
	uint32_t archive; /* 0: none */
	uint64_t messages;
	uint64_t bytes;
	uint64_t seq; /* of the last */
	double latest;
};

/* The record at the cursor, which belongs to the archive. */
void pn_archive_check_record(struct pn_archive_check *check, uint32_t archive, enum pn_kind kind,
			     const struct pn_cursor *cursor);

/* The record at the cursor is about to be checked; NULL: the walk has ended. */
void pn_archive_check_passed(struct pn_archive_check *check, const struct pn_cursor *cursor);

#endif
