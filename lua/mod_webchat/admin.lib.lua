-- Commands of admins: webchat bar, lift, list and agent, in the admin shell and as ad-hoc commands (XEP-0050). Each returns
-- true and a text, or nil and an error message.

local dataforms = require "util.dataforms";
local jid = require "util.jid";
local simple_form = require "util.adhoc".new_simple_form;
local usermanager = require "core.usermanager";

local NODE = "https://prosody.im/protocol/webchat#";
local MAX_SECONDS = 0x7fffffff; -- os.date() can format the end of such a bar

local AFFILIATIONS = { owner = true, admin = true, member = true, none = true };

local admin, commands = {}, {};

local bars, networks, options, rooms, visitors; -- see start()

--- Arguments

local function parse_room(address)
	local prepped = jid.prep(address);
	local node, host, resource = jid.split(prepped);
	if not node or resource then return nil, "Invalid argument: a room is written as room@host"; end
	if not rooms.is_host(host) then return nil, "Visitors may not enter this room: " .. prepped; end
	return prepped;
end

-- Array of the networks of an IP address or of a visitor's JID
local function parse_networks(address)
	if not address then return nil, "Missing argument: IP address or visitor JID"; end
	local network = networks.parse(address);
	if network and visitors.is_proxy(networks.behind_proxy(network)) then network = networks.behind_proxy(network); end
	local list = network and { network } or visitors.networks(jid.bare(address) or "");
	if not list then return nil, "Neither an IP address nor the JID of a visitor who is here or left recently: " .. tostring(address); end
	local known = {};
	for _, name in ipairs(list) do
		if not networks.is_shared(name) then table.insert(known, name); end
	end
	if #known == 0 then return nil, ("The network of %s is unknown: %s. %s"):format(address, list[1], networks.ADVICE); end
	return known;
end

-- { networks = array, room = bare JID or nil, where = for messages }
local function parse_target(address, room)
	local list, err = parse_networks(address);
	if not list then return nil, err; end
	if room == nil or room == "" then return { networks = list, where = "the webchat" }; end
	local room_jid, reason = parse_room(room);
	if not room_jid then return nil, reason; end
	return { networks = list, room = room_jid, where = room_jid };
end

-- The bare JID of an agent
local function parse_agent(address)
	local node, host = jid.split(jid.prep(address));
	if not node then return nil, "Invalid argument: an agent is written as user@host"; end
	if host == module.host then return nil, "Visitors have no account: an agent needs one"; end
	return jid.join(node, host);
end

--- Commands

-- room and seconds may be left out, also room alone
function commands.bar(address, room, seconds)
	if seconds == nil and tonumber(room) then room, seconds = nil, room; end
	local target, err = parse_target(address, room);
	if not target then return nil, err; end
	seconds = seconds == nil and options.webchat_bar_time or tonumber(seconds);
	if not seconds or seconds <= 0 or seconds > MAX_SECONDS then
		return nil, ("Invalid argument: the time is a number of seconds, greater than 0 and at most %d"):format(MAX_SECONDS);
	end
	local lines, room_found = {}, target.room and rooms.find(target.room);
	for i, network in ipairs(target.networks) do
		local barred = bars.add(network, target.room, math.ceil(seconds));
		module:log("info", "Barred %s from %s for %d s: by an admin", network, target.where, barred);
		if room_found or not target.room then bars.evict(network, room_found, "You are barred"); end
		lines[i] = ("%s is barred from %s for %d s"):format(network, target.where, barred);
	end
	return true, table.concat(lines, "\n");
end

function commands.lift(address, room)
	local target, err = parse_target(address, room);
	if not target then return nil, err; end
	local lines, lifted = {}, nil;
	for i, network in ipairs(target.networks) do
		local was_barred = bars.lift(network, target.room);
		if was_barred then
			lifted = true;
			module:log("info", "Lifted the bar of %s from %s: by an admin", network, target.where);
		end
		lines[i] = ("%s is not barred from %s%s"):format(network, target.where, was_barred and " any more" or "");
	end
	return lifted, table.concat(lines, "\n");
end

function commands.list()
	local lines = {};
	for _, bar in ipairs(bars.list()) do
		lines[#lines+1] = ("%s from %s until %s"):format(bar.network, bar.room or "the webchat", bars.format(bar.ends));
	end
	if #lines == 0 then lines[1] = "Nobody is barred"; end
	for name, number in pairs(visitors.unknown()) do
		lines[#lines+1] = ("Unknown networks of %d visitors from %s. %s"):format(number, name, networks.ADVICE);
	end
	return true, table.concat(lines, "\n");
end

local function agent_notes(room, address)
	local node, host = jid.split(address);
	local text = "";
	if prosody.hosts[host] and not usermanager.user_exists(node, host) then text = ". This account does not exist yet"; end
	if not room:get_persistent() then text = text .. ". The room is not persistent: it ends when all have left"; end
	return text;
end

-- muc:create() creates a room without an owner
function commands.agent(room_jid, user_jid, affiliation)
	affiliation = affiliation == nil and "owner" or affiliation;
	if not AFFILIATIONS[affiliation] then return nil, "Invalid argument: the affiliation is one of owner, admin, member, none"; end
	local parsed, err = parse_room(room_jid);
	if not parsed then return nil, err; end
	local room = rooms.find(parsed);
	if not room then return nil, ("This room does not exist: %s. Run %s"):format(parsed, rooms.create_command(parsed)); end
	local address, reason = parse_agent(user_jid);
	if not address then return nil, reason; end
	local ok, _, condition, text = room:set_affiliation(true, address, affiliation);
	if not ok then return nil, text or condition or "The room refused the change"; end
	room:save(true); -- 0.12 saves a room that muc:create() has created only when the server stops
	local done = ("%s is %s of %s"):format(address, affiliation == "none" and "not an agent" or affiliation, room.jid);
	module:log("info", "%s: by an admin", done);
	return true, done .. agent_notes(room, address);
end

--- Ad-hoc commands

local function provide_adhoc(name, title, fields, run)
	table.insert(fields, 1, { name = "FORM_TYPE", type = "hidden", value = NODE .. "bars" });
	fields.title = title;
	local new_command = module:require "adhoc".new;
	module:provides("adhoc", new_command(title, NODE .. name, simple_form(dataforms.new(fields), function (values, errors)
		if errors then return { status = "completed", error = { message = "Invalid form" } }; end
		local ok, text = run(values);
		return { status = "completed", info = ok and text or nil, error = not ok and { message = text } or nil };
	end), "admin"));
end

local function provide_adhoc_commands()
	local address = { name = "address", type = "text-single", required = true, label = "IP address, or JID of a visitor" };
	local room = { name = "room", type = "jid-single", label = "Room (empty for all rooms)" };
	local seconds = { name = "seconds", type = "text-single", label = "Seconds", value = ("%d"):format(options.webchat_bar_time) };
	local agent_room = { name = "room", type = "jid-single", required = true, label = "Room", value = options.webchat_default_room };
	local agent = { name = "agent", type = "jid-single", required = true, label = "JID of the agent" };
	local affiliation = { name = "affiliation", type = "list-single", label = "Affiliation", value = "owner",
		options = { "owner", "admin", "member", "none" } };

	module:depends "adhoc";
	provide_adhoc("bar", "Bar an address from the webchat", { address, room, seconds }, function (values)
		return commands.bar(values.address, values.room, values.seconds);
	end);
	provide_adhoc("lift", "Lift the bar of an address", { address, room }, function (values)
		return commands.lift(values.address, values.room);
	end);
	provide_adhoc("agent", "Make a user an agent of a room", { agent_room, agent, affiliation }, function (values)
		return commands.agent(values.room, values.agent, values.affiliation);
	end);
	provide_adhoc("list", "List bars from the webchat", {}, commands.list);
end

--- Admin shell: webchat:bar(), webchat:lift(), webchat:list() and webchat:agent()

local SHELL_COMMANDS = {
	{ name = "bar", desc = "Bar the network of an IP address or visitor JID from all rooms or one, for a number of seconds",
		args = { "host", "address", "room", "seconds" } };
	{ name = "lift", desc = "Lift the bar of a network from all rooms or one", args = { "host", "address", "room" } };
	{ name = "list", desc = "List the networks that are barred", args = { "host" } };
	{ name = "agent", desc = "Make a user owner, admin or member of a room, or none of these",
		args = { "host", "room", "jid", "affiliation" } };
};

-- 13.0: commands are items, which Prosody removes with the module
local function provide_shell_items()
	for _, command in ipairs(SHELL_COMMANDS) do
		local args = {};
		for i, name in ipairs(command.args) do args[i] = { name = name, type = "string" }; end
		module:add_item("shell-command", {
			section = "webchat", section_desc = "Manage agents of the webchat, and bars of its visitors",
			name = command.name, desc = command.desc, args = args, host_selector = "host",
			handler = function (_, _, ...) return commands[command.name](...); end,
		});
	end
end

-- 0.12: hosts with a webchat share a section of the environment in which commands run
local is_0_12 = prosody.version:match("^0%.12") ~= nil;
local shell_env, shell_hosts = module:shared "/*/admin_shell/env", module:shared "/*/webchat/hosts";

local function add_shell_section()
	shell_hosts[module.host] = commands;
	shell_env.webchat = {};
	for _, command in ipairs(SHELL_COMMANDS) do
		shell_env.webchat[command.name] = function (_, host, ...)
			if host == nil then
				return nil, ("Missing argument: host. Usage: webchat:%s(%s)"):format(command.name, table.concat(command.args, ", "));
			end
			if not shell_hosts[host] then return nil, "No webchat on this host: " .. tostring(host); end
			return shell_hosts[host][command.name](...);
		end;
	end
end

function admin.remove_shell_commands()
	if not is_0_12 then return; end
	shell_hosts[module.host] = nil;
	if not next(shell_hosts) then shell_env.webchat = nil; end
end

function admin.start(webchat)
	bars, networks, options = webchat.bars, webchat.networks, webchat.options;
	rooms, visitors = webchat.rooms, webchat.visitors;
	provide_adhoc_commands();
	if is_0_12 then add_shell_section(); else provide_shell_items(); end
end

return admin;
