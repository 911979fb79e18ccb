-- Archives the messages of rooms, and gives them the ids of the archive (XEP-0359)

local datetime = require "util.datetime".datetime;
local jid = require "util.jid";
local st = require "util.stanza";

local xmlns_muc = "http://jabber.org/protocol/muc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";
local xmlns_sid = "urn:xmpp:sid:0";

local time_now = pcall(datetime, 0.5) and require "util.time".now or os.time; -- 0.12 cannot format fractions of a second

local muc_mam;

local function name_of(room)
	return (jid.split(room.jid));
end

--- Ids that claim to be from the room

local function is_claim(tag, room)
	return tag.name == "stanza-id" and tag.attr.xmlns == xmlns_sid and jid.prep(tag.attr.by) == room.jid;
end

-- In the stanza itself: the room sends it after the event
local function strip_claims(event)
	local room, stanza = event.room, event.stanza;
	for _, tag in ipairs(stanza.tags) do
		if is_claim(tag, room) then
			stanza:maptags(function (child) return not is_claim(child, room) and child or nil; end);
			return;
		end
	end
end

for _, name in ipairs { "muc-broadcast-message", "muc-private-message", "muc-invite", "muc-decline" } do
	module:hook(name, strip_claims, 1);
end

--- Archiving

-- Who sent it, with the real JID
local function item_of(room, nick)
	local occupant = room._occupants[nick];
	if not occupant then return nil; end
	local actor = jid.bare(occupant.jid);
	local affiliation = room:get_affiliation(actor) or "none";
	local role = room:get_role(actor) or room:get_default_role(affiliation);
	return st.stanza("x", { xmlns = xmlns_muc_user }):tag("item", { affiliation = affiliation, role = role, jid = actor }):reset();
end

local function with_sender(room, stanza)
	local stored = st.clone(stanza);
	stored.attr.to = nil;
	local item = item_of(room, stanza.attr.from);
	if item then stored:add_direct_child(item); end
	return stored;
end

-- with: what the archive is searched for. Presence has another one than messages.
local function archive(room, stanza)
	if not muc_mam.is_archived(room) then return; end
	local stored = stanza;
	if stanza.name == "message" and room:get_whois() == "anyone" then stored = with_sender(room, stanza); end
	local with = stanza.attr.type and stanza.name.."<"..stanza.attr.type or stanza.name;
	local name = name_of(room);
	local id, err = muc_mam.append(name, stored, time_now(), with);
	if not id then
		module:log("error", "Could not archive stanza: %s", err);
		return;
	end
	muc_mam.note_day(name);
	stanza:add_direct_child(st.stanza("stanza-id", { xmlns = xmlns_sid, by = room.jid, id = id }));
end

module:hook("muc-add-history", function (event)
	archive(event.room, event.stanza);
end);

local function hook_presence()
	module:hook("muc-occupant-joined", function (event)
		archive(event.room, st.stanza("presence", { from = event.nick }):tag("x", { xmlns = xmlns_muc }):reset());
	end);
	module:hook("muc-occupant-left", function (event)
		archive(event.room, st.stanza("presence", { type = "unavailable", from = event.nick }));
	end);
end

return function (parts)
	muc_mam = parts;
	muc_mam.name_of = name_of;
	if muc_mam.options.muc_log_presences then hook_presence(); end
end
