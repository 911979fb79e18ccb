/* pn/stanza.h for Lua: stanza.so, luaopen_stanza. A stanza is a table as util.stanza makes it. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <pn/err.h>
#include <pn/stanza.h>
#include <pn/wire.h>

#include "../glue/glue.h"

static const char BUFFER[] = "pn.stanza.buffer";
static const char ENCODER[] = "pn.stanza.encoder";

enum { KEEP = 64 * 1024 }; /* bytes of memory that stay with the encoder between two calls */

/* Upvalues of every function: the state's encoder, and the keys that a walk looks up. */
enum { UP_ENCODER = 1, UP_NAME, UP_ATTR, UP_COUNT = 3 };

/*
 * One for all calls in a Lua state. Whoever uses it neither calls Lua nor allocates from Lua until
 * the result is pushed: else the collector could run a finalizer that comes here again.
 */
struct encoder {
	struct pn_buf out;
	struct pn_encoder enc;
};

static struct encoder *take_encoder(lua_State *L) {
	struct encoder *encoder = lua_touserdata(L, lua_upvalueindex(UP_ENCODER));
	(void)pn_encoder_finish(&encoder->enc); /* what a raised error left behind */
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

static struct pn_str check_str(lua_State *L, int arg) {
	struct pn_str str;
	str.bytes = luaL_checklstring(L, arg, &str.len);
	return str;
}

static struct pn_str to_str(lua_State *L, int index) {
	struct pn_str str;
	str.bytes = lua_tolstring(L, index, &str.len);
	return str;
}

/* ---- Encoding. The walk keeps its place on the Lua stack, so that the depth of a stanza costs no
 *      C stack: for each open element, the element and the index of its next child. ---- */

enum { NUMBER_SIZE = 64 };

/* What tostring() makes of the number at `index`, without a Lua string. */
static struct pn_str number_to_str(lua_State *L, int index, char *text) {
	int len;
	if (lua_isinteger(L, index)) {
		len = snprintf(text, NUMBER_SIZE, LUA_INTEGER_FMT, lua_tointeger(L, index));
	} else {
		len = snprintf(text, NUMBER_SIZE - 2, LUA_NUMBER_FMT, lua_tonumber(L, index));
		if (text[strspn(text, "-0123456789")] == '\0') {
			memcpy(text + len, ".0", 3);
			len += 2;
		}
	}
	return (struct pn_str){text, (size_t)len};
}

static void encode_attrs(lua_State *L, struct pn_encoder *enc, struct pn_str name) {
	char number[NUMBER_SIZE];
	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
		if (lua_type(L, -2) != LUA_TSTRING)
			luaL_error(L, "<%s> has an attribute whose name is no string", name.bytes);
		const struct pn_str key = to_str(L, -2);
		switch (lua_type(L, -1)) {
		case LUA_TSTRING:
			pn_encoder_attr(enc, key, to_str(L, -1));
			break;
		case LUA_TNUMBER:
			pn_encoder_attr(enc, key, number_to_str(L, -1, number));
			break;
		default:
			luaL_error(L, "attribute '%s' of <%s> is a %s", key.bytes, name.bytes,
				   luaL_typename(L, -1));
		}
	}
}

/* Starts the element on top, and pushes the index of its first child. */
static void begin_element(lua_State *L, struct pn_encoder *enc) {
	luaL_checkstack(L, 8, "stanza is nested too deeply");
	lua_pushvalue(L, lua_upvalueindex(UP_NAME));
	if (lua_rawget(L, -2) != LUA_TSTRING)
		luaL_error(L, "stanza has an element without a name");
	const struct pn_str name = to_str(L, -1);
	lua_pop(L, 1); /* the element holds it */
	pn_encoder_start(enc, name);

	lua_pushvalue(L, lua_upvalueindex(UP_ATTR));
	if (lua_rawget(L, -2) != LUA_TTABLE)
		luaL_error(L, "<%s> has no attr table", name.bytes);
	encode_attrs(L, enc, name);
	lua_pop(L, 1);
	lua_pushinteger(L, 1);
}

/* Goes on with the element on top of the stack. */
static void encode_step(lua_State *L, struct pn_encoder *enc) {
	const lua_Integer index = lua_tointeger(L, -1);
	lua_pushinteger(L, index + 1);
	lua_replace(L, -2);
	switch (lua_rawgeti(L, -2, index)) {
	case LUA_TNIL:
		pn_encoder_end(enc);
		lua_pop(L, 3);
		break;
	case LUA_TTABLE:
		begin_element(L, enc);
		break;
	case LUA_TSTRING:
		pn_encoder_text(enc, to_str(L, -1));
		lua_pop(L, 1);
		break;
	default:
		luaL_error(L, "stanza has a child that is a %s", luaL_typename(L, -1));
	}
}

/* encode(stanza) -> xml, splice, delayed | nil, condition, text */
static int stanza_encode(lua_State *L) {
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	struct encoder *encoder = take_encoder(L);
	begin_element(L, &encoder->enc);
	while (lua_gettop(L) > 0 && encoder->enc.err == PN_OK && encoder->out.err == PN_OK)
		encode_step(L, &encoder->enc);
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
	const struct pn_str xml = check_str(L, 1);
	const size_t offset = (size_t)pn_glue_integer(L, 2, 0, (lua_Integer)xml.len);
	const struct pn_str child = check_str(L, 3);
	struct encoder *encoder = take_encoder(L);
	const int err = pn_stanza_splice(&encoder->out, xml, offset, child);
	return err == PN_OK ? push_bytes(L, &encoder->out) : pn_glue_error(L, err);
}

/* delay(from, stamp) -> xml of the child | nil, condition, text */
static int stanza_delay(lua_State *L) {
	const struct pn_str from = check_str(L, 1);
	const int64_t stamp = luaL_checkinteger(L, 2);
	struct encoder *encoder = take_encoder(L);
	const int err = pn_stanza_delay(&encoder->out, from, stamp);
	return err == PN_OK ? push_bytes(L, &encoder->out) : pn_glue_error(L, err);
}

/* ---- Decoding: the tokens become tables once expat has done its work. For each open element the
 *      Lua stack holds the element, its tags and its attr. ---- */

static void push_wire_string(lua_State *L, struct pn_wire *wire) {
	size_t len;
	const char *bytes = pn_wire_bytes(wire, &len);
	lua_pushlstring(L, bytes != NULL ? bytes : "", len);
}

/* Appends the value on top to the array at `index`, and pops it. */
static void append(lua_State *L, int index) {
	const int array = lua_absindex(L, index);
	lua_rawseti(L, array, (lua_Integer)lua_rawlen(L, array) + 1);
}

enum { ELEMENT = 1, TAGS, ATTR, SLOTS = 3 };

/* Pushes a new element, its tags and its attr, and makes it a child of the element below. */
static void build_start(lua_State *L, struct pn_wire *wire, int base) {
	luaL_checkstack(L, 8, "stanza is nested too deeply");
	lua_createtable(L, 1, 3);
	push_wire_string(L, wire);
	lua_setfield(L, -2, "name");
	lua_newtable(L);
	lua_pushvalue(L, -1);
	lua_setfield(L, -3, "tags");
	lua_newtable(L);
	lua_pushvalue(L, -1);
	lua_setfield(L, -4, "attr");

	const int element = lua_gettop(L) - SLOTS + ELEMENT;
	lua_pushvalue(L, 2);
	lua_setmetatable(L, element); /* from here on only raw access, which calls no metamethod */
	if (element - SLOTS >= base + ELEMENT) {
		lua_pushvalue(L, element);
		append(L, element - SLOTS);
		lua_pushvalue(L, element);
		append(L, element - SLOTS + 1);
	}
}

/* Leaves the root element on top of the stack. */
static void build(lua_State *L, struct pn_wire *wire) {
	const int base = lua_gettop(L);
	while (wire->left > 0 && wire->err == PN_OK) {
		switch ((enum pn_token)pn_wire_u8(wire)) {
		case PN_TOKEN_START:
			build_start(L, wire, base);
			break;
		case PN_TOKEN_ATTR:
			push_wire_string(L, wire);
			push_wire_string(L, wire);
			lua_rawset(L, -3);
			break;
		case PN_TOKEN_XMLNS: /* one string for all that share it */
			lua_pushliteral(L, "xmlns");
			lua_pushvalue(L, -1);
			lua_rawget(L, -3 - SLOTS);
			lua_rawset(L, -3);
			break;
		case PN_TOKEN_TEXT:
			push_wire_string(L, wire);
			append(L, -SLOTS - 1);
			break;
		case PN_TOKEN_END: /* the root stays */
			lua_pop(L, lua_gettop(L) == base + SLOTS ? SLOTS - ELEMENT : SLOTS);
			break;
		}
	}
}

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
	const struct pn_str xml = check_str(L, 1);
	luaL_checktype(L, 2, LUA_TTABLE);
	const struct pn_decode_limits limits = check_limits(L, 3);
	lua_settop(L, 2);
	struct pn_buf *tokens = pn_glue_handle(L, BUFFER, sizeof(*tokens), 0);
	const int err = pn_stanza_decode(tokens, xml, limits);
	if (err != PN_OK) {
		pn_buf_free(tokens);
		return pn_glue_error(L, err);
	}
	struct pn_wire wire = pn_wire_open(tokens->data, tokens->len);
	build(L, &wire);
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

PN_EXPORT int luaopen_stanza(lua_State *L);

int luaopen_stanza(lua_State *L) {
	pn_glue_type(L, ENCODER, NO_METHODS, encoder_close);
	pn_glue_type(L, BUFFER, NO_METHODS, buffer_close);
	luaL_newlibtable(L, FUNCTIONS);
	pn_glue_handle(L, ENCODER, sizeof(struct encoder), 0);
	lua_pushliteral(L, "name");
	lua_pushliteral(L, "attr");
	luaL_setfuncs(L, FUNCTIONS, UP_COUNT);
	return 1;
}
