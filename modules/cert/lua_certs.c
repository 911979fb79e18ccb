/* pn/cert.h for Lua: certs.so, luaopen_certs. What each function takes and gives stands above it.
 */
#include <string.h>
#include <time.h>

#include <pn/alloc.h>
#include <pn/cert.h>
#include <pn/err.h>

#include "lua_certs.h"

static const char TYPE[] = "pn.certs.old";

enum { REFERENCES_MAX = 64, RECORDS_MAX = 4096, UNKNOWN = 255, SERVICES_MAX = 4 };

/* What a call holds, so that whatever raises in the middle frees it. */
struct call {
	struct pn_chain *chain;
	struct pn_names *names;
	struct pn_cert_info info;
	struct pn_reference *references[REFERENCES_MAX];
	size_t reference_count;
	struct pn_verdict verdict;
	struct pn_buf bytes, more;
};

static int close_call(lua_State *L) {
	struct call *call = luaL_checkudata(L, 1, TYPE);
	pn_chain_free(call->chain);
	pn_names_free(call->names);
	pn_cert_info_free(&call->info);
	for (size_t i = 0; i < call->reference_count; i++)
		pn_reference_free(call->references[i]);
	pn_buf_free(&call->verdict.errors);
	pn_buf_free(&call->bytes);
	pn_buf_free(&call->more);
	memset(call, 0, sizeof(*call));
	return 0;
}

static struct call *new_call(lua_State *L) {
	return pn_glue_handle(L, TYPE, sizeof(struct call), 0);
}

/* Frees what the call at `index` holds, now rather than at some time; leaves the stack alone. */
static void end_call(lua_State *L, int index) {
	lua_pushcfunction(L, close_call);
	lua_pushvalue(L, index);
	lua_call(L, 1, 0);
}

static struct pn_str check_string(lua_State *L, int arg) {
	struct pn_str string;
	string.bytes = luaL_checklstring(L, arg, &string.len);
	return string;
}

/* The string in field `name` of the table at arg, which is left on the stack; bytes NULL: none. */
static struct pn_str field_string(lua_State *L, int arg, const char *name) {
	struct pn_str string = {NULL, 0};
	if (lua_getfield(L, arg, name) == LUA_TSTRING)
		string.bytes = lua_tolstring(L, -1, &string.len);
	else if (!lua_isnil(L, -1))
		luaL_error(L, "field '%s' must be a string", name);
	return string;
}

static void set_string(lua_State *L, const char *name, struct pn_str value) {
	lua_pushlstring(L, value.bytes, value.len);
	lua_setfield(L, -2, name);
}

static void set_buf(lua_State *L, const char *name, const struct pn_buf *value) {
	set_string(L, name,
		   (struct pn_str){value->len > 0 ? (const char *)value->data : "", value->len});
}

/* ---- What certificates say ---- */

static void set_hex(lua_State *L, const char *name, const unsigned char digest[PN_DIGEST_LEN]) {
	static const char digits[] = "0123456789abcdef";
	char text[2 * PN_DIGEST_LEN];
	for (size_t i = 0; i < PN_DIGEST_LEN; i++) {
		text[2 * i] = digits[digest[i] >> 4];
		text[2 * i + 1] = digits[digest[i] & 15];
	}
	set_string(L, name, (struct pn_str){text, sizeof(text)});
}

static void set_time(lua_State *L, const char *name, bool is_set, int64_t seconds) {
	if (!is_set)
		return;
	lua_pushinteger(L, seconds);
	lua_setfield(L, -2, name);
}

static void push_info(lua_State *L, const struct pn_cert_info *info) {
	lua_createtable(L, 0, 12);
	set_buf(L, "subject", &info->subject);
	set_buf(L, "issuer", &info->issuer);
	set_buf(L, "serial", &info->serial);
	set_time(L, "not_before", info->has_not_before, info->not_before);
	set_time(L, "not_after", info->has_not_after, info->not_after);
	set_hex(L, "sha256", info->sha256);
	set_hex(L, "spki_sha256", info->spki_sha256);
	lua_pushboolean(L, info->authority);
	lua_setfield(L, -2, "authority");
	lua_pushboolean(L, info->self_issued);
	lua_setfield(L, -2, "self_issued");
	lua_createtable(L, 0, 2);
	lua_pushstring(L, info->key_type);
	lua_setfield(L, -2, "type");
	lua_pushinteger(L, info->key_bits);
	lua_setfield(L, -2, "bits");
	lua_setfield(L, -2, "key");
}

static void push_name(lua_State *L, const struct pn_name *name) {
	lua_createtable(L, 0, 4);
	lua_pushstring(L, name->kind);
	lua_setfield(L, -2, "type");
	set_string(L, "value", name->value);
	lua_pushstring(L, name->fault);
	lua_setfield(L, -2, "fault");
}

static void push_names(lua_State *L, const struct pn_names *names) {
	const size_t count = pn_names_count(names);
	lua_createtable(L, (int)count, 0);
	for (size_t i = 0; i < count; i++) {
		push_name(L, pn_names_at(names, i));
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

/* Pushes the description of certificate `index`, or pushes nothing and returns an error. */
static int push_certificate(lua_State *L, struct call *call, size_t index) {
	pn_cert_info_free(&call->info);
	int err = pn_cert_describe(call->chain, index, &call->info);
	if (err != PN_OK)
		return err;
	pn_names_free(call->names);
	call->names = NULL;
	err = pn_names_new(&call->names, call->chain, index);
	if (err != PN_OK)
		return err;
	push_info(L, &call->info);
	push_names(L, call->names);
	lua_setfield(L, -2, "names");
	lua_pushstring(L, pn_names_fault(call->names));
	lua_setfield(L, -2, "fault");
	return PN_OK;
}

/* Returns the results of a function: what it pushed last, or an error. */
static int finish(lua_State *L, int call, int err, int results) {
	end_call(L, call);
	return err == PN_OK ? results : pn_glue_error(L, err);
}

/* names(pem) -> description of the first certificate | nil, condition, text */
static int certs_names(lua_State *L) {
	const struct pn_str pem = check_string(L, 1);
	lua_settop(L, 1);
	struct call *call = new_call(L);
	int err = pn_chain_new(&call->chain, pem);
	if (err == PN_OK)
		err = push_certificate(L, call, 0);
	return finish(L, 2, err, 1);
}

/* chain(pem) -> descriptions of all certificates, the leaf first | nil, condition, text */
static int certs_chain(lua_State *L) {
	const struct pn_str pem = check_string(L, 1);
	lua_settop(L, 1);
	struct call *call = new_call(L);
	int err = pn_chain_new(&call->chain, pem);
	const size_t count = err == PN_OK ? pn_chain_count(call->chain) : 0;
	lua_newtable(L);
	for (size_t i = 0; i < count && err == PN_OK; i++) {
		err = push_certificate(L, call, i);
		if (err == PN_OK)
			lua_rawseti(L, 3, (lua_Integer)i + 1);
	}
	return finish(L, 2, err, 1);
}

/* identity(pem, domain, service) -> whether a name matches, { { type =, value =, matched =,
 * reason = }, ... } | nil, condition, text. A domain that is none matches nothing. What authorities
 * forbid is not looked at: verify() does. */
static int certs_identity(lua_State *L) {
	const struct pn_str pem = check_string(L, 1);
	const struct pn_str domain = check_string(L, 2);
	const struct pn_str service = check_string(L, 3);
	lua_settop(L, 3);
	struct call *call = new_call(L);
	int err = pn_chain_new(&call->chain, pem);
	if (err == PN_OK)
		err = pn_names_new(&call->names, call->chain, 0);
	if (err == PN_OK)
		err = pn_reference_new(&call->references[0], domain, service);
	const bool is_domain = err != PN_EINVAL;
	if (err != PN_OK && is_domain)
		return finish(L, 4, err, 0);
	call->reference_count = is_domain ? 1 : 0;
	bool any = false;
	lua_newtable(L);
	for (size_t i = 0; i < pn_names_count(call->names); i++) {
		const struct pn_name *name = pn_names_at(call->names, i);
		const char *reason = "what is asked for is no domain";
		const bool matches =
			is_domain && pn_name_matches(name, call->references[0], &reason);
		any = any || matches;
		push_name(L, name);
		lua_pushboolean(L, matches);
		lua_setfield(L, -2, "matched");
		lua_pushstring(L, reason);
		lua_setfield(L, -2, "reason");
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_pushboolean(L, any);
	lua_insert(L, -2);
	return finish(L, 4, PN_OK, 2);
}

/* ---- Verdicts ---- */

/* A number of a record, by name, by Prosody's name for it, or by position; UNKNOWN for no byte. */
static unsigned record_number(lua_State *L, const char *name, const char *short_name,
			      int position) {
	int is_integer = 0;
	if (lua_getfield(L, -1, name) == LUA_TNIL) {
		lua_pop(L, 1);
		if (lua_getfield(L, -1, short_name) == LUA_TNIL) {
			lua_pop(L, 1);
			lua_rawgeti(L, -1, position);
		}
	}
	const lua_Integer value = lua_tointegerx(L, -1, &is_integer);
	lua_pop(L, 1);
	return is_integer && value >= 0 && value < UNKNOWN ? (unsigned)value : UNKNOWN;
}

/* Reads the record on top of the stack, and leaves its data there instead. */
static void read_record(lua_State *L, struct pn_tlsa *record) {
	luaL_checktype(L, -1, LUA_TTABLE);
	record->usage = record_number(L, "usage", "use", 1);
	record->selector = record_number(L, "selector", "select", 2);
	record->match = record_number(L, "match", "matching", 3);
	if (lua_getfield(L, -1, "data") == LUA_TNIL) {
		lua_pop(L, 1);
		lua_rawgeti(L, -1, 4);
	}
	record->data.bytes = luaL_checklstring(L, -1, &record->data.len);
	lua_remove(L, -2);
}

/* Pushes the records of field `tlsa` as an array, and before it all that it borrows from. */
static void read_records(lua_State *L, struct pn_verify *verify) {
	if (lua_getfield(L, 1, "tlsa") == LUA_TNIL)
		return;
	luaL_checktype(L, -1, LUA_TTABLE);
	const int table = lua_gettop(L);
	const lua_Integer count = luaL_len(L, table);
	luaL_argcheck(L, count >= 0 && count <= RECORDS_MAX, 1, "too many TLSA records");
	luaL_checkstack(L, (int)count + LUA_MINSTACK, "too many TLSA records");
	struct pn_tlsa *records = lua_newuserdatauv(L, (size_t)(count + 1) * sizeof(*records), 0);
	for (lua_Integer i = 0; i < count; i++) {
		lua_rawgeti(L, table, i + 1);
		read_record(L, &records[i]);
	}
	verify->records = records;
	verify->record_count = (size_t)count;
}

/* A reference that is no domain is one that nothing matches: it is left out. */
static int read_references(lua_State *L, struct call *call) {
	const struct pn_str service = field_string(L, 1, "service");
	const struct pn_str usual = {"xmpp-server", 11};
	luaL_argcheck(L, lua_getfield(L, 1, "references") == LUA_TTABLE, 1,
		      "references are missing");
	const int table = lua_gettop(L);
	const lua_Integer count = luaL_len(L, table);
	luaL_argcheck(L, count >= 0 && count <= REFERENCES_MAX, 1, "too many references");
	for (lua_Integer i = 1; i <= count; i++) {
		lua_rawgeti(L, table, i);
		const struct pn_str domain = check_string(L, -1);
		struct pn_reference **next = &call->references[call->reference_count];
		const int err =
			pn_reference_new(next, domain, service.bytes != NULL ? service : usual);
		if (err == PN_OK)
			call->reference_count++;
		else if (err != PN_EINVAL)
			return err;
		lua_pop(L, 1);
	}
	return PN_OK;
}

static int64_t read_now(lua_State *L) {
	if (lua_getfield(L, 1, "time") == LUA_TNIL)
		return (int64_t)time(NULL);
	return (int64_t)luaL_checknumber(L, -1);
}

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
	lua_pushstring(L, verdict->chain_valid ? "valid" : "invalid");
	lua_setfield(L, -2, "chain");
	lua_pushstring(L, verdict->identity_valid ? "valid" : "invalid");
	lua_setfield(L, -2, "identity");
	lua_pushstring(L, DANE[verdict->dane]);
	lua_setfield(L, -2, "dane");
	if (verdict->dane == PN_DANE_MATCH) {
		lua_createtable(L, 2, 0);
		lua_pushinteger(L, (lua_Integer)verdict->record + 1);
		lua_rawseti(L, -2, 1);
		lua_pushinteger(L, (lua_Integer)verdict->depth);
		lua_rawseti(L, -2, 2);
		lua_setfield(L, -2, "matched");
	}
	lua_pushstring(L, pn_cause_code(verdict->cause));
	lua_setfield(L, -2, "cause");
	lua_pushstring(L, pn_cause_text(verdict->cause));
	lua_setfield(L, -2, "text");
	lua_pushboolean(L, verdict->record_matches);
	lua_setfield(L, -2, "matches");
	lua_pushboolean(L, verdict->completed);
	lua_setfield(L, -2, "completed");
	push_errors(L, &verdict->errors);
	lua_setfield(L, -2, "errors");
}

/*
 * verify{ chain = PEM, tlsa = { { usage, selector, match, data }, ... } or nil, references =
 * { domains }, service = "xmpp-server", ca = PEM, cafile = path, capath = path, time = seconds }
 * -> { chain = "valid" or "invalid", identity = the same, dane = nil, "unusable", "match" or
 * "mismatch", matched = { record from 1, depth from 0 }, errors = { [depth] = { texts } }, cause =
 * code of pn/cert.h, text = what completes "The certificate matches a record, but ", matches =
 * whether one does, completed = whether a record brings a certificate of the chain }
 * | nil, condition, text
 */
static int certs_verify(lua_State *L) {
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	struct call *call = new_call(L);
	struct pn_verify verify = {.now = read_now(L)};
	const struct pn_str pem = field_string(L, 1, "chain");
	const struct pn_str ca = field_string(L, 1, "ca");
	if (ca.bytes != NULL)
		verify.authorities.pem = ca;
	verify.authorities.file = field_string(L, 1, "cafile").bytes;
	verify.authorities.directory = field_string(L, 1, "capath").bytes;
	int err = read_references(L, call);
	read_records(L, &verify);
	if (err == PN_OK)
		err = pem.bytes != NULL ? pn_chain_new(&call->chain, pem) : PN_ECERT;
	verify.chain = call->chain;
	verify.references = call->references;
	verify.reference_count = call->reference_count;
	if (err == PN_OK)
		err = pn_cert_verify(&verify, &call->verdict);
	if (err == PN_OK)
		push_verdict(L, &call->verdict);
	return finish(L, 2, err, 1);
}

/* tlsa(pem, usage, selector, match) -> data | nil, condition, text. Usages 0 and 2 are about the
 * last certificate of the text, 1 and 3 about the first. */
static int certs_tlsa(lua_State *L) {
	const struct pn_str pem = check_string(L, 1);
	const lua_Integer usage = pn_glue_integer(L, 2, PN_TLSA_PKIX_TA, PN_TLSA_DANE_EE);
	const unsigned selector = (unsigned)pn_glue_integer(L, 3, PN_TLSA_CERT, PN_TLSA_SPKI);
	const unsigned match = (unsigned)pn_glue_integer(L, 4, PN_TLSA_FULL, PN_TLSA_SHA512);
	const bool anchor = usage == PN_TLSA_PKIX_TA || usage == PN_TLSA_DANE_TA;
	lua_settop(L, 4);
	struct call *call = new_call(L);
	int err = pn_chain_new(&call->chain, pem);
	if (err == PN_OK)
		err = pn_cert_tlsa(call->chain, anchor ? pn_chain_count(call->chain) - 1 : 0,
				   selector, match, &call->bytes);
	if (err == PN_OK)
		lua_pushlstring(L, (const char *)call->bytes.data, call->bytes.len);
	return finish(L, 5, err, 1);
}

/* usable(usage, selector, match, data) -> true | false, why not */
static int certs_usable(lua_State *L) {
	struct pn_tlsa record = {0};
	unsigned *const numbers[] = {&record.usage, &record.selector, &record.match};
	if (lua_istable(L, 1)) {
		lua_settop(L, 1);
		pn_lua_read_record(L, &record);
	}
	for (int i = 0; i < 3 && record.data.bytes == NULL; i++) {
		const lua_Integer number = luaL_checkinteger(L, i + 1);
		*numbers[i] = number >= 0 && number < UNKNOWN ? (unsigned)number : UNKNOWN;
	}
	if (record.data.bytes == NULL)
		record.data = check_string(L, 4);
	const char *fault = pn_tlsa_fault(&record);
	lua_pushboolean(L, fault == NULL);
	lua_pushstring(L, fault);
	return 2;
}

/* ---- Keys ---- */

/* public_key(pem, password or nil) -> SubjectPublicKeyInfo, DER, of the private key, the public key
 * or the request in a text | nil, condition, text */
static int certs_public_key(lua_State *L) {
	const struct pn_str pem = check_string(L, 1);
	struct pn_str password = {NULL, 0};
	password.bytes = luaL_optlstring(L, 2, NULL, &password.len);
	lua_settop(L, 2);
	struct call *call = new_call(L);
	const int err = pn_public_key(pem, password, &call->bytes);
	if (err == PN_OK)
		lua_pushlstring(L, (const char *)call->bytes.data, call->bytes.len);
	return finish(L, 3, err, 1);
}

/* fits(chain PEM, key PEM as of public_key(), password or nil) -> whether the leaf is for this key
 * | nil, condition, text */
static int certs_fits(lua_State *L) {
	const struct pn_str pem = check_string(L, 1);
	const struct pn_str key = check_string(L, 2);
	struct pn_str password = {NULL, 0};
	password.bytes = luaL_optlstring(L, 3, NULL, &password.len);
	lua_settop(L, 3);
	struct call *call = new_call(L);
	bool fits = false;
	int err = pn_chain_new(&call->chain, pem);
	if (err == PN_OK)
		err = pn_key_fits(call->chain, key, password, &fits);
	lua_pushboolean(L, fits);
	return finish(L, 4, err, 1);
}

/* ---- Requests ---- */

/* Pushes the strings of the array in field `name`, at most `max`, and returns how many. */
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
		list[i] = check_string(L, -1);
	}
	return (size_t)count;
}

/*
 * request{ domains = { A-labels }, services = { "xmpp-client", "xmpp-server" } or nil, key = "ec"
 * or "rsa", private_key = PEM of the key to use instead of a new one } -> key PEM, request PEM |
 * nil, condition, text
 */
static int certs_request(lua_State *L) {
	struct pn_str domains[RECORDS_MAX / 16];
	struct pn_str services[SERVICES_MAX];
	const char *service_names[SERVICES_MAX + 1] = {NULL};
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	struct call *call = new_call(L);
	struct pn_request request = {.domains = domains, .services = service_names};
	const struct pn_str key = field_string(L, 1, "key");
	request.key = field_string(L, 1, "private_key");
	request.rsa = key.bytes != NULL && strcmp(key.bytes, "rsa") == 0;
	request.count = read_list(L, "domains", domains, sizeof(domains) / sizeof(domains[0]));
	const size_t count = read_list(L, "services", services, SERVICES_MAX);
	for (size_t i = 0; i < count; i++)
		service_names[i] = services[i].bytes;
	const int err = pn_cert_request(&request, &call->bytes, &call->more);
	if (err == PN_OK) {
		lua_pushlstring(L, (const char *)call->bytes.data, call->bytes.len);
		lua_pushlstring(L, (const char *)call->more.data, call->more.len);
	}
	return finish(L, 2, err, 2);
}

static const luaL_Reg METHODS[] = {{NULL, NULL}};

static const luaL_Reg FUNCTIONS[] = {
	{"parse", pn_lua_parse},
	{"names", certs_names},
	{"chain", certs_chain},
	{"identity", certs_identity},
	{"verify", certs_verify},
	{"tlsa", certs_tlsa},
	{"usable", certs_usable},
	{"request", certs_request},
	{"public_key", certs_public_key},
	{"fits", certs_fits},
	{NULL, NULL},
};

PN_EXPORT int luaopen_certs(lua_State *L);

int luaopen_certs(lua_State *L) {
	pn_glue_type(L, TYPE, METHODS, close_call);
	pn_lua_open_chain(L);
	pn_lua_open_verify(L);
	luaL_newlib(L, FUNCTIONS);
	return 1;
}
