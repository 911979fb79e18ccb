/* smacks.so: the functions for queues and stanzas in one table. */
#include "glue.h"
#include "smacks.h"

PN_EXPORT int luaopen_smacks(lua_State *L);

int luaopen_smacks(lua_State *L) {
	lua_newtable(L);
	pn_lua_open_smq(L);
	pn_lua_open_stanza(L);
	return 1;
}
