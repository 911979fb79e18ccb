-- Sends stanzas of clients without the text of a debug line that nobody logs: session.send() of core.sessionmanager makes it for
-- each stanza. While anybody logs debug lines, Prosody's own function is called.

local sessionmanager = require "core.sessionmanager";

local debug_sinks = module:require "debug_sinks";
local upvalues = module:require "upvalues";

local DEPTH = 4; -- wrappers around one another that are looked into

local c2s_sessions = module:shared "/*/c2s/sessions";

local send = {};
local prosodys = setmetatable({}, { __mode = "k" }); -- our function -> Prosody's

local maker = debug.getinfo(sessionmanager.new_session, "S");

-- Whether a function is the one that core.sessionmanager makes for this session. It makes two: rawsend() has more upvalues.
local function is_prosodys(func, session)
	local info = debug.getinfo(func, "Su");
	return info.source == maker.source and info.linedefined > maker.linedefined and info.lastlinedefined < maker.lastlinedefined
		and info.nups == 2 and upvalues.get(func, "filter") ~= nil and upvalues.get(func, "session") == session;
end

-- A function for the place of `own`, Prosody's. Both have the same upvalues `session` and `filter`: who moves the connection to
-- another session changes them by name. It refers to nothing of this module, so that it outlives it where it must.
local function make_lean(own)
	local sinks, session, filter = debug_sinks, nil, nil;
	local function lean(t)
		if sinks[1] or not (t.top_tag or t.match) then return own(t); end
		if t.name then t = filter("stanzas/out", t); end
		if t then return session.rawsend(t); end
		return true;
	end
	for _, name in ipairs { "session", "filter" } do
		local _, to = upvalues.get(lean, name);
		local _, from = upvalues.get(own, name);
		debug.upvaluejoin(lean, to, own, from);
	end
	prosodys[lean] = own;
	return lean;
end

local function leaner(func, session)
	return not prosodys[func] and is_prosodys(func, session) and make_lean(func) or nil;
end

local function original(func)
	return prosodys[func];
end

-- Puts a function into the place of another one that a wrapper calls, where find() knows one
local function exchange_within(wrapper, session, find, depth)
	for i = 1, upvalues.MAX do
		local name, value = debug.getupvalue(wrapper, i);
		if not name then return; end
		local other = type(value) == "function" and find(value, session);
		if other then
			debug.setupvalue(wrapper, i, other);
		elseif type(value) == "function" and depth > 1 and not prosodys[value] then
			exchange_within(value, session, find, depth - 1);
		end
	end
end

local function exchange(session, find)
	local current = session.send;
	if type(current) ~= "function" then return; end
	local other = find(current, session);
	if other then
		session.send = other;
	elseif not prosodys[current] then
		exchange_within(current, session, find, DEPTH);
	end
end

-- Every session of a client, also those whose connection is lost
local function each_session(visit, argument)
	for _, session in pairs(c2s_sessions) do visit(session, argument); end
	for _, session in pairs(prosody.full_sessions) do visit(session, argument); end
end

-- The first event of a session, before anything that could wrap its functions. Other transports' functions are not Prosody's
-- session.send().
local function on_features(event)
	local session = event.origin;
	local lean = type(session.send) == "function" and leaner(session.send, session);
	if lean then session.send = lean; end
end

local function watch(host)
	module:context(host):hook("stream-features", on_features, 1000);
end

function send.start()
	if not debug_sinks then
		module:log("warn", "Cannot send without debug lines: this version of Prosody is not supported");
		return;
	end
	for host in pairs(prosody.hosts) do watch(host); end
	module:hook_global("host-activated", watch);
	each_session(exchange, leaner);
end

function send.stop()
	each_session(exchange, original);
end

function send.figures()
	local count = 0;
	local function count_lean(func)
		if prosodys[func] then count = count + 1; end
	end
	for _, session in pairs(prosody.full_sessions) do exchange(session, count_lean); end
	return { { name = "lean_sessions", value = count } };
end

return send;
