/* stream.so: the functions of all bindings in one table. */
#include "glue.h"
#include "native_stream.h"

PN_EXPORT int luaopen_stream(lua_State *L);

int luaopen_stream(lua_State *L) {
	lua_newtable(L);
	pn_lua_open_functions(L);
	return 1;
}
