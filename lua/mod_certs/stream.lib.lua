-- The first words of an XMPP stream (RFC 6120): enough to see that XMPP is spoken, and to begin TLS (section 5)

local new_stream = require "util.xmppstream".new;
local st = require "util.stanza";

local wait = module:require "concurrently".wait;

local MAX_STANZA = 65536;
local MAX_TEXT = 200; -- of an error
local READ_SIZE = 8192;
local XMLNS_STREAMS = "http://etherx.jabber.org/streams";
local XMLNS_TLS = "urn:ietf:params:xml:ns:xmpp-tls";
local NAMESPACES = { ["xmpp-client"] = "jabber:client", ["xmpp-server"] = "jabber:server" };
local CLOSED = { closed = true, ["unexpected eof while reading"] = true }; -- the latter by TLS that was not ended
local DIRECTIONS = { timeout = "read", wantread = "read", wantwrite = "write" }; -- of sockets, and of LuaSec's

local stream = {};

-- TLS may hold data that the socket does not show, so it is read before each wait.
local function read(conn, deadline)
	while true do
		local data, err, partial = conn:receive(READ_SIZE);
		data = data or partial;
		if data and data ~= "" then return data; end
		local direction = DIRECTIONS[err];
		if not direction then return nil, CLOSED[err] and "the connection was closed" or err; end
		if not wait(conn, direction, deadline) then return nil, "no answer"; end
	end
end

local function describe_error(kind, stanza)
	if kind ~= "stream-error" then return "what came is no XMPP stream"; end
	local condition, text = "undefined-condition", nil;
	for _, tag in ipairs(stanza.tags) do
		if tag.name == "text" then text = tag:get_text(); else condition = tag.name; end
	end
	return "stream error "..condition..(text and (": "..text:sub(1, MAX_TEXT)) or "");
end

-- What the stream's header says of whom it is for, if that is somebody else. Prosody offers TLS to both on each port.
local function other_namespace(head, namespace)
	local _, found = head:match("%sxmlns%s*=%s*(['\"])(jabber:%a+)%1");
	return found ~= namespace and found or nil;
end

-- Some web servers answer without a status line when the request is not HTTP.
local function is_web(head)
	return head:find("^HTTP/") or head:lower():find("^%s*<!doctype html") or head:lower():find("^%s*<html");
end

-- Opens a stream, and reads until session.ready or session.failure is set, which callbacks(session) may do. Returns ready; or
-- false, text, and "stream" if the other side has answered as XMPP servers do.
local function converse(conn, target, deadline, add_callbacks)
	local namespace = NAMESPACES[target.service];
	local session, callbacks = { notopen = true }, { default_ns = namespace };
	function callbacks.streamopened() session.notopen = nil; end
	function callbacks.streamclosed() session.failure = session.failure or "the stream was closed"; end
	function callbacks.error(_, kind, stanza) session.failure = session.failure or describe_error(kind, stanza); end
	function callbacks.handlestanza() end
	add_callbacks(callbacks, session);

	local parser = new_stream(session, callbacks, MAX_STANZA);
	-- The line ends for the sake of web servers, which answer once they have read one
	conn:send("<?xml version='1.0'?>\n"..st.stanza("stream:stream", {
		xmlns = namespace, ["xmlns:stream"] = XMLNS_STREAMS, to = target.domain, version = "1.0",
	}):top_tag());
	local head = "";
	while not session.ready and not session.failure do
		local data, err = read(conn, deadline);
		if not data then return false, err, not session.notopen and "stream" or nil; end
		head = session.notopen and head..data or head;
		if is_web(head) then return false, "a web server answers, this is no XMPP stream"; end
		local other = other_namespace(head, namespace);
		if other then return false, ("what came is a stream of %s"):format(other); end
		if not parser:feed(data) then session.failure = session.failure or "what came is no XMPP stream"; end
	end
	return session.ready and not session.failure, session.failure, not session.notopen and "stream" or nil;
end

-- Whether the server offers TLS and is ready for it; or false, text, "stream"
function stream.start_tls(conn, target, deadline)
	return converse(conn, target, deadline, function (callbacks, session)
		function callbacks.handlestanza(_, stanza)
			if stanza.name == "features" and stanza.attr.xmlns == XMLNS_STREAMS then
				if stanza:get_child("starttls", XMLNS_TLS) then
					conn:send(tostring(st.stanza("starttls", { xmlns = XMLNS_TLS })));
				else
					session.failure = "TLS is not offered";
				end
			elseif stanza.attr.xmlns == XMLNS_TLS then
				session.ready = stanza.name == "proceed";
				if not session.ready then session.failure = "TLS is offered, but does not start"; end
			end
		end
	end);
end

-- Whether a stream is opened from the other side too, whatever comes of it; or false, text
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
