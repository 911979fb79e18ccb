/* The handle of a chain. A chain is parsed once; each certificate is decoded when it is needed
 * first, and stays decoded until the handle is closed. */
#include <string.h>

#include "lua_certs.h"

const char PN_LUA_CHAIN[] = "pn.chain";
static const char CALL[] = "pn.certs.call";

struct handle {
	struct pn_chain *chain; /* NULL once closed */
};

/* ---- Calls ---- */

static void free_call(struct pn_lua_call *call) {
	pn_names_free(call->names);
	pn_cert_info_free(&call->info);
	for (size_t i = 0; i < call->reference_count; i++)
		pn_reference_free(call->references[i]);
	pn_buf_free(&call->verdict.errors);
	pn_buf_free(&call->bytes);
	pn_buf_free(&call->more);
	memset(call, 0, sizeof(*call));
}

static int close_call(lua_State *L) {
	free_call(luaL_checkudata(L, 1, CALL));
	return 0;
}

struct pn_lua_call *pn_lua_call_new(lua_State *L) {
	return pn_glue_handle(L, CALL, sizeof(struct pn_lua_call), 0);
}

int pn_lua_call_end(lua_State *L, struct pn_lua_call *call, int err, int results) {
	free_call(call);
	return err == PN_OK ? results : pn_glue_error(L, err);
}

/* ---- Handles ---- */

const struct pn_chain *pn_lua_check_chain(lua_State *L) {
	const struct handle *handle = luaL_checkudata(L, 1, PN_LUA_CHAIN);
	luaL_argcheck(L, handle->chain != NULL, 1, "the chain is closed");
	return handle->chain;
}

/* parse(pem) -> chain | nil, condition, text */
int pn_lua_parse(lua_State *L) {
	const struct pn_str pem = pn_glue_str(L, 1);
	struct handle *handle = pn_glue_handle(L, PN_LUA_CHAIN, sizeof(*handle), 0);
	const int err = pn_chain_new(&handle->chain, pem);
	return err == PN_OK ? 1 : pn_glue_error(L, err);
}

static int chain_close(lua_State *L) {
	struct handle *handle = luaL_checkudata(L, 1, PN_LUA_CHAIN);
	pn_chain_free(handle->chain);
	handle->chain = NULL;
	return 0;
}

/* #chain -> number of certificates */
static int chain_len(lua_State *L) {
	lua_pushinteger(L, (lua_Integer)pn_chain_count(pn_lua_check_chain(L)));
	return 1;
}

/* ---- Contents of certificates ---- */

static void set_hex(lua_State *L, const char *name, const unsigned char digest[PN_DIGEST_LEN]) {
	static const char digits[] = "0123456789abcdef";
	char text[2 * PN_DIGEST_LEN];
	for (size_t i = 0; i < PN_DIGEST_LEN; i++) {
		text[2 * i] = digits[digest[i] >> 4];
		text[2 * i + 1] = digits[digest[i] & 15];
	}
	pn_glue_set_str(L, name, (struct pn_str){text, sizeof(text)});
}

static void push_info(lua_State *L, const struct pn_cert_info *info) {
	lua_createtable(L, 0, 10);
	pn_glue_set_buf(L, "subject", &info->subject);
	pn_glue_set_buf(L, "issuer", &info->issuer);
	pn_glue_set_buf(L, "serial", &info->serial);
	if (info->has_not_before)
		pn_glue_set_integer(L, "not_before", info->not_before);
	if (info->has_not_after)
		pn_glue_set_integer(L, "not_after", info->not_after);
	set_hex(L, "sha256", info->sha256);
	set_hex(L, "spki_sha256", info->spki_sha256);
	pn_glue_set_boolean(L, "authority", info->authority);
	pn_glue_set_boolean(L, "self_issued", info->self_issued);
	lua_createtable(L, 0, 2);
	pn_glue_set_text(L, "type", info->key_type);
	pn_glue_set_integer(L, "bits", info->key_bits);
	lua_setfield(L, -2, "key");
}

/* chain:describe([index]) -> { subject =, issuer =, serial =, not_before =, not_after =, sha256 =,
 * spki_sha256 =, authority =, self_issued =, key = { type =, bits = } } as pn_cert_info has them,
 * digests in hexadecimal | nil, condition, text. The first certificate, the leaf, is 1. */
static int chain_describe(lua_State *L) {
	const lua_Integer count = (lua_Integer)pn_chain_count(pn_lua_check_chain(L));
	const lua_Integer index = lua_isnoneornil(L, 2) ? 1 : pn_glue_integer(L, 2, 1, count);
	struct pn_lua_call *call = pn_lua_call_new(L);
	const int err = pn_cert_describe(pn_lua_check_chain(L), (size_t)index - 1, &call->info);
	if (err == PN_OK)
		push_info(L, &call->info);
	return pn_lua_call_end(L, call, err, 1);
}

static void push_name(lua_State *L, const struct pn_name *name) {
	lua_createtable(L, 0, 5);
	pn_glue_set_text(L, "type", name->kind);
	pn_glue_set_str(L, "value", name->value);
	pn_glue_set_text(L, "fault", name->fault);
}

/* chain:names() -> names of the leaf { { type =, value =, fault = }, ... }, fault of the whole
 * extension or nil | nil, condition, text */
static int chain_names(lua_State *L) {
	struct pn_lua_call *call = pn_lua_call_new(L);
	const int err = pn_names_new(&call->names, pn_lua_check_chain(L), 0);
	if (err != PN_OK)
		return pn_lua_call_end(L, call, err, 0);
	const size_t count = pn_names_count(call->names);
	lua_createtable(L, (int)count, 0);
	for (size_t i = 0; i < count; i++) {
		push_name(L, pn_names_at(call->names, i));
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_pushstring(L, pn_names_fault(call->names));
	return pn_lua_call_end(L, call, PN_OK, 2);
}

/* Pushes whether any name of the call matches its reference, and all names. Without a reference
 * none does. */
static void push_identity(lua_State *L, const struct pn_lua_call *call) {
	bool any = false;
	lua_newtable(L);
	for (size_t i = 0; i < pn_names_count(call->names); i++) {
		const struct pn_name *name = pn_names_at(call->names, i);
		const char *reason = "the reference is not a domain name";
		const bool matches = call->reference_count > 0 &&
				     pn_name_matches(name, call->references[0], &reason);
		any = any || matches;
		push_name(L, name);
		pn_glue_set_boolean(L, "matched", matches);
		pn_glue_set_text(L, "reason", reason);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_pushboolean(L, any);
	lua_insert(L, -2);
}

/* chain:identity(domain, service) -> whether a name of the leaf matches, { { type =, value =,
 * fault =, matched =, reason = }, ... } | nil, condition, text. An invalid domain matches nothing.
 * Name constraints are not checked: verify() does that. */
static int chain_identity(lua_State *L) {
	const struct pn_str domain = pn_glue_str(L, 2);
	const struct pn_str service = pn_glue_str(L, 3);
	struct pn_lua_call *call = pn_lua_call_new(L);
	int err = pn_names_new(&call->names, pn_lua_check_chain(L), 0);
	if (err == PN_OK)
		err = pn_reference_new(&call->references[0], domain, service);
	if (err != PN_OK && err != PN_EINVAL)
		return pn_lua_call_end(L, call, err, 0);
	call->reference_count = err == PN_OK ? 1 : 0;
	push_identity(L, call);
	return pn_lua_call_end(L, call, PN_OK, 2);
}

/* chain:fits(key PEM as of public_key(), password or nil) -> whether the leaf is for this key |
 * nil, condition, text */
static int chain_fits(lua_State *L) {
	const struct pn_str key = pn_glue_str(L, 2);
	struct pn_str password = {NULL, 0};
	bool fits = false;
	password.bytes = luaL_optlstring(L, 3, NULL, &password.len);
	const int err = pn_key_fits(pn_lua_check_chain(L), key, password, &fits);
	lua_pushboolean(L, fits);
	return err == PN_OK ? 1 : pn_glue_error(L, err);
}

static const luaL_Reg METHODS[] = {
	{"describe", chain_describe}, {"names", chain_names}, {"identity", chain_identity},
	{"fits", chain_fits},         {NULL, NULL},
};

void pn_lua_open_chain(lua_State *L) {
	static const luaL_Reg none[] = {{NULL, NULL}};
	pn_glue_type(L, CALL, none, close_call);
	pn_glue_type(L, PN_LUA_CHAIN, METHODS, chain_close);
	luaL_getmetatable(L, PN_LUA_CHAIN);
	lua_pushcfunction(L, chain_len);
	lua_setfield(L, -2, "__len");
	lua_pop(L, 1);
}
