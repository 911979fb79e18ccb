/*
 * Functions of util.stanza in C, part of stream.so: top_tag(), tostring() and clone(); tag() and
 * text() are in lua_adding.c.
 *
 * They handle stanzas as util.stanza and util.xmppstream make them, with raw access. Everything
 * else is passed to the function that they replace: wrong arguments, for which it raises its own
 * error; tables with other metatables; values that are not strings; children that `tags` does not
 * list; deep nesting. So its result is right by definition, and there is no second text for an
 * error.
 */
#include <limits.h>

#include <pn/err.h>

#include "../glue/encoder.h"
#include "../glue/glue.h"
#include "../glue/native_stream.h"
#include "../glue/stanza.h"
#include "lua_functions.h"

static const char ENCODER[] = "pn.stream.encoder";

/* clone() recurses, and takes C stack for each level. Deeper stanzas are rare. */
enum { DEPTH_MAX = 200 };

static bool is_stanza(lua_State *L, int index) {
	return lua_type(L, index) == LUA_TTABLE &&
	       pn_glue_is_stanza(L, index, lua_upvalueindex(PN_UP_METATABLE));
}

/* ---- Encoding ---- */

static struct pn_glue_encoder *take_encoder(lua_State *L) {
	struct pn_glue_encoder *encoder = pn_glue_encoder_take(L, lua_upvalueindex(PN_UP_ENCODER));
	encoder->enc.as_tostring = true;
	return encoder;
}

/* tostring(stanza) -> xml */
static int functions_tostring(lua_State *L) {
	if (lua_type(L, 1) != LUA_TTABLE)
		return pass_on(L, 1);
	const struct pn_glue_keys keys = {lua_upvalueindex(PN_UP_NAME),
					  lua_upvalueindex(PN_UP_ATTR),
					  lua_upvalueindex(PN_UP_METATABLE)};
	struct pn_glue_encoder *encoder = take_encoder(L);
	lua_pushvalue(L, 1);
	const bool is_valid = pn_glue_walk(L, keys, &PN_GLUE_XML_OF_STRINGS, &encoder->enc);
	if (pn_encoder_finish(&encoder->enc) != PN_OK || !is_valid)
		return pass_on(L, 1);
	return pn_glue_push_buf(L, &encoder->out);
}

/*
 * Replaces the table on top by a copy. util.stanza copies in the order of next() into a table that
 * grows, and the copy's own order, which is that of attributes in XML, depends on this growth. Room
 * for two fields from the start leads to the same order.
 */
static void copy_fields(lua_State *L) {
	const int from = lua_gettop(L);
	int room = 0;
	lua_pushnil(L);
	while (room < 2 && lua_next(L, from) != 0 && lua_type(L, -2) == LUA_TSTRING) {
		lua_pop(L, 1);
		room++;
	}
	lua_settop(L, from);
	lua_createtable(L, 0, room);
	lua_pushnil(L);
	while (lua_next(L, from) != 0) {
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, from + 1);
	}
	lua_replace(L, from);
}

/* The same. Returns false if there is no table on top, or if it has a metatable. */
static bool copy_table(lua_State *L) {
	if (lua_type(L, -1) != LUA_TTABLE || !pn_glue_is_plain(L, -1))
		return false;
	copy_fields(L);
	return true;
}

/* Pushes name, a copy of attr, and a copy of namespaces or nil. Returns false, having pushed less,
 * if one of them is anything else. */
static bool push_top(lua_State *L, int element) {
	return push_field(L, element, PN_UP_NAME) == LUA_TSTRING &&
	       push_field(L, element, PN_UP_ATTR) == LUA_TTABLE && copy_table(L) &&
	       (push_field(L, element, PN_UP_NAMESPACES) == LUA_TNIL || copy_table(L));
}

/* Whether tostring() is ours: util.stanza's top_tag() calls the one that is there. */
static bool has_our_tostring(lua_State *L) {
	push_field(L, lua_upvalueindex(PN_UP_METATABLE), PN_UP_TOSTRING);
	const bool is_ours = lua_tocfunction(L, -1) == functions_tostring;
	lua_pop(L, 1);
	return is_ours;
}

/* top_tag(stanza) -> the start tag of its element */
static int functions_top_tag(lua_State *L) {
	lua_settop(L, 1);
	if (!is_stanza(L, 1) || !has_our_tostring(L) || !push_top(L, 1))
		return pass_on(L, 1);
	lua_settop(L, 3);
	struct pn_str name;
	name.bytes = lua_tolstring(L, 2, &name.len);
	struct pn_glue_encoder *encoder = take_encoder(L);
	pn_encoder_start(&encoder->enc, name);
	const bool is_valid = pn_glue_walk_attr(L, name, &PN_GLUE_XML_OF_STRINGS, &encoder->enc);
	pn_encoder_end(&encoder->enc);
	if (pn_encoder_finish(&encoder->enc) != PN_OK || !is_valid)
		return pass_on(L, 1);
	encoder->out.len--; /* the end is "/>" */
	encoder->out.data[encoder->out.len - 1] = '>';
	return pn_glue_push_buf(L, &encoder->out);
}

/* ---- Cloning ---- */

/* What clone_element() has on the stack, from the element on. */
enum { ELEMENT, NAME, ATTR, NAMESPACES, TAGS, CLONE, CLONE_TAGS, SLOTS };

/* Pushes a clone without children, and its tags, with room for them. */
static void push_clone(lua_State *L, int element, int children, int tags) {
	/* util.stanza's has a field to spare, which an only child takes */
	lua_createtable(L, children > 1 ? children : 0, 4);
	lua_createtable(L, tags, 0);
	const int fields[][2] = {{PN_UP_NAME, NAME},
				 {PN_UP_ATTR, ATTR},
				 {PN_UP_NAMESPACES, NAMESPACES},
				 {PN_UP_TAGS, CLONE_TAGS}};
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (lua_isnil(L, element + fields[i][1]))
			continue;
		lua_pushvalue(L, lua_upvalueindex(fields[i][0]));
		lua_pushvalue(L, element + fields[i][1]);
		lua_rawset(L, element + CLONE);
	}
	lua_pushvalue(L, lua_upvalueindex(PN_UP_METATABLE));
	lua_setmetatable(L, element + CLONE);
}

static bool clone_element(lua_State *L, int depth);

/* Clones the i-th child, which may be the next tag. */
static bool clone_child(lua_State *L, int element, lua_Integer i, lua_Integer *tag, int depth) {
	const int type = lua_rawgeti(L, element, i);
	if (type == LUA_TTABLE) {
		lua_rawgeti(L, element + TAGS, ++*tag);
		const bool is_listed = lua_rawequal(L, -1, -2);
		lua_pop(L, 1);
		if (!is_listed || !clone_element(L, depth - 1))
			return false;
		lua_pushvalue(L, -1);
		lua_rawseti(L, element + CLONE_TAGS, *tag);
	} else if (type != LUA_TSTRING) {
		return false;
	}
	lua_rawseti(L, element + CLONE, i);
	return true;
}

/* Replaces the element on top by its clone. Returns false, with more on the stack, if it is not one
 * that is handled here. */
static bool clone_element(lua_State *L, int depth) {
	const int element = lua_gettop(L);
	if (depth == 0 || !lua_checkstack(L, SLOTS + LUA_MINSTACK) ||
	    !(is_stanza(L, element) || pn_glue_is_plain(L, element)) || !push_top(L, element) ||
	    push_field(L, element, PN_UP_TAGS) != LUA_TTABLE ||
	    !pn_glue_is_plain(L, element + TAGS))
		return false;
	const lua_Unsigned children = lua_rawlen(L, element);
	const lua_Unsigned tags = lua_rawlen(L, element + TAGS);
	if (children > INT_MAX || tags > children)
		return false;
	push_clone(L, element, (int)children, (int)tags);
	lua_Integer tag = 0;
	for (lua_Integer i = 1; i <= (lua_Integer)children; i++) {
		if (!clone_child(L, element, i, &tag, depth))
			return false;
	}
	lua_settop(L, element + CLONE);
	lua_replace(L, element);
	lua_settop(L, element);
	return tag == (lua_Integer)tags;
}

/* clone(stanza [, only_top]) -> stanza */
static int functions_clone(lua_State *L) {
	lua_settop(L, 2);
	if (!is_stanza(L, 1))
		return pass_on(L, 2);
	if (!lua_toboolean(L, 2)) {
		lua_pushvalue(L, 1);
		return clone_element(L, DEPTH_MAX) ? 1 : pass_on(L, 2);
	}
	lua_remove(L, 2);
	if (!push_top(L, 1)) {
		lua_settop(L, 1);
		lua_pushboolean(L, 1);
		return pass_on(L, 2);
	}
	lua_pushnil(L); /* in the place of TAGS */
	push_clone(L, 1, 0, 0);
	lua_settop(L, 1 + CLONE);
	return 1;
}

/* ---- Opening ---- */

static const struct {
	const char *name;
	lua_CFunction function;
} FUNCTIONS[] = {
	{"top_tag", functions_top_tag}, {"tostring", functions_tostring},
	{"clone", functions_clone},     {"tag", pn_functions_tag},
	{"text", pn_functions_text},
};

/* Pushes all upvalues for a function; metatable, replaced and the encoder are at 1, 2 and 4. */
static void push_upvalues(lua_State *L, const char *name) {
	static const char *const KEYS[] = {
		"name", "attr", "tags", "namespaces", "last_add", "__tostring", "add_direct_child"};
	lua_pushvalue(L, 4);
	for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++)
		lua_pushstring(L, KEYS[i]);
	lua_pushvalue(L, 1);
	lua_getfield(L, 2, "add_direct_child");
	if (lua_getfield(L, 2, name) != LUA_TFUNCTION)
		luaL_error(L, "replaced.%s is not a function", name);
}

/*
 * stanza_functions(metatable, replaced) -> { top_tag =, tostring =, clone =, tag =, text = }
 * metatable: of util.stanza; replaced: a table of the same fields, the functions of util.stanza,
 * and of add_direct_child, without which tag() and text() pass every call on
 */
static int stanza_functions(lua_State *L) {
	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 2);
	lua_newtable(L);
	pn_glue_encoder_new(L, ENCODER);
	for (size_t i = 0; i < sizeof(FUNCTIONS) / sizeof(FUNCTIONS[0]); i++) {
		push_upvalues(L, FUNCTIONS[i].name);
		lua_pushcclosure(L, FUNCTIONS[i].function, PN_UP_COUNT);
		lua_setfield(L, 3, FUNCTIONS[i].name);
	}
	lua_settop(L, 3);
	return 1;
}

void pn_lua_open_functions(lua_State *L) {
	lua_pushcfunction(L, stanza_functions);
	lua_setfield(L, -2, "stanza_functions");
}
