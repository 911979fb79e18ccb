-- Times of messages in stamps and in queries of clients; and archives that were written under the other version of
-- Prosody: 0.12 supports whole seconds, 13.0 microseconds.

local datetime = require "util.datetime";
local helper = require "spec.helper";
local st = helper.st;
local storage = require "spec.storage_helper";

local bed, archive;
local real = datetime.datetime;

local formats = {
	["0.12"] = function (when) return os.date("!%Y-%m-%dT%H:%M:%SZ", when); end;
	["13.0"] = function (when)
		local second = math.floor(when);
		return when == second and os.date("!%Y-%m-%dT%H:%M:%SZ", second)
			or os.date("!%Y-%m-%dT%H:%M:%S.%%06dZ", second):format(math.floor(when % 1 * 1000000));
	end;
};

-- Loads the driver as that version of Prosody does
local function become(version)
	datetime.datetime = formats[version];
	bed:reopen();
	archive = bed:open("archive", "archive");
end

before_each(function () bed = storage.new(); end);
after_each(function ()
	datetime.datetime = real;
	bed:close();
	bed = nil;
end);

-- As 13.0 parses it: the seconds, and their fraction
local function parse(stamp)
	local year, month, day, hour, min, sec = stamp:match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):([%d.]+)Z$");
	local offset = os.difftime(os.time(os.date("*t", 86400)), os.time(os.date("!*t", 86400)));
	local fraction = sec % 1;
	local whole = os.time { year = year, month = month, day = day, hour = hour, min = min,
		sec = math.floor(sec - fraction + offset), isdst = false };
	return fraction > 0 and whole + fraction or whole;
end

-- Times of a clock, close to one another and to the borders of microseconds and seconds, in order
local function times(count)
	math.randomseed(helper.seed);
	local list = {};
	for i = 1, count do
		local second = 1700000000 + math.random(0, 3);
		local kind = i % 4;
		list[i] = kind == 0 and second or kind == 1 and second + math.random()
			or second + math.random(0, 999999) / 1000000 + (kind == 2 and math.random() / 1000000 or 0);
	end
	table.sort(list);
	return list;
end

local function fill(list)
	for i, when in ipairs(list) do
		assert(archive:append("user", nil, st.message({}, tostring(i)), when, "a@example.com"));
	end
end

-- The stamp of each message
local function told(query)
	local stamps = {};
	for _, _, when in assert(archive:find("user", query)) do stamps[#stamps + 1] = datetime.datetime(when); end
	return stamps;
end

-- Queries messages before, after and between some of the stamps
local function assert_selected_by_their_stamps(count)
	local stamps = told();
	assert.equal(count, #stamps);
	for i = 1, count, 7 do
		local j = math.min(count, i + i % 5);
		local before, after, between = {}, {}, {};
		for _, stamp in ipairs(stamps) do
			local at = parse(stamp);
			if at <= parse(stamps[j]) then before[#before + 1] = stamp; end
			if at >= parse(stamps[i]) then after[#after + 1] = stamp; end
			if at >= parse(stamps[i]) and at <= parse(stamps[j]) then between[#between + 1] = stamp; end
		end
		local start, stop = parse(stamps[i]), parse(stamps[j]);
		assert.same(before, told { ["end"] = stop });
		assert.same(after, told { start = start });
		assert.same(between, told { start = start, ["end"] = stop });
		assert.equal(#between, select(2, archive:find("user", { start = start, ["end"] = stop, limit = 0, total = true })));
		local counted = 0;
		for _, n in pairs(archive:summary("user", { start = start, ["end"] = stop }).counts) do counted = counted + n; end
		assert.equal(#between, counted);
	end
end

for version in pairs(formats) do
	describe("an archive under "..version, function ()
		before_each(function () become(version); end);

		it("selects a message by its stamp, as start and as end", function ()
			local count = helper.tries(100, 500);
			fill(times(count));
			assert_selected_by_their_stamps(count);
		end);

		it("selects messages of a clock that went back in this way, too", function ()
			local list = times(100);
			for i = 1, 100, 3 do list[i], list[101 - i] = list[101 - i], list[i]; end
			fill(list);
			assert_selected_by_their_stamps(100);
		end);

		it("deletes messages up to a stamp, inclusive", function ()
			fill(times(100));
			local stamps = told();
			local left = {};
			for _, stamp in ipairs(stamps) do
				if parse(stamp) > parse(stamps[40]) then left[#left + 1] = stamp; end
			end
			assert.equal(100 - #left, archive:delete("user", { ["end"] = parse(stamps[40]) }));
			assert.same(left, told());
			assert.equal(#left, archive:delete(true, { ["end"] = parse(stamps[100]) }));
			assert.same({}, told());
		end);

		it("takes bounds that are not stamps of messages", function ()
			fill { 1000, 1001, 1002 };
			for _, stop in ipairs { math.huge, 1e15, 2^60, 1002.9 } do assert.equal(3, #told { ["end"] = stop }); end
			for _, stop in ipairs { -math.huge, -1e15, -2^60, 999.9, 0, -0.5 } do assert.equal(0, #told { ["end"] = stop }); end
			assert.equal(0, #told { ["end"] = 0/0 });
		end);
	end);
end

describe("an archive that was written under 13.0", function ()
	local list = times(100);

	before_each(function ()
		become("13.0");
		fill(list);
	end);

	it("has whole seconds under 0.12 everywhere", function ()
		become("0.12");
		local i = 0;
		for id, _, when in assert(archive:find("user")) do
			i = i + 1;
			assert.equal("integer", math.type(when));
			assert.equal(math.floor(list[i]), when);
			assert.equal(when, (select(2, archive:get("user", id))));
		end
		assert.equal(100, i);
		local summary = archive:summary("user");
		assert.equal(math.floor(list[1]), summary.earliest["a@example.com"]);
		assert.equal(math.floor(list[100]), summary.latest["a@example.com"]);
		assert.equal("integer", math.type(summary.earliest["a@example.com"]));
		assert.same({ "2023-11-14" }, archive:dates("user"));
	end);

	it("is selected under 0.12 by whole seconds", function ()
		become("0.12");
		assert_selected_by_their_stamps(100);
	end);

	it("keeps its times when 13.0 returns, with the messages added by 0.12", function ()
		become("0.12");
		fill { 1700000010.5 };
		become("13.0");
		local whens = {};
		for _, _, when in assert(archive:find("user")) do whens[#whens + 1] = when; end
		assert.same(1700000010, table.remove(whens));
		assert.same(list, whens);
		assert_selected_by_their_stamps(101);
	end);
end);
