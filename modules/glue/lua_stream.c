/* stream.so: the functions for streams and their stanzas in one table. */
#include "glue.h"
#include "stream.h"

PN_EXPORT int luaopen_stream(lua_State *L);

int luaopen_stream(lua_State *L) {
	lua_newtable(L);
	pn_lua_open_functions(L);
	return 1;
}
