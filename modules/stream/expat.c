/*
 * expat's callbacks: the handlers of Prosody's util.xmppstream, without its Lua. They record items
 * and events, and suspend expat at an event. The order of statements in on_start() and on_end() is
 * that of util.xmppstream: what it does to input that no stream should have is part of it.
 */
#include <string.h>
#include <strings.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "parser.h"

/* Absent from expat before 2.6 */
extern XML_Bool XML_SetReparseDeferralEnabled(XML_Parser expat, XML_Bool enabled)
	__attribute__((weak));

enum { SEPARATOR = '\1' };
enum { MAX_OPENING = 4096 }; /* bytes of a start tag that is worth keeping */

static struct pn_str to_str(const char *text) {
	return (struct pn_str){text, strlen(text)};
}

static bool equals(struct pn_str a, struct pn_str b) {
	return a.bytes != NULL && a.len == b.len && memcmp(a.bytes, b.bytes, a.len) == 0;
}

/* ---- Events ---- */

/* A token causes up to two events, and expat can be stopped once. */
static void add_event(struct pn_parser *parser, enum pn_stream_event_type type, bool last) {
	struct pn_stream *stream = parser->stream;
	parser->events[parser->event_count++] =
		(struct pn_stream_event){type, pn_stream_take_progress(stream)};
	if (!parser->stopping)
		XML_StopParser(parser->expat, !last);
	parser->stopping = true;
}

static void fail(struct pn_parser *parser) {
	parser->no_memory = true;
	if (!parser->stopping)
		XML_StopParser(parser->expat, XML_FALSE);
	parser->stopping = true;
}

static int64_t token_size(const struct pn_parser *parser) {
	return XML_GetCurrentByteCount(parser->expat);
}

/* ---- Elements ---- */

/* Keeps the bytes of the start tag that expat is reading. Without them the stream cannot rest. */
static void keep_opening(struct pn_parser *parser) {
	int offset = 0;
	int available = 0;
	const char *context = XML_GetInputContext(parser->expat, &offset, &available);
	const int64_t len = token_size(parser);
	if (context == NULL || len <= 0 || len > MAX_OPENING || len > available - offset)
		return;
	parser->opening = pn_malloc((size_t)len);
	if (parser->opening == NULL)
		return;
	memcpy(parser->opening, context + offset, (size_t)len);
	parser->opening_len = (size_t)len;
}

/* Of the namespace of xml, util.xmppstream knows these. */
static bool is_xml_attr(const char *local) {
	static const char *const known[] = {"lang", "space", "base", "id"};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(local, known[i]) == 0)
			return true;
	}
	return false;
}

static void log_attrs(struct pn_stream *stream, uint32_t start, const char **attrs) {
	static const char xml_ns[] = "http://www.w3.org/XML/1998/namespace\1";
	static const struct pn_str prefix = {"xml:", 4};
	for (; attrs[0] != NULL; attrs += 2) {
		const char *local = attrs[0] + sizeof(xml_ns) - 1;
		if (strncmp(attrs[0], xml_ns, sizeof(xml_ns) - 1) == 0 && is_xml_attr(local))
			pn_log_attr(&stream->log, start, prefix, to_str(local), to_str(attrs[1]));
		else
			pn_log_attr(&stream->log, start, (struct pn_str){"", 0}, to_str(attrs[0]),
				    to_str(attrs[1]));
	}
}

static void set_lang(struct pn_stream *stream, const char **attrs) {
	for (; attrs[0] != NULL; attrs += 2) {
		if (strcmp(attrs[0], "http://www.w3.org/XML/1998/namespace\1lang") != 0)
			continue;
		pn_buf_reset(&stream->lang, SIZE_MAX);
		pn_buf_append(&stream->lang, attrs[1], strlen(attrs[1]) + 1);
	}
}

static void open_stream(struct pn_parser *parser, uint32_t start, const char **attrs) {
	struct pn_stream *stream = parser->stream;
	stream->foreign = 0;
	set_lang(stream, attrs);
	if (!stream->kind->reports_opening) {
		pn_log_clear(&stream->log, SIZE_MAX);
		return;
	}
	log_attrs(stream, start, attrs);
	stream->progress += stream->size;
	stream->size = 0;
	add_event(parser, PN_STREAM_OPENED, false);
}

static bool is_stanza(const char *name) {
	return strcmp(name, "iq") == 0 || strcmp(name, "presence") == 0 ||
	       strcmp(name, "message") == 0;
}

/* Whether the stanza may have one more element. */
static bool has_quota(struct pn_stream *stream) {
	if (!stream->counts)
		return true;
	stream->quota--;
	return stream->quota > 0;
}

static bool is_excessive(const struct pn_stream *stream) {
	const uint64_t allowed = PN_STREAM_SPARE + PN_STREAM_MAX_FACTOR * (uint64_t)stream->size;
	return stream->log.level >= PN_STREAM_MAX_DEPTH || stream->log.items.len > allowed;
}

/* An element outside a stanza. Returns whether it begins a stanza. */
static bool begin_outside(struct pn_parser *parser, const char *name, struct pn_str ns,
			  struct pn_str local) {
	static const struct pn_str client = {"jabber:client", 13};
	struct pn_stream *stream = parser->stream;
	stream->size = token_size(parser);
	if (stream->expects_opening) {
		pn_log_text(&stream->log, to_str(name));
		add_event(parser, PN_STREAM_NO_STREAM, false);
		return false;
	}
	if (equals(ns, client) && !is_stanza(local.bytes)) {
		add_event(parser, PN_STREAM_NO_STANZA, false);
		stream->begins = true;
	} else {
		pn_stream_begin(stream);
	}
	return true;
}

static void begin_element(struct pn_parser *parser, const char *name, const char **attrs) {
	struct pn_stream *stream = parser->stream;
	const char *separator = strchr(name, SEPARATOR);
	const struct pn_str local = to_str(separator != NULL ? separator + 1 : name);
	const struct pn_str ns = {name, separator != NULL ? (size_t)(separator - name) : 0};
	const bool inside = stream->log.open != PN_LOG_NONE;
	const bool has_xmlns = stream->foreign > 0 || !equals(stream->kind->default_ns, ns);
	if (has_xmlns)
		stream->foreign++;
	if (inside && !has_quota(stream)) {
		add_event(parser, PN_STREAM_ELEMENTS, true);
		return;
	}
	if (inside)
		stream->size += token_size(parser);
	if (inside && is_excessive(stream)) {
		add_event(parser, PN_STREAM_EXCESSIVE, true);
		return;
	}
	const bool opens = !inside && stream->expects_opening &&
			   equals(stream->kind->stream_tag, to_str(name));
	if (!inside && !opens && !begin_outside(parser, name, ns, local))
		return;
	const uint32_t start = pn_log_start(&stream->log, local, ns, has_xmlns);
	if (stream->log.items.err != PN_OK)
		return;
	if (opens) {
		stream->size = token_size(parser);
		open_stream(parser, start, attrs);
		return;
	}
	log_attrs(stream, start, attrs);
	pn_log_enter(&stream->log, start);
}

/* The log may have failed for lack of memory: then nothing more is parsed. */
static void check_log(struct pn_parser *parser) {
	if (parser->stream->log.items.err != PN_OK || parser->stream->lang.err != PN_OK)
		fail(parser);
}

static void XMLCALL on_start(void *data, const char *name, const char **attrs) {
	struct pn_parser *parser = data;
	parser->depth++;
	if (parser->priming)
		return;
	if (parser->depth == 1)
		keep_opening(parser);
	begin_element(parser, name, attrs);
	check_log(parser);
}

static void end_stanza(struct pn_parser *parser, const char *name) {
	struct pn_stream *stream = parser->stream;
	const bool is_error = equals(stream->kind->error_tag, to_str(name));
	stream->progress += stream->size;
	stream->size = 0;
	add_event(parser, is_error ? PN_STREAM_ERROR : PN_STREAM_STANZA, false);
}

static void XMLCALL on_end(void *data, const char *name) {
	struct pn_parser *parser = data;
	struct pn_stream *stream = parser->stream;
	parser->depth--;
	if (parser->priming)
		return;
	stream->size += token_size(parser);
	if (stream->foreign > 0)
		stream->foreign--;
	if (stream->log.open == PN_LOG_NONE) {
		stream->progress += stream->size;
		add_event(parser, PN_STREAM_CLOSED, false);
		return;
	}
	pn_log_leave(&stream->log);
	if (stream->log.open == PN_LOG_NONE)
		end_stanza(parser, name);
	check_log(parser);
}

/* ---- Text ---- */

static void count_token(struct pn_parser *parser) {
	struct pn_stream *stream = parser->stream;
	if (stream->log.open != PN_LOG_NONE)
		stream->size += token_size(parser);
	else
		stream->progress += token_size(parser);
}

static void XMLCALL on_text(void *data, const char *bytes, int len) {
	struct pn_parser *parser = data;
	struct pn_log *log = &parser->stream->log;
	count_token(parser);
	if (log->open == PN_LOG_NONE)
		return;
	pn_log_text(log, (struct pn_str){bytes, (size_t)len});
	check_log(parser);
}

static void XMLCALL on_section(void *data) {
	count_token(data);
}

/* ---- Restricted XML ---- */

static void XMLCALL on_comment(void *data, const char *text) {
	(void)text;
	add_event(data, PN_STREAM_RESTRICTED, true);
}

static void XMLCALL on_instruction(void *data, const char *target, const char *text) {
	(void)target;
	(void)text;
	add_event(data, PN_STREAM_RESTRICTED, true);
}

static void XMLCALL on_doctype(void *data, const char *name, const char *system_id,
			       const char *public_id, int has_subset) {
	(void)name;
	(void)system_id;
	(void)public_id;
	(void)has_subset;
	add_event(data, PN_STREAM_RESTRICTED, true);
}

/* util.xmppstream allows standalone='no', because lxp reports a boolean and not "no". */
static void XMLCALL on_declaration(void *data, const char *version, const char *encoding,
				   int standalone) {
	struct pn_parser *parser = data;
	(void)standalone;
	parser->stream->progress += token_size(parser);
	if ((encoding != NULL && strcasecmp(encoding, "utf-8") != 0) ||
	    (version != NULL && strcmp(version, "1.0") != 0))
		add_event(parser, PN_STREAM_RESTRICTED, true);
}

/* ---- Making and freeing ---- */

static void set_handlers(XML_Parser expat) {
	XML_SetElementHandler(expat, on_start, on_end);
	XML_SetCharacterDataHandler(expat, on_text);
	XML_SetCdataSectionHandler(expat, on_section, on_section);
	XML_SetCommentHandler(expat, on_comment);
	XML_SetProcessingInstructionHandler(expat, on_instruction);
	XML_SetStartDoctypeDeclHandler(expat, on_doctype);
	XML_SetXmlDeclHandler(expat, on_declaration);
	if (XML_SetReparseDeferralEnabled != NULL) /* the scan does its work */
		XML_SetReparseDeferralEnabled(expat, XML_FALSE);
}

static int prime(struct pn_parser *parser) {
	parser->priming = true;
	parser->depth = 0;
	const enum XML_Status status =
		XML_Parse(parser->expat, parser->opening, (int)parser->opening_len, XML_FALSE);
	parser->priming = false;
	if (status == XML_STATUS_OK)
		return PN_OK;
	pn_expat_free(parser);
	return PN_ENOMEM;
}

int pn_expat_make(struct pn_parser *parser) {
	static const XML_Memory_Handling_Suite memory = {pn_malloc, pn_realloc, pn_free};
	static const char separator[] = {SEPARATOR, '\0'};
	parser->expat = XML_ParserCreate_MM(NULL, &memory, separator);
	if (parser->expat == NULL)
		return PN_ENOMEM;
	XML_SetUserData(parser->expat, parser);
	set_handlers(parser->expat);
	return parser->opening != NULL ? prime(parser) : PN_OK;
}

void pn_expat_free(struct pn_parser *parser) {
	if (parser->expat != NULL)
		XML_ParserFree(parser->expat);
	parser->expat = NULL;
}
