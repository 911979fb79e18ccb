-- Which stanzas pass between visitors and others, whatever a client sends: those to and from rooms, and those that a client
-- needs to get there

local cache = require "util.cache";
local jid_bare = require "util.jid".bare;
local jid_split = require "util.jid".split;
local st = require "util.stanza";
local time = require "util.time";

local BEFORE_OTHERS = 1000; -- priority: the firewall handles a stanza before any other module

local RECEIVED_REQUESTS = 100; -- remembered per visitor: more than the clients in a full room send at once
local REQUEST_TIMEOUT = 60; -- seconds after which no answer is expected

local MUC_USER = "http://jabber.org/protocol/muc#user";
local RSM = "http://jabber.org/protocol/rsm"; -- XEP-0059
local DISCO_INFO, DISCO_ITEMS = "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items";

-- Namespaces of the requests that may be sent, by addressee
local TO_SELF = { -- the visitor's own account, and this host
	get = {
		[DISCO_INFO] = true;
		[DISCO_ITEMS] = true;
		["jabber:iq:roster"] = true; -- it is always empty
		["urn:xmpp:ping"] = true;
	};
	set = {
		["urn:ietf:params:xml:ns:xmpp-session"] = true;
		["urn:xmpp:carbons:2"] = true;
		["https://prosody.im/protocol/webchat"] = true; -- this module's own
	};
};
local TO_ROOM = { -- and to the room's host
	get = { [DISCO_INFO] = true; [DISCO_ITEMS] = true; ["urn:xmpp:ping"] = true };
	set = { ["urn:xmpp:mam:2"] = true }; -- reads the room's archive
};
local TO_OCCUPANT = {
	get = { [DISCO_INFO] = true; ["urn:xmpp:ping"] = true };
	set = {};
};

local firewall = {};

local bars, limits, options, refusals, rooms, visitors; -- see start()

--- Kinds of stanzas

local function is_answer(stanza)
	return stanza.name == "iq" and (stanza.attr.type == "result" or stanza.attr.type == "error");
end

local function is_request(stanza)
	return stanza.name == "iq" and (stanza.attr.type == "get" or stanza.attr.type == "set");
end

local function is_listed(list, stanza)
	if is_answer(stanza) then return true; end
	local kind, payload = stanza.attr.type, stanza.tags[1];
	return payload and list[kind] and list[kind][payload.attr.xmlns] or false;
end

-- A mediated (XEP-0045, section 7.8.2) or direct (XEP-0249) invitation. An empty muc#user element marks a private message.
local function is_invitation(message)
	for _, x in ipairs(message.tags) do
		if x.attr.xmlns == "jabber:x:conference" or x.attr.xmlns == MUC_USER and x.tags[1] then return true; end
	end
	return false;
end

-- A request for voice in a moderated room (XEP-0045, section 7.13)
local function is_voice_request(message)
	return message.attr.type ~= "groupchat" and message:get_child("x", "jabber:x:data") ~= nil;
end

local function may_go_to_room(message)
	local kind = message.attr.type;
	return kind == "groupchat" or kind == "error" or is_voice_request(message);
end

--- Requests without an answer (RFC 6120, section 8.2.3)

local received = setmetatable({}, { __mode = "k" }); -- session -> cache of requests to the visitor
local sent = setmetatable({}, { __mode = "k" }); -- session -> request of the visitor to an occupant -> time

local function request_key(id, jid)
	return (id or "") .. "\0" .. (jid or "");
end

local function receive_request(session, stanza)
	received[session] = received[session] or cache.new(RECEIVED_REQUESTS);
	received[session]:set(request_key(stanza.attr.id, stanza.attr.from), true);
end

-- Returns whether a visitor's answer belongs to a request that has no answer yet
local function take_answer(session, stanza)
	local requests, key = received[session], request_key(stanza.attr.id, stanza.attr.to);
	if not requests or not requests:get(key) then return false; end
	requests:set(key, nil);
	return true;
end

-- Number of requests of a set of sessions
local function count_open(sessions)
	local count, oldest = 0, time.now() - REQUEST_TIMEOUT;
	for session in pairs(sessions) do
		for key, began in pairs(sent[session] or {}) do
			if began < oldest then sent[session][key] = nil; else count = count + 1; end
		end
	end
	return count;
end

-- Returns false if the visitor or the network has too many open requests
local function send_request(session, stanza)
	if count_open({ [session] = true }) >= options.webchat_visitor_requests_at_once then return false; end
	if count_open(visitors.at(visitors.network_of(session)).sessions) >= options.webchat_requests_at_once then return false; end
	sent[session] = sent[session] or {};
	sent[session][request_key(stanza.attr.id, stanza.attr.to)] = time.now();
	return true;
end

local function receive_answer(session, stanza)
	if sent[session] then sent[session][request_key(stanza.attr.id, stanza.attr.from)] = nil; end
end

--- From visitors

local function to_self(event)
	local stanza = event.stanza;
	local kind = stanza.attr.type;
	if stanza.name == "iq" and is_listed(TO_SELF, stanza) then return; end
	if stanza.name == "presence" and not stanza.attr.to and (kind == nil or kind == "unavailable") then return; end
	return refusals.not_allowed(event, "Not available: visitors have no account");
end

-- Number of rooms that the visitors of a network are in; of the session alone if its network is unknown
local function rooms_entered(session, network)
	local count = 0;
	local sessions = visitors.is_proxy(network) and { [session] = true } or visitors.at(network).sessions;
	for room in rooms.each_live() do
		for each in pairs(sessions) do
			if rooms.is_occupant(room, each) then count = count + 1; end
		end
	end
	return count;
end

local function enter(event, room_jid)
	local origin, room = event.origin, rooms.find(room_jid);
	if not room then
		return refusals.refuse(event, "no-room", "cancel", "item-not-found", "This room does not exist, and visitors cannot create it");
	elseif rooms.is_occupant(room, origin) then
		return; -- new availability, or another nickname
	elseif bars.refuse(event, room_jid) then
		return true;
	elseif rooms_entered(origin, visitors.network_of(origin)) >= options.webchat_rooms_per_address then
		return refusals.refuse(event, "rooms", "wait", "resource-constraint",
			("Your network has entered %d rooms: leave one first"):format(options.webchat_rooms_per_address));
	end
end

-- Reduces the size of the page of results that a client asks for to what visitors may have (XEP-0059)
local function shorten_page(stanza)
	for _, payload in ipairs(stanza.tags) do
		local set = payload:get_child("set", RSM);
		local max = set and set:get_child("max");
		local size = max and tonumber(max:get_text());
		if size and size > options.webchat_max_page_size then max[1] = ("%d"):format(options.webchat_max_page_size); end
	end
end

local function iq_to_room(event, room_jid, resource)
	local origin, stanza, room = event.origin, event.stanza, rooms.find(room_jid);
	if not is_listed(resource and TO_OCCUPANT or TO_ROOM, stanza) then
		return refusals.not_allowed(event, "Visitors cannot configure a room or send this request");
	end
	local is_inside = room ~= nil and rooms.is_occupant(room, origin);
	if stanza.attr.type == "set" and not is_inside then
		return refusals.not_allowed(event, "Enter the room first");
	elseif resource and is_request(stanza) and is_inside and room:get_occupant_by_nick(stanza.attr.to)
		and not send_request(origin, stanza) then
		return refusals.refuse(event, "requests", "wait", "resource-constraint", "Too many requests have no answer yet: wait a moment");
	end
end

local function message_to_room(event, room_jid, resource)
	local stanza = event.stanza;
	if is_invitation(stanza) or not resource and not may_go_to_room(stanza) then
		return refusals.not_allowed(event, "Visitors can write to the room, but cannot invite others");
	end
	-- Prosody does not check that an occupant sends the request
	local room = not resource and is_voice_request(stanza) and rooms.find(room_jid);
	if room and not rooms.is_occupant(room, event.origin) then return refusals.not_allowed(event, "Enter the room first"); end
end

local function presence_to_room(event, room_jid, resource)
	local kind = event.stanza.attr.type;
	if kind == "unavailable" or kind == "error" then
		return;
	elseif kind ~= nil then
		return refusals.not_allowed(event, "Visitors have no contacts");
	elseif not resource then
		return refusals.refuse(event, "not-allowed", "modify", "jid-malformed", "Missing nickname: enter the room as room@host/nickname");
	end
	return enter(event, room_jid);
end

local to_room = { iq = iq_to_room, message = message_to_room, presence = presence_to_room };

local function to_host(event)
	if event.stanza.name == "iq" and is_listed(TO_ROOM, event.stanza) then return; end
	return refusals.not_allowed(event, "Visitors can only ask a host for its rooms");
end

local function from_visitor(event)
	local origin, stanza = event.origin, event.stanza;
	if origin.webchat_ending or limits.has_unread(origin) then return true; end
	local to, size = stanza.attr.to, #tostring(stanza);
	local node, host, resource = jid_split(to);
	local is_own = not to or to == origin.host or jid_bare(to) == jid_bare(origin.full_jid);
	if size > options.webchat_max_message_size then
		return refusals.refuse(event, "size", "modify", "policy-violation",
			("Too large: visitors may send at most %d bytes"):format(options.webchat_max_message_size));
	elseif not is_own and not rooms.is_host(host) then
		return refusals.not_allowed(event, "Visitors can reach rooms only");
	elseif is_answer(stanza) and not take_answer(origin, stanza) then
		return refusals.refuse(event, "unasked", nil, nil, "Answer without a request");
	elseif limits.refuse(event, size, is_own) then
		return true;
	end
	shorten_page(stanza);
	if is_own then return to_self(event); end
	if not node then return to_host(event); end
	return to_room[stanza.name](event, node.."@"..host, resource);
end

--- To visitors

local function refuse_outsider(event)
	local stanza = event.stanza;
	refusals.count(event.origin, "outsider", ("%s to %s from %s"):format(stanza.name, stanza.attr.to, stanza.attr.from));
	local kind = stanza.attr.type;
	if stanza.name ~= "presence" and kind ~= "error" and kind ~= "result" then
		module:send(st.error_reply(stanza, "cancel", "service-unavailable", "Visitors can be reached in rooms only"));
	end
	return true;
end

local function to_visitor(event)
	local stanza = event.stanza;
	local _, from = jid_split(stanza.attr.from);
	if from ~= nil and from ~= module.host and not rooms.is_host(from) then return refuse_outsider(event); end
	local session = prosody.full_sessions[stanza.attr.to];
	if not session then return; end
	if limits.has_unread(session) then return true; end
	if is_request(stanza) then
		receive_request(session, stanza);
	elseif is_answer(stanza) then
		receive_answer(session, stanza);
	end
end

-- Users of this server may send requests to the host, such as an admin's ad-hoc commands
local function to_this_host(event)
	local _, from = jid_split(event.stanza.attr.from);
	if from == nil or prosody.hosts[from] then return; end
	return refuse_outsider(event);
end

function firewall.start(webchat)
	bars, limits, options = webchat.bars, webchat.limits, webchat.options;
	refusals, rooms, visitors = webchat.refusals, webchat.rooms, webchat.visitors;
	limits.hook(from_visitor);
	for _, name in ipairs { "iq", "message", "presence" } do
		module:hook(name.."/bare", to_visitor, BEFORE_OTHERS);
		module:hook(name.."/full", to_visitor, BEFORE_OTHERS);
		module:hook(name.."/host", to_this_host, BEFORE_OTHERS);
	end
	module:hook("route/remote", function () return false; end, BEFORE_OTHERS); -- nothing goes to other servers, not even answers
end

return firewall;
