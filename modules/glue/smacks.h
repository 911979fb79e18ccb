/* The two bindings of smacks.so. Each adds its functions to the table at the top of the stack. */
#ifndef PN_GLUE_SMACKS_H
#define PN_GLUE_SMACKS_H

#include <lua.h>

/* new(), total(), largest(), account(), and the type of queues. */
void pn_lua_open_smq(lua_State *L);

/* encode(), splice(), delay(), decode(). */
void pn_lua_open_stanza(lua_State *L);

#endif
