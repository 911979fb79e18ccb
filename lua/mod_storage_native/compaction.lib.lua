-- Compaction in the running server. `prosodyctl mod_storage_native compact` asks for it with the file compact.request in the
-- directory of the database, which is removed once the file compact.answer is there: an object in JSON,
--
--   { state = "running", label =, done =, total = or nil, pid =, beat = changes every second }
--   { state = "done", records =, compressed = messages, before =, after = bytes of the data file }
--   { state = "failed", text = }

local json = require "util.json";
local lfs = require "lfs";
local getpid = require "util.pposix".getpid;
local time = require "util.time";
local timer = require "util.timer";

local describe = module:require "processes";

local WATCH = 1; -- seconds between two looks for a request
local SHOW = 0.2; -- seconds between two answers, while work is done
local KEEP = 60; -- seconds for which the last answer stays
local RETRY, GIVE_UP = 0.2, 10; -- seconds between two attempts to switch, while another process has the database open, and for all

local database;
local state; -- the answer while a compaction runs
local task; -- of the database, once removed records are erased
local busy_since; -- the time of the first attempt to switch

local function size()
	return lfs.attributes(database.directory.."/data.mdb", "size") or 0;
end

local written_at = 0;

local function write_answer(fields)
	written_at = time.monotonic();
	local name = database.directory.."/compact.answer";
	local part = name..".part"; -- renamed, so that nobody reads half of it
	local file = io.open(part, "w");
	if not file then return; end
	local written = file:write(json.encode(fields), "\n");
	local closed = file:close();
	if written and closed then os.rename(part, name); else os.remove(part); end
end

local function remove_answer()
	if not state then os.remove(database.directory.."/compact.answer"); end
end

-- Closes the task first: a full disk has room again then
local function finish(fields)
	if task then task:close(); end
	state, task, busy_since = nil, nil, nil;
	write_answer(fields);
	timer.add_task(KEEP, remove_answer);
end

local function fail(condition, text)
	module:log("error", "Cannot compact %s: %s (%s)", database.directory, text, condition);
	finish { state = "failed", text = text };
end

local function succeed()
	local records, compressed, before, after = state.done, task:compressed(), state.before, size();
	module:log("info", "Compacted %s: %d records, %d bytes before, %d bytes now", database.directory, records, before, after);
	finish { state = "done", records = records, compressed = compressed, before = before, after = after };
	database.settle();
end

-- ---- The steps. A thread does the work of each, and its end is an event of the database. ----

local step;

local function wait_for_others(condition, text)
	local pids = database.use():others();
	busy_since = busy_since or time.monotonic();
	if time.monotonic() - busy_since < GIVE_UP then
		timer.add_task(RETRY, step);
	elseif pids[1] then
		fail(condition, describe(pids).." the database open; run compact again once that has ended");
	else
		fail(condition, text);
	end
end

local function switch()
	database.commit(); -- a failure on a full disk ends the compaction
	if not task then return; end
	local done, condition, text = task:switch();
	if done then
		succeed();
	elseif done == false then
		step();
	elseif condition == "storage-busy" then
		wait_for_others(condition, text);
	else
		fail(condition, text);
	end
end

function step()
	if not task then return; end
	local more, done, total = task:step();
	if more == nil then
		fail(done, total);
	else
		state.done, state.total = done, total;
		if time.monotonic() - written_at >= SHOW then write_answer(state); end
		if not more then switch(); end
	end
end

local function begin()
	local condition, text;
	database.commit();
	if not state then return; end
	local found = database.use():verification();
	if found.structure == "unknown" and found.total > 0 then
		state.label, state.done, state.total = "Verifying", found.done, found.total; -- watch() tries again
		return;
	end
	task, condition, text = database.use():compact(true);
	if not task then
		fail(condition, text);
		return;
	end
	state.label = "Compacting";
	step();
end

-- Removed records would be copied: they are erased before.
local function erase_first()
	local info, text = database.info();
	if not info then
		fail("internal-server-error", text);
	elseif info.erasing == 0 then
		begin();
	else
		state.done = info.erasing;
		database.schedule_erase();
	end
end

-- ---- Requests ----

local function start()
	local handle, condition, text = database.use();
	state = { state = "running", label = "Erasing", done = 0, before = size(), pid = getpid(), beat = 0 };
	if not handle then
		fail(condition, text);
		return;
	end
	module:log("info", "Compacting %s, as prosodyctl asks", database.directory);
	erase_first();
end

local function watch()
	local request = database.directory.."/compact.request";
	local asked = lfs.attributes(request, "mode");
	if asked and not state then
		start();
	elseif state and not task then
		erase_first();
	end
	if state then
		state.beat = state.beat + 1;
		write_answer(state);
	end
	if asked then os.remove(request); end
	return WATCH;
end

-- Gives a compaction up. Waits for the thread.
local function stop(condition, text)
	if state then fail(condition, text); end
end

return function (opened)
	database = opened;
	database.on_event = step;
	function database.on_close()
		stop("storage-busy", "the server stops, or mod_storage_native is unloaded");
	end
	function database.on_failed(doing, condition, text)
		if condition == "disk-full" then
			stop(condition, text); -- the space of the copy is for messages
		elseif not task and doing == database.ERASING then
			stop(condition, text);
		end
	end
	if prosody.process_type == "prosody" then module:add_timer(WATCH, watch); end
end
