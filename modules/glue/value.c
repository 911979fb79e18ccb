/* Lua values as bytes. glue/store.h draws the layout. */
#include <math.h>
#include <string.h>

#include <pn/err.h>
#include <pn/pack.h>

#include "store.h"

enum {
	DEPTH_MAX =
		200, /* nested tables: deeper ones are taken for a cycle, and C stack is limited */
	HINT_MAX =
		256, /* slots that a table gets in advance: damaged counts must not cost memory */
	FALSE = 'f',
	TRUE = 't',
	INTEGER = 'i',
	NUMBER = 'd',
	STRING = 's',
	TABLE = 'T',
	STANZA = 'X',
};

const struct pn_str PN_LUA_WHOLE = {"=", 1};

/* ---- Writing ---- */

static void sink_start(void *to, struct pn_str name) {
	pn_pack_start(to, name);
}

static void sink_attr(void *to, struct pn_str key, struct pn_str value) {
	pn_pack_attr(to, key, value);
}

static void sink_text(void *to, struct pn_str text) {
	pn_pack_text(to, text);
}

static void sink_end(void *to) {
	pn_pack_end(to);
}

static int sink_error(const void *to) {
	return pn_pack_error(to);
}

static const struct pn_glue_sink SINK = {sink_start, sink_attr,  sink_text,
					 sink_end,   sink_error, false};

int pn_lua_put_stanza(lua_State *L, int index, struct pn_buf *buf) {
	const struct pn_glue_keys keys = {lua_upvalueindex(PN_UP_NAME),
					  lua_upvalueindex(PN_UP_ATTR), 0};
	const int top = lua_gettop(L);
	struct pn_pack pack;
	pn_pack_init(&pack, buf);
	lua_pushvalue(L, index);
	const bool good = pn_glue_walk(L, keys, &SINK, &pack);
	lua_settop(L, top);
	return good ? pn_pack_error(&pack) : PN_EDATATYPE;
}

/* Appends a boolean or a number. */
static int put_scalar(lua_State *L, int index, struct pn_buf *buf) {
	int exact;
	switch (lua_type(L, index)) {
	case LUA_TBOOLEAN:
		pn_wire_put_u8(buf, lua_toboolean(L, index) ? TRUE : FALSE);
		break;
	case LUA_TNUMBER:
		if (lua_isinteger(L, index)) {
			pn_wire_put_u8(buf, INTEGER);
			pn_wire_put_u64(buf, (uint64_t)lua_tointegerx(L, index, &exact));
		} else {
			pn_wire_put_u8(buf, NUMBER);
			pn_wire_put_f64(buf, lua_tonumber(L, index));
		}
		break;
	default:
		return PN_EDATATYPE;
	}
	return buf->err;
}

int pn_lua_put_key(lua_State *L, int index, struct pn_buf *buf) {
	int exact;
	size_t len;
	if (lua_type(L, index) == LUA_TSTRING) {
		const char *bytes = lua_tolstring(L, index, &len);
		pn_wire_put_u8(buf, STRING);
		pn_buf_append(buf, bytes, len);
		return buf->err;
	}
	/* as in a Lua table, 1.0 is the key 1 */
	const lua_Integer integer = lua_tointegerx(L, index, &exact);
	if (lua_type(L, index) == LUA_TNUMBER && exact) {
		pn_wire_put_u8(buf, INTEGER);
		pn_wire_put_u64(buf, (uint64_t)integer);
		return buf->err;
	}
	if (lua_type(L, index) == LUA_TNUMBER && isnan(lua_tonumber(L, index)))
		return PN_EDATATYPE;
	return put_scalar(L, index, buf);
}

static int put_value(lua_State *L, int index, int metatable, struct pn_buf *buf, int depth);

static int put_table(lua_State *L, int index, int metatable, struct pn_buf *buf, int depth) {
	uint32_t pairs = 0;
	if (depth > DEPTH_MAX || !lua_checkstack(L, 4))
		return PN_EDATATYPE;
	pn_wire_put_u8(buf, TABLE);
	pn_wire_put_u32(buf, (uint32_t)lua_rawlen(L, index));
	const size_t at = buf->len;
	pn_wire_put_u32(buf, 0);
	for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
		const int value = lua_gettop(L);
		int err = PN_EDATATYPE;
		if (lua_type(L, value - 1) != LUA_TTABLE)
			err = put_value(L, value - 1, metatable, buf, depth);
		if (err == PN_OK)
			err = put_value(L, value, metatable, buf, depth);
		if (err != PN_OK)
			return err; /* pn_lua_put_value() resets the stack */
		pairs++;
	}
	pn_wire_set_u32(buf, at, pairs);
	return buf->err;
}

static int put_value(lua_State *L, int index, int metatable, struct pn_buf *buf, int depth) {
	size_t len;
	const int type = lua_type(L, index);
	if (type == LUA_TSTRING) {
		const char *bytes = lua_tolstring(L, index, &len);
		if (len > UINT32_MAX)
			return PN_EDATATYPE;
		pn_wire_put_u8(buf, STRING);
		pn_wire_put_bytes(buf, bytes, (uint32_t)len);
		return buf->err;
	}
	if (type != LUA_TTABLE)
		return put_scalar(L, index, buf);
	if (!pn_glue_is_stanza(L, index, metatable))
		return put_table(L, index, metatable, buf, depth + 1);
	pn_wire_put_u8(buf, STANZA);
	const size_t at = buf->len;
	pn_wire_put_u32(buf, 0);
	const int err = pn_lua_put_stanza(L, index, buf);
	pn_wire_set_u32(buf, at, (uint32_t)(buf->len - at - 4));
	return err;
}

int pn_lua_put_value(lua_State *L, int index, int metatable, struct pn_buf *buf) {
	const int top = lua_gettop(L);
	const int err = put_value(L, index, metatable, buf, 0);
	lua_settop(L, top);
	return err;
}

/* ---- Reading ---- */

int pn_lua_push_stanza(lua_State *L, struct pn_str packed, int metatable) {
	struct pn_glue_tokens tokens = {
		.dictionary = lua_upvalueindex(PN_UP_DICTIONARY),
		.metatable = metatable,
	};
	const int err = pn_unpack(packed, &tokens.wire);
	if (err == PN_OK)
		pn_glue_build(L, &tokens);
	return err;
}

static int push_number(lua_State *L, struct pn_wire *wire) {
	const double number = pn_wire_f64(wire);
	if (isnan(number))
		return PN_ECORRUPT;
	lua_pushnumber(L, number);
	return PN_OK;
}

int pn_lua_push_key(lua_State *L, struct pn_str bytes) {
	struct pn_wire wire = pn_wire_open(bytes.bytes, bytes.len);
	const uint8_t tag = pn_wire_u8(&wire);
	const size_t size = tag == INTEGER || tag == NUMBER ? 8 : 0;
	if (wire.err != PN_OK || (tag != STRING && wire.left != size))
		return PN_ECORRUPT;
	switch (tag) {
	case FALSE:
	case TRUE:
		lua_pushboolean(L, tag == TRUE);
		return PN_OK;
	case INTEGER:
		lua_pushinteger(L, (lua_Integer)pn_wire_u64(&wire));
		return PN_OK;
	case NUMBER:
		return push_number(L, &wire);
	case STRING:
		lua_pushlstring(L, (const char *)wire.pos, wire.left);
		return PN_OK;
	default:
		return PN_ECORRUPT;
	}
}

static int push_value(lua_State *L, struct pn_wire *wire, int metatable, int depth);

static int push_table(lua_State *L, struct pn_wire *wire, int metatable, int depth) {
	const uint32_t array = pn_wire_u32(wire);
	const uint32_t pairs = pn_wire_u32(wire);
	if (wire->err != PN_OK || depth > DEPTH_MAX || pairs > wire->left)
		return PN_ECORRUPT;
	luaL_checkstack(L, 8, "value is nested too deeply, or there is no memory for it");
	/* the length of an array with nil values may be above the number of its pairs */
	const uint32_t in_array = array < pairs ? array : pairs;
	lua_createtable(L, (int)(in_array < HINT_MAX ? in_array : HINT_MAX),
			(int)(pairs - in_array < HINT_MAX ? pairs - in_array : HINT_MAX));
	for (uint32_t i = 0; i < pairs; i++) {
		int err = push_value(L, wire, metatable, depth);
		const bool usable = err == PN_OK &&
				    !(lua_type(L, -1) == LUA_TNUMBER && isnan(lua_tonumber(L, -1)));
		if (usable)
			err = push_value(L, wire, metatable, depth);
		if (!usable || err != PN_OK)
			return PN_ECORRUPT;
		lua_rawset(L, -3);
	}
	return PN_OK;
}

static int push_value(lua_State *L, struct pn_wire *wire, int metatable, int depth) {
	struct pn_str str;
	switch (pn_wire_u8(wire)) {
	case FALSE:
		lua_pushboolean(L, 0);
		break;
	case TRUE:
		lua_pushboolean(L, 1);
		break;
	case INTEGER:
		lua_pushinteger(L, (lua_Integer)pn_wire_u64(wire));
		break;
	case NUMBER:
		lua_pushnumber(L, pn_wire_f64(wire));
		break;
	case STRING:
		str.bytes = pn_wire_bytes(wire, &str.len);
		lua_pushlstring(L, str.bytes != NULL ? str.bytes : "", str.len);
		break;
	case TABLE:
		return push_table(L, wire, metatable, depth + 1);
	case STANZA:
		str.bytes = pn_wire_bytes(wire, &str.len);
		return wire->err != PN_OK ? PN_ECORRUPT : pn_lua_push_stanza(L, str, metatable);
	default:
		return PN_ECORRUPT;
	}
	return wire->err == PN_OK ? PN_OK : PN_ECORRUPT;
}

int pn_lua_push_value(lua_State *L, struct pn_str bytes, int metatable) {
	const int top = lua_gettop(L);
	struct pn_wire wire = pn_wire_open(bytes.bytes, bytes.len);
	int err = push_value(L, &wire, metatable, 0);
	if (err == PN_OK && wire.left > 0)
		err = PN_ECORRUPT;
	if (err != PN_OK)
		lua_settop(L, top);
	return err;
}
