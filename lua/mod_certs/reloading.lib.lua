-- Tells a running Prosody to read its configuration anew, and with it the certificates: over its admin socket, where a failure
-- comes back as an answer, or else by SIGHUP.

local config = require "core.configmanager";
local new_stream = require "util.xmppstream".new;
local prosodyctl = require "util.prosodyctl";
local socket = require "socket";
local resolve_path = require "util.paths".resolve_relative_path;
local st = require "util.stanza";

local TIMEOUT = 30; -- seconds; a server with many hosts reads many certificates
local IDLE = 1; -- seconds before a signal: Prosody obeys in the middle of what it does, and has to be through with our connections
local MAX_STANZA = 65536;
local READ_SIZE = 8192;
local COMMAND = "config:reload()";
local NO_SHELL = "mod_admin_shell"; -- which answers on the socket
local XMLNS_ADMIN, XMLNS_STREAMS = "xmpp:prosody.im/admin", "http://etherx.jabber.org/streams";
local NOT_RUNNING = "not-running"; -- of util.prosodyctl

-- LuaSocket has had two shapes of this.
local function new_socket()
	local ok, unix = pcall(require, "socket.unix");
	if not ok then return nil; end
	return type(unix) == "table" and unix.stream() or unix();
end

local function connect()
	local path = resolve_path(prosody.paths.data, config.get("*", "admin_socket") or "prosody.sock");
	local conn = new_socket();
	if not conn then return nil; end
	conn:settimeout(TIMEOUT);
	if conn:connect(path) then return conn; end
	conn:close();
	return nil;
end

-- More of what is sent; or nil, text
local function receive(conn)
	if not socket.select({ conn }, nil, TIMEOUT)[1] then return nil, "the admin socket: no answer"; end
	conn:settimeout(0);
	local data, err, partial = conn:receive(READ_SIZE);
	data = data or partial;
	if data == "" then return nil, "the admin socket: "..err; end
	return data;
end

-- The result in the text so far, a stanza; or nil, and why none can come. It is parsed from its beginning each time: libexpat
-- may put off a tag that comes in pieces until there is much more to read.
local function result_in(text)
	local answer, failure;
	local session, callbacks = { notopen = true }, { default_ns = XMLNS_ADMIN };
	function callbacks.streamopened() session.notopen = nil; end
	function callbacks.streamclosed() failure = failure or "the admin socket was closed"; end
	function callbacks.error() failure = failure or "what the admin socket says cannot be read"; end
	function callbacks.handlestanza(_, stanza)
		if stanza.name == "repl-result" then answer = stanza; end
	end
	local fed = new_stream(session, callbacks, MAX_STANZA):feed(text);
	return answer, failure or not fed and "what the admin socket says cannot be read" or nil;
end

-- Sends what makes it reload, and waits for the result: a stanza; or nil, text.
local function ask(conn)
	conn:send("<?xml version='1.0'?>"..st.stanza("stream:stream", { xmlns = XMLNS_ADMIN, ["xmlns:stream"] = XMLNS_STREAMS }):top_tag()
		..tostring(st.stanza("repl-input", { repl = "0" }):text(COMMAND)));
	local text, answer, failure = "", nil, nil;
	while not answer and not failure do
		local data, err = receive(conn);
		if not data then return nil, err; end
		text = text..data;
		answer, failure = result_in(text);
	end
	return answer, failure;
end

local function over_socket(conn)
	local result, err = ask(conn);
	conn:close();
	if not result then return nil, err; end
	if result.attr.type == "error" then return nil, "Prosody has not reloaded: "..result:get_text(); end
	return true;
end

-- Returns true; false, if no server runs; or nil, text.
return function ()
	local conn = connect();
	local err;
	if conn then
		local ok;
		ok, err = over_socket(conn);
		if ok then return true; end
		if not err:find(NO_SHELL, 1, true) then return nil, err; end
	end
	local known, running = prosodyctl.isrunning();
	if not known or not running then
		if conn then return nil, err; end
		return false;
	end
	socket.sleep(IDLE);
	local ok, why = prosodyctl.reload();
	if ok then return true; end
	if why == NOT_RUNNING then return false; end
	return nil, "Prosody cannot be signalled: "..tostring(why);
end
