-- The connection of a session, on any transport: writing to it, ending it, and doing without it

local sessionmanager = require "core.sessionmanager";
local websocket_frames = require "net.websocket.frames";
local st = require "util.stanza";

local xmlns_bosh = "http://jabber.org/protocol/httpbind";
local xmlns_framing = "urn:ietf:params:xml:ns:xmpp-framing";
local xmlns_streams = "http://etherx.jabber.org/streams";
local xmlns_stream_errors = "urn:ietf:params:xml:ns:xmpp-streams";

local c2s_sessions = module:shared("/*/c2s/sessions");
local bosh_sessions = module:shared("/*/bosh/sessions");

local connection = {};

function connection.is_bosh(session)
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

-- Closes a connection at once. Unread data would otherwise stay in memory until the peer reads it, or for minutes: up to
-- all of the queue, which has it too.
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

-- Makes send() succeed for a stanza that is queued or refused, even if it cannot be written: otherwise its sender, or
-- Prosody's routing, would look for another way. A later stanza must not be written either, for the peer would count it
-- in the place of this one.
function connection.guard_writes(session)
	local name = session.sends2s and "sends2s" or "send";
	local send, writing = session[name], {}; -- answer: "queued" or "refused", of the stanza that is sent
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

-- Writes bytes of stanzas that are queued
function connection.write_queued(session, bytes)
	if not session.conn then return true; end -- a limit has just ended its connection
	local ok, err = session.rawsend(bytes);
	if not ok and session.conn then give_up(session); end
	return true, err;
end

-- Parts a session from its connection, which is lost
function connection.detach(session)
	if connection.is_bosh(session) then
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
	if has_unread(conn) then -- the peer does not read, so it would not read the error
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

-- Ends the stream of a session, if it still has one, with an error
function connection.close(session, condition, text)
	if not session.conn then return; end
	local error = stream_error(condition, text);
	if connection.is_bosh(session) then end_bosh(session, error); else end_stream(session, error); end
end

-- Fields that a session without a connection does not need: parser, coroutine, buffers, TLS
local of_connection = {
	"ssl_ctx", "sasl_handler", "stream", "stream_attrs", "rawsend", "data", "thread",
	"open_stream", "reset_stream", "dispatch_stanza", "websocket_request",
};

-- Frees everything of a session without connection that a resumption replaces. Returns whether it was possible: while a
-- handler waits, the stanzas behind it need it.
function connection.strip(session)
	if session.thread and session.thread.state ~= "ready" then return false; end
	for _, name in ipairs(of_connection) do session[name] = nil; end
	session.filters["bytes/in"], session.filters["bytes/out"] = nil, nil;
	function session.send(data)
		if data.name then session.filter("stanzas/out", data); end
		return true;
	end
	return true;
end

return function () return connection; end
