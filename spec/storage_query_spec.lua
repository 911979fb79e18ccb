-- Archives of the storage driver: everything that takes a query, and what depends on how many there are.

local helper = require "spec.helper";
local storage = require "spec.storage_helper";

local bodies, message = storage.bodies, storage.message;

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

local function find(query)
	return (bodies(archive:find("user", query)));
end

local function numbers(from, to)
	local list = {};
	for i = from, to, from <= to and 1 or -1 do list[#list + 1] = i; end
	return table.concat(list, " ");
end

describe("caps of an archive", function ()
	it("promise what the driver does", function ()
		assert.same({ total = true, truncate = true, full_id_range = true, ids = true, wildcard_delete = true }, archive.caps);
	end);

	it("tell of the quota where there is one", function ()
		restart { config = { storage_archive_item_limit = 1000 } };
		assert.equal(1000, archive.caps.quota);
	end);
end);

describe("find() of an archive", function ()
	local ids;
	before_each(function () ids = fill("user", 9); end);

	it("gives everything without a query", function ()
		assert.equal("1 2 3 4 5 6 7 8 9", (bodies(archive:find("user"))));
		assert.equal("1 2 3 4 5 6 7 8 9", find {});
		for i, item in ipairs((storage.items(archive:find("user")))) do
			assert.same({ ids[i], 1000 + i, "a@example.com" }, { item.id, item.when, item.with });
			helper.assert_same_stanza(message(i), item.stanza);
		end
	end);

	it("gives nothing of an archive that is empty, whatever is asked", function ()
		for _, user in ipairs { "nobody", "" } do
			for _, query in ipairs { {}, { reverse = true }, { limit = 5 }, { start = 1, ["end"] = 2000 },
				{ with = "a@example.com" }, { key = "key" }, { ids = {} } } do
				assert.same({ "" }, { bodies(archive:find(user, query)) });
				query.total = true;
				assert.same({ "", 0 }, { bodies(archive:find(user, query)) });
			end
		end
		assert.same({ "", 0 }, { bodies(archive:find(nil, { total = true })) });
		assert.equal("", (bodies(archive:find(nil))));
	end);

	it("gives the newest first in reverse", function ()
		assert.equal("9 8 7 6 5 4 3 2 1", find { reverse = true });
		assert.equal("1 2 3 4 5 6 7 8 9", find { reverse = false });
	end);

	it("stops at the limit", function ()
		assert.equal("1 2 3", find { limit = 3 });
		assert.equal("9 8 7", find { limit = 3, reverse = true });
		assert.equal("1 2 3 4 5 6 7 8 9", find { limit = 9 });
		assert.equal("1 2 3 4 5 6 7 8 9", find { limit = 1000000 });
		assert.same({ "", nil }, { bodies(archive:find("user", { limit = 0 })) });
		assert.same({ "", 9 }, { bodies(archive:find("user", { limit = 0, total = true })) });
	end);

	it("takes times, both inclusive", function ()
		assert.equal("4 5 6 7 8 9", find { start = 1004 });
		assert.equal("1 2 3 4", find { ["end"] = 1004 });
		assert.equal("4 5 6", find { start = 1004, ["end"] = 1006 });
		assert.equal("4", find { start = 1004, ["end"] = 1004 });
		assert.equal("6 5 4", find { start = 1004, ["end"] = 1006, reverse = true });
		assert.equal("", find { start = 1006, ["end"] = 1004 });
		assert.equal("", find { start = 1010 });
		assert.equal("", find { ["end"] = 1000 });
		assert.equal("1 2 3 4 5 6 7 8 9", find { start = -1e15, ["end"] = 1e15 });
	end);

	it("compares times as numbers, with their fractions", function ()
		assert.equal("5 6 7 8 9", find { start = 1004.001 });
		assert.equal("4 5 6 7 8 9", find { start = 1003.999 });
		assert.equal("1 2 3 4", find { ["end"] = 1004.999 });
		assert.equal("1 2 3", find { ["end"] = 1003.999 });
		assert.equal("", find { start = 1004.1, ["end"] = 1004.9 });
		assert.equal("4", find { start = 1004.0, ["end"] = 1004.0 });
	end);

	it("finds times in archives where the clock went back", function ()
		for i, when in ipairs { 500, 2000, 400, 1005, 1005, 3000, 0 } do
			assert(archive:append("user", nil, message(9 + i), when, "a@example.com"));
		end
		for _ = 1, 2 do
			assert.equal("11 15", find { start = 1010 });
			assert.equal("15 11", find { start = 1010, reverse = true });
			assert.equal("10 12 16", find { ["end"] = 1000 });
			assert.equal("5 13 14", find { start = 1005, ["end"] = 1005 });
			assert.equal("14 13 5", find { start = 1005, ["end"] = 1005, reverse = true });
			assert.equal("14 13", find { start = 1005, ["end"] = 1005, reverse = true, limit = 2 });
			assert.same({ "5", 3 }, { bodies(archive:find("user", { start = 1005, ["end"] = 1005, limit = 1, total = true })) });
			assert.equal("16", find { after = ids[9], ["end"] = 399 });
			reopen();
		end
	end);

	it("finds times in archives where the clock only went back", function ()
		for i = 1, 300 do assert(archive:append("back", nil, message(i), 5000 - i, "a@example.com")); end
		assert.equal(numbers(1, 100), (bodies(archive:find("back", { start = 4900 }))));
		assert.equal(numbers(300, 291), (bodies(archive:find("back", { ["end"] = 4709, reverse = true }))));
		assert.same({ "150", 3 }, { bodies(archive:find("back", { start = 4848, ["end"] = 4850, limit = 1, total = true })) });
	end);

	it("finds equal times", function ()
		for i = 1, 300 do assert(archive:append("equal", nil, message(i), 1000, "a@example.com")); end
		assert.equal(numbers(1, 300), (bodies(archive:find("equal", { start = 1000, ["end"] = 1000 }))));
		assert.equal(numbers(300, 1), (bodies(archive:find("equal", { start = 1000, ["end"] = 1000, reverse = true }))));
		assert.same({ "", 0 }, { bodies(archive:find("equal", { start = 1001, total = true })) });
	end);

	it("takes before and after, both exclusive, in both directions", function ()
		assert.equal("6 7 8 9", find { after = ids[5] });
		assert.equal("1 2 3 4", find { before = ids[5] });
		assert.equal("4 5 6", find { after = ids[3], before = ids[7] });
		assert.equal("6 5 4", find { after = ids[3], before = ids[7], reverse = true });
		assert.equal("6 5", find { after = ids[3], before = ids[7], reverse = true, limit = 2 });
		assert.equal("4 5", find { after = ids[3], before = ids[7], limit = 2 });
		assert.equal("9 8 7 6", find { after = ids[5], reverse = true });
		assert.equal("4 3 2 1", find { before = ids[5], reverse = true });
		assert.equal("", find { after = ids[9] });
		assert.equal("", find { before = ids[1] });
		assert.equal("", find { after = ids[3], before = ids[4] });
		assert.equal("", find { after = ids[5], before = ids[5] });
		assert.equal("", find { after = ids[7], before = ids[3] });
	end);

	it("takes keys for before and after", function ()
		local long = ("k"):rep(3000);
		assert(archive:append("user", long, message(10), 1010, "a@example.com"));
		fill("user", 2);
		assert.equal("1 2", find { after = long });
		assert.equal("8 9", find { after = ids[7], before = long });
		assert.equal("2 1", find { after = long, reverse = true });
	end);

	it("gives certain ids, each once, in the order of the archive", function ()
		assert.equal("2 4 8", find { ids = { ids[8], ids[2], ids[4] } });
		assert.equal("8 4 2", find { ids = { ids[8], ids[2], ids[4] }, reverse = true });
		assert.equal("2 4", find { ids = { ids[4], ids[2], ids[4], ids[2] } });
		assert.equal("2", find { ids = { ids[4], ids[2] }, limit = 1 });
		assert.equal("", find { ids = {} });
		assert.same({ "2", 2 }, { bodies(archive:find("user", { ids = { ids[4], ids[2] }, limit = 1, total = true })) });
		local all = { table.unpack(ids) };
		for i = 1, 300 do all[9 + i] = assert(archive:append("user", nil, message(9 + i), 1, "a@example.com")); end
		assert.equal(numbers(1, 309), find { ids = all });
	end);

	it("gives the message with a certain key, or nothing", function ()
		assert(archive:append("user", "key", message(10), 1010, "a@example.com"));
		assert.same({ "10", 1 }, { bodies(archive:find("user", { key = "key", total = true })) });
		assert.same({ "3", 1 }, { bodies(archive:find("user", { key = ids[3], total = true })) });
		assert.same({ "", 0 }, { bodies(archive:find("user", { key = "unknown", total = true })) });
		assert.equal("", find { key = "key", start = 1011 });
		assert.equal("", find { key = "key", before = ids[9] });
		assert.equal("10", find { key = "key", ids = { "key", ids[1] } });
	end);

	it("answers item-not-found for ids that it does not know", function ()
		for _, user in ipairs { "user", "nobody" } do
			for _, query in ipairs { { before = "unknown" }, { after = "unknown" }, { ids = { "unknown" } },
				{ before = "unknown", reverse = true }, { after = "unknown", reverse = true },
				{ after = "unknown", limit = 1, total = true } } do
				assert_refused("item-not-found", archive:find(user, query));
			end
		end
		assert_refused("item-not-found", archive:find(nil, { before = "unknown" }));
		assert_refused("item-not-found", archive:find("user", { after = ids[1], before = "unknown" }));
		assert_refused("item-not-found", archive:find("user", { after = "unknown", before = ids[9] }));
		assert_refused("item-not-found", archive:find("user", { ids = { ids[1], "unknown", ids[2] } }));
	end);

	it("counts what matches, wherever the page begins and ends", function ()
		for _, query in ipairs { {}, { limit = 2 }, { reverse = true, limit = 1 }, { after = ids[5] }, { before = ids[5] },
			{ after = ids[9] }, { after = ids[3], before = ids[4], limit = 1, reverse = true } } do
			query.total = true;
			assert.equal(9, (select(2, archive:find("user", query))));
			query.start, query["end"] = 1003, 1006;
			assert.equal(4, (select(2, archive:find("user", query))));
			query.with = "b@example.com";
			assert.equal(0, (select(2, archive:find("user", query))));
		end
	end);

	it("counts where it is asked to, and only there", function ()
		for _, query in ipairs { {}, { limit = 0 }, { limit = 3 }, { with = "a@example.com" }, { total = false } } do
			local _, total = archive:find("user", query);
			assert.is_nil(total);
		end
	end);

	it("leaves the query as it is", function ()
		local query = { start = 1, ["end"] = 2000, with = "a@example.com", after = ids[1], before = ids[9], limit = 5,
			reverse = true, total = true, ids = { ids[5], ids[3] } };
		local copy = { table.unpack(query) };
		for key, value in pairs(query) do copy[key] = value; end
		assert.equal("5 3", find(query));
		assert.same(copy, query);
		assert.same({ ids[5], ids[3] }, query.ids);
	end);

	it("combines whatever is asked", function ()
		for i = 10, 20 do
			ids[i] = assert(archive:append("user", nil, message(i), 1000 + i, i % 2 == 0 and "b@example.com/r" or "c@example.com"));
		end
		assert.equal("12 14", find { start = 1011, ["end"] = 1019, with = "b@example.com", limit = 2 });
		assert.equal("16 14", find { start = 1011, with = "b@example.com", before = ids[17], limit = 2, reverse = true });
		assert.equal("13 11", find { with = "c@example.com", ids = { ids[11], ids[12], ids[13] }, reverse = true });
		assert.same({ "15", 3 }, { bodies(archive:find("user", { with = "c@example.com", start = 1012, ["end"] = 1018,
			after = ids[13], before = ids[17], limit = 2, total = true })) });
	end);
end);

describe("the correspondent that a query asks for", function ()
	local WITHS = { "a@example.com", "a@example.com/r", "a@example.com/s", "a@example.com/r/t", "b@example.com/r", "b@example.com",
		"example.com", "a@example.co", "A@example.com", "", "/", "message<groupchat", "a@example.com\0", "a@example.com ",
		("w"):rep(3000) .. "1", ("w"):rep(3000) .. "2", ("w"):rep(3000) .. "1/r", "\255\254/\0" };
	local EXPECTED = {
		["a@example.com"] = "1 2 3 4", ["a@example.com/r"] = "2", ["a@example.com/r/t"] = "4", ["a@example.com/"] = "",
		["b@example.com"] = "5 6", ["b@example.com/r"] = "5", ["c@example.com"] = "", ["a"] = "", ["a@"] = "",
		["example.com"] = "7", ["a@example.co"] = "8", ["A@example.com"] = "9", [""] = "10 11", ["/"] = "11",
		["message<groupchat"] = "12", ["a@example.com\0"] = "13", ["a@example.com "] = "14", ["\255\254"] = "18",
		[("w"):rep(3000) .. "1"] = "15 17", [("w"):rep(3000) .. "2"] = "16", [("w"):rep(3000)] = "", [("w"):rep(3000) .. "1/r"] = "17",
	};

	before_each(function ()
		for i, with in ipairs(WITHS) do
			assert(archive:append("user", nil, message(i), 1000 + i, with));
		end
	end);

	it("is anyone's device where it is bare, and that one where it is full", function ()
		for _ = 1, 2 do
			for with, expected in pairs(EXPECTED) do
				local _, count = expected:gsub("%d+", "");
				assert.same({ expected, count }, { bodies(archive:find("user", { with = with, total = true })) });
			end
			reopen();
		end
		assert.equal("4 3 2 1", find { with = "a@example.com", reverse = true });
	end);

	it("comes back as it was", function ()
		for i, item in ipairs((storage.items(archive:find("user")))) do
			assert.equal(WITHS[i], item.with);
			assert.equal(WITHS[i], (select(3, archive:get("user", item.id))));
		end
	end);

	it("has hundreds of devices, and is one among hundreds", function ()
		for i = 1, 600 do
			assert(archive:append("many", nil, message(i), 1000 + i, ("u%d@x/%d"):format(i % 2, i)));
			assert(archive:append("many", nil, message("-"), 1000 + i, ("v%d@x/r"):format(i)));
		end
		local even, odd = {}, {};
		for i = 2, 600, 2 do
			table.insert(even, i);
			table.insert(odd, 1, i - 1);
		end
		assert.same({ table.concat(even, " "), 300 }, { bodies(archive:find("many", { with = "u0@x", total = true })) });
		assert.same({ table.concat(odd, " "), 300 }, { bodies(archive:find("many", { with = "u1@x", reverse = true, total = true })) });
		assert.same({ "299 301", 102 }, { bodies(archive:find("many",
			{ with = "u1@x", start = 1298, ["end"] = 1502, limit = 2, total = true })) });
		assert.same({ "-", 1 }, { bodies(archive:find("many", { with = "v77@x", total = true })) });
		assert.equal(300, archive:delete("many", { with = "u0@x" }));
		assert.equal(900, (select(2, archive:find("many", { total = true }))));
	end);

	it("is the same for delete()", function ()
		for with, expected in pairs(EXPECTED) do
			local there = find { with = with };
			local _, count = there:gsub("%d+", "");
			assert.equal(count, archive:delete("user", { with = with }));
			assert.equal("", find { with = with });
			assert.is_true(#there <= #expected);
		end
		assert.equal("", find {});
	end);

	it("is the same for summary()", function ()
		assert.same({ ["a@example.com"] = 1, ["a@example.com/r"] = 1, ["a@example.com/s"] = 1, ["a@example.com/r/t"] = 1 },
			archive:summary("user", { with = "a@example.com" }).counts);
		assert.same({ ["a@example.com/r"] = 1 }, archive:summary("user", { with = "a@example.com/r" }).counts);
	end);
end);

describe("pages of an archive", function ()
	for _, count in ipairs { 0, 1, 9, 10, 11, 20, 21, 129, 300 } do
		it(("lead through all of %d messages, both ways"):format(count), function ()
			fill("user", count);
			for _, limit in ipairs { 1, 10, 64 } do
				for _, reverse in ipairs { false, true } do
					local seen, last = {}, nil;
					repeat
						local page, total = storage.items(archive:find("user", { limit = limit, reverse = reverse, total = true,
							after = not reverse and last or nil, before = reverse and last or nil }));
						assert.equal(count, total);
						assert.is_true(#page <= limit and #seen <= count);
						for _, item in ipairs(page) do
							table.insert(seen, item.stanza:get_child_text("body"));
							last = item.id;
						end
					until #page < limit;
					local expected = reverse and numbers(count, 1) or numbers(1, count);
					assert.equal(count > 0 and expected or "", table.concat(seen, " "));
				end
			end
		end);
	end
end);

describe("the iterator of find()", function ()
	local COUNT = 500;
	local ids;
	before_each(function () ids = fill("user", COUNT); end);

	it("gives stanzas of the caller's own", function ()
		for _, stanza in archive:find("user", { limit = 3 }) do
			stanza.attr.id = "changed";
			stanza:tag("more"):up();
		end
		for i, item in ipairs((storage.items(archive:find("user", { limit = 3 })))) do
			helper.assert_same_stanza(message(i), item.stanza);
		end
	end);

	it("may be left in the middle, any number of times", function ()
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

	it("goes on while its messages are deleted one by one", function ()
		for _, query in ipairs { {}, { reverse = true } } do
			local expected, n = find(query), 0;
			for id, stanza in archive:find("user", query) do
				n = n + 1;
				assert.equal(1, archive:delete("user", { key = id }));
				assert.equal(tostring(query.reverse and COUNT + 1 - n or n), stanza:get_child_text("body"));
			end
			assert.equal(COUNT, n);
			assert.equal(query.reverse and numbers(COUNT, 1) or numbers(1, COUNT), expected);
			assert.equal("", find {});
			if not query.reverse then fill("user", COUNT); end
		end
	end);

	it("ends early and in order where all is deleted at once, and gives nothing newer", function ()
		local last = 0;
		for _, stanza in archive:find("user") do
			if last == 0 then
				assert.equal(COUNT, archive:delete("user"));
				for _ = 1, COUNT do assert(archive:append("user", nil, message("new"), 1500, "a@example.com")); end
			end
			local n = tonumber(stanza:get_child_text("body"));
			assert.equal(last + 1, n);
			last = n;
		end
		assert.equal(COUNT, (select(2, archive:find("user", { total = true, limit = 0 }))));
	end);

	it("goes on where the ids are deleted between which it goes", function ()
		local n = 100;
		for id in archive:find("user", { after = ids[100], before = ids[400] }) do
			n = n + 1;
			assert.equal(ids[n], id);
			if n == 101 then assert.equal(2, archive:delete("user", { ids = { ids[100], ids[400] } })); end
		end
		assert.equal(399, n);
	end);

	it("gives nothing that is appended meanwhile", function ()
		for _, query in ipairs { {}, { with = "a@example.com" }, { start = 1000 }, { after = ids[1] }, { reverse = true } } do
			local expected, n = #storage.items(archive:find("user", query)), 0;
			for _ in archive:find("user", query) do
				n = n + 1;
				assert(archive:append("user", nil, message("new"), 2000, "a@example.com"));
			end
			assert.equal(expected, n);
		end
	end);

	it("gives no message twice that is replaced meanwhile", function ()
		assert(archive:append("user", "key", message("keyed"), 1, "a@example.com"));
		local seen = {};
		for id in archive:find("user") do
			assert.is_nil(seen[id]);
			seen[id] = true;
			assert(archive:append("user", "key", message("again"), 1, "a@example.com"));
		end
		for _, id in ipairs(ids) do assert.is_true(seen[id]); end
	end);

	it("stays at its end", function ()
		local iterator = archive:find("user", { limit = 1 });
		assert.equal(ids[1], (iterator()));
		for _ = 1, 3 do assert.is_nil((iterator())); end
	end);

	it("leaves others alone that are under way", function ()
		local forward, backward = archive:find("user"), archive:find("user", { reverse = true });
		for i = 1, COUNT do
			assert.equal(ids[i], (forward()));
			assert.equal(ids[COUNT + 1 - i], (backward()));
		end
	end);

	it("gives what is there, or fails, when the driver has been reloaded", function ()
		local iterator = archive:find("user");
		assert.equal(ids[1], (iterator()));
		reopen();
		local ok, id = pcall(iterator);
		assert.is_true(not ok or id == nil or id == ids[2]);
		assert.equal(ids[1], (archive:find("user")()));
	end);
end);
