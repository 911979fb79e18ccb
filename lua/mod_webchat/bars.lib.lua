-- Which networks may not enter, where, and until when. In memory: a network address is a visitor's data.

local now = require "util.time".now;

local EVERYWHERE, ADMIN = "*", "";

local function latest(causes)
	local ends = 0;
	for _, until_then in pairs(causes or {}) do ends = math.max(ends, until_then); end
	return ends;
end

return function (metrics, networks)
	local bars = {};
	local by_network = {}; -- network -> room or "*" -> who was banned, or "" for an admin's -> when it ends

	local function count()
		local n = 0;
		for _, rooms in pairs(by_network) do
			for _ in pairs(rooms) do n = n + 1; end
		end
		metrics.bars:set(n);
	end

	-- jid: who was banned, or nil. Returns for how many seconds the network is barred now: a longer bar stays in force.
	function bars.add(network, room, seconds, jid)
		local rooms = by_network[network] or {};
		local causes = rooms[room or EVERYWHERE] or {};
		local time = now();
		local ends, cause = time + seconds, jid or ADMIN;
		by_network[network], rooms[room or EVERYWHERE] = rooms, causes;
		causes[cause] = math.max(causes[cause] or 0, ends);
		count();
		local last = latest(causes);
		return last > ends and math.ceil(last - time) or seconds;
	end

	local function remove(network, room)
		local rooms = by_network[network];
		rooms[room] = nil;
		if not next(rooms) then by_network[network] = nil; end
		count();
	end

	-- Returns whether there was one
	function bars.lift(network, room)
		local rooms = by_network[network];
		room = room or EVERYWHERE;
		if not rooms or not rooms[room] then return false; end
		remove(network, room);
		return true;
	end

	-- Lifts what a ban of this JID in a room had set, and nothing else. Returns whether there was anything
	function bars.lift_ban(jid, room)
		local lifted = false;
		for network, rooms in pairs(by_network) do
			local causes = rooms[room];
			if causes and causes[jid] then
				causes[jid], lifted = nil, true;
				if not next(causes) then remove(network, room); end
			end
		end
		return lifted;
	end

	-- When the bar of a network ends, from everything or from this room; nil without one
	function bars.find(network, room)
		if networks.is_shared(network) then return nil; end
		local rooms = by_network[network] or {};
		local ends = math.max(latest(rooms[EVERYWHERE]), latest(rooms[room or EVERYWHERE]));
		return ends > now() and ends or nil;
	end

	function bars.format(ends)
		return os.date("!%Y-%m-%d %H:%M:%S UTC", math.ceil(ends));
	end

	-- { network =, room = nil for everything, ends = } each, in order
	function bars.list()
		bars.prune();
		local list = {};
		for network, rooms in pairs(by_network) do
			for room, causes in pairs(rooms) do
				list[#list+1] = { network = network, room = room ~= EVERYWHERE and room or nil, ends = latest(causes) };
			end
		end
		table.sort(list, function (a, b) return a.network .. (a.room or "") < b.network .. (b.room or ""); end);
		return list;
	end

	local function prune_rooms(rooms, time)
		for room, causes in pairs(rooms) do
			for cause, ends in pairs(causes) do
				if ends <= time then causes[cause] = nil; end
			end
			if not next(causes) then rooms[room] = nil; end
		end
	end

	function bars.prune()
		local time = now();
		for network, rooms in pairs(by_network) do
			prune_rooms(rooms, time);
			if not next(rooms) then by_network[network] = nil; end
		end
		count();
	end

	count();

	local function merge(network, room, causes)
		local rooms = by_network[network] or {};
		local merged = rooms[room] or {};
		by_network[network], rooms[room] = rooms, merged;
		for cause, ends in pairs(causes) do merged[cause] = math.max(merged[cause] or 0, ends); end
	end

	-- For a reload
	function bars.save() return by_network; end
	function bars.restore(saved)
		for name, rooms in pairs(saved) do
			local network = networks.parse(name:match("^[^/]*")) or name;
			for room, causes in pairs(rooms) do merge(network, room, causes); end
		end
		bars.prune();
	end

	return bars;
end
