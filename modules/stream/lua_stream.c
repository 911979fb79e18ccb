/*
 * pn/stream.h for Lua, part of stream.so: what mod_stream_native puts in the place of lxp and of
 * the handlers of util.xmppstream.
 *
 *      pool(idle) -> pool
 *      kind(pool, stanza_mt, { default_ns =, stream_tag =, error_tag =, streamopened =, ... }) ->
 * kind kind:stream(session, progress) -> stream stream:parser() -> parser
 *
 * The core is never entered while Lua code runs that it called: all callbacks are called between
 * two calls of the core.
 */
#include <string.h>

#include <pn/err.h>

#include "../glue/glue.h"
#include "../glue/native_stream.h"

#include "lua_stream.h"

static const char POOL[] = "pn.stream.pool";
static const char KIND[] = "pn.stream.kind";
static const char STREAM[] = "pn.stream";
static const char PARSER[] = "pn.stream.parser";

struct lua_pool {
	struct pn_stream_pool *pool;
};

struct lua_kind {
	struct pn_stream_kind kind; /* its strings are user values */
	const struct lua_pool *pool;
};

enum {
	KIND_POOL = 1,
	KIND_METATABLE,
	KIND_DEFAULT_NS,
	KIND_STREAM_TAG,
	KIND_ERROR_TAG,
	KIND_OPENED,
	KIND_CLOSED,
	KIND_STANZA,
	KIND_ERROR,
	KIND_CALLBACKS,
	KIND_VALUES = 10,
};

struct lua_stream {
	struct pn_stream *stream;
};

enum { STREAM_KIND = 1, STREAM_SESSION, STREAM_PROGRESS, STREAM_VALUES = 3 };

struct lua_parser {
	struct pn_parser *parser;
	struct pn_stream *stream; /* that of the user value */
	bool busy;                /* one of its events is being handled */
	bool finished;
};

enum { PARSER_STREAM = 1, PARSER_VALUES = 1 };

/* ---- Pool ---- */

static struct lua_pool *check_pool(lua_State *L) {
	struct lua_pool *pool = luaL_checkudata(L, 1, POOL);
	luaL_argcheck(L, pool->pool != NULL, 1, "the pool is closed");
	return pool;
}

static int pool_close(lua_State *L) {
	struct lua_pool *pool = luaL_checkudata(L, 1, POOL);
	pn_stream_pool_free(pool->pool);
	pool->pool = NULL;
	return 0;
}

/* pool(idle) -> pool; of util.xmppstream's parsers between two stanzas, `idle` keep expat's memory
 */
static int new_pool(lua_State *L) {
	const lua_Integer idle = pn_glue_integer(L, 1, 0, INT32_MAX);
	struct lua_pool *pool = pn_glue_handle(L, POOL, sizeof(*pool), 0);
	const int err = pn_stream_pool_new(&pool->pool, (size_t)idle);
	return err == PN_OK ? 1 : pn_glue_error(L, err);
}

/* pool:idle() -> number of parsers that keep expat's memory between two stanzas */
static int pool_idle(lua_State *L) {
	lua_pushinteger(L, (lua_Integer)pn_stream_pool_idle(check_pool(L)->pool));
	return 1;
}

/* ---- Kind ---- */

static int kind_close(lua_State *L) {
	(void)L;
	return 0;
}

/* Keeps field `name` of the table at index 3 as a user value of the kind on top. */
static void keep_field(lua_State *L, const char *name, int value) {
	lua_getfield(L, 3, name);
	lua_setiuservalue(L, -2, value);
}

/* The same for a string; returns it. */
static struct pn_str keep_string(lua_State *L, const char *name, int value, bool optional) {
	struct pn_str str = {NULL, 0};
	const int type = lua_getfield(L, 3, name);
	if (type != LUA_TSTRING && !(optional && type == LUA_TNIL))
		luaL_error(L, "field '%s' must be a string", name);
	str.bytes = lua_tolstring(L, -1, &str.len);
	lua_setiuservalue(L, -2, value);
	return str;
}

/* kind(pool, stanza_mt, fields) -> kind; the fields are those of stream_callbacks */
static int new_kind(lua_State *L) {
	const struct lua_pool *pool = check_pool(L);
	luaL_checktype(L, 2, LUA_TTABLE);
	luaL_checktype(L, 3, LUA_TTABLE);
	lua_settop(L, 3);
	struct lua_kind *kind = pn_glue_handle(L, KIND, sizeof(*kind), KIND_VALUES);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, KIND_POOL);
	lua_pushvalue(L, 2);
	lua_setiuservalue(L, -2, KIND_METATABLE);
	keep_field(L, "streamopened", KIND_OPENED);
	keep_field(L, "streamclosed", KIND_CLOSED);
	keep_field(L, "handlestanza", KIND_STANZA);
	keep_field(L, "error", KIND_ERROR);
	keep_field(L, "callbacks", KIND_CALLBACKS);
	kind->pool = pool;
	kind->kind.default_ns = keep_string(L, "default_ns", KIND_DEFAULT_NS, true);
	kind->kind.stream_tag = keep_string(L, "stream_tag", KIND_STREAM_TAG, false);
	kind->kind.error_tag = keep_string(L, "error_tag", KIND_ERROR_TAG, false);
	lua_getiuservalue(L, -1, KIND_OPENED);
	kind->kind.reports_opening = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return 1;
}

/* ---- Stream ---- */

static int stream_close(lua_State *L) {
	struct lua_stream *stream = luaL_checkudata(L, 1, STREAM);
	pn_stream_free(stream->stream);
	stream->stream = NULL;
	return 0;
}

static struct pn_stream *check_stream(lua_State *L) {
	const struct lua_stream *stream = luaL_checkudata(L, 1, STREAM);
	luaL_argcheck(L, stream->stream != NULL, 1, "the stream is closed");
	return stream->stream;
}

/* kind:stream(session, progress) -> stream; progress(bytes) is called for bytes that were parsed */
static int kind_stream(lua_State *L) {
	const struct lua_kind *kind = luaL_checkudata(L, 1, KIND);
	luaL_argcheck(L, kind->pool != NULL && kind->pool->pool != NULL, 1, "the pool is closed");
	luaL_checkany(L, 3);
	lua_settop(L, 3);
	struct lua_stream *stream = pn_glue_handle(L, STREAM, sizeof(*stream), STREAM_VALUES);
	for (int i = 1; i <= STREAM_VALUES; i++) {
		lua_pushvalue(L, i);
		lua_setiuservalue(L, -2, i);
	}
	const int err = pn_stream_new(&stream->stream, kind->pool->pool, &kind->kind);
	return err == PN_OK ? 1 : pn_glue_error(L, err);
}

/* stream:reset() forgets the stanza that is incomplete */
static int stream_reset(lua_State *L) {
	pn_stream_reset(check_stream(L));
	return 0;
}

/* stream:set_session(session) */
static int stream_set_session(lua_State *L) {
	(void)check_stream(L);
	lua_settop(L, 2);
	lua_setiuservalue(L, 1, STREAM_SESSION);
	return 0;
}

/* stream:arguments() -> session, field "callbacks" of the kind, progress */
static int stream_arguments(lua_State *L) {
	(void)check_stream(L);
	lua_settop(L, 1);
	lua_getiuservalue(L, 1, STREAM_KIND);
	lua_getiuservalue(L, 1, STREAM_SESSION);
	lua_getiuservalue(L, 2, KIND_CALLBACKS);
	lua_getiuservalue(L, 1, STREAM_PROGRESS);
	return 3;
}

/* stream:set_max_elements(number or nil) */
static int stream_set_max_elements(lua_State *L) {
	struct pn_stream *stream = check_stream(L);
	if (lua_toboolean(L, 2))
		pn_stream_limit_elements(stream, luaL_checknumber(L, 2));
	else
		pn_stream_unlimit_elements(stream);
	return 0;
}

/* stream:get_max_elements() -> number or nil */
static int stream_get_max_elements(lua_State *L) {
	double max;
	if (pn_stream_max_elements(check_stream(L), &max))
		lua_pushnumber(L, max);
	else
		lua_pushnil(L);
	return 1;
}

/* stream:get_lang() -> language of stanzas without xml:lang */
static int stream_get_lang(lua_State *L) {
	const struct pn_str lang = pn_stream_lang(check_stream(L));
	lua_pushlstring(L, lang.bytes, lang.len);
	return 1;
}

/* ---- Parser ---- */

static int parser_close(lua_State *L) {
	struct lua_parser *parser = luaL_checkudata(L, 1, PARSER);
	if (parser->busy)
		return 0; /* it is closed by the call that is busy, or by __gc */
	pn_parser_free(parser->parser);
	parser->parser = NULL;
	return 0;
}

/* stream:parser() -> parser */
static int stream_parser(lua_State *L) {
	struct pn_stream *stream = check_stream(L);
	struct lua_parser *parser = pn_glue_handle(L, PARSER, sizeof(*parser), PARSER_VALUES);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, PARSER_STREAM);
	parser->stream = stream;
	const int err = pn_parser_new(&parser->parser, stream);
	return err == PN_OK ? 1 : pn_glue_error(L, err);
}

/* Stack of the functions below: 1 the parser, 2 the stream, 3 the kind. */
static void push_values(lua_State *L) {
	lua_getiuservalue(L, 1, PARSER_STREAM);
	lua_getiuservalue(L, 2, STREAM_KIND);
}

/* Pushes the value of an event; returns whether it was made from items. */
static bool push_value(lua_State *L, const struct pn_stream *stream,
		       enum pn_stream_event_type type) {
	switch (type) {
	case PN_STREAM_OPENED:
		pn_lua_stream_push_attrs(L, stream);
		return true;
	case PN_STREAM_STANZA:
	case PN_STREAM_ERROR:
		lua_getiuservalue(L, 3, KIND_METATABLE);
		pn_lua_stream_push_stanza(L, stream, lua_gettop(L));
		lua_remove(L, -2);
		return true;
	case PN_STREAM_NO_STREAM:
		pn_lua_stream_push_text(L, stream);
		return true;
	default:
		lua_pushnil(L);
		return false;
	}
}

static void report_progress(lua_State *L, int64_t bytes) {
	if (bytes == 0)
		return;
	lua_getiuservalue(L, 2, STREAM_PROGRESS);
	lua_pushinteger(L, bytes);
	lua_call(L, 1, 0);
}

/* Pushes a callback and the session. */
static void push_callback(lua_State *L, int callback) {
	lua_getiuservalue(L, 3, callback);
	lua_getiuservalue(L, 2, STREAM_SESSION);
}

static void report_error(lua_State *L, const char *error, const char *condition, const char *text) {
	push_callback(L, KIND_ERROR);
	lua_pushstring(L, error);
	if (condition != NULL)
		lua_pushstring(L, condition);
	if (text != NULL)
		lua_pushstring(L, text);
	lua_call(L, 2 + (condition != NULL) + (text != NULL), 0);
}

/* Calls the callback of an event whose value is at the index. */
static void report_value(lua_State *L, int callback, const char *error, int value) {
	push_callback(L, callback);
	if (error != NULL)
		lua_pushstring(L, error);
	lua_pushvalue(L, value);
	lua_call(L, error != NULL ? 3 : 2, 0);
}

static void report_closed(lua_State *L) {
	push_callback(L, KIND_CLOSED);
	if (lua_toboolean(L, -2))
		lua_call(L, 1, 0);
	else
		lua_pop(L, 2);
}

static void report(lua_State *L, enum pn_stream_event_type type, int value) {
	switch (type) {
	case PN_STREAM_OPENED:
		report_value(L, KIND_OPENED, NULL, value);
		break;
	case PN_STREAM_CLOSED:
		report_closed(L);
		break;
	case PN_STREAM_STANZA:
		report_value(L, KIND_STANZA, NULL, value);
		break;
	case PN_STREAM_ERROR:
		report_value(L, KIND_ERROR, "stream-error", value);
		break;
	case PN_STREAM_NO_STREAM:
		report_value(L, KIND_ERROR, "no-stream", value);
		break;
	case PN_STREAM_NO_STANZA:
		report_error(L, "invalid-top-level-element", NULL, NULL);
		break;
	case PN_STREAM_RESTRICTED:
		report_error(L, "parse-error", "restricted-xml",
			     "Restricted XML, see RFC 6120 section 11.1.");
		break;
	case PN_STREAM_ELEMENTS:
		report_error(L, "parse-error", "resource-constraint",
			     "Stanza exceeds permitted children");
		break;
	case PN_STREAM_EXCESSIVE:
		report_error(L, "parse-error", "resource-constraint",
			     "Stanza is nested too deeply, or has too long namespaces");
		break;
	}
}

/* Whether the next element opens the stream: a callback may have changed it, or the session. */
static void read_notopen(lua_State *L, struct pn_stream *stream) {
	lua_getiuservalue(L, 2, STREAM_SESSION);
	lua_getfield(L, -1, "notopen");
	pn_stream_expect_opening(stream, lua_toboolean(L, -1));
	lua_pop(L, 2);
}

/*
 * (parser): makes the values of the events, then calls the callbacks. The values are complete
 * before the first callback, which may reset the stream.
 */
static int handle_events(lua_State *L) {
	const struct lua_parser *parser = lua_touserdata(L, 1);
	struct pn_stream_event events[PN_STREAM_EVENTS];
	const int count = (int)pn_parser_events(parser->parser);
	bool from_items = false;
	push_values(L);
	for (int i = 0; i < count; i++) {
		events[i] = pn_parser_event(parser->parser, (size_t)i);
		from_items = push_value(L, parser->stream, events[i].type) || from_items;
	}
	if (from_items)
		pn_stream_forget(parser->stream);
	for (int i = 0; i < count; i++) {
		report_progress(L, events[i].progress);
		report(L, events[i].type, 4 + i);
	}
	return 0;
}

/* (parser): what has to be done between two calls of the core */
static int prepare(lua_State *L) {
	const struct lua_parser *parser = lua_touserdata(L, 1);
	push_values(L);
	report_progress(L, pn_stream_take_progress(parser->stream));
	read_notopen(L, parser->stream);
	return 0;
}

/*
 * Upvalues of parse(): the two functions above. An error in one of them does not end the call: the
 * bytes behind it are parsed, and the first error is raised in the end.
 */
enum { UP_HANDLE_EVENTS = 1, UP_PREPARE, UP_PARSE = 2 };

/* Calls one of them. `failed` is the index of the first error, or 0. */
static void protect(lua_State *L, int function, int *failed) {
	lua_pushvalue(L, lua_upvalueindex(function));
	lua_pushvalue(L, 1);
	if (lua_pcall(L, 1, 0, 0) == LUA_OK)
		return;
	if (*failed == 0)
		*failed = lua_gettop(L);
	else
		lua_pop(L, 1);
}

static int push_result(lua_State *L, const struct lua_parser *parser, int result) {
	if (result == 0) {
		lua_pushvalue(L, 1);
		return 1;
	}
	lua_pushnil(L);
	lua_pushstring(L, pn_parser_error(parser->parser));
	return 2;
}

static int end_of_document(lua_State *L, bool again) {
	if (again) {
		lua_pushvalue(L, 1);
		return 1;
	}
	lua_pushnil(L);
	lua_pushliteral(L, "cannot parse - document is finished");
	return 2;
}

static struct lua_parser *check_parser(lua_State *L) {
	struct lua_parser *parser = luaL_checkudata(L, 1, PARSER);
	luaL_argcheck(L, parser->parser != NULL, 1, "parser is closed");
	return parser;
}

/* parser:parse([bytes]) -> parser | nil, text; without bytes the document ends */
static int parser_parse(lua_State *L) {
	struct lua_parser *parser = check_parser(L);
	struct pn_str bytes;
	int failed = 0;
	bytes.bytes = luaL_optlstring(L, 2, NULL, &bytes.len);
	lua_settop(L, 2);
	if (parser->finished)
		return end_of_document(L, bytes.bytes == NULL);
	if (parser->busy) {
		lua_pushnil(L);
		lua_pushliteral(L, "parser suspended");
		return 2;
	}
	protect(L, UP_PREPARE, &failed);
	if (failed != 0)
		return lua_error(L);
	parser->busy = true;
	parser->finished = bytes.bytes == NULL;
	int result = bytes.bytes == NULL ? pn_parser_finish(parser->parser)
					 : pn_parser_feed(parser->parser, bytes);
	while (result == 1) {
		protect(L, UP_HANDLE_EVENTS, &failed);
		protect(L, UP_PREPARE, &failed);
		result = pn_parser_continue(parser->parser);
	}
	protect(L, UP_PREPARE, &failed);
	parser->busy = false;
	if (failed == 0)
		return push_result(L, parser, result);
	lua_settop(L, failed);
	return lua_error(L);
}

/* ---- Opening ---- */

static const luaL_Reg FUNCTIONS[] = {
	{"pool", new_pool},
	{"kind", new_kind},
	{NULL, NULL},
};

static const luaL_Reg POOL_METHODS[] = {
	{"idle", pool_idle},
	{NULL, NULL},
};

static const luaL_Reg KIND_METHODS[] = {
	{"stream", kind_stream},
	{NULL, NULL},
};

static const luaL_Reg STREAM_METHODS[] = {
	{"reset", stream_reset},
	{"set_session", stream_set_session},
	{"arguments", stream_arguments},
	{"set_max_elements", stream_set_max_elements},
	{"get_max_elements", stream_get_max_elements},
	{"get_lang", stream_get_lang},
	{"parser", stream_parser},
	{NULL, NULL},
};

static const luaL_Reg NO_METHODS[] = {{NULL, NULL}};

/* Adds parse(), which has upvalues, to the type of parsers. */
static void add_parse(lua_State *L) {
	luaL_getmetatable(L, PARSER);
	lua_getfield(L, -1, "__index");
	pn_lua_stream_push_keys(L);
	lua_pushcclosure(L, handle_events, PN_UP_KEYS);
	pn_lua_stream_push_keys(L);
	lua_pushcclosure(L, prepare, PN_UP_KEYS);
	lua_pushcclosure(L, parser_parse, UP_PARSE);
	lua_setfield(L, -2, "parse");
	lua_pop(L, 2);
}

/* Makes a type whose handles only the collector closes, because younger ones refer to them. */
static void add_type(lua_State *L, const char *type, const luaL_Reg *methods, lua_CFunction close) {
	pn_glue_type(L, type, methods, close);
	luaL_getmetatable(L, type);
	lua_pushnil(L);
	lua_setfield(L, -2, "__close");
	lua_getfield(L, -1, "__index");
	lua_pushnil(L);
	lua_setfield(L, -2, "close");
	lua_pop(L, 2);
}

void pn_lua_open_stream(lua_State *L) {
	add_type(L, POOL, POOL_METHODS, pool_close);
	add_type(L, KIND, KIND_METHODS, kind_close);
	add_type(L, STREAM, STREAM_METHODS, stream_close);
	pn_glue_type(L, PARSER, NO_METHODS, parser_close);
	add_parse(L);
	luaL_setfuncs(L, FUNCTIONS, 0);
}
