-- <stanza-id/> of XEP-0359: ids that archives give to messages

local root = module:require "stanza_root";

local jid_prepped_split = require "util.jid".prepped_split;
local stanza_mt = require "util.stanza".stanza_mt;

local xmlns_sid = "urn:xmpp:sid:0";

local stanza_id = {
	is_unchanged = root.is_unchanged; -- (marked, stanza): whether `marked`, which add() made of `stanza`, is as it was then
};

local function is_id(tag)
	return tag.name == "stanza-id" and tag.attr.xmlns == xmlns_sid;
end

local function is_by(tag, user, host)
	if not is_id(tag) then return false; end
	local by_user, by_host, resource = jid_prepped_split(tag.attr.by);
	return by_host == host and by_user == user and resource == nil;
end

-- Returns the stanza without ids that claim to be from the archive of user@host (user may be nil). A stanza with any id is returned as a
-- copy, as Prosody's module does: rooms give one stanza to all occupants, and mod_carbons removes <private/> from what it gets.
function stanza_id.strip(stanza, user, host)
	for _, tag in ipairs(stanza.tags) do
		if is_id(tag) then
			return root.copy_without(stanza, function (child) return is_by(child, user, host); end);
		end
	end
	return stanza;
end

-- The id that the archive `by` (a bare JID) has given to a message, or nil
function stanza_id.get(stanza, by)
	local found = stanza:get_child_with_attr("stanza-id", xmlns_sid, "by", by);
	return found and found.attr.id;
end

-- Returns a copy of the stanza with the id that the archive `by` has given to it. It shares its other children with the stanza.
function stanza_id.add(stanza, by, id)
	-- not st.stanza(), which checks each value: these are Prosody's own
	local element = { name = "stanza-id", attr = { xmlns = xmlns_sid, by = by, id = id }, tags = {} };
	return root.copy_with(stanza, setmetatable(element, stanza_mt));
end

return stanza_id;
