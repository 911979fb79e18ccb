/*
 * The bindings while memory runs out: Lua's allocations and those of the cores fail, first the
 * first, then the second, and so on until none does. Whatever fails, a call returns or raises, the
 * next calls work, and closing the Lua state frees everything.
 */
#include <stdint.h>

#include <lauxlib.h>
#include <lualib.h>

#include "../unit/cert_fixture.h"
#include "alloc.h"

#include <pn/alloc.h>

int luaopen_certs(lua_State *L);
int luaopen_mam(lua_State *L);
int luaopen_smacks(lua_State *L);
int luaopen_stream(lua_State *L);

/* The globals of a state: functions to call while memory fails, and their data. */
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
	"	local xml, at = smacks.encode(item)\n"
	"	local child = made(smacks.delay('a@b', 0))\n"
	"	local spliced = made(smacks.splice(made(xml, at), at, child))\n"
	"	local decoded = made(smacks.decode(spliced, mt))\n"
	"	assert(#decoded == 2 and decoded.tags[2].name == 'delay')\n"
	"	made(smacks.encode(decoded))\n"
	"end\n"
	"function use_smq()\n"
	"	local queue <close> = made(smacks.new { account = 'a@b', items = 3 })\n"
	"	local other <close> = made(smacks.new { account = 'a@b' })\n"
	"	for n = 1, 6 do\n"
	"		made(queue:push(('long '):rep(10) .. n, 0, n, n))\n"
	"		made(other:push('copy', 0, n, n))\n"
	"	end\n"
	"	local bytes, accounts = smacks.account('a@b')\n"
	"	assert(smacks.largest() == 'a@b' and accounts == 2 and queue:siblings() == 2)\n"
	"	assert(other:ack(2) == 2)\n"
	"	made(queue:render(1, 'a@b', 1000))\n"
	"	for n = 1, 3 do\n"
	"		assert(queue:over())\n"
	"		local item, _, time, fate = queue:take()\n"
	"		assert(time == n and fate == (n <= 2 and 'seen' or 'held'))\n"
	"	end\n"
	"	assert(not queue:over() and queue:at(3) and queue:ack(6) == 6)\n"
	"	made(made(smacks.new {}):push('left to the collector', 0, 0, 1))\n"
	"end\n"
	"local stanza_mt = {}\n"
	"local function never() error('passed on for lack of memory') end\n"
	"local function of_stanza(name, attr, ...)\n"
	"	local stanza = { name = name, attr = attr, tags = {}, ... }\n"
	"	for _, child in ipairs(stanza) do\n"
	"		if type(child) == 'table' then table.insert(stanza.tags, child) end\n"
	"	end\n"
	"	return setmetatable(stanza, stanza_mt)\n"
	"end\n"
	"local deep = of_stanza('m', { a = '1', b = '2', c = '3', d = '4', e = \"'\" }, "
	"('x'):rep(300))\n"
	"for i = 1, 40 do deep = of_stanza('e', { n = 'v' }, deep, 'text') end\n"
	"deep.namespaces = { p = 'urn:p', q = 'urn:q', r = 'urn:r' }\n"
	"function use_functions()\n"
	"	local given = { top_tag = never, tostring = never, clone = never, tag = never, "
	"text = never, add_direct_child = never }\n"
	"	stanza_mt.add_direct_child = never\n"
	"	local functions = stream.stanza_functions(stanza_mt, given)\n"
	"	stanza_mt.__tostring = functions.tostring\n"
	"	local text = tostring(deep)\n"
	"	local clone = functions.clone(deep)\n"
	"	assert(tostring(clone) == text and clone.namespaces.r == 'urn:r')\n"
	"	assert(functions.top_tag(functions.clone(deep, true)) == \"<e n='v'>\")\n"
	"	functions.text(functions.tag(clone, 'added', { a = 'b' }), 'text')\n"
	"	assert(clone.tags[2].name == 'added' and clone[3][1] == 'text')\n"
	"end\n"
	"local kept = certs.parse(pem)\n"
	"function use_chain()\n"
	"	local chain <close> = made(certs.parse(pem))\n"
	"	assert(#chain == 2 and made(chain:describe(2)).authority)\n"
	"	assert(#made(chain:names()) == 1)\n"
	"	assert(made(chain:identity('a.example', 'xmpp-server')))\n"
	"	assert(made(chain:identity('b.example', 'xmpp-server')) == false)\n"
	"	local own = { 3, 1, 1, made(chain:tlsa { 3, 1, 1 }) }\n"
	"	made(made(certs.parse(pem)):describe())\n" /* left to the collector */
	"	for _, parsed in ipairs { chain, kept } do\n"
	"		local verdict = made(parsed:verify { tlsa = { own }, references = {} })\n"
	"		assert(verdict.dane == 'match' and verdict.identity == 'valid')\n"
	"		local asked = { ca = pem, references = { 'a.example' }, time = now }\n"
	"		verdict = made(parsed:verify(asked))\n"
	"		assert(verdict.chain == 'valid' and verdict.identity == 'valid')\n"
	"		asked.references = { 'b.example' }\n"
	"		assert(made(parsed:verify(asked)).cause == 'name')\n"
	"	end\n"
	"end\n"
	"local message = { name = 'message', attr = { to = 'a@b' }, namespaces = {}, tags = { "
	"child }, "
	"child, 'text' }\n"
	"local ranks, set = { ['urn:x'] = { b = 3 } }, { ['urn:x'] = true }\n"
	"function use_mam()\n"
	"	local mam = mam(mt)\n"
	"	assert(mam.examine(message, ranks, nil, set, 9) == 3)\n"
	"	local marked = mam.copy(message, { name = 'id', attr = {}, tags = {} })\n"
	"	assert(mam.is_unchanged(marked, message) and #marked == 3 and #marked.tags == 2)\n"
	"	local stripped = mam.copy(marked, nil, set)\n"
	"	assert(#stripped == 2 and stripped[1] == 'text' and stripped.tags[1].name == "
	"'id')\n"
	"	assert(#message == 2 and getmetatable(stripped) == mt)\n"
	"end\n"
	"local taken, last\n"
	"function prepare_to_take()\n"
	"	taken = { '', '', '', '' }\n" /* to write to it needs no memory later */
	"	queue = smacks.new { account = 'take' }\n"
	"	for n = 1, 4 do queue:push(('item %d '):format(n):rep(20), n, n, n) end\n"
	"end\n"
	"function take_one()\n"
	"	local bytes, splice, time, fate = queue:take()\n"
	"	taken[time], last = bytes, fate\n"
	"end\n"
	"function check_taken()\n"
	"	while queue:held() > 0 do take_one() end\n"
	"	for n = 1, 4 do\n"
	"		assert(taken[n] == ('item %d '):format(n):rep(20), 'an item is lost')\n"
	"	end\n"
	"	assert(last == 'al' .. 'one')\n" /* the whole word would be a string that exists */
	"	queue:close()\n"
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

static int passed; /* calls of pass(): finalizers that came to their end */

static int pass(lua_State *L) {
	(void)L;
	passed++;
	return 0;
}

static struct pn_buf chain;       /* PEM of a leaf and its authority */
static struct test_alloc outside; /* memory that no state holds: the chain */

static void make_chain(void) {
	const struct cert root =
		cert_make((struct cert_wish){.subject = "root", .authority = true});
	const struct cert leaf =
		cert_make((struct cert_wish){.issuer = &root, .names = "dns:a.example"});
	pem_add(&chain, &leaf);
	pem_add(&chain, &root);
	cert_free(leaf);
	cert_free(root);
}

/* Only for the test of streams. */
static const char SET_UP_STREAM[] =
	"local mt = {}\n"
	"local function made(value, condition)\n"
	"	if value == nil then error(condition) end\n"
	"	return value\n"
	"end\n"
	"local header = \"<s:s xmlns='jabber:client' xmlns:s='urn:s' xml:lang='de'>\"\n"
	"function use_stream()\n"
	"	local session, stanzas, bytes = { notopen = true }, {}, 0\n"
	"	local kind = stream.kind(made(stream.pool(0)), mt, {\n"
	"		default_ns = 'jabber:client', stream_tag = 'urn:s\\1s', error_tag = "
	"'urn:s\\1e',\n"
	"		streamopened = function (s, attr) s.notopen = nil; s.lang = "
	"attr['xml:lang'] end,\n"
	"		streamclosed = function (s) s.closed = true end,\n"
	"		handlestanza = function (_, stanza) stanzas[#stanzas + 1] = stanza end,\n"
	"		error = error,\n"
	"	})\n"
	"	local each = made(kind:stream(session, function (n) bytes = bytes + n end))\n"
	"	local parser <close> = made(each:parser())\n"
	"	for _, part in ipairs { header, \"<iq><a x='\", "
	"\"y'>text<s:b/></a></iq><iq/></s:s>\" } do\n"
	"		made(parser:parse(part))\n"
	"	end\n"
	"	assert(#stanzas == 2 and session.closed and session.lang == 'de')\n"
	"	assert(stanzas[1].tags[1].tags[1].attr.xmlns == 'urn:s' and "
	"getmetatable(stanzas[2]) == mt)\n"
	"	made(parser:parse())\n"
	"end\n";

static int open_it(lua_State *L) {
	luaL_requiref(L, "smacks", luaopen_smacks, 1);
	luaL_requiref(L, "certs", luaopen_certs, 1);
	luaL_requiref(L, "stream", luaopen_stream, 1);
	luaL_requiref(L, "mam", luaopen_mam, 1);
	return 0;
}

static void set_up(lua_State *L) {
	lua_pushlstring(L, (const char *)chain.data, chain.len);
	lua_setglobal(L, "pem");
	lua_pushinteger(L, NOW);
	lua_setglobal(L, "now");
	REQUIRE(luaL_dostring(L, SET_UP) == LUA_OK);
}

static lua_State *new_state(void) {
	lua_State *L = lua_newstate(allocate, NULL);
	REQUIRE(L != NULL);
	luaL_openlibs(L);
	open_it(L);
	lua_register(L, "pass", pass);
	lua_settop(L, 0);
	set_up(L);
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

/* Both figures of smacks.total() are 0 once garbage is collected. */
static bool is_all_released(lua_State *L) {
	return luaL_dostring(L, "collectgarbage() collectgarbage()\n"
				"local bytes, items = smacks.total()\n"
				"return bytes == 0 and items == 0") == LUA_OK &&
	       lua_toboolean(L, -1);
}

static void no_more(lua_State *L) {
	(void)L;
}

static void add_stream(lua_State *L) {
	REQUIRE(luaL_dostring(L, SET_UP_STREAM) == LUA_OK);
	lua_settop(L, 0);
}

/* only_lua: the function allocates from Lua alone, which tries again after a collection: a single
 * failure does not show. */
static void fail_each_of(const char *function, void (*add)(lua_State *), bool only_lua) {
	for (int fail_after = 0; fail_after <= 1; fail_after++) {
		size_t failures = 0;
		bool failed = true;
		for (size_t nth = 1; failed; nth++) {
			lua_State *L = new_state();
			add(L);
			test_alloc_fail(nth, fail_after != 0);
			const bool ok = call(L, function);
			failed = test_alloc.failed;
			test_alloc_fail(0, false);
			CHECK(ok || failed);
			failures += ok ? 0 : 1;
			CHECK(call(L, function));
			CHECK(is_all_released(L));
			lua_close(L);
			if (!CHECK(test_alloc.blocks == outside.blocks))
				return;
		}
		CHECK(failures > 0 || (only_lua && fail_after == 0));
	}
}

static void fail_each(const char *function) {
	fail_each_of(function, no_more, false);
}

TEST(the_functions_of_stanza_survive_every_failing_allocation) {
	fail_each("use_stanza");
}

TEST(the_replaced_functions_of_stanzas_survive_every_failing_allocation) {
	fail_each("use_functions");
}

TEST(the_methods_of_a_queue_survive_every_failing_allocation) {
	fail_each("use_smq");
}

TEST(the_functions_of_mam_survive_every_failing_allocation) {
	fail_each_of("use_mam", no_more, true);
}

TEST(the_methods_of_a_chain_survive_every_failing_allocation) {
	fail_each("use_chain");
}

TEST(the_methods_of_a_stream_survive_every_failing_allocation) {
	fail_each_of("use_stream", add_stream, false);
}

static void take_with_failure(size_t nth, bool fail_after, bool *failed) {
	lua_State *L = new_state();
	CHECK(call(L, "prepare_to_take"));
	test_alloc_fail(nth, fail_after);
	for (int i = 0; i < 4 && !test_alloc.failed; i++)
		call(L, "take_one");
	*failed = test_alloc.failed;
	test_alloc_fail(0, false);
	CHECK(call(L, "check_taken"));
	CHECK(is_all_released(L));
	lua_close(L);
	CHECK(test_alloc.blocks == outside.blocks);
}

TEST(items_are_not_lost_if_memory_is_missing) {
	for (int fail_after = 0; fail_after <= 1; fail_after++) {
		bool failed = true;
		size_t nth = 1;
		for (; failed; nth++)
			take_with_failure(nth, fail_after != 0, &failed);
		CHECK(nth > 4);
	}
}

TEST(loading_survives_every_failing_allocation) {
	bool failed = true;
	for (size_t nth = 1; failed; nth++) {
		lua_State *L = lua_newstate(allocate, NULL);
		REQUIRE(L != NULL);
		luaL_openlibs(L);
		lua_settop(L, 0);
		lua_pushcfunction(L, open_it);
		test_alloc_fail(nth, true);
		const int status = lua_pcall(L, 0, 0, 0);
		failed = test_alloc.failed;
		test_alloc_fail(0, false);
		CHECK(status == (failed ? LUA_ERRMEM : LUA_OK));
		lua_settop(L, 0);
		lua_pushcfunction(L, open_it);
		CHECK(lua_pcall(L, 0, 0, 0) == LUA_OK);
		set_up(L);
		CHECK(call(L, "use_stanza"));
		CHECK(call(L, "use_functions"));
		CHECK(call(L, "use_smq"));
		CHECK(call(L, "use_chain"));
		CHECK(is_all_released(L));
		lua_close(L);
		CHECK(test_alloc.blocks == outside.blocks);
	}
}

/* Lua finalizes younger objects first: `older` comes after the queue and its account. */
static const char FINALIZERS[] =
	"older = setmetatable({}, { __gc = function () at_the_end() end })\n"
	"queue = smacks.new { account = 'a@b' }\n"
	"queue:push('abc', 0, 0, 1)\n"
	"younger = setmetatable({}, { __gc = function () before_the_end() end })\n";

/* Closes a state whose finalizers call at_the_end() and before_the_end(). */
static void close_with(const char *functions) {
	lua_State *L = new_state();
	REQUIRE(luaL_dostring(L, functions) == LUA_OK);
	REQUIRE(luaL_dostring(L, FINALIZERS) == LUA_OK);
	lua_close(L);
	CHECK(test_alloc.blocks == outside.blocks && test_alloc.bytes == outside.bytes);
}

TEST(queues_and_accounts_may_be_used_while_lua_closes) {
	passed = 0;
	/* A queue that is made now has no finalizer, and outlives the handle of its account */
	close_with("function before_the_end()\n"
		   "	late = smacks.new { account = 'a@b' }\n"
		   "	late:push('abc', 0, 0, 1)\n"
		   "	assert(select(4, queue:take()) == 'held' and late:siblings() == 2)\n"
		   "	pass()\n"
		   "end\n"
		   "function at_the_end()\n"
		   "	assert(not pcall(queue.held, queue) and late:siblings() == 1)\n"
		   "	late:push('def', 0, 0, 2)\n"
		   "	assert(select(4, late:take()) == 'last' and select(4, late:take()) == "
		   "'alone')\n"
		   "	late:close()\n"
		   "	pass()\n"
		   "end\n");
	CHECK(passed == 2);
	/* An account that is finalized takes no more queues */
	close_with("function before_the_end() end\n"
		   "function at_the_end()\n"
		   "	local ok, text = pcall(smacks.new, { account = 'a@b' })\n"
		   "	assert(not ok and text:find('closed'))\n"
		   "	assert(smacks.account('a@b') == 0 and smacks.largest() == nil)\n"
		   "	pass()\n"
		   "end\n");
	CHECK(passed == 3);
}

TEST(two_loads_of_the_module_share_one_pool) {
	lua_State *L = new_state();
	lua_pushcfunction(L, luaopen_smacks);
	REQUIRE(lua_pcall(L, 0, 1, 0) == LUA_OK);
	lua_setglobal(L, "again");
	CHECK(luaL_dostring(
		      L,
		      "local queue = smacks.new { account = 'a@b' }\n"
		      "queue:push('abc', 0, 0, 1)\n"
		      "again.new { account = 'a@b' }:push('abc', 0, 0, 1)\n"
		      "assert(select(4, queue:take()) == 'held')\n"
		      "assert(again.largest() == 'a@b' and select(2, smacks.account('a@b')) == 2)\n"
		      "return select(2, again.total())") == LUA_OK);
	CHECK(lua_tointeger(L, -1) == 1);
	lua_close(L);
	CHECK(test_alloc.blocks == outside.blocks);
}

int main(void) {
	make_chain();
	outside = test_alloc;
	return test_run("bindings");
}
