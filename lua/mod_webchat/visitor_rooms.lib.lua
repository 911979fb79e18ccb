-- A room for each visitor, with the agents: owners, admins and members of the default room. The page requests it from the
-- host; after a reload it gets the same room, with the key from the first answer:
-- <iq type='set' to='HOST'><room xmlns='https://prosody.im/protocol/webchat' [jid='ROOM' key='KEY']/></iq>

local jid = require "util.jid";
local new_secret = require "util.id".long;
local hex = require "util.hex".to or require "util.hex".encode;
local random = require "util.random";
local st = require "util.stanza";

local XMLNS_WEBCHAT = "https://prosody.im/protocol/webchat";
local MUC_USER = "http://jabber.org/protocol/muc#user";
local BEFORE_MUC_SAVES = -299; -- priority: at -300 Prosody stores the rooms in memory
local BEFORE_MUC_DESTROYS = -0.5; -- priority: at -1 Prosody destroys empty rooms
local BEFORE_OTHERS = 1000; -- priority

local visitor_rooms = {};

local bars, options, refusals, rooms, visitors; -- see start()
local states = {}; -- room JID -> { key =, visitor = bare JID, timer = set while the visitor is away, is_announced = }
local room_of = {}; -- the visitor's bare JID -> room JID

local function default_room()
	return rooms.find(options.webchat_default_room);
end

--- Agents

-- Set of bare JIDs
local function agents()
	local set, room = {}, default_room();
	for address, affiliation in room:each_affiliation() do
		if affiliation ~= "outcast" and jid.host(address) ~= module.host then set[address] = true; end
	end
	for address in module:context(jid.host(room.jid)):get_option_inherited_set("admins", {}) do
		if room:get_affiliation(address) == "owner" then set[address] = true; end
	end
	return set;
end

-- Both mediated (XEP-0045, section 7.8.2) and direct (XEP-0249), because clients support one or the other
local function invite(room, agent, nick)
	local reason = nick .. " asks for help";
	room:route_stanza(st.message({ from = room.jid, to = agent })
		:tag("x", { xmlns = MUC_USER }):tag("invite", { from = options.webchat_default_room }):text_tag("reason", reason):up():up()
		:tag("x", { xmlns = "jabber:x:conference", jid = room.jid, reason = reason }):up());
end

local function invite_agents(room, nick)
	local list = agents();
	for agent in pairs(list) do invite(room, agent, nick); end
	if next(list) then return; end
	module:log("warn", "No agent for a visitor: %s has no owner, admin or member. Run prosodyctl shell webchat agent %s %s JID."
		.. " The visitor waits in %s", options.webchat_default_room, module.host, options.webchat_default_room, room.jid);
end

--- Rooms

local function forget(room_jid)
	local state = states[room_jid];
	if not state then return; end
	states[room_jid], room_of[state.visitor] = nil, nil;
end

local function destroy(room_jid)
	forget(room_jid);
	local room = rooms.find(room_jid);
	if room then room:destroy(nil, "The visitor has gone"); end
end

function visitor_rooms.destroy_all()
	for room_jid in pairs(states) do destroy(room_jid); end
end

-- Destroys the room unless the visitor enters it in time
local function await_visitor(room_jid)
	local state, timer = states[room_jid], {};
	state.timer = timer;
	module:add_timer(options.webchat_own_room_time, function ()
		if states[room_jid] == state and state.timer == timer then destroy(room_jid); end
	end);
end

local function create(visitor)
	local room_jid = jid.join("visitor-" .. hex(random.bytes(16)), jid.host(options.webchat_default_room));
	local room = rooms.create(room_jid);
	if not room then return nil; end
	room:set_name(options.webchat_title);
	room:set_public(false);
	room:set_persistent(false);
	room:set_members_only(true);
	room:set_moderated(false);
	for agent in pairs(agents()) do room:set_affiliation(true, agent, "owner"); end
	room:set_affiliation(true, visitor, "member");
	states[room_jid] = { key = new_secret(), visitor = visitor };
	room_of[visitor] = room_jid;
	await_visitor(room_jid);
	return room_jid;
end

local function hand_over(room_jid, visitor)
	local state, room = states[room_jid], rooms.find(room_jid);
	if not room or state.visitor == visitor then return; end
	room:set_affiliation(true, state.visitor, "none");
	room:set_affiliation(true, visitor, "member");
	room_of[state.visitor], room_of[visitor] = nil, room_jid;
	state.visitor = visitor;
end

local function find(visitor, request)
	local state = states[request.attr.jid];
	if state and state.key == request.attr.key then
		hand_over(request.attr.jid, visitor);
		return request.attr.jid;
	end
	return room_of[visitor];
end

local function room_requested(event)
	local origin, stanza = event.origin, event.stanza;
	if not visitors.is_visitor(origin) or not default_room() then
		return refusals.reply(event, "cancel", "item-not-found", "There are no rooms for visitors");
	end
	if bars.refuse(event, options.webchat_default_room) then return true; end
	local visitor = jid.bare(origin.full_jid);
	local room_jid = find(visitor, stanza.tags[1]) or create(visitor);
	if not room_jid then
		return refusals.refuse(event, "rooms", "wait", "resource-constraint", "There are too many rooms at the moment: try again later");
	end
	origin.send(st.reply(stanza):tag("room", { xmlns = XMLNS_WEBCHAT, jid = room_jid, key = states[room_jid].key }));
	return true;
end

--- Events of rooms

local function joined(event)
	local state = states[event.room.jid];
	if not state or event.occupant.bare_jid ~= state.visitor then return; end
	state.timer = nil;
	if state.is_announced then return; end
	state.is_announced = true;
	invite_agents(event.room, jid.resource(event.nick));
end

local function left(event)
	local state = states[event.room.jid];
	if not state or event.room.destroying then return; end
	if event.occupant.bare_jid == state.visitor then await_visitor(event.room.jid); end
	return true; -- keeps the empty room
end

-- A ban from a visitor's room also applies to the default room: otherwise the visitor would get another room
local function affiliation_set(event)
	local room = default_room();
	if not states[event.room.jid] or not room or jid.host(event.jid) ~= module.host then return; end
	if event.affiliation == "outcast" then
		bars.add_ban(event.jid, room, event.actor, event.reason);
	elseif event.previous_affiliation == "outcast" then
		bars.lift_ban(event.jid, room.jid);
	end
end

-- Only agents may enter the default room
local function entering(event)
	if event.room.jid ~= options.webchat_default_room or not visitors.is_visitor(event.origin) then return; end
	return refusals.refuse(event, "not-allowed", "auth", "registration-required", "Visitors have a room of their own");
end

--- For a reload

function visitor_rooms.save() return states; end

function visitor_rooms.restore(saved)
	if not options.webchat_room_per_visitor then return; end
	states = saved;
	for room_jid, state in pairs(states) do
		room_of[state.visitor] = room_jid;
		if state.timer then await_visitor(room_jid); end
	end
end

function visitor_rooms.start(webchat)
	bars, options, refusals, rooms, visitors = webchat.bars, webchat.options, webchat.refusals, webchat.rooms, webchat.visitors;
	if not options.webchat_room_per_visitor then return; end
	module:hook("iq-set/host/" .. XMLNS_WEBCHAT .. ":room", room_requested);
	rooms.hook("muc-occupant-pre-join", entering, BEFORE_OTHERS);
	rooms.hook("muc-occupant-joined", joined);
	rooms.hook("muc-occupant-left", left, BEFORE_MUC_DESTROYS);
	rooms.hook("muc-set-affiliation", affiliation_set);
	rooms.hook("muc-room-destroyed", function (event) forget(event.room.jid); end);
	module:hook_global("server-stopping", visitor_rooms.destroy_all, BEFORE_MUC_SAVES);
end

return visitor_rooms;
