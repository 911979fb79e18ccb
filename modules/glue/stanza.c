#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

#include <pn/err.h>
#include <pn/pack.h>

#include "stanza.h"

/* ---- Walking. The stack has, for each open element: element, index of its next child. ---- */

struct walk {
	lua_State *L;
	struct pn_glue_keys keys;
	const struct pn_glue_sink *sink;
	void *to;
	int base; /* of the stack */
};

enum { NUMBER_SIZE = 64 }; /* bytes of a number as text: more than any needs, as in lobject.c */

static struct pn_str to_str(lua_State *L, int index) {
	struct pn_str str;
	str.bytes = lua_tolstring(L, index, &str.len);
	return str;
}

/* Writes the number at `index` as tostring() does, without making a Lua string. */
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

bool pn_glue_walk_attr(lua_State *L, struct pn_str name, const struct pn_glue_sink *sink,
		       void *to) {
	char number[NUMBER_SIZE];
	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
		if (lua_type(L, -2) != LUA_TSTRING) {
			lua_pushfstring(L, "<%s> has an attribute whose name is not a string",
					name.bytes);
			return false;
		}
		const struct pn_str key = to_str(L, -2);
		const int type = lua_type(L, -1);
		if (type == LUA_TSTRING) {
			sink->attr(to, key, to_str(L, -1));
		} else if (type == LUA_TNUMBER && !sink->refuses_numbers) {
			sink->attr(to, key, number_to_str(L, -1, number));
		} else {
			lua_pushfstring(L, "attribute '%s' of <%s> is a %s", key.bytes, name.bytes,
					luaL_typename(L, -1));
			return false;
		}
	}
	return true;
}

bool pn_glue_is_stanza(lua_State *L, int index, int metatable) {
	if (!lua_getmetatable(L, index))
		return false;
	const bool same = lua_rawequal(L, -1, metatable);
	lua_pop(L, 1);
	return same;
}

bool pn_glue_is_plain(lua_State *L, int index) {
	if (!lua_getmetatable(L, index))
		return true;
	lua_pop(L, 1);
	return false;
}

/* Refuses the table on top if Lua code might see something else in it than raw access does. */
static bool check_metatable(const struct walk *walk, bool is_element) {
	lua_State *L = walk->L;
	const int metatable = walk->keys.metatable;
	if (metatable == 0 || pn_glue_is_plain(L, -1) ||
	    (is_element && pn_glue_is_stanza(L, -1, metatable)))
		return true;
	lua_pushliteral(L, "stanza has a table with a metatable of its own");
	return false;
}

/* Starts the element on top, and pushes the index of its first child. */
static bool begin_element(const struct walk *walk) {
	lua_State *L = walk->L;
	luaL_checkstack(L, 8, "stanza is nested too deeply, or there is no memory for it");
	if (!check_metatable(walk, true))
		return false;
	lua_pushvalue(L, walk->keys.name);
	if (lua_rawget(L, -2) != LUA_TSTRING) {
		lua_pushliteral(L, "stanza has an element without a name");
		return false;
	}
	const struct pn_str name = to_str(L, -1);
	lua_pop(L, 1); /* the element keeps it alive */
	walk->sink->start(walk->to, name);

	lua_pushvalue(L, walk->keys.attr);
	if (lua_rawget(L, -2) != LUA_TTABLE) {
		lua_pushfstring(L, "<%s> has no attr table", name.bytes);
		return false;
	}
	if (!check_metatable(walk, false) || !pn_glue_walk_attr(L, name, walk->sink, walk->to))
		return false;
	lua_pop(L, 1);
	lua_pushinteger(L, 1);
	return true;
}

/* Whether the element below the index on top ends here: behind a nil there may be more children. */
static bool ends_at(const struct walk *walk, lua_Integer index) {
	return walk->keys.metatable == 0 || (lua_Integer)lua_rawlen(walk->L, -3) == index - 1;
}

/* Handles the next child, or the end, of the element on top. */
static bool walk_step(const struct walk *walk) {
	lua_State *L = walk->L;
	const lua_Integer index = lua_tointeger(L, -1);
	lua_pushinteger(L, index + 1);
	lua_replace(L, -2);
	switch (lua_rawgeti(L, -2, index)) {
	case LUA_TNIL:
		if (!ends_at(walk, index)) {
			lua_pushliteral(L, "stanza has a child that is nil");
			return false;
		}
		walk->sink->end(walk->to);
		lua_pop(L, 3);
		return true;
	case LUA_TTABLE:
		return begin_element(walk);
	case LUA_TSTRING:
		walk->sink->text(walk->to, to_str(L, -1));
		lua_pop(L, 1);
		return true;
	default:
		lua_pushfstring(L, "stanza has a child that is a %s", luaL_typename(L, -1));
		return false;
	}
}

bool pn_glue_walk(lua_State *L, struct pn_glue_keys keys, const struct pn_glue_sink *sink,
		  void *to) {
	const struct walk walk = {L, keys, sink, to, lua_gettop(L) - 1};
	bool good = begin_element(&walk);
	while (good && lua_gettop(L) > walk.base && sink->error(to) == PN_OK)
		good = walk_step(&walk);
	if (good) {
		lua_settop(L, walk.base);
	} else {
		lua_replace(L, walk.base + 1);
		lua_settop(L, walk.base + 1);
	}
	return good;
}

/* ---- Building. The stack has, for each open element: element, tags, attr. ---- */

enum { ELEMENT = 1, TAGS, ATTR, SLOTS = 3 };

static void push_string(lua_State *L, struct pn_glue_tokens *tokens) {
	if (tokens->dictionary == 0) {
		size_t len;
		const char *bytes = pn_wire_bytes(&tokens->wire, &len);
		lua_pushlstring(L, bytes != NULL ? bytes : "", len);
		return;
	}
	struct pn_str str;
	const int entry = pn_unpack_string(&tokens->wire, &str);
	if (entry >= 0)
		lua_rawgeti(L, tokens->dictionary, entry + 1);
	else
		lua_pushlstring(L, str.bytes, str.len);
}

/* Appends the value on top to the array at `index`, and pops it. */
static void append(lua_State *L, int index) {
	const int array = lua_absindex(L, index);
	lua_rawseti(L, array, (lua_Integer)lua_rawlen(L, array) + 1);
}

/* Pushes a new element, its tags and its attr, and makes it a child of the element below. */
static void build_start(lua_State *L, struct pn_glue_tokens *tokens, int base) {
	luaL_checkstack(L, 8, "stanza is nested too deeply, or there is no memory for it");
	lua_createtable(L, 1, 3);
	push_string(L, tokens);
	lua_setfield(L, -2, "name");
	lua_newtable(L);
	lua_pushvalue(L, -1);
	lua_setfield(L, -3, "tags");
	lua_newtable(L);
	lua_pushvalue(L, -1);
	lua_setfield(L, -4, "attr");

	const int element = lua_gettop(L) - SLOTS + ELEMENT;
	lua_pushvalue(L, tokens->metatable);
	lua_setmetatable(L, element); /* only raw access from here on, so no metamethod runs */
	if (element - SLOTS >= base + ELEMENT) {
		lua_pushvalue(L, element);
		append(L, element - SLOTS);
		lua_pushvalue(L, element);
		append(L, element - SLOTS + 1);
	}
}

void pn_glue_build(lua_State *L, struct pn_glue_tokens *tokens) {
	const int base = lua_gettop(L);
	while (tokens->wire.left > 0 && tokens->wire.err == PN_OK) {
		switch ((enum pn_token)pn_wire_u8(&tokens->wire)) {
		case PN_TOKEN_START:
			build_start(L, tokens, base);
			break;
		case PN_TOKEN_ATTR:
			push_string(L, tokens);
			push_string(L, tokens);
			lua_rawset(L, -3);
			break;
		case PN_TOKEN_XMLNS: /* pushes the parent's string again */
			lua_pushliteral(L, "xmlns");
			lua_pushvalue(L, -1);
			lua_rawget(L, -3 - SLOTS);
			lua_rawset(L, -3);
			break;
		case PN_TOKEN_TEXT:
			push_string(L, tokens);
			append(L, -SLOTS - 1);
			break;
		case PN_TOKEN_END: /* the root stays */
			lua_pop(L, lua_gettop(L) == base + SLOTS ? SLOTS - ELEMENT : SLOTS);
			break;
		}
	}
}

void pn_glue_dictionary(lua_State *L) {
	lua_createtable(L, PN_PACK_WORDS, 0);
	for (int i = 0; i < PN_PACK_WORDS; i++) {
		const struct pn_str word = pn_pack_word(i);
		lua_pushlstring(L, word.bytes, word.len);
		lua_rawseti(L, -2, i + 1);
	}
}
