-- The storage driver: its stores, and those of type keyval, map and keyval+. Values in them:
-- storage_values_spec.lua. Archives: storage_archive_spec.lua

local storage = require "spec.storage_helper";

local sorted, assert_refused, assert_same_value = storage.sorted, storage.assert_refused, storage.assert_same_value;

local bed;
before_each(function () bed = storage.new(); end);
after_each(function () bed:close(); end);

local function restart(options)
	bed:close();
	bed = storage.new(options);
end

-- Nil, and no error
local function assert_nothing(value, err)
	assert.is_nil(value);
	assert.is_nil(err);
end

-- Names that a file system, C, or keys of limited length would confuse
local NAMES = {
	"a", "A", "", ".", "..", "/", "a/b", "%", "%00", "\0", "a\0", "a\0b", "\0b", "b", "ab", "\n", " ", "a ",
	"\255", "\195\40", "\u{e9}", "e\u{301}", "\u{1f600}", ("x"):rep(511), ("x"):rep(512),
	("x"):rep(1999) .. "1", ("x"):rep(1999) .. "2", ("\0"):rep(2000), ("\255"):rep(2000),
};
table.sort(NAMES);

describe("the storage driver", function ()
	it("opens a keyval store by default", function ()
		assert(bed:open("things"):set("user", { a = 1 }));
		assert.same({ a = 1 }, bed:open("things", "keyval"):get("user"));
	end);

	it("returns unsupported-store for an unknown type", function ()
		assert_refused("unsupported-store", bed:driver():open("things", "list"));
	end);

	it("keeps hosts apart", function ()
		restart { hosts = { "a.example", "b.example", "" } };
		for _, host in ipairs(bed.hosts) do
			assert(bed:open("things", "keyval", host):set("user", { host = host }));
			assert(bed:open("things", "keyval", host):set("only " .. host, { x = 1 }));
			assert(bed:open("archive", "archive", host):append("user", nil, storage.message(host), 1, "x"));
		end
		bed:reopen();
		for _, host in ipairs(bed.hosts) do
			assert.same({ host = host }, bed:open("things", "keyval", host):get("user"));
			assert.same({ "only " .. host, "user" }, sorted(bed:open("things", "keyval", host):users()));
			assert.equal(host, storage.bodies(bed:open("archive", "archive", host):find("user")));
		end
		bed:driver("a.example"):purge("user");
		assert_nothing(bed:open("things", "keyval", "a.example"):get("user"));
		assert.same({ host = "b.example" }, bed:open("things", "keyval", "b.example"):get("user"));
	end);

	it("takes any bytes in the names of hosts", function ()
		restart { hosts = NAMES };
		for i, host in ipairs(NAMES) do
			assert(bed:open("things", "keyval", host):set("user", { i }));
		end
		bed:reopen();
		for i, host in ipairs(NAMES) do
			assert.same({ i }, bed:open("things", "keyval", host):get("user"));
		end
	end);

	it("serves some stores if other drivers are configured for the rest", function ()
		restart { config = { storage = { archive = storage.driver_name }, default_storage = "memory" } };
		assert(bed:open("archive", "archive"):append("user", nil, storage.message(1), 1, "x"));
		assert(bed:open("things"):set("user", { a = 1 }));
		assert.same({ "archive" }, sorted(bed:driver():stores("user")));
	end);

	it("keeps stores working that were opened before a reload", function ()
		local keyval, map = bed:open("things"), bed:open("things", "map");
		local archive = bed:open("archive", "archive");
		assert(keyval:set("user", { a = 1 }));
		local id = assert(archive:append("user", nil, storage.message(1), 1, "x"));
		bed:reopen();
		assert.same({ a = 1 }, keyval:get("user"));
		assert.equal("1", storage.bodies(archive:find("user")));
		assert(map:set("user", "b", 2));
		assert(archive:append("user", nil, storage.message(2), 2, "x"));
		assert.same({ a = 1, b = 2 }, bed:open("things"):get("user"));
		assert.equal("1 2", storage.bodies(bed:open("archive", "archive"):find("user")));
		assert.equal("2", storage.bodies(bed:open("archive", "archive"):find("user", { after = id })));
	end);
end);

describe("stores() of a driver", function ()
	before_each(function ()
		assert(bed:open("of one"):set("one", { a = 1 }));
		assert(bed:open("of both"):set("one", { a = 1 }));
		assert(bed:open("of both"):set("two", { a = 1 }));
		assert(bed:open("of both", "archive"):append("two", nil, storage.message(1), 1, "x"));
		assert(bed:open("archive of two", "archive"):append("two", nil, storage.message(1), 1, "x"));
		assert(bed:open("of the empty name"):set("", { a = 1 }));
		assert(bed:open("of the host"):set(nil, { a = 1 }));
		assert(bed:open("archive of the host", "archive"):append(nil, nil, storage.message(1), 1, "x"));
	end);

	it("returns those of a user, with archives, each once", function ()
		assert.same({ "of both", "of one" }, sorted(bed:driver():stores("one")));
		assert.same({ "archive of two", "of both" }, sorted(bed:driver():stores("two")));
		assert.same({ "of the empty name" }, sorted(bed:driver():stores("")));
		assert.same({}, sorted(bed:driver():stores("nobody")));
	end);

	it("returns those of the host for nil", function ()
		assert.same({ "archive of the host", "of the host" }, sorted(bed:driver():stores(nil)));
	end);

	it("returns those of all users for true", function ()
		assert.same({ "archive of two", "of both", "of one", "of the empty name" }, sorted(bed:driver():stores(true)));
	end);
end);

describe("purge() of a driver", function ()
	local function fill(user)
		assert(bed:open("things"):set(user, { a = 1, [false] = 2 }));
		assert(bed:open("other things", "map"):set(user, ("k"):rep(2000), 1));
		for n = 1, 3 do
			assert(bed:open("archive", "archive"):append(user, n == 2 and "key" or nil, storage.message(n), n, "x"));
			assert(bed:open("muc_log", "archive"):append(user, nil, storage.message(n), n, "x"));
		end
	end

	local function assert_filled(user)
		assert_same_value({ a = 1, [false] = 2 }, bed:open("things"):get(user));
		assert.equal(1, bed:open("other things", "map"):get(user, ("k"):rep(2000)));
		assert.equal("1 2 3", storage.bodies(bed:open("archive", "archive"):find(user)));
		assert.equal("2", storage.bodies(bed:open("archive", "archive"):find(user, { key = "key" })));
		assert.equal("1 2 3", storage.bodies(bed:open("muc_log", "archive"):find(user)));
	end

	local function assert_empty(user)
		assert.same({}, sorted(bed:driver():stores(user)));
		assert_nothing(bed:open("things"):get(user));
		assert_nothing(bed:open("other things", "map"):get(user, ("k"):rep(2000)));
		assert.same({ "", 0 }, { storage.bodies(bed:open("archive", "archive"):find(user, { total = true })) });
		assert.equal("", storage.bodies(bed:open("archive", "archive"):find(user, { key = "key" })));
	end

	it("removes a user's data in all stores, and no other data", function ()
		for _, user in ipairs { "one", "two", "", "on", "one\0" } do fill(user); end
		fill(nil);
		assert.truthy(bed:driver():purge("nobody"));
		assert.truthy(bed:driver():purge("one"));
		for _ = 1, 2 do
			assert_empty("one");
			for _, user in ipairs { "two", "", "on", "one\0" } do assert_filled(user); end
			assert_filled(nil);
			assert.same({ "", "on", "one\0", "two" }, sorted(bed:open("things"):users()));
			assert.same({ "", "on", "one\0", "two" }, sorted(bed:open("archive", "archive"):users()));
			bed:reopen();
		end
	end);
end);

describe("names of users and stores", function ()
	it("may be any bytes", function ()
		for i, store_name in ipairs(NAMES) do
			local store = bed:open(store_name);
			for j, user in ipairs(NAMES) do
				assert(store:set(user, { i, j }));
			end
			assert(store:set(nil, { i }));
		end
		bed:reopen();
		for i, store_name in ipairs(NAMES) do
			local store = bed:open(store_name);
			for j, user in ipairs(NAMES) do
				assert.same({ i, j }, store:get(user));
			end
			assert.same({ i }, store:get(nil));
			assert_same_value(NAMES, sorted(store:users()));
		end
		assert_same_value(NAMES, sorted(bed:driver():stores(("x"):rep(511))));
		assert_same_value(NAMES, sorted(bed:driver():stores(nil)));
	end);

	it("may be thousands, with a store for every PEP node", function ()
		local count = 3000;
		for n = 1, count do
			local name = "pep_urn:example:node/" .. n;
			assert(bed:open(name, "archive"):append("user", "current", storage.message(n), n, "user"));
			assert(bed:open(name .. "#config"):set("user", { n = n }));
		end
		bed:reopen();
		assert.equal(2 * count, #sorted(bed:driver():stores("user")));
		for n = 1, count do
			local name = "pep_urn:example:node/" .. n;
			assert.equal(tostring(n), storage.bodies(bed:open(name, "archive"):find("user", { limit = 1, reverse = true })));
			assert.same({ n = n }, bed:open(name .. "#config"):get("user"));
		end
		bed:driver():purge("user");
		assert.same({}, sorted(bed:driver():stores("user")));
	end);
end);

describe("a keyval store", function ()
	local store;
	before_each(function () store = bed:open("things"); end);

	it("returns nil for a user without data, which is not an error", function ()
		assert_nothing(store:get("user"));
		assert_nothing(store:get(nil));
	end);

	it("returns exactly the data that were set last", function ()
		assert.is_true((store:set("user", { a = 1, b = 2 })));
		assert.is_true((store:set("user", { b = 3, c = 4 })));
		assert.same({ b = 3, c = 4 }, store:get("user"));
		bed:reopen();
		assert.same({ b = 3, c = 4 }, store:get("user"));
	end);

	it("removes for nil and for an empty table", function ()
		for _, nothing in ipairs { function () return nil; end, function () return {}; end } do
			assert(store:set("user", { a = 1 }));
			assert.is_true((store:set("user", nothing())));
			assert_nothing(store:get("user"));
			assert.same({}, sorted(store:users()));
			assert.is_true((store:set("user", nothing())));
		end
	end);

	it("lists users with data, and never the host", function ()
		assert.same({}, sorted(store:users()));
		assert(store:set("one", { a = 1 }));
		assert(store:set("two", { a = 1 }));
		assert(store:set(nil, { a = 1 }));
		assert(bed:open("other"):set("three", { a = 1 }));
		assert(bed:open("things", "archive"):append("four", nil, storage.message(1), 1, "x"));
		assert.same({ "one", "two" }, sorted(store:users()));
	end);

	it("may be written while its users are listed", function ()
		for n = 1, 300 do assert(store:set("user" .. n, { n = n })); end
		local seen = {};
		for user in store:users() do
			assert.is_nil(seen[user]);
			seen[user] = true;
			assert(store:set(user, nil));
			assert(store:set("new " .. user, { a = 1 }));
		end
		for n = 1, 300 do assert.is_true(seen["user" .. n]); end
		assert.equal(300, #sorted(store:users()));
	end);

	it("returns a new table to each caller", function ()
		local value = { list = { 1 } };
		assert(store:set("user", value));
		value.list[1] = 2;
		local got = store:get("user");
		assert.same({ list = { 1 } }, got);
		got.list[1] = 3;
		assert.same({ list = { 1 } }, store:get("user"));
	end);
end);

local KEYS = { 1, 2, -1, 0, math.maxinteger, math.mininteger, 0.5, -0.5, 1e300, math.huge, -math.huge, true, false,
	"", "1", "true", "false", "\0", "\255", "__index", ("k"):rep(511), ("k"):rep(512),
	("k"):rep(3000) .. "1", ("k"):rep(3000) .. "2", ("\0"):rep(600), ("k"):rep(100000) };

describe("a map store", function ()
	local map, keyval;
	before_each(function ()
		map, keyval = bed:open("things", "map"), bed:open("things");
	end);

	it("returns nil for an unset key, which is not an error", function ()
		assert_nothing(map:get("user", "a"));
		assert(map:set("user", "a", 1));
		assert_nothing(map:get("user", "b"));
		assert_nothing(map:get("other", "a"));
		assert_nothing(map:get(nil, "a"));
	end);

	it("shares its data with the keyval store of the same name", function ()
		assert.is_true((map:set("user", "a", 1)));
		assert.same({ a = 1 }, keyval:get("user"));
		assert(keyval:set("user", { b = { 2 }, [false] = "pending" }));
		assert_nothing(map:get("user", "a"));
		assert.same({ 2 }, map:get("user", "b"));
		assert.equal("pending", map:get("user", false));
		assert(map:set("user", "b", 3));
		assert_same_value({ b = 3, [false] = "pending" }, keyval:get("user"));
	end);

	it("deletes for nil, and removes the user with the last key", function ()
		assert(map:set("user", "a", 1));
		assert(map:set("user", "b", 2));
		assert.is_true((map:set("user", "a", nil)));
		assert.is_true((map:set("user", "a", nil)));
		assert_nothing(map:get("user", "a"));
		assert.same({ b = 2 }, keyval:get("user"));
		assert(map:set("user", "b", nil));
		assert_nothing(keyval:get("user"));
		assert.same({}, sorted(keyval:users()));
	end);

	it("sets and removes several keys at once", function ()
		assert(keyval:set("user", { a = 1, b = 2, c = 3 }));
		assert.is_true((map:set_keys("user", { a = map.remove, b = "two", d = 4, e = map.remove, [false] = 5 })));
		assert_same_value({ b = "two", c = 3, d = 4, [false] = 5 }, keyval:get("user"));
		assert.is_true((map:set_keys("user", {})));
		assert_same_value({ b = "two", c = 3, d = 4, [false] = 5 }, keyval:get("user"));
		assert.is_true((map:set_keys("user", { b = map.remove, c = map.remove, d = map.remove, [false] = map.remove })));
		assert.same({}, sorted(keyval:users()));
		assert.is_true((map:set_keys("user", {})));
		assert.same({}, sorted(keyval:users()));
	end);

	it("takes keys of every type and length", function ()
		local expected = {};
		for i, key in ipairs(KEYS) do
			assert(map:set("user", key, i));
			expected[key] = i;
		end
		bed:reopen();
		for i, key in ipairs(KEYS) do
			assert.equal(i, map:get("user", key));
		end
		assert_same_value(expected, keyval:get("user"));
		for _, key in ipairs(KEYS) do
			assert(map:set("user", key, nil));
			expected[key] = nil;
			assert_nothing(map:get("user", key));
		end
		assert_nothing(keyval:get("user"));
	end);

	it("treats a float with an integer value as the integer, as tables do", function ()
		assert(map:set("user", 1.0, "one"));
		assert.equal("one", map:get("user", 1));
		assert(map:set("user", 1, "two"));
		assert.equal("two", map:get("user", 1.0));
		assert_same_value({ "two" }, keyval:get("user"));
	end);

	it("finds a key of all users", function ()
		assert(map:set("one", "a", 1));
		assert(map:set("two", "a", { 2 }));
		assert(map:set("", "a", "three"));
		assert(map:set("four", "b", 4));
		assert(map:set("five", "aa", 5));
		assert(map:set(nil, "a", 6));
		assert(bed:open("other", "map"):set("six", "a", 7));
		assert.same({ one = 1, two = { 2 }, [""] = "three" }, map:get_all("a"));
		assert_nothing(map:get_all("nowhere"));
	end);

	it("deletes a key of all users", function ()
		assert(keyval:set("one", { a = 1, b = 2 }));
		assert(keyval:set("two", { a = 1 }));
		assert(keyval:set("three", { b = 2 }));
		assert(bed:open("other", "map"):set("one", "a", 7));
		assert.is_true((map:delete_all("a")));
		assert.same({ b = 2 }, keyval:get("one"));
		assert.same({ "one", "three" }, sorted(keyval:users()));
		assert.equal(7, bed:open("other", "map"):get("one", "a"));
		assert.is_true((map:delete_all("a")));
	end);

	it("rejects keys for all users that are empty or not strings", function ()
		for _, key in ipairs { "", 1, true, false, {} } do
			assert_refused(nil, map:get_all(key));
			assert_refused(nil, map:delete_all(key));
		end
		assert_refused(nil, map:get_all(nil));
		assert_refused(nil, map:delete_all(nil));
	end);
end);

-- The core implements it with the other two, from Prosody 13.0 on.
if require "core.features".available:contains("keyval+") then
	describe("a keyval+ store", function ()
		it("reads and writes all of a user's keys, and one", function ()
			local store = bed:open("things", "keyval+");
			assert(store:set("user", { a = 1 }));
			assert(store:set_key("user", "b", 2));
			assert(store:set_keys("user", { a = store.remove, [false] = 3 }));
			assert_same_value({ b = 2, [false] = 3 }, store:get("user"));
			assert.equal(3, store:get_key("user", false));
			assert.same({ "user" }, sorted(store:items()));
			assert_same_value({ b = 2, [false] = 3 }, bed:open("things"):get("user"));
			assert.equal(2, bed:open("things", "map"):get("user", "b"));
		end);

		it("finds and deletes a key of all users", function ()
			local store = bed:open("things", "keyval+");
			assert(store:set_key("one", "a", 1));
			assert(store:set_key("two", "a", 2));
			assert(store:set_key("two", "b", 3));
			assert.same({ one = 1, two = 2 }, store:get_key_from_all("a"));
			assert.is_true((store:delete_key_from_all("a")));
			assert_nothing(store:get_key_from_all("a"));
			assert.same({ b = 3 }, store:get("two"));
		end);
	end);
end

describe("on a host with anonymous users, the driver", function ()
	local user = "4bd1f9f0-anonymous";

	local function write_everything()
		local archive = bed:open("archive", "archive");
		assert_refused(nil, bed:open("things"):set(user, { a = 1 }));
		assert_refused(nil, bed:open("things", "map"):set(user, "b", 2));
		assert_refused(nil, bed:open("things", "map"):set_keys(user, { c = 3 }));
		assert_refused(nil, archive:append(user, nil, storage.message(1), 1, "x"));
		assert_refused(nil, archive:append(user, "key", storage.message(1), 1, "x"));
	end

	local function assert_empty()
		local archive = bed:open("archive", "archive");
		assert_nothing(bed:open("things"):get(user));
		assert_nothing(bed:open("things", "map"):get(user, "b"));
		assert.same({ "", 0 }, { storage.bodies(archive:find(user, { total = true })) });
		assert_refused("item-not-found", archive:get(user, "key"));
		assert.falsy(archive:set(user, "key", storage.message(2), 2, "x"));
		assert.same({}, sorted(archive:users()));
		assert.same({}, sorted(bed:open("things"):users()));
		assert.same({}, sorted(bed:driver():stores(user)));
		assert.same({}, sorted(bed:driver():stores(true)));
	end

	it("does not write, and returns an error", function ()
		restart { config = { authentication = "anonymous" } };
		write_everything();
		assert_empty();
		bed:set("authentication", nil);
		bed:reopen();
		assert_empty();
	end);

	it("writes if the configuration allows it", function ()
		restart { config = { authentication = "anonymous", allow_anonymous_storage = true } };
		assert(bed:open("things"):set(user, { a = 1 }));
		assert(bed:open("archive", "archive"):append(user, nil, storage.message(1), 1, "x"));
		bed:reopen();
		assert.same({ a = 1 }, bed:open("things"):get(user));
		assert.equal("1", storage.bodies(bed:open("archive", "archive"):find(user)));
	end);

	it("writes on the other hosts of the server", function ()
		restart { hosts = { "anonymous.example", "example.com" } };
		bed:set("authentication", "anonymous", "anonymous.example");
		bed:reopen();
		write_everything();
		assert_empty();
		assert(bed:open("things", "keyval", "example.com"):set(user, { a = 1 }));
		assert.same({ a = 1 }, bed:open("things", "keyval", "example.com"):get(user));
	end);
end);
