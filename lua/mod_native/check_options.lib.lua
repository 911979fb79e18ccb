-- Options of this project's modules: unknown ones, invalid values, options without their module or in the wrong section, and
-- limits that contradict one another. All of it follows from the rows in options.lib.lua of each module.

local config = require "core.configmanager";
local serialize = require "util.serialization".new "oneline";
local set = require "util.set";

local modules = module:require "modules";
local nearest = module:require "spelling";

local GLOBAL = "*";
local ALL_QUEUES = "smacks_max_total_bytes";
local PROSODYS = { unbound = "s2s_auth_native" }; -- read for the whole server too, which matters to this module

-- The line of an option as the configuration has it
local function line(name, value)
	return ("%s = %s"):format(name, serialize(value));
end

-- Calls visit(host, name, value) for each option of the configuration: the global section first, then hosts, by name
local function each_option(visit)
	for _, host in ipairs { GLOBAL, table.unpack(modules.hosts()) } do
		local names = {};
		for name in pairs(rawget(config.getconfig(), host) or {}) do
			if type(name) == "string" then names[#names + 1] = name; end
		end
		table.sort(names);
		for _, name in ipairs(names) do visit(host, name, config.rawget(host, name)); end
	end
end

-- { [name of an option] = { row =, owner = the module } }
local function rows_by_name(installed)
	local known = {};
	for _, found in ipairs(installed) do
		for _, row in ipairs(found.options) do known[row.name] = { row = row, owner = found }; end
	end
	return known;
end

-- The module whose prefix a name has, or nil
local function owner_of(name, installed)
	for _, found in ipairs(installed) do
		local prefix = found.options.prefix;
		if prefix and name:sub(1, #prefix) == prefix then return found; end
	end
end

local function unreadable(findings, installed)
	for _, found in ipairs(installed) do
		if found.options_error then
			findings.add("error", { about = "mod_"..found.name, what = ("Cannot read its options: %s."):format(found.options_error),
				why = "The module cannot be loaded, and its options are not checked. Install it again." });
		end
	end
end

local function unknown(findings, installed)
	local known = rows_by_name(installed);
	each_option(function (host, name, value)
		local meant, owner = not known[name] and nearest(name, known), owner_of(name, installed);
		if known[name] or not meant and not owner then return; end
		findings.add("warning", {
			about = name, host = host ~= GLOBAL and host or nil;
			what = meant and ("Unknown option; did you mean %s?"):format(meant) or ("mod_%s has no such option."):format(owner.name);
			why = "Unknown options have no effect, and Prosody does not report them.";
			line = meant and line(meant, value) or "-- remove "..name;
			place = modules.place(host);
		});
	end);
end

local function is_set_for(host, name)
	return config.rawget(host, name) ~= nil;
end

local function invalid(findings, installed)
	for _, found in ipairs(installed) do
		local reported = set.new();
		for _, host in ipairs(found.is_tool and { GLOBAL } or found.hosts) do
			modules.values(found, host, function (row, text)
				if reported:contains(text) then return; end
				reported:add(text);
				findings.add("error", { about = "mod_"..found.name, what = ("Invalid option value: %s."):format(text),
					host = host ~= GLOBAL and is_set_for(host, row.name) and host or nil,
					why = "The module logs it and uses its default instead. Its README lists the valid values." });
			end);
		end
	end
end

local function enabling(owner)
	local driver = owner.name:match("^storage_(.+)");
	if owner.name == "webchat" then return modules.WEBCHAT_HOST; end
	return driver and line("storage", driver) or modules.enabling(owner.name);
end

local function without_module(findings, installed)
	local known, reported = rows_by_name(installed), set.new();
	each_option(function (host, name)
		local owner = owner_of(name, installed);
		if not owner or owner.is_tool then return; end
		local is_global = host == GLOBAL or known[name] and known[name].row.scope == "server";
		local where = not is_global and host or nil;
		if reported:contains(owner.name..host) or modules.has(owner.name, where) then return; end
		reported:add(owner.name..host);
		findings.add("warning", {
			about = name, host = where;
			what = ("The option is set, but mod_%s is not enabled%s."):format(owner.name, where and " on this host" or "");
			why = "The option has no effect.";
			line = enabling(owner);
			place = owner.name == "webchat" and "In the configuration, with the option below" or modules.place(host);
		});
	end);
end

local function misplaced(findings, installed)
	local known = rows_by_name(installed);
	each_option(function (host, name, value)
		local found = known[name];
		local owner = found and found.row.scope == "server" and found.owner.name or PROSODYS[name];
		if host == GLOBAL or not owner or not modules.has(owner) and not (found and found.owner.is_tool) then return; end
		findings.add("warning", {
			about = name, host = host;
			what = "The option is set below a host, but is read for the whole server.";
			why = "It has no effect there.";
			line = line(name, value); place = modules.place(GLOBAL);
		});
	end);
end

-- Limits that the one for all queues must not be below: of what, the option, and how many of these the limit should hold
local SMALLER_LIMITS = {
	{ "each of them", "smacks_max_queue_bytes", 128 };
	{ "those of each account", "smacks_max_account_bytes", 16, if_set = true }; -- its default alone contradicts nothing
};

local function queue_limits(findings, installed)
	local smacks, is_reported = modules.enabled(installed, "smacks"), false;
	for _, host in ipairs(smacks and smacks.hosts or {}) do
		local values = modules.values(smacks, host);
		for _, limit in ipairs(SMALLER_LIMITS) do
			local what, option, factor = table.unpack(limit);
			local is_own = is_set_for(host, option) or is_set_for(host, ALL_QUEUES);
			local one, all = values[option], values[ALL_QUEUES];
			if limit.if_set and config.get(host, option) == nil then one = 0; end
			if one and all and all < one and (is_own or not is_reported) then
				is_reported = is_reported or not is_own;
				findings.add("error", {
					about = ALL_QUEUES, host = is_own and host or nil;
					what = ("All queues together may hold %d bytes, but %s %d (%s)."):format(all, what, one, option);
					why = "One account can fill the memory that is meant for all of them.";
					line = line(ALL_QUEUES, one * factor); place = modules.place(GLOBAL);
				});
				break;
			end
		end
	end
end

local RULES = { unreadable, unknown, invalid, without_module, misplaced, queue_limits };

return function (findings, installed)
	for _, rule in ipairs(RULES) do rule(findings, installed); end
end
