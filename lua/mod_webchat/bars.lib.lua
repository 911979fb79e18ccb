-- Which networks may not enter, where, and until when. In memory: a network address is a visitor's data.

local now = require "util.time".now;

local EVERYWHERE = "*";

return function (metrics)
	local bars = {};
	local by_network = {}; -- network -> room or "*" -> { ends = time, jid = who was banned, or nil }

	local function count()
		local n = 0;
		for _, rooms in pairs(by_network) do
			for _ in pairs(rooms) do n = n + 1; end
		end
		metrics.bars:set(n);
	end

	function bars.add(network, room, seconds, jid)
		by_network[network] = by_network[network] or {};
		by_network[network][room or EVERYWHERE] = { ends = now() + seconds, jid = jid };
		count();
	end

	-- Returns whether there was one
	function bars.lift(network, room)
		local rooms = by_network[network];
		room = room or EVERYWHERE;
		if not rooms or not rooms[room] then return false; end
		rooms[room] = nil;
		if not next(rooms) then by_network[network] = nil; end
		count();
		return true;
	end

	-- Lifts what a ban of this JID in a room had set
	function bars.lift_ban(jid, room)
		for network, rooms in pairs(by_network) do
			if rooms[room] and rooms[room].jid == jid then return bars.lift(network, room); end
		end
		return false;
	end

	-- When the bar of a network ends, from everything or from this room; nil without one
	function bars.find(network, room)
		local rooms = by_network[network] or {};
		local everywhere, there = rooms[EVERYWHERE], rooms[room or EVERYWHERE];
		local ends = math.max(everywhere and everywhere.ends or 0, there and there.ends or 0);
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
			for room, bar in pairs(rooms) do
				list[#list+1] = { network = network, room = room ~= EVERYWHERE and room or nil, ends = bar.ends };
			end
		end
		table.sort(list, function (a, b) return a.network .. (a.room or "") < b.network .. (b.room or ""); end);
		return list;
	end

	function bars.prune()
		for network, rooms in pairs(by_network) do
			for room, bar in pairs(rooms) do
				if bar.ends <= now() then rooms[room] = nil; end
			end
			if not next(rooms) then by_network[network] = nil; end
		end
		count();
	end

	count();

	-- For a reload
	function bars.save() return by_network; end
	function bars.restore(saved)
		by_network = saved;
		bars.prune();
	end

	return bars;
end
