-- Handles a stanza that its stream can no longer deliver. XEP-0198 treats it as sent to an unavailable resource: it is
-- dropped, left to another session that has it, delivered to another resource, stored offline, or answered with an error -
-- exactly one of them. README.md has the table.

local jid_bare = require "util.jid".bare;
local jid_join = require "util.jid".join;
local jid_split = require "util.jid".split;
local st = require "util.stanza";
local user_exists = require "core.usermanager".user_exists;

local carbons = module:require "carbons";

local local_sessions = prosody.hosts[module.host].sessions; -- nil on a component

local xmlns_hints = "urn:xmpp:hints";
local xmlns_mam = "urn:xmpp:mam:2";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";
local xmlns_pubsub_event = "http://jabber.org/protocol/pubsub#event";

-- Children that a message may have beside its content, or instead of it, and that are worthless later
local passing = {
	["http://jabber.org/protocol/chatstates"] = true; -- XEP-0085
	["urn:xmpp:receipts"] = true; -- XEP-0184
	["urn:xmpp:chat-markers:0"] = true; -- XEP-0333
	["urn:xmpp:hints"] = true; -- XEP-0334
	["urn:xmpp:sid:0"] = true; -- XEP-0359
	["urn:xmpp:delay"] = true; -- XEP-0203
};

local function is_passing(message)
	local is_signal = false;
	for _, tag in ipairs(message.tags) do
		local xmlns = tag.attr.xmlns;
		if not passing[xmlns] and not (tag.name == "thread" and not xmlns) then return false; end
		is_signal = true;
	end
	return is_signal;
end

-- Notifications of PEP come from users, those of other services from a domain
local function is_pep_event(message)
	return message:get_child("event", xmlns_pubsub_event) and jid_split(message.attr.from or "") ~= nil;
end

local never_kept = { error = true, groupchat = true, headline = true };

-- Whether the message is of use later. An answer of an archive, or of another module, counts more.
local function is_to_be_kept(session, message)
	if never_kept[message.attr.type] then return false; end
	if message:get_child("result", xmlns_mam) or is_pep_event(message) then return false; end
	local answer = module:fire_event("archive-should-store", { stanza = message, session = session });
	if answer ~= nil then return answer; end
	if message:get_child("store", xmlns_hints) then return true; end
	return not message:get_child("no-store", xmlns_hints) and not is_passing(message);
end

-- Resources that are connected and want messages, those of the highest priority
local function available_resources(session)
	local user = local_sessions[session.username];
	local found, highest = {}, 0;
	for _, other in pairs(user and user.sessions or {}) do
		local priority = other.presence and not other.hibernating and not other.destroyed and other.priority or -1;
		if priority > highest then found, highest = {}, priority; end
		if priority == highest then found[#found + 1] = other; end
	end
	return found;
end

local function deliver(session, message)
	local delivered = false;
	for _, other in ipairs(available_resources(session)) do
		delivered = other.send(message) or delivered;
	end
	return delivered;
end

local delivery = {};

-- Returns whether the message is kept for the account's next login
local function store(session, message)
	if not user_exists(session.username, module.host) then return false; end -- the account has been deleted
	return module:fire_event("message/offline/handle", { origin = session, username = session.username, stanza = message });
end

-- An error for a message of a room would make the room remove the user, who has left it
local function is_from_room(session, stanza)
	local from = stanza.attr.from;
	if not from or not stanza:get_child("x", xmlns_muc_user) then return false; end
	for jid in pairs(session.directed or {}) do
		if jid_bare(jid) == jid_bare(from) then return true; end
	end
	return false;
end

-- Answers the sender with an error, where errors may be sent (RFC 6120, section 8.3.1)
function delivery.refuse(session, stanza)
	local attr = stanza.attr;
	if not attr.from or attr.type == "error" or attr.from == session.full_jid or is_from_room(session, stanza) then return; end
	if stanza.name == "iq" and attr.type == "result" then return; end
	local condition = stanza.name == "iq" and "service-unavailable" or "recipient-unavailable";
	local by = jid_join(session.username, session.host or module.host);
	module:send(st.error_reply(stanza, "cancel", condition, nil, by));
end

-- Delivers, stores or refuses a message that no other session has
function delivery.pass_on(session, message)
	if deliver(session, message) then
		session.log("debug", "Undelivered message goes to another resource");
	elseif store(session, message) then
		session.log("debug", "Undelivered message is stored offline");
	else
		delivery.refuse(session, message);
	end
end

-- Returns the reason to drop a message, or nil
local function excuse(session, message, kind, fate)
	if not is_to_be_kept(session, message) then return "not kept"; end
	if session.mam_requested and carbons.archive_id(message, jid_bare(session.full_jid)) then return "left to the archive"; end
	if fate == "seen" then return "read elsewhere"; end
	if fate == "held" then return "left to another session"; end
	-- The message itself was not in any queue: it went to a session without stream management
	if kind and fate == "alone" then return "a carbon copy"; end
end

local function fail_message(session, stanza, fate)
	local message, kind = carbons.unwrap(stanza, jid_bare(session.full_jid));
	if kind == "sent" then return true; end
	local reason = excuse(session, message, kind, fate);
	if reason then
		session.log("debug", "Undelivered message: %s", reason);
		return true;
	end
	if kind then message = carbons.extract(stanza, message); end
	delivery.pass_on(session, message);
	return true;
end

-- Returns true if the stanza has been dealt with
module:hook("delivery/failure", function (event)
	local session, stanza = event.session, event.stanza;
	if not session.username or not local_sessions or stanza.attr.xmlns then return; end -- s2s: all are refused
	if stanza.name == "message" then return fail_message(session, stanza, event.fate or "alone"); end
	if stanza.name == "presence" then return true; end -- RFC 6121, section 8.5.3.2.2
end);

-- session: the one that ended, or a record of it. fate: as from queue:take()
function delivery.fail(session, stanza, fate)
	if module:fire_event("delivery/failure", { session = session, stanza = stanza, fate = fate }) then return; end
	delivery.refuse(session, stanza);
end

return delivery;
