-- Resumption: moves a session to another connection, and sends its unacknowledged stanzas again.
--
-- A session outlives its connections, but mod_c2s, mod_websocket and mod_bosh build functions around a connection that
-- refer to its session. If one of them were left behind, half a stanza from before the cut would end up in the resumed
-- stream. sessionmanager.update_session() of Prosody 13.0 moves some of it, 0.12 has nothing of the kind.

local os_time = os.time;

local sessionmanager = require "core.sessionmanager";

local c2s_sessions = module:shared("/*/c2s/sessions");
local bosh_sessions = module:shared("/*/bosh/sessions");

local smacks;
local resumption = {};

--- Moving a session

-- Fields that belong to a connection: the resumed session gets those of the new one, and keeps none of the old one.
local connection_fields = {
	"ip", "conn", "conntime", "since", "secure", "encrypted", "compressed", "ssl_ctx", "sasl_handler",
	"stream", "streamid", "version", "notopen", "stream_attrs", "websocket_request",
	"filter", "filters", "rawsend", "send", "data", "thread",
	"open_stream", "reset_stream", "close", "dispatch_stanza", "stanza_size_limit", "c2s_timeout",
	-- mod_bosh
	"sid", "rid", "requests", "send_buffer", "inactive_timer", "bosh_version", "bosh_wait",
	"bosh_max_inactive", "bosh_responses", "bosh_wait_timer", "bosh_terminate", "bosh_processing",
	"bosh_deferred",
};

-- The functions of a connection that refer to its session, by an upvalue of this name: the same on Prosody 0.12 and 13.0
local tcp = { "rawsend", "send", "data", "reset_stream", "filter", "thread" };
local expected = {
	tcp = tcp;
	websocket = { "bytes/in", table.unpack(tcp) };
	bosh = { "send", "filter", "thread" };
};

local function transport_of(session)
	return smacks.connection.is_bosh(session) and "bosh" or session.websocket_request and "websocket" or "tcp";
end

-- Calls visit(name, function) for each function of a connection that refers to its session. Prosody gives functions a
-- metatable by which upvalues are fields: util.startup.set_function_metatable().
local function each_reference(session, visit)
	local function look_at(name, func)
		if type(func) == "function" and rawequal(func.session, session) then visit(name, func); end
	end
	for name, value in pairs(session) do look_at(name, value); end
	for name, list in pairs(session.filters) do
		for _, filter in ipairs(list) do look_at(name, filter); end
	end
	look_at("thread", session.thread and session.thread.func);
end

-- Whether all functions of a connection are known that refer to its session; or nil, and how they differ. Another version
-- of Prosody, or a module that wraps them, may hide some, which would go on with a session that does not exist any more.
local function can_adopt(session)
	local transport, found, missing = transport_of(session), {}, {};
	each_reference(session, function (name) found[name] = true; end);
	for _, name in ipairs(expected[transport]) do
		if not found[name] then missing[#missing + 1] = name; end
	end
	if not missing[1] then return true; end
	local names = {};
	for name in pairs(found) do names[#names + 1] = name; end
	table.sort(names);
	return nil, ("expected %d functions of the %s connection to refer to its session, found %d (%s), missing %s"):format(
		#expected[transport], transport, #names, table.concat(names, ", "), table.concat(missing, ", "));
end

local function rebind(from, to)
	each_reference(from, function (_, func) func.session = to; end);
	if from.thread then from.thread.data = to; end
end

-- Moves the connection of `from`, which must not be used any more afterwards, to the session `to`
local function adopt(to, from)
	local moved = {};
	for _, name in ipairs(connection_fields) do moved[name] = from[name]; end
	rebind(from, to);

	if sessionmanager.update_session and not smacks.connection.is_bosh(from) then
		sessionmanager.update_session(to, from);
	else
		to.resumption_counter = (to.resumption_counter or 0) + 1;
		from.log = to.log;
		if moved.stream then moved.stream:set_session(to); end
		sessionmanager.retire_session(from);
	end
	for _, name in ipairs(connection_fields) do to[name] = moved[name]; end

	if smacks.connection.is_bosh(to) then
		bosh_sessions[to.sid] = to;
	else
		c2s_sessions[to.conn] = to;
	end
end

--- Sending again

local function is_sendable(session)
	return session.conn and not session.hibernating and not session.destroyed;
end

-- Bytes in the connection's write buffer, which costs memory, and on 13.0 has a limit; and bytes of one write
local network = module:get_option("network_settings");
local buffer_size = type(network) == "table" and tonumber(network.max_send_buffer_size) or math.huge;
local AT_ONCE = math.min(1024 * 1024, buffer_size / 2);
local CHUNK = math.min(64 * 1024, AT_ONCE);

-- Sends items from `first` on, and returns the position of the next one; up to AT_ONCE bytes
local function send_bytes(session, queue, first, progress)
	local i = first;
	while i <= queue:held() and progress.written < AT_ONCE do
		local bytes, next_position = queue:render(i, CHUNK);
		i, progress.written = next_position, progress.written + #bytes;
		session.send(bytes);
		if not is_sendable(session) then break; end
	end
	return i;
end

-- The same, for filters of other modules that see stanzas
local function send_stanzas(session, queue, first, progress)
	local limit = smacks.connection.is_bosh(session) and math.huge or AT_ONCE;
	local i = first;
	while i <= queue:held() and progress.written < limit do
		local stanza = queue:stanza(i);
		if stanza then -- otherwise it is not XML
			progress.written = progress.written + #queue:render(i, 1);
			session.send(stanza);
			if not is_sendable(session) then return i; end
		end
		i = i + 1;
	end
	queue:settle();
	return i;
end

-- Sends unacknowledged stanzas, those beyond AT_ONCE bytes after the connection has written the others. Calls
-- progress.resent(session) at the end. Returns whether the session is still connected.
local function resend_more(session)
	local queue, progress = session.outgoing_stanza_queue, session.smacks_resending;
	session.resending_unacked = "sending";
	local send = #session.filters["stanzas/out"] == 1 and not smacks.connection.is_bosh(session) and send_bytes or send_stanzas;
	local first = queue:position(progress.next);
	if first > queue:held() + 1 then first = 1; end -- the client has acknowledged stanzas that it was not sent
	local next_position = send(session, queue, first, progress);
	if not is_sendable(session) then
		session.resending_unacked = nil;
		return false;
	elseif next_position <= queue:held() then
		progress.next = queue:counter(next_position);
		session.resending_unacked = "paused";
		return true;
	end
	session.resending_unacked, session.smacks_resending = nil, nil;
	progress.resent(session);
	return is_sendable(session);
end

local function resend(session, resent)
	local queue = session.outgoing_stanza_queue;
	session.log("debug", "Sending %d unacked stanzas again", queue:held());
	session.smacks_resending = { next = queue:counter(1), written = 0, resent = resent };
	return resend_more(session);
end

-- The write buffer of the connection is empty
module:hook("c2s-ondrain", function (event)
	local session = event.session;
	if not session.smacks_resending then return; end
	session.smacks_resending.written = 0;
	if session.resending_unacked == "paused" then resend_more(session); end
end);

--- The request

-- Returns the session, or nil and an error. Nothing changes before the request is found valid.
local function find_resumable(session, stanza)
	if session.full_jid then return nil, smacks.errors.new("already_bound"); end
	if not session.username then return nil, smacks.errors.new("not_authenticated"); end
	local token, h = stanza.attr.previd, smacks.acks.parse_h(stanza.attr.h);
	if not token or not h then return nil, smacks.errors.new("bad_request"); end

	local original = smacks.registry.find(session, token);
	if not original or original.destroyed then
		local old_h = smacks.registry.take_counter(session, token);
		if not old_h then return nil, smacks.errors.new("unknown_session"); end
		smacks.metrics.resumption_expired(1);
		return nil, smacks.errors.new("expired", { h = old_h });
	end

	local ok, why = can_adopt(session);
	if not ok then
		session.log("error", "Cannot resume on this connection: %s; this version of Prosody, or a module, is not supported", why);
		return nil, smacks.errors.new("unknown_transport");
	end

	local err;
	ok, err = smacks.errors.coerce(original.outgoing_stanza_queue:acknowledge(h));
	if not ok then return nil, err; end
	if not original.outgoing_stanza_queue:resumable() then return nil, smacks.errors.new("incomplete"); end
	return original;
end

local function wake(session)
	local hibernating_since = session.hibernating;
	smacks.sessions.cancel_watchdog(session);
	smacks.acks.stop_timer(session);
	smacks.accounts.set_hibernating(session, nil);
	session.awaiting_ack = nil;
	session.state = nil; -- client state is active on a resumed stream (XEP-0352, section 5.3)
	if hibernating_since then smacks.registry.clear_counter(session, session.resumption_token); end
	return hibernating_since and os_time() - hibernating_since or 0;
end

-- First of two steps, for modules that resume inline: until finish(), nothing is sent on the resumed stream
function resumption.do_resume(session, stanza)
	local original, err = find_resumable(session, stanza);
	if not original then
		session.log("info", "Resumption failed: %s", err.text);
		return nil, err;
	end
	session.log("debug", "Resuming session %s", original.full_jid);
	smacks.counting.commit(original);
	smacks.connection.close(original, "conflict");
	local age = wake(original);
	local waiting = smacks.counting.count_waiting(session, stanza);
	adopt(original, session);
	original.resending_unacked = true;
	smacks.counting.resume(original);
	smacks.counting.start_out(original);
	smacks.counting.start_in(original);

	return {
		type = "resumed";
		session = original;
		id = stanza.attr.previd;
		finish = function ()
			if original.resending_unacked ~= true then return; end -- cut off again in the meantime
			smacks.metrics.resumption_age:sample(age);
			smacks.counting.count(original, waiting);
			local connected = resend(original, function ()
				smacks.acks.request_if_needed(original, true, "resumed");
			end);
			if not connected then return; end
			original.outgoing_stanza_queue:fire("smacks-hibernation-end", original, { origin = session; resumed = original });
		end;
	};
end

return function (parts)
	smacks = parts;
	return resumption;
end
