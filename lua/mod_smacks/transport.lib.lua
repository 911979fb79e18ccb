-- A session outlives its connections: what has to move when it is resumed on a new one.
--
-- sessionmanager.update_session (Prosody 13.0; on 0.12 there is none) moves some of it. What it
-- leaves behind is the rest of the machinery that mod_c2s, mod_websocket and mod_bosh build around
-- a connection: with it, half a stanza from before the cut would end up in the resumed stream.

local sessionmanager = require "core.sessionmanager";
local websocket_frames = require "net.websocket.frames";
local st = require "util.stanza";

local xmlns_bosh = "http://jabber.org/protocol/httpbind";
local xmlns_framing = "urn:ietf:params:xml:ns:xmpp-framing";
local xmlns_streams = "http://etherx.jabber.org/streams";
local xmlns_stream_errors = "urn:ietf:params:xml:ns:xmpp-streams";

local c2s_sessions = module:shared("/*/c2s/sessions");
local bosh_sessions = module:shared("/*/bosh/sessions");

-- What belongs to a connection. A field that the new one does not have, the old one loses.
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

-- The functions of a connection refer to their session as an upvalue
local function rebind(func, from, to)
	for i = 1, math.huge do
		local name, value = debug.getupvalue(func, i);
		if not name then return; end
		if rawequal(value, from) then debug.setupvalue(func, i, to); end
	end
end

local function rebind_all(session, from, to)
	for _, value in pairs(session) do
		if type(value) == "function" then rebind(value, from, to); end
	end
	for _, list in pairs(session.filters) do
		for _, filter in ipairs(list) do rebind(filter, from, to); end
	end
	local thread = session.thread;
	if thread and thread.func then
		rebind(thread.func, from, to);
		thread.data = to;
	end
end

local function is_bosh(session)
	return session.sid ~= nil;
end

local function detach_bosh(session)
	bosh_sessions[session.sid] = nil;
	for _, name in ipairs { "inactive_timer", "bosh_wait_timer" } do
		if session[name] then session[name]:stop(); end
		session[name] = nil;
	end
	session.conn = nil; -- of the last HTTP request; it may serve others
	session.send_buffer = {}; -- the stanzas in it are in the queue
end

local function has_unread(conn)
	return conn.writebuffer and #conn.writebuffer > 0;
end

-- Closes a connection at once. What its peer has not read would else stay in memory until it does, or for
-- minutes: up to all of the queue, which has it too.
local function close_at_once(conn)
	if conn.writebuffer then conn.writebuffer = nil; end
	conn:close();
end

-- Ends a connection that cannot be written to. A client's session does not wait for TLS to be closed.
local function give_up(session)
	local conn = session.conn;
	if session.username then sessionmanager.destroy_session(session, "write buffer full"); end
	close_at_once(conn);
end

-- A stanza that is queued, or refused, is answered for, also where it cannot be written: else its sender, or
-- Prosody's routing, would look for another way. What comes after it must not be written either, for the peer
-- would count that in its place.
local function guard_writes(session)
	local name = session.sends2s and "sends2s" or "send";
	local send, writing = session[name], {}; -- answer = what became of the stanza that is sent: "queued", "refused"
	session.smacks_writing = writing;
	session[name] = function (data)
		local outer = writing.answer; -- filters may send, too
		writing.answer = nil;
		local ok, err = send(data);
		local answer = writing.answer;
		writing.answer = outer;
		if ok or not answer then return ok, err; end
		if answer == "queued" and session.conn then give_up(session); end
		return true;
	end
end

-- Parts a session from its connection, of which nothing more is expected
local function detach(session)
	if is_bosh(session) then
		detach_bosh(session);
	elseif session.conn then
		local conn = session.conn;
		c2s_sessions[conn] = nil;
		session.conn = nil;
		close_at_once(conn);
	end
end

local function stream_error(condition, text)
	local stanza = st.stanza("stream:error"):tag(condition, { xmlns = xmlns_stream_errors }):up();
	if text then stanza:tag("text", { xmlns = xmlns_stream_errors }):text(text):up(); end
	return stanza:reset();
end

local function end_bosh(session, error)
	local body = st.stanza("body", { xmlns = xmlns_bosh, ["xmlns:stream"] = xmlns_streams,
		type = "terminate", condition = "remote-stream-error" }):add_child(error);
	local requests = session.requests;
	session.requests = {};
	detach_bosh(session);
	for _, request in ipairs(requests) do request:send(tostring(body)); end
end

local function end_stream(session, error)
	local conn = session.conn;
	c2s_sessions[conn] = nil; -- first, so that an error while writing ends no session
	session.conn = nil;
	if conn.resume_writes then conn:resume_writes(); end
	if has_unread(conn) and conn.onwritable then conn:onwritable(); end
	if has_unread(conn) then -- the peer does not read, nor would it read the error
		close_at_once(conn);
		return;
	end
	session.send(error);
	if session.websocket_request then
		session.send(st.stanza("close", { xmlns = xmlns_framing }));
		conn:write(websocket_frames.build_close(1000, "Stream closed"));
	else
		session.send("</stream:stream>");
	end
	conn:close();
end

-- Ends the stream that a session still has with an error
local function end_connection(session, condition, text)
	if not session.conn then return; end
	local error = stream_error(condition, text);
	if is_bosh(session) then end_bosh(session, error); else end_stream(session, error); end
end

-- What only a connection needs, and what goes with it: its parser, coroutine, buffers, TLS
local machinery = {
	"ssl_ctx", "sasl_handler", "stream", "stream_attrs", "rawsend", "data", "thread",
	"open_stream", "reset_stream", "dispatch_stanza", "websocket_request",
};

-- Lets a session that has lost its connection keep nothing that a resumption brings anew. Returns whether it
-- could: while a handler waits, what was read behind it needs all of that.
local function strip(session)
	if session.thread and session.thread.state ~= "ready" then return false; end
	for _, name in ipairs(machinery) do session[name] = nil; end
	session.filters["bytes/in"], session.filters["bytes/out"] = nil, nil;
	function session.send(data)
		if data.name then session.filter("stanzas/out", data); end
		return true;
	end
	return true;
end

-- Moves the connection of `from`, which must not be used any more afterwards, to the session `to`
local function adopt(to, from)
	local moved = {};
	for _, name in ipairs(connection_fields) do moved[name] = from[name]; end
	rebind_all(from, from, to);

	if sessionmanager.update_session and not is_bosh(from) then
		sessionmanager.update_session(to, from);
	else
		to.resumption_counter = (to.resumption_counter or 0) + 1;
		from.log = to.log;
		if moved.stream then moved.stream:set_session(to); end
		sessionmanager.retire_session(from);
	end
	for _, name in ipairs(connection_fields) do to[name] = moved[name]; end

	if is_bosh(to) then
		bosh_sessions[to.sid] = to;
	else
		c2s_sessions[to.conn] = to;
	end
end

--- Sending again

local function is_sendable(session)
	return session.conn and not session.hibernating and not session.destroyed;
end

-- Bytes that wait in the connection's write buffer, which costs memory, and on 13.0 has a limit; and of a write
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
	local limit = is_bosh(session) and math.huge or AT_ONCE;
	local i = first;
	while i <= queue:held() and progress.written < limit do
		local stanza = queue:stanza(i);
		if stanza then -- it is no XML otherwise
			progress.written = progress.written + #queue:render(i, 1);
			session.send(stanza);
			if not is_sendable(session) then return i; end
		end
		i = i + 1;
	end
	queue:settle();
	return i;
end

-- Sends what is not acknowledged; what the connection does not take now when that has been written. Returns
-- whether the session is still connected. resent(session) is called at the end.
local function resend_more(session)
	local queue, progress = session.outgoing_stanza_queue, session.smacks_resending;
	session.resending_unacked = "sending";
	local send = #session.filters["stanzas/out"] == 1 and not is_bosh(session) and send_bytes or send_stanzas;
	local first = queue:position(progress.next);
	if first > queue:held() + 1 then first = 1; end -- the client has acknowledged what it was not sent
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

-- Everything that was written to the connection has left it
module:hook("c2s-ondrain", function (event)
	local session = event.session;
	if not session.smacks_resending then return; end
	session.smacks_resending.written = 0;
	if session.resending_unacked == "paused" then resend_more(session); end
end);

return {
	adopt = adopt;
	detach = detach;
	end_connection = end_connection;
	guard_writes = guard_writes;
	is_bosh = is_bosh;
	resend = resend;
	strip = strip;
};
