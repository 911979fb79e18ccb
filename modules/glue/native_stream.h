/* The bindings of stream.so. Each adds its functions to the table at the top of the stack. */
#ifndef PN_GLUE_NATIVE_STREAM_H
#define PN_GLUE_NATIVE_STREAM_H

#include <lua.h>

/* stanza_functions(). */
void pn_lua_open_functions(lua_State *L);

#endif
