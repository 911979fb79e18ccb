/* Queries of archives as tables of Lua. */
#include <math.h>

#include <pn/err.h>

#include "lua_archive.h"

static const struct pn_str NONE = {NULL, 0};

struct pn_str pn_lua_optional_str(lua_State *L, int arg) {
	return lua_isnoneornil(L, arg) ? NONE : pn_lua_check_str(L, arg);
}

/* ---- Queries: tables, whose strings are borrowed while the table is on the stack ---- */

/* Pushes a field with raw access, so the table keeps it alive. False counts as nil. */
static int push_field(lua_State *L, int table, const char *name) {
	lua_pushstring(L, name);
	const int type = lua_rawget(L, table);
	return lua_toboolean(L, -1) ? type : LUA_TNIL;
}

static struct pn_str field_str(lua_State *L, int table, const char *name) {
	struct pn_str str = NONE;
	switch (push_field(L, table, name)) {
	case LUA_TNIL:
		break;
	case LUA_TSTRING:
		str.bytes = lua_tolstring(L, -1, &str.len);
		break;
	default:
		luaL_error(L, "query field '%s' must be a string", name);
	}
	lua_pop(L, 1);
	return str;
}

static bool field_number(lua_State *L, int table, const char *name, double *number) {
	const int type = push_field(L, table, name);
	if (type != LUA_TNIL && type != LUA_TNUMBER)
		luaL_error(L, "query field '%s' must be a number", name);
	*number = lua_tonumber(L, -1);
	lua_pop(L, 1);
	return type != LUA_TNIL;
}

bool pn_lua_field_boolean(lua_State *L, int table, const char *name) {
	if (!lua_istable(L, table))
		return false;
	push_field(L, table, name);
	const bool value = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return value;
}

/* Reads the ids. Pushes the memory that has them, or nil. */
static void field_ids(lua_State *L, int table, struct pn_archive_query *query) {
	const int type = push_field(L, table, "ids");
	if (type == LUA_TNIL)
		return; /* with nil or false pushed */
	if (type != LUA_TTABLE)
		luaL_error(L, "query field 'ids' must be a table");
	query->ids_count = (size_t)lua_rawlen(L, -1);
	struct pn_str *ids = lua_newuserdatauv(L, (query->ids_count + 1) * sizeof(*ids), 0);
	for (size_t i = 0; i < query->ids_count; i++) {
		if (lua_rawgeti(L, -2, (lua_Integer)i + 1) != LUA_TSTRING)
			luaL_error(L, "query field 'ids' must hold strings");
		ids[i].bytes = lua_tolstring(L, -1, &ids[i].len);
		lua_pop(L, 1);
	}
	query->ids = ids;
	lua_remove(L, -2);
}

struct pn_archive_query pn_lua_check_query(lua_State *L, int table) {
	struct pn_archive_query query = {0};
	if (lua_isnoneornil(L, table)) {
		lua_pushnil(L);
		return query;
	}
	luaL_checktype(L, table, LUA_TTABLE);
	query.has_start = field_number(L, table, "start", &query.start);
	query.has_end = field_number(L, table, "end", &query.end);
	query.peer = field_str(L, table, "with");
	query.before = field_str(L, table, "before");
	query.after = field_str(L, table, "after");
	query.key = field_str(L, table, "key");
	query.reverse = pn_lua_field_boolean(L, table, "reverse");
	field_ids(L, table, &query);
	return query;
}

/* ---- Times as clients see them: util.datetime truncates to microseconds (0.12: seconds) ---- */

enum { MICROSECONDS = 1000000 };

/* The rounding error of a parsed stamp: a double of the current time has steps of 2^-22 s. */
static const double PARSED = 0.25 / MICROSECONDS;

/*
 * Returns the last time that has the same stamp as `end`: a query up to the stamp of a message
 * includes that message. `start` needs no change, because a truncated stamp is never later than its
 * message.
 */
static double last_with_stamp(const struct pn_lua_db *db, double end) {
	const double parts = db->whole_seconds ? 1 : MICROSECONDS;
	if (!isfinite(end))
		return end;
	const double second = floor(end + PARSED);
	const double part = floor((end + PARSED - second) * parts);
	const double next =
		second + (part + 1) / parts; /* has the next stamp, unless it was rounded down */
	return floor((next - second) * parts) > part ? nextafter(next, -INFINITY) : next;
}

const struct pn_store *pn_lua_check_queried(lua_State *L, struct pn_lua_db **db,
					    struct pn_archive_query *query) {
	const struct pn_store *store = pn_lua_check_store(L, PN_LUA_ARCHIVE, db);
	if (query->has_end)
		query->end = last_with_stamp(*db, query->end);
	return store;
}

uint64_t pn_lua_field_limit(lua_State *L, int table, const char *name, bool *given) {
	double number = 0;
	*given = !lua_isnoneornil(L, table) && field_number(L, table, name, &number);
	return number > 0 ? (number < 1e15 ? (uint64_t)number : UINT64_MAX) : 0;
}

/* ---- Damage ---- */

void pn_lua_report_damage(lua_State *L, int owner, struct pn_str id) {
	if (lua_getiuservalue(L, owner, PN_LUA_DAMAGED) == LUA_TFUNCTION) {
		lua_pushlstring(L, id.bytes, id.len);
		lua_call(L, 1, 0);
	} else {
		lua_pop(L, 1);
	}
}
