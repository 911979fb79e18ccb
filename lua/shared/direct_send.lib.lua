-- Whether session.send() is Prosody's own function, or ours around it or in its place. Else another module may do anything in it with
-- a stanza, and the stanza must not be written as bytes without it.

local sessionmanager = require "core.sessionmanager";

local getinfo = debug.getinfo;

local ours = module:get_directory():match("^(.*)/");
local guard_source = "@"..ours.."/mod_smacks/connection.lib.lua";
local own_sources = {
	[getinfo(sessionmanager.new_session, "S").source] = true;
	["@"..ours.."/mod_stream_native/send.lib.lua"] = true;
};

-- Prosody gives functions a metatable by which upvalues are fields: util.startup.set_function_metatable()
local function is_own(session, send)
	local source = getinfo(send, "S").source:gsub("//+", "/");
	if source == guard_source then return type(send.send) == "function" and is_own(session, send.send); end
	return own_sources[source] and rawequal(send.session, session) and rawequal(send.filter, session.filter);
end

-- Answers, by function: this is asked for each copy of a message. Not in the session, where other modules would see them.
local direct, indirect = setmetatable({}, { __mode = "kv" }), setmetatable({}, { __mode = "kv" });

return function (session)
	local send = session.send;
	if direct[send] == session then return true; end
	if indirect[send] == session then return false; end
	local is_direct = is_own(session, send) or false;
	(is_direct and direct or indirect)[send] = session;
	return is_direct;
end;
