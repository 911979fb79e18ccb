-- Whether a function that sends to a client is Prosody's own, so that nobody misses a stanza whose bytes are written without it.
--
--   direct_send(session, session.send)
--
-- Modules may put another function into session.send; it may do anything with a stanza.

local sessionmanager = require "core.sessionmanager";

local getinfo = debug.getinfo;

local own_source = getinfo(sessionmanager.new_session, "S").source;

-- Prosody gives functions a metatable by which upvalues are fields: util.startup.set_function_metatable()
local function is_own(session, send)
	return getinfo(send, "S").source == own_source and rawequal(send.session, session) and rawequal(send.filter, session.filter);
end

-- The answer for a function is kept in the session: this is asked for each copy of a message
return function (session, send)
	if session.direct_send ~= send then
		if session.indirect_send == send then return false; end
		session.direct_send = is_own(session, send) and send or nil;
		session.indirect_send = not session.direct_send and send or nil;
	end
	return session.direct_send == send;
end;
