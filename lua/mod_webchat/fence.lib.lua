-- What passes between visitors and others, whatever a client sends: the rooms, and what a client needs to get there

local jid_split = require "util.jid".split;
local jid_bare = require "util.jid".bare;
local st = require "util.stanza";

local BEFORE_OTHERS = 1000; -- priority: the fence stands before every module's own handlers

local REQUEST = 0.1; -- of a message: what a request counts

local muc = "http://jabber.org/protocol/muc";

-- Payloads of an iq, by where it goes
local own = { -- the visitor's own account, and this host
	get = {
		["http://jabber.org/protocol/disco#info"] = true;
		["http://jabber.org/protocol/disco#items"] = true;
		["jabber:iq:roster"] = true; -- is always empty
		["urn:xmpp:ping"] = true;
	};
	set = {
		["urn:ietf:params:xml:ns:xmpp-session"] = true;
		["urn:xmpp:carbons:2"] = true;
		["https://prosody.im/protocol/webchat"] = true; -- this module's own
	};
};
local room = {
	get = {
		["http://jabber.org/protocol/disco#info"] = true;
		["http://jabber.org/protocol/disco#items"] = true;
		["urn:xmpp:ping"] = true;
	};
	set = { ["urn:xmpp:mam:2"] = true }; -- reading the room's archive
};
local occupant = {
	get = {
		["http://jabber.org/protocol/disco#info"] = true;
		["urn:xmpp:ping"] = true;
	};
	set = {};
};

local function is_listed(list, stanza)
	local kind, payload = stanza.attr.type, stanza.tags[1];
	if kind == "result" or kind == "error" then return true; end
	return payload and list[kind] and list[kind][payload.attr.xmlns] or false;
end

-- Mediated (XEP-0045, section 7.8.2), or direct (XEP-0249). Empty, the first's element marks a private message.
local function is_invitation(message)
	for _, x in ipairs(message.tags) do
		local xmlns = x.attr.xmlns;
		if xmlns == "jabber:x:conference" or xmlns == muc.."#user" and x.tags[1] then return true; end
	end
	return false;
end

-- A request to speak in a moderated room (XEP-0045, section 7.13) is all that goes to a room beside what all can read
local function may_go_to_room(message)
	local kind = message.attr.type;
	return kind == "groupchat" or kind == "error" or message:get_child("x", "jabber:x:data") ~= nil;
end

return function (options, rooms, visitors, bars, refusal)

	local function refuse_not_allowed(event, text)
		return refusal.stanza(event, "not-allowed", "cancel", "not-allowed", text);
	end

	--- Out of here

	local function to_self(event)
		local stanza = event.stanza;
		local kind = stanza.attr.type;
		if stanza.name == "iq" and is_listed(own, stanza) then return; end
		if stanza.name == "presence" and not stanza.attr.to and (kind == nil or kind == "unavailable") then return; end
		return refuse_not_allowed(event, "Visitors have no account that could keep this or do this");
	end

	local function is_in(there, session)
		return there and there:get_occupant_by_real_jid(session.full_jid) ~= nil;
	end

	local function rooms_entered(network)
		local count = 0;
		for live in rooms.each_live() do
			for session in pairs(visitors.sessions_at(network)) do
				if is_in(live, session) then count = count + 1; end
			end
		end
		return count;
	end

	local function enter(event, room_jid)
		local network = visitors.network_of(event.origin);
		local there = rooms.find(room_jid);
		if not there then
			return refusal.stanza(event, "no-room", "cancel", "item-not-found",
				"This room does not exist, and visitors cannot create it");
		elseif is_in(there, event.origin) then
			return; -- a presence, or another nickname
		end
		local ends = bars.find(network, room_jid);
		if ends then
			return refusal.stanza(event, "barred", "auth", "forbidden",
				"You are barred from this room until " .. bars.format(ends));
		elseif rooms_entered(network) >= options.rooms then
			return refusal.stanza(event, "rooms", "wait", "resource-constraint",
				("Your network has entered %d rooms: leave one first"):format(options.rooms));
		end
	end

	local function to_room(event, room_jid, resource)
		local stanza = event.stanza;
		local kind = stanza.attr.type;
		if stanza.name == "iq" then
			if not is_listed(resource and occupant or room, stanza) then
				return refuse_not_allowed(event, "Visitors can neither configure a room nor ask this of it");
			elseif stanza.attr.type == "set" and not is_in(rooms.find(room_jid), event.origin) then
				return refuse_not_allowed(event, "Enter the room first");
			end
		elseif stanza.name == "message" then
			if is_invitation(stanza) or not resource and not may_go_to_room(stanza) then
				return refuse_not_allowed(event, "Visitors can write to the room, but neither invite nor decline");
			end
		elseif kind == nil then
			if not resource then
				return refusal.stanza(event, "not-allowed", "modify", "jid-malformed", "A room is entered with a nickname: room@host/nickname");
			end
			return enter(event, room_jid);
		elseif kind ~= "unavailable" and kind ~= "error" then
			return refuse_not_allowed(event, "Visitors have no contacts");
		end
	end

	-- In messages. Leaving is never too much, and what a client must answer neither: others may ask it as often as they like.
	local function cost(origin, stanza)
		local name, kind = stanza.name, stanza.attr.type;
		if name == "iq" then return (kind == "result" or kind == "error") and 0 or REQUEST; end
		if name == "presence" and kind == "unavailable" then
			return origin.directed and origin.directed[stanza.attr.to] and 0 or REQUEST;
		end
		return 1;
	end

	local function is_too_much(event)
		local messages = visitors.at(visitors.network_of(event.origin)).messages;
		return not messages:poll(cost(event.origin, event.stanza));
	end

	local function outgoing(event)
		local origin, stanza = event.origin, event.stanza;
		local to = stanza.attr.to;
		local node, host, resource = jid_split(to);
		if #tostring(stanza) > options.message_size then
			return refusal.stanza(event, "size", "modify", "policy-violation",
				("This is larger than the %d bytes that visitors may send"):format(options.message_size));
		elseif not to or to == origin.host or jid_bare(to) == jid_bare(origin.full_jid) then
			return to_self(event);
		elseif not rooms.is_host(host) then
			return refuse_not_allowed(event, "Visitors reach rooms only");
		elseif is_too_much(event) then
			return refusal.stanza(event, "rate", "wait", "policy-violation", "You are sending too much: wait a moment");
		elseif not node then
			if stanza.name == "iq" and is_listed(room, stanza) then return; end
			return refuse_not_allowed(event, "Visitors can ask a host for its rooms, and nothing else");
		end
		return to_room(event, node.."@"..host, resource);
	end

	for _, name in ipairs { "iq", "message", "presence" } do
		for _, to in ipairs { "bare", "full", "host" } do
			module:hook(("pre-%s/%s"):format(name, to), outgoing, BEFORE_OTHERS);
		end
	end

	module:hook("route/remote", function () return false; end, BEFORE_OTHERS); -- nothing goes to other servers, answers neither

	--- In here

	local function turn_away(event)
		local stanza = event.stanza;
		refusal.note(event.origin, "outsider", ("%s to %s from %s"):format(stanza.name, stanza.attr.to, stanza.attr.from));
		local kind = stanza.attr.type;
		if stanza.name ~= "presence" and kind ~= "error" and kind ~= "result" then
			module:send(st.error_reply(stanza, "cancel", "service-unavailable", "Visitors are reached in rooms only"));
		end
		return true;
	end

	local function to_visitor(event)
		local _, from = jid_split(event.stanza.attr.from);
		if from == nil or from == module.host or rooms.is_host(from) then return; end
		return turn_away(event);
	end

	-- What users of this server ask of the host is none of the fence's business: an admin's commands arrive so
	local function to_host(event)
		local _, from = jid_split(event.stanza.attr.from);
		if from == nil or prosody.hosts[from] then return; end
		return turn_away(event);
	end

	for _, name in ipairs { "iq", "message", "presence" } do
		module:hook(name.."/bare", to_visitor, BEFORE_OTHERS);
		module:hook(name.."/full", to_visitor, BEFORE_OTHERS);
		module:hook(name.."/host", to_host, BEFORE_OTHERS);
	end
end
