/* For the files of store.so: handles, scratch memory, and Lua values as bytes. */
#ifndef PN_GLUE_STORE_H
#define PN_GLUE_STORE_H

#include <pn/archive.h>
#include <pn/db.h>

#include "glue.h"
#include "stanza.h"

/*
 * The handle of a database. Its user values: the metatable of stanzas, and the function to call
 * with the id of a damaged message.
 */
struct pn_lua_db {
	struct pn_db *db; /* NULL once closed */
	struct pn_buf scratch;
	bool whole_seconds; /* return times as integers: Prosody 0.12 cannot format fractions */
};

enum { PN_LUA_METATABLE = 1, PN_LUA_DAMAGED, PN_LUA_DB_VALUES = 2 };

/* The handle of a store. Its user values: the handle of the database, and a table of the names that
 * `store` borrows. */
struct pn_lua_store {
	struct pn_store store;
};

enum { PN_LUA_OWNER = 1, PN_LUA_NAMES, PN_LUA_STORE_VALUES = 2 };

extern const char PN_LUA_DB[];
extern const char PN_LUA_KEYVAL[];
extern const char PN_LUA_ARCHIVE[];

/* Upvalues of the functions that read or write stanzas. */
enum { PN_UP_DICTIONARY = 1, PN_UP_NAME, PN_UP_ATTR, PN_UP_COUNT = 3 };

/* Adds the functions of `list` to the table on top, with the upvalues. */
void pn_lua_register(lua_State *L, const luaL_Reg *list);

/* The database at argument 1. Raises if it is closed. */
struct pn_lua_db *pn_lua_check_db(lua_State *L);

/*
 * The store at argument 1. Sets *db, and pushes the handle of the database. Raises if the database
 * is closed.
 */
const struct pn_store *pn_lua_check_store(lua_State *L, const char *type, struct pn_lua_db **db);

/*
 * An empty buffer, valid until the next call with the database. While it is in use nothing may be
 * allocated from Lua: a finalizer could use it too.
 */
struct pn_buf *pn_lua_scratch(struct pn_lua_db *db);

/* An empty buffer for this call, as a userdata that is pushed. */
struct pn_buf *pn_lua_buffer(lua_State *L);

/* A user: a string, or nil for the host itself. */
struct pn_user pn_lua_check_user(lua_State *L, int arg);
struct pn_str pn_lua_check_str(lua_State *L, int arg);

/* A string without NUL characters. */
const char *pn_lua_check_path(lua_State *L, int arg);

/* Pushes an array of the strings in the buffer, which are bytes of pn/wire.h each. */
void pn_lua_push_strings(lua_State *L, const struct pn_buf *buf);

/* The method users() of a store with the metatable `type`. */
int pn_lua_users(lua_State *L, const char *type);

/* Pushes true; or nil, condition, text if err < 0. Returns the number of values. */
int pn_lua_result(lua_State *L, int err);

/* ---- Values ---- */

/*
 * Appends the value at `index` (absolute) to buf. metatable: index of util.stanza's. Returns 0,
 * PN_ENOMEM, or PN_EDATATYPE for functions, userdata, threads and cycles.
 *
 *      value     'f' | 't' | 'i' u64 | 'd' f64 | 's' bytes | 'X' bytes packed stanza |
 *                'T' u32 elements of the array, u32 pairs, then key, value for each
 */
int pn_lua_put_value(lua_State *L, int index, int metatable, struct pn_buf *buf);

/* Appends a key of a map: as a value, but for a string without its length. */
int pn_lua_put_key(lua_State *L, int index, struct pn_buf *buf);

/* Push the value or key. Return 0; or PN_ECORRUPT, and push nothing. */
int pn_lua_push_value(lua_State *L, struct pn_str bytes, int metatable);
int pn_lua_push_key(lua_State *L, struct pn_str bytes);

/* The key of a value that is not a map: a stanza, the whole data of a user. */
extern const struct pn_str PN_LUA_WHOLE;

/* Packs the stanza at `index`. Returns 0 or an error; PN_EDATATYPE if it is not a stanza. */
int pn_lua_put_stanza(lua_State *L, int index, struct pn_buf *buf);

/* Pushes a packed stanza. Returns 0; or an error, and pushes nothing. */
int pn_lua_push_stanza(lua_State *L, struct pn_str packed, int metatable);

/* ---- Metatables and functions that the files add to the library ---- */

void pn_lua_open_buffer(lua_State *L);
void pn_lua_open_keyval(lua_State *L);
void pn_lua_open_archive(lua_State *L);
void pn_lua_open_tools(lua_State *L);
void pn_lua_open_pack(lua_State *L); /* adds methods to the database's metatable */

/* Methods of a database for operators, and the functions replace() and end_on_interrupt():
 * lua_tools.c. */
int pn_lua_info(lua_State *L);
int pn_lua_verify(lua_State *L);
int pn_lua_verification(lua_State *L);
int pn_lua_is_damaged(lua_State *L);
int pn_lua_collections(lua_State *L);
int pn_lua_others(lua_State *L);
int pn_lua_copy(lua_State *L);
int pn_lua_compact(lua_State *L);
int pn_lua_check(lua_State *L);
int pn_lua_replace(lua_State *L);
int pn_lua_end_on_interrupt(lua_State *L);

#endif
