-- What passes between visitors and others, whatever a client sends: the rooms, and what a client needs to get there

local jid_split = require "util.jid".split;
local jid_bare = require "util.jid".bare;
local st = require "util.stanza";

local BEFORE_OTHERS = 1000; -- priority: the fence stands before every module's own handlers

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

local function is_answer(stanza)
	return stanza.name == "iq" and (stanza.attr.type == "result" or stanza.attr.type == "error");
end

local function is_listed(list, stanza)
	local kind, payload = stanza.attr.type, stanza.tags[1];
	if is_answer(stanza) then return true; end
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

local function is_request(stanza)
	return stanza.name == "iq" and (stanza.attr.type == "get" or stanza.attr.type == "set");
end

return function (options, rooms, visitors, bars, refusal, gate, asked, has_unread)

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

	-- Of all visitors of a network, or of one whose network is not known
	local function rooms_entered(session, network)
		local count = 0;
		local sessions = visitors.is_proxy(network) and { [session] = true } or visitors.sessions_at(network);
		for live in rooms.each_live() do
			for each in pairs(sessions) do
				if is_in(live, each) then count = count + 1; end
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
		elseif rooms_entered(event.origin, network) >= options.webchat_rooms_per_address then
			return refusal.stanza(event, "rooms", "wait", "resource-constraint",
				("Your network has entered %d rooms: leave one first"):format(options.webchat_rooms_per_address));
		end
	end

	-- A page of results is as long as its client asks for (XEP-0059): up to a bound
	local function shorten_page(stanza)
		for _, payload in ipairs(stanza.tags) do
			local set = payload:get_child("set", "http://jabber.org/protocol/rsm");
			local max = set and set:get_child("max");
			local wish = max and tonumber(max:get_text());
			if wish and wish > options.webchat_max_page_size then max[1] = ("%d"):format(options.webchat_max_page_size); end
		end
	end

	local function ask_room(event, room_jid, resource)
		local stanza = event.stanza;
		local there = rooms.find(room_jid);
		if not is_listed(resource and occupant or room, stanza) then
			return refuse_not_allowed(event, "Visitors can neither configure a room nor ask this of it");
		elseif stanza.attr.type == "set" and not is_in(there, event.origin) then
			return refuse_not_allowed(event, "Enter the room first");
		elseif resource and is_request(stanza) and is_in(there, event.origin) and there:get_occupant_by_nick(stanza.attr.to)
			and not asked.begin_request(event.origin, stanza) then
			return refusal.stanza(event, "requests", "wait", "resource-constraint", "Too many requests are not answered yet: wait a moment");
		end
	end

	local function to_room(event, room_jid, resource)
		local stanza = event.stanza;
		local kind = stanza.attr.type;
		if stanza.name == "iq" then
			return ask_room(event, room_jid, resource);
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

	local function to_host(event)
		if event.stanza.name == "iq" and is_listed(room, event.stanza) then return; end
		return refuse_not_allowed(event, "Visitors can ask a host for its rooms, and nothing else");
	end

	local function outgoing(event)
		local origin, stanza = event.origin, event.stanza;
		if origin.webchat_ending or has_unread(origin) then return true; end
		local to, size = stanza.attr.to, #tostring(stanza);
		local node, host, resource = jid_split(to);
		local is_own = not to or to == origin.host or jid_bare(to) == jid_bare(origin.full_jid);
		if size > options.webchat_max_message_size then
			return refusal.stanza(event, "size", "modify", "policy-violation",
				("This is larger than the %d bytes that visitors may send"):format(options.webchat_max_message_size));
		elseif not is_own and not rooms.is_host(host) then
			return refuse_not_allowed(event, "Visitors reach rooms only");
		elseif is_answer(stanza) and not asked.end_answer(origin, stanza) then
			return refusal.stanza(event, "unasked", nil, nil, "An answer to nothing that was asked");
		elseif gate.refuse(event, size, is_own) then
			return true;
		end
		shorten_page(stanza);
		if is_own then return to_self(event); end
		return node and to_room(event, node.."@"..host, resource) or not node and to_host(event);
	end
	gate.hook(outgoing);

	module:hook("route/remote", function () return false; end, BEFORE_OTHERS); -- nothing goes to other servers, answers neither

	--- In here

	local function turn_away(event)
		local stanza = event.stanza;
		refusal.count(event.origin, "outsider", ("%s to %s from %s"):format(stanza.name, stanza.attr.to, stanza.attr.from));
		local kind = stanza.attr.type;
		if stanza.name ~= "presence" and kind ~= "error" and kind ~= "result" then
			module:send(st.error_reply(stanza, "cancel", "service-unavailable", "Visitors are reached in rooms only"));
		end
		return true;
	end

	local function to_visitor(event)
		local stanza = event.stanza;
		local _, from = jid_split(stanza.attr.from);
		if from ~= nil and from ~= module.host and not rooms.is_host(from) then return turn_away(event); end
		local session = prosody.full_sessions[stanza.attr.to];
		if not session then return; end
		if has_unread(session) then return true; end
		if is_request(stanza) then
			asked.begin_answer(session, stanza);
		elseif is_answer(stanza) then
			asked.end_request(session, stanza);
		end
	end

	-- What users of this server ask of the host is none of the fence's business: an admin's commands arrive so
	local function to_this_host(event)
		local _, from = jid_split(event.stanza.attr.from);
		if from == nil or prosody.hosts[from] then return; end
		return turn_away(event);
	end

	for _, name in ipairs { "iq", "message", "presence" } do
		module:hook(name.."/bare", to_visitor, BEFORE_OTHERS);
		module:hook(name.."/full", to_visitor, BEFORE_OTHERS);
		module:hook(name.."/host", to_this_host, BEFORE_OTHERS);
	end
end
