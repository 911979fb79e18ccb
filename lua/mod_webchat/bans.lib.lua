-- A moderator's ban of a visitor. Another login would make another user: the network is barred from the room.

local jid_split = require "util.jid".split;

return function (options, rooms, visitors, bars)

	-- Others of the same network leave too
	local function remove_others(room, network, reason)
		for session in pairs(visitors.sessions_at(network)) do
			local occupant = room:get_occupant_by_real_jid(session.full_jid);
			if occupant then room:set_role(true, occupant.nick, nil, reason); end
		end
	end

	local function banned(event)
		local network = visitors.last_network(event.jid);
		if not network then
			module:log("info", "The network of %s, banned from %s, is not known any more and not barred", event.jid, event.room.jid);
			return;
		end
		local seconds = bars.add(network, event.room.jid, options.bar_time, event.jid);
		module:log("info", "Barred %s from %s for %d s: %s banned a visitor", network, event.room.jid, seconds,
			event.actor or "the server");
		remove_others(event.room, network, event.reason);
	end

	rooms.on_host(function (host)
		module:context(host):hook("muc-set-affiliation", function (event)
			local node, from = jid_split(event.jid);
			if from ~= module.host or not node or not rooms.is_host(host) then return; end
			if event.affiliation == "outcast" then
				banned(event);
			elseif event.previous_affiliation == "outcast" and bars.lift_ban(event.jid, event.room.jid) then
				module:log("info", "Lifted the bar from %s that a ban had set", event.room.jid);
			end
		end);
	end);
end
