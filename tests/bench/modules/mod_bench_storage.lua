-- Measures a storage driver through Prosody's storage API, inside the server that runs it.
-- tests/bench/storage.py calls these functions through the admin socket; each returns its numbers as
-- one text. A function that waits for the event loop can be called there too.

local jid_bare = require "util.jid".bare;

local clock = os.clock; -- CPU time of the process, all its threads

local traffic = module:require "traffic";
local contact, make_message, randomness, run_turns, sent_at =
	traffic.contact, traffic.make_message, traffic.randomness, traffic.run_turns, traffic.sent_at;

local OWNER = "juliet"; -- the owner of the growing archive
local CONTACTS = 50;
local SAMPLES = 100; -- ids that are remembered, spread over the archive
local PAGE, RANGE = 50, 500; -- messages of a page, and within a range of time

local archive = module:open_store("archive", "archive");
local ids = {};

local function store(owner, message, when)
	return assert(archive:append(owner, nil, message, when, jid_bare(message.attr.from)));
end

-- ---- Filling ----

-- The SQL engines of this process delay their commits while func runs: filling is not measured
local function with_one_commit(func)
	local connections = {};
	assert(archive:find("nobody")); -- connects
	for _, engine in pairs(module:shared("/*/sql/connections")) do
		local connection = engine.conn;
		connections[engine] = connection;
		engine.conn = {
			prepare = function (_, sql) return connection:prepare(sql); end;
			commit = function () return true; end;
		};
	end
	func();
	for engine, connection in pairs(connections) do
		engine.conn = connection;
		assert(connection:commit());
	end
end

-- Appends messages number `first` to `last` of `size` to the owner's archive. Bytes of their XML
function module.fill(first, last, size)
	local payload, random = 0, randomness(first);
	with_one_commit(function ()
		for n = first, last do
			local message = make_message(random, OWNER, CONTACTS);
			payload = payload + #tostring(message);
			local id = store(OWNER, message, sent_at(n));
			if n % (size // SAMPLES) == 0 then ids[n // (size // SAMPLES)] = id; end
		end
	end);
	return payload;
end

local function user(n)
	return ("user%d"):format(n);
end

-- One message for each of `count` other users, in turn. Bytes of their XML
function module.fill_users(count, round)
	local payload, random = 0, randomness(round);
	with_one_commit(function ()
		for n = 1, count do
			local message = make_message(random, user(n), CONTACTS);
			payload = payload + #tostring(message);
			store(user(n), message, sent_at(round));
		end
	end);
	return payload;
end

-- ---- Measuring ----

local round = 1;

-- Seconds of CPU and elapsed seconds for appending one message, less those of empty turns
function module.append(users, turns, per_turn)
	round = round + 1;
	local random, messages, owners = randomness(round), {}, {};
	for i = 1, turns * per_turn do
		owners[i] = user(1 + random(users));
		messages[i] = make_message(random, owners[i], CONTACTS);
	end
	local empty_cpu, empty_held = run_turns(turns, function () end);
	local next_message, when = 0, sent_at(1000 * round);
	local cpu, held = run_turns(turns, function ()
		for _ = 1, per_turn do
			next_message = next_message + 1;
			store(owners[next_message], messages[next_message], when);
		end
	end);
	return ("%.9f %.9f"):format((cpu - empty_cpu) / next_message, (held - empty_held) / next_message);
end

local queries = {
	last = function () return { reverse = true; limit = PAGE }; end;
	after = function (random) return { after = ids[random(SAMPLES - 1)]; limit = PAGE }; end;
	contact = function (random) return { with = contact(random(CONTACTS)); reverse = true; limit = PAGE }; end;
	range = function (random, size)
		local first = random(size - RANGE);
		return { start = math.floor(sent_at(first)); ["end"] = math.floor(sent_at(first + RANGE)); limit = PAGE };
	end;
};

-- Only counts: of a contact, of a long time range, of a contact in a long time range
function queries.count_contact(random)
	return { with = contact(random(CONTACTS)); limit = 0 };
end

function queries.count_range(random, size)
	return { start = math.floor(sent_at(random(size // 2))); ["end"] = math.floor(sent_at(size - random(size // 4))); limit = 0 };
end

function queries.count_both(random, size)
	local query = queries.count_range(random, size);
	query.with = contact(random(CONTACTS));
	return query;
end

-- The garbage collector while something is measured: as the server has it, or otherwise. Return what ends it
local collectors = {
	configured = function () return function () end; end;
	generational = function ()
		local before = collectgarbage("generational", 20, 50); -- as Prosody's option "gc" has it
		return function () collectgarbage(before); end;
	end;
	none = function ()
		collectgarbage("stop");
		return function () collectgarbage("restart"); end;
	end;
};

local ENOUGH, MIN_CALLS, MAX_CALLS = 0.1, 3, 500; -- seconds of CPU
local MAX_UNCOLLECTED = 50; -- calls whose garbage may lie about

-- Seconds of CPU for a query whose iterator is run to its end; messages that the first ones gave, and their totals
function module.query(kind, total, size, collector)
	local random = randomness(size);
	local calls, found, totals, spent = 0, 0, 0, 0;
	local max_calls = collector == "none" and MAX_UNCOLLECTED or MAX_CALLS;
	collectgarbage();
	local restore = collectors[collector]();
	while calls < MIN_CALLS or spent < ENOUGH and calls < max_calls do
		local query, gave = queries[kind](random, size), 0;
		query.total = total;
		local began = clock();
		local items, count = assert(archive:find(OWNER, query));
		for _ in items do gave = gave + 1; end
		spent, calls = spent + clock() - began, calls + 1;
		if calls <= MIN_CALLS then found, totals = found + gave, totals + (total and count or 0); end
	end
	restore();
	collectgarbage();
	return ("%.9f %d %d"):format(spent / calls, found, totals);
end
