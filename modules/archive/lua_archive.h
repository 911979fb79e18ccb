/* For the bindings of archives: queries as tables. */
#ifndef PN_ARCHIVE_LUA_ARCHIVE_H
#define PN_ARCHIVE_LUA_ARCHIVE_H

#include "../glue/store.h"

/* Argument `arg`, any bytes; bytes = NULL if it is nil. */
struct pn_str pn_lua_optional_str(lua_State *L, int arg);

/* ---- Queries: lua_query.c ---- */

/* Reads the query at `table`, which may be nil, and whose strings are borrowed while it is on the
 * stack. Pushes the memory of its ids, or nil. Raises for fields of a wrong type. */
struct pn_archive_query pn_lua_check_query(lua_State *L, int table);

/* Returns the store at argument 1, sets *db, and pushes the handle of the database. Also extends
 * the query's end to the last time with the same stamp. */
const struct pn_store *pn_lua_check_queried(lua_State *L, struct pn_lua_db **db,
					    struct pn_archive_query *query);

/* The number in a field of the table, 0 if it is absent or negative. Sets *given. */
uint64_t pn_lua_field_limit(lua_State *L, int table, const char *name, bool *given);

/* Whether a field is neither nil nor false; `table` may be nil. */
bool pn_lua_field_boolean(lua_State *L, int table, const char *name);

/* Calls the function for damaged messages, if the database at `owner` has one. */
void pn_lua_report_damage(lua_State *L, int owner, struct pn_str id);

/* The method page() of an archive: lua_page.c. */
int pn_lua_archive_page(lua_State *L);

#endif
