-- webchat:bar(), webchat:lift(), webchat:list() and webchat:agent() in the admin shell of both versions of Prosody

local commands = {
	{ name = "bar", desc = "Bar an IP address, or that of a visitor's JID, from all rooms or one, for so many seconds",
		args = { "host", "address", "room", "seconds" } };
	{ name = "lift", desc = "Lift the bar of an IP address, from all rooms or one", args = { "host", "address", "room" } };
	{ name = "list", desc = "List the addresses that are barred", args = { "host" } };
	{ name = "agent", desc = "Make a user owner of a room, or admin, or member, or none of these",
		args = { "host", "room", "jid", "affiliation" } };
};

-- 13.0: commands are items
local function provide(admin)
	for _, command in ipairs(commands) do
		local args = {};
		for i, name in ipairs(command.args) do args[i] = { name = name, type = "string" }; end
		module:add_item("shell-command", {
			section = "webchat", section_desc = "Agents of the webchat, and bars of its visitors by network address",
			name = command.name, desc = command.desc, args = args, host_selector = "host",
			handler = function (_, _, ...) return admin[command.name](...); end,
		});
	end
end

-- 0.12: a section of the environment that commands run in, which the hosts with a webchat share
local function share(admin)
	local env = module:shared "/*/admin_shell/env";
	local hosts = module:shared "/*/webchat/hosts";
	hosts[module.host] = admin;
	env.webchat = {};
	for _, command in ipairs(commands) do
		env.webchat[command.name] = function (_, host, ...)
			if host == nil then return nil, "The host is missing: webchat:" .. command.name .. "(" .. table.concat(command.args, ", ") .. ")"; end
			if not hosts[host] then return nil, "There is no webchat on " .. tostring(host); end
			return hosts[host][command.name](...);
		end;
	end
	return function ()
		hosts[module.host] = nil;
		if not next(hosts) then env.webchat = nil; end
	end
end

-- Returns a function that takes the commands away
return function (admin)
	if prosody.version:match("^0%.12") then return share(admin); end
	provide(admin);
	return function () end; -- items go with their module
end
