-- Refuses stanzas and logins of visitors: an error, a metric, and a log line the first time. Visitors who are refused too
-- often are disconnected.

local async = require "util.async";
local sessionmanager = require "core.sessionmanager";
local st = require "util.stanza";
local timer = require "util.timer";

local LINGER = 10; -- seconds for which a client may read pending data, the stream error last

local refusals = {};

local networks, visitors; -- see start()
local metric = module:metric("counter", "refused", "", "Logins and stanzas of visitors that were refused", { "reason" });

--- Disconnecting

local function drop(conn)
	if not conn.conn or not conn.writebuffer then return; end
	conn.writebuffer = nil;
	conn:close();
end

-- Ends a session, with a stream error if it has a connection
function refusals.disconnect(session, condition, text)
	if session.destroyed then return; end
	local conn = not session.sid and session.conn; -- a BOSH session's connection belongs to a request
	session:close { condition = condition, text = text };
	-- mod_websocket of 0.12 does not destroy a hibernating session
	if not session.destroyed and not session.conn then sessionmanager.destroy_session(session, text); end
	if conn and conn.writebuffer then timer.add_task(LINGER, function () drop(conn); end); end
end

local function report(_, err) module:log("error", "Traceback: %s", err); end

-- The same after the current event: a room may be iterating over its occupants. In a runner, because handlers may wait.
function refusals.disconnect_soon(session, condition, text)
	if session.webchat_ending then return; end
	session.webchat_ending = true;
	timer.add_task(0, function ()
		async.runner(nil, { error = report }):run(function () refusals.disconnect(session, condition, text); end);
	end);
end

--- Refusing

-- Counts and logs a refusal. reason: see "Log lines" in README.md.
function refusals.count(session, reason, text)
	metric:with_labels(reason):add(1);
	local logged = session.webchat_refused or {};
	session.webchat_refused = logged;
	local log = session.log or module._log;
	log(logged[reason] and "debug" or "info", "Refused (%s): %s", reason, text);
	logged[reason] = true;
end

-- Counts and logs a refusal, and disconnects a session that is refused too often
function refusals.note(session, reason, text)
	refusals.count(session, reason, text);
	if session.webchat_ending then return; end
	local network = visitors.network_of(session);
	local bucket = (visitors.own_budget(session) or visitors.at(network)).refusals;
	if not bucket or bucket:poll(1) then return; end
	bucket.balance = bucket.max; -- the next line follows after as many refusals again
	local by = networks.is_shared(network) and "from an unknown network" or "by " .. network;
	module:log("info", "Abuse %s: refused more than %d times a minute", by, bucket.max); -- examples/fail2ban/ matches this line
	refusals.disconnect_soon(session, "policy-violation", "Too many requests were refused");
end

-- Answers a stanza with an error, and ends its handling
function refusals.reply(event, kind, condition, text)
	local stanza = event.stanza;
	if stanza.attr.type ~= "error" and stanza.attr.type ~= "result" then
		event.origin.send(st.error_reply(stanza, kind, condition, text));
	end
	return true;
end

-- The same for a stanza that breaks a rule or limit
function refusals.refuse(event, reason, kind, condition, text)
	refusals.note(event.origin, reason, text);
	return refusals.reply(event, kind, condition, text);
end

function refusals.not_allowed(event, text)
	return refusals.refuse(event, "not-allowed", "cancel", "not-allowed", text);
end

function refusals.start(webchat)
	networks, visitors = webchat.networks, webchat.visitors;
end

return refusals;
