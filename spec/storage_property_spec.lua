-- Random sequences of operations on the storage driver, compared with a model step by step. A failing
-- sequence is reduced to the operations that it needs, and printed.

local helper = require "spec.helper";
local generate = require "spec.generate";
local new_world = require "spec.storage_operations".new_world;

local ROUNDS = helper.tries(2, 60);
local STEPS = 400;

-- The frequency of each operation
local WEIGHTS = {
	append = 60, append_many = 3, append_key = 12, append_own_id = 2, find = 60, find_everything = 2, walk = 6,
	append_while_iterating = 2, get = 12, set = 12, delete = 6, delete_one = 16, delete_holes = 4, delete_front = 3,
	delete_tail = 3, delete_many = 2, erase = 4, truncate = 3, delete_of_all = 1, summary = 4, dates = 2, archive_users = 2,
	keyval_get = 3, keyval_set = 6, map_set = 10, map_set_keys = 6, map_get = 6, map_get_all = 2, map_delete_all = 1,
	keyval_users = 2, stores = 4, purge = 1, reopen = 5, turn = 10, compact = 3,
};

-- The clock, see storage_operations.lua, and further options
local KINDS = {
	["of all kinds"] = { 1, {} };
	["in archives with many holes"] = { 0, { delete_one = 80, delete_holes = 40, append_many = 6 } };
	["that expire old messages"] = { 0, { delete_front = 40, delete_of_all = 4, append_many = 6 } };
	["that delete many messages and erase them later"] = { 1, { append_many = 12, delete_many = 20, erase = 20, set = 30 } };
	["that take messages back"] = { 1, { delete_tail = 40, delete_one = 20 } };
	["that replace messages with keys"] = { 1, { append_key = 120, append_own_id = 30, truncate = 15 } };
	["while the store is compacted"] = { 1, { compact = 60, delete_one = 40, append_many = 6 } };
	["with clocks that go astray"] = { 2, { set = 60, append_many = 6 } };
	["with clocks that are wrong for a while"] = { 3, { append_many = 12, find = 120, walk = 20, dates = 6 } };
};

-- A function that chooses an operation by weight.
local function chooser(more)
	local names, sum = {}, 0;
	for name in pairs(WEIGHTS) do table.insert(names, name); end
	table.sort(names);
	local function weight(name) return more[name] or WEIGHTS[name]; end
	for _, name in ipairs(names) do sum = sum + weight(name); end
	return function (random)
		local place, i = random:below(sum), 1;
		while place > weight(names[i]) do
			place, i = place - weight(names[i]), i + 1;
		end
		return names[i];
	end;
end

-- Runs a sequence: the seeds of its steps. Returns nil, or at which step it failed, why, and the log.
local function run(options, seeds)
	local world, at = new_world(options), 0;
	local ok, err = pcall(function ()
		for i, seed in ipairs(seeds) do
			at = i;
			world:step(seed, options.choose);
		end
		world:check_everything();
		world:reopen();
		world:check_everything();
	end);
	world.bed:close();
	if not ok then return at, err, world.log; end
end

local function without(seeds, first, count)
	local rest = table.move(seeds, 1, first - 1, 1, {});
	return table.move(seeds, first + count, #seeds, first, rest);
end

-- Removes steps without which the sequence still fails.
local function shorten(options, seeds)
	local count = #seeds;
	while count >= 1 do
		local first = 1;
		while first <= #seeds do
			local rest = without(seeds, first, count);
			if run(options, rest) then seeds = rest; else first = first + count; end
		end
		count = count // 2;
	end
	return seeds;
end

-- Fails with the shortest sequence found.
local function report(options, seed, seeds)
	local most = options.many;
	options.many = 1;
	while options.many < most and not run(options, seeds) do options.many = options.many * 3; end
	local _, err, log = run(options, shorten(options, seeds));
	error(("with SEED=%d: %s\n%s"):format(seed, err or "it fails now and then", table.concat(log or {}, "\n")), 0);
end

describe("operations on the storage driver", function ()
	for name, kind in pairs(KINDS) do
		it(("%s leave what they leave in a model"):format(name), function ()
			for seed = helper.seed, helper.seed + ROUNDS - 1 do
				local options = { astray = kind[1], choose = chooser(kind[2]), many = 300, loop = seed % 2 == 0 };
				local random, seeds = generate.new(seed), {};
				for i = 1, STEPS do seeds[i] = random:below(math.maxinteger); end
				local failed_at = run(options, seeds);
				if failed_at then report(options, seed, without(seeds, failed_at + 1, #seeds)); end
			end
		end);
	end
end);
