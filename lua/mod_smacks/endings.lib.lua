-- Paces the end of sessions, so that other clients are served in between.
--
-- A session that ends leaves its queue here, with a record of itself: its stanzas are failed a few at a time. Expired
-- sessions wait here for their end. All hosts share the time of a turn.

local async = require "util.async";
local now = require "util.time".monotonic;
local timer = require "util.timer";

local TURN_SECONDS = 0.02; -- of a turn of the event loop
local TURN_ENDS = 10; -- sessions that end in a turn; each sends presence to its contacts

local shared = module:shared "/*/smacks/endings";
shared.steps = shared.steps or {}; -- functions with work left
shared.left = shared.left or TURN_SECONDS;
shared.ends = shared.ends or TURN_ENDS;
shared.backlog = shared.backlog or 0; -- queues of all hosts that are not empty yet

local function next_turn()
	local steps = shared.steps;
	shared.scheduled, shared.steps = false, {};
	shared.left, shared.ends = TURN_SECONDS, TURN_ENDS;
	for step in pairs(steps) do step(); end
end

-- A line of waiting items, first in, first out. It may have 100 000: table.remove() would move them all, each time.
local function line(list)
	list.first, list.last = list.first or 1, list.last or 0;
	return list;
end

local function append(list, item)
	list.last = list.last + 1;
	list[list.last] = item;
end

local function head(list) return list[list.first]; end

local function shift(list)
	local item = head(list);
	if item ~= nil then list[list.first], list.first = nil, list.first + 1; end
	return item;
end

local smacks;
local endings = {};
local backlog = line {}; -- { session =, queue =, next =, later = }
local last_of = {}; -- username -> the last entry of an account in it
local records = setmetatable({}, { __mode = "k" }); -- of sessions that were handed over
local is_working, is_last_turn = false, false; -- in step(); of this host
local due = line(module:shared "due"); -- functions that end a session and return whether there was one

local function finish_entry(entry)
	if head(backlog) ~= entry then return; end -- finish() has been called in the meantime
	shift(backlog);
	shared.backlog = shared.backlog - 1;
	entry.queue:close();
	local username = entry.session.username;
	if username and last_of[username] == entry then last_of[username] = nil; end
end

local function handle(entry, stanza, fate)
	if fate then return smacks.delivery.fail(entry.session, stanza, fate); end
	smacks.delivery.pass_on(entry.session, stanza);
end

local function fail_next(entry)
	local stanza, fate = entry.next();
	stanza = stanza or shift(entry.later);
	if not stanza then return finish_entry(entry); end
	local ok, err = xpcall(handle, debug.traceback, entry, stanza, fate);
	if not ok then
		module:log("error", "Error in a handler of an undelivered stanza, replying with an error: %s", err);
		smacks.delivery.refuse(entry.session, stanza);
	end
end

-- Messages that are stored offline meanwhile keep their place behind earlier ones
module:hook("message/offline/handle", function (event)
	local entry = last_of[event.username];
	if not entry or records[event.origin] then return; end
	append(entry.later, event.stanza);
	return true;
end, 1000);

local step;

local function schedule()
	shared.steps[step] = true;
	if shared.scheduled then return; end
	shared.scheduled = true;
	timer.add_task(0, next_turn);
end

-- Handlers may wait, which is not possible on the main thread
local thread = async.runner(fail_next, {
	ready = function () schedule(); end;
	error = function (_, err) module:log("error", "Traceback: %s", err); end;
});

local function end_next()
	if shared.ends <= 0 then return false; end
	local ended = shared.backlog == 0 and smacks.accounts.end_heaviest(); -- the sessions that are ending may suffice
	while not ended and head(due) do ended = shift(due)(); end
	if ended then shared.ends = shared.ends - 1; end
	return ended;
end

-- Returns whether anything was done
local function work()
	if not head(backlog) then return end_next(); end
	if thread.state ~= "ready" then return false; end
	thread:run(head(backlog));
	return true;
end

local function work_for_a_while()
	local began = now();
	while shared.left > 0 and work() do
		local time = now();
		shared.left, began = shared.left - (time - began), time;
	end
end

-- While a handler waits nothing can be done; when it is ready, the next turn is scheduled
local function has_work()
	if head(backlog) then return thread.state == "ready"; end
	return head(due) ~= nil;
end

function step()
	is_working = true;
	local ok, err = xpcall(work_for_a_while, debug.traceback);
	is_working = false;
	if not ok then module:log("error", "Traceback: %s", err); end
	if has_work() or shared.left < TURN_SECONDS then schedule(); end
end

-- Takes over the queue of a session, or of a record of one
function endings.hand_over(session, queue)
	if queue:held() == 0 then
		queue:close();
		return;
	end
	local entry = { session = session, queue = queue, next = queue:consume(), later = line {} };
	append(backlog, entry);
	records[session] = true;
	shared.backlog = shared.backlog + 1;
	if session.username then last_of[session.username] = entry; end
	if shared.stopping or is_last_turn then endings.finish(); elseif not is_working then step(); end
end

-- Ends a session in one of the next turns
function endings.add(terminate)
	append(due, terminate);
	schedule();
end

-- Checks the limits in the next turn
endings.schedule = schedule;

-- Fails all stanzas that are left, now
function endings.finish()
	while head(backlog) do fail_next(head(backlog)); end
end

-- There is no later turn
function endings.stop()
	shared.stopping = true;
	endings.finish();
end

-- Nor is there one of a host that is deactivated: its modules are unloaded after its sessions have been closed
module:hook_global("host-deactivating", function (event)
	if event.host == module.host then is_last_turn = true; end
end);

-- Sessions that are due stay in line, for the module that is loaded next
function endings.unload()
	endings.finish();
	shared.steps[step] = nil;
end

return function (parts)
	smacks = parts;
	if head(due) then schedule(); end
	return endings;
end
