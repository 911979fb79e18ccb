/* The encoder of pn/stanza.h for bindings: one for all calls in a Lua state, and a walk's sink. */
#ifndef PN_GLUE_ENCODER_H
#define PN_GLUE_ENCODER_H

#include <lua.h>

#include <pn/stanza.h>

#include "stanza.h"

/*
 * A function that uses it must not call or allocate from Lua until the result is pushed: the
 * collector could run a finalizer that uses it too.
 */
struct pn_glue_encoder {
	struct pn_buf out;
	struct pn_encoder enc;
};

/* Pushes an encoder, a handle of the type `type`: each shared object has its own type. */
void pn_glue_encoder_new(lua_State *L, const char *type);

/* Returns the encoder at `index`, ready for a stanza. */
struct pn_glue_encoder *pn_glue_encoder_take(lua_State *L, int index);

/* Pushes the bytes of `buf` as a string. Returns 1. */
int pn_glue_push_buf(lua_State *L, const struct pn_buf *buf);

/* The sink of a walk that writes XML; `to` is the `enc` of an encoder. */
extern const struct pn_glue_sink PN_GLUE_XML;

/* The same, for numbers that are refused. */
extern const struct pn_glue_sink PN_GLUE_XML_OF_STRINGS;

#endif
