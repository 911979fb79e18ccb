-- Streams to XMPP servers (RFC 6120), many at a time: opened to see that the server speaks XMPP, and to start TLS (section 5)

local socket = require "socket";
local new_stream = require "util.xmppstream".new;
local st = require "util.stanza";

local LIMIT = 50; -- conversations at a time
local MAX_STANZA = 65536;
local MAX_TEXT = 200; -- of an error
local READ_SIZE = 8192;
local XMLNS_STREAMS = "http://etherx.jabber.org/streams";
local XMLNS_TLS = "urn:ietf:params:xml:ns:xmpp-tls";
local NAMESPACES = { ["xmpp-client"] = "jabber:client", ["xmpp-server"] = "jabber:server" };
local CLOSED = { closed = true, ["unexpected eof while reading"] = true }; -- the latter from TLS without a closure alert
local DIRECTIONS = { timeout = "read", wantread = "read", wantwrite = "write" }; -- errors of LuaSocket and of LuaSec

local stream = {};

-- ---- Conversations over nonblocking sockets ----

-- Within a conversation: waits until a socket is ready to "read" or "write"; returns false at the deadline, seconds as of
-- socket.gettime().
function stream.wait(conn, direction, deadline)
	return coroutine.yield({ conn = conn, direction = direction, deadline = deadline });
end

-- Resumes a conversation until its next wait, which it adds to `waits`.
local function resume(waits, thread, ready)
	local ok, wait = coroutine.resume(thread, ready);
	if not ok then error(wait, 0); end
	if wait then
		wait.thread = thread;
		table.insert(waits, wait);
	end
end

-- The sockets that are ready, as keys of `read` and `write`; none if the next deadline came first
local function select_ready(waits)
	local sets, deadline = { read = {}, write = {} }, math.huge;
	for _, wait in ipairs(waits) do
		table.insert(sets[wait.direction], wait.conn);
		deadline = math.min(deadline, wait.deadline);
	end
	local readable, writable = socket.select(sets.read, sets.write, math.max(0, deadline - socket.gettime()));
	return { read = readable, write = writable };
end

-- Runs functions, the conversations, as coroutines until all have returned. They must not raise errors.
function stream.run(functions)
	local waits, started = {}, 0;
	while true do
		while #waits < LIMIT and started < #functions do
			started = started + 1;
			resume(waits, coroutine.create(functions[started]));
		end
		if not waits[1] then return; end
		local ready, before = select_ready(waits), waits;
		local now = socket.gettime();
		waits = {};
		for _, wait in ipairs(before) do
			local is_ready = ready[wait.direction][wait.conn] ~= nil;
			if is_ready or wait.deadline <= now then
				resume(waits, wait.thread, is_ready);
			else
				table.insert(waits, wait);
			end
		end
	end
end

-- ---- Streams ----

-- LuaSec may have buffered data, which select() does not see: reads before it waits.
local function read(conn, deadline)
	while true do
		local data, err, partial = conn:receive(READ_SIZE);
		data = data or partial;
		if data and data ~= "" then return data; end
		local direction = DIRECTIONS[err];
		if not direction then return nil, CLOSED[err] and "the connection was closed" or err; end
		if not stream.wait(conn, direction, deadline) then return nil, "no answer"; end
	end
end

local function describe_error(kind, stanza)
	if kind ~= "stream-error" then return "the answer is not an XMPP stream"; end
	local condition, text = "undefined-condition", nil;
	for _, tag in ipairs(stanza.tags) do
		if tag.name == "text" then text = tag:get_text(); else condition = tag.name; end
	end
	return "stream error "..condition..(text and (": "..text:sub(1, MAX_TEXT)) or "");
end

-- The namespace in the stream header, if it is another one. Prosody offers TLS to clients and servers on each port.
local function other_namespace(head, namespace)
	local _, found = head:match("%sxmlns%s*=%s*(['\"])(jabber:%a+)%1");
	return found ~= namespace and found or nil;
end

-- Some web servers answer a request that is not HTTP without a status line.
local function is_web(head)
	return head:find("^HTTP/") or head:lower():find("^%s*<!doctype html") or head:lower():find("^%s*<html");
end

-- Opens a stream, and reads until a callback sets session.ready or session.failure. Returns ready; or false, text, and "stream"
-- if the server has opened a stream, too.
local function converse(conn, target, deadline, add_callbacks)
	local namespace = NAMESPACES[target.service];
	local session, callbacks = { notopen = true }, { default_ns = namespace };
	function callbacks.streamopened() session.notopen = nil; end
	function callbacks.streamclosed() session.failure = session.failure or "the stream was closed"; end
	function callbacks.error(_, kind, stanza) session.failure = session.failure or describe_error(kind, stanza); end
	function callbacks.handlestanza() end
	add_callbacks(callbacks, session);

	local parser = new_stream(session, callbacks, MAX_STANZA);
	-- Web servers answer after a line feed.
	conn:send("<?xml version='1.0'?>\n"..st.stanza("stream:stream", {
		xmlns = namespace, ["xmlns:stream"] = XMLNS_STREAMS, to = target.domain, version = "1.0",
	}):top_tag());
	local head = "";
	while not session.ready and not session.failure do
		local data, err = read(conn, deadline);
		if not data then return false, err, not session.notopen and "stream" or nil; end
		head = session.notopen and head..data or head;
		if is_web(head) then return false, "a web server answers, not an XMPP server"; end
		local other = other_namespace(head, namespace);
		if other then return false, ("the answer is a stream of %s"):format(other); end
		if not parser:feed(data) then session.failure = session.failure or "the answer is not an XMPP stream"; end
	end
	return session.ready and not session.failure, session.failure, not session.notopen and "stream" or nil;
end

-- Whether the server offers STARTTLS and proceeds; or false, text, "stream" or nil
function stream.start_tls(conn, target, deadline)
	return converse(conn, target, deadline, function (callbacks, session)
		function callbacks.handlestanza(_, stanza)
			if stanza.name == "features" and stanza.attr.xmlns == XMLNS_STREAMS then
				if stanza:get_child("starttls", XMLNS_TLS) then
					conn:send(tostring(st.stanza("starttls", { xmlns = XMLNS_TLS })));
				else
					session.failure = "the server does not offer TLS";
				end
			elseif stanza.attr.xmlns == XMLNS_TLS then
				session.ready = stanza.name == "proceed";
				if not session.ready then session.failure = "the server offers TLS, but does not start it"; end
			end
		end
	end);
end

-- Whether the server opens a stream, even with an error; or false, text
function stream.open(conn, target, deadline)
	local _, text, reached = converse(conn, target, deadline, function (callbacks, session)
		function callbacks.streamopened()
			session.notopen = nil;
			session.ready = true;
		end
	end);
	return reached == "stream", text;
end

return stream;
