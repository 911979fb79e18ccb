-- A moderator's ban of a visitor. Another login would make another user: the networks that the visitor has come from
-- are barred from the room.

local jid_split = require "util.jid".split;

return function (options, rooms, networks, visitors, bars)

	-- Others of the same network leave too
	local function remove_others(room, network, reason)
		for _, session in ipairs(visitors.sessions_from(network)) do
			local occupant = room:get_occupant_by_real_jid(session.full_jid);
			if occupant then room:set_role(true, occupant.nick, nil, reason); end
		end
	end

	local function bar(network, jid, room, actor, reason)
		if networks.is_shared(network) then
			module:log("warn", "The network of %s, banned from %s, is not known and not barred: the visitor came from %s. %s",
				jid, room.jid, network, networks.ADVICE);
			return;
		end
		local seconds = bars.add(network, room.jid, options.webchat_bar_time, jid);
		module:log("info", "Barred %s from %s for %d s: %s banned a visitor", network, room.jid, seconds, actor or "the server");
		remove_others(room, network, reason);
	end

	local bans = {};

	-- Bars the networks of a visitor, by bare JID, from a room; actor and reason may be nil
	function bans.add(jid, room, actor, reason)
		local from = visitors.networks(jid);
		if not from then
			module:log("info", "The network of %s, banned from %s, is not known any more and not barred", jid, room.jid);
			return;
		end
		for _, network in ipairs(from) do bar(network, jid, room, actor, reason); end
	end

	rooms.on_host(function (host)
		module:context(host):hook("muc-set-affiliation", function (event)
			local node, from = jid_split(event.jid);
			if from ~= module.host or not node or not rooms.is_host(host) then return; end
			if event.affiliation == "outcast" then
				bans.add(event.jid, event.room, event.actor, event.reason);
			elseif event.previous_affiliation == "outcast" and bars.lift_ban(event.jid, event.room.jid) then
				module:log("info", "Lifted the bar from %s that a ban had set", event.room.jid);
			end
		end);
	end);

	return bans;
end
