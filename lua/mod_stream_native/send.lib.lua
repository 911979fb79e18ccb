-- Sends stanzas without the text of a debug line that nobody logs: Prosody's functions make it for each stanza. While anybody logs
-- debug lines, they are called as before.

local sessionmanager = require "core.sessionmanager";

local debug_sinks = module:require "debug_sinks";
local exchange = module:require "exchange";
local upvalues = module:require "upvalues";

local tostring = tostring; -- our functions must not refer to this module's environment

local c2s_sessions = module:shared "/*/c2s/sessions";
local s2s_sessions = module:shared "/*/s2s/sessions";

local send = {};
local prosodys = setmetatable({}, { __mode = "k" }); -- our function -> Prosody's

local maker = debug.getinfo(sessionmanager.new_session, "S");

-- Kinds of sessions. is_own(func, session): whether a function is the one that Prosody makes for this session. make(own): a function
-- for its place. joined: upvalues that both share: who moves the connection to another session changes them by name.
-- A made function refers to nothing of this module, so that it may outlive it.

local client = { field = "send", joined = { "session", "filter" } };

-- core.sessionmanager makes two functions: rawsend() has more upvalues
function client.is_own(func, session)
	local info = debug.getinfo(func, "Su");
	return info.source == maker.source and info.linedefined > maker.linedefined and info.lastlinedefined < maker.lastlinedefined
		and info.nups == 2 and upvalues.get(func, "filter") ~= nil and upvalues.get(func, "session") == session;
end

function client.make(own)
	local sinks, session, filter = debug_sinks, nil, nil;
	return function (t)
		if sinks[1] or not (t.top_tag or t.match) then return own(t); end
		if t.name then t = filter("stanzas/out", t); end
		if t then return session.rawsend(t); end
		return true;
	end
end

local server = { field = "sends2s", joined = { "filter" } };

function server.is_own(func, session)
	return debug.getinfo(func, "S").source:find("[/\\]mod_s2s%.lua$") ~= nil and upvalues.get(func, "filter") ~= nil
		and upvalues.get(func, "conn") ~= nil and upvalues.get(func, "session") == session;
end

-- Prosody's function does the rest: with a string it makes a short text
function server.make(own)
	local sinks, filter = debug_sinks, nil;
	return function (t)
		if sinks[1] or not (t.top_tag and t.name) then return own(t); end
		t = filter("stanzas/out", t);
		if t then return own(tostring(t)); end
	end
end

-- Returns a find() for exchange() that gives our function for Prosody's
local function leaner(kind)
	return function (func, session)
		if prosodys[func] then return false; end
		if not kind.is_own(func, session) then return nil; end
		local lean = kind.make(func);
		for _, name in ipairs(kind.joined) do
			local _, to = upvalues.get(lean, name);
			local _, from = upvalues.get(func, name);
			debug.upvaluejoin(lean, to, func, from);
		end
		prosodys[lean] = func;
		return lean;
	end
end
client.find, server.find = leaner(client), leaner(server);

-- The other way round
local function original(func)
	return prosodys[func];
end

-- Calls exchange() for every session, also those whose connection is lost
local function exchange_all(client_find, server_find)
	for _, list in ipairs { c2s_sessions, prosody.full_sessions } do
		for _, session in pairs(list) do exchange(session, client.field, client_find); end
	end
	for _, session in pairs(s2s_sessions) do exchange(session, server.field, server_find); end
end

-- The first event of a session, before anything wraps its functions. A function that is not Prosody's, as that of BOSH, stays.
local function start_session(kind, session)
	local own = session[kind.field];
	local lean = type(own) == "function" and kind.find(own, session);
	if lean then session[kind.field] = lean; end
end

local function watch(host)
	module:context(host):hook("stream-features", function (event) start_session(client, event.origin); end, 1000);
end

function send.start()
	if not debug_sinks then
		module:log("warn", "Cannot send without debug lines: this version of Prosody is not supported");
		return;
	end
	for host in pairs(prosody.hosts) do watch(host); end
	module:hook_global("host-activated", watch);
	module:hook_global("s2s-created", function (event) start_session(server, event.session); end, 1000);
	exchange_all(client.find, server.find);
end

function send.stop()
	exchange_all(original, original);
end

function send.figures()
	local clients, servers = 0, 0;
	local function count(func)
		if not prosodys[func] then return nil; end
		clients = clients + 1;
		return false;
	end
	local function count_server(func)
		if not prosodys[func] then return nil; end
		servers = servers + 1;
		return false;
	end
	for _, session in pairs(prosody.full_sessions) do exchange(session, client.field, count); end
	for _, session in pairs(s2s_sessions) do exchange(session, server.field, count_server); end
	return { { name = "lean_clients", value = clients }, { name = "lean_servers", value = servers } };
end

return send;
