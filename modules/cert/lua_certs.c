/* pn/cert.h for Lua: certs.so, luaopen_certs. A comment above each function describes its arguments
 * and results. */
#include <string.h>

#include "lua_certs.h"

enum { DOMAINS_MAX = 256, SERVICES_MAX = 4 };

/* usable{ usage, selector, match, data } -> true | false, why not */
static int certs_usable(lua_State *L) {
	struct pn_tlsa record;
	lua_settop(L, 1);
	pn_lua_read_record(L, &record);
	const char *fault = pn_tlsa_fault(&record);
	lua_pushboolean(L, fault == NULL);
	lua_pushstring(L, fault);
	return 2;
}

/* public_key(pem, password or nil) -> SubjectPublicKeyInfo, DER, of the private key, the public key
 * or the request in a text | nil, condition, text */
static int certs_public_key(lua_State *L) {
	const struct pn_str pem = pn_glue_str(L, 1);
	struct pn_str password = {NULL, 0};
	password.bytes = luaL_optlstring(L, 2, NULL, &password.len);
	struct pn_lua_call *call = pn_lua_call_new(L);
	const int err = pn_public_key(pem, password, &call->bytes);
	if (err == PN_OK)
		lua_pushlstring(L, (const char *)call->bytes.data, call->bytes.len);
	return pn_lua_call_end(L, call, err, 1);
}

/* Pushes the strings of the array in field `name`, at most `max`, and returns their number. */
static size_t read_list(lua_State *L, const char *name, struct pn_str *list, size_t max) {
	if (lua_getfield(L, 1, name) == LUA_TNIL)
		return 0;
	luaL_checktype(L, -1, LUA_TTABLE);
	const int table = lua_gettop(L);
	const lua_Integer count = luaL_len(L, table);
	if (count < 0 || (size_t)count > max)
		return (size_t)luaL_error(L, "field '%s' has too many entries", name);
	luaL_checkstack(L, (int)count + LUA_MINSTACK, name);
	for (lua_Integer i = 0; i < count; i++) {
		lua_rawgeti(L, table, i + 1);
		list[i] = pn_glue_str(L, -1);
	}
	return (size_t)count;
}

/*
 * request{ domains = { A-labels }, services = { "xmpp-client", "xmpp-server" } or nil, key = "ec"
 * or "rsa", private_key = PEM of the key to use instead of a new one } -> key PEM, request PEM |
 * nil, condition, text
 */
static int certs_request(lua_State *L) {
	struct pn_str domains[DOMAINS_MAX];
	struct pn_str services[SERVICES_MAX];
	const char *service_names[SERVICES_MAX + 1] = {NULL};
	luaL_checktype(L, 1, LUA_TTABLE);
	struct pn_lua_call *call = pn_lua_call_new(L);
	struct pn_request request = {.domains = domains, .services = service_names};
	const struct pn_str key = pn_lua_field(L, 1, "key");
	request.key = pn_lua_field(L, 1, "private_key");
	request.rsa = key.bytes != NULL && strcmp(key.bytes, "rsa") == 0;
	request.count = read_list(L, "domains", domains, DOMAINS_MAX);
	const size_t count = read_list(L, "services", services, SERVICES_MAX);
	for (size_t i = 0; i < count; i++)
		service_names[i] = services[i].bytes;
	const int err = pn_cert_request(&request, &call->bytes, &call->more);
	if (err == PN_OK) {
		lua_pushlstring(L, (const char *)call->bytes.data, call->bytes.len);
		lua_pushlstring(L, (const char *)call->more.data, call->more.len);
	}
	return pn_lua_call_end(L, call, err, 2);
}

static const luaL_Reg FUNCTIONS[] = {
	{"parse", pn_lua_parse},
	{"usable", certs_usable},
	{"public_key", certs_public_key},
	{"request", certs_request},
	{NULL, NULL},
};

PN_EXPORT int luaopen_certs(lua_State *L);

int luaopen_certs(lua_State *L) {
	pn_lua_open_chain(L);
	pn_lua_open_verify(L);
	luaL_newlib(L, FUNCTIONS);
	return 1;
}
