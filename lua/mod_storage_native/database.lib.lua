-- The database of this server: opened when it is first used, committed at the end of each turn of the event loop, synced to
-- disk in the background

local datetime = require "util.datetime".datetime;
local lfs = require "lfs";
local server = require "net.server";
local timer = require "util.timer";
local time = require "util.time";
local stanza_mt = require "util.stanza".stanza_mt;

local native = module:require "native"("store");

local RETRY = 10; -- after opening has failed, the pause until the next attempt is so many times as long as that took
-- With these conditions the next attempt waits for another file
local FINAL = { ["storage-corrupt"] = true, ["storage-foreign"] = true, ["storage-version"] = true, ["storage-log-corrupt"] = true };
local REPEAT = 60; -- seconds before the same error is logged again
local TURN_SECONDS = 0.05; -- a transaction is not kept open for longer, nor for more writes
local TURN_WRITES = 1000;
local MAX_MILLISECONDS = 0x7FFFFFFF;
local NONE_INTERVAL = 30; -- seconds after which the operating system writes dirty pages by itself, more or less
local ERASE_RECORDS, ERASE_PAUSE = 2000, 0.02; -- records that are erased at once, in some milliseconds, and seconds between
local ERASE_RETRY = 10; -- seconds after an error that may pass
local COUNT_COLLECTIONS, COUNT_PAUSE = 200, 0.02; -- the same for collections whose bytes are counted

-- Not logged: callers expect these
local EXPECTED = { ["item-not-found"] = true, ["quota-limit"] = true, ["unsupported-datatype"] = true };

-- directory = of the database, once the options are read; whole_seconds = whether util.datetime formats whole seconds only, as on 0.12
local database = { whole_seconds = not pcall(datetime, 0.5) };

local options;
local handle, watch; -- the open database, and the watch of its descriptor
local failure; -- { condition, text, retry, file } of the last attempt to open it
local logged = {}; -- operation and condition -> time of the last log line
local in_loop = false; -- the event loop runs, so turns end
local batch = false; -- in database.batch(), which commits
local turn_began, turn_writes = 0, 0;
local commit_scheduled, sync_scheduled, erase_scheduled = false, false, false;
local waiting = {}; -- { transaction, callback } in order of transactions
local timed; -- { transaction, since } of the commit whose sync is timed, one after another
local this_turn = {}; -- callbacks that wait for the open transaction to be durable

-- A set of growing numbers. A disk may be full for days: only the first and last of consecutive numbers are kept.
local function number_set()
	local ranges = {};
	return setmetatable({}, {
		__newindex = function (_, number)
			local last = ranges[#ranges];
			if last and number <= last.to + 1 then
				last.to = math.max(last.to, number);
			else
				ranges[#ranges + 1] = { from = number, to = number };
			end
		end;
		__index = function (_, number)
			for i = #ranges, 1, -1 do
				if not number or number > ranges[i].to then return nil; end
				if number >= ranges[i].from then return true; end
			end
		end;
	});
end

-- For modules that acknowledge their work, such as mod_smacks. The other fields are functions, see README.md.
local turns = module:shared "/*/storage_native/turns";
turns.number = turns.number or 1; -- of this turn of the event loop, if it writes; grows with the commit at its end
turns.lost = turns.lost or number_set(); -- numbers of the turns with a failed commit
local structure; -- of the data file, as it was logged: "sound", "damaged", "unknown": it is being verified, "waiting": not yet
local to_commit = {}; -- callbacks that wait for the end of the turn
local turn_failure; -- { condition, text } of the first commit of the turn that has failed

local function read_options()
	local reader = module:require "option_reader";
	return reader.read(reader.of_scope(module:require "options", "server"));
end

-- Reads the options. prosodyctl loads the module before it runs a command: log lines about options would appear among the
-- results of the command, so there the options are read when the database is used.
function database.configure()
	options = options or read_options();
	database.directory = options.storage_native_path;
end

local function milliseconds()
	return math.floor(time.monotonic() * 1000);
end

-- To be replaced: called with the arguments of each failure
function database.on_failed() end

-- Logs an error, unless it was logged a short time ago, and returns it. doing: with %s for the directory. host: whose data it was
function database.failed(doing, condition, text, host)
	if condition == "host-full" then text = host..": "..text; end
	local now, kind = time.now(), doing.." "..(condition == "host-full" and text or condition);
	if not EXPECTED[condition] and now - (logged[kind] or 0) >= REPEAT then
		logged[kind] = now;
		module:log("error", "Cannot "..doing..": %s (%s)", options.storage_native_path, text, condition);
	end
	database.on_failed(doing, condition, text);
	return nil, condition, text;
end
local failed = database.failed;

local function call_all(callbacks, ...)
	for _, callback in ipairs(callbacks) do
		local ok, err = xpcall(callback, debug.traceback, ...);
		if not ok then
			module:log("error", "Error in a callback of when_durable or when_committed: %s", err);
		end
	end
end

-- To be replaced: called with the seconds from a commit until it was durable; and with those that the disk took for a sync
function database.on_durable() end
function database.on_sync() end

local function call_durable()
	local durable, ready = handle:durable(), {};
	if timed and timed.transaction <= durable then
		database.on_durable(time.monotonic() - timed.since);
		timed = nil;
	end
	while waiting[1] and waiting[1].transaction <= durable do
		ready[#ready + 1] = table.remove(waiting, 1).callback;
	end
	call_all(ready, true);
end

-- Committed transactions will not become durable
local function fail_waiting(condition, text)
	local callbacks = {};
	for i, entry in ipairs(waiting) do callbacks[i] = entry.callback; end
	waiting = {};
	call_all(callbacks, nil, condition, text);
end

-- ---- Durability ----

local sync;
local sync_began; -- time of the sync that is under way

-- The event loop may have been busy when it ended, so this is the most that the disk has taken
local function time_sync()
	if sync_began and not handle:is_syncing() then
		database.on_sync(time.monotonic() - sync_began);
		sync_began = nil;
	end
end

-- One timer, for the earliest time that was asked for
local function schedule_sync(seconds)
	local at = time.monotonic() + seconds;
	if sync_scheduled and sync_scheduled <= at then return; end
	sync_scheduled = at;
	timer.add_task(seconds, function ()
		if sync_scheduled ~= at then return; end
		sync_scheduled = false;
		if handle then sync(); end
	end);
end

function sync()
	time_sync();
	local wait, condition, text = handle:sync(milliseconds());
	if not sync_began and handle:is_syncing() then sync_began = time.monotonic(); end
	if not wait then
		failed("sync %s to disk", condition, text);
		if condition == "io-error" then fail_waiting(condition, text); end -- permanent; others may pass
		wait = 1000;
	end
	if wait >= 0 then schedule_sync(wait / 1000); end
end

-- ---- The structure of the data file ----

local function log_damage(found)
	local page = found.problem and ("page %d %s"):format(found.bad_page, found.problem) or "it was found damaged before";
	module:log("error", "Damaged file %s/data.mdb: %s. It is read, but nothing is written to it any more. Stop Prosody, and"
		.." restore the last backup: prosodyctl mod_storage_native restore FILE --replace; or save what can be read:"
		.." prosodyctl mod_storage_native export --to internal", options.storage_native_path, page);
end

-- Logs what has changed since the last call
local function log_structure()
	local found = handle:verification();
	local state = found.structure == "unknown" and not found.running and "waiting" or found.structure;
	if state == structure then return; end
	if state == "unknown" then
		module:log("info", "Verifying the structure of %s/data.mdb in the background, %d pages", options.storage_native_path, found.total);
	elseif state == "damaged" then
		log_damage(found);
	elseif state == "sound" and structure then
		module:log("info", "Verified the structure of %s/data.mdb: no damage", options.storage_native_path);
	end
	structure = state;
end

-- To be replaced: called when work in the background has ended
function database.on_event() end

-- Calls the callbacks whose writes are durable
function database.settle()
	sync();
	log_structure();
	call_durable();
end

local function on_event()
	if not handle then return; end
	handle:event_clear();
	database.on_event();
	if handle then database.settle(); end
end

-- ---- Turns ----

local function fail_turn(condition, text)
	local callbacks = this_turn;
	this_turn = {};
	call_all(callbacks, nil, condition, text);
end

-- Calls the callbacks that wait for the end of the turn
local function end_turn()
	local callbacks, failed_with = to_commit, turn_failure;
	to_commit, turn_failure = {}, nil;
	turns.number = turns.number + 1;
	if failed_with then
		call_all(callbacks, nil, failed_with[1], failed_with[2]);
	else
		call_all(callbacks, true);
	end
end

-- A turn with many writes is committed in parts, so only at its end all of its writes are committed
function turns.is_open()
	return commit_scheduled;
end

function turns.when_committed(callback)
	if turns.is_open() then
		to_commit[#to_commit + 1] = callback;
	else
		callback(true);
	end
end

function database.commit()
	turn_writes = 0;
	if not handle then return true; end
	local writes, began = handle:pending(), time.monotonic();
	local ok, condition, text = handle:commit();
	if writes > 0 and options.storage_native_sync == "commit" then database.on_sync(time.monotonic() - began); end
	if not ok then
		failed("write to %s", condition, text);
		if in_loop then
			turns.lost[turns.number] = true;
			turn_failure = turn_failure or { condition, text };
		end
		fail_turn(condition, text);
		return nil, condition, text;
	end
	local transaction = handle:committed();
	if not timed and transaction > handle:durable() then
		timed = { transaction = transaction, since = time.monotonic() };
	end
	for _, callback in ipairs(this_turn) do
		waiting[#waiting + 1] = { transaction = transaction, callback = callback };
	end
	this_turn = {};
	if in_loop or prosody.process_type ~= "prosody" then sync(); end -- earlier Prosody may fork, so no thread may be started
	call_durable();
	return true;
end
turns.commit = database.commit;

local function end_of_turn()
	if not commit_scheduled then return; end -- the module has been unloaded
	commit_scheduled = false;
	database.commit();
	end_turn();
end

-- To be called after each write. Returns the result of the write. host: whose data it was
function database.wrote(ok, condition, text, host)
	local _;
	if not ok then _, condition, text = failed("write to %s", condition, text, host); end
	turn_writes = turn_writes + 1;
	if in_loop then
		if turn_writes == 1 then turn_began = time.monotonic(); end
		if turn_writes >= TURN_WRITES or time.monotonic() - turn_began > TURN_SECONDS then
			local committed, why, detail = database.commit();
			if not committed then return nil, why, detail; end
		elseif not commit_scheduled then
			commit_scheduled = true;
			timer.add_task(0, end_of_turn);
		end
	elseif not batch or turn_writes >= TURN_WRITES then
		local committed, why, detail = database.commit();
		if not committed then return nil, why, detail; end
	end
	return ok, condition, text;
end

-- Runs a function and commits its writes in as few transactions as possible, also without an event loop.
function database.batch(callback)
	local before = batch;
	batch = true;
	local ok, err = pcall(callback);
	batch = before;
	local committed, condition, text = database.commit();
	if not ok then error(err, 0); end
	return committed, condition, text;
end

function database.when_durable(callback)
	if not handle or (handle:pending() == 0 and handle:durable() >= handle:committed()) then
		callback(true);
	elseif handle:pending() > 0 then
		this_turn[#this_turn + 1] = callback;
	else
		waiting[#waiting + 1] = { transaction = handle:committed(), callback = callback };
	end
end

-- ---- Erasing removed records, a few at a time ----

database.ERASING = "erase records in %s";

local erase;

function database.schedule_erase(seconds)
	if erase_scheduled or not in_loop then return; end
	erase_scheduled = true;
	timer.add_task(seconds or ERASE_PAUSE, erase);
end

function erase()
	erase_scheduled = false;
	if not handle then return; end
	local more, condition, text = handle:erase(ERASE_RECORDS);
	if more == nil then
		failed(database.ERASING, condition, text);
		if condition ~= "storage-corrupt" then database.schedule_erase(ERASE_RETRY); end
		return;
	end
	database.wrote(true);
	if more then database.schedule_erase(); end
end

-- ---- Counting the bytes of hosts, if any has a limit ----

-- To be replaced: whether any host has a limit
function database.is_host_limited() end

local function count()
	if not handle or not in_loop then return; end
	local more, condition, text = handle:count(database.is_host_limited() and COUNT_COLLECTIONS or 0);
	if more == nil then failed("count the bytes of hosts in %s", condition, text); end
	if handle:pending() > 0 then database.wrote(true); end
	if more then timer.add_task(COUNT_PAUSE, count); end
end

-- For mod_native: the bytes of a host that has a limit
function database.host_figures(host, limit)
	local bytes, complete;
	if handle and limit > 0 then bytes, complete = handle:host_bytes(host); end
	if not bytes then return {}; end
	local size = { name = "host_size", value = bytes, unit = "bytes", limit = limit };
	return { size, not complete and { name = "complete", value = false } or nil };
end

-- ---- Opening and closing ----

-- To be replaced: called with the id of a message that cannot be read, and was skipped
function database.on_damaged() end

local function damaged(id)
	database.on_damaged(id);
	module:log("error", "Skipped a damaged message in %s, run prosodyctl mod_storage_native check: '%s'",
		options.storage_native_path, id);
end

local function watch_events()
	if in_loop and handle and not watch then
		handle:keep_open();
		watch = server.watchfd(handle:event_fd(), on_event);
	end
end

local function unwatch_events()
	if watch then
		watch:close();
		watch = nil;
	end
end

-- What is left to do of earlier
local function start_upkeep()
	database.schedule_erase();
	count();
end

-- Differs if the file is another one or has been changed
local function file_state()
	local file = lfs.attributes(options.storage_native_path.."/data.mdb");
	return file and ("%d %d %d %d"):format(file.ino, file.size, file.modification, file.change);
end

local function may_retry(now)
	if FINAL[failure.condition] then return file_state() ~= failure.file; end
	return now >= failure.retry;
end

-- ms between a commit and its fdatasync; 0: each commit waits for it
local function sync_interval()
	if options.storage_native_sync == "commit" then return 0; end
	local seconds = options.storage_native_sync == "none" and NONE_INTERVAL or options.storage_native_sync_interval;
	return math.max(1, math.floor(math.min(seconds * 1000, MAX_MILLISECONDS)));
end

local function open()
	local began = time.monotonic();
	if failure and not may_retry(began) then
		return nil, failure.condition, failure.text;
	end
	local condition, text;
	database.configure();
	lfs.mkdir(prosody.paths.data); -- a new server may not have it yet
	handle, condition, text = native.open {
		directory = options.storage_native_path;
		interval = sync_interval();
		max_bytes = math.floor(options.storage_native_max_size);
		verify = options.storage_native_verify;
		anew = prosody.process_type ~= "prosody";
		reads_all = prosody.process_type ~= "prosody";
		metatable = stanza_mt;
		damaged = damaged;
		whole_seconds = database.whole_seconds;
	};
	if not handle then
		local retry = began + RETRY * (time.monotonic() - began);
		failure = { condition = condition, text = text, retry = retry, file = file_state() };
		return failed("open %s", condition, text);
	end
	if failure then
		failure = nil;
		module:log("info", "Opened %s again", options.storage_native_path);
	end
	local replayed, rejected = handle:replayed();
	if replayed > 0 then
		module:log("warn", "Unclean shutdown: applied the turns that only the log had, %d, to %s", replayed, options.storage_native_path);
	end
	if rejected then
		module:log("error", "Foreign log: renamed the files log.* in %s to rejected.*, because they belong to another data.mdb",
			options.storage_native_path);
	end
	structure = nil;
	watch_events();
	if in_loop then sync(); end
	log_structure();
	start_upkeep();
	return handle;
end

-- The handle of the open database. Until the event loop runs Prosody may fork, and a child must open the database itself.
function database.use()
	if handle and (in_loop or handle:mine()) then return handle; end
	if handle then
		handle:close();
		handle = nil;
	end
	return open();
end

-- The configuration has been read again. Other options need a reload of the module.
function database.reconfigure()
	count();
	local before, now = options.storage_native_max_size, read_options().storage_native_max_size;
	if now == before then return; end
	options.storage_native_max_size = now;
	if handle then handle:set_max(math.floor(now)); end
	module:log("info", "Changed storage_native_max_size from %d to %d bytes", before, now);
end

function database.loop_started()
	in_loop = true;
	watch_events();
	if handle then
		sync();
		log_structure();
		start_upkeep();
	end
end

function database.flush()
	if not handle then return; end
	database.commit();
	local ok, condition, text = handle:flush();
	call_durable();
	if not ok then
		failed("sync %s to disk", condition, text);
		fail_waiting(condition, text);
	end
end

-- To be replaced: called before the database is closed
function database.on_close() end

function database.close()
	if not handle then return; end
	database.on_close();
	database.flush();
	unwatch_events();
	handle:close();
	handle, timed, sync_began = nil, nil, nil;
end

function database.unload()
	database.close();
	commit_scheduled = false;
	end_turn();
	turns.is_open, turns.when_committed, turns.commit = nil, nil, nil;
end

-- The numbers of the open database, and for how many seconds the timed commit has been waiting; or nil, the reason
function database.info()
	if not handle then
		return nil, failure and failure.text or "nothing has been read or written since the module was loaded";
	end
	local info, condition, text = handle:info();
	if not info then return nil, text or condition; end
	info.verification = handle:verification();
	local waits = timed and timed.transaction > info.durable; -- the event may not have been handled yet
	return info, waits and time.monotonic() - timed.since or 0;
end

return database;
