-- An archive so large that its counts of deleted messages are kept in several levels.

local generate = require "spec.generate";
local storage = require "spec.storage_helper";

local COUNT = 150000;
local WITHS = { "a@example.com/1", "a@example.com/2", "b@example.com" };

-- Each of these goes on where the one before has ended.
describe("an archive of 150 000 messages", function ()
	local bed, archive, ids;
	local there = {}; -- whether the message that was appended as the nth is there; its time is n

	local function delete(expected, query)
		local first, last = query.start or 1, query["end"] or COUNT;
		for n = first, last do
			if not query.with or WITHS[n % 3 + 1]:find(query.with, 1, true) then there[n] = false; end
		end
		assert.equal(expected, archive:delete("user", query));
	end

	setup(function ()
		bed = storage.new { loop = true };
		archive, ids = bed:open("archive", "archive"), {};
		local message = storage.message("hello");
		for n = 1, COUNT do
			ids[n] = assert(archive:append("user", nil, message, n, WITHS[n % 3 + 1]));
			there[n] = true;
		end
	end);
	teardown(function () bed:close(); end);

	-- For each correspondent that is asked for, how many messages there are up to the nth
	local function prefix_sums()
		local sums = {};
		for _, with in ipairs { "", "a@example.com", "a@example.com/1", "b@example.com" } do
			local list, sum = { [0] = 0 }, 0;
			for n = 1, COUNT do
				if there[n] and WITHS[n % 3 + 1]:find(with, 1, true) then sum = sum + 1; end
				list[n] = sum;
			end
			sums[with] = list;
		end
		return sums;
	end

	-- Counts, and first and last messages, of random parts of the archive
	local function check(seed)
		local random, sums = generate.new(seed), prefix_sums();
		for _ = 1, 300 do
			local first, last = random:below(COUNT), random:below(COUNT);
			if first > last then first, last = last, first; end
			for with, list in pairs(sums) do
				local query = { start = first, ["end"] = last, with = with ~= "" and with or nil, total = true, limit = 3,
					reverse = random:below(2) == 1 };
				local items, total = storage.items(archive:find("user", query));
				assert.equal(list[last] - list[first - 1], total);
				assert.equal(math.min(3, total), #items);
				for i, item in ipairs(items) do
					local rank = query.reverse and list[last] - i + 1 or list[first - 1] + i;
					assert.equal(rank, list[item.when]);
					assert.equal(rank - 1, list[item.when - 1]);
					assert.equal(ids[item.when], item.id);
				end
			end
		end
	end

	it("is counted without holes", function ()
		check(1);
	end);

	it("is counted with many holes, in all of it and of a correspondent's", function ()
		for n = 7, COUNT, 7 do
			there[n] = false;
			assert.equal(1, archive:delete("user", { key = ids[n] }));
		end
		check(2);
		bed.turn();
		check(3);
	end);

	it("is counted when large parts are deleted inside, in front and at the end", function ()
		local sums = prefix_sums();
		delete(sums[""][71000] - sums[""][59999], { start = 60000, ["end"] = 71000 });
		delete(sums["b@example.com"][120000] - sums["b@example.com"][99999],
			{ start = 100000, ["end"] = 120000, with = "b@example.com" });
		check(4);
		delete(sums[""][5000], { ["end"] = 5000 });
		delete(sums[""][COUNT] - sums[""][144999], { start = 145000 });
		check(5);
	end);

	it("is the same after a reload", function ()
		bed:reopen();
		archive = bed:open("archive", "archive");
		check(6);
	end);

	it("is read to its end, both ways", function ()
		local left = prefix_sums()[""][COUNT];
		for _, reverse in ipairs { false, true } do
			local count, last = 0, reverse and COUNT + 1 or 0;
			for id, _, when in archive:find("user", { reverse = reverse }) do
				count = count + 1;
				assert(there[when] and ids[when] == id and (when > last) ~= reverse, id);
				last = when;
			end
			assert.equal(left, count);
		end
	end);

	it("is truncated, and emptied", function ()
		local left = prefix_sums()[""][COUNT];
		assert.equal(left - 70000, archive:delete("user", { truncate = 70000 }));
		local rest = left - 70000;
		for n = 1, COUNT do
			if there[n] and rest > 0 then
				there[n], rest = false, rest - 1;
			end
		end
		check(7);
		assert.equal(70000, archive:delete("user"));
		assert.same({ "", 0 }, { storage.bodies(archive:find("user", { total = true })) });
		assert.same({}, storage.sorted(archive:users()));
	end);
end);
