-- The certificates that servers send, each over a connection of its own that ends with the TLS handshake

local idna = require "util.encodings".idna;
local new_stream = require "util.xmppstream".new;
local socket = require "socket";
local ssl = require "ssl";
local st = require "util.stanza";

local concurrently = module:require "concurrently";

local wait = concurrently.wait;

-- How OpenSSL calls the alert of a server that has no certificate for the name, or no version or cipher in common
local NOTHING_SHARED, HINT = "alert handshake failure", "; has the server a certificate for this host?";
local TIMEOUT = 10; -- seconds for one address, from connecting to the end of the handshake
local MAX_STANZA = 65536;
local MAX_TEXT = 200; -- of an error
local READ_SIZE = 8192;
local XMLNS_STREAMS = "http://etherx.jabber.org/streams";
local XMLNS_TLS = "urn:ietf:params:xml:ns:xmpp-tls";
local STREAM_NAMESPACES = { ["xmpp-client"] = "jabber:client", ["xmpp-server"] = "jabber:server" };

local fetch = {};

function fetch.is_address(text)
	return text:find(":", 1, true) ~= nil or text:find("^%d+%.%d+%.%d+%.%d+$") ~= nil;
end

-- Nothing is secret and nothing trusted here: what is weak is to be seen, not refused.
local function new_context(target)
	return ssl.newcontext {
		mode = "client"; protocol = "any"; verify = "none"; options = { "all", "no_sslv2", "no_sslv3" };
		ciphers = "DEFAULT:@SECLEVEL=0"; alpn = target.tls == "direct" and target.service or nil;
	};
end

local function connect(target, deadline)
	local conn = target.address:find(":", 1, true) and socket.tcp6() or socket.tcp4();
	conn:settimeout(0);
	local _, err = conn:connect(target.address, target.port);
	if err == "timeout" then
		err = "no answer";
		if wait(conn, "write", deadline) then err = conn:getoption("error"); end
	end
	if not err then return conn; end
	conn:close();
	return nil, err;
end

-- ---- STARTTLS (RFC 6120 section 5) ----

local function read(conn, deadline)
	if not wait(conn, "read", deadline) then return nil, "no answer"; end
	local data, err, partial = conn:receive(READ_SIZE);
	data = data or partial;
	if data == "" then return nil, err == "closed" and "the connection was closed" or err; end
	return data;
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

-- Whether the server offers TLS and is ready for it; or false, text, "stream" if it has answered as XMPP servers do
local function start_tls(conn, target, deadline)
	local namespace = STREAM_NAMESPACES[target.service];
	local session, ready, failure = { notopen = true }, false, nil;

	local callbacks = { default_ns = namespace };
	function callbacks.streamopened() session.notopen = nil; end
	function callbacks.streamclosed() failure = failure or "the stream was closed"; end
	function callbacks.error(_, kind, stanza) failure = failure or describe_error(kind, stanza); end
	function callbacks.handlestanza(_, stanza)
		if stanza.name == "features" and stanza.attr.xmlns == XMLNS_STREAMS then
			if stanza:get_child("starttls", XMLNS_TLS) then
				conn:send(tostring(st.stanza("starttls", { xmlns = XMLNS_TLS })));
			else
				failure = "TLS is not offered";
			end
		elseif stanza.attr.xmlns == XMLNS_TLS then
			ready = stanza.name == "proceed";
			if not ready then failure = "TLS is offered, but does not start"; end
		end
	end

	local stream = new_stream(session, callbacks, MAX_STANZA);
	conn:send("<?xml version='1.0'?>"..st.stanza("stream:stream", {
		xmlns = namespace, ["xmlns:stream"] = XMLNS_STREAMS, to = target.domain, version = "1.0",
	}):top_tag());
	local head = "";
	while not ready and not failure do
		local data, err = read(conn, deadline);
		if not data then return false, err, not session.notopen and "stream" or nil; end
		head = session.notopen and head..data or head;
		local other = other_namespace(head, namespace);
		if other then return false, ("what came is a stream of %s"):format(other); end
		if not stream:feed(data) then failure = failure or "what came is no XMPP stream"; end
	end
	return ready and not failure, failure, not session.notopen and "stream" or nil;
end

-- ---- TLS ----

local function pem_of(chain)
	local texts = {};
	for i, cert in ipairs(chain) do texts[i] = cert:pem(); end
	return texts[1] and table.concat(texts) or nil;
end

local DIRECTIONS = { wantread = "read", wantwrite = "write" };

-- Returns whether it is done, or false, text
local function shake_hands(conn, deadline)
	local ok, err;
	repeat
		ok, err = conn:dohandshake();
		local direction = DIRECTIONS[err];
		if direction and not wait(conn, direction, deadline) then return false, "no answer"; end
	until ok or not direction;
	return ok, err;
end

local function explained(text)
	return text:find(NOTHING_SHARED, 1, true) and text..HINT or text;
end

local function handshake(conn, target, deadline)
	local context, err = new_context(target);
	if not context then return nil, err; end
	conn, err = ssl.wrap(conn, context);
	if not conn then return nil, err; end
	if not fetch.is_address(target.domain) then conn:sni(idna.to_ascii(target.domain) or target.domain); end
	conn:settimeout(0);
	local ok, text = shake_hands(conn, deadline);
	local pem = ok and pem_of(conn:getpeerchain());
	conn:close();
	if not ok then return nil, "TLS handshake: "..explained(tostring(text)); end
	if not pem then return nil, "no certificate was sent"; end
	return pem;
end

local function chain(target)
	local deadline = socket.gettime() + TIMEOUT;
	local conn, err = connect(target, deadline);
	if not conn then return { err = err }; end
	local ok, reached, pem = true, nil, nil;
	if target.tls == "starttls" then ok, err, reached = start_tls(conn, target, deadline); end
	if ok then pem, err = handshake(conn, target, deadline); end
	conn:close();
	return pem and { pem = pem } or { err = err, reached = reached or "connected" };
end

-- targets: array of { address =, port =, tls = "starttls" or "direct", service = "xmpp-client" or "xmpp-server", domain =
-- whom to ask for }, asked at the same time. Returns an array of { pem = the chain in the order it was sent }, or
-- { err = text, reached = how far it went: nil, "connected", or "stream", where the other side speaks XMPP to such clients }.
function fetch.chains(targets)
	local replies, conversations = {}, {};
	for i, target in ipairs(targets) do
		conversations[i] = function () replies[i] = chain(target); end;
	end
	concurrently.run(conversations);
	return replies;
end

return fetch;
