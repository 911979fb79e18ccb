/* What the files about archives share: the records of an archive, and the segments of a query. */
#ifndef PN_STORE_ARCHIVE_H
#define PN_STORE_ARCHIVE_H

#include <pn/archive.h>

#include "store.h"

/* No seq is as high: a key has 40 bits for it. */
#define PN_SEQ_END (UINT64_C(1) << 40)

/* Positions are counted for all messages, or for those of one correspondent. */
enum { PN_WITH_ALL = 0 };

/* The record n. */
struct pn_state {
	uint64_t next;       /* seq of the next message */
	uint64_t count;      /* messages */
	uint64_t bytes;      /* of the messages' records */
	double latest;       /* the greatest `when` that was appended; -INFINITY at first */
	uint32_t next_with;  /* number of the next correspondent */
	uint64_t exceptions; /* messages whose `when` is not their `latest` */
};

/* Returns 1, or 0 if there is no archive. */
int pn_state_read(struct pn_store *store, uint32_t archive, struct pn_state *state);
int pn_state_write(struct pn_store *store, uint32_t archive, const struct pn_state *state);

/* The record m, borrowed. */
struct pn_stored {
	uint32_t epoch;
	uint32_t with;
	double when;
	double latest;
	bool exception;
	struct pn_str key; /* bytes = NULL: it has an opaque id */
	struct pn_str stanza;
};

int pn_stored_read(struct pn_wire value, struct pn_stored *stored);
int pn_stored_write(struct pn_store *store, uint32_t archive, uint64_t seq,
		    const struct pn_stored *stored, uint64_t *bytes);

/* Finds the message with that id: 1 and *seq, or 0. */
int pn_message_find(struct pn_store *store, uint32_t archive, struct pn_str id, uint64_t *seq);

/* The key of kind k for a message's own key. */
int pn_name_key(struct pn_store *store, uint32_t archive, struct pn_str name, struct pn_key *key);

/* Finds a correspondent: 1 and *with, or 0. */
int pn_with_find(struct pn_store *store, uint32_t archive, struct pn_str name, uint32_t *with);

/* The correspondent's name, borrowed, and the number of its bare form (0: it is bare). */
int pn_with_name(struct pn_store *store, uint32_t archive, uint32_t with, struct pn_str *name,
		 uint32_t *bare);

/* A correspondent, and its bare form, 0 if it is bare itself. */
struct pn_withs {
	uint32_t with;
	uint32_t bare;
};

/* Finds a correspondent, or makes it, and its bare form. */
int pn_with_make(struct pn_store *store, uint32_t archive, struct pn_state *state,
		 struct pn_str name, struct pn_withs *withs);

/*
 * Puts a message in the index of a correspondent, or takes it out. One that is not the newest makes
 * all be numbered anew.
 */
int pn_with_add(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t seq);
int pn_with_remove(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t seq);

/* Deletes one message, and keeps `state` up to date, which the caller writes. */
int pn_message_delete(struct pn_store *store, uint32_t archive, uint64_t seq,
		      struct pn_state *state);

/* ---- Deleted positions, see h in pn/archive.h ---- */

int pn_holes_add(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t position);
int pn_holes_remove(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t position);

/* Counts deleted positions from `from` up to, not including, `to`. */
int pn_holes_count(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t from,
		   uint64_t to, uint64_t *count);

/* Forgets those from `from` on. */
int pn_holes_cut(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t from);

/* Forgets those below `first`, as far as whole blocks go. */
int pn_holes_trim(struct pn_store *store, uint32_t archive, uint32_t with, uint64_t first);

/* ---- Ranges ---- */

/* Messages from seq `from` up to, not including, `to`. */
struct pn_range {
	uint64_t from;
	uint64_t to;
};

/* The number of messages in the range, of one correspondent or of all. */
int pn_range_count(struct pn_store *store, uint32_t archive, uint32_t with, struct pn_range range,
		   uint64_t *count);

/*
 * The place of a time: the seq of the first message whose `latest` is at least `when` (or, with
 * `above`, greater), state->next if there is none.
 */
int pn_time_find(struct pn_store *store, uint32_t archive, const struct pn_state *state,
		 double when, bool above, uint64_t *seq);

/*
 * A query in terms of an archive. Messages in `main` match by position, as far as time goes, except
 * for exceptions; outside of it only exceptions can match.
 */
struct pn_plan {
	uint32_t archive;
	uint32_t with;        /* PN_WITH_ALL: any */
	struct pn_range main; /* what start and end select */
	struct pn_range page; /* what before and after select */
	double start, end;    /* -INFINITY, INFINITY where there is no bound */
	bool exceptions;      /* exceptions have to be looked at */
	bool reverse;
	uint64_t *ids; /* owned; NULL: any. Ascending, each once */
	size_t ids_count;
};

/*
 * Makes a plan. Returns 1; 0 if nothing can match; or an error, PN_ENOTFOUND for an unknown id.
 * Free it in all cases.
 */
int pn_plan_make(struct pn_store *store, uint32_t archive, const struct pn_state *state,
		 const struct pn_archive_query *query, struct pn_plan *plan);
void pn_plan_free(struct pn_plan *plan);

/* The number of messages that match, page left out of account. */
int pn_plan_count(struct pn_store *store, const struct pn_plan *plan, uint64_t *count);

/*
 * Walks what matches, within the page, in the plan's direction: sets *seq to the next after *seq
 * (0: the first) and *stored to its record, borrowed. Returns 1, or 0 at the end.
 */
int pn_plan_next(struct pn_store *store, const struct pn_plan *plan, struct pn_cursor *cursor,
		 uint64_t *seq, struct pn_stored *stored);

#endif
