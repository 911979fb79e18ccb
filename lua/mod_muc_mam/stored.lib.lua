-- Messages of a room as its archive returns them, without what a reader must not see

local st = require "util.stanza";

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local stored = {
	WITH = "message<groupchat"; -- what the archive is searched for, see messages.lib.lua
};

local function is_item(child)
	return child.name == "x" and child.attr.xmlns == xmlns_muc_user;
end

-- Returns a stanza without "to", and with the sender's real JID only where the room shows it to everybody
function stored.read(room, item)
	local stanza = st.is_stanza(item) and item or st.deserialize(item);
	if room:get_whois() ~= "anyone" then
		stanza:maptags(function (child) return not is_item(child) and child or nil; end);
	end
	stanza.attr.to = nil;
	return stanza;
end

-- The same question for bytes; true also where a text mentions the namespace
function stored.may_have_item(xml)
	return xml:find(xmlns_muc_user, 1, true) ~= nil;
end

return stored;
