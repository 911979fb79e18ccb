/* What the files of this binding share. */
#ifndef PN_LUA_STREAM_H
#define PN_LUA_STREAM_H

#include <lua.h>

#include <pn/stream.h>

/* Strings that a stanza has as keys, and where they are: upvalues of the function that builds. */
enum {
	PN_UP_NAME = 1,
	PN_UP_ATTR,
	PN_UP_TAGS,
	PN_UP_XMLNS,
	PN_UP_XML_LANG,
	PN_UP_KEYS = 5,
};

/* Pushes the five strings. */
void pn_lua_stream_push_keys(lua_State *L);

/* Pushes the stanza of an event, with the metatable at index `metatable`. */
void pn_lua_stream_push_stanza(lua_State *L, const struct pn_stream *stream, int metatable);

/* Pushes the attributes of the start tag of an event. */
void pn_lua_stream_push_attrs(lua_State *L, const struct pn_stream *stream);

/* Pushes the text of an event. */
void pn_lua_stream_push_text(lua_State *L, const struct pn_stream *stream);

#endif
