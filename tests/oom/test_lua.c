/*
 * The bindings while memory runs out: Lua's allocations and those of the cores fail, first the
 * first, then the second, and so on until none does. Whatever fails, a call returns or raises, the
 * next calls work, and closing the Lua state frees everything.
 */
#include <stdint.h>

#include <lauxlib.h>
#include <lualib.h>

#include "../unit/test.h"
#include "alloc.h"

#include <pn/alloc.h>

int luaopen_stanza(lua_State *L);
int luaopen_smq(lua_State *L);

/* What the state has as globals while memory fails: two functions, and what they work on. */
static const char SET_UP[] =
	"local child = { name = 'b', attr = { xmlns = 'urn:x', ['urn:p\\1k'] = \"'\" }, tags = {}, "
	"('x'):rep(300) }\n"
	"local item = { name = 'm', attr = { to = 'a@b', n = 1.5 }, tags = { child }, child, "
	"'text' }\n"
	"for i = 1, 40 do item = { name = 'e', attr = {}, tags = { item }, item } end\n"
	"local mt = {}\n"
	"local function made(value, condition)\n"
	"	if value == nil then error(condition) end\n"
	"	return value\n"
	"end\n"
	"function use_stanza()\n"
	"	local xml, at = stanza.encode(item)\n"
	"	local child = made(stanza.delay('a@b', 0))\n"
	"	local spliced = made(stanza.splice(made(xml, at), at, child))\n"
	"	local decoded = made(stanza.decode(spliced, mt))\n"
	"	assert(#decoded == 2 and decoded.tags[2].name == 'delay')\n"
	"	made(stanza.encode(decoded))\n"
	"end\n"
	"function use_smq()\n"
	"	local shed = 0\n"
	"	local queue <close> = made(smq.new { items = 3 })\n"
	"	for n = 1, 6 do\n"
	"		made(queue:push(('long '):rep(10) .. n, 0, n))\n"
	"	end\n"
	"	queue:shed(function (bytes) shed = shed + 1 end)\n"
	"	assert(shed == 3 and queue:held() == 3)\n"
	"	assert(queue:at(3) and queue:pop() and queue:ack(6) == 6)\n"
	"	made(made(smq.new {}):push('left to the collector', 0, 0))\n"
	"end\n";

static void *allocate(void *ud, void *ptr, size_t osize, size_t nsize) {
	(void)ud;
	if (nsize == 0) {
		pn_free(ptr);
		return NULL;
	}
	if (ptr == NULL)
		return pn_malloc(nsize);
	return nsize <= osize ? ptr : pn_realloc(ptr, nsize);
}

static lua_State *new_state(void) {
	lua_State *L = lua_newstate(allocate, NULL);
	REQUIRE(L != NULL);
	luaL_openlibs(L);
	luaL_requiref(L, "stanza", luaopen_stanza, 1);
	luaL_requiref(L, "smq", luaopen_smq, 1);
	lua_settop(L, 0);
	REQUIRE(luaL_dostring(L, SET_UP) == LUA_OK);
	return L;
}

/* Calls a global function. Returns whether it returned. */
static bool call(lua_State *L, const char *name) {
	lua_getglobal(L, name);
	const bool ok = lua_pcall(L, 0, 0, 0) == LUA_OK;
	if (!ok) {
		const char *text = lua_tostring(L, -1);
		const bool memory = text != NULL && (strstr(text, "memory") != NULL ||
						     strstr(text, "resource-constraint") != NULL ||
						     strstr(text, "not-well-formed") != NULL);
		if (!CHECK(memory))
			printf("# %s: %s\n", name, text != NULL ? text : "no message");
	}
	lua_settop(L, 0);
	return ok;
}

/* Both figures of smq.total() are 0 once garbage is collected. */
static bool is_all_released(lua_State *L) {
	return luaL_dostring(L, "collectgarbage() collectgarbage()\n"
				"local bytes, items = smq.total()\n"
				"return bytes == 0 and items == 0") == LUA_OK &&
	       lua_toboolean(L, -1);
}

static void fail_each(const char *function) {
	for (int fail_after = 0; fail_after <= 1; fail_after++) {
		size_t failures = 0;
		bool failed = true;
		for (size_t nth = 1; failed; nth++) {
			lua_State *L = new_state();
			test_alloc_fail(nth, fail_after != 0);
			const bool ok = call(L, function);
			failed = test_alloc.failed;
			test_alloc_fail(0, false);
			CHECK(ok || failed);
			failures += ok ? 0 : 1;
			CHECK(call(L, function));
			CHECK(is_all_released(L));
			lua_close(L);
			if (!CHECK(test_alloc.blocks == 0))
				return;
		}
		CHECK(failures > 0);
	}
}

TEST(the_functions_of_stanza_survive_every_failing_allocation) {
	fail_each("use_stanza");
}

TEST(the_methods_of_a_queue_survive_every_failing_allocation) {
	fail_each("use_smq");
}

static int open_both(lua_State *L) {
	luaL_requiref(L, "stanza", luaopen_stanza, 0);
	luaL_requiref(L, "smq", luaopen_smq, 0);
	return 0;
}

TEST(loading_survives_every_failing_allocation) {
	bool failed = true;
	for (size_t nth = 1; failed; nth++) {
		lua_State *L = lua_newstate(allocate, NULL);
		REQUIRE(L != NULL);
		lua_pushcfunction(L, open_both);
		test_alloc_fail(nth, true);
		const int status = lua_pcall(L, 0, 0, 0);
		failed = test_alloc.failed;
		test_alloc_fail(0, false);
		CHECK(status == (failed ? LUA_ERRMEM : LUA_OK));
		lua_settop(L, 0);
		lua_pushcfunction(L, open_both);
		CHECK(lua_pcall(L, 0, 0, 0) == LUA_OK);
		lua_close(L);
		CHECK(test_alloc.blocks == 0);
	}
}

TEST(what_is_loaded_twice_shares_one_pool) {
	lua_State *L = new_state();
	lua_pushcfunction(L, luaopen_smq);
	REQUIRE(lua_pcall(L, 0, 1, 0) == LUA_OK);
	lua_setglobal(L, "again");
	CHECK(luaL_dostring(L, "smq.new {}:push('abc', 0, 0) return select(2, again.total())") ==
	      LUA_OK);
	CHECK(lua_tointeger(L, -1) == 1);
	lua_close(L);
	CHECK(test_alloc.blocks == 0);
}

int main(void) {
	return test_run("bindings");
}
