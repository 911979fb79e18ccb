-- Reloads the configuration, and with it the certificates, of a running Prosody: over its admin socket, which answers with failures,
-- or else by SIGHUP

local config = require "core.configmanager";
local new_stream = require "util.xmppstream".new;
local prosodyctl = require "util.prosodyctl";
local socket = require "socket";
local resolve_path = require "util.paths".resolve_relative_path;
local st = require "util.stanza";

local TIMEOUT = 30; -- seconds; a server with many hosts loads many certificates
local IDLE = 1; -- seconds before a signal: Prosody must have finished with our connections
local MAX_STANZA = 65536;
local READ_SIZE = 8192;
local COMMAND = "config:reload()";
local NO_SHELL = "mod_admin_shell"; -- serves the socket
local XMLNS_ADMIN, XMLNS_STREAMS = "xmpp:prosody.im/admin", "http://etherx.jabber.org/streams";
local NOT_RUNNING = "not-running"; -- of util.prosodyctl

-- The module differs between versions of LuaSocket.
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

-- The next data; or nil, text
local function receive(conn)
	if not socket.select({ conn }, nil, TIMEOUT)[1] then return nil, "admin socket: no answer"; end
	conn:settimeout(0);
	local data, err, partial = conn:receive(READ_SIZE);
	data = data or partial;
	if data == "" then return nil, "admin socket: "..err; end
	return data;
end

-- The result stanza in the text so far; or nil, and why there will be none. Parses from the beginning each time: libexpat may defer
-- a tag that arrives in pieces until much more data follows.
local function result_in(text)
	local answer, failure;
	local session, callbacks = { notopen = true }, { default_ns = XMLNS_ADMIN };
	function callbacks.streamopened() session.notopen = nil; end
	function callbacks.streamclosed() failure = failure or "admin socket: connection closed"; end
	function callbacks.error() failure = failure or "admin socket: unreadable answer"; end
	function callbacks.handlestanza(_, stanza)
		if stanza.name == "repl-result" then answer = stanza; end
	end
	local fed = new_stream(session, callbacks, MAX_STANZA):feed(text);
	return answer, failure or not fed and "admin socket: unreadable answer" or nil;
end

-- Sends the command, and waits for the result stanza. Returns it; or nil, text.
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
	if result.attr.type == "error" then return nil, "Prosody did not reload: "..result:get_text(); end
	return true;
end

-- Returns true; false if no server runs; or nil, text.
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
	return nil, "cannot signal Prosody: "..tostring(why);
end
