-- Measures a storage driver at scale, inside the server that runs it: with the archives that messages.c
-- makes. tests/bench/scale.py calls these functions through the admin socket; each returns its numbers as one text.

local async = require "util.async";
local jid_bare = require "util.jid".bare;
local monotonic = require "util.time".monotonic;
local timer = require "util.timer";

local clock = os.clock; -- CPU time of the process, all its threads

local traffic = module:require "traffic";
local make_message, randomness, run_turns, sent_at =
	traffic.make_message, traffic.randomness, traffic.run_turns, traffic.sent_at;

local CONTACTS, PAGE = 200, 50;

local archive = module:open_store("archive", "archive");

local corpus; -- { many =, size =, users =, busy =, late = }

-- many: of many users; size: number of messages; users, busy: number of users, and of those with many messages;
-- late: number of messages that are out of order, in the archive of the user "late"
function module.corpus(many, size, users, busy, late)
	corpus = { many = many, size = size, users = users, busy = busy, late = late };
	assert(archive:find("nobody")); -- connects
	return size;
end

-- The busiest are those with small numbers
local function any_user(random)
	if not corpus.many then return "juliet"; end
	local unit = random(1 << 30) / (1 << 30);
	return ("user%d"):format(corpus.users * unit * unit // 1);
end

local function busy_user(random)
	return corpus.many and ("user%d"):format(random(corpus.busy)) or "juliet";
end

-- ---- Appending ----

local appended = 0;

-- Seconds of CPU for a message, less those of empty turns
function module.append(turns, per_turn)
	local random, messages, owners = randomness(appended + 1), {}, {};
	for i = 1, turns * per_turn do
		owners[i] = any_user(random);
		messages[i] = make_message(random, owners[i], CONTACTS);
	end
	local empty = run_turns(turns, function () end);
	local next_message = 0;
	local cpu = run_turns(turns, function ()
		for _ = 1, per_turn do
			next_message, appended = next_message + 1, appended + 1;
			local message = messages[next_message];
			assert(archive:append(owners[next_message], nil, message, sent_at(corpus.size + appended), jid_bare(message.attr.from)));
		end
	end);
	return ("%.9f"):format((cpu - empty) / next_message);
end

-- ---- Pages ----

local queries = {
	last = function (random)
		return busy_user(random), { reverse = true; limit = PAGE; total = true };
	end;
	time = function (random)
		return busy_user(random), { start = sent_at(corpus.size // 4 + random(corpus.size // 4)) // 1; limit = PAGE };
	end;
	late = function (random)
		return "late", { start = sent_at(corpus.late + random(corpus.late // 2)) // 1; limit = PAGE };
	end;
};

local ENOUGH, MIN_CALLS, MAX_CALLS = 0.1, 3, 500; -- seconds of CPU

local function read_page(kind, random)
	local owner, query = queries[kind](random);
	local found = 0;
	local items, total = assert(archive:find(owner, query));
	for _ in items do found = found + 1; end
	return found, query.total and total or 0;
end

-- Seconds of CPU for a page, the number of pages; messages on the first ones, and their totals
function module.page(kind)
	local random, calls, found, totals = randomness(corpus.size), 0, 0, 0;
	collectgarbage();
	local began = clock();
	while calls < MIN_CALLS or clock() - began < ENOUGH and calls < MAX_CALLS do
		local gave, total = read_page(kind, random);
		calls = calls + 1;
		if calls <= MIN_CALLS then found, totals = found + gave, totals + total; end
	end
	return ("%.9f %d %d %d"):format((clock() - began) / calls, calls, found, totals);
end

-- Elapsed seconds for pages of which nothing is cached: the mean, and one in a hundred
function module.cold(count)
	local random, times, sum = randomness(corpus.size + 1), {}, 0;
	for i = 1, count do
		local began = monotonic();
		read_page("time", random);
		times[i] = monotonic() - began;
		sum = sum + times[i];
	end
	table.sort(times);
	return ("%.9f %.9f"):format(sum / count, times[math.ceil(count * 0.99)]);
end

-- ---- Deleting ----

local TICK = 0.002; -- seconds between two turns
local WINDOW = 250; -- turns whose CPU time is compared with that of idle ones
local SETTLED = 1.3; -- times that of idle turns: more is work in the background
local SETTLE_MOST = 60; -- seconds

-- Turns of the event loop, one each TICK, until done(now, number of turns) says so. Returns the longest time that the loop was
-- held, and the number of turns
local function run_ticks(begin, done)
	local wait, end_wait = async.waiter();
	local last, longest, ticks = nil, 0, 0;
	local function tick()
		local now = monotonic();
		longest, last, ticks = math.max(longest, now - last - TICK), now, ticks + 1;
		if not done(now, ticks) then return TICK; end
		end_wait();
	end
	timer.add_task(0, function ()
		collectgarbage();
		last = monotonic();
		timer.add_task(TICK, tick);
		begin();
	end);
	wait();
	return longest, ticks;
end

-- Seconds of CPU for a turn without work
local function idle_turn()
	local cpu;
	local _, ticks = run_ticks(function () cpu = clock(); end, function (_, ticks) return ticks == WINDOW; end);
	return (clock() - cpu) / ticks;
end

-- Returns a function for each turn, which returns whether the last turns used no more CPU time than idle ones
local function background_watch(idle)
	local cpu, since = clock(), 0;
	return function ()
		since = since + 1;
		if since < WINDOW then return false; end
		local spent = (clock() - cpu) / since;
		cpu, since = clock(), 0;
		return spent <= idle * SETTLED;
	end
end

-- Calls func in the event loop, and waits until it has returned and work in the background is done, too. Its result, seconds of
-- CPU less those of the turns, and the longest time that the loop was held
local function run_beside_turns(func)
	local idle = idle_turn();
	local cpu, ended, result, is_settled;
	local held, ticks = run_ticks(function ()
		cpu = clock();
		async.runner(function ()
			result = func();
			ended = monotonic();
			is_settled = background_watch(idle);
		end):run(true);
	end, function (now)
		return ended and (is_settled() or now - ended > SETTLE_MOST);
	end);
	return result, clock() - cpu - idle * ticks, held;
end

-- Deletes messages of a range of time, of one user or of all (""). Their number, seconds of CPU, seconds that the loop was held
function module.delete(owner, first, last)
	local count, cpu, held = run_beside_turns(function ()
		return assert(archive:delete(owner == "" or owner,
			{ start = first > 1 and sent_at(first) // 1 or nil, ["end"] = sent_at(last) // 1 }));
	end);
	return ("%d %.9f %.9f"):format(count, cpu, held);
end
