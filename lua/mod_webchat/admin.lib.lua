-- What an admin can do: from the admin shell, and by ad-hoc commands (XEP-0050) from a client

local dataforms = require "util.dataforms";
local simple_form = require "util.adhoc".new_simple_form;
local jid = require "util.jid";

local node = "https://prosody.im/protocol/webchat#";
local LONGEST = 0x7fffffff; -- seconds: the end of a bar is a date that can be written

return function (options, rooms, visitors, bars)
	local admin = {};

	-- The network and the room that are meant; or nil, why not. A visitor's JID stands for the visitor's network.
	local function parse(address, room)
		if not address then return nil, "Whose network? An IP address is missing, or a visitor's JID"; end
		local network = visitors.network(address) or visitors.last_network(jid.bare(address) or "");
		if not network then
			return nil, "This is neither an IP address nor a visitor who is here or was a short time ago: " .. tostring(address);
		end
		if room == nil or room == "" then return network; end
		local prepped = jid.prep(room);
		local name, host = jid.split(prepped);
		if not name or not rooms.is_host(host) then return nil, "Visitors may not enter a room with the address " .. room; end
		return network, jid.join(name, host);
	end

	local function remove(network, room_jid)
		local text = "You are barred";
		for session in pairs(visitors.sessions_at(network)) do
			if not room_jid then
				session:close { condition = "policy-violation", text = text };
			else
				local room = rooms.find(room_jid);
				local occupant = room and room:get_occupant_by_real_jid(session.full_jid);
				if occupant then room:set_role(true, occupant.nick, nil, text); end
			end
		end
	end

	-- The room may be left out, from the end or before the seconds
	function admin.bar(address, room, seconds)
		if seconds == nil and tonumber(room) then room, seconds = nil, room; end
		local network, room_jid = parse(address, room);
		if not network then return nil, room_jid; end
		seconds = seconds == nil and options.bar_time or tonumber(seconds);
		if not seconds or seconds <= 0 or seconds > LONGEST then
			return nil, ("The time is a number of seconds, greater than 0 and at most %d"):format(LONGEST);
		end
		seconds = bars.add(network, room_jid, math.ceil(seconds));
		local where = room_jid or "the webchat";
		module:log("info", "Barred %s from %s for %d s: by an admin", network, where, seconds);
		remove(network, room_jid);
		return true, ("%s is barred from %s for %d s"):format(network, where, seconds);
	end

	function admin.lift(address, room)
		local network, room_jid = parse(address, room);
		if not network then return nil, room_jid; end
		local where = room_jid or "the webchat";
		if not bars.lift(network, room_jid) then return nil, ("%s is not barred from %s"):format(network, where); end
		module:log("info", "Lifted the bar of %s from %s: by an admin", network, where);
		return true, ("%s is not barred from %s any more"):format(network, where);
	end

	function admin.list()
		local lines = {};
		for _, bar in ipairs(bars.list()) do
			lines[#lines+1] = ("%s from %s until %s"):format(bar.network, bar.room or "the webchat", bars.format(bar.ends));
		end
		return true, #lines > 0 and table.concat(lines, "\n") or "Nobody is barred";
	end

	admin.agent = module:require "agents" (rooms);

	--- Ad-hoc commands

	local new_command = module:require "adhoc".new;

	local function form(title, fields)
		table.insert(fields, 1, { name = "FORM_TYPE", type = "hidden", value = node .. "bars" });
		fields.title = title;
		return dataforms.new(fields);
	end

	local address = { name = "address", type = "text-single", required = true, label = "IP address, or JID of a visitor" };
	local room = { name = "room", type = "jid-single", label = "Room, empty for all" };
	local seconds = { name = "seconds", type = "text-single", label = "Seconds", value = ("%d"):format(options.bar_time) };

	local agent_room = { name = "room", type = "jid-single", required = true, label = "Room", value = options.default_room };
	local agent = { name = "agent", type = "jid-single", required = true, label = "JID of the agent" };
	local affiliation = { name = "affiliation", type = "list-single", label = "Affiliation", value = "owner",
		options = { "owner", "admin", "member", "none" } };

	local function provide(name, title, fields, run)
		module:provides("adhoc", new_command(title, node .. name, simple_form(form(title, fields), function (values, errors)
			if errors then return { status = "completed", error = { message = "The form is not filled in properly" } }; end
			local ok, text = run(values);
			return { status = "completed", info = ok and text or nil, error = not ok and { message = text } or nil };
		end), "admin"));
	end

	module:depends "adhoc";
	provide("bar", "Bar an address from the webchat", { address, room, seconds }, function (values)
		return admin.bar(values.address, values.room, values.seconds);
	end);
	provide("lift", "Lift the bar of an address", { address, room }, function (values)
		return admin.lift(values.address, values.room);
	end);
	provide("agent", "Make somebody an agent of a room", { agent_room, agent, affiliation }, function (values)
		return admin.agent(values.room, values.agent, values.affiliation);
	end);
	provide("list", "List what is barred from the webchat", {}, admin.list);

	return admin;
end
