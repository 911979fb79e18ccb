/* pn/smq.h for Lua: smq.so, luaopen_smq. */
#include <stdint.h>

#include <pn/err.h>
#include <pn/smq.h>

#include "../glue/glue.h"

static const char TYPE[] = "pn.smq";
static const char POOL[] = "pn.smq.pool"; /* in the registry: one pool for all hosts of a process */

struct handle {
	struct pn_smq *queue; /* NULL once closed */
	struct pn_smq_pool *pool;
};

static struct handle *check_handle(lua_State *L) {
	struct handle *handle = luaL_checkudata(L, 1, TYPE);
	luaL_argcheck(L, handle->queue != NULL, 1, "the queue is closed");
	return handle;
}

static struct pn_smq *check_queue(lua_State *L) {
	return check_handle(L)->queue;
}

/* Pushes the process's pool, making it first where there is none. */
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

/* new{ bytes =, items =, start = } -> queue */
static int smq_new(lua_State *L) {
	luaL_checktype(L, 1, LUA_TTABLE);
	const struct pn_smq_limits limits = {
		.bytes = (size_t)pn_glue_field(L, 1, "bytes", 0, INT64_MAX, 0),
		.items = (uint32_t)pn_glue_field(L, 1, "items", 0, UINT32_MAX, 0),
	};
	const uint32_t start = (uint32_t)pn_glue_field(L, 1, "start", 0, UINT32_MAX, 0);

	struct handle *handle = pn_glue_handle(L, TYPE, sizeof(*handle), 1);
	handle->pool = push_pool(L);
	lua_setiuservalue(L, -2, 1); /* the pool lives as long as any queue */
	const int err = pn_smq_new(&handle->queue, handle->pool, limits, start);
	return err == PN_OK ? 1 : pn_glue_error(L, err);
}

static int smq_close(lua_State *L) {
	struct handle *handle = luaL_checkudata(L, 1, TYPE);
	pn_smq_free(handle->queue);
	handle->queue = NULL;
	return 0;
}

/* queue:push(bytes, splice, time) -> over its limits?, bytes held by the process */
static int smq_push(lua_State *L) {
	size_t len;
	const char *bytes = luaL_checklstring(L, 2, &len);
	luaL_argcheck(L, len <= UINT32_MAX, 2, "too long");
	const struct pn_smq_item item = {
		.bytes = bytes,
		.len = (uint32_t)len,
		.splice = (uint32_t)pn_glue_integer(L, 3, 0, (lua_Integer)len),
		.time = luaL_checkinteger(L, 4),
	};
	const struct handle *handle = check_handle(L); /* last: a finalizer may have closed it */
	const int err = pn_smq_push(handle->queue, &item);
	if (err != PN_OK)
		return pn_glue_error(L, err);
	lua_pushboolean(L, pn_smq_over(handle->queue));
	lua_pushinteger(L, (lua_Integer)handle->pool->bytes);
	return 2;
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

/* What a queue looks like while Lua makes room for a result: a finalizer may change it. */
struct glimpse {
	const struct pn_smq *queue;
	uint32_t removed; /* how many items have left it, modulo 2^32 */
};

static struct glimpse look(const struct handle *handle) {
	struct glimpse glimpse = {.queue = handle->queue};
	if (glimpse.queue != NULL)
		glimpse.removed = pn_smq_pushed(glimpse.queue) - pn_smq_held(glimpse.queue);
	return glimpse;
}

/*
 * Takes the oldest item out of the queue and pushes bytes, splice, time. Returns 3; or 0 if the
 * item is not there any more, or never was.
 */
static int take(lua_State *L, const struct handle *handle) {
	struct pn_smq_item item;
	if (handle->queue == NULL || !pn_smq_at(handle->queue, 0, &item))
		return 0;
	const struct glimpse before = look(handle);
	push_item(L, &item);
	const struct glimpse after = look(handle);
	if (after.queue != before.queue || after.removed != before.removed) {
		lua_pop(L, 3);
		return 0;
	}
	pn_smq_drop(handle->queue);
	return 3;
}

/* queue:pop() -> bytes, splice, time of the oldest held item, which it drops | nothing */
static int smq_pop(lua_State *L) {
	const struct handle *handle = check_handle(L);
	while (handle->queue != NULL && pn_smq_held(handle->queue) > 0) {
		if (take(L, handle) > 0)
			return 3;
	}
	return 0;
}

/*
 * queue:shed([handler]) -> count. Drops the oldest until the queue is within its limits, and calls
 * handler(bytes, splice, time) for each, which may do anything, also close the queue.
 */
static int smq_shed(lua_State *L) {
	const struct handle *handle = check_handle(L);
	lua_Integer count = 0;
	if (lua_isnoneornil(L, 2))
		count = pn_smq_shed(handle->queue, NULL, NULL);
	else
		luaL_checktype(L, 2, LUA_TFUNCTION);
	while (handle->queue != NULL && pn_smq_over(handle->queue)) {
		lua_pushvalue(L, 2);
		if (take(L, handle) == 0) {
			lua_pop(L, 1);
			continue;
		}
		count++;
		lua_call(L, 3, 0);
	}
	lua_pushinteger(L, count);
	return 1;
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

static const luaL_Reg METHODS[] = {
	{"push", smq_push},
	{"ack", smq_ack},
	{"at", smq_at},
	{"pop", smq_pop},
	{"shed", smq_shed},
	{"acked", smq_acked},
	{"pushed", smq_pushed},
	{"unacked", smq_unacked},
	{"held", smq_held},
	{"bytes", smq_bytes},
	{"resumable", smq_resumable},
	{NULL, NULL},
};

static const luaL_Reg FUNCTIONS[] = {
	{"new", smq_new},
	{"total", smq_total},
	{NULL, NULL},
};

PN_EXPORT int luaopen_smq(lua_State *L);

int luaopen_smq(lua_State *L) {
	push_pool(L); /* now: once there are queues, nothing may make a second one */
	lua_pop(L, 1);
	pn_glue_type(L, TYPE, METHODS, smq_close);
	luaL_newlib(L, FUNCTIONS);
	return 1;
}
