/*
 * For mod_mam, mam.so: what a message contains, and copies of messages. Messages are tables of
 * util.stanza. Raw access only, so no Lua code runs; a table that another module has damaged is
 * read as far as it is a stanza.
 */
#include <stdbool.h>

#include "../glue/glue.h"

/* Upvalues of every function: names of fields, and util.stanza's metatable. */
enum { UP_NAME = 1, UP_ATTR, UP_TAGS, UP_XMLNS, UP_NAMESPACES, UP_METATABLE, UP_COUNT = 6 };

#define UP(index) lua_upvalueindex(index)

/* Pushes field `name` (an upvalue) of the value at `index`; nil if that is not a table. */
static int push_field(lua_State *L, int index, int name) {
	const int table = lua_absindex(L, index);
	if (!lua_istable(L, table)) {
		lua_pushnil(L);
		return LUA_TNIL;
	}
	lua_pushvalue(L, UP(name));
	return lua_rawget(L, table);
}

/* Pushes the value that the table at `index` has for the value on top, which it replaces; nil if
 * there is no table, or no value to look up. */
static int look_up(lua_State *L, int index) {
	if (lua_istable(L, index) && !lua_isnil(L, -1))
		return lua_rawget(L, index);
	lua_pop(L, 1);
	lua_pushnil(L);
	return LUA_TNIL;
}

/* Pushes the namespace of the element at `index`. */
static void push_xmlns(lua_State *L, int index) {
	push_field(L, index, UP_ATTR);
	push_field(L, -1, UP_XMLNS);
	lua_remove(L, -2);
}

/* ---- What a message contains ---- */

struct examined {
	lua_Integer rank; /* the lowest one */
	lua_Integer left_out;
	lua_Integer elements;
	bool has_id;
};

enum { STANZA = 1, RANKS, OWN, LEFT_OUT, NOTHING, TAGS, XMLNS }; /* positions in the stack */

/*
 * Returns the rank of the element at `tag`, given what its name means, which is on top and is
 * popped: a number; or a table, whose keys are names of children in the element's namespace.
 */
static lua_Integer rank_of(lua_State *L, int tag, int xmlns, lua_Integer nothing) {
	const int meaning = lua_gettop(L);
	lua_Integer rank = nothing;
	if (lua_isinteger(L, meaning))
		rank = lua_tointeger(L, meaning);
	if (lua_istable(L, meaning) && push_field(L, tag, UP_TAGS) == LUA_TTABLE) {
		const int tags = lua_gettop(L);
		const lua_Integer count = (lua_Integer)lua_rawlen(L, tags);
		for (lua_Integer i = 1; i <= count && rank == nothing; i++) {
			lua_rawgeti(L, tags, i);
			push_xmlns(L, -1);
			push_field(L, -2, UP_NAME);
			const bool is_same = lua_rawequal(L, -2, xmlns);
			if (look_up(L, meaning) == LUA_TNUMBER && is_same)
				rank = lua_tointeger(L, -1);
			lua_settop(L, tags);
		}
	}
	lua_settop(L, meaning - 1);
	return rank;
}

/* Pushes what the name of the element at `tag` means in its namespace. */
static void push_meaning(lua_State *L, int tag, int xmlns) {
	if (lua_rawequal(L, xmlns, XMLNS)) {
		lua_pushvalue(L, OWN);
	} else {
		lua_pushvalue(L, xmlns);
		look_up(L, RANKS);
	}
	if (!lua_istable(L, -1))
		return;
	push_field(L, tag, UP_NAME);
	look_up(L, lua_gettop(L) - 1);
	lua_remove(L, -2);
}

/* Looks at the element on top, and pops it. */
static void examine(lua_State *L, lua_Integer nothing, struct examined *result) {
	const int tag = lua_gettop(L), xmlns = tag + 1;
	push_xmlns(L, tag);
	push_meaning(L, tag, xmlns);
	const lua_Integer rank = rank_of(L, tag, xmlns, nothing);
	if (rank < 0)
		result->has_id = true;
	else if (rank < result->rank)
		result->rank = rank;
	lua_pushvalue(L, xmlns);
	result->left_out += look_up(L, LEFT_OUT) != LUA_TNIL;
	lua_settop(L, tag - 1);
}

/*
 * examine(stanza, ranks, own, left_out, nothing) -> the lowest rank, number of children to leave
 * out, number of children, whether one has a negative rank
 * ranks: { [namespace] = rank | { [name] = rank | { [name of a child] = rank } } }; own: the same
 * for the namespace of the stanza; left_out: a set of namespaces; nothing: the rank of anything
 * else
 */
static int mam_examine(lua_State *L) {
	luaL_checktype(L, STANZA, LUA_TTABLE);
	lua_settop(L, NOTHING);
	struct examined result = {.rank = luaL_checkinteger(L, NOTHING)};
	const lua_Integer nothing = result.rank;
	push_field(L, STANZA, UP_TAGS);
	push_xmlns(L, STANZA);
	if (lua_istable(L, TAGS))
		result.elements = (lua_Integer)lua_rawlen(L, TAGS);
	for (lua_Integer i = 1; i <= result.elements; i++) {
		lua_rawgeti(L, TAGS, i);
		examine(L, nothing, &result);
	}
	lua_pushinteger(L, result.rank);
	lua_pushinteger(L, result.left_out);
	lua_pushinteger(L, result.elements);
	lua_pushboolean(L, result.has_id);
	return 4;
}

/* ---- Copies: a new root, with the children of the stanza ---- */

/* Sets a field of the table at `to` to the value on top, and pops that. */
static void set_field(lua_State *L, int to, int name) {
	lua_pushvalue(L, UP(name));
	lua_insert(L, -2);
	lua_rawset(L, to);
}

/* Pushes a copy of the attributes of the stanza at 1. */
static void push_attr(lua_State *L) {
	push_field(L, 1, UP_ATTR);
	const int attr = lua_gettop(L);
	luaL_argexpected(L, lua_istable(L, attr), 1, "stanza");
	lua_createtable(L, 0, 6);
	for (lua_pushnil(L); lua_next(L, attr) != 0;) {
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, attr + 1);
	}
	lua_remove(L, attr);
}

/* Pushes a root without children, and its tags, with room for so many. */
static void push_root(lua_State *L, int children, int tags) {
	lua_createtable(L, children, 4);
	const int root = lua_gettop(L);
	push_field(L, 1, UP_NAME);
	set_field(L, root, UP_NAME);
	push_attr(L);
	set_field(L, root, UP_ATTR);
	if (push_field(L, 1, UP_NAMESPACES) == LUA_TTABLE)
		set_field(L, root, UP_NAMESPACES);
	lua_settop(L, root);
	lua_pushvalue(L, UP(UP_METATABLE));
	lua_setmetatable(L, root);
	lua_createtable(L, tags, 0);
	lua_pushvalue(L, -1);
	set_field(L, root, UP_TAGS);
}

/* Whether the child on top belongs to a namespace of the set at `namespaces`. */
static bool is_left_out(lua_State *L, int namespaces) {
	if (!lua_istable(L, -1) || !lua_istable(L, namespaces))
		return false;
	push_xmlns(L, -1);
	const bool left_out = look_up(L, namespaces) != LUA_TNIL;
	lua_pop(L, 1);
	return left_out;
}

/* copy(stanza, child or nil, namespaces or nil) -> a copy without children of the namespaces, a
 * set, and with a further child */
static int mam_copy(lua_State *L) {
	enum { CHILD = 2, NAMESPACES, ROOT, ROOT_TAGS };
	luaL_checktype(L, STANZA, LUA_TTABLE);
	lua_settop(L, NAMESPACES);
	const int count = (int)lua_rawlen(L, STANZA);
	lua_Integer children = 0, tags = 0;
	push_root(L, count + 1, count + 1);
	for (int i = 1; i <= count + 1; i++) {
		if (i > count)
			lua_pushvalue(L, CHILD);
		else if (lua_rawgeti(L, STANZA, i), is_left_out(L, NAMESPACES))
			lua_pushnil(L);
		if (lua_istable(L, -1)) {
			lua_pushvalue(L, -1);
			lua_rawseti(L, ROOT_TAGS, ++tags);
		}
		if (!lua_isnil(L, -1))
			lua_rawseti(L, ROOT, ++children);
		lua_settop(L, ROOT_TAGS);
	}
	lua_settop(L, ROOT);
	return 1;
}

/* ---- Whether a copy is as it was ---- */

/* Whether the arrays at a and b begin with the same `count` values, and a has no more but `more`.
 */
static bool has_same(lua_State *L, int a, int b, lua_Integer more) {
	if (!lua_istable(L, a) || !lua_istable(L, b))
		return false;
	const lua_Integer count = (lua_Integer)lua_rawlen(L, b);
	bool same = (lua_Integer)lua_rawlen(L, a) == count + more;
	for (lua_Integer i = 1; i <= count && same; i++) {
		lua_rawgeti(L, a, i);
		lua_rawgeti(L, b, i);
		same = lua_rawequal(L, -1, -2);
		lua_pop(L, 2);
	}
	return same;
}

/* Whether the table at a has all pairs of the one at b. */
static bool has_pairs(lua_State *L, int a, int b) {
	bool same = lua_istable(L, a) && lua_istable(L, b);
	if (!same)
		return false;
	for (lua_pushnil(L); same && lua_next(L, b) != 0; lua_pop(L, 1)) {
		lua_pushvalue(L, -2);
		lua_rawget(L, a);
		same = lua_rawequal(L, -1, -2);
		lua_pop(L, 1);
	}
	lua_settop(L, b);
	return same;
}

/* is_unchanged(marked, stanza) -> whether `marked` differs from `stanza` by one child at its end */
static int mam_is_unchanged(lua_State *L) {
	lua_settop(L, 2);
	push_field(L, 1, UP_NAME);
	push_field(L, 2, UP_NAME);
	bool same = has_same(L, 1, 2, 1) && lua_rawequal(L, -1, -2);
	lua_settop(L, 2);
	push_field(L, 1, UP_TAGS);
	push_field(L, 2, UP_TAGS);
	same = same && has_same(L, 3, 4, 1);
	lua_settop(L, 2);
	push_field(L, 1, UP_ATTR);
	push_field(L, 2, UP_ATTR);
	same = same && has_pairs(L, 3, 4);
	lua_settop(L, 2);
	push_field(L, 2, UP_ATTR);
	push_field(L, 1, UP_ATTR);
	same = same && has_pairs(L, 3, 4);
	lua_pushboolean(L, same);
	return 1;
}

static const luaL_Reg FUNCTIONS[] = {
	{"examine", mam_examine},
	{"copy", mam_copy},
	{"is_unchanged", mam_is_unchanged},
	{NULL, NULL},
};

/* The library is a function: its argument is util.stanza's metatable. */
static int mam_new(lua_State *L) {
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	luaL_newlibtable(L, FUNCTIONS);
	lua_pushliteral(L, "name");
	lua_pushliteral(L, "attr");
	lua_pushliteral(L, "tags");
	lua_pushliteral(L, "xmlns");
	lua_pushliteral(L, "namespaces");
	lua_pushvalue(L, 1);
	luaL_setfuncs(L, FUNCTIONS, UP_COUNT);
	return 1;
}

PN_EXPORT int luaopen_mam(lua_State *L);

int luaopen_mam(lua_State *L) {
	lua_pushcfunction(L, mam_new);
	return 1;
}
