/* pn/smq.h for Lua, part of smacks.so. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <pn/err.h>
#include <pn/smq.h>
#include <pn/stanza.h>

#include "../glue/glue.h"
#include "../glue/smacks.h"

static const char TYPE[] = "pn.smq";
static const char ACCOUNT[] = "pn.smq.account";
static const char BUFFER[] = "pn.smq.buffer";
/* Keys of the registry: the pool of the process, for all hosts; its accounts by name, weak. */
static const char POOL[] = "pn.smq.pool";
static const char ACCOUNTS[] = "pn.smq.accounts";

/* The words for enum pn_smq_fate. */
static const char *const FATES[] = {"alone", "last", "held", "seen"};
static const char WORDS[] = "pn.smq.fates";

struct account_handle {
	struct pn_smq_account *account; /* NULL until made, and once closed */
};

struct queue_handle {
	struct pn_smq *queue; /* NULL once closed */
	struct pn_smq_account *account;
	struct pn_smq_pool *pool;
};

static struct queue_handle *check_handle(lua_State *L) {
	struct queue_handle *handle = luaL_checkudata(L, 1, TYPE);
	luaL_argcheck(L, handle->queue != NULL, 1, "the queue is closed");
	return handle;
}

static struct pn_smq *check_queue(lua_State *L) {
	return check_handle(L)->queue;
}

/* Pushes the pool of the process, and creates it if there is none. */
static struct pn_smq_pool *push_pool(lua_State *L) {
	if (lua_getfield(L, LUA_REGISTRYINDEX, POOL) == LUA_TUSERDATA)
		return lua_touserdata(L, -1);
	lua_pop(L, 1);
	struct pn_smq_pool *pool = lua_newuserdatauv(L, sizeof(*pool), 0);
	*pool = (struct pn_smq_pool){0};
	lua_pushvalue(L, -1);
	lua_setfield(L, LUA_REGISTRYINDEX, POOL);
	return pool;
}

/* Pushes the table of accounts, whose values are weak, and creates it if there is none. */
static void push_accounts(lua_State *L) {
	if (lua_getfield(L, LUA_REGISTRYINDEX, ACCOUNTS) == LUA_TTABLE)
		return;
	lua_pop(L, 1);
	lua_newtable(L);
	lua_createtable(L, 0, 1);
	lua_pushliteral(L, "v");
	lua_setfield(L, -2, "__mode");
	lua_setmetatable(L, -2);
	lua_pushvalue(L, -1);
	lua_setfield(L, LUA_REGISTRYINDEX, ACCOUNTS); /* last: it is complete */
}

/*
 * Queues refer to their account, which is older than they are, so Lua finalizes it after them. A
 * queue that a finalizer makes while Lua closes is never finalized, and keeps its account.
 */
static int account_close(lua_State *L) {
	struct account_handle *handle = luaL_checkudata(L, 1, ACCOUNT);
	pn_smq_account_free(handle->account);
	handle->account = NULL;
	return 0;
}

/* Pushes the account with the name from the table at the top of the stack. Returns false, and
 * pushes nothing, if there is none. */
static bool find_account(lua_State *L, const char *name) {
	if (lua_getfield(L, -1, name) == LUA_TUSERDATA)
		return true;
	lua_pop(L, 1);
	return false;
}

/*
 * Pushes the account with the name, and creates it if there is none. Returns 0 or an error; raises
 * if the account is finalized, which happens only while Lua closes.
 */
static int push_account(lua_State *L, struct pn_smq_pool *pool, const char *name) {
	push_accounts(L);
	if (!find_account(L, name)) {
		struct account_handle *made = pn_glue_handle(L, ACCOUNT, sizeof(*made), 0);
		lua_insert(L, -2);
		if (!find_account(L, name)) { /* a finalizer may have made it meanwhile */
			const int err = pn_smq_account_new(&made->account, pool, name);
			if (err != PN_OK)
				return err;
			lua_pushvalue(L, -2);
			lua_pushvalue(L, -1);
			lua_setfield(L, -3, name);
		}
	}
	const struct account_handle *account = lua_touserdata(L, -1);
	return account->account != NULL ? PN_OK : luaL_error(L, "the account is closed");
}

static const char *check_name(lua_State *L) {
	lua_getfield(L, 1, "account");
	if (lua_isnil(L, -1))
		return "";
	size_t len = 0;
	const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
	if (name == NULL || strlen(name) != len)
		luaL_error(L, "field 'account' must be a string without zero bytes");
	return name; /* stays on the stack */
}

/* new{ account =, bytes =, items =, start = } -> queue. Queues without an account share one. */
static int smq_new(lua_State *L) {
	luaL_checktype(L, 1, LUA_TTABLE);
	const struct pn_smq_limits limits = {
		.bytes = (size_t)pn_glue_field(L, 1, "bytes", 0, INT64_MAX, 0),
		.items = (uint32_t)pn_glue_field(L, 1, "items", 0, UINT32_MAX, 0),
	};
	const uint32_t start = (uint32_t)pn_glue_field(L, 1, "start", 0, UINT32_MAX, 0);
	const char *name = check_name(L);
	struct pn_smq_pool *pool = push_pool(L);
	int err = push_account(L, pool, name);
	if (err != PN_OK)
		return pn_glue_error(L, err);
	const struct account_handle *account = lua_touserdata(L, -1);

	struct queue_handle *handle = pn_glue_handle(L, TYPE, sizeof(*handle), 1);
	handle->pool = pool;
	handle->account = account->account;
	lua_pushvalue(L, -2);
	lua_setiuservalue(L, -2, 1); /* the account lives as long as any queue */
	err = pn_smq_new(&handle->queue, handle->account, limits, start);
	return err == PN_OK ? 1 : pn_glue_error(L, err);
}

static int smq_close(lua_State *L) {
	struct queue_handle *handle = luaL_checkudata(L, 1, TYPE);
	pn_smq_free(handle->queue);
	handle->queue = NULL;
	return 0;
}

/*
 * queue:push(bytes, splice, time [, key]) -> over its limits?, bytes held by the process, bytes
 * held by the account
 */
static int smq_push(lua_State *L) {
	size_t len;
	const char *bytes = luaL_checklstring(L, 2, &len);
	luaL_argcheck(L, len <= PN_SMQ_LEN_MAX, 2, "too long");
	const struct pn_smq_item item = {
		.bytes = bytes,
		.len = (uint32_t)len,
		.splice = (uint32_t)pn_glue_integer(L, 3, 0, (lua_Integer)len),
		.time = luaL_checkinteger(L, 4),
		.key = (uint64_t)luaL_optinteger(L, 5, 0),
	};
	const struct queue_handle *handle =
		check_handle(L); /* last: a finalizer may have closed it */
	const int err = pn_smq_push(handle->queue, &item);
	if (err != PN_OK)
		return pn_glue_error(L, err);
	lua_pushboolean(L, pn_smq_over(handle->queue));
	lua_pushinteger(L, (lua_Integer)handle->pool->bytes);
	lua_pushinteger(L, (lua_Integer)pn_smq_account_bytes(handle->account));
	return 3;
}

/* queue:ack(h) -> newly acknowledged | nil, "head" or "tail", text */
static int smq_ack(lua_State *L) {
	const uint32_t h = (uint32_t)pn_glue_integer(L, 2, 0, UINT32_MAX);
	const int64_t newly = pn_smq_ack(check_queue(L), h);
	if (newly < 0)
		return pn_glue_error(L, (int)newly);
	lua_pushinteger(L, newly);
	return 1;
}

/* Pushes bytes, splice, time. */
static int push_item(lua_State *L, const struct pn_smq_item *item) {
	lua_pushlstring(L, item->bytes, item->len);
	lua_pushinteger(L, item->splice);
	lua_pushinteger(L, item->time);
	return 3;
}

/* queue:at(i) -> bytes, splice, time of the i-th held item, 1 being the oldest | nothing */
static int smq_at(lua_State *L) {
	struct pn_smq_item item;
	const lua_Integer index = luaL_checkinteger(L, 2);
	struct pn_smq *queue = check_queue(L);
	if (index < 1 || index > UINT32_MAX || !pn_smq_at(queue, (uint32_t)(index - 1), &item))
		return 0;
	return push_item(L, &item);
}

/* ---- Rendering: a run of items as one string, each with its <delay/> ---- */

static int buffer_close(lua_State *L) {
	pn_buf_free(luaL_checkudata(L, 1, BUFFER));
	return 0;
}

/* Appends an item as it is sent again. `delay` is scratch memory. */
static int render_item(struct pn_buf *out, struct pn_buf *delay, const struct pn_smq_item *item,
		       struct pn_str from) {
	if (item->splice == 0) {
		pn_buf_append(out, item->bytes, item->len);
		return out->err;
	}
	pn_buf_reset(delay, SIZE_MAX);
	const int err = pn_stanza_delay(delay, from, item->time);
	if (err != PN_OK)
		return err;
	return pn_stanza_splice(out, (struct pn_str){item->bytes, item->len}, item->splice,
				(struct pn_str){(const char *)delay->data, delay->len});
}

/* Appends items from *index on until there are `most` bytes. Sets *index to the next item. */
static int render(struct pn_smq *queue, uint32_t *index, struct pn_str from, size_t most,
		  struct pn_buf *out) {
	struct pn_smq_item item;
	struct pn_buf delay = {0};
	int err = PN_OK;
	while (err == PN_OK && out->len < most && pn_smq_at(queue, *index, &item)) {
		err = render_item(out, &delay, &item, from);
		*index += 1;
	}
	pn_buf_free(&delay);
	return err;
}

/*
 * queue:render(i, from, most) -> bytes, next | nil, condition, text
 * Returns the held items from the i-th on as they are sent again, each with a <delay/> from `from`,
 * until there are `most` bytes; and the position of the next item.
 */
static int smq_render(lua_State *L) {
	const lua_Integer first = pn_glue_integer(L, 2, 1, UINT32_MAX);
	const struct pn_str from = pn_glue_str(L, 3);
	const size_t most = (size_t)pn_glue_integer(L, 4, 1, INT64_MAX);
	struct pn_buf *out = pn_glue_handle(L, BUFFER, sizeof(*out), 0);
	struct pn_smq *queue = check_queue(L); /* last: a finalizer may have closed it */
	uint32_t index = (uint32_t)(first - 1);
	const int err = render(queue, &index, from, most, out);
	if (err != PN_OK) {
		pn_buf_free(out);
		return pn_glue_error(L, err);
	}
	lua_pushlstring(L, (const char *)out->data, out->len);
	pn_buf_free(out);
	lua_pushinteger(L, (lua_Integer)index + 1);
	return 2;
}

/* ---- Taking ---- */

/* The state of a queue, to see whether a finalizer has changed it while Lua allocated. */
struct glimpse {
	const struct pn_smq *queue;
	uint32_t removed; /* number of items that have left it, modulo 2^32 */
};

static struct glimpse look(const struct queue_handle *handle) {
	struct glimpse glimpse = {.queue = handle->queue};
	if (glimpse.queue != NULL)
		glimpse.removed = pn_smq_pushed(glimpse.queue) - pn_smq_held(glimpse.queue);
	return glimpse;
}

/*
 * Takes the oldest item, and pushes bytes, splice, time and fate. Returns 4; or 0 if the queue is
 * empty or a finalizer has changed it.
 */
static int take(lua_State *L, const struct queue_handle *handle) {
	struct pn_smq_item item;
	enum pn_smq_fate fate = PN_SMQ_ALONE;
	if (handle->queue == NULL || !pn_smq_at(handle->queue, 0, &item))
		return 0;
	const struct glimpse before = look(handle);
	push_item(L, &item);
	const struct glimpse after = look(handle);
	if (after.queue != before.queue || after.removed != before.removed) {
		lua_pop(L, 3);
		return 0;
	}
	pn_smq_take(handle->queue, &fate);
	lua_pushstring(L, FATES[fate]); /* needs no memory, see keep_words() */
	return 4;
}

/* queue:take() -> bytes, splice, time, fate of the oldest held item, which leaves it | nothing */
static int smq_take(lua_State *L) {
	const struct queue_handle *handle = check_handle(L);
	lua_settop(L, 1);
	luaL_checkstack(L, 4, NULL);
	while (handle->queue != NULL && pn_smq_held(handle->queue) > 0) {
		if (take(L, handle) > 0)
			return 4;
	}
	return 0;
}

static int smq_acked(lua_State *L) {
	lua_pushinteger(L, pn_smq_acked(check_queue(L)));
	return 1;
}

static int smq_pushed(lua_State *L) {
	lua_pushinteger(L, pn_smq_pushed(check_queue(L)));
	return 1;
}

static int smq_unacked(lua_State *L) {
	lua_pushinteger(L, pn_smq_unacked(check_queue(L)));
	return 1;
}

static int smq_held(lua_State *L) {
	lua_pushinteger(L, pn_smq_held(check_queue(L)));
	return 1;
}

static int smq_bytes(lua_State *L) {
	lua_pushinteger(L, (lua_Integer)pn_smq_bytes(check_queue(L)));
	return 1;
}

static int smq_over(lua_State *L) {
	lua_pushboolean(L, pn_smq_over(check_queue(L)));
	return 1;
}

/* queue:siblings() -> number of queues of its account, itself included */
static int smq_siblings(lua_State *L) {
	lua_pushinteger(L, (lua_Integer)pn_smq_account_queues(check_handle(L)->account));
	return 1;
}

static int smq_resumable(lua_State *L) {
	lua_pushboolean(L, pn_smq_resumable(check_queue(L)));
	return 1;
}

/* total() -> bytes, items held by all queues of the process */
static int smq_total(lua_State *L) {
	const struct pn_smq_pool *pool = push_pool(L);
	lua_pushinteger(L, (lua_Integer)pool->bytes);
	lua_pushinteger(L, (lua_Integer)pool->items);
	return 2;
}

/* largest() -> name and bytes of the account that holds most | nothing */
static int smq_largest(lua_State *L) {
	const struct pn_smq_account *account = pn_smq_largest(push_pool(L));
	if (account == NULL)
		return 0;
	lua_pushinteger(L, (lua_Integer)pn_smq_account_bytes(account));
	lua_pushstring(L, pn_smq_account_name(account));
	lua_insert(L, -2);
	return 2;
}

/* account(name) -> bytes, queues of the account of this name */
static int smq_account(lua_State *L) {
	luaL_checktype(L, 1, LUA_TSTRING);
	push_accounts(L);
	lua_pushvalue(L, 1);
	const struct account_handle *handle =
		lua_rawget(L, -2) == LUA_TUSERDATA ? lua_touserdata(L, -1) : NULL;
	const bool exists = handle != NULL && handle->account != NULL;
	lua_pushinteger(L, exists ? (lua_Integer)pn_smq_account_bytes(handle->account) : 0);
	lua_pushinteger(L, exists ? (lua_Integer)pn_smq_account_queues(handle->account) : 0);
	return 2;
}

static const luaL_Reg METHODS[] = {
	{"push", smq_push},     {"ack", smq_ack},       {"at", smq_at},
	{"take", smq_take},     {"over", smq_over},     {"siblings", smq_siblings},
	{"acked", smq_acked},   {"pushed", smq_pushed}, {"unacked", smq_unacked},
	{"held", smq_held},     {"bytes", smq_bytes},   {"resumable", smq_resumable},
	{"render", smq_render}, {NULL, NULL},
};

static const luaL_Reg NO_METHODS[] = {{NULL, NULL}};

static const luaL_Reg FUNCTIONS[] = {
	{"new", smq_new},         {"total", smq_total}, {"largest", smq_largest},
	{"account", smq_account}, {NULL, NULL},
};

/* Keeps the words alive: pushing one must not fail for lack of memory after an item was taken. */
static void keep_words(lua_State *L) {
	luaL_getsubtable(L, LUA_REGISTRYINDEX, WORDS);
	for (size_t i = 0; i < sizeof(FATES) / sizeof(*FATES); i++) {
		lua_pushstring(L, FATES[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_pop(L, 1);
}

void pn_lua_open_smq(lua_State *L) {
	push_pool(L); /* now, so that there is never a second one */
	push_accounts(L);
	lua_pop(L, 2);
	keep_words(L);
	pn_glue_type(L, ACCOUNT, NO_METHODS, account_close);
	pn_glue_type(L, TYPE, METHODS, smq_close);
	pn_glue_type(L, BUFFER, NO_METHODS, buffer_close);
	luaL_setfuncs(L, FUNCTIONS, 0);
}
