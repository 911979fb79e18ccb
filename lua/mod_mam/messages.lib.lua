-- Archives messages on their way: those that clients of this host send, and those that its users get

local decision = module:require "decision";
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

-- Asks other modules only if there are any. rank: of decision.examine()
local function should_store(stanza, rank, session)
	local handlers = events.get_handlers("archive-should-store");
	if handlers and #handlers == 1 then return decision.decide(stanza, rank); end
	local event = { stanza = stanza; session = session };
	local should = module:fire_event("archive-should-store", event);
	return should, event.reason;
end

module:hook("archive-should-store", function (event)
	local should, reason = decision.decide(event.stanza);
	event.reason = reason;
	return should;
end, -1);

--- Archiving

-- Returns the stanza without ids that claim to be the owner's archive's; the id of the message, nil if it is not archived; and the
-- stanza as it was archived
local function archive(user, stanza, session, peer, log)
	local rank, left_out, children, has_id = decision.examine(stanza, mam.left_out);
	if has_id then
		stanza = stanza_id.strip(stanza, user, host);
		rank, left_out, children = decision.examine(stanza, mam.left_out);
	end
	local should, reason = should_store(stanza, rank, session);
	if not should then
		log("debug", "Not archiving stanza: %s (%s)", tag(stanza), reason);
		return stanza;
	end
	if left_out == children and next(mam.left_out) ~= nil then
		log("debug", "Not archiving stanza: %s (empty when stripped)", tag(stanza));
		return stanza;
	end
	local with = jid_bare(peer);
	if not mam.prefs.wants(user, peer, with) then
		log("debug", "Not archiving stanza: %s (prefs)", tag(stanza));
		return stanza;
	end
	log("debug", "Archiving stanza: %s (%s)", tag(stanza), reason);
	local stored = left_out > 0 and root.copy_without_namespaces(stanza, mam.left_out) or stanza;
	local id, err = mam.append(user, stored, time_now(), with);
	if not id then
		log("error", "Could not archive stanza: %s", err);
		return stanza;
	end
	mam.note_day(user);
	return stanza, id, stored;
end

local function announce(user, id, stored, origin)
	if not events.get_handlers("archive-message-added") then return; end
	-- a copy: handlers leave marks in it
	module:fire_event("archive-message-added", { origin = origin, stanza = root.copy(stored), for_user = user, id = id });
end

-- The message that has its id in the sender's archive, with and without the id. Not in its event, where other modules would see it.
local sent = {};
local notes = setmetatable({}, { __mode = "k" }); -- ids of notes to oneself by event

-- A message that a client sends. Until strip_again() it has its id in the sender's archive, for carbon copies.
local function on_sent(event)
	local origin, attr = event.origin, event.stanza.attr;
	local user = origin.username;
	local own = user.."@"..host;
	local to = attr.to or attr.from; -- without "to" it is a note to oneself
	local stanza, id, stored = archive(user, event.stanza, origin, to, origin.log);
	event.stanza = stanza;
	if not id then return; end
	event.stanza = stanza_id.add(stanza, own, id);
	sent.unmarked, sent.marked = stanza, event.stanza;
	if jid_bare(to) == own then notes[event] = id; end
	announce(user, id, stored, origin);
end

-- Nobody but the sender may see the id in the sender's archive. A handler that sends another message in between makes `sent` that one.
local function strip_again(event)
	local unmarked, marked = sent.unmarked, sent.marked;
	sent.unmarked, sent.marked = nil, nil;
	if marked and event.stanza == marked and stanza_id.is_unchanged(marked, unmarked) then
		event.stanza = unmarked;
	else
		event.stanza = stanza_id.strip(event.stanza, event.origin.username, host);
	end
end

-- A message to a user of this host. A note to oneself is in the archive already.
local function on_received(event)
	local origin, attr = event.origin, event.stanza.attr;
	local user = jid_split(attr.to or attr.from);
	if not user then return; end
	local own = user.."@"..host;
	local stanza, id, stored;
	local note = notes[event];
	if note and jid_bare(attr.from) == own then
		stanza, id = stanza_id.strip(event.stanza, user, host), note;
	else
		stanza, id, stored = archive(user, event.stanza, origin, attr.from, module._log);
	end
	event.stanza = stanza;
	if not id then return; end
	event.stanza = stanza_id.add(stanza, own, id);
	if stored then announce(user, id, stored, origin); end
end

for _, kind in ipairs { "bare", "full" } do
	module:hook("pre-message/"..kind, on_sent, 0);
	module:hook("pre-message/"..kind, strip_again, -1);
	module:hook("message/"..kind, on_received, 0);
end

-- mam: { append =, note_day =, prefs =, left_out = { [namespace] = true } }
return function (parts)
	mam = parts;
end
