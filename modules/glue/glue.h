/*
 * For every binding: error results, integer ranges, and handles, which are userdata that own a C
 * object.
 *
 * A handle is created zeroed, gets its metatable, and then acquires its object: if anything raises
 * in between, __gc can still close it.
 */
#ifndef PN_GLUE_H
#define PN_GLUE_H

#include <stddef.h>

#include <lauxlib.h>
#include <lua.h>

#include <pn/buf.h>
#include <pn/str.h>

/* Marks the only symbol that a shared object exports. */
#define PN_EXPORT __attribute__((visibility("default")))

/* Pushes nil, condition, text for a negative code of pn/err.h. Returns 3. */
int pn_glue_error(lua_State *L, int code);

/* Returns argument `arg`, an integer from min to max; raises otherwise. */
lua_Integer pn_glue_integer(lua_State *L, int arg, lua_Integer min, lua_Integer max);

/* Returns field `name` of the table at `index`, an integer from min to max, or `absent` if it is
 * nil; raises otherwise. */
lua_Integer pn_glue_field(lua_State *L, int index, const char *name, lua_Integer min,
			  lua_Integer max, lua_Integer absent);

/* Argument `arg` as a string of any bytes; raises otherwise. Borrowed from the value. */
struct pn_str pn_glue_str(lua_State *L, int arg);

/* Set field `name` of the table at the top of the stack. */
void pn_glue_set_str(lua_State *L, const char *name, struct pn_str value);
void pn_glue_set_buf(lua_State *L, const char *name, const struct pn_buf *value);
void pn_glue_set_text(lua_State *L, const char *name, const char *value); /* NULL: nil */
void pn_glue_set_integer(lua_State *L, const char *name, lua_Integer value);
void pn_glue_set_boolean(lua_State *L, const char *name, int value);

/*
 * Creates the metatable `type`, unless the Lua state has it: __index = methods, and `close` as
 * __gc, __close and the method "close". `close` must be idempotent and must not raise.
 */
void pn_glue_type(lua_State *L, const char *type, const luaL_Reg *methods, lua_CFunction close);

/* Pushes a zeroed handle of `size` bytes and `values` user values with the metatable `type`. */
void *pn_glue_handle(lua_State *L, const char *type, size_t size, int values);

#endif
