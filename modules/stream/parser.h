/* What the files of this folder share. */
#ifndef PN_STREAM_PARSER_H
#define PN_STREAM_PARSER_H

#include <expat.h>

#include <pn/buf.h>
#include <pn/stream.h>

#include "scan.h"

/* ---- log.c: the open stanza, in document order ---- */

#define PN_LOG_NONE UINT32_MAX

/*
 * Invariants: `open` is the offset of the START of the innermost open element, or PN_LOG_NONE;
 * `text` is the offset of the TEXT at the end of the log, or PN_LOG_NONE if another item is there.
 */
struct pn_log {
	struct pn_buf items;
	uint32_t open;
	uint32_t text;
	uint32_t ns_at; /* offset of the namespace that was written last */
	uint32_t ns_len;
	uint32_t level;  /* of open elements */
	uint32_t levels; /* the largest level */
};

void pn_log_clear(struct pn_log *log, size_t keep);
/* Appends a START that is a child of the open element, but not open itself. Returns its offset. */
uint32_t pn_log_start(struct pn_log *log, struct pn_str name, struct pn_str ns, bool has_xmlns);
void pn_log_attr(struct pn_log *log, uint32_t start, struct pn_str prefix, struct pn_str name,
		 struct pn_str value); /* of the START at that offset, which is the last */
void pn_log_text(struct pn_log *log, struct pn_str text);
void pn_log_enter(struct pn_log *log, uint32_t start); /* makes it the open element */
void pn_log_leave(struct pn_log *log);                 /* appends its END */
bool pn_log_next(const struct pn_log *log, size_t *at, struct pn_stream_item *item);

/* ---- The objects of pn/stream.h ---- */

struct pn_stream_pool {
	struct pn_parser
		*newest; /* the idle parsers that have an expat parser, by their last use */
	struct pn_parser *oldest;
	size_t idle;
	size_t limit;
	struct pn_buf spare; /* for the log of the next stream that is fed */
};

struct pn_stream {
	struct pn_stream_pool *pool;
	const struct pn_stream_kind *kind;
	struct pn_log log;
	struct pn_buf lang;   /* empty: "en" */
	int64_t size;         /* of the open stanza: bytes */
	int64_t progress;     /* bytes that no event has reported */
	uint32_t foreign;     /* open elements from the first that carries an xmlns */
	bool expects_opening; /* the next element outside a stanza opens the stream */
	bool begins;          /* a stanza begins after the event that is being handled */
	bool limited;         /* max_elements applies to the next stanza */
	bool counts;          /* `quota` applies to the open stanza */
	double max_elements;
	double quota;
};

struct pn_parser {
	struct pn_stream *stream;
	XML_Parser expat;        /* NULL before the first byte, and while the stream rests */
	struct pn_parser *older; /* in the pool */
	struct pn_parser *newer;
	struct pn_scan scan;
	struct pn_str rest; /* bytes of this call that expat has not got */
	size_t scanned;     /* of rest */
	struct pn_buf held; /* an incomplete token */
	char *opening;      /* the start tag of the stream, or NULL; owned */
	size_t opening_len;
	uint32_t depth; /* of open elements in the document, the stream being 1 */
	struct pn_stream_event events[PN_STREAM_EVENTS];
	size_t event_count;
	char last;      /* the last byte that expat has got */
	bool pooled;    /* in the pool */
	bool priming;   /* expat reads the start tag again: no events */
	bool begun;     /* expat has got a byte */
	bool suspended; /* expat has to be resumed */
	bool stopping;  /* an event was recorded since expat was called */
	bool finishing; /* the document ends with these bytes */
	bool failed;    /* expat is in an error */
	bool no_memory; /* an allocation of ours failed */
	bool swollen;   /* expat has taken more memory than an idle stream should hold */
};

/* ---- stream.c ---- */

void pn_stream_begin(struct pn_stream *stream); /* a stanza, with the limits of now */

/* ---- pool.c ---- */

/* Adds a parser whose stream is between two stanzas, and frees the expat parser that is one too
 * many. */
void pn_pool_add(struct pn_parser *parser);
void pn_pool_remove(struct pn_parser *parser); /* may be called if it is not in the pool */

/* A stream has a buffer for its log only while it is fed, or while a stanza is open. */
void pn_pool_take_buffer(struct pn_stream *stream);
void pn_pool_give_buffer(struct pn_stream *stream);

/* ---- expat.c: expat's callbacks become items of the log, and events ---- */

/* Makes an expat parser, and reads the start tag of the stream if the parser had one before.
 * Returns 0 or PN_ENOMEM. */
int pn_expat_make(struct pn_parser *parser);
void pn_expat_free(struct pn_parser *parser);

#endif
