-- What an admin can do: from the admin shell, and by ad-hoc commands (XEP-0050) from a client

local dataforms = require "util.dataforms";
local simple_form = require "util.adhoc".new_simple_form;
local jid = require "util.jid";

local node = "https://prosody.im/protocol/webchat#";
local LONGEST = 0x7fffffff; -- seconds: the end of a bar is a date that can be written

return function (options, rooms, networks, visitors, bars, ending)
	local admin = {};

	-- Those of an address, or of a visitor's JID; or nil, why there are none
	local function networks_of(address)
		if not address then return nil, "Missing argument: IP address or visitor JID"; end
		local network = networks.parse(address);
		if network and visitors.is_proxy(networks.behind_proxy(network)) then network = networks.behind_proxy(network); end
		local list = network and { network } or visitors.networks(jid.bare(address) or "");
		if not list then
			return nil, "This is neither an IP address nor a visitor who is here or was a short time ago: " .. tostring(address);
		end
		local known = {};
		for _, name in ipairs(list) do
			if not networks.is_shared(name) then table.insert(known, name); end
		end
		if #known == 0 then return nil, ("The network of %s is not known: %s. %s"):format(address, list[1], networks.ADVICE); end
		return known;
	end

	-- The networks and the room that are meant; or nil, why not
	local function parse(address, room)
		local list, err = networks_of(address);
		if not list then return nil, err; end
		if room == nil or room == "" then return list; end
		local prepped = jid.prep(room);
		local name, host = jid.split(prepped);
		if not name or not rooms.is_host(host) then return nil, "Visitors may not enter a room with the address " .. room; end
		return list, jid.join(name, host);
	end

	local function remove(network, room_jid)
		local text = "You are barred";
		for _, session in ipairs(visitors.sessions_from(network)) do
			if not room_jid then
				ending.now(session, "policy-violation", text);
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
		local list, room_jid = parse(address, room);
		if not list then return nil, room_jid; end
		seconds = seconds == nil and options.webchat_bar_time or tonumber(seconds);
		if not seconds or seconds <= 0 or seconds > LONGEST then
			return nil, ("The time is a number of seconds, greater than 0 and at most %d"):format(LONGEST);
		end
		local where, lines = room_jid or "the webchat", {};
		for i, network in ipairs(list) do
			local barred = bars.add(network, room_jid, math.ceil(seconds));
			module:log("info", "Barred %s from %s for %d s: by an admin", network, where, barred);
			remove(network, room_jid);
			lines[i] = ("%s is barred from %s for %d s"):format(network, where, barred);
		end
		return true, table.concat(lines, "\n");
	end

	function admin.lift(address, room)
		local list, room_jid = parse(address, room);
		if not list then return nil, room_jid; end
		local where, lines, lifted = room_jid or "the webchat", {}, false;
		for i, network in ipairs(list) do
			local was_barred = bars.lift(network, room_jid);
			lifted = lifted or was_barred;
			if was_barred then module:log("info", "Lifted the bar of %s from %s: by an admin", network, where); end
			lines[i] = ("%s is not barred from %s%s"):format(network, where, was_barred and " any more" or "");
		end
		return lifted or nil, table.concat(lines, "\n");
	end

	function admin.list()
		local lines = {};
		for _, bar in ipairs(bars.list()) do
			lines[#lines+1] = ("%s from %s until %s"):format(bar.network, bar.room or "the webchat", bars.format(bar.ends));
		end
		if #lines == 0 then lines[1] = "Nobody is barred"; end
		for name, number in pairs(visitors.unknown()) do
			lines[#lines+1] = ("Not known: the networks of %d visitors from %s. %s"):format(number, name, networks.ADVICE);
		end
		return true, table.concat(lines, "\n");
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
	local seconds = { name = "seconds", type = "text-single", label = "Seconds", value = ("%d"):format(options.webchat_bar_time) };

	local agent_room = { name = "room", type = "jid-single", required = true, label = "Room", value = options.webchat_default_room };
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
