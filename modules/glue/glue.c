/* Error results, integer ranges, and handles. */
#include <string.h>

#include <pn/err.h>

#include "glue.h"

int pn_glue_error(lua_State *L, int code) {
	lua_pushnil(L);
	lua_pushstring(L, pn_err_condition(code));
	lua_pushstring(L, pn_err_text(code));
	return 3;
}

lua_Integer pn_glue_integer(lua_State *L, int arg, lua_Integer min, lua_Integer max) {
	const lua_Integer value = luaL_checkinteger(L, arg);
	luaL_argcheck(L, value >= min && value <= max, arg, "out of range");
	return value;
}

lua_Integer pn_glue_field(lua_State *L, int index, const char *name, lua_Integer min,
			  lua_Integer max, lua_Integer absent) {
	int is_integer = 0;
	const int type = lua_getfield(L, index, name);
	if (type == LUA_TNIL) {
		lua_pop(L, 1);
		return absent;
	}
	const lua_Integer value = lua_tointegerx(L, -1, &is_integer);
	if (type != LUA_TNUMBER || !is_integer || value < min || value > max)
		luaL_error(L, "field '%s' must be an integer from %I to %I", name, (LUAI_UACINT)min,
			   (LUAI_UACINT)max);
	lua_pop(L, 1);
	return value;
}

struct pn_str pn_glue_str(lua_State *L, int arg) {
	struct pn_str string;
	string.bytes = luaL_checklstring(L, arg, &string.len);
	return string;
}

void pn_glue_set_str(lua_State *L, const char *name, struct pn_str value) {
	lua_pushlstring(L, value.bytes, value.len);
	lua_setfield(L, -2, name);
}

void pn_glue_set_buf(lua_State *L, const char *name, const struct pn_buf *value) {
	const char *bytes = value->len > 0 ? (const char *)value->data : "";
	pn_glue_set_str(L, name, (struct pn_str){bytes, value->len});
}

void pn_glue_set_text(lua_State *L, const char *name, const char *value) {
	lua_pushstring(L, value);
	lua_setfield(L, -2, name);
}

void pn_glue_set_integer(lua_State *L, const char *name, lua_Integer value) {
	lua_pushinteger(L, value);
	lua_setfield(L, -2, name);
}

void pn_glue_set_boolean(lua_State *L, const char *name, int value) {
	lua_pushboolean(L, value);
	lua_setfield(L, -2, name);
}

void pn_glue_type(lua_State *L, const char *type, const luaL_Reg *methods, lua_CFunction close) {
	if (luaL_getmetatable(L, type) == LUA_TTABLE) {
		lua_pop(L, 1);
		return;
	}
	lua_pop(L, 1);
	lua_newtable(L);
	lua_pushstring(L, type);
	lua_setfield(L, -2, "__name");
	lua_newtable(L);
	luaL_setfuncs(L, methods, 0);
	lua_pushcfunction(L, close);
	lua_setfield(L, -2, "close");
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, close);
	lua_setfield(L, -2, "__gc");
	lua_pushcfunction(L, close);
	lua_setfield(L, -2, "__close");
	lua_setfield(L, LUA_REGISTRYINDEX, type); /* last, when it is complete */
}

void *pn_glue_handle(lua_State *L, const char *type, size_t size, int values) {
	void *handle = lua_newuserdatauv(L, size, values);
	memset(handle, 0, size);
	luaL_setmetatable(L, type);
	return handle;
}
