/* A stream whose events are written as text: "open", "stanza" and so on, each with its items. */
#ifndef STREAM_FIXTURE_H
#define STREAM_FIXTURE_H

#include <stdint.h>
#include <string.h>

#include <pn/buf.h>
#include <pn/err.h>
#include <pn/stream.h>

#define STREAMS "http://etherx.jabber.org/streams"
#define HEADER "<stream:stream xmlns='jabber:client' xmlns:stream='" STREAMS "' xml:lang='de'>"

static const struct pn_stream_kind CLIENT = {
	{"jabber:client", 13},
	{STREAMS "\1stream", sizeof(STREAMS "\1stream") - 1},
	{STREAMS "\1error", sizeof(STREAMS "\1error") - 1},
	true,
};

/* Starts zeroed. */
struct fixture {
	struct pn_stream_pool *pool;
	struct pn_stream *stream;
	struct pn_parser *parser;
	struct pn_buf log;  /* the events as text */
	int64_t parsed;     /* bytes that were reported */
	uint32_t stanzas;   /* number of stanzas */
	bool expects;       /* the stream's start tag is next */
	bool memory_failed; /* the log could not grow */
};

static inline int fixture_open(struct fixture *f, size_t idle) {
	int err = pn_stream_pool_new(&f->pool, idle);
	if (err == PN_OK)
		err = pn_stream_new(&f->stream, f->pool, &CLIENT);
	if (err == PN_OK)
		err = pn_parser_new(&f->parser, f->stream);
	f->expects = true;
	return err;
}

static inline void fixture_close(struct fixture *f) {
	pn_parser_free(f->parser);
	pn_stream_free(f->stream);
	pn_stream_pool_free(f->pool);
	pn_buf_free(&f->log);
}

static inline void fixture_put(struct fixture *f, const char *text, size_t len) {
	pn_buf_append(&f->log, text, len);
	f->memory_failed = f->memory_failed || f->log.err != PN_OK;
}

static inline void fixture_word(struct fixture *f, const char *word) {
	fixture_put(f, word, strlen(word));
}

static inline void fixture_str(struct fixture *f, struct pn_str str) {
	fixture_put(f, str.bytes, str.len);
}

/* (name {namespace} key=value "text") */
static inline void fixture_items(struct fixture *f) {
	struct pn_stream_item item;
	for (size_t at = 0; pn_stream_next(f->stream, &at, &item);) {
		switch (item.type) {
		case PN_STREAM_START:
			fixture_word(f, "(");
			fixture_str(f, item.name);
			if (!item.has_xmlns)
				break;
			fixture_word(f, " {");
			fixture_str(f, item.value);
			fixture_word(f, "}");
			break;
		case PN_STREAM_ATTR:
			fixture_word(f, " ");
			fixture_str(f, item.name);
			fixture_word(f, "=");
			fixture_str(f, item.value);
			break;
		case PN_STREAM_TEXT:
			fixture_word(f, "\"");
			fixture_str(f, item.value);
			fixture_word(f, "\"");
			break;
		case PN_STREAM_END:
			fixture_word(f, ")");
			break;
		}
	}
}

static inline void fixture_event(struct fixture *f, struct pn_stream_event event) {
	static const char *const names[] = {
		[PN_STREAM_OPENED] = "open ",           [PN_STREAM_CLOSED] = "close ",
		[PN_STREAM_STANZA] = "stanza ",         [PN_STREAM_ERROR] = "error ",
		[PN_STREAM_NO_STREAM] = "other ",       [PN_STREAM_NO_STANZA] = "unknown ",
		[PN_STREAM_RESTRICTED] = "restricted ", [PN_STREAM_ELEMENTS] = "elements ",
		[PN_STREAM_EXCESSIVE] = "excessive ",
	};
	const bool has_items = event.type <= PN_STREAM_NO_STREAM && event.type != PN_STREAM_CLOSED;
	fixture_word(f, names[event.type]);
	f->parsed += event.progress;
	f->stanzas += event.type == PN_STREAM_STANZA;
	if (event.type == PN_STREAM_OPENED)
		f->expects = false;
	if (!has_items)
		return;
	fixture_items(f);
	pn_stream_forget(f->stream);
}

static inline int fixture_handle(struct fixture *f, int result) {
	while (result == 1) {
		for (size_t i = 0; i < pn_parser_events(f->parser); i++)
			fixture_event(f, pn_parser_event(f->parser, i));
		pn_stream_expect_opening(f->stream, f->expects);
		result = pn_parser_continue(f->parser);
	}
	f->parsed += pn_stream_take_progress(f->stream);
	return result;
}

static inline int fixture_feed(struct fixture *f, struct pn_str bytes) {
	pn_stream_expect_opening(f->stream, f->expects);
	return fixture_handle(f, pn_parser_feed(f->parser, bytes));
}

/* The events as a string; borrowed. */
static inline const char *fixture_log(struct fixture *f) {
	fixture_put(f, "", 1);
	f->log.len -= f->log.len > 0;
	return f->log.data != NULL ? (const char *)f->log.data : "";
}

#endif
