/* Parsers: bytes to expat, token by token, from one event to the next. */
#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "parser.h"

/*
 * expat gets about PORTION bytes at once, unless a token has more: its buffer never shrinks, nor
 * does its list of levels. After more than the others it is replaced as soon as the stream rests.
 */
enum { PORTION = 4096, SWOLLEN_BYTES = 2 * PORTION, SWOLLEN_LEVELS = 64 };

int pn_parser_new(struct pn_parser **out, struct pn_stream *stream) {
	struct pn_parser *parser = pn_malloc(sizeof(*parser));
	if (parser == NULL)
		return PN_ENOMEM;
	*parser = (struct pn_parser){.stream = stream};
	*out = parser;
	return PN_OK;
}

void pn_parser_free(struct pn_parser *parser) {
	if (parser == NULL)
		return;
	pn_pool_remove(parser);
	pn_expat_free(parser);
	pn_buf_free(&parser->held);
	pn_free(parser->opening);
	pn_free(parser);
}

size_t pn_parser_events(const struct pn_parser *parser) {
	return parser->event_count;
}

struct pn_stream_event pn_parser_event(const struct pn_parser *parser, size_t index) {
	return parser->events[index];
}

const char *pn_parser_error(const struct pn_parser *parser) {
	if (parser->no_memory || parser->expat == NULL)
		return XML_ErrorString(XML_ERROR_NO_MEMORY);
	return XML_ErrorString(XML_GetErrorCode(parser->expat));
}

/* ---- Resting ---- */

/* Whether expat's state is that after the start tag of the stream, and nothing else. */
static bool can_rest(const struct pn_parser *parser) {
	return parser->opening != NULL && parser->depth == 1 && parser->last == '>' &&
	       parser->held.len == 0 && pn_scan_is_between_tokens(&parser->scan) &&
	       parser->stream->log.open == PN_LOG_NONE;
}

static void rest(struct pn_parser *parser) {
	if (parser->stream->log.open == PN_LOG_NONE)
		pn_pool_give_buffer(parser->stream);
	if (!can_rest(parser))
		return;
	if (parser->swollen)
		pn_expat_free(parser);
	else
		pn_pool_add(parser);
	parser->swollen = false;
}

/* ---- Parsing ---- */

static int fail_without_memory(struct pn_parser *parser) {
	parser->failed = parser->no_memory = true;
	return -1;
}

/* Handles the result of expat. Returns 0 if it can go on, else the result of the call. */
static int settle(struct pn_parser *parser, enum XML_Status status) {
	parser->suspended = status == XML_STATUS_SUSPENDED;
	parser->failed = parser->failed || status == XML_STATUS_ERROR;
	parser->swollen = parser->swollen || parser->stream->log.levels > SWOLLEN_LEVELS;
	if (parser->event_count > 0)
		return 1;
	return parser->failed ? -1 : 0;
}

/*
 * expat recognises UTF-16, which XMPP does not have (RFC 6120, section 11.6), and which the scan
 * cannot read. It gets a byte instead that no XML has, and reports an invalid token.
 */
static struct pn_str without_utf16(struct pn_str bytes) {
	const unsigned char first = (unsigned char)bytes.bytes[0];
	const bool is_utf16 = first == 0xfe || first == 0xff || first == 0 ||
			      (bytes.len > 1 && bytes.bytes[1] == '\0');
	return is_utf16 ? (struct pn_str){"\1", 1} : bytes;
}

/* Parses the next `len` bytes of the rest. */
static int parse(struct pn_parser *parser, size_t len) {
	struct pn_str bytes = {parser->rest.bytes, len};
	if (len > 0) {
		parser->last = bytes.bytes[len - 1];
		if (!parser->begun)
			bytes = without_utf16(bytes);
		parser->begun = true;
	}
	parser->rest.bytes += len;
	parser->rest.len -= len;
	parser->scanned -= len < parser->scanned ? len : parser->scanned;
	parser->swollen = parser->swollen || len > SWOLLEN_BYTES;
	const int final = parser->finishing && parser->rest.len == 0;
	return settle(parser, XML_Parse(parser->expat, bytes.bytes, (int)bytes.len, final));
}

/* Parses all tokens that are complete. */
static int parse_tokens(struct pn_parser *parser) {
	for (;;) {
		const size_t len = pn_scan(&parser->scan, parser->rest.bytes, &parser->scanned,
					   parser->rest.len, PORTION);
		if (len == 0)
			return 0;
		const int result = parse(parser, len);
		if (result != 0)
			return result;
	}
}

/* Keeps the incomplete token for the next call. */
static int hold(struct pn_parser *parser) {
	const size_t len = parser->rest.len;
	if (parser->held.len > 0) {
		memmove(parser->held.data, parser->rest.bytes, len);
		parser->held.len = len;
	} else {
		pn_buf_append(&parser->held, parser->rest.bytes, len);
	}
	if (len == 0)
		pn_buf_free(&parser->held);
	return parser->held.err == PN_OK ? 0 : fail_without_memory(parser);
}

/* Puts the bytes behind those that are held, and makes expat ready. */
static int begin(struct pn_parser *parser, struct pn_str bytes) {
	parser->scanned = parser->held.len;
	if (parser->held.len > 0) {
		pn_buf_append(&parser->held, bytes.bytes, bytes.len);
		bytes = (struct pn_str){(const char *)parser->held.data, parser->held.len};
	}
	if (parser->held.err != PN_OK || bytes.len > INT32_MAX)
		return fail_without_memory(parser);
	parser->rest = bytes;
	parser->event_count = 0;
	parser->stopping = false;
	pn_pool_remove(parser);
	pn_pool_take_buffer(parser->stream);
	if (parser->expat == NULL && pn_expat_make(parser) != PN_OK)
		return fail_without_memory(parser);
	return 0;
}

static int finish_call(struct pn_parser *parser) {
	if (hold(parser) != 0)
		return -1;
	rest(parser);
	return 0;
}

/* expat has another text for calls after an error. */
static int repeat_error(struct pn_parser *parser) {
	if (!parser->no_memory)
		(void)XML_Parse(parser->expat, "", 0, XML_TRUE);
	return -1;
}

int pn_parser_feed(struct pn_parser *parser, struct pn_str bytes) {
	if (parser->failed)
		return repeat_error(parser);
	int result = begin(parser, bytes);
	if (result == 0)
		result = parse_tokens(parser);
	return result == 0 ? finish_call(parser) : result;
}

int pn_parser_continue(struct pn_parser *parser) {
	int result = 0;
	parser->event_count = 0;
	parser->stopping = false;
	if (parser->stream->begins)
		pn_stream_begin(parser->stream);
	if (parser->failed)
		return -1;
	if (parser->suspended)
		result = settle(parser, XML_ResumeParser(parser->expat));
	if (result == 0 && !parser->finishing)
		result = parse_tokens(parser);
	return result == 0 ? finish_call(parser) : result;
}

int pn_parser_finish(struct pn_parser *parser) {
	if (parser->failed)
		return repeat_error(parser);
	int result = begin(parser, (struct pn_str){"", 0});
	parser->finishing = true;
	if (result == 0)
		result = parse(parser, parser->rest.len);
	return result == 0 ? finish_call(parser) : result;
}
