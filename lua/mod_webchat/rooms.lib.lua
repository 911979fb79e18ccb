-- The rooms that visitors may enter

local jid_split = require "util.jid".split;

return function (options)
	local rooms = {};

	local function muc(host)
		local session = prosody.hosts[host];
		return session and session.modules and session.modules.muc;
	end

	function rooms.is_host(host)
		if not muc(host) then return false; end
		return options.webchat_room_hosts == nil or options.webchat_room_hosts:contains(host);
	end

	-- Names of the hosts, in order
	function rooms.hosts()
		local names = {};
		for host in pairs(prosody.hosts) do
			if rooms.is_host(host) then names[#names+1] = host; end
		end
		table.sort(names);
		return names;
	end

	-- The room with this bare JID, if there is one
	function rooms.find(room_jid)
		local _, host = jid_split(room_jid);
		return rooms.is_host(host) and muc(host).get_room_from_jid(room_jid) or nil;
	end

	-- Those in memory, which all rooms with somebody in them are
	function rooms.each_live()
		return coroutine.wrap(function ()
			for _, host in ipairs(rooms.hosts()) do
				for room in muc(host).live_rooms() do coroutine.yield(room); end
			end
		end);
	end

	-- Calls back with every component, those that are yet to come too
	function rooms.on_host(callback)
		for host, session in pairs(prosody.hosts) do
			if session.type == "component" then callback(host); end
		end
		module:hook_global("host-activated", function (host)
			if prosody.hosts[host].type == "component" then callback(host); end
		end, -1000);
	end

	return rooms;
end
