/*
 * Stanzas as tables of util.stanza, walked and built: shared by the bindings that meet them.
 *
 * Neither direction recurses: the place of a walk is kept on the Lua stack, so that a deep stanza
 * costs no C stack.
 */
#ifndef PN_GLUE_STANZA_H
#define PN_GLUE_STANZA_H

#include <stdbool.h>

#include <lua.h>

#include <pn/stanza.h>
#include <pn/wire.h>

/* Who is told of a stanza, in document order: start, its attrs, texts and elements, end. */
struct pn_glue_sink {
	void (*start)(void *to, struct pn_str name);
	void (*attr)(void *to, struct pn_str key, struct pn_str value);
	void (*text)(void *to, struct pn_str text);
	void (*end)(void *to);
	int (*error)(const void *to); /* a negative code ends the walk */
};

/* Where the strings "name" and "attr" are, as indices or pseudo-indices. */
struct pn_glue_keys {
	int name;
	int attr;
};

/*
 * Tells `sink` of the stanza at the top of the stack, and pops it. Returns true; or false with a
 * message pushed in its place, where the table is no stanza that can be written. Raises nothing but
 * a failed growth of the stack; reads with raw access, so no Lua runs.
 */
bool pn_glue_walk(lua_State *L, struct pn_glue_keys keys, const struct pn_glue_sink *sink,
		  void *to);

/* What tokens are made of: those of pn_stanza_decode(), or of a packed stanza that was checked. */
struct pn_glue_tokens {
	struct pn_wire wire;
	int dictionary; /* index of the table that pn_glue_dictionary() pushed; 0: decoder's tokens
			 */
	int metatable;  /* index of util.stanza's metatable */
};

/* Pushes the stanza that the tokens describe. */
void pn_glue_build(lua_State *L, struct pn_glue_tokens *tokens);

/* Pushes an array of the packed form's dictionary. */
void pn_glue_dictionary(lua_State *L);

#endif
