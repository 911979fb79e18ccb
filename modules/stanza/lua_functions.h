/* Private to this folder: what the functions of util.stanza in C share. */
#ifndef PN_STANZA_LUA_FUNCTIONS_H
#define PN_STANZA_LUA_FUNCTIONS_H

#include <lua.h>

/* Upvalues of every function. */
enum pn_functions_upvalue {
	PN_UP_ENCODER = 1,
	/* keys of elements and of util.stanza's metatable */
	PN_UP_NAME,
	PN_UP_ATTR,
	PN_UP_TAGS,
	PN_UP_NAMESPACES,
	PN_UP_LAST_ADD,
	PN_UP_TOSTRING,
	PN_UP_ADD,
	/* util.stanza's metatable, its add_direct_child() or nil, and the replaced function */
	PN_UP_METATABLE,
	PN_UP_PROSODYS_ADD,
	PN_UP_REPLACED,
	PN_UP_COUNT = PN_UP_REPLACED
};

/* Calls the replaced function with the first `arguments` arguments. Returns the number of results.
 */
static inline int pass_on(lua_State *L, int arguments) {
	lua_settop(L, arguments);
	lua_pushvalue(L, lua_upvalueindex(PN_UP_REPLACED));
	lua_insert(L, 1);
	lua_call(L, arguments, LUA_MULTRET);
	return lua_gettop(L);
}

/* Pushes field `key`, an upvalue, of the table at `index`, absolute or an upvalue. Returns its
 * type. */
static inline int push_field(lua_State *L, int index, int key) {
	lua_pushvalue(L, lua_upvalueindex(key));
	return lua_rawget(L, index);
}

/* Methods that add to a stanza: see lua_adding.c. */
int pn_functions_tag(lua_State *L);
int pn_functions_text(lua_State *L);

#endif
