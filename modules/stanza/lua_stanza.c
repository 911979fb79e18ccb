/* pn/stanza.h for Lua, part of smacks.so. A stanza is a table of util.stanza. */
#include <stdint.h>

#include <pn/err.h>
#include <pn/stanza.h>
#include <pn/wire.h>

#include "../glue/encoder.h"
#include "../glue/glue.h"
#include "../glue/smacks.h"
#include "../glue/stanza.h"

static const char BUFFER[] = "pn.stanza.buffer";
static const char ENCODER[] = "pn.stanza.encoder";

/* Upvalues of every function: the encoder of the Lua state, and the keys that a walk looks up. */
enum { UP_ENCODER = 1, UP_NAME, UP_ATTR, UP_COUNT = 3 };

static int buffer_close(lua_State *L) {
	pn_buf_free(luaL_checkudata(L, 1, BUFFER));
	return 0;
}

/* ---- Encoding ---- */

/* encode(stanza) -> xml, splice, delayed | nil, condition, text */
static int stanza_encode(lua_State *L) {
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	struct pn_glue_encoder *encoder = pn_glue_encoder_take(L, lua_upvalueindex(UP_ENCODER));
	const struct pn_glue_keys keys = {lua_upvalueindex(UP_NAME), lua_upvalueindex(UP_ATTR), 0};
	if (!pn_glue_walk(L, keys, &PN_GLUE_XML, &encoder->enc))
		return lua_error(L);
	const int err = pn_encoder_finish(&encoder->enc);
	if (err != PN_OK)
		return pn_glue_error(L, err);
	const lua_Integer splice = (lua_Integer)encoder->enc.splice;
	const bool delayed = encoder->enc.delayed;
	pn_glue_push_buf(L, &encoder->out);
	lua_pushinteger(L, splice);
	lua_pushboolean(L, delayed);
	return 3;
}

/* splice(xml, offset, child) -> xml | nil, condition, text */
static int stanza_splice(lua_State *L) {
	const struct pn_str xml = pn_glue_str(L, 1);
	const size_t offset = (size_t)pn_glue_integer(L, 2, 0, (lua_Integer)xml.len);
	const struct pn_str child = pn_glue_str(L, 3);
	struct pn_glue_encoder *encoder = pn_glue_encoder_take(L, lua_upvalueindex(UP_ENCODER));
	const int err = pn_stanza_splice(&encoder->out, xml, offset, child);
	return err == PN_OK ? pn_glue_push_buf(L, &encoder->out) : pn_glue_error(L, err);
}

/* delay(from, stamp) -> xml of the child | nil, condition, text */
static int stanza_delay(lua_State *L) {
	const struct pn_str from = pn_glue_str(L, 1);
	const int64_t stamp = luaL_checkinteger(L, 2);
	struct pn_glue_encoder *encoder = pn_glue_encoder_take(L, lua_upvalueindex(UP_ENCODER));
	const int err = pn_stanza_delay(&encoder->out, from, stamp);
	return err == PN_OK ? pn_glue_push_buf(L, &encoder->out) : pn_glue_error(L, err);
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
	pn_glue_type(L, BUFFER, NO_METHODS, buffer_close);
	pn_glue_encoder_new(L, ENCODER);
	lua_pushliteral(L, "name");
	lua_pushliteral(L, "attr");
	luaL_setfuncs(L, FUNCTIONS, UP_COUNT);
}
