-- Archives messages on their way: those that clients of this host send, and those that its users get

local decide = module:require "decision";
local root = module:require "stanza_root";
local stanza_id = module:require "stanza_id";

local datetime = require "util.datetime".datetime;
local jid = require "util.jid";

local jid_bare, jid_split = jid.bare, jid.split;

local host = module.host;
local events = prosody.hosts[host].events;
local time_now = pcall(datetime, 0.5) and require "util.time".now or os.time; -- 0.12 cannot format fractions of a second

-- Begin and end tags cost time, and are written only where somebody logs them. The table is reused for each line.
local tag_of = setmetatable({}, { __tostring = function (self) return self.stanza:top_tag(); end });
local function tag(stanza)
	tag_of.stanza = stanza;
	return tag_of;
end

local mam;

--- What is archived

-- Asks other modules only if there are any
local function should_store(stanza, session)
	local handlers = events.get_handlers("archive-should-store");
	if handlers and #handlers == 1 then return decide(stanza); end
	local event = { stanza = stanza; session = session };
	local should = module:fire_event("archive-should-store", event);
	return should, event.reason;
end

module:hook("archive-should-store", function (event)
	local should, reason = decide(event.stanza);
	event.reason = reason;
	return should;
end, -1);

local function is_left_out(child)
	return mam.left_out:contains(child.attr.xmlns);
end

-- Returns the stanza without elements of namespaces that are not archived, or nil if nothing is left
local function for_storage(stanza)
	local count = 0;
	for _, child in ipairs(stanza.tags) do
		if is_left_out(child) then count = count + 1; end
	end
	if not mam.left_out:empty() and count == #stanza.tags then return nil; end
	if count == 0 then return stanza; end
	return root.copy_without(stanza, is_left_out);
end

--- Archiving

-- Returns the id, and the stanza as it was archived; or nil
local function archive(user, stanza, session, peer, log)
	local should, reason = should_store(stanza, session);
	if not should then
		log("debug", "Not archiving stanza: %s (%s)", tag(stanza), reason);
		return nil;
	end
	local stored = for_storage(stanza);
	if not stored then
		log("debug", "Not archiving stanza: %s (empty when stripped)", tag(stanza));
		return nil;
	end
	local with = jid_bare(peer);
	if not mam.prefs.wants(user, peer, with) then
		log("debug", "Not archiving stanza: %s (prefs)", tag(stanza));
		return nil;
	end
	log("debug", "Archiving stanza: %s (%s)", tag(stanza), reason);
	local id, err = mam.append(user, stored, time_now(), with);
	if not id then
		log("error", "Could not archive stanza: %s", err);
		return nil;
	end
	mam.note_day(user);
	return id, stored;
end

local function announce(user, id, stored, origin)
	if not events.get_handlers("archive-message-added") then return; end
	-- a copy: handlers leave marks in it
	module:fire_event("archive-message-added", { origin = origin, stanza = root.copy(stored), for_user = user, id = id });
end

-- A message that a client sends. Until strip_again() it has its id in the sender's archive, for carbon copies.
local function on_sent(event)
	local origin = event.origin;
	local user = origin.username;
	local own = user.."@"..host;
	local stanza = stanza_id.strip(event.stanza, user, host);
	event.stanza = stanza;
	local to = stanza.attr.to or stanza.attr.from; -- without "to" it is a note to oneself
	local id, stored = archive(user, stanza, origin, to, origin.log);
	if not id then return; end
	event.stanza = stanza_id.add(stanza, own, id);
	event.mam_unmarked, event.mam_marked = stanza, event.stanza;
	if jid_bare(to) == own then event.mam_note = id; end
	announce(user, id, stored, origin);
end

-- Nobody but the sender may see the id in the sender's archive
local function strip_again(event)
	local unmarked, marked = event.mam_unmarked, event.mam_marked;
	event.mam_unmarked, event.mam_marked = nil, nil;
	if marked and event.stanza == marked and stanza_id.is_unchanged(marked, unmarked) then
		event.stanza = unmarked;
	else
		event.stanza = stanza_id.strip(event.stanza, event.origin.username, host);
	end
end

-- A message to a user of this host. A note to oneself is in the archive already.
local function on_received(event)
	local attr = event.stanza.attr;
	local user = jid_split(attr.to or attr.from);
	if not user then return; end
	local own = user.."@"..host;
	local stanza = stanza_id.strip(event.stanza, user, host);
	event.stanza = stanza;
	local id, stored = event.mam_note, nil;
	if not id or jid_bare(attr.from) ~= own then
		id, stored = archive(user, stanza, event.origin, attr.from, module._log);
	end
	if not id then return; end
	event.stanza = stanza_id.add(stanza, own, id);
	if stored then announce(user, id, stored, event.origin); end
end

for _, kind in ipairs { "bare", "full" } do
	module:hook("pre-message/"..kind, on_sent, 0);
	module:hook("pre-message/"..kind, strip_again, -1);
	module:hook("message/"..kind, on_received, 0);
end

-- mam: { append =, note_day =, prefs =, left_out = set of namespaces }
return function (parts)
	mam = parts;
end
