-- A request to speak in a moderated room (XEP-0045, section 7.13): Prosody takes it for granted that who asks is in the room

local jid_bare = require "util.jid".bare;

local AFTER_FENCE = 999; -- priority

return function (rooms, refusal)
	module:hook("pre-message/bare", function (event)
		local origin, stanza = event.origin, event.stanza;
		if stanza.attr.type == "groupchat" or not stanza:get_child("x", "jabber:x:data") then return; end
		local room = rooms.find(jid_bare(stanza.attr.to));
		if not room or room:get_occupant_by_real_jid(origin.full_jid) then return; end
		return refusal.stanza(event, "not-allowed", "cancel", "not-allowed", "Enter the room first");
	end, AFTER_FENCE);
end
