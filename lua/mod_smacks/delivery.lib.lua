-- What becomes of a stanza that can no longer be delivered: it is stored offline, left to the
-- archive, or bounced - exactly one of them.

local jid = require "util.jid";
local st = require "util.stanza";

local local_sessions = prosody.hosts[module.host].sessions;

local function may_bounce(session, stanza)
	local stanza_type = stanza.attr.type;
	if stanza_type == "error" or stanza.attr.from == session.full_jid then return false; end
	return not (stanza.name == "iq" and stanza_type == "result"); -- RFC 6120, section 8.2.3
end

-- session is still known to the rest of the server
local function fail(session, stanza)
	if module:fire_event("delivery/failure", { session = session, stanza = stanza }) then return; end
	if may_bounce(session, stanza) then
		local by = jid.join(session.username, session.host or module.host);
		module:send(st.error_reply(stanza, "cancel", "recipient-unavailable", nil, by));
	end
end

local function is_archived(session, stanza)
	local by = jid.bare(session.full_jid);
	local stanza_id = stanza:get_child_with_attr("stanza-id", "urn:xmpp:sid:0", "by", by);
	return session.mam_requested and stanza_id and stanza_id.attr.id;
end

local function is_only_session(session)
	local user = local_sessions[session.username];
	local sessions = user and user.sessions;
	return sessions and next(sessions) == session.resource and next(sessions, session.resource) == nil;
end

local function is_message_to_keep(stanza)
	if stanza.name ~= "message" or stanza.attr.xmlns then return false; end
	return (stanza.attr.type or "normal") == "normal" or stanza.attr.type == "chat";
end

-- Returns true if the stanza needs no error
module:hook("delivery/failure", function (event)
	local session, stanza = event.session, event.stanza;
	if not session.username or not is_message_to_keep(stanza) then return; end
	if stanza:get_child("result", "urn:xmpp:mam:2") then
		return true; -- an answer from the archive, which the client will ask again
	elseif is_archived(session, stanza) then
		session.log("debug", "Undelivered message is left to the archive");
		return true; -- this client reads its archive
	elseif is_only_session(session) then
		local stored = module:fire_event("message/offline/handle",
			{ origin = session, username = session.username, stanza = stanza });
		session.log("debug", "Undelivered message was %s", stored and "stored offline" or "not stored offline");
		return stored;
	end
end);

return fail;
