-- The history that an occupant gets on joining, where the archive has more than the room remembers

local stored = module:require "stored";

local datetime = require "util.datetime".datetime;

local DEFAULT_LENGTH = 20; -- of Prosody's rooms

local muc_mam;

-- The most messages of a room's history
local function length_of(room)
	return math.min(room._data.history_length or DEFAULT_LENGTH, muc_mam.options.max_history_messages or math.huge);
end

local function with_delay(room, item, id, when, to)
	local stanza = stored.read(room, item);
	stanza.attr.to = to;
	stanza:tag("delay", { xmlns = "urn:xmpp:delay", from = room.jid, stamp = datetime(when) }):up();
	stanza:tag("stanza-id", { xmlns = "urn:xmpp:sid:0", by = room.jid, id = id }):up();
	return stanza;
end

-- The newest messages that have `chars` characters together, newest first
local function collect(room, items, chars, to)
	local found = {};
	for id, item, when in items do
		local stanza = with_delay(room, item, id, when, to);
		if chars then
			chars = chars - #tostring(stanza);
			if chars < 0 then break; end
		end
		found[#found + 1] = stanza;
	end
	return found;
end

module:hook("muc-get-history", function (event)
	local room, chars = event.room, event.maxchars;
	if not muc_mam.is_archived(room) or event.maxstanzas == 0 or chars == 0 then return; end
	local limit = math.min(event.maxstanzas or math.huge, length_of(room));
	if room._history and #room._history >= limit then return; end -- the room remembers enough

	local items, err = muc_mam.archive:find(muc_mam.name_of(room), {
		limit = limit, start = event.since, reverse = true, with = stored.WITH;
	});
	if not items then
		module:log("error", "Could not fetch history: %s", err);
		return;
	end
	local found = collect(room, items, chars, event.to);
	function event.next_stanza() return table.remove(found); end
	return true;
end, 1);

return function (parts)
	muc_mam = parts;
end
