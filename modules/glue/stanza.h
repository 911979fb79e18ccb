/*
 * Walks over stanzas that are tables of util.stanza, and builds such tables.
 *
 * Neither recurses: their state is on the Lua stack, so a deep stanza takes no C stack.
 */
#ifndef PN_GLUE_STANZA_H
#define PN_GLUE_STANZA_H

#include <stdbool.h>

#include <lua.h>

#include <pn/stanza.h>
#include <pn/wire.h>

/* Receives a stanza in document order: start, its attrs, then texts and elements, end. */
struct pn_glue_sink {
	void (*start)(void *to, struct pn_str name);
	void (*attr)(void *to, struct pn_str key, struct pn_str value);
	void (*text)(void *to, struct pn_str text);
	void (*end)(void *to);
	int (*error)(const void *to); /* 0, or a negative code that ends the walk */
	bool refuses_numbers;         /* as values of attributes */
};

/* Indices or pseudo-indices of the strings "name" and "attr", and of util.stanza's metatable. */
struct pn_glue_keys {
	int name;
	int attr;
	/* If not 0, a stanza is also invalid if Lua code, which respects metatables, sees another
	 * one than raw access does: an element has another metatable, its attr has one, a child is
	 * nil. */
	int metatable;
};

/*
 * Passes the stanza at the top of the stack to `sink`, and pops it. Returns true; or false, with a
 * message in place of the stanza, if the table is not a valid stanza. Raises only if the stack
 * cannot grow; uses raw access, so no Lua code runs.
 */
bool pn_glue_walk(lua_State *L, struct pn_glue_keys keys, const struct pn_glue_sink *sink,
		  void *to);

/*
 * Passes the attributes in the table at the top of the stack, which are those of an element `name`,
 * to `sink`, and leaves the table. Returns true; or false, with a message on top of the stack.
 * Never raises for another reason than missing memory for that message.
 */
bool pn_glue_walk_attr(lua_State *L, struct pn_str name, const struct pn_glue_sink *sink, void *to);

/* Whether the value at `index` has the metatable at `metatable`, that of util.stanza. */
bool pn_glue_is_stanza(lua_State *L, int index, int metatable);

/* Whether the table at `index` has no metatable. */
bool pn_glue_is_plain(lua_State *L, int index);

/* Tokens of pn_stanza_decode(), or of a packed stanza that was checked. */
struct pn_glue_tokens {
	struct pn_wire wire;
	int dictionary; /* index of the table of pn_glue_dictionary(); 0: of the decoder */
	int metatable;  /* index of util.stanza's metatable */
};

/* Pushes the stanza that the tokens describe. */
void pn_glue_build(lua_State *L, struct pn_glue_tokens *tokens);

/* Pushes the dictionary of packed stanzas as an array. */
void pn_glue_dictionary(lua_State *L);

#endif
