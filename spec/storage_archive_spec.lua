-- The store type archive as Prosody's modules see it: arguments, shapes of results, errors, iterators, and what
-- types.lib.lua adds. Queries, counts and deletions are compared with a model in storage_property_spec.lua, and tested in
-- tests/unit/test_archive.c and test_deleted.c.

local helper = require "spec.helper";
local storage = require "spec.storage_helper";
local now = require "util.time".now;

local st, sorted, bodies, message = helper.st, storage.sorted, storage.bodies, storage.message;
local assert_refused = storage.assert_refused;

local bed, archive;

local function reopen()
	bed:reopen();
	archive = bed:open("archive", "archive");
end

local function restart(options)
	if bed then bed:close(); end
	bed = storage.new(options);
	archive = bed:open("archive", "archive");
end

before_each(function () restart(); end);
after_each(function ()
	bed:close();
	bed = nil;
end);

local function fill(user, n)
	return storage.fill(archive, user, n);
end

local function assert_holds(expected, user)
	local _, count = expected:gsub("%S+", "");
	assert.same({ expected, count }, { bodies(archive:find(user, { total = true })) });
end

describe("caps of an archive", function ()
	it("list the driver's features, and the quota if there is one", function ()
		assert.same({ total = true, truncate = true, full_id_range = true, ids = true, wildcard_delete = true }, archive.caps);
		restart { config = { storage_archive_item_limit = 1000 } };
		assert.equal(1000, archive.caps.quota);
	end);
end);

describe("append() of an archive", function ()
	it("returns a new id, or the key", function ()
		local id = assert(archive:append("user", nil, message(1), 1, "a@example.com"));
		assert.matches("^[%w_-]+$", id);
		assert.equal("current", archive:append("user", "current", message(2), 2, "a@example.com"));
		assert.equal(id, archive:append("user", id, message(3), 3, "b@example.com"));
		assert_holds("2 3", "user");
	end);

	it("keeps times far in the past and in the future", function ()
		for _, when in ipairs { 1, -1, 0, 253402300799, -62135596800, 2^31 | 0, 2^32 | 0, 2^40 | 0, 1539204123 } do
			local id = assert(archive:append("user", nil, message(1), when, "a@example.com"));
			assert.equal(when, (select(2, archive:get("user", id))));
		end
	end);

	if storage.whole_seconds then
		it("drops fractions of a second, and gives integers", function ()
			for when, expected in pairs { [1539204123.9] = 1539204123, [5.0] = 5, [0.1] = 0, [-0.1] = -1 } do
				local id = assert(archive:append("user", nil, message(1), when, "a@example.com"));
				local _, got = archive:get("user", id);
				assert.equal(expected, got);
				assert.equal("integer", math.type(got));
			end
			for _, item in ipairs((storage.items(archive:find("user")))) do
				assert.equal("integer", math.type(item.when));
			end
		end);
	else
		it("keeps fractions of a second", function ()
			for _, when in ipairs { 1539204123.9, 1739204123.123456, 1739204123.1234567, 0.1, -0.1, 5.0, 5 } do
				local id = assert(archive:append("user", nil, message(1), when, "a@example.com"));
				assert.equal(when, (select(2, archive:get("user", id))));
			end
		end);
	end

	it("defaults to the current time and to no correspondent", function ()
		local before = math.floor(now()); -- os.time() may be a few milliseconds behind
		local id = assert(archive:append("user", nil, message(1)));
		local _, when = archive:get("user", id);
		assert.is_true(when >= before and when <= now());
		assert.equal("1", bodies(archive:find("user", { start = before })));
		assert.same({ [""] = 1 }, archive:summary("user").counts);
	end);

	it("takes keys and correspondents of any bytes and any length", function ()
		local names = { "", "a", "A", "\0", "a\0", "a/b", "%", "\255", ("k"):rep(511), ("k"):rep(512), "message<groupchat",
			("k"):rep(3000) .. "1", ("k"):rep(3000) .. "2", ("\0"):rep(600), ("k"):rep(100000) };
		for i, name in ipairs(names) do
			assert.equal(name, archive:append("user", name, message(i), i, name));
		end
		reopen();
		for i, name in ipairs(names) do
			local stanza, when, with = archive:get("user", name);
			assert.same({ tostring(i), i, name }, { stanza:get_child_text("body"), when, with });
			local found, total = bodies(archive:find("user", { with = name, total = true }));
			assert.same(name == "a" and { "2 6", 2 } or { tostring(i), 1 }, { found, total });
		end
		for i, name in ipairs(names) do
			assert.equal(1, archive:delete("user", { key = name }));
			assert_refused("item-not-found", archive:get("user", name));
			assert.equal(#names - i, select(2, archive:find("user", { total = true, limit = 0 })));
		end
	end);

	it("rejects values that are not stanzas, and keeps the message with that key", function ()
		for _, value in ipairs { "text", 1, true, {}, { name = "message", attr = {}, tags = {} }, print } do
			assert_refused("unsupported-datatype", archive:append("user", nil, value, 1, "a@example.com"));
			assert_refused("unsupported-datatype", archive:append("user", "key", value, 1, "a@example.com"));
		end
		assert_refused("unsupported-datatype", archive:append("user", nil, nil, 1, "a@example.com"));
		assert.same({}, sorted(archive:users()));
		assert(archive:append("user", "key", message(1), 1, "a@example.com"));
		assert_refused("unsupported-datatype", archive:append("user", "key", "text", 1, "a@example.com"));
		assert_holds("1", "user");
	end);

	it("neither changes the stanza nor keeps hold of it", function ()
		local stanza = st.message({ to = "a@example.com" }, "before"):tag("x", { xmlns = "urn:x" }):reset();
		local copy = st.clone(stanza);
		local id = assert(archive:append("user", nil, stanza, 1, "a@example.com"));
		helper.assert_same_stanza(copy, stanza);
		stanza.attr.to = "b@example.com";
		stanza:get_child("body")[1] = "after";
		helper.assert_same_stanza(copy, (archive:get("user", id)));
	end);

	it("raises for arguments of other types", function ()
		for _, arguments in ipairs {
			{ {}, nil, message(1), 1, "x" }, { "user", {}, message(1), 1, "x" }, { "user", nil, message(1), {}, "x" },
			{ "user", nil, message(1), 1, {} },
		} do
			assert.has_error(function () archive:append(table.unpack(arguments, 1, 5)); end);
		end
		assert_holds("", "user");
	end);
end);

describe("get() of an archive", function ()
	it("returns the stanza, its time and its correspondent", function ()
		local ids = fill("user", 3);
		local stanza, when, with = archive:get("user", ids[2]);
		helper.assert_same_stanza(message(2), stanza);
		assert.same({ 1002, "a@example.com" }, { when, with });
		stanza:tag("more"):up().attr.id = "changed";
		helper.assert_same_stanza(message(2), (archive:get("user", ids[2])));
	end);

	it("returns item-not-found for an unknown id, without an id, and in an empty archive", function ()
		fill("user", 1);
		for _, id in ipairs { "unknown", "", 1, true, {} } do assert_refused("item-not-found", archive:get("user", id)); end
		assert_refused("item-not-found", archive:get("user", nil));
		assert_refused("item-not-found", archive:get("nobody", "key"));
		assert_refused("item-not-found", archive:get(nil, "key"));
	end);
end);

describe("set() of an archive", function ()
	local ids;
	before_each(function () ids = fill("user", 5); end);

	it("changes the given fields, and keeps the rest", function ()
		assert.is_true((archive:set("user", ids[3], message("new"))));
		assert.same({ 1003, "a@example.com" }, { select(2, archive:get("user", ids[3])) });
		assert.is_true((archive:set("user", ids[3], message("new"), 1)));
		assert.same({ 1, "a@example.com" }, { select(2, archive:get("user", ids[3])) });
		assert.is_true((archive:set("user", ids[3], message("new"), nil, "b@example.com/r")));
		assert.same({ 1, "b@example.com/r" }, { select(2, archive:get("user", ids[3])) });
		assert_holds("1 2 new 4 5", "user");
		assert.same({ ["a@example.com"] = 4, ["b@example.com/r"] = 1 }, archive:summary("user").counts);
	end);

	if storage.whole_seconds then
		it("drops fractions of a second", function ()
			assert(archive:set("user", ids[3], message(3), 77.9));
			local _, when = archive:get("user", ids[3]);
			assert.equal("77", tostring(when));
		end);
	end

	it("returns item-not-found for an unknown id, and does not append", function ()
		assert_refused("item-not-found", archive:set("user", "unknown", message("x"), 1, "a@example.com"));
		assert_refused("item-not-found", archive:set("nobody", "unknown", message("x"), 1, "a@example.com"));
		assert_holds("1 2 3 4 5", "user");
		assert.same({ "user" }, sorted(archive:users()));
	end);

	it("refuses values that are not stanzas", function ()
		assert_refused("unsupported-datatype", archive:set("user", ids[3], "text", 1, "b@example.com"));
		assert_refused("unsupported-datatype", archive:set("user", ids[3], {}, 1, "b@example.com"));
		assert_holds("1 2 3 4 5", "user");
		assert.same({ 1003, "a@example.com" }, { select(2, archive:get("user", ids[3])) });
	end);

	it("raises for arguments of other types", function ()
		for _, arguments in ipairs {
			{ {}, ids[3], message(1) }, { "user", {}, message(1) }, { "user", nil, message(1) },
			{ "user", ids[3], message(1), {} }, { "user", ids[3], message(1), 1, {} },
		} do
			assert.has_error(function () archive:set(table.unpack(arguments, 1, 5)); end);
		end
	end);
end);

describe("find() of an archive", function ()
	local ids;
	before_each(function () ids = fill("user", 9); end);

	local function find(query)
		return (bodies(archive:find("user", query)));
	end

	it("returns id, stanza, time and correspondent, of all messages without a query", function ()
		for _, query in ipairs { false, {} } do
			local items = storage.items(archive:find("user", query or nil));
			assert.equal(9, #items);
			for i, item in ipairs(items) do
				assert.same({ ids[i], 1000 + i, "a@example.com" }, { item.id, item.when, item.with });
				helper.assert_same_stanza(message(i), item.stanza);
			end
		end
	end);

	it("applies every field of a query, and does not change the query", function ()
		for i = 10, 20 do
			ids[i] = assert(archive:append("user", nil, message(i), 1000 + i, i % 2 == 0 and "b@example.com/r" or "c@example.com"));
		end
		for expected, query in pairs {
			["18 19 20"] = { start = 1018 }, ["1 2"] = { ["end"] = 1002 }, ["17 19"] = { after = ids[15], with = "c@example.com" },
			["10 12"] = { with = "b@example.com", limit = 2 }, ["2 1"] = { before = ids[3], reverse = true }, ["7"] = { key = ids[7] },
			["5 3"] = { start = 1, ["end"] = 2000, with = "a@example.com", after = ids[1], before = ids[9], limit = 5,
				reverse = true, total = true, ids = { ids[5], ids[3] } },
		} do
			local copy = {};
			for key, value in pairs(query) do copy[key] = type(value) == "table" and { table.unpack(value) } or value; end
			assert.equal(expected, find(query));
			assert.same(copy, query);
		end
	end);

	it("takes false for nil", function ()
		assert.equal("1 2 3 4 5 6 7 8 9", find { reverse = false, start = false, ["end"] = false, with = false, after = false,
			before = false, key = false, ids = false, limit = false });
	end);

	it("counts only on request", function ()
		for _, query in ipairs { {}, { limit = 0 }, { limit = 3 }, { with = "a@example.com" }, { total = false } } do
			local _, total = archive:find("user", query);
			assert.is_nil(total);
		end
		assert.same({ "", 9 }, { bodies(archive:find("user", { limit = 0, total = true })) });
		assert.same({ "1 2", 9 }, { bodies(archive:find("user", { limit = 2, total = true })) });
	end);

	it("takes limits beyond any count", function ()
		for _, limit in ipairs { 9, 1000000, 1e15, math.huge, math.maxinteger } do
			assert.equal("1 2 3 4 5 6 7 8 9", find { limit = limit });
		end
		assert.equal("", find { limit = 0 });
		assert.equal("", find { limit = -1 });
	end);

	it("returns no messages and no error for an empty archive", function ()
		for _, query in ipairs { {}, { reverse = true }, { start = 1, ["end"] = 2000 }, { with = "a@example.com" }, { key = "key" },
			{ ids = {} } } do
			query.total = true;
			assert.same({ "", 0 }, { bodies(archive:find("nobody", query)) });
			assert.same({ "", 0 }, { bodies(archive:find(nil, query)) });
		end
		assert.equal("", (bodies(archive:find(nil))));
	end);

	it("returns item-not-found for unknown ids", function ()
		for _, user in ipairs { "user", "nobody" } do
			for _, query in ipairs { { before = "unknown" }, { after = "unknown", limit = 1, total = true },
				{ ids = { "unknown" } } } do
				assert_refused("item-not-found", archive:find(user, query));
			end
		end
		assert_refused("item-not-found", archive:find(nil, { before = "unknown" }));
		assert_refused("item-not-found", archive:find("user", { ids = { ids[1], "unknown", ids[2] } }));
	end);

	it("raises for fields of other types", function ()
		for field, value in pairs { start = "1", ["end"] = {}, with = 1, before = {}, after = true, key = 5, ids = "id", limit = {} } do
			for _, method in ipairs { "find", "delete", "summary" } do
				if field ~= "limit" or method ~= "delete" then
					local ok, err = pcall(archive[method], archive, "user", { [field] = value });
					assert.is_false(ok);
					assert.matches(("query field '%s' must"):format(field), err, 1, true);
				end
			end
		end
		assert.has_error(function () archive:find("user", { ids = { ids[1], 2 } }); end);
		assert.has_error(function () archive:find("user", "query"); end);
		assert.has_error(function () archive:find({}, nil); end);
		assert.has_error(function () archive:delete("user", { truncate = {} }); end);
		assert_holds("1 2 3 4 5 6 7 8 9", "user");
	end);
end);

describe("the iterator of find()", function ()
	local COUNT = 500;
	local ids;
	before_each(function () ids = fill("user", COUNT); end);

	it("returns a new stanza to each caller", function ()
		for _, stanza in archive:find("user", { limit = 3 }) do
			stanza.attr.id = "changed";
			stanza:tag("more"):up();
		end
		for i, item in ipairs((storage.items(archive:find("user", { limit = 3 })))) do
			helper.assert_same_stanza(message(i), item.stanza);
		end
	end);

	it("may be abandoned in the middle, any number of times", function ()
		for round = 1, 300 do
			for _, stanza in archive:find("user", { reverse = round % 2 == 0 }) do
				if stanza:get_child_text("body") == tostring(round) then break; end
			end
		end
		collectgarbage();
		assert(archive:append("user", nil, message("new"), 1, "a@example.com"));
		reopen();
		assert.equal(COUNT + 1, (select(2, archive:find("user", { total = true, limit = 0 }))));
	end);

	it("continues while its messages are deleted one by one", function ()
		local n = 0;
		for id, stanza in archive:find("user") do
			n = n + 1;
			assert.equal(1, archive:delete("user", { key = id }));
			assert.equal(tostring(n), stanza:get_child_text("body"));
		end
		assert.equal(COUNT, n);
		assert_holds("", "user");
	end);

	it("stays at its end, and does not affect other iterators", function ()
		local forward, backward = archive:find("user"), archive:find("user", { reverse = true });
		for i = 1, COUNT do
			assert.equal(ids[i], (forward()));
			assert.equal(ids[COUNT + 1 - i], (backward()));
		end
		for _ = 1, 3 do assert.is_nil((forward())); end
	end);

	it("returns the messages, or fails, after a reload of the driver", function ()
		local iterator = archive:find("user");
		assert.equal(ids[1], (iterator()));
		reopen();
		local ok, id = pcall(iterator);
		assert.is_true(not ok or id == nil or id == ids[2]);
		assert.equal(ids[1], (archive:find("user")()));
	end);
end);

describe("delete() of an archive", function ()
	local ids;
	before_each(function () ids = fill("user", 9); end);

	local cases = {
		{ "everything without a query", function () return nil; end, 9, "" },
		{ "everything for an empty query", function () return {}; end, 9, "" },
		{ "by start and end", function () return { start = 1003.5, ["end"] = 1006 }; end, 3, "1 2 3 7 8 9" },
		{ "by key", function () return { key = ids[5] }; end, 1, "1 2 3 4 6 7 8 9" },
		{ "the ids that it knows", function () return { ids = { ids[8], "unknown", ids[2], ids[8] } }; end, 2, "1 3 4 5 6 7 9" },
		{ "messages that match all of a query", function ()
			return { start = 1003, ["end"] = 1007, after = ids[3], with = "a@example.com", ids = { ids[3], ids[4], ids[7], ids[8] } };
		end, 2, "1 2 3 5 6 8 9" },
		{ "all but the newest", function () return { truncate = 3 }; end, 6, "7 8 9" },
		{ "all but the oldest that match", function () return { truncate = 2, reverse = true, start = 1003, ["end"] = 1007 }; end,
			3, "1 2 3 4 8 9" },
		{ "nothing if more are to be kept", function () return { truncate = 1000 }; end, 0, "1 2 3 4 5 6 7 8 9" },
	};

	for _, case in ipairs(cases) do
		local name, query, count, left = table.unpack(case, 1, 4);
		it(("deletes %s, and returns how many"):format(name), function ()
			local deleted, err = archive:delete("user", query());
			assert.is_nil(err);
			assert.equal(count, deleted);
			assert_holds(left, "user");
		end);
	end

	it("deletes more than a slice", function ()
		fill("many", 1000);
		assert.equal(901, archive:delete("many", { ["end"] = 1901 }));
		assert.equal(50, archive:delete("many", { truncate = 49 }));
		assert.equal(49, select(2, archive:find("many", { total = true, limit = 0 })));
	end);

	it("deletes thousands of listed ids, each once", function ()
		local listed, all = {}, fill("many", 3000);
		for i = 1, 3000 do listed[i] = all[i % 2 == 0 and i or 3001 - i]; end
		assert.equal(1500, archive:delete("many", { ids = listed, ["end"] = 4000 }));
		assert.equal(1500, select(2, archive:find("many", { total = true, limit = 0 })));
		assert.equal(0, archive:delete("many", { ids = listed }));
		assert.equal(99, archive:delete("many", { ids = all, truncate = 1401 }));
	end);

	it("returns 0 for an empty archive, and item-not-found for an unknown before or after", function ()
		for _, query in ipairs { {}, { start = 1 }, { key = "key" }, { ids = { "id" } }, { truncate = 3 } } do
			assert.equal(0, archive:delete("nobody", query));
		end
		assert.equal(0, archive:delete(nil));
		assert_refused("item-not-found", archive:delete("user", { before = "unknown" }));
		assert_refused("item-not-found", archive:delete("user", { after = ids[1], before = "unknown" }));
		assert_refused("item-not-found", archive:delete("nobody", { after = "unknown" }));
		assert_holds("1 2 3 4 5 6 7 8 9", "user");
	end);

	it("deletes from the host's own archive for nil", function ()
		fill(nil, 3);
		assert.equal(3, archive:delete(nil));
		assert_holds("", nil);
		assert_holds("1 2 3 4 5 6 7 8 9", "user");
	end);
end);

describe("delete() of all users' archives", function ()
	it("returns the sum, and spares the host, other stores, types and hosts", function ()
		restart { hosts = { "example.com", "other.example" } };
		local others = { bed:open("muc_log", "archive"), bed:open("archive", "archive", "other.example") };
		for _, user in ipairs { "one", "two", "" } do fill(user, 5); end
		fill(nil, 5);
		for _, other in ipairs(others) do assert(other:append("one", nil, message(1), 1000, "a@example.com")); end
		assert(bed:open("archive"):set("one", { a = 1 }));
		assert.equal(9, archive:delete(true, { ["end"] = 1003 }));
		assert_holds("4 5", "one");
		assert.equal(0, archive:delete(true, { with = "c@example.com" }));
		assert.equal(6, archive:delete(true, {}));
		assert.equal(0, archive:delete(true));
		assert.same({}, sorted(archive:users()));
		assert_holds("1 2 3 4 5", nil);
		for _, other in ipairs(others) do assert.equal("1", (bodies(other:find("one")))); end
		assert.same({ a = 1 }, bed:open("archive"):get("one"));
	end);

	it("deletes from thousands of archives", function ()
		for n = 1, 2000 do assert(archive:append("user" .. n, nil, message(n), n, "a@example.com")); end
		assert.equal(900, archive:delete(true, { ["end"] = 900 }));
		assert.equal(1100, #sorted(archive:users()));
		assert_holds("", "user900");
		assert_holds("901", "user901");
	end);
end);

describe("summary() of an archive", function ()
	local ids = {};
	before_each(function ()
		for i, with in ipairs { "a@example.com", "b@example.com/r", "a@example.com", "b@example.com/r", "a@example.com", "b@example.com/s" } do
			ids[i] = assert(archive:append("user", nil, message(i), 1000 + i, with));
		end
	end);

	it("returns the number, the times and the last body for every correspondent", function ()
		local all = archive:summary("user");
		assert.same({ ["a@example.com"] = 3, ["b@example.com/r"] = 2, ["b@example.com/s"] = 1 }, all.counts);
		assert.same({ ["a@example.com"] = 1001, ["b@example.com/r"] = 1002, ["b@example.com/s"] = 1006 }, all.earliest);
		assert.same({ ["a@example.com"] = 1005, ["b@example.com/r"] = 1004, ["b@example.com/s"] = 1006 }, all.latest);
		assert.same({ ["a@example.com"] = "5", ["b@example.com/r"] = "4", ["b@example.com/s"] = "6" }, all.body);
		assert.same(all, archive:summary("user", {}));
		assert.same({ counts = {}, earliest = {}, latest = {}, body = {} }, archive:summary("nobody"));
	end);

	it("takes a query", function ()
		assert.same({ ["b@example.com/r"] = 2, ["b@example.com/s"] = 1 }, archive:summary("user", { with = "b@example.com" }).counts);
		assert.same({ ["a@example.com"] = 1, ["b@example.com/r"] = 1 },
			archive:summary("user", { after = ids[2], before = ids[5] }).counts);
		assert_refused("item-not-found", archive:summary("user", { after = "unknown" }));
	end);

	it("keeps the last body if later messages are without one", function ()
		assert(archive:append("user", nil, st.presence(), 1007, "a@example.com"));
		assert(archive:append("user", nil, st.presence(), 1008, "c@example.com"));
		local all = archive:summary("user");
		assert.equal("5", all.body["a@example.com"]);
		assert.is_nil(all.body["c@example.com"]);
		assert.equal(1007, all.latest["a@example.com"]);
	end);
end);

describe("dates() of an archive", function ()
	it("returns the days with messages, each once and in order", function ()
		local day = 86400;
		for _, when in ipairs { 0, 1, day - 1, day, 3 * day, 2 * day - 1, 18000 * day + 5, 18000 * day - 1, 18000 * day + 7 } do
			assert(archive:append("user", nil, message(1), when, "a@example.com"));
		end
		assert.same({ "1970-01-01", "1970-01-02", "1970-01-04", "2019-04-13", "2019-04-14" }, archive:dates("user"));
		assert.equal(1, archive:delete("user", { start = 3 * day, ["end"] = 4 * day }));
		assert.same({ "1970-01-01", "1970-01-02", "2019-04-13", "2019-04-14" }, archive:dates("user"));
		assert.same({}, archive:dates("nobody"));
	end);
end);

describe("users() of an archive", function ()
	it("returns users with messages, and never the host", function ()
		assert.same({}, sorted(archive:users()));
		fill("one", 2);
		fill("", 1);
		fill(nil, 1);
		fill("\0", 1);
		fill("two", 2);
		assert(bed:open("muc_log", "archive"):append("three", nil, message(1), 1, "a@example.com"));
		assert(bed:open("archive"):set("four", { a = 1 }));
		assert.same({ "", "\0", "one", "two" }, sorted(archive:users()));
		assert.equal(2, archive:delete("two"));
		reopen();
		assert.same({ "", "\0", "one" }, sorted(archive:users()));
	end);

	it("returns thousands while their archives are deleted", function ()
		for n = 1, 2000 do assert(archive:append("user" .. n, nil, message(n), n, "a@example.com")); end
		local count = 0;
		for user in archive:users() do
			count = count + archive:delete(user);
			archive:append("new", nil, message(1), 1, "a@example.com");
		end
		assert.is_true(count >= 2000);
		assert.is_true(#sorted(archive:users()) <= 1);
	end);
end);
