/* pn/stanza.h for Lua, part of smacks.so. A stanza is a table of util.stanza. */
#include <stdint.h>

#include <pn/err.h>
#include <pn/stanza.h>
#include <pn/wire.h>

#include "../glue/glue.h"
#include "../glue/smacks.h"
#include "../glue/stanza.h"

static const char BUFFER[] = "pn.stanza.buffer";
static const char ENCODER[] = "pn.stanza.encoder";

/* Bytes of memory that the encoder keeps between two calls: most stanzas take less. */
enum { KEEP = 64 * 1024 };

/* Upvalues of every function: the encoder of the Lua state, and the keys that a walk looks up. */
enum { UP_ENCODER = 1, UP_NAME, UP_ATTR, UP_COUNT = 3 };

/*
 * One encoder for all calls in a Lua state. A function that uses it must not call or allocate from
 * Lua until the result is pushed: the collector could run a finalizer that uses it too.
 */
struct encoder {
	struct pn_buf out;
	struct pn_encoder enc;
};

static struct encoder *take_encoder(lua_State *L) {
	struct encoder *encoder = lua_touserdata(L, lua_upvalueindex(UP_ENCODER));
	(void)pn_encoder_finish(&encoder->enc); /* frees what a raised error has left */
	pn_buf_reset(&encoder->out, KEEP);
	pn_encoder_init(&encoder->enc, &encoder->out);
	return encoder;
}

static int encoder_close(lua_State *L) {
	struct encoder *encoder = luaL_checkudata(L, 1, ENCODER);
	(void)pn_encoder_finish(&encoder->enc);
	pn_buf_free(&encoder->out);
	return 0;
}

static int buffer_close(lua_State *L) {
	pn_buf_free(luaL_checkudata(L, 1, BUFFER));
	return 0;
}

static int push_bytes(lua_State *L, const struct pn_buf *buf) {
	lua_pushlstring(L, (const char *)buf->data, buf->len);
	return 1;
}

/* ---- Encoding ---- */

static void sink_start(void *to, struct pn_str name) {
	pn_encoder_start(to, name);
}

static void sink_attr(void *to, struct pn_str key, struct pn_str value) {
	pn_encoder_attr(to, key, value);
}

static void sink_text(void *to, struct pn_str text) {
	pn_encoder_text(to, text);
}

static void sink_end(void *to) {
	pn_encoder_end(to);
}

static int sink_error(const void *to) {
	const struct pn_encoder *enc = to;
	return enc->err != PN_OK ? enc->err : enc->out->err;
}

static const struct pn_glue_sink SINK = {sink_start, sink_attr,  sink_text,
					 sink_end,   sink_error, false};

/* encode(stanza) -> xml, splice, delayed | nil, condition, text */
static int stanza_encode(lua_State *L) {
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	struct encoder *encoder = take_encoder(L);
	const struct pn_glue_keys keys = {lua_upvalueindex(UP_NAME), lua_upvalueindex(UP_ATTR)};
	if (!pn_glue_walk(L, keys, &SINK, &encoder->enc))
		return lua_error(L);
	const int err = pn_encoder_finish(&encoder->enc);
	if (err != PN_OK)
		return pn_glue_error(L, err);
	const lua_Integer splice = (lua_Integer)encoder->enc.splice;
	const bool delayed = encoder->enc.delayed;
	push_bytes(L, &encoder->out);
	lua_pushinteger(L, splice);
	lua_pushboolean(L, delayed);
	return 3;
}

/* splice(xml, offset, child) -> xml | nil, condition, text */
static int stanza_splice(lua_State *L) {
	const struct pn_str xml = pn_glue_str(L, 1);
	const size_t offset = (size_t)pn_glue_integer(L, 2, 0, (lua_Integer)xml.len);
	const struct pn_str child = pn_glue_str(L, 3);
	struct encoder *encoder = take_encoder(L);
	const int err = pn_stanza_splice(&encoder->out, xml, offset, child);
	return err == PN_OK ? push_bytes(L, &encoder->out) : pn_glue_error(L, err);
}

/* delay(from, stamp) -> xml of the child | nil, condition, text */
static int stanza_delay(lua_State *L) {
	const struct pn_str from = pn_glue_str(L, 1);
	const int64_t stamp = luaL_checkinteger(L, 2);
	struct encoder *encoder = take_encoder(L);
	const int err = pn_stanza_delay(&encoder->out, from, stamp);
	return err == PN_OK ? push_bytes(L, &encoder->out) : pn_glue_error(L, err);
}

/* ---- Decoding ---- */

static struct pn_decode_limits check_limits(lua_State *L, int arg) {
	if (lua_isnoneornil(L, arg))
		return (struct pn_decode_limits){0};
	luaL_checktype(L, arg, LUA_TTABLE);
	return (struct pn_decode_limits){
		.bytes = (size_t)pn_glue_field(L, arg, "bytes", 1, PN_STANZA_MAX_BYTES, 0),
		.depth = (uint32_t)pn_glue_field(L, arg, "depth", 1, PN_STANZA_MAX_DEPTH, 0),
		.elements =
			(uint32_t)pn_glue_field(L, arg, "elements", 1, PN_STANZA_MAX_ELEMENTS, 0),
	};
}

/* decode(xml, metatable [, { bytes =, depth =, elements = }]) -> stanza | nil, condition, text */
static int stanza_decode(lua_State *L) {
	const struct pn_str xml = pn_glue_str(L, 1);
	luaL_checktype(L, 2, LUA_TTABLE);
	const struct pn_decode_limits limits = check_limits(L, 3);
	lua_settop(L, 2);
	struct pn_buf *tokens = pn_glue_handle(L, BUFFER, sizeof(*tokens), 0);
	const int err = pn_stanza_decode(tokens, xml, limits);
	if (err != PN_OK) {
		pn_buf_free(tokens);
		return pn_glue_error(L, err);
	}
	pn_glue_build(L, &(struct pn_glue_tokens){pn_wire_open(tokens->data, tokens->len), 0, 2});
	pn_buf_free(tokens);
	return 1;
}

static const luaL_Reg FUNCTIONS[] = {
	{"encode", stanza_encode},
	{"splice", stanza_splice},
	{"delay", stanza_delay},
	{"decode", stanza_decode},
	{NULL, NULL},
};

static const luaL_Reg NO_METHODS[] = {{NULL, NULL}};

void pn_lua_open_stanza(lua_State *L) {
	pn_glue_type(L, ENCODER, NO_METHODS, encoder_close);
	pn_glue_type(L, BUFFER, NO_METHODS, buffer_close);
	pn_glue_handle(L, ENCODER, sizeof(struct encoder), 0);
	lua_pushliteral(L, "name");
	lua_pushliteral(L, "attr");
	luaL_setfuncs(L, FUNCTIONS, UP_COUNT);
}
