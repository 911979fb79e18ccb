/* pn/dns.h for Lua: dns.so, luaopen_dns. */
#include <ctype.h>
#include <string.h>

#include <pn/dns.h>
#include <pn/err.h>

#include "../glue/glue.h"

static const char TYPE[] = "pn.resolver";
static const char ANSWER[] = "pn.dns.answer"; /* owns an answer until it is a table */

enum { DNS_PORT = 53, SETTING_NAME = 16 };

struct handle {
	struct pn_resolver *resolver; /* NULL once closed */
};

/* ---- Answers as tables ---- */

static int free_answer(lua_State *L) {
	pn_dns_answer_free(luaL_checkudata(L, 1, ANSWER));
	return 0;
}

/* Fields of a record's table. */
static const struct form {
	enum pn_dns_type type;
	const char *numbers[3]; /* up to the first NULL */
	const char *value;
} FORMS[] = {
	{PN_DNS_SRV, {"priority", "weight", "port"}, "target"},
	{PN_DNS_DS, {"key_tag", "algorithm", "digest"}, "data"},
	{PN_DNS_DNSKEY, {"flags", "protocol", "algorithm"}, "data"},
	{PN_DNS_TLSA, {"usage", "selector", "match"}, "data"},
	{PN_DNS_CAA, {"flags"}, "value"},
};

static void push_fields(lua_State *L, const struct pn_dns_record *record, const struct form *form) {
	lua_createtable(L, 0, 4);
	for (size_t i = 0; i < 3 && form->numbers[i] != NULL; i++)
		pn_glue_set_integer(L, form->numbers[i], record->numbers[i]);
	if (form->type == PN_DNS_CAA)
		pn_glue_set_text(L, "tag", record->tag);
	pn_glue_set_buf(L, form->value, &record->value);
}

/* Pushes the data of a record: a table, or a string for types of one field. */
static void push_data(lua_State *L, const struct pn_dns_record *record, enum pn_dns_type type) {
	for (size_t i = 0; i < sizeof(FORMS) / sizeof(FORMS[0]); i++) {
		if (FORMS[i].type == type) {
			push_fields(L, record, &FORMS[i]);
			return;
		}
	}
	lua_pushlstring(L, record->value.len > 0 ? (const char *)record->value.data : "",
			record->value.len);
}

/* Pushes { { ttl =, [field] = data }, ... }; the field is the type in lower case. */
static void push_records(lua_State *L, const struct pn_dns_answer *answer, enum pn_dns_type type,
			 const char *field) {
	lua_createtable(L, (int)answer->record_count, 0);
	for (size_t i = 0; i < answer->record_count; i++) {
		lua_createtable(L, 0, 2);
		pn_glue_set_integer(L, "ttl", answer->records[i].ttl);
		push_data(L, &answer->records[i], type);
		lua_setfield(L, -2, field);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

static void push_signatures(lua_State *L, const struct pn_dns_answer *answer) {
	lua_createtable(L, (int)answer->signature_count, 0);
	for (size_t i = 0; i < answer->signature_count; i++) {
		const struct pn_dns_signature *signature = &answer->signatures[i];
		lua_createtable(L, 0, 6);
		pn_glue_set_text(L, "type", signature->type);
		pn_glue_set_text(L, "signer", signature->signer);
		pn_glue_set_integer(L, "key_tag", signature->key_tag);
		pn_glue_set_integer(L, "inception", signature->inception);
		pn_glue_set_integer(L, "expiration", signature->expiration);
		pn_glue_set_integer(L, "original_ttl", signature->original_ttl);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

static int push_answer(lua_State *L, const struct pn_dns_answer *answer, enum pn_dns_type type,
		       const char *field) {
	lua_createtable(L, 0, 10);
	pn_glue_set_integer(L, "rcode", answer->rcode);
	pn_glue_set_boolean(L, "nxdomain", answer->nxdomain);
	pn_glue_set_boolean(L, "authoritative", answer->authoritative);
	pn_glue_set_boolean(L, "secure", answer->secure);
	if (answer->bogus)
		pn_glue_set_buf(L, "bogus", &answer->reason);
	if (answer->has_ttl)
		pn_glue_set_integer(L, "ttl", answer->ttl);
	if (answer->aliased)
		pn_glue_set_text(L, "canonname", answer->canonical);
	push_records(L, answer, type, field);
	lua_setfield(L, -2, "records");
	push_signatures(L, answer);
	lua_setfield(L, -2, "signatures");
	return 1;
}

/* ---- Lookups ---- */

/* Argument `arg` as a type. Writes its name in lower case to `field`. */
static enum pn_dns_type check_type(lua_State *L, int arg, char field[SETTING_NAME]) {
	const char *name = luaL_checkstring(L, arg);
	char upper[SETTING_NAME] = "";
	luaL_argcheck(L, strlen(name) < SETTING_NAME, arg, "unknown type");
	for (size_t i = 0; i <= strlen(name); i++) {
		upper[i] = (char)toupper((unsigned char)name[i]);
		field[i] = (char)tolower((unsigned char)name[i]);
	}
	const int number = pn_dns_type_number(upper);
	luaL_argcheck(L, number > 0, arg, "unknown type");
	return (enum pn_dns_type)number;
}

static struct handle *check_handle(lua_State *L) {
	struct handle *handle = luaL_checkudata(L, 1, TYPE);
	luaL_argcheck(L, handle->resolver != NULL, 1, "the resolver is closed");
	return handle;
}

/* resolver:lookup(name, type) -> answer | nil, condition, text */
static int resolver_lookup(lua_State *L) {
	char field[SETTING_NAME];
	const char *name = luaL_checkstring(L, 2);
	const enum pn_dns_type type = check_type(L, 3, field);
	struct pn_dns_answer *answer = pn_glue_handle(L, ANSWER, sizeof(*answer), 0);
	const int err = pn_resolver_lookup(check_handle(L)->resolver, name, type, answer);
	return err == PN_OK ? push_answer(L, answer, type, field) : pn_glue_error(L, err);
}

/* ask(address, name, type[, port]) -> answer | nil, condition, text */
static int dns_ask(lua_State *L) {
	char field[SETTING_NAME];
	const char *address = luaL_checkstring(L, 1);
	const char *name = luaL_checkstring(L, 2);
	const enum pn_dns_type type = check_type(L, 3, field);
	const lua_Integer port =
		lua_isnoneornil(L, 4) ? DNS_PORT : pn_glue_integer(L, 4, 1, UINT16_MAX);
	struct pn_dns_answer *answer = pn_glue_handle(L, ANSWER, sizeof(*answer), 0);
	const int err = pn_dns_ask(address, (uint16_t)port, name, type, answer);
	return err == PN_OK ? push_answer(L, answer, type, field) : pn_glue_error(L, err);
}

/* ---- Settings ---- */

/* Raises for an invalid value. */
static void apply(lua_State *L, const struct handle *handle, enum pn_dns_setting setting,
		  const char *name, const char *value) {
	const int err = pn_resolver_set(handle->resolver, setting, value);
	if (err == PN_ENOMEM)
		luaL_error(L, "%s", pn_err_text(err));
	else if (err != PN_OK)
		luaL_error(L, "'%s' cannot be used: %s", name,
			   value != NULL ? value : "the system's file");
}

/* Applies the value at the top of the stack, and pops it: a string, an array of strings, or true.
 */
static void set(lua_State *L, const struct handle *handle, enum pn_dns_setting setting,
		const char *name) {
	const bool is_file = setting == PN_DNS_RESOLVCONF || setting == PN_DNS_HOSTSTXT;
	if (lua_isstring(L, -1)) {
		apply(L, handle, setting, name, lua_tostring(L, -1));
	} else if (lua_istable(L, -1) && !is_file) {
		for (lua_Integer i = 1; lua_rawgeti(L, -1, i) == LUA_TSTRING; i++) {
			apply(L, handle, setting, name, lua_tostring(L, -1));
			lua_pop(L, 1);
		}
		lua_pop(L, 1);
	} else if (is_file && lua_toboolean(L, -1)) {
		apply(L, handle, setting, name, NULL);
	} else if (lua_toboolean(L, -1)) {
		luaL_error(L, "'%s' must be a string or an array of strings", name);
	}
	lua_pop(L, 1);
}

/* Keys are copied: to convert a number in place would confuse lua_next(). */
static void set_options(lua_State *L, const struct handle *handle) {
	if (lua_getfield(L, 1, "options") == LUA_TTABLE) {
		lua_pushnil(L);
		while (lua_next(L, -2) != 0) {
			lua_pushvalue(L, -2);
			const char *name = lua_tostring(L, -1);
			const char *value = lua_tostring(L, -2);
			if (name == NULL || value == NULL ||
			    pn_resolver_option(handle->resolver, name, value) != PN_OK)
				luaL_error(L, "the option '%s' cannot be used",
					   name != NULL ? name : "?");
			lua_pop(L, 2);
		}
	}
	lua_pop(L, 1);
}

static void set_all(lua_State *L, const struct handle *handle) {
	static const char *const NAMES[] = {
#define SETTING(name) #name,
		PN_DNS_SETTINGS(SETTING)
#undef SETTING
	};
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(*NAMES); i++) {
		char name[SETTING_NAME] = "";
		for (size_t c = 0; NAMES[i][c] != '\0'; c++)
			name[c] = (char)tolower((unsigned char)NAMES[i][c]);
		lua_getfield(L, 1, name);
		set(L, handle, (enum pn_dns_setting)i, name);
	}
	set_options(L, handle);
}

/* new{ trustfile =, trusted =, forward =, ... } -> resolver | nil, condition, text */
static int dns_new(lua_State *L) {
	luaL_checktype(L, 1, LUA_TTABLE);
	struct handle *handle = pn_glue_handle(L, TYPE, sizeof(*handle), 0);
	const int err = pn_resolver_new(&handle->resolver);
	if (err != PN_OK)
		return pn_glue_error(L, err);
	set_all(L, handle);
	return 1;
}

static int resolver_close(lua_State *L) {
	struct handle *handle = luaL_checkudata(L, 1, TYPE);
	pn_resolver_free(handle->resolver);
	handle->resolver = NULL;
	return 0;
}

static const luaL_Reg METHODS[] = {
	{"lookup", resolver_lookup},
	{NULL, NULL},
};

static const luaL_Reg NO_METHODS[] = {
	{NULL, NULL},
};

static const luaL_Reg FUNCTIONS[] = {
	{"new", dns_new},
	{"ask", dns_ask},
	{NULL, NULL},
};

PN_EXPORT int luaopen_dns(lua_State *L);

int luaopen_dns(lua_State *L) {
	pn_glue_type(L, TYPE, METHODS, resolver_close);
	pn_glue_type(L, ANSWER, NO_METHODS, free_answer);
	luaL_newlib(L, FUNCTIONS);
	return 1;
}
