/* Shared by the files of the binding: chains as handles, and the memory of one call. */
#ifndef PN_LUA_CERTS_H
#define PN_LUA_CERTS_H

#include <pn/cert.h>
#include <pn/err.h>

#include "../glue/glue.h"

enum { PN_LUA_REFERENCES_MAX = 64 };

/* Everything that a call acquires, as a userdata: __gc frees it if the call raises. */
struct pn_lua_call {
	struct pn_names *names;
	struct pn_cert_info info;
	struct pn_reference *references[PN_LUA_REFERENCES_MAX];
	size_t reference_count;
	struct pn_verdict verdict;
	struct pn_buf bytes, more;
};

/* Pushes an empty call. */
struct pn_lua_call *pn_lua_call_new(lua_State *L);

/* Frees the contents of a call. Returns the number of results, which are at the top of the stack:
 * `results`, or after a failure nil, condition and text, which it pushes. */
int pn_lua_call_end(lua_State *L, struct pn_lua_call *call, int err, int results);

/* The type of chains. */
extern const char PN_LUA_CHAIN[];

/* The chain of the handle at argument 1; raises if that is closed. Borrowed until Lua runs again:
 * also a finalizer may close a handle, so check all other arguments first. */
const struct pn_chain *pn_lua_check_chain(lua_State *L);

/* Field `name` of the table at `arg`, left on the stack; bytes NULL if it is nil. */
struct pn_str pn_lua_field(lua_State *L, int arg, const char *name);

/* Reads usage, selector and matching type of the TLSA record at the top of the stack. A number out
 * of range becomes 255, which no registry assigns. */
void pn_lua_read_kind(lua_State *L, struct pn_tlsa *record);

/* The same with the data, which the record borrows, and which takes the place of the table. */
void pn_lua_read_record(lua_State *L, struct pn_tlsa *record);

/* The function parse(). */
int pn_lua_parse(lua_State *L);

/* Register the types of calls and chains; add the methods that are about records. */
void pn_lua_open_chain(lua_State *L);
void pn_lua_open_verify(lua_State *L);

#endif
