-- A message to a room is encoded once, and not once for each occupant: its copies differ in their "to".
--
-- A copy is written as bytes only where nobody would see it as a stanza: no filter, no handler that may change it, no function of
-- another module in place of session.send(), no log at level debug. Any other copy takes its usual way.

local logger = require "util.logger";
local st = require "util.stanza";

local direct_send = module:require "direct_send";
local handlers = module:require "handlers";

local full_sessions, hosts = prosody.full_sessions, prosody.hosts;
local own_host = hosts[module.host];
local xml_escape = st.xml_escape;

local START = "<message";

-- A message and what is known for all of its copies. `plain` and `managed` are the bytes after START, without "to", for a session
-- with and without stream management. `ways`: by host, see way_to(). `event`: for mod_blocklist.
local function new_copies(room, stanza)
	return { stanza = stanza, room_jid = room.jid, ways = {}, event = { origin = own_host, stanza = stanza } };
end

-- Calls encode(stanza) for a stanza without "to", and returns its results after the first START
local function encode_without_to(stanza, encode)
	local attr = stanza.attr;
	local to = attr.to;
	attr.to = nil;
	local xml, splice, delayed = encode(stanza);
	attr.to = to;
	return xml and xml:sub(#START + 1) or false, splice, delayed;
end

-- Returns { smacks = our mod_smacks, blocklist = handler } if copies may go to sessions of the host as bytes, else false
local function examine(copies, host)
	local known = host and handlers.of(host);
	if not known or not handlers.ignore(known, host, copies.stanza, copies.room_jid) then return false; end
	local smacks = host.modules.smacks;
	return { blocklist = known.blocklist, smacks = smacks and smacks.send_copy and smacks };
end

local function way_to(copies, host)
	local way = copies.ways[host];
	if way == nil then
		way = examine(copies, hosts[host]);
		copies.ways[host] = way;
	end
	return way;
end

-- Stream management has an encoder of its own
local function send_managed(copies, session, smacks, head)
	if copies.managed == nil then
		copies.managed, copies.splice, copies.delayed = encode_without_to(copies.stanza, smacks.encode);
	end
	if not copies.managed or not smacks.takes_bytes(session) then return false; end
	return smacks.send_copy(session, copies.stanza, head..copies.managed, copies.splice + #head - #START, copies.delayed);
end

local function send_plain(copies, session, head)
	local filters = session.filters["stanzas/out"];
	if filters and filters[1] then return false; end
	if copies.plain == nil then copies.plain = encode_without_to(copies.stanza, tostring); end
	return session.rawsend(head..copies.plain);
end

-- Returns whether the copy is done with. What could not be written takes its usual way, too, which ends in an error.
local function send_as_bytes(copies, jid)
	local session = full_sessions[jid];
	local way = session and session.filters and direct_send(session) and way_to(copies, session.host);
	if not way then return false; end
	copies.stanza.attr.to = jid;
	if way.blocklist and way.blocklist(copies.event) ~= nil then return true; end
	local head = START.." to='"..xml_escape(jid).."'";
	if not session.outgoing_stanza_queue then return send_plain(copies, session, head); end
	return way.smacks and send_managed(copies, session, way.smacks, head);
end

-- An occupant may keep the presence with which it has left
local function is_present(occupant, jid, presence)
	return presence.attr.type ~= "unavailable" or jid == occupant.jid;
end

-- Returns nick and JID, by turns, of the sessions whose copies have to take their usual way
local function send_where_possible(room, copies)
	local others = {};
	for nick, occupant in next, room._occupants do
		for jid, presence in next, occupant.sessions do
			if is_present(occupant, jid, presence) and not send_as_bytes(copies, jid) then
				others[#others + 1], others[#others + 2] = nick, jid;
			end
		end
	end
	return others;
end

-- Handlers may change the stanza, which is one table for all occupants: so these copies come last
local function route(room, stanza, others)
	for i = 1, #others, 2 do
		local nick, jid = others[i], others[i + 1];
		local occupant = room._occupants[nick];
		if occupant and occupant.sessions[jid] then
			stanza.attr.to = jid;
			room:route_stanza(stanza);
		end
	end
end

--- In place of the room's own function

local room_mt = module:depends "muc".room_mt;
local level_sinks = logger.add_level_sink.level_sinks; -- an upvalue, see util.startup.set_function_metatable()

local originals = {};
for _, name in ipairs { "broadcast", "route_to_occupant", "route_stanza", "each_occupant" } do originals[name] = room_mt[name]; end

local function is_debugging()
	local sinks = level_sinks.debug;
	return sinks and sinks[1];
end

-- Whether the functions that are to be replaced are those of Prosody
local function are_prosodys()
	for _, original in pairs(originals) do
		if not debug.getinfo(original, "S").source:find("muc/muc.lib.lua", 1, true) then return false; end
	end
	return level_sinks ~= nil;
end

-- Whether the room sends as Prosody's own rooms do
local function is_original(room)
	return room.route_to_occupant == originals.route_to_occupant and room.route_stanza == originals.route_stanza
		and room.each_occupant == originals.each_occupant;
end

local broadcast = {};

local function send_to_all(room, stanza, condition)
	local attr = stanza.attr;
	local is_message = stanza.name == "message" and attr.type == "groupchat" and not attr.xmlns;
	if condition or not is_message or not broadcast.is_on or is_debugging() or not is_original(room) then
		return originals.broadcast(room, stanza, condition);
	end
	local to = attr.to;
	route(room, stanza, send_where_possible(room, new_copies(room, stanza)));
	attr.to = to;
end

function broadcast.load()
	if not are_prosodys() then
		module:log("warn", "The functions of rooms are unknown: each copy of a message is encoded");
		return;
	end
	broadcast.is_on = true;
	room_mt.broadcast = send_to_all;
end

-- Another module may have wrapped the function
function broadcast.unload()
	broadcast.is_on = false;
	if room_mt.broadcast == send_to_all then room_mt.broadcast = originals.broadcast; end
end

return broadcast;
