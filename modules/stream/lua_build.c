/*
 * Items of a stream as tables of util.stanza: those that Prosody's own parser would have made. Each
 * table is made with the size that it needs.
 *
 * The walk does not recurse. The Lua stack has, for each open element: the element, its tags.
 */
#include <lauxlib.h>

#include "lua_stream.h"

enum { ELEMENT = 1, TAGS, SLOTS = 2, EXTRA = 10 /* slots for what is pushed on top */ };

struct build {
	lua_State *L;
	const struct pn_stream *stream;
	size_t at;      /* of the next item */
	int base;       /* of the stack: the string of the last namespace is there */
	int metatable;  /* of stanzas */
	const char *ns; /* where the last namespace is in the items */
};

void pn_lua_stream_push_keys(lua_State *L) {
	lua_pushliteral(L, "name");
	lua_pushliteral(L, "attr");
	lua_pushliteral(L, "tags");
	lua_pushliteral(L, "xmlns");
	lua_pushliteral(L, "xml:lang");
}

static void push_key(lua_State *L, int key) {
	lua_pushvalue(L, lua_upvalueindex(key));
}

static void push_str(lua_State *L, struct pn_str str) {
	lua_pushlstring(L, str.bytes, str.len);
}

/* Pushes the namespace. The strings of long ones are shared, as their bytes are in the items. */
static void push_ns(struct build *build, const struct pn_stream_item *start, int element) {
	lua_State *L = build->L;
	if (start->inherits_xmlns && element - SLOTS > build->base) {
		push_key(L, PN_UP_ATTR);
		lua_rawget(L, element - SLOTS);
		push_key(L, PN_UP_XMLNS);
		lua_rawget(L, -2);
		lua_remove(L, -2);
		if (!lua_isnil(L, -1))
			return;
		lua_pop(L, 1);
	}
	if (start->value.bytes != build->ns) {
		push_str(L, start->value);
		lua_replace(L, build->base);
		build->ns = start->value.bytes;
	}
	lua_pushvalue(L, build->base);
}

/* Pushes the attributes of the element whose START was read. */
static void push_attrs(struct build *build, const struct pn_stream_item *start, int element,
		       int more) {
	lua_State *L = build->L;
	struct pn_stream_item attr;
	lua_createtable(L, 0, (int)start->attrs + start->has_xmlns + more);
	if (start->has_xmlns) {
		push_key(L, PN_UP_XMLNS);
		push_ns(build, start, element);
		lua_rawset(L, -3);
	}
	for (uint32_t i = 0; i < start->attrs && pn_stream_next(build->stream, &build->at, &attr);
	     i++) {
		push_str(L, attr.name);
		push_str(L, attr.value);
		lua_rawset(L, -3);
	}
}

/* A stanza has the language of its stream, unless it has another. */
static void set_lang(struct build *build) {
	lua_State *L = build->L;
	push_key(L, PN_UP_XML_LANG);
	const int type = lua_rawget(L, -2);
	lua_pop(L, 1);
	if (type != LUA_TNIL)
		return;
	push_key(L, PN_UP_XML_LANG);
	push_str(L, pn_stream_lang(build->stream));
	lua_rawset(L, -3);
}

/* Pushes the element and its tags, and makes it a child of the element below. */
static void build_start(struct build *build, const struct pn_stream_item *start) {
	lua_State *L = build->L;
	const bool is_root = lua_gettop(L) == build->base;
	lua_createtable(L, (int)start->children, 3);
	const int element = lua_gettop(L);
	push_key(L, PN_UP_NAME);
	push_str(L, start->name);
	lua_rawset(L, element);
	push_key(L, PN_UP_ATTR);
	push_attrs(build, start, element, is_root);
	if (is_root)
		set_lang(build);
	lua_rawset(L, element);
	lua_createtable(L, (int)start->elements, 0);
	push_key(L, PN_UP_TAGS);
	lua_pushvalue(L, -2);
	lua_rawset(L, element);
	lua_pushvalue(L, build->metatable);
	lua_setmetatable(L, element); /* only raw access from here on, so no metamethod runs */
	if (is_root)
		return;
	lua_pushvalue(L, element);
	lua_rawseti(L, element - SLOTS, start->index);
	lua_pushvalue(L, element);
	lua_rawseti(L, element - SLOTS + 1, start->element);
}

void pn_lua_stream_push_stanza(lua_State *L, const struct pn_stream *stream, int metatable) {
	luaL_checkstack(L, SLOTS * (int)pn_stream_levels(stream) + EXTRA, "stanza is too deep");
	lua_pushnil(L);
	struct build build = {L, stream, 0, lua_gettop(L), metatable, NULL};
	struct pn_stream_item item;
	while (pn_stream_next(stream, &build.at, &item)) {
		switch (item.type) {
		case PN_STREAM_START:
			build_start(&build, &item);
			break;
		case PN_STREAM_TEXT:
			push_str(L, item.value);
			lua_rawseti(L, -3, item.index);
			break;
		case PN_STREAM_END: /* the root stays */
			lua_pop(L, lua_gettop(L) == build.base + SLOTS ? SLOTS - ELEMENT : SLOTS);
			break;
		case PN_STREAM_ATTR: /* read with its START */
			break;
		}
	}
	lua_replace(L, build.base);
}

void pn_lua_stream_push_attrs(lua_State *L, const struct pn_stream *stream) {
	luaL_checkstack(L, EXTRA, NULL);
	lua_pushnil(L);
	struct build build = {L, stream, 0, lua_gettop(L), 0, NULL};
	struct pn_stream_item item;
	if (pn_stream_next(stream, &build.at, &item))
		push_attrs(&build, &item, build.base + ELEMENT, 0);
	lua_replace(L, build.base);
}

void pn_lua_stream_push_text(lua_State *L, const struct pn_stream *stream) {
	size_t at = 0;
	struct pn_stream_item item = {.value = {"", 0}};
	(void)pn_stream_next(stream, &at, &item);
	push_str(L, item.value);
}
