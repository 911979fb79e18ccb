-- A visitor whose tab was killed logs in as another user, while the old session hibernates in the room under the visitor's
-- name. The visitor proves to be the same by the old session's id, which nobody else knows, and that session ends:
-- <iq type='set' to='HOST'><replace xmlns='https://prosody.im/protocol/webchat' session='ID'/></iq>

local st = require "util.stanza";

local ATTEMPTS = 5; -- of a session: its page asks once, and each attempt looks through all sessions

local XMLNS = "https://prosody.im/protocol/webchat";

return function (rooms, visitors)

	-- The id that resumes it (XEP-0198), or that of a BOSH session, which is as secret (XEP-0124, section 17.2)
	local function has_id(session, id)
		return session.resumption_token == id or session.bosh_version ~= nil and session.sid == id;
	end

	local function find(id)
		for _, user in pairs(prosody.hosts[module.host].sessions) do
			for _, session in pairs(user.sessions) do
				if has_id(session, id) then return session; end
			end
		end
	end

	local function leave_rooms(session)
		for room in rooms.each_live() do
			local occupant = room:get_occupant_by_real_jid(session.full_jid);
			local leaving = occupant and st.presence { from = session.full_jid, to = occupant.nick, type = "unavailable" };
			if leaving then room:handle_normal_presence(session, leaving); end
		end
	end

	module:hook("iq-set/host/" .. XMLNS .. ":replace", function (event)
		local origin, stanza = event.origin, event.stanza;
		local id = stanza.tags[1].attr.session;
		origin.webchat_attempts = (origin.webchat_attempts or 0) + 1;
		if origin.webchat_attempts > ATTEMPTS then
			origin.send(st.error_reply(stanza, "cancel", "policy-violation", "You have asked for this too often"));
			return true;
		end
		local old = id and origin.host == module.host and find(id);
		if not old or old == origin then
			origin.send(st.error_reply(stanza, "cancel", "item-not-found", "This session has ended"));
			return true;
		end
		visitors.inherit(origin, old); -- bans and costs are the visitor's, not the session's
		leave_rooms(old);
		old.log("info", "Replaced by %s: the visitor has come back in a new tab", origin.full_jid);
		old:close { condition = "conflict", text = "You have come back in another tab" };
		origin.send(st.reply(stanza));
		return true;
	end);
end
