/* pn/archive.h for Lua. */
#include <math.h>
#include <string.h>

#include <pn/err.h>
#include <pn/pack.h>

#include "lua_archive.h"

const char PN_LUA_ARCHIVE[] = "pn.store.archive";
static const char CURSOR[] = "pn.store.cursor";

static const struct pn_store *check(lua_State *L, struct pn_lua_db **db) {
	return pn_lua_check_store(L, PN_LUA_ARCHIVE, db);
}

/* ---- Writing ---- */

/* The stanza at `index`, packed: a table, or the result of a database's pack(). Borrowed. */
static int to_packed(lua_State *L, int index, struct pn_buf *buf, struct pn_str *packed) {
	struct pn_wire tokens;
	if (lua_type(L, index) == LUA_TSTRING) {
		*packed = pn_lua_check_str(L, index);
		return pn_unpack(*packed, &tokens);
	}
	const int err = pn_lua_put_stanza(L, index, buf);
	*packed = (struct pn_str){(const char *)buf->data, buf->len};
	return err;
}

/*
 * append(user, key or nil, stanza, when, with or nil, quota) -> id | nil, condition, text
 * stanza: a table, or a string that pack() or pack_xml() of a database has returned.
 * quota: most messages of the archive, 0: no limit.
 */
static int archive_append(lua_State *L) {
	struct pn_lua_db *db;
	char id[PN_ARCHIVE_ID_LEN];
	lua_settop(L, 7);
	const struct pn_user user = pn_lua_check_user(L, 2);
	luaL_argexpected(L, lua_istable(L, 4) || lua_type(L, 4) == LUA_TSTRING, 4, "table");
	struct pn_message message = {
		.id = pn_lua_optional_str(L, 3),
		.when = luaL_checknumber(L, 5),
		.peer = pn_lua_optional_str(L, 6),
	};
	const uint64_t quota = (uint64_t)pn_glue_integer(L, 7, 0, INT64_MAX);
	const struct pn_store *store = check(L, &db);
	int err = to_packed(L, 4, pn_lua_scratch(db), &message.stanza);
	if (err == PN_OK)
		err = pn_archive_append(store, user, &message, quota, id);
	if (err != PN_OK)
		return pn_glue_error(L, err);
	if (message.id.bytes != NULL)
		lua_pushvalue(L, 3);
	else
		lua_pushlstring(L, id, sizeof(id));
	return 1;
}

/* set(user, id, stanza, when or nil, with or nil) -> true | nil, condition, text */
static int archive_set(lua_State *L) {
	struct pn_lua_db *db;
	lua_settop(L, 6);
	const struct pn_user user = pn_lua_check_user(L, 2);
	const struct pn_str id = pn_lua_check_str(L, 3);
	luaL_checktype(L, 4, LUA_TTABLE);
	const double when = luaL_optnumber(L, 5, 0);
	const struct pn_str peer = pn_lua_optional_str(L, 6);
	const struct pn_store *store = check(L, &db);
	struct pn_buf *const buf = pn_lua_scratch(db);
	int err = pn_lua_put_stanza(L, 4, buf);
	const struct pn_archive_change change = {
		.stanza = {(const char *)buf->data, buf->len},
		.when = lua_isnil(L, 5) ? NULL : &when,
		.peer = peer.bytes != NULL ? &peer : NULL,
	};
	if (err == PN_OK)
		err = pn_archive_set(store, user, id, &change);
	return pn_lua_result(L, err);
}

/* ---- Finding ---- */

static void push_when(lua_State *L, const struct pn_lua_db *db, double when) {
	const double stamp = db->whole_seconds ? floor(when) : when;
	if (stamp == floor(stamp) && fabs(stamp) < 9e15)
		lua_pushinteger(L, (lua_Integer)stamp);
	else
		lua_pushnumber(L, stamp);
}

struct cursor {
	struct pn_archive_cursor *cursor; /* NULL if pn_archive_find() has failed */
	const struct pn_db *db;           /* of the cursor */
};

enum { CURSOR_OWNER = 1, CURSOR_METATABLE, CURSOR_VALUES = 2 };

/* Not a method: Lua code cannot close a cursor that is in use. */
static int cursor_collect(lua_State *L) {
	struct cursor *cursor = luaL_checkudata(L, 1, CURSOR);
	pn_archive_cursor_free(cursor->cursor);
	cursor->cursor = NULL;
	return 0;
}

/* find(user, query or nil) -> cursor, total or nil | nil, condition, text */
static int archive_find(lua_State *L) {
	struct pn_lua_db *db;
	uint64_t total = 0;
	bool limited;
	lua_settop(L, 3);
	const struct pn_user user = pn_lua_check_user(L, 2);
	struct pn_archive_query query = pn_lua_check_query(L, 3);
	const uint64_t limit = pn_lua_field_limit(L, 3, "limit", &limited);
	const bool wanted = pn_lua_field_boolean(L, 3, "total");
	struct cursor *cursor = pn_glue_handle(L, CURSOR, sizeof(*cursor), CURSOR_VALUES);
	const int at = lua_gettop(L);
	const struct pn_store *store = pn_lua_check_queried(L, &db, &query);
	lua_getiuservalue(L, -1, PN_LUA_METATABLE);
	lua_setiuservalue(L, at, CURSOR_METATABLE);
	lua_setiuservalue(L, at, CURSOR_OWNER);
	cursor->db = db->db;
	const int err = pn_archive_find(&cursor->cursor, store, user, &query,
					limited ? limit : UINT64_MAX, wanted ? &total : NULL);
	if (err != PN_OK)
		return pn_glue_error(L, err);
	lua_settop(L, at);
	if (!wanted)
		return 1;
	lua_pushinteger(L, (lua_Integer)total);
	return 2;
}

/* Reads the next message. Raises if the database was closed meanwhile. */
static int read_next(lua_State *L, const struct cursor *cursor, int owner,
		     struct pn_message *message) {
	const struct pn_lua_db *db = lua_touserdata(L, owner);
	luaL_argcheck(L, cursor->cursor != NULL && db->db == cursor->db, 1,
		      "the database is closed");
	return pn_archive_next(cursor->cursor, message);
}

/* cursor() -> id, stanza, when, with | nothing at the end. Raises if reading fails. */
static int cursor_next(lua_State *L) {
	enum { OWNER = 2, METATABLE = 3 };
	struct pn_message message;
	int found;
	lua_settop(L, 1);
	const struct cursor *cursor = luaL_checkudata(L, 1, CURSOR);
	lua_getiuservalue(L, 1, CURSOR_OWNER);
	lua_getiuservalue(L, 1, CURSOR_METATABLE);
	while ((found = read_next(L, cursor, OWNER, &message)) > 0) {
		lua_pushlstring(L, message.id.bytes, message.id.len);
		if (pn_lua_push_stanza(L, message.stanza, METATABLE) != PN_OK) {
			pn_lua_report_damage(L, OWNER, message.id);
			lua_settop(L, METATABLE);
			continue;
		}
		push_when(L, lua_touserdata(L, OWNER), message.when);
		if (message.peer.bytes != NULL)
			lua_pushlstring(L, message.peer.bytes, message.peer.len);
		else
			lua_pushnil(L);
		return 4;
	}
	if (found < 0)
		return luaL_error(L, "archive: %s", pn_err_text(found));
	return 0;
}

/* ---- Deleting ---- */

/*
 * delete(user, query or nil, slice) -> count, more | nil, condition, text
 * Deletes at most `slice` messages; more: true if messages may be left.
 */
static int archive_delete(lua_State *L) {
	struct pn_lua_db *db;
	uint64_t count = 0;
	lua_settop(L, 4);
	const struct pn_user user = pn_lua_check_user(L, 2);
	const uint64_t slice = (uint64_t)pn_glue_integer(L, 4, 1, INT32_MAX);
	struct pn_archive_query query = pn_lua_check_query(L, 3);
	query.keep = pn_lua_field_limit(L, 3, "truncate", &query.has_keep);
	query.ids_optional = true;
	const struct pn_store *store = pn_lua_check_queried(L, &db, &query);
	const int err = pn_archive_delete(store, user, &query, slice, &count);
	if (err < 0)
		return pn_glue_error(L, err);
	lua_pushinteger(L, (lua_Integer)count);
	lua_pushboolean(L, err > 0);
	return 2;
}

/*
 * delete_all(query or nil, position, slice) -> count, position, damaged | nil, condition, text
 * position: nil at first, then the result of the call before; nil at the end. damaged: number of
 * archives that were skipped.
 */
static int archive_delete_all(lua_State *L) {
	struct pn_lua_db *db;
	struct pn_archive_position position = {0};
	uint64_t count = 0;
	lua_settop(L, 4);
	const uint64_t slice = (uint64_t)pn_glue_integer(L, 4, 1, INT32_MAX);
	if (!lua_isnil(L, 3)) {
		const struct pn_str bytes = pn_lua_check_str(L, 3);
		luaL_argcheck(L, bytes.len == sizeof(position.user), 3, "not a position");
		memcpy(position.user, bytes.bytes, sizeof(position.user));
		position.begun = true;
	}
	struct pn_archive_query query = pn_lua_check_query(L, 2);
	query.ids_optional = true;
	const struct pn_store *store = pn_lua_check_queried(L, &db, &query);
	const int err = pn_archive_delete_all(store, &query, &position, slice, &count);
	if (err < 0)
		return pn_glue_error(L, err);
	lua_pushinteger(L, (lua_Integer)count);
	if (err == 0)
		lua_pushnil(L);
	else
		lua_pushlstring(L, (const char *)position.user, sizeof(position.user));
	lua_pushinteger(L, (lua_Integer)position.damaged);
	return 3;
}

/* dates(user) -> array of midnights UTC in seconds, may repeat | nil, condition, text */
static int archive_dates(lua_State *L) {
	struct pn_lua_db *db;
	const struct pn_user user = pn_lua_check_user(L, 2);
	struct pn_buf *buf = pn_lua_buffer(L);
	const struct pn_store *store = check(L, &db);
	const int err = pn_archive_dates(store, user, buf);
	if (err != PN_OK) {
		pn_buf_free(buf);
		return pn_glue_error(L, err);
	}
	struct pn_wire wire = pn_wire_open(buf->data, buf->len);
	lua_newtable(L);
	for (lua_Integer i = 1; wire.left > 0; i++) {
		push_when(L, db, pn_wire_f64(&wire));
		lua_rawseti(L, -2, i);
	}
	pn_buf_free(buf);
	return 1;
}

/* users() -> array of names | nil, condition, text */
static int archive_users(lua_State *L) {
	return pn_lua_users(L, PN_LUA_ARCHIVE);
}

static const luaL_Reg METHODS[] = {
	{"append", archive_append},
	{"set", archive_set},
	{"find", archive_find},
	{"page", pn_lua_archive_page},
	{"delete", archive_delete},
	{"delete_all", archive_delete_all},
	{"dates", archive_dates},
	{"users", archive_users},
	{NULL, NULL},
};

static const luaL_Reg CURSOR_METHODS[] = {
	{"__call", cursor_next},
	{"__gc", cursor_collect},
	{NULL, NULL},
};

void pn_lua_open_archive(lua_State *L) {
	if (luaL_newmetatable(L, PN_LUA_ARCHIVE) != 0) {
		lua_newtable(L);
		pn_lua_register(L, METHODS);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
	if (luaL_newmetatable(L, CURSOR) != 0) {
		pn_lua_register(L, CURSOR_METHODS);
		lua_pushboolean(L, 0); /* hides __gc from Lua code */
		lua_setfield(L, -2, "__metatable");
	}
	lua_pop(L, 1);
}
