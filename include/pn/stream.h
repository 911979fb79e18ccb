/*
 * The parser of XMPP streams (RFC 6120): bytes in, events out. It has the states, limits and errors
 * of Prosody's util.xmppstream, on expat.
 *
 *      bytes -> scan -> expat -> log of the open stanza -> event: the caller builds it, calls back,
 *                                                          and continues
 *
 * expat is suspended at each event, so that the caller runs no code of its own inside expat.
 *
 * expat reads a token (a tag, a reference) from its beginning whenever bytes arrive, until the
 * token is complete: a tag that arrives byte by byte takes quadratic time. expat 2.6 therefore
 * waits for more bytes, and so may hold back a complete stanza. Here the scan holds the bytes of an
 * incomplete token back, and expat gets whole tokens: each byte is parsed once, and none waits.
 *
 * Four objects:
 *
 *      pool     of a process: the expat parsers of idle streams
 *      kind     what streams of one kind have in common: namespaces and names
 *      stream   of a session: survives the restarts of its stream
 *      parser   of a stream: one document; a restart makes the next
 */
#ifndef PN_STREAM_H
#define PN_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pn/str.h>

/*
 * Limits of a stanza, far above those that size limits of streams allow.
 *
 * DEPTH   of nested elements, the stanza being 1: low enough for the Lua stack
 * FACTOR  bytes of memory for each byte of XML, in addition to SPARE: an element takes up to 50,
 * but prefixes of one long namespace, used in turns, let a few bytes of XML take any memory
 *
 * Tests: "stream: a stanza that is nested too deeply ends the stream", "... long namespaces ...".
 */
enum {
	PN_STREAM_MAX_DEPTH = 400000,
	PN_STREAM_MAX_FACTOR = 64,
	PN_STREAM_SPARE = 1024 * 1024,
};

/* ---- Pool ---- */

/*
 * An expat parser takes several kB. Between two stanzas of a stream it can be freed, and made again
 * from the stream's start tag. The pool keeps those of the streams that were used last.
 */
struct pn_stream_pool;

/*
 * Keeps up to `idle` parsers of streams that are between two stanzas. Sets *out, which the caller
 * frees after all streams and parsers. Returns 0 or PN_ENOMEM.
 */
int pn_stream_pool_new(struct pn_stream_pool **out, size_t idle);
void pn_stream_pool_free(struct pn_stream_pool *pool); /* NULL is allowed */

/* The number of expat parsers that the pool keeps for streams between two stanzas. */
size_t pn_stream_pool_idle(const struct pn_stream_pool *pool);

/* ---- Kind ---- */

/* Names are as expat reports them: "namespace\1local", or "local" without a namespace. */
struct pn_stream_kind {
	struct pn_str default_ns; /* whose elements have no xmlns; bytes NULL: there is none */
	struct pn_str stream_tag; /* of the element that opens the stream */
	struct pn_str error_tag;  /* of a stanza that is a stream error */
	bool reports_opening;     /* whether PN_STREAM_OPENED is wanted */
};

/* ---- Stream ---- */

struct pn_stream;

/* Sets *out, which the caller frees after its parsers. Pool and kind are borrowed for as long.
 * Returns 0 or PN_ENOMEM. */
int pn_stream_new(struct pn_stream **out, struct pn_stream_pool *pool,
		  const struct pn_stream_kind *kind);
void pn_stream_free(struct pn_stream *stream); /* NULL is allowed */

/* Forgets the stanza that is incomplete; not the one that begins with PN_STREAM_NO_STANZA while
 * that event is handled. The language of the stream stays. */
void pn_stream_reset(struct pn_stream *stream);

/* Whether the next element outside a stanza opens the stream. Set it before each call of
 * pn_parser_feed(), pn_parser_finish() and pn_parser_continue(). */
void pn_stream_expect_opening(struct pn_stream *stream, bool expected);

/* From the next stanza on, the child that exceeds this number ends the stream. 0 or less: the
 * first child does. */
void pn_stream_limit_elements(struct pn_stream *stream, double max);
void pn_stream_unlimit_elements(struct pn_stream *stream);
/* Sets *max and returns true if there is a limit. */
bool pn_stream_max_elements(const struct pn_stream *stream, double *max);

/* The language of stanzas without xml:lang: that of the stream, or "en". Borrowed until the next
 * call of a function of the stream or its parsers. */
struct pn_str pn_stream_lang(const struct pn_stream *stream);

/* Bytes that were parsed since the last call, and are not in an event or in the open stanza. */
int64_t pn_stream_take_progress(struct pn_stream *stream);

/* ---- The element of an event ---- */

enum pn_stream_item_type {
	PN_STREAM_START, /* name; xmlns; numbers of attributes, children and elements */
	PN_STREAM_ATTR,  /* name, value; the namespace of xml has its prefix, "xml:lang" */
	PN_STREAM_TEXT,  /* value; never empty; adjacent text is one item */
	PN_STREAM_END,
};

struct pn_stream_item {
	enum pn_stream_item_type type;
	bool has_xmlns; /* START: the element, or one around it, is not in the default namespace */
	bool inherits_xmlns; /* START: has the parent's namespace */
	struct pn_str name;
	struct pn_str value; /* START: the namespace */
	uint32_t index;      /* START, TEXT: as a child of its parent, from 1; 0: of none */
	uint32_t element;    /* START: the same among elements only */
	uint32_t attrs;      /* START: number of ATTR items */
	uint32_t children;   /* START: number of texts and elements directly in it */
	uint32_t elements;   /* START: number of elements directly in it */
};

/*
 * Reads the items of the last event in document order; *at begins as 0. Returns false at the end.
 * Strings are borrowed until pn_parser_continue() or pn_stream_reset().
 */
bool pn_stream_next(const struct pn_stream *stream, size_t *at, struct pn_stream_item *item);

/* Levels of nested elements of the stanza in the log. */
uint32_t pn_stream_levels(const struct pn_stream *stream);

/* Forgets the items of the last event, once they are read. */
void pn_stream_forget(struct pn_stream *stream);

/* ---- Parser ---- */

enum pn_stream_event_type {
	PN_STREAM_OPENED,     /* items: the start tag of the stream, without an END */
	PN_STREAM_CLOSED,     /* the end tag of the stream, or of an element in its place */
	PN_STREAM_STANZA,     /* items: a stanza */
	PN_STREAM_ERROR,      /* items: a stanza that is a stream error */
	PN_STREAM_NO_STREAM,  /* items: one TEXT, the name of an element in the place of the stream
			       */
	PN_STREAM_NO_STANZA,  /* an element of jabber:client that is not a stanza begins */
	PN_STREAM_RESTRICTED, /* XML that RFC 6120, section 11.1, prohibits; parsing ends */
	PN_STREAM_ELEMENTS,   /* a stanza has too many elements; parsing ends */
	PN_STREAM_EXCESSIVE,  /* a stanza exceeds one of the limits below; parsing ends */
};

struct pn_stream_event {
	enum pn_stream_event_type type;
	int64_t progress; /* bytes that were parsed since the event before */
};

/* A tag can cause two events: <a/> in the place of the stream is NO_STREAM and CLOSED. Only one of
 * them has items. */
enum { PN_STREAM_EVENTS = 2 };

struct pn_parser;

/* Sets *out, which the caller frees. The stream is borrowed. Takes no memory for expat before it is
 * fed. Returns 0 or PN_ENOMEM. */
int pn_parser_new(struct pn_parser **out, struct pn_stream *stream);
void pn_parser_free(struct pn_parser *parser); /* NULL is allowed */

/*
 * Parses bytes, which are borrowed until the result is not 1. Returns 1 if there are events: handle
 * them, and call pn_parser_continue(), which returns the same; 0 if all is parsed; -1 after an
 * error, see pn_parser_error(). After an error the parser remains in it.
 */
int pn_parser_feed(struct pn_parser *parser, struct pn_str bytes);
int pn_parser_continue(struct pn_parser *parser);

/* Ends the document. Results as above. */
int pn_parser_finish(struct pn_parser *parser);

/* Number of events, at most PN_STREAM_EVENTS, and each of them. */
size_t pn_parser_events(const struct pn_parser *parser);
struct pn_stream_event pn_parser_event(const struct pn_parser *parser, size_t index);

/* expat's text of the error. Static storage. */
const char *pn_parser_error(const struct pn_parser *parser);

#endif
