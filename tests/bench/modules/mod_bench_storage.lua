-- Measures a storage driver through Prosody's storage API, inside the server that runs it.
-- tests/bench/storage.py calls these functions through the admin socket; each returns its numbers as
-- one text. A function that waits for the event loop can be called there too.

local async = require "util.async";
local datetime = require "util.datetime";
local jid_bare = require "util.jid".bare;
local monotonic = require "util.time".monotonic;
local st = require "util.stanza";
local timer = require "util.timer";

local clock = os.clock; -- CPU time of the process, all its threads

local OWNER = "juliet"; -- the owner of the growing archive
local CONTACTS = 50;
local SAMPLES = 100; -- ids that are remembered, spread over the archive
local EPOCH, SPACING = 1500000000, 3.25; -- times of the messages, in seconds
local PAGE, RANGE = 50, 500; -- messages of a page, and within a range of time
local fractional = pcall(datetime.datetime, 0.5); -- Prosody 0.12 keeps whole seconds

local archive = module:open_store("archive", "archive");
local ids = {};

-- The same numbers for every driver
local function randomness(seed)
	local state = seed;
	return function (below)
		state = (state * 6364136223846793005 + 1442695040888963407) & 0x7fffffffffffffff;
		return (state >> 33) % below;
	end
end

local words = {};
for word in ([[the train is late and I walk home from station do not wait for me at eight we could meet in
	front of library tomorrow if it rains bring umbrella she said that nobody knows where they went after concert]]
	):gmatch("%a+") do
	words[#words + 1] = word;
end

local function make_body(random)
	local text = {};
	for i = 1, 4 + random(14) do text[i] = words[1 + random(#words)]; end
	return table.concat(text, " ");
end

local function make_id(random)
	return ("%08x-%04x-4%03x-9%03x-%08x%04x"):format(random(1 << 30), random(1 << 16), random(1 << 12), random(1 << 12),
		random(1 << 30), random(1 << 16));
end

local function contact(n)
	return ("friend%d@contacts.test"):format(n);
end

-- A chat message as mod_mam stores it: about 300 bytes
local function make_message(random, owner)
	local id = make_id(random);
	return st.message({ from = contact(random(CONTACTS)).."/phone."..(1000 + random(9000)), to = owner.."@"..module.host,
			type = "chat", id = id })
		:text_tag("body", make_body(random))
		:tag("origin-id", { xmlns = "urn:xmpp:sid:0", id = id }):up()
		:tag("request", { xmlns = "urn:xmpp:receipts" }):up()
		:tag("markable", { xmlns = "urn:xmpp:chat-markers:0" }):up();
end

local function sent_at(n)
	local when = EPOCH + n * SPACING;
	return fractional and when or math.floor(when);
end

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
			local message = make_message(random, OWNER);
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
			local message = make_message(random, user(n));
			payload = payload + #tostring(message);
			store(user(n), message, sent_at(round));
		end
	end);
	return payload;
end

-- ---- Measuring ----

-- Calls func in `count` turns of the event loop. Seconds of CPU, and elapsed seconds
local function run_turns(count, func)
	local wait, done = async.waiter();
	local cpu, began;
	local function turn()
		if count == 0 then
			cpu, began = clock() - cpu, monotonic() - began;
			done();
			return;
		end
		count = count - 1;
		func();
		timer.add_task(0, turn); -- tasks that func has scheduled come first
	end
	timer.add_task(0, function ()
		collectgarbage();
		cpu, began = clock(), monotonic();
		turn();
	end);
	wait();
	return cpu, began;
end

local round = 1;

-- Seconds of CPU and elapsed seconds for appending one message, less those of empty turns
function module.append(users, turns, per_turn)
	round = round + 1;
	local random, messages, owners = randomness(round), {}, {};
	for i = 1, turns * per_turn do
		owners[i] = user(1 + random(users));
		messages[i] = make_message(random, owners[i]);
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
