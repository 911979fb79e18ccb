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

local TICK, SETTLE = 0.001, 0.5; -- seconds between two turns; of turns afterwards, for work in the background

-- Calls func in the event loop. Its result, seconds of CPU, and seconds of the longest time that the loop was held,
-- at most those of a turn more
local function run_beside_turns(func)
	local wait, done = async.waiter();
	local began, cpu, last, longest, ended, result;
	local function tick()
		local now = monotonic();
		longest, last = math.max(longest, now - last - TICK), now;
		if not ended or now - ended < SETTLE then return TICK; end
		cpu = clock() - cpu;
		done();
	end
	timer.add_task(0, function ()
		collectgarbage();
		began, cpu, longest = monotonic(), clock(), 0;
		last = began;
		timer.add_task(TICK, tick);
		async.runner(function ()
			result = func();
			ended = monotonic();
		end):run(true);
	end);
	wait();
	return result, cpu, longest;
end

-- Deletes messages of a range of time, of one user or of all (""). Their number, seconds of CPU, seconds that the loop was held
function module.delete(owner, first, last)
	local count, cpu, held = run_beside_turns(function ()
		return assert(archive:delete(owner == "" or owner,
			{ start = first > 1 and sent_at(first) // 1 or nil, ["end"] = sent_at(last) // 1 }));
	end);
	return ("%d %.9f %.9f"):format(count, cpu, held);
end
