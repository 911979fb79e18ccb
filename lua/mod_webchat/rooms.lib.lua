-- The rooms that visitors may enter

local jid_host = require "util.jid".host;

local AFTER_OTHERS = -1000; -- priority

local rooms = {};

local options; -- of the module; see start()

local function muc(host)
	local session = prosody.hosts[host];
	return session and session.modules and session.modules.muc;
end

-- Whether visitors may enter rooms of this host
function rooms.is_host(host)
	if not muc(host) then return false; end
	return options.webchat_room_hosts == nil or options.webchat_room_hosts:contains(host);
end

-- Sorted array of host names
function rooms.hosts()
	local names = {};
	for host in pairs(prosody.hosts) do
		if rooms.is_host(host) then names[#names+1] = host; end
	end
	table.sort(names);
	return names;
end

-- The room with this bare JID, or nil
function rooms.find(room_jid)
	local host = jid_host(room_jid);
	return rooms.is_host(host) and muc(host).get_room_from_jid(room_jid) or nil;
end

-- A new room; nil if the host has as many as it may
function rooms.create(room_jid)
	return muc(jid_host(room_jid)).create_room(room_jid);
end

-- Iterates over the rooms in memory: every room with an occupant is
function rooms.each_live()
	return coroutine.wrap(function ()
		for _, host in ipairs(rooms.hosts()) do
			for room in muc(host).live_rooms() do coroutine.yield(room); end
		end
	end);
end

function rooms.is_occupant(room, session)
	return room:get_occupant_by_real_jid(session.full_jid) ~= nil;
end

function rooms.kick(room, session, reason)
	local occupant = room:get_occupant_by_real_jid(session.full_jid);
	if occupant then room:set_role(true, occupant.nick, nil, reason); end
end

-- Hooks an event of rooms that visitors may enter, also on components that are activated later
function rooms.hook(name, handler, priority)
	local function handle(event)
		if rooms.is_host(jid_host(event.room.jid)) then return handler(event); end
	end
	local function hook(host)
		if prosody.hosts[host].type == "component" then module:context(host):hook(name, handle, priority); end
	end
	for host in pairs(prosody.hosts) do hook(host); end
	module:hook_global("host-activated", hook, AFTER_OTHERS);
end

-- Operators run this command to create a room
function rooms.create_command(room_jid)
	return ("prosodyctl shell 'muc:create(\"%s\", { persistent = true })'"):format(room_jid);
end

-- Compares the options with the hosts and rooms of the server
local function check_options()
	for host in options.webchat_room_hosts or function () end do
		if not rooms.is_host(host) then module:log("warn", "webchat_room_hosts: not a MUC component of this server: %s", host); end
	end
	local room_jid = options.webchat_default_room;
	if not room_jid or rooms.find(room_jid) then return; end
	local host = jid_host(room_jid);
	if not rooms.is_host(host) then
		module:log("warn", "webchat_default_room is on a host that visitors may not enter: add %s to webchat_room_hosts", host);
		return;
	end
	module:log("warn", "webchat_default_room does not exist, and visitors cannot create it: run %s", rooms.create_command(room_jid));
end

function rooms.start(webchat)
	options = webchat.options;
	module:add_timer(0, check_options); -- once the components are loaded
end

return rooms;
