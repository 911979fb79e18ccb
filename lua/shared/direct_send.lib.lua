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

-- The answer for a function is kept in the session: this is asked for each copy of a message
return function (session)
	local send = session.send;
	if session.direct_send == send then return true; end
	if session.indirect_send == send then return false; end
	local is_direct = is_own(session, send) or false;
	session[is_direct and "direct_send" or "indirect_send"] = send;
	return is_direct;
end;
