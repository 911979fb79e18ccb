-- The streams of an account that have queues, and the limits of accounts and of the process: a session's own limit only
-- asks its client for an ack, those two end sessions. Memory is the process's, so all hosts share this.
--
-- An account is a bare JID, or the domain of another server.

local jid_bare = require "util.jid".bare;

-- name -> { sessions = { [session] = function that ends it }, hibernating = how many of them do, away = how many have done so }
local all = module:shared "/*/smacks/accounts";

local over = {}; -- accounts that may be over smacks_max_account_bytes

local smacks;
local accounts = {};

local function name_of(session)
	if session.full_jid then return jid_bare(session.full_jid); end
	return session.direction == "incoming" and session.from_host or session.to_host or module.host;
end

-- Returns the account's name
function accounts.join(session)
	local name = session.smacks_account or name_of(session);
	session.smacks_account = name;
	all[name] = all[name] or { sessions = {}, hibernating = 0, away = 0 };
	all[name].sessions[session] = smacks.sessions.terminate; -- of the session's own host
	return name;
end

function accounts.leave(session)
	local name = session.smacks_account;
	local account = name and all[name];
	if not account or not account.sessions[session] then return; end
	if session.hibernating then account.hibernating = account.hibernating - 1; end
	account.sessions[session] = nil;
	if not next(account.sessions) then all[name] = nil; end
end

-- Sets session.hibernating: the time since when, or nil
function accounts.set_hibernating(session, since)
	local account = all[session.smacks_account];
	local change = (since and 1 or 0) - (session.hibernating and 1 or 0);
	account.hibernating, account.away = account.hibernating + change, account.away + 1;
	session.hibernating, session.smacks_away = since, account.away;
end

-- The session of an account for which measure(session) is the largest positive number; nil if there is none
local function most(name, measure)
	local found, largest = nil, 0;
	for session in pairs(all[name] and all[name].sessions or {}) do
		local size = session.smacks_ending and 0 or measure(session);
		if size > largest then found, largest = session, size; end
	end
	return found, largest;
end

local function bytes(session)
	local queue = session.outgoing_stanza_queue;
	return queue and queue:bytes() or 0;
end

-- Clocks are too coarse, and go back
local function time_away(session)
	return session.hibernating and math.maxinteger - session.smacks_away or 0;
end

local function terminate(session, text)
	session.smacks_ending = true;
	all[session.smacks_account].sessions[session](session, text);
end

--- Limits

-- To be called after a stanza was queued
function accounts.check_bytes(name, total_bytes, account_bytes)
	if account_bytes > smacks.options.smacks_max_account_bytes then
		over[name] = true;
		smacks.endings.schedule();
	elseif total_bytes > smacks.options.smacks_max_total_bytes then
		smacks.endings.schedule();
	end
end

-- Returns an account that holds too much, and the option whose limit it has reached
local function account_over_limit()
	local queue, options = smacks.queue, smacks.options;
	if queue.total_bytes() > options.smacks_max_total_bytes then return queue.largest(), "smacks_max_total_bytes"; end
	for name in pairs(over) do
		if queue.account_bytes(name) > options.smacks_max_account_bytes then return name, "smacks_max_account_bytes"; end
		over[name] = nil;
	end
end

-- Ends a session of an account that holds too much. Returns whether there was one.
function accounts.end_heaviest()
	local name, option = account_over_limit();
	local session, size = most(name or "", bytes);
	if not session then return false; end
	session.log("warn", "%s exceeded: ending the largest session of %s, with %d of its %d queued bytes", option, name, size,
		smacks.queue.account_bytes(name));
	terminate(session, "Too many stanzas are not acknowledged");
	return true;
end

local function hibernates_too_often(name)
	return all[name] ~= nil and all[name].hibernating > smacks.options.smacks_max_hibernated_sessions;
end

-- To be called when a session of the account hibernates: beyond the limit the one that has for longest ends
function accounts.check_hibernating(name)
	if not hibernates_too_often(name) then return; end
	smacks.endings.add(function ()
		local session = hibernates_too_often(name) and most(name, time_away);
		if not session then return false; end
		session.log("info", "smacks_max_hibernated_sessions exceeded: ending the session of %s that has hibernated for longest", name);
		terminate(session, "Too many sessions hibernate");
		return true;
	end);
end

-- Logs once that a connected session's queue is over its limits
function accounts.note_over_limit(session, is_over)
	local queue = session.outgoing_stanza_queue;
	if is_over and not session.smacks_over then
		session.log("info", "Queue limit reached, asking for an ack: %d stanzas (%d bytes) unacked", queue:held(), queue:bytes());
	end
	session.smacks_over = is_over or nil;
end

return function (parts)
	smacks = parts;
	return accounts;
end
