-- The life of a session after its connection: it hibernates, and it ends

local os_time = os.time;

local async = require "util.async";
local sessionmanager = require "core.sessionmanager";
local timer = require "util.timer";
local watchdog = require "util.watchdog";

local STRIP_AGAIN = 1; -- seconds

local smacks;
local sessions = {};

--- The end

-- A record of a session for handlers of its stanzas: the session itself does not exist any more by then
local function record_of(session)
	local record = { destroyed = true, send = function () return false; end };
	for _, field in ipairs { "username", "host", "resource", "full_jid", "type", "id", "log", "mam_requested", "directed",
		"from_host", "to_host", "direction" } do record[field] = session[field]; end
	return record;
end

-- From now on nothing is queued. Returns a function that hands on the unacknowledged stanzas.
function sessions.close_queue(session)
	local queue, record = session.outgoing_stanza_queue, record_of(session);
	session.smacks = false;
	session.outgoing_stanza_queue = nil;
	smacks.accounts.leave(session);
	smacks.acks.stop_timer(session);
	if not queue then return function () end; end
	local unacked = queue:count_unacked();
	if unacked > 0 then
		session.log("debug", "Session ends with %d unacked stanzas", unacked);
		smacks.metrics.dropped:sample(unacked);
	end
	return function () smacks.endings.hand_over(record, queue); end;
end

function sessions.cancel_watchdog(session)
	if session.hibernating_watchdog then session.hibernating_watchdog:cancel(); end
	session.hibernating_watchdog = nil;
end

-- For a session that its client ends
local function forget(session)
	smacks.registry.forget(session);
	sessions.cancel_watchdog(session);
end

-- For a session that the server ends: the counter stays, to tell the client how many of its stanzas were handled
local function destroy(session, reason)
	smacks.registry.retire(session);
	sessions.cancel_watchdog(session);
	-- Handlers of the end may wait, which is not possible on the main thread
	async.runner(nil, { error = function (_, err) module:log("error", "Traceback: %s", err); end }):run(function ()
		sessionmanager.destroy_session(session, reason);
	end);
end

-- Ends a session, connected or not, that holds too much
function sessions.terminate(session, text, condition)
	condition = condition or "resource-constraint";
	if not session.username then return smacks.s2s.terminate(session, text, condition); end
	smacks.connection.close(session, condition, text);
	destroy(session, text);
end

module:hook("pre-session-close", function (event)
	local session = event.session;
	if session.smacks == nil then return; end
	forget(session);
	if session.smacks and session.conn and session.handled_stanza_count then
		smacks.acks.send(session, session.smacks);
	elseif session.username and not session.conn and not session.destroyed then
		-- mod_websocket of 0.12 closes nothing where there is no connection
		local reason = event.reason;
		sessionmanager.destroy_session(session, type(reason) == "table" and (reason.text or reason.condition) or reason);
	end
end);

--- Hibernation

local function start_watchdog(session)
	sessions.cancel_watchdog(session);
	-- Push modules put a watchdog of their own in the place of this one, with this callback or around it
	session.hibernating_watchdog = watchdog.new(session.smacks_hibernation_time or smacks.options.smacks_hibernation_time, function ()
		if session.destroyed or not session.hibernating then return; end
		session.log("debug", "Hibernation ends, the client has not returned");
		local since = session.resumption_counter;
		smacks.endings.add(function ()
			if session.resumption_counter ~= since then return false; end -- the client has returned in the meantime
			smacks.metrics.expired(1);
			if session.destroyed or not session.hibernating then return false; end
			session.smacks_ending = true;
			destroy(session, "Hibernating too long");
			return true;
		end);
	end);
end

local function hibernate(session)
	local queue = session.outgoing_stanza_queue;
	smacks.accounts.set_hibernating(session, os_time());
	session.resending_unacked, session.smacks_resending = nil, nil;
	session.awaiting_ack = nil;
	smacks.acks.stop_timer(session);
	start_watchdog(session);
	smacks.connection.detach(session);
	-- On Prosody 0.12 a signal to stop is handled at once, wherever the server is in its work
	if session.destroyed or not session.resumption_token then return; end
	smacks.registry.save_counter_soon(session);
	session.log("debug", "Connection lost, session hibernates with %d unacked stanzas", queue:count_unacked());
	queue:fire("smacks-hibernation-start", session, {});
	timer.add_task(0, function () -- stanzas that were read together with the end are still handled
		if session.hibernating and not session.destroyed and not smacks.connection.strip(session) then return STRIP_AGAIN; end
	end);
	smacks.accounts.check_hibernating(session.smacks_account);
end

-- mod_bosh closes a session without an event, and gives no reason
local function is_closed_by_bosh(event)
	local session = event.session;
	return smacks.connection.is_bosh(session) and not session.hibernating and (session.bosh_terminate or event.error == nil);
end

module:hook("pre-resource-unbind", function (event)
	local session = event.session;
	if session.smacks == nil then return; end
	if session.smacks and session.resumption_token and not session.hibernating and not is_closed_by_bosh(event) then
		hibernate(session);
		return true;
	end
	forget(session);
	if session.destroyed then return true; end -- on Prosody 0.12, by a signal that came in between
end);

-- Stanzas are handed on after contacts and rooms have got the unavailable presence: later errors make no room remove the
-- user
local closing = {}; -- session -> function that hands on

local function hand_on(session)
	local close = closing[session];
	closing[session] = nil;
	if close then close(); end
end

module:hook("resource-unbind", function (event)
	local session = event.session;
	if session.smacks == nil then return; end
	closing[session] = sessions.close_queue(session);
	timer.add_task(0, function () hand_on(session); end); -- where a handler in between has failed
end, 1000);

module:hook("resource-unbind", function (event) hand_on(event.session); end, -1000);

-- Before mod_c2s closes all sessions: the counters are kept, so that clients learn them after a restart
module:hook_global("server-stopping", function (event)
	for _, user in pairs(prosody.hosts[module.host].sessions or {}) do
		for _, session in pairs(user.sessions) do
			if session.resumption_token and smacks.registry.save_counter(session, session.resumption_token) then
				smacks.registry.remove(session);
				sessions.cancel_watchdog(session);
				smacks.connection.detach(session);
				session:close { condition = "system-shutdown", text = event.reason };
			end
		end
	end
	smacks.endings.stop(); -- while senders can be reached
end, -90);

return function (parts)
	smacks = parts;
	return sessions;
end
