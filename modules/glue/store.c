/* For the bindings of databases, stores and archives: handles, arguments, results. */
#include <string.h>

#include <pn/err.h>

#include "store.h"

const char PN_LUA_DB[] = "pn.db";
static const char BUFFER[] = "pn.store.buffer";

enum { KEEP = 256 * 1024 }; /* bytes of scratch memory that a database keeps between calls */

void pn_lua_register(lua_State *L, const luaL_Reg *list) {
	pn_glue_dictionary(L);
	lua_pushliteral(L, "name");
	lua_pushliteral(L, "attr");
	luaL_setfuncs(L, list, PN_UP_COUNT);
}

struct pn_lua_db *pn_lua_check_db(lua_State *L) {
	struct pn_lua_db *db = luaL_checkudata(L, 1, PN_LUA_DB);
	luaL_argcheck(L, db->db != NULL, 1, "the database is closed");
	return db;
}

const struct pn_store *pn_lua_check_store(lua_State *L, const char *type, struct pn_lua_db **db) {
	const struct pn_lua_store *store = luaL_checkudata(L, 1, type);
	lua_getiuservalue(L, 1, PN_LUA_OWNER);
	*db = lua_touserdata(L, -1);
	luaL_argcheck(L, *db != NULL && (*db)->db != NULL, 1, "the database is closed");
	return &store->store;
}

struct pn_buf *pn_lua_scratch(struct pn_lua_db *db) {
	pn_buf_reset(&db->scratch, KEEP);
	return &db->scratch;
}

static int buffer_close(lua_State *L) {
	pn_buf_free(luaL_checkudata(L, 1, BUFFER));
	return 0;
}

struct pn_buf *pn_lua_buffer(lua_State *L) {
	return pn_glue_handle(L, BUFFER, sizeof(struct pn_buf), 0);
}

struct pn_str pn_lua_check_str(lua_State *L, int arg) {
	struct pn_str str;
	luaL_checktype(L, arg, LUA_TSTRING);
	str.bytes = lua_tolstring(L, arg, &str.len);
	return str;
}

const char *pn_lua_check_path(lua_State *L, int arg) {
	const struct pn_str path = pn_lua_check_str(L, arg);
	luaL_argcheck(L, strlen(path.bytes) == path.len, arg, "a path has no NUL");
	return path.bytes;
}

struct pn_user pn_lua_check_user(lua_State *L, int arg) {
	if (lua_isnoneornil(L, arg))
		return (struct pn_user){NULL, 0};
	const struct pn_str str = pn_lua_check_str(L, arg);
	return (struct pn_user){str.bytes, str.len};
}

int pn_lua_result(lua_State *L, int err) {
	if (err < 0)
		return pn_glue_error(L, err);
	lua_pushboolean(L, 1);
	return 1;
}

void pn_lua_push_strings(lua_State *L, const struct pn_buf *buf) {
	struct pn_wire wire = pn_wire_open(buf->data, buf->len);
	lua_newtable(L);
	for (lua_Integer i = 1; wire.left > 0; i++) {
		size_t len;
		const char *bytes = pn_wire_bytes(&wire, &len);
		lua_pushlstring(L, bytes, len);
		lua_rawseti(L, -2, i);
	}
}

int pn_lua_users(lua_State *L, const char *type) {
	struct pn_lua_db *db;
	struct pn_buf *buf = pn_lua_buffer(L);
	const struct pn_store *store = pn_lua_check_store(L, type, &db);
	const int err = pn_store_users(store, buf);
	if (err != PN_OK) {
		pn_buf_free(buf);
		return pn_glue_error(L, err);
	}
	pn_lua_push_strings(L, buf);
	pn_buf_free(buf);
	return 1;
}

static const luaL_Reg NO_METHODS[] = {{NULL, NULL}};

void pn_lua_open_buffer(lua_State *L) {
	pn_glue_type(L, BUFFER, NO_METHODS, buffer_close);
}
