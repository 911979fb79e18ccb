-- Sessions that can be resumed, by their token, and the counters of handled stanzas of those that have ended

local it = require "util.iterators";
local jid = require "util.jid";

local sessions = module:shared "/*/smacks/resumption-tokens"; -- user@host/token -> session
local counters = module:open_store("smacks_h", "map"); -- user, token -> { h =, t = }
local counters_of = module:open_store("smacks_h");

local unsaved = {}; -- sessions whose counter is to be saved

local SAVE_INTERVAL, SAVES_AT_ONCE = 0.1, 10; -- seconds, counters

local smacks;
local registry = {};

local function key(session, token)
	return jid.join(session.username, session.host, token);
end

function registry.add(session, token)
	sessions[key(session, token)] = session;
	session.resumption_token = token;
end

-- The session that `session`, which is authenticated as the same user, may resume with this token
function registry.find(session, token)
	return sessions[key(session, token)];
end

-- Returns the token, or nil
function registry.remove(session)
	local token = session.resumption_token;
	if token then sessions[key(session, token)] = nil; end
	session.resumption_token = nil;
	return token;
end

function registry.save_counter(session, token)
	session.smacks_counter_saved = true;
	return counters:set(session.username, token, { h = smacks.counting.total(session), t = os.time() });
end

function registry.clear_counter(session, token)
	if not session.smacks_counter_saved then return; end
	session.smacks_counter_saved = nil;
	return counters:set(session.username, token, nil);
end

-- For a session that ends while its client may still ask for its counter
function registry.retire(session)
	local token = registry.remove(session);
	if token then registry.save_counter(session, token); end
end

-- For a session that ends because its client has ended it
function registry.forget(session)
	local token = registry.remove(session);
	if token then registry.clear_counter(session, token); end
end

local function save_some()
	for _ = 1, SAVES_AT_ONCE do
		local session = next(unsaved);
		if not session then return nil; end
		unsaved[session] = nil;
		if session.hibernating and session.resumption_token then
			registry.save_counter(session, session.resumption_token);
		end
	end
	return SAVE_INTERVAL;
end

-- For a session that begins to hibernate: its counter survives a kill of the server. When a network fails and cuts off
-- all clients at once, the server must not block to write.
function registry.save_counter_soon(session)
	if session.smacks_counter_saved then return; end
	if not next(unsaved) then module:add_timer(SAVE_INTERVAL, save_some); end
	unsaved[session] = true;
end

-- The h of a session of the same user that has ended. It can be read once.
function registry.take_counter(session, token)
	local counter, err = counters:get(session.username, token);
	if err then
		session.log("error", "Cannot read the counter of an old session: %s", err);
	elseif counter then
		counters:set(session.username, token, nil);
		return counter.h;
	end
end

-- Keeps a user's newest counters
function registry.prune_counters(username, keep_count)
	local all, err = counters_of:get(username);
	if err then
		module:log("error", "Cannot read the counters of old sessions: %s", err);
	elseif all and it.count(pairs(all)) > keep_count then
		local function newest_first(a, b) return (all[a].t or 0) > (all[b].t or 0); end
		local keep = {};
		for token, counter in it.head(keep_count, it.sorted_pairs(all, newest_first)) do
			keep[token] = counter;
		end
		counters_of:set(username, keep);
	end
end

return function (parts)
	smacks = parts;
	return registry;
end
