/* The methods of a chain that are about TLSA records: tlsa() and verify(). */
#include <time.h>

#include "lua_certs.h"

enum { RECORDS_MAX = 4096, UNKNOWN = 255 };

/* ---- Arguments ---- */

struct pn_str pn_lua_field(lua_State *L, int arg, const char *name) {
	struct pn_str string = {NULL, 0};
	if (lua_getfield(L, arg, name) == LUA_TSTRING)
		string.bytes = lua_tolstring(L, -1, &string.len);
	else if (!lua_isnil(L, -1))
		luaL_error(L, "field '%s' must be a string", name);
	return string;
}

/* Pushes a field of the record at the top of the stack: by its name, by util.dns's name for it, or
 * by its position. */
static void push_field(lua_State *L, const char *name, const char *other, int position) {
	if (lua_getfield(L, -1, name) != LUA_TNIL)
		return;
	lua_pop(L, 1);
	if (lua_getfield(L, -1, other) != LUA_TNIL)
		return;
	lua_pop(L, 1);
	lua_rawgeti(L, -1, position);
}

static unsigned read_number(lua_State *L, const char *name, const char *other, int position) {
	int is_integer = 0;
	push_field(L, name, other, position);
	const lua_Integer value = lua_tointegerx(L, -1, &is_integer);
	lua_pop(L, 1);
	return is_integer && value >= 0 && value < UNKNOWN ? (unsigned)value : UNKNOWN;
}

void pn_lua_read_kind(lua_State *L, struct pn_tlsa *record) {
	luaL_checktype(L, -1, LUA_TTABLE);
	record->usage = read_number(L, "usage", "use", 1);
	record->selector = read_number(L, "selector", "select", 2);
	record->match = read_number(L, "match", "matching", 3);
}

void pn_lua_read_record(lua_State *L, struct pn_tlsa *record) {
	pn_lua_read_kind(L, record);
	push_field(L, "data", "data", 4);
	record->data = pn_glue_str(L, -1);
	lua_remove(L, -2);
}

/* chain:tlsa{ usage, selector, match } -> data of the record | nil, condition, text. Usages 0 and 2
 * are about the last certificate of the chain, 1 and 3 about the leaf. */
static int chain_tlsa(lua_State *L) {
	struct pn_tlsa kind;
	lua_settop(L, 2);
	pn_lua_read_kind(L, &kind);
	luaL_argcheck(L,
		      kind.usage <= PN_TLSA_DANE_EE && kind.selector <= PN_TLSA_SPKI &&
			      kind.match <= PN_TLSA_SHA512,
		      2, "unknown usage, selector or matching type");
	struct pn_lua_call *call = pn_lua_call_new(L);
	const struct pn_chain *chain = pn_lua_check_chain(L);
	const bool is_anchor = kind.usage == PN_TLSA_PKIX_TA || kind.usage == PN_TLSA_DANE_TA;
	const int err = pn_cert_tlsa(chain, is_anchor ? pn_chain_count(chain) - 1 : 0,
				     kind.selector, kind.match, &call->bytes);
	if (err == PN_OK)
		lua_pushlstring(L, (const char *)call->bytes.data, call->bytes.len);
	return pn_lua_call_end(L, call, err, 1);
}

/* Pushes the array of the records in field `tlsa`, and before it all strings that it borrows. */
static void read_records(lua_State *L, struct pn_verify *verify) {
	if (lua_getfield(L, 2, "tlsa") == LUA_TNIL)
		return;
	luaL_checktype(L, -1, LUA_TTABLE);
	const int table = lua_gettop(L);
	const lua_Integer count = luaL_len(L, table);
	luaL_argcheck(L, count >= 0 && count <= RECORDS_MAX, 2, "too many TLSA records");
	luaL_checkstack(L, (int)count + LUA_MINSTACK, "too many TLSA records");
	struct pn_tlsa *records = lua_newuserdatauv(L, (size_t)(count + 1) * sizeof(*records), 0);
	for (lua_Integer i = 0; i < count; i++) {
		lua_rawgeti(L, table, i + 1);
		pn_lua_read_record(L, &records[i]);
	}
	verify->records = records;
	verify->record_count = (size_t)count;
}

/* Nothing matches an invalid domain: it is left out. */
static int read_references(lua_State *L, struct pn_lua_call *call) {
	struct pn_str service = pn_lua_field(L, 2, "service");
	if (service.bytes == NULL)
		service = (struct pn_str){"xmpp-server", 11};
	luaL_argcheck(L, lua_getfield(L, 2, "references") == LUA_TTABLE, 2,
		      "references are missing");
	const int table = lua_gettop(L);
	const lua_Integer count = luaL_len(L, table);
	luaL_argcheck(L, count >= 0 && count <= PN_LUA_REFERENCES_MAX, 2, "too many references");
	for (lua_Integer i = 1; i <= count; i++) {
		lua_rawgeti(L, table, i);
		struct pn_reference **next = &call->references[call->reference_count];
		const int err = pn_reference_new(next, pn_glue_str(L, -1), service);
		if (err == PN_OK)
			call->reference_count++;
		else if (err != PN_EINVAL)
			return err;
		lua_pop(L, 1);
	}
	return PN_OK;
}

static int64_t read_time(lua_State *L) {
	if (lua_getfield(L, 2, "time") == LUA_TNIL)
		return (int64_t)time(NULL);
	return (int64_t)luaL_checknumber(L, -1);
}

/* ---- Verdicts ---- */

/* Pushes { [depth] = { texts } }. */
static void push_errors(lua_State *L, const struct pn_buf *errors) {
	lua_newtable(L);
	for (size_t at = 0; at < errors->len;) {
		const lua_Integer depth = errors->data[at];
		const size_t len = errors->data[at + 1];
		if (lua_rawgeti(L, -1, depth) == LUA_TNIL) {
			lua_pop(L, 1);
			lua_newtable(L);
			lua_pushvalue(L, -1);
			lua_rawseti(L, -3, depth);
		}
		lua_pushlstring(L, (const char *)&errors->data[at + 2], len);
		lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
		lua_pop(L, 1);
		at += 2 + len;
	}
}

static void push_verdict(lua_State *L, const struct pn_verdict *verdict) {
	static const char *const DANE[] = {
		[PN_DANE_NONE] = NULL,
		[PN_DANE_UNUSABLE] = "unusable",
		[PN_DANE_MATCH] = "match",
		[PN_DANE_MISMATCH] = "mismatch",
	};
	lua_createtable(L, 0, 9);
	pn_glue_set_text(L, "chain", verdict->chain_valid ? "valid" : "invalid");
	pn_glue_set_text(L, "identity", verdict->identity_valid ? "valid" : "invalid");
	pn_glue_set_text(L, "dane", DANE[verdict->dane]);
	if (verdict->dane == PN_DANE_MATCH) {
		lua_createtable(L, 2, 0);
		lua_pushinteger(L, (lua_Integer)verdict->record + 1);
		lua_rawseti(L, -2, 1);
		lua_pushinteger(L, (lua_Integer)verdict->depth);
		lua_rawseti(L, -2, 2);
		lua_setfield(L, -2, "matched");
	}
	pn_glue_set_text(L, "cause", pn_cause_code(verdict->cause));
	pn_glue_set_text(L, "text", pn_cause_text(verdict->cause));
	pn_glue_set_boolean(L, "matches", verdict->record_matches);
	pn_glue_set_boolean(L, "completed", verdict->completed);
	push_errors(L, &verdict->errors);
	lua_setfield(L, -2, "errors");
}

/*
 * chain:verify{ tlsa = { { usage, selector, match, data }, ... } or nil, references = { domains },
 * service = "xmpp-server", ca = PEM, cafile = path, capath = path, time = seconds } -> verdict
 * | nil, condition, text
 *
 * Fields of a verdict:
 *
 *      chain, identity   "valid" or "invalid"
 *      dane              nil, "unusable", "match" or "mismatch"
 *      matched           { record from 1, depth from 0 }; of "match" only
 *      cause, text       code and text of pn/cert.h: why the peer is refused
 *      matches           whether a record matches a certificate, whatever else is wrong
 *      completed         whether a record provides a certificate that the peer did not send
 *      errors            { [depth] = { texts } }
 */
static int chain_verify(lua_State *L) {
	luaL_checktype(L, 2, LUA_TTABLE);
	struct pn_lua_call *call = pn_lua_call_new(L);
	struct pn_verify verify = {.now = read_time(L), .references = call->references};
	const struct pn_str ca = pn_lua_field(L, 2, "ca");
	if (ca.bytes != NULL)
		verify.authorities.pem = ca;
	verify.authorities.file = pn_lua_field(L, 2, "cafile").bytes;
	verify.authorities.directory = pn_lua_field(L, 2, "capath").bytes;
	read_records(L, &verify);
	int err = read_references(L, call);
	verify.reference_count = call->reference_count;
	verify.chain = pn_lua_check_chain(L);
	if (err == PN_OK)
		err = pn_cert_verify(&verify, &call->verdict);
	if (err == PN_OK)
		push_verdict(L, &call->verdict);
	return pn_lua_call_end(L, call, err, 1);
}

void pn_lua_open_verify(lua_State *L) {
	static const luaL_Reg methods[] = {
		{"tlsa", chain_tlsa}, {"verify", chain_verify}, {NULL, NULL}};
	luaL_getmetatable(L, PN_LUA_CHAIN);
	lua_getfield(L, -1, "__index");
	luaL_setfuncs(L, methods, 0);
	lua_pop(L, 2);
}
