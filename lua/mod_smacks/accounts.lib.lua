-- Which streams of an account have queues. Memory is the process's, so all hosts share this.
--
-- An account is a bare JID, or the domain of another server.

local jid_bare = require "util.jid".bare;

-- name -> { sessions = { [session] = function that ends it }, hibernating = how many of them do, away = how many have done so }
local all = module:shared "/*/smacks/accounts";

local accounts = {};

local function name_of(session)
	if session.full_jid then return jid_bare(session.full_jid); end
	return session.direction == "incoming" and session.from_host or session.to_host or module.host;
end

-- Returns the account's name. terminate(session, text) is to end the session, and hand on what it holds.
function accounts.join(session, terminate)
	local name = session.smacks_account or name_of(session);
	session.smacks_account = name;
	all[name] = all[name] or { sessions = {}, hibernating = 0, away = 0 };
	all[name].sessions[session] = terminate;
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

function accounts.count_hibernating(name)
	return all[name] and all[name].hibernating or 0;
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

-- The session that holds most, and its bytes
function accounts.heaviest(name)
	return most(name, bytes);
end

-- The session that has hibernated for longest
function accounts.longest_away(name)
	return (most(name, function (session)
		return session.hibernating and math.maxinteger - session.smacks_away or 0; -- clocks are too coarse, and go back
	end));
end

function accounts.terminate(session, text)
	session.smacks_ending = true;
	all[session.smacks_account].sessions[session](session, text);
end

return accounts;
