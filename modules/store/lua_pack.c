/* Stanzas of other storage drivers, checked and packed: methods of a database. */
#include <string.h>

#include <pn/err.h>
#include <pn/pack.h>

#include "../glue/store.h"

/* ---- Tables, as util.stanza's deserialize() accepts them ---- */

struct checked {
	struct pn_pack pack;
	int err;
};

static void check(struct checked *checked, bool good) {
	if (!good)
		checked->err = PN_EXML;
}

static void checked_start(void *to, struct pn_str name) {
	struct checked *checked = to;
	check(checked, pn_stanza_is_name(name, false));
	pn_pack_start(&checked->pack, name);
}

/* deserialize() writes the "|" of old names in another way. */
static void checked_attr(void *to, struct pn_str key, struct pn_str value) {
	struct checked *checked = to;
	check(checked, pn_stanza_is_name(key, true) && memchr(key.bytes, '|', key.len) == NULL);
	check(checked, pn_stanza_is_text(value));
	pn_pack_attr(&checked->pack, key, value);
}

static void checked_text(void *to, struct pn_str text) {
	struct checked *checked = to;
	check(checked, pn_stanza_is_text(text));
	pn_pack_text(&checked->pack, text);
}

static void checked_end(void *to) {
	pn_pack_end(&((struct checked *)to)->pack);
}

static int checked_error(const void *to) {
	const struct checked *checked = to;
	return checked->err != PN_OK ? checked->err : pn_pack_error(&checked->pack);
}

static const struct pn_glue_sink CHECKED = {
	.start = checked_start,
	.attr = checked_attr,
	.text = checked_text,
	.end = checked_end,
	.error = checked_error,
	.refuses_numbers = true,
};

/*
 * pack(stanza) -> packed | nil, condition, text
 * stanza: one of util.stanza, or preserialized. Refuses names and texts that XML does not have.
 */
static int db_pack(lua_State *L) {
	struct pn_lua_db *const db = pn_lua_check_db(L);
	const struct pn_glue_keys keys = {lua_upvalueindex(PN_UP_NAME),
					  lua_upvalueindex(PN_UP_ATTR), 0};
	struct checked checked = {.err = PN_OK};
	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 2);
	struct pn_buf *const buf = pn_lua_scratch(db);
	pn_pack_init(&checked.pack, buf);
	const bool good = pn_glue_walk(L, keys, &CHECKED, &checked);
	const int err = good ? checked_error(&checked) : PN_EDATATYPE;
	if (err != PN_OK)
		return pn_glue_error(L, err);
	lua_pushlstring(L, (const char *)buf->data, buf->len);
	return 1;
}

/* pack_xml(xml) -> packed | nil, condition, text. xml: a document, as pn_pack_document() takes it
 */
static int db_pack_xml(lua_State *L) {
	struct pn_lua_db *const db = pn_lua_check_db(L);
	const struct pn_str xml = pn_lua_check_str(L, 2);
	struct pn_buf *const buf = pn_lua_scratch(db);
	const int err = pn_pack_document(buf, xml);
	if (err != PN_OK)
		return pn_glue_error(L, err);
	lua_pushlstring(L, (const char *)buf->data, buf->len);
	return 1;
}

static const luaL_Reg METHODS[] = {
	{"pack", db_pack},
	{"pack_xml", db_pack_xml},
	{NULL, NULL},
};

void pn_lua_open_pack(lua_State *L) {
	luaL_getmetatable(L, PN_LUA_DB);
	lua_getfield(L, -1, "__index");
	pn_lua_register(L, METHODS);
	lua_pop(L, 2);
}
