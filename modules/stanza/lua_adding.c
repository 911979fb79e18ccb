/*
 * Methods of util.stanza that add to a stanza, part of stream.so: tag() and text(). As in
 * lua_functions.c, all but the ordinary case is passed to the functions that they replace.
 *
 *      stanza:tag(name [, attr [, namespaces]]) -> stanza
 *      stanza:text([text]) -> stanza
 *
 * Both add to the element that tag() has added last and up() has not left: the last one in
 * last_add.
 */
#include <stdbool.h>

#include <pn/stanza.h>

#include "../glue/glue.h"
#include "../glue/stanza.h"
#include "lua_functions.h"

static struct pn_str to_str(lua_State *L, int index) {
	struct pn_str str;
	str.bytes = lua_tolstring(L, index, &str.len);
	return str;
}

/* Whether util.stanza accepts the value at `index` as a text; it accepts a few more. */
static bool is_text(lua_State *L, int index) {
	return lua_type(L, index) == LUA_TSTRING && pn_stanza_is_text(to_str(L, index));
}

static bool is_name(lua_State *L, int index, bool attribute) {
	return lua_type(L, index) == LUA_TSTRING && pn_stanza_is_name(to_str(L, index), attribute);
}

/* The same for the attributes at `index`. */
static bool is_attr(lua_State *L, int index) {
	if (lua_isnil(L, index))
		return true;
	if (lua_type(L, index) != LUA_TTABLE || !pn_glue_is_plain(L, index))
		return false;
	for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
		if (!is_name(L, -2, true) || !is_text(L, -1)) {
			lua_pop(L, 2);
			return false;
		}
	}
	return true;
}

static bool is_table(lua_State *L, int index) {
	return lua_type(L, index) == LUA_TTABLE && pn_glue_is_plain(L, index);
}

/* Whether the value at `index` is a stanza to which util.stanza's add_direct_child() adds. */
static bool takes_children(lua_State *L, int index) {
	if (lua_type(L, index) != LUA_TTABLE ||
	    !pn_glue_is_stanza(L, index, lua_upvalueindex(PN_UP_METATABLE)))
		return false;
	const bool has_own = push_field(L, index, PN_UP_ADD) != LUA_TNIL;
	push_field(L, lua_upvalueindex(PN_UP_METATABLE), PN_UP_ADD);
	const bool is_prosodys = lua_type(L, -1) == LUA_TFUNCTION &&
				 lua_rawequal(L, -1, lua_upvalueindex(PN_UP_PROSODYS_ADD));
	lua_pop(L, 2);
	return is_prosodys && !has_own;
}

/* Appends the value on top to the array at `index`, and pops it. */
static void append(lua_State *L, int index) {
	lua_rawseti(L, index, (lua_Integer)lua_rawlen(L, index) + 1);
}

/*
 * Pushes last_add of the stanza at 1, or nil, and the element that is added to. Returns false,
 * having pushed any number of values, if they are not as they should be.
 */
static bool push_place(lua_State *L) {
	if (!takes_children(L, 1))
		return false;
	const int type = push_field(L, 1, PN_UP_LAST_ADD);
	const int last_add = lua_gettop(L);
	if (type != LUA_TNIL && !is_table(L, last_add))
		return false;
	if (type == LUA_TNIL ||
	    lua_rawgeti(L, last_add, (lua_Integer)lua_rawlen(L, last_add)) == LUA_TNIL) {
		lua_settop(L, last_add);
		lua_pushvalue(L, 1);
		return true;
	}
	return takes_children(L, lua_gettop(L));
}

/* Pushes the element that name, attr and namespaces at 2 to 4 describe. */
static void push_element(lua_State *L) {
	const int element = lua_gettop(L) + 1;
	lua_createtable(L, 0, 4);
	lua_pushvalue(L, lua_upvalueindex(PN_UP_NAME));
	lua_pushvalue(L, 2);
	lua_rawset(L, element);
	lua_pushvalue(L, lua_upvalueindex(PN_UP_ATTR));
	if (lua_isnil(L, 3))
		lua_newtable(L);
	else
		lua_pushvalue(L, 3);
	lua_rawset(L, element);
	if (!lua_isnil(L, 4)) {
		lua_pushvalue(L, lua_upvalueindex(PN_UP_NAMESPACES));
		lua_pushvalue(L, 4);
		lua_rawset(L, element);
	}
	lua_pushvalue(L, lua_upvalueindex(PN_UP_TAGS));
	lua_newtable(L);
	lua_rawset(L, element);
	lua_pushvalue(L, lua_upvalueindex(PN_UP_METATABLE));
	lua_setmetatable(L, element);
}

int pn_functions_tag(lua_State *L) {
	enum { LAST_ADD = 5, PLACE, TAGS, ELEMENT };
	lua_settop(L, 4);
	if (!is_name(L, 2, false) || !is_attr(L, 3) || !push_place(L) ||
	    push_field(L, PLACE, PN_UP_TAGS) != LUA_TTABLE || !is_table(L, TAGS))
		return pass_on(L, 4);
	push_element(L);
	if (lua_isnil(L, LAST_ADD)) {
		lua_newtable(L);
		lua_replace(L, LAST_ADD);
		lua_pushvalue(L, lua_upvalueindex(PN_UP_LAST_ADD));
		lua_pushvalue(L, LAST_ADD);
		lua_rawset(L, 1);
	}
	static const int ARRAYS[] = {TAGS, PLACE, LAST_ADD};
	for (size_t i = 0; i < sizeof(ARRAYS) / sizeof(ARRAYS[0]); i++) {
		lua_pushvalue(L, ELEMENT);
		append(L, ARRAYS[i]);
	}
	lua_settop(L, 1);
	return 1;
}

int pn_functions_text(lua_State *L) {
	enum { LAST_ADD = 3, PLACE };
	lua_settop(L, 2);
	if (!is_text(L, 2) || lua_rawlen(L, 2) == 0 || !push_place(L))
		return pass_on(L, 2);
	lua_pushvalue(L, 2);
	append(L, PLACE);
	lua_settop(L, 1);
	return 1;
}
