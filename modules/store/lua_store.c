/* pn/db.h and pn/store.h for Lua: store.so. */
#include <string.h>

#include <pn/err.h>

#include "../glue/store.h"

/* ---- Opening ---- */

/* Pushes a field, which has the type or is nil. Returns whether it is not nil. */
static bool push_option(lua_State *L, const char *name, int type) {
	const int found = lua_getfield(L, 1, name);
	if (found != LUA_TNIL && found != type)
		luaL_error(L, "field '%s' must be a %s, not a %s", name, lua_typename(L, type),
			   lua_typename(L, found));
	return found != LUA_TNIL;
}

static bool option_boolean(lua_State *L, const char *name) {
	const bool value = push_option(L, name, LUA_TBOOLEAN) && lua_toboolean(L, -1);
	lua_pop(L, 1);
	return value;
}

/*
 * open{ directory =, max_bytes =, interval =, verify =, anew =, reads_all =, metatable =, damaged
 * =, whole_seconds = } -> database | nil, condition, text directory: a string. All others may be
 * nil. max_bytes, interval (ms): integers, default 0; verify, anew, reads_all: booleans, default
 * false. metatable: util.stanza's. damaged(id): called for each message that cannot be read.
 * whole_seconds: a boolean, default false; return times as integers, because Prosody 0.12 cannot
 * format fractions of a second. Raises if a field has another type.
 */
static int db_open(lua_State *L) {
	enum { DIRECTORY = 2, METATABLE, DAMAGED };
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	if (!push_option(L, "directory", LUA_TSTRING))
		luaL_error(L, "missing field 'directory'");
	(void)push_option(L, "metatable", LUA_TTABLE);
	(void)push_option(L, "damaged", LUA_TFUNCTION);
	const bool whole_seconds = option_boolean(L, "whole_seconds");
	const struct pn_db_options options = {
		.directory = pn_lua_check_path(L, DIRECTORY),
		.max_bytes = (uint64_t)pn_glue_field(L, 1, "max_bytes", 0, INT64_MAX, 0),
		.interval = (unsigned)pn_glue_field(L, 1, "interval", 0, INT32_MAX, 0),
		.verify = option_boolean(L, "verify"),
		.anew = option_boolean(L, "anew"),
		.reads_all = option_boolean(L, "reads_all"),
	};
	struct pn_lua_db *db = pn_glue_handle(L, PN_LUA_DB, sizeof(*db), PN_LUA_DB_VALUES);
	db->whole_seconds = whole_seconds;
	lua_pushvalue(L, METATABLE);
	lua_setiuservalue(L, -2, PN_LUA_METATABLE);
	lua_pushvalue(L, DAMAGED);
	lua_setiuservalue(L, -2, PN_LUA_DAMAGED);
	const int err = pn_db_open(&db->db, &options);
	return err == PN_OK ? 1 : pn_glue_error(L, err);
}

static int db_close(lua_State *L) {
	struct pn_lua_db *db = luaL_checkudata(L, 1, PN_LUA_DB);
	struct pn_db *const open = db->db;
	db->db = NULL;
	pn_buf_free(&db->scratch);
	if (open != NULL && pn_db_mine(open))
		pn_db_close(open);
	else if (open != NULL)
		pn_db_forget(open);
	return 0;
}

/* mine() -> true if this process opened it, false in a forked child */
static int db_mine(lua_State *L) {
	lua_pushboolean(L, pn_db_mine(pn_lua_check_db(L)->db));
	return 1;
}

/* replayed() -> turns that were done again from the log, whether a foreign log was set aside */
static int db_replayed(lua_State *L) {
	const struct pn_db *const db = pn_lua_check_db(L)->db;
	lua_pushinteger(L, (lua_Integer)pn_db_replayed(db));
	lua_pushboolean(L, pn_db_rejected(db));
	return 2;
}

/* set_max(bytes): the limit of the data file, 0: none */
static int db_set_max(lua_State *L) {
	const uint64_t bytes = (uint64_t)pn_glue_integer(L, 2, 0, INT64_MAX);
	pn_db_set_max(pn_lua_check_db(L)->db, bytes);
	return 0;
}

/* ---- Transactions and durability ---- */

/* commit() -> true | nil, condition, text */
static int db_commit(lua_State *L) {
	return pn_lua_result(L, pn_db_commit(pn_lua_check_db(L)->db));
}

/* pending() -> number of operations that have written since the last commit */
static int db_pending(lua_State *L) {
	lua_pushinteger(L, pn_db_pending(pn_lua_check_db(L)->db));
	return 1;
}

static int db_committed(lua_State *L) {
	lua_pushinteger(L, (lua_Integer)pn_db_committed(pn_lua_check_db(L)->db));
	return 1;
}

static int db_durable(lua_State *L) {
	lua_pushinteger(L, (lua_Integer)pn_db_durable(pn_lua_check_db(L)->db));
	return 1;
}

/* keep_open(): an event loop calls sync() as that asks, see pn/db.h */
static int db_keep_open(lua_State *L) {
	pn_db_keep_open(pn_lua_check_db(L)->db);
	return 0;
}

/* sync(now) -> ms until the next call, -1: not before the next commit | nil, condition, text */
static int db_sync(lua_State *L) {
	const uint64_t now = (uint64_t)pn_glue_integer(L, 2, 0, INT64_MAX);
	int wait;
	const int err = pn_db_sync(pn_lua_check_db(L)->db, now, &wait);
	if (err != PN_OK)
		return pn_glue_error(L, err);
	lua_pushinteger(L, wait);
	return 1;
}

/* is_syncing() -> whether a sync of the log is under way in the background */
static int db_is_syncing(lua_State *L) {
	lua_pushboolean(L, pn_db_is_syncing(pn_lua_check_db(L)->db));
	return 1;
}

/* flush() -> true | nil, condition, text */
static int db_flush(lua_State *L) {
	return pn_lua_result(L, pn_db_flush(pn_lua_check_db(L)->db));
}

static int db_event_fd(lua_State *L) {
	lua_pushinteger(L, pn_db_event_fd(pn_lua_check_db(L)->db));
	return 1;
}

static int db_event_clear(lua_State *L) {
	pn_db_event_clear(pn_lua_check_db(L)->db);
	return 0;
}

/* ---- All stores of a user ---- */

/* purge(host, user) -> true | nil, condition, text */
static int db_purge(lua_State *L) {
	const struct pn_str host = pn_lua_check_str(L, 2);
	const struct pn_user user = pn_lua_check_user(L, 3);
	return pn_lua_result(L, pn_store_purge(pn_lua_check_db(L)->db, host, user));
}

/* Pushes whether there is more to do, or an error. */
static int push_more(lua_State *L, int more) {
	if (more < 0)
		return pn_glue_error(L, more);
	lua_pushboolean(L, more);
	return 1;
}

/* erase(limit) -> true if records are left, else false | nil, condition, text */
static int db_erase(lua_State *L) {
	const unsigned limit = (unsigned)pn_glue_integer(L, 2, 1, INT32_MAX);
	return push_more(L, pn_store_erase(pn_lua_check_db(L)->db, limit));
}

/* Pushes an array of names, and a parallel array of types. */
static int push_list(lua_State *L, const struct pn_buf *buf) {
	struct pn_wire wire = pn_wire_open(buf->data, buf->len);
	lua_newtable(L);
	lua_newtable(L);
	for (lua_Integer i = 1; wire.left > 0; i++) {
		size_t len;
		const bool archive = pn_wire_u8(&wire) == PN_TYPE_ARCHIVE;
		const char *name = pn_wire_bytes(&wire, &len);
		lua_pushlstring(L, name, len);
		lua_rawseti(L, -3, i);
		lua_pushstring(L, archive ? "archive" : "keyval");
		lua_rawseti(L, -2, i);
	}
	return 2;
}

/* list(host, user or nil or true) -> names, types of stores | nil, condition, text */
static int db_list(lua_State *L) {
	lua_settop(L, 3);
	const struct pn_str host = pn_lua_check_str(L, 2);
	const bool all = lua_isboolean(L, 3) && lua_toboolean(L, 3);
	const struct pn_user user = all ? (struct pn_user){NULL, 0} : pn_lua_check_user(L, 3);
	struct pn_buf *buf = pn_lua_buffer(L);
	struct pn_db *db = pn_lua_check_db(L)->db;
	const int err = all ? pn_store_list_all(db, host, buf) : pn_store_list(db, host, user, buf);
	const int results = err == PN_OK ? push_list(L, buf) : pn_glue_error(L, err);
	pn_buf_free(buf);
	return results;
}

/* host_bytes(host) -> bytes, whether all are counted | nil, condition, text */
static int db_host_bytes(lua_State *L) {
	const struct pn_str host = pn_lua_check_str(L, 2);
	uint64_t bytes;
	const int complete = pn_store_host_bytes(pn_lua_check_db(L)->db, host, &bytes);
	if (complete < 0)
		return pn_glue_error(L, complete);
	lua_pushinteger(L, (lua_Integer)bytes);
	lua_pushboolean(L, complete);
	return 2;
}

/* count(limit) -> true if collections are left to count, else false | nil, condition, text
 * limit: 0 ends the counting */
static int db_count(lua_State *L) {
	const unsigned limit = (unsigned)pn_glue_integer(L, 2, 0, INT32_MAX);
	struct pn_db *const db = pn_lua_check_db(L)->db;
	return push_more(L, limit > 0 ? pn_store_count(db, limit) : pn_store_stop_counting(db));
}

/* ---- Stores ---- */

static int new_store(lua_State *L, enum pn_type type, const char *metatable) {
	lua_settop(L, 4);
	const struct pn_str host = pn_lua_check_str(L, 2);
	const struct pn_str name = pn_lua_check_str(L, 3);
	const bool limited = !lua_isnoneornil(L, 4);
	const int64_t limit = limited ? pn_glue_integer(L, 4, 0, INT64_MAX) : 0;
	lua_settop(L, 3);
	struct pn_db *const db = pn_lua_check_db(L)->db;
	struct pn_lua_store *store =
		pn_glue_handle(L, metatable, sizeof(*store), PN_LUA_STORE_VALUES);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, 4, PN_LUA_OWNER);
	lua_createtable(L, 2, 0);
	lua_pushvalue(L, 2);
	lua_rawseti(L, -2, 1);
	lua_pushvalue(L, 3);
	lua_rawseti(L, -2, 2);
	lua_setiuservalue(L, 4, PN_LUA_NAMES);
	const int err = pn_store_init(&store->store, db, type, host, name);
	store->store.host_limit = (uint64_t)limit;
	return err == PN_OK ? 1 : pn_glue_error(L, err);
}

/* keyval(host, name, limit) -> store | nil, condition, text. limit: the most bytes of all stores of
 * the host; nil or 0: none */
static int db_keyval(lua_State *L) {
	return new_store(L, PN_TYPE_KEYVAL, PN_LUA_KEYVAL);
}

/* archive(host, name, limit) -> store | nil, condition, text */
static int db_archive(lua_State *L) {
	return new_store(L, PN_TYPE_ARCHIVE, PN_LUA_ARCHIVE);
}

static const luaL_Reg METHODS[] = {
	/* the database */
	{"mine", db_mine},
	{"replayed", db_replayed},
	{"set_max", db_set_max},
	/* turns */
	{"commit", db_commit},
	{"pending", db_pending},
	{"committed", db_committed},
	{"durable", db_durable},
	{"keep_open", db_keep_open},
	{"sync", db_sync},
	{"is_syncing", db_is_syncing},
	{"flush", db_flush},
	{"event_fd", db_event_fd},
	{"event_clear", db_event_clear},
	/* stores */
	{"purge", db_purge},
	{"erase", db_erase},
	{"count", db_count},
	{"host_bytes", db_host_bytes},
	{"list", db_list},
	{"keyval", db_keyval},
	{"archive", db_archive},
	/* for operators */
	{"info", pn_lua_info},
	{"collections", pn_lua_collections},
	{"verify", pn_lua_verify},
	{"verification", pn_lua_verification},
	{"others", pn_lua_others},
	{"copy", pn_lua_copy},
	{"compact", pn_lua_compact},
	{"check", pn_lua_check},
	{NULL, NULL},
};

static const luaL_Reg FUNCTIONS[] = {
	{"open", db_open},
	{"replace", pn_lua_replace},
	{"is_damaged", pn_lua_is_damaged},
	{"end_on_interrupt", pn_lua_end_on_interrupt},
	{NULL, NULL},
};

PN_EXPORT int luaopen_store(lua_State *L);

int luaopen_store(lua_State *L) {
	pn_lua_open_buffer(L);
	pn_glue_type(L, PN_LUA_DB, METHODS, db_close);
	pn_lua_open_pack(L);
	pn_lua_open_keyval(L);
	pn_lua_open_archive(L);
	pn_lua_open_tools(L);
	luaL_newlib(L, FUNCTIONS);
	lua_pushstring(L, pn_db_lmdb_version());
	lua_setfield(L, -2, "lmdb");
	lua_pushstring(L, pn_compress_zstd_version());
	lua_setfield(L, -2, "zstd");
	return 1;
}
