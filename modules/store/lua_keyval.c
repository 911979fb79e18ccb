/* Key-value stores for Lua: all data of a user as a table, or single keys of it. */
#include <string.h>

#include <pn/alloc.h>
#include <pn/err.h>

#include "../glue/store.h"

const char PN_LUA_KEYVAL[] = "pn.store.keyval";

/* Pushes util.stanza's metatable, from the database handle at `owner`. Returns its index. */
static int push_metatable(lua_State *L, int owner) {
	lua_getiuservalue(L, owner, PN_LUA_METATABLE);
	return lua_gettop(L);
}

static const struct pn_store *check(lua_State *L, struct pn_lua_db **db) {
	return pn_lua_check_store(L, PN_LUA_KEYVAL, db);
}

/* Frees the buffer and pushes the error. */
static int fail(lua_State *L, struct pn_buf *buf, int err) {
	pn_buf_free(buf);
	return pn_glue_error(L, err);
}

/* Reads `bytes` of pn/wire.h. */
static struct pn_str take_str(struct pn_wire *wire) {
	struct pn_str str;
	str.bytes = pn_wire_bytes(wire, &str.len);
	return str;
}

/* ---- Whole tables ---- */

static bool is_whole_key(struct pn_str key) {
	return key.len == PN_LUA_WHOLE.len && memcmp(key.bytes, PN_LUA_WHOLE.bytes, key.len) == 0;
}

/* Pushes the records as a table; or the one value that is not a map. */
static int push_records(lua_State *L, const struct pn_buf *buf, int count, int metatable) {
	struct pn_wire wire = pn_wire_open(buf->data, buf->len);
	lua_createtable(L, 0, count);
	while (wire.left > 0) {
		const struct pn_str key = take_str(&wire);
		const struct pn_str value = take_str(&wire);
		if (is_whole_key(key)) {
			lua_pop(L, 1);
			return pn_lua_push_value(L, value, metatable);
		}
		int err = pn_lua_push_key(L, key);
		if (err == PN_OK)
			err = pn_lua_push_value(L, value, metatable);
		if (err != PN_OK)
			return err;
		lua_rawset(L, -3);
	}
	return PN_OK;
}

/* get(user) -> table or nil | nil, condition, text */
static int keyval_get(lua_State *L) {
	struct pn_lua_db *db;
	const struct pn_user user = pn_lua_check_user(L, 2);
	struct pn_buf *buf = pn_lua_buffer(L);
	const struct pn_store *store = check(L, &db);
	const int metatable = push_metatable(L, lua_gettop(L));
	const int count = pn_kv_load(store, user, buf);
	if (count < 0)
		return fail(L, buf, count);
	if (count == 0)
		return 0;
	const int err = push_records(L, buf, count, metatable);
	if (err != PN_OK)
		return fail(L, buf, err);
	pn_buf_free(buf);
	return 1;
}

/* Appends bytes key, bytes value. */
static int put_pair(lua_State *L, int key, int value, int metatable, struct pn_buf *buf) {
	const size_t key_at = buf->len;
	pn_wire_put_u32(buf, 0);
	int err = pn_lua_put_key(L, key, buf);
	if (err != PN_OK)
		return err;
	pn_wire_set_u32(buf, key_at, (uint32_t)(buf->len - key_at - 4));
	const size_t value_at = buf->len;
	pn_wire_put_u32(buf, 0);
	if (value != 0)
		err = pn_lua_put_value(L, value, metatable, buf);
	pn_wire_set_u32(buf, value_at, (uint32_t)(buf->len - value_at - 4));
	return err != PN_OK ? err : buf->err;
}

/*
 * Appends the pairs of the table at `index`, with an empty value for pairs whose value equals the
 * one at `remove` (0: none). Returns the number of pairs.
 */
static int put_pairs(lua_State *L, int index, int metatable, int remove, struct pn_buf *buf) {
	const int top = lua_gettop(L);
	int count = 0;
	for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
		const int value = lua_gettop(L);
		const bool removed = remove != 0 && lua_rawequal(L, value, remove);
		const int err = put_pair(L, value - 1, removed ? 0 : value, metatable, buf);
		if (err != PN_OK) {
			lua_settop(L, top);
			return err;
		}
		count++;
	}
	return count;
}

/* Appends a stanza as one value under the key PN_LUA_WHOLE, or any other table as a map. */
static int put_data(lua_State *L, int index, int metatable, struct pn_buf *buf) {
	if (lua_isnil(L, index))
		return 0;
	if (!lua_istable(L, index))
		return PN_EDATATYPE;
	if (!pn_glue_is_stanza(L, index, metatable))
		return put_pairs(L, index, metatable, 0, buf);
	pn_wire_put_bytes(buf, PN_LUA_WHOLE.bytes, (uint32_t)PN_LUA_WHOLE.len);
	const size_t at = buf->len;
	pn_wire_put_u32(buf, 0);
	const int err = pn_lua_put_value(L, index, metatable, buf);
	pn_wire_set_u32(buf, at, (uint32_t)(buf->len - at - 4));
	return err != PN_OK ? err : 1;
}

/* pn_kv_replace(), or set_records(). */
typedef int (*write_records)(const struct pn_store *store, struct pn_user user,
			     struct pn_record *records, size_t count);

/* Writes the `count` pairs of the scratch buffer. An empty value removes its key. */
static int write_buffer(struct pn_lua_db *db, const struct pn_store *store, struct pn_user user,
			int count, write_records write) {
	struct pn_wire wire = pn_wire_open(db->scratch.data, db->scratch.len);
	if (count < 0)
		return count;
	struct pn_record *records = pn_malloc(((size_t)count + 1) * sizeof(*records));
	if (records == NULL)
		return PN_ENOMEM;
	for (int i = 0; i < count; i++) {
		records[i].key = take_str(&wire);
		records[i].value = take_str(&wire);
		if (records[i].value.len == 0)
			records[i].value.bytes = NULL;
	}
	const int err = write(store, user, records, (size_t)count);
	pn_free(records);
	return err;
}

static int set_records(const struct pn_store *store, struct pn_user user, struct pn_record *records,
		       size_t count) {
	return pn_kv_set(store, user, records, count);
}

/* set(user, table or nil) -> true | nil, condition, text */
static int keyval_set(lua_State *L) {
	struct pn_lua_db *db;
	lua_settop(L, 3);
	const struct pn_user user = pn_lua_check_user(L, 2);
	const struct pn_store *store = check(L, &db);
	const int metatable = push_metatable(L, lua_gettop(L));
	struct pn_buf *const buf = pn_lua_scratch(db);
	const int count = put_data(L, 3, metatable, buf);
	return pn_lua_result(L, write_buffer(db, store, user, count, pn_kv_replace));
}

/* ---- Single keys ---- */

/* get_key(user, key) -> value or nil | nil, condition, text */
static int keyval_get_key(lua_State *L) {
	struct pn_lua_db *db;
	lua_settop(L, 3);
	const struct pn_user user = pn_lua_check_user(L, 2);
	struct pn_buf *key = pn_lua_buffer(L);
	struct pn_buf *value = pn_lua_buffer(L);
	const struct pn_store *store = check(L, &db);
	const int metatable = push_metatable(L, lua_gettop(L));
	int found = pn_lua_put_key(L, 3, key);
	if (found == PN_OK) {
		const struct pn_str name = {(const char *)key->data, key->len};
		found = pn_kv_get(store, user, name, value);
	}
	pn_buf_free(key);
	int err = found < 0 ? found : PN_OK;
	if (found > 0)
		err = pn_lua_push_value(L, (struct pn_str){(const char *)value->data, value->len},
					metatable);
	pn_buf_free(value);
	if (err == PN_EDATATYPE)
		return 0; /* no record has such a key */
	return err != PN_OK ? pn_glue_error(L, err) : found > 0;
}

/* set_key(user, key, value or nil) -> true | nil, condition, text */
static int keyval_set_key(lua_State *L) {
	struct pn_lua_db *db;
	lua_settop(L, 4);
	const struct pn_user user = pn_lua_check_user(L, 2);
	const struct pn_store *store = check(L, &db);
	const int metatable = push_metatable(L, lua_gettop(L));
	struct pn_buf *const buf = pn_lua_scratch(db);
	const int err = put_pair(L, 3, lua_isnil(L, 4) ? 0 : 4, metatable, buf);
	const int count = err == PN_OK ? 1 : err;
	return pn_lua_result(L, write_buffer(db, store, user, count, set_records));
}

/* set_keys(user, table, remove) -> true | nil, condition, text. Value `remove` removes a key. */
static int keyval_set_keys(lua_State *L) {
	struct pn_lua_db *db;
	lua_settop(L, 4);
	luaL_checktype(L, 3, LUA_TTABLE);
	const struct pn_user user = pn_lua_check_user(L, 2);
	const struct pn_store *store = check(L, &db);
	const int metatable = push_metatable(L, lua_gettop(L));
	struct pn_buf *const buf = pn_lua_scratch(db);
	const int count = put_pairs(L, 3, metatable, 4, buf);
	return pn_lua_result(L, write_buffer(db, store, user, count, set_records));
}

/* ---- All users ---- */

/* get_all(key) -> table of values by user, or nil | nil, condition, text */
static int keyval_get_all(lua_State *L) {
	struct pn_lua_db *db;
	lua_settop(L, 2);
	luaL_checktype(L, 2, LUA_TSTRING);
	struct pn_buf *key = pn_lua_buffer(L);
	struct pn_buf *buf = pn_lua_buffer(L);
	const struct pn_store *store = check(L, &db);
	const int metatable = push_metatable(L, lua_gettop(L));
	int err = pn_lua_put_key(L, 2, key);
	if (err == PN_OK)
		err = pn_kv_get_all(store, (struct pn_str){(const char *)key->data, key->len}, buf);
	pn_buf_free(key);
	if (err != PN_OK)
		return fail(L, buf, err);
	if (buf->len == 0)
		return 0;
	struct pn_wire wire = pn_wire_open(buf->data, buf->len);
	lua_newtable(L);
	while (wire.left > 0) {
		const struct pn_str user = take_str(&wire);
		const struct pn_str value = take_str(&wire);
		lua_pushlstring(L, user.bytes, user.len);
		err = pn_lua_push_value(L, value, metatable);
		if (err != PN_OK)
			return fail(L, buf, err);
		lua_rawset(L, -3);
	}
	pn_buf_free(buf);
	return 1;
}

/* delete_all(key) -> true | nil, condition, text */
static int keyval_delete_all(lua_State *L) {
	struct pn_lua_db *db;
	lua_settop(L, 2);
	luaL_checktype(L, 2, LUA_TSTRING);
	const struct pn_store *store = check(L, &db);
	struct pn_buf *const buf = pn_lua_scratch(db);
	int err = pn_lua_put_key(L, 2, buf);
	if (err == PN_OK)
		err = pn_kv_delete_all(store, (struct pn_str){(const char *)buf->data, buf->len});
	return pn_lua_result(L, err);
}

/* users() -> array of names | nil, condition, text */
static int keyval_users(lua_State *L) {
	return pn_lua_users(L, PN_LUA_KEYVAL);
}

static const luaL_Reg METHODS[] = {
	{"get", keyval_get},
	{"set", keyval_set},
	{"get_key", keyval_get_key},
	{"set_key", keyval_set_key},
	{"set_keys", keyval_set_keys},
	{"get_all", keyval_get_all},
	{"delete_all", keyval_delete_all},
	{"users", keyval_users},
	{NULL, NULL},
};

void pn_lua_open_keyval(lua_State *L) {
	if (luaL_newmetatable(L, PN_LUA_KEYVAL) != 0) {
		lua_newtable(L);
		pn_lua_register(L, METHODS);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
}
