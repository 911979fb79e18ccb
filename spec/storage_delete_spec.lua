-- Archives of the storage driver: deletion, quota, and what is said about an archive as a whole.

local st = require "spec.helper".st;
local storage = require "spec.storage_helper";

local sorted, bodies, message = storage.sorted, storage.bodies, storage.message;

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

local function assert_refused(condition, ok, err)
	assert.falsy(ok);
	assert.equal(condition, err);
end

-- Appends messages 1 to n, message i at the time 1000 + i. Returns their ids.
local function fill(user, n, with)
	local ids = {};
	for i = 1, n do
		ids[i] = assert(archive:append(user, nil, message(i), 1000 + i, with or "a@example.com"));
	end
	return ids;
end

-- What is left, by several ways to it, now and after a reload
local function assert_left(expected, user)
	local _, count = expected:gsub("%S+", "");
	for _ = 1, 2 do
		assert.same({ expected, count }, { bodies(archive:find(user, { total = true })) });
		assert.same({ expected, count }, { bodies(archive:find(user, { with = "a@example.com", total = true })) });
		assert.same({ expected, count }, { bodies(archive:find(user, { start = 0, total = true })) });
		assert.equal(count, archive:summary(user).counts["a@example.com"] or 0);
		if user then assert.equal(count > 0, sorted(archive:users())[1] == user); end
		reopen();
	end
end

describe("delete() of an archive", function ()
	local ids;
	before_each(function () ids = fill("user", 9); end);

	local cases = {
		{ "everything without a query", function () return nil; end, 9, "" },
		{ "everything for an empty query", function () return {}; end, 9, "" },
		{ "by start", function () return { start = 1004 }; end, 6, "1 2 3" },
		{ "by end", function () return { ["end"] = 1004 }; end, 4, "5 6 7 8 9" },
		{ "by start and end", function () return { start = 1004, ["end"] = 1006 }; end, 3, "1 2 3 7 8 9" },
		{ "by times with fractions", function () return { start = 1003.5, ["end"] = 1004.5 }; end, 1, "1 2 3 5 6 7 8 9" },
		{ "by correspondent", function () return { with = "a@example.com" }; end, 9, "" },
		{ "nothing by another correspondent", function () return { with = "b@example.com" }; end, 0, "1 2 3 4 5 6 7 8 9" },
		{ "by key", function () return { key = ids[5] }; end, 1, "1 2 3 4 6 7 8 9" },
		{ "nothing by an unknown key", function () return { key = "unknown" }; end, 0, "1 2 3 4 5 6 7 8 9" },
		{ "by ids", function () return { ids = { ids[8], ids[2], ids[8] } }; end, 2, "1 3 4 5 6 7 9" },
		{ "by those ids that it knows", function () return { ids = { "unknown", ids[2] } }; end, 1, "1 3 4 5 6 7 8 9" },
		{ "nothing by no ids", function () return { ids = {} }; end, 0, "1 2 3 4 5 6 7 8 9" },
		{ "before an id", function () return { before = ids[4] }; end, 3, "4 5 6 7 8 9" },
		{ "after an id", function () return { after = ids[4] }; end, 5, "1 2 3 4" },
		{ "between ids", function () return { after = ids[2], before = ids[5] }; end, 2, "1 2 5 6 7 8 9" },
		{ "what matches all of a query", function ()
			return { start = 1003, ["end"] = 1007, after = ids[3], with = "a@example.com", ids = { ids[3], ids[4], ids[7], ids[8] } };
		end, 2, "1 2 3 5 6 8 9" },
		{ "all but the newest", function () return { truncate = 3 }; end, 6, "7 8 9" },
		{ "all but the oldest", function () return { truncate = 3, reverse = true }; end, 6, "1 2 3" },
		{ "nothing where as many are to be kept as there are", function () return { truncate = 9 }; end, 0, "1 2 3 4 5 6 7 8 9" },
		{ "nothing where more are to be kept", function () return { truncate = 1000, reverse = true }; end, 0, "1 2 3 4 5 6 7 8 9" },
		{ "everything where none is to be kept", function () return { truncate = 0 }; end, 9, "" },
		{ "all but the newest of those that match", function () return { truncate = 2, start = 1003, ["end"] = 1007 }; end,
			3, "1 2 6 7 8 9" },
		{ "all but the oldest of those that match", function () return { truncate = 2, reverse = true, start = 1003, ["end"] = 1007 }; end,
			3, "1 2 3 4 8 9" },
		{ "all but the newest of a correspondent's", function () return { truncate = 1, with = "a@example.com" }; end, 8, "9" },
		{ "all but the newest of certain ids", function () return { truncate = 1, ids = { ids[6], ids[2], ids[4] } }; end,
			2, "1 3 5 6 7 8 9" },
		{ "all but the oldest between ids", function () return { truncate = 1, reverse = true, after = ids[2], before = ids[7] }; end,
			3, "1 2 3 7 8 9" },
	};

	for _, case in ipairs(cases) do
		local name, query, count, left = table.unpack(case, 1, 4);
		it(("deletes %s, and says how many"):format(name), function ()
			fill("another", 2);
			local deleted, err = archive:delete("user", query());
			assert.is_nil(err);
			assert.equal(count, deleted);
			assert.equal("1 2", (bodies(archive:find("another"))));
			archive:delete("another");
			assert_left(left, "user");
		end);
	end

	it("deletes nothing of an archive that is empty", function ()
		for _, query in ipairs { {}, { start = 1 }, { with = "a@example.com" }, { key = "key" }, { ids = { "id" } }, { truncate = 3 } } do
			assert.equal(0, archive:delete("nobody", query));
		end
		assert.equal(0, archive:delete("nobody"));
		assert.equal(0, archive:delete(nil));
		assert_left("1 2 3 4 5 6 7 8 9", "user");
	end);

	it("answers item-not-found for an unknown before or after, and deletes nothing", function ()
		assert_refused("item-not-found", archive:delete("user", { before = "unknown" }));
		assert_refused("item-not-found", archive:delete("user", { after = "unknown" }));
		assert_refused("item-not-found", archive:delete("user", { after = ids[1], before = "unknown" }));
		assert_refused("item-not-found", archive:delete("nobody", { before = "unknown" }));
		assert_left("1 2 3 4 5 6 7 8 9", "user");
	end);

	it("deletes from the host's own archive", function ()
		local own = fill(nil, 3);
		assert.equal(1, archive:delete(nil, { ids = { own[2], ids[1] } }));
		assert.equal("1 3", (bodies(archive:find(nil))));
		assert.equal(2, archive:delete(nil));
		assert_left("", nil);
		assert_left("1 2 3 4 5 6 7 8 9", "user");
	end);

	it("leaves the archive open to new messages at every place where it deletes", function ()
		for n, step in ipairs {
			{ { key = ids[5] }, "1 2 3 4 6 7 8 9 new1" },
			{ { key = ids[1] }, "2 3 4 6 7 8 9 new1 new2" },
			{ { key = ids[9] }, "2 3 4 6 7 8 new1 new2 new3" },
			{ { ids = { ids[2], ids[8] } }, "3 4 6 7 new1 new2 new3 new4" },
			{ {}, "new5" },
		} do
			assert.is_true(archive:delete("user", step[1]) > 0);
			assert(archive:append("user", nil, message("new" .. n), 1010 + n, "a@example.com"));
			assert_left(step[2], "user");
		end
	end);

	it("finds its way through an archive full of holes", function ()
		local many, left = fill("many", 2000), {};
		archive:delete("user");
		for i = 1, 2000 do
			if i % 7 ~= 0 and i % 500 > 20 then
				assert.equal(1, archive:delete("many", { key = many[i] }));
			else
				table.insert(left, i);
			end
		end
		assert_left(table.concat(left, " "), "many");
		local half = #left // 2;
		assert.equal(half, #storage.items(archive:find("many", { after = many[left[#left - half]] })));
		assert.equal(half, archive:delete("many", { truncate = #left - half }));
		assert_left(table.concat(left, " ", half + 1), "many");
	end);
end);

describe("delete() of all users' archives", function ()
	before_each(function ()
		for _, user in ipairs { "one", "two", "" } do fill(user, 5); end
		fill(nil, 5);
		assert(bed:open("muc_log", "archive"):append("one", nil, message(1), 1000, "a@example.com"));
		assert(bed:open("archive"):set("one", { a = 1 }));
	end);

	local function assert_others()
		assert.equal("1 2 3 4 5", (bodies(archive:find(nil))));
		assert.equal("1", (bodies(bed:open("muc_log", "archive"):find("one"))));
		assert.same({ a = 1 }, bed:open("archive"):get("one"));
	end

	it("deletes what is old, and gives the sum", function ()
		assert.equal(9, archive:delete(true, { ["end"] = 1003 }));
		for _, user in ipairs { "one", "two", "" } do assert.equal("4 5", (bodies(archive:find(user)))); end
		assert_others();
		assert.equal(0, archive:delete(true, { ["end"] = 1003 }));
	end);

	it("deletes everything", function ()
		assert.equal(15, archive:delete(true, {}));
		assert.same({}, sorted(archive:users()));
		assert_others();
		assert.equal(0, archive:delete(true));
		reopen();
		assert_others();
	end);

	it("deletes a correspondent's messages", function ()
		for _, user in ipairs { "one", "three" } do
			assert(archive:append(user, nil, message("b"), 2000, "b@example.com/r"));
		end
		assert.equal(2, archive:delete(true, { with = "b@example.com", start = 1500 }));
		assert.same({ "", "one", "two" }, sorted(archive:users()));
		assert.equal(0, archive:delete(true, { with = "c@example.com" }));
	end);

	it("deletes what is old in thousands of archives", function ()
		for n = 1, 2000 do assert(archive:append("user" .. n, nil, message(n), n, "a@example.com")); end
		assert.equal(900, archive:delete(true, { ["end"] = 900 }));
		assert.equal(1103, #sorted(archive:users()));
		assert.equal("", (bodies(archive:find("user900"))));
		assert.equal("901", (bodies(archive:find("user901"))));
	end);

	it("deletes on one host alone", function ()
		restart { hosts = { "example.com", "other.example" } };
		local other = bed:open("archive", "archive", "other.example");
		fill("one", 2);
		assert(other:append("one", nil, message(1), 1, "a@example.com"));
		assert.equal(2, archive:delete(true, {}));
		assert.equal("1", (bodies(other:find("one"))));
	end);
end);

describe("the quota of an archive", function ()
	before_each(function () restart { config = { storage_archive_item_limit = 3 } }; end);

	it("refuses what is over it, and that alone", function ()
		fill("user", 3);
		assert_refused("quota-limit", archive:append("user", nil, message(4), 4, "a@example.com"));
		assert_refused("quota-limit", archive:append("user", "key", message(4), 4, "a@example.com"));
		fill("another", 3);
		reopen();
		assert_refused("quota-limit", archive:append("user", nil, message(4), 4, "a@example.com"));
		assert.equal("1 2 3", (bodies(archive:find("user"))));
	end);

	it("lets a message replace the one with its key", function ()
		assert(archive:append("user", "key", message("old"), 1, "a@example.com"));
		local ids = fill("user", 2);
		assert.equal("key", archive:append("user", "key", message("new"), 2, "a@example.com"));
		assert.equal(ids[1], archive:append("user", ids[1], message("one"), 2, "a@example.com"));
		assert.equal("2 new one", (bodies(archive:find("user"))));
		assert.is_true((archive:set("user", "key", message("set"))));
		assert_refused("quota-limit", archive:append("user", nil, message(4), 4, "a@example.com"));
	end);

	it("lets messages in again once some are deleted", function ()
		local ids = fill("user", 3);
		assert.equal(1, archive:delete("user", { key = ids[2] }));
		assert(archive:append("user", nil, message("new"), 4, "a@example.com"));
		assert_refused("quota-limit", archive:append("user", nil, message(4), 4, "a@example.com"));
		assert.equal(2, archive:delete("user", { truncate = 1 }));
		assert(archive:append("user", nil, message("newer"), 4, "a@example.com"));
		assert.equal("new newer", (bodies(archive:find("user"))));
	end);

	it("does not concern what was there before it", function ()
		restart();
		fill("user", 5);
		bed:set("storage_archive_item_limit", 3);
		reopen();
		assert.equal("1 2 3 4 5", (bodies(archive:find("user"))));
		assert_refused("quota-limit", archive:append("user", nil, message(6), 4, "a@example.com"));
	end);
end);

describe("summary() of an archive", function ()
	local ids = {};
	before_each(function ()
		for i, with in ipairs { "a@example.com", "b@example.com/r", "a@example.com", "b@example.com/r", "a@example.com", "b@example.com/s" } do
			ids[i] = assert(archive:append("user", nil, message(i), 1000 + i, with));
		end
	end);

	it("gives the number, the times and the last body for every correspondent", function ()
		local all = archive:summary("user");
		assert.same({ ["a@example.com"] = 3, ["b@example.com/r"] = 2, ["b@example.com/s"] = 1 }, all.counts);
		assert.same({ ["a@example.com"] = 1001, ["b@example.com/r"] = 1002, ["b@example.com/s"] = 1006 }, all.earliest);
		assert.same({ ["a@example.com"] = 1005, ["b@example.com/r"] = 1004, ["b@example.com/s"] = 1006 }, all.latest);
		assert.same({ ["a@example.com"] = "5", ["b@example.com/r"] = "4", ["b@example.com/s"] = "6" }, all.body);
		assert.same(all, archive:summary("user", {}));
	end);

	it("takes a query", function ()
		for _, case in ipairs {
			{ { start = 1003 }, { ["a@example.com"] = 2, ["b@example.com/r"] = 1, ["b@example.com/s"] = 1 } },
			{ { ["end"] = 1002 }, { ["a@example.com"] = 1, ["b@example.com/r"] = 1 } },
			{ { with = "b@example.com" }, { ["b@example.com/r"] = 2, ["b@example.com/s"] = 1 } },
			{ { after = ids[2], before = ids[5] }, { ["a@example.com"] = 1, ["b@example.com/r"] = 1 } },
			{ { ids = { ids[1], ids[6] } }, { ["a@example.com"] = 1, ["b@example.com/s"] = 1 } },
			{ { start = 2000 }, {} },
		} do
			assert.same(case[2], archive:summary("user", case[1]).counts);
		end
		assert_refused("item-not-found", archive:summary("user", { after = "unknown" }));
	end);

	it("keeps the last body where later messages have none", function ()
		assert(archive:append("user", nil, st.presence(), 1007, "a@example.com"));
		assert(archive:append("user", nil, st.presence(), 1008, "c@example.com"));
		local all = archive:summary("user");
		assert.equal("5", all.body["a@example.com"]);
		assert.is_nil(all.body["c@example.com"]);
		assert.equal(1007, all.latest["a@example.com"]);
	end);

	it("is empty for an archive that is", function ()
		assert.same({ counts = {}, earliest = {}, latest = {}, body = {} }, archive:summary("nobody"));
	end);
end);

describe("dates() of an archive", function ()
	it("gives the days on which there are messages, each once", function ()
		local day = 86400;
		for _, when in ipairs { 0, 1, day - 1, day, 3 * day, 2 * day - 1, 18000 * day + 5, 18000 * day - 1, 18000 * day + 7 } do
			assert(archive:append("user", nil, message(1), when, "a@example.com"));
		end
		local dates = archive:dates("user");
		table.sort(dates);
		assert.same({ "1970-01-01", "1970-01-02", "1970-01-04", "2019-04-13", "2019-04-14" }, dates);
	end);

	it("gives no day whose messages are gone", function ()
		fill("user", 2);
		local id = assert(archive:append("user", nil, message(3), 86400 * 2, "a@example.com"));
		archive:delete("user", { key = id });
		assert.same({ "1970-01-01" }, archive:dates("user"));
	end);

	it("gives none for an archive that is empty", function ()
		assert.same({}, archive:dates("nobody") or {});
	end);
end);

describe("users() of an archive", function ()
	it("gives those that have messages, and never the host", function ()
		assert.same({}, sorted(archive:users()));
		fill("one", 2);
		fill("", 1);
		fill(nil, 1);
		fill("\0", 1);
		local ids = fill("two", 2);
		assert(bed:open("muc_log", "archive"):append("three", nil, message(1), 1, "a@example.com"));
		assert(bed:open("archive"):set("four", { a = 1 }));
		assert.same({ "", "\0", "one", "two" }, sorted(archive:users()));
		assert.equal(2, archive:delete("two", { ids = ids }));
		assert.same({ "", "\0", "one" }, sorted(archive:users()));
		reopen();
		assert.same({ "", "\0", "one" }, sorted(archive:users()));
	end);

	it("gives thousands, while their archives are deleted", function ()
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
