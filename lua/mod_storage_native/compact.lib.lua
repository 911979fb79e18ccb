-- prosodyctl mod_storage_native compact: by itself, or in the running server, see compaction.lib.lua

local json = require "util.json";
local lfs = require "lfs";
local monotonic = require "util.time".monotonic;
local sleep = require "socket".sleep;

local describe = module:require "processes";
local terminal = module:require "terminal";
local tool = module:require "tool";

local bytes, fail = terminal.bytes, tool.fail;

local REQUEST, ANSWER = tool.directory.."/compact.request", tool.directory.."/compact.answer";
local ERASE_RECORDS = 5000;
local PAUSE = 0.1; -- seconds between two looks
local BUSY_WAIT = 10; -- seconds for which another process may have the database open
local ASKED_WAIT = 10; -- seconds for the server to see a request
local SILENCE = 30; -- seconds without a change of the answer

local function size()
	return lfs.attributes(tool.file, "size") or 0;
end

local function report(records, compressed, before, after)
	terminal.print("%s: %d records, %s before, %s now", tool.file, records, bytes(before), bytes(after));
	if compressed > 0 then
		terminal.print("Compressed %d messages that an earlier version has stored", compressed);
	end
	return 0;
end

-- ---- Here ----

local function erase(handle)
	local progress, erased = terminal.progress("Erasing"), 0;
	local more, condition, text;
	repeat
		more, condition, text = handle:erase(ERASE_RECORDS);
		if more ~= nil then
			local ok;
			ok, condition, text = handle:commit();
			if not ok then more = nil; end
		end
		erased = erased + ERASE_RECORDS;
		progress.update(erased);
	until not more;
	progress.finish();
	if more == nil then return nil, text, condition; end
	return true;
end

-- Copies, and switches once no other process has the database open. Returns the number of records, or nil, text.
local function run(handle, task, progress)
	local give_up;
	while true do
		local more, done, total = task:step();
		if more == nil then return nil, total; end
		progress.update(done, total);
		local switched, condition, text;
		if not more then switched, condition, text = task:switch(); end
		if switched then return done; end
		if condition and condition ~= "storage-busy" then return nil, text; end
		if condition then
			give_up = give_up or monotonic() + BUSY_WAIT;
			if monotonic() > give_up then
				return nil, describe(handle:others()).." the database open; run compact again";
			end
			sleep(PAUSE);
		end
	end
end

local function compact_here(handle)
	local before = size();
	local ok, text = erase(handle);
	if not ok then return fail("%s", text); end
	local task, _, why = handle:compact(false);
	if not task then return fail("%s", why); end
	local progress = terminal.progress("Compacting");
	local records;
	records, text = run(handle, task, progress);
	progress.finish();
	task:close();
	if not records then return fail("%s", text); end
	return report(records, task:compressed(), before, size());
end

-- ---- In the server ----

local function read_answer()
	local file = io.open(ANSWER);
	local text = file and file:read("a");
	if file then file:close(); end
	local answer = text and json.decode(text);
	return type(answer) == "table" and answer or nil;
end

-- Returns whether the server has taken the request.
local function ask()
	local file, text = io.open(REQUEST, "w");
	if not file then return nil, text; end
	file:close();
	local give_up = monotonic() + ASKED_WAIT;
	while lfs.attributes(REQUEST, "mode") do
		if monotonic() > give_up then
			os.remove(REQUEST);
			return false;
		end
		sleep(PAUSE);
	end
	return true;
end

local function is_alive(pid)
	return lfs.attributes(("/proc/%d"):format(pid), "mode") ~= nil;
end

-- Shows how far the server is, until it has finished. Returns the last answer, or nil.
-- alive: the ids of processes that were alive before; those of another namespace are not seen
local function follow(alive)
	local changed, beat, label, progress = monotonic(), nil, nil, nil;
	local answer = read_answer();
	local function waits()
		return answer and answer.state == "running" and monotonic() - changed < SILENCE
			and (not alive[answer.pid] or is_alive(answer.pid));
	end
	while waits() do
		if answer.beat ~= beat then changed, beat = monotonic(), answer.beat; end
		if answer.label ~= label then
			if progress then progress.finish(); end
			label, progress = answer.label, terminal.progress(answer.label);
		end
		progress.update(answer.done, answer.total);
		sleep(PAUSE);
		answer = read_answer();
	end
	if progress then progress.finish(); end
	answer = read_answer(); -- the last one may have come when it ended
	return answer and answer.state ~= "running" and answer or nil;
end

local function ask_server(pids)
	local alive = {};
	for _, pid in ipairs(pids) do alive[pid] = is_alive(pid); end
	local asked, text = ask();
	if asked == nil then return fail("%s", text); end
	if not asked then
		return fail("%s the database open, and does not answer.\nStop it; or, if it is Prosody, and was started before an "
			.."update of mod_storage_native, restart it.", describe(pids));
	end
	local answer = follow(alive);
	if not answer then return fail("the server does not answer any more; look at its log, and run compact again"); end
	if answer.state == "failed" then return fail("%s", answer.text); end
	return report(answer.records, answer.compressed or 0, answer.before, answer.after);
end

return {
	compact = function ()
		local pids;
		local status = tool.with_database(function (handle)
			pids = handle:others();
			return pids[1] and 0 or compact_here(handle);
		end);
		if pids and pids[1] then return ask_server(pids); end
		return status;
	end;
};
