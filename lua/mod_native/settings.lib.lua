-- What is wrong with the options of this project's modules: unknown ones, impossible values, and such that contradict
-- one another

local config = require "core.configmanager";
local serialize = require "util.serialization".new "oneline";
local set = require "util.set";

local family = module:require "family";
local nearest = module:require "spelling";

local GLOBAL = "*";
local ALL_QUEUES = "smacks_max_total_bytes";

-- The line of an option as the configuration has it
local function line(name, value)
	return ("%s = %s"):format(name, serialize(value));
end

local function sections()
	local names = { GLOBAL };
	for _, host in ipairs(family.hosts()) do names[#names + 1] = host; end
	return names;
end

-- Calls visit(host, name, value) for each option that stands in the configuration, in order
local function each_option(visit)
	for _, host in ipairs(sections()) do
		local names = {};
		for name in pairs(rawget(config.getconfig(), host) or {}) do
			if type(name) == "string" then names[#names + 1] = name; end
		end
		table.sort(names);
		for _, name in ipairs(names) do visit(host, name, config.rawget(host, name)); end
	end
end

-- ---- Unknown ----

local function owner_of(name, modules)
	for _, found in ipairs(modules) do
		if found.prefix and name:sub(1, #found.prefix) == found.prefix then return found; end
	end
end

local function unknown(findings, modules)
	local known, unsure = {}, {}; -- unsure: modules that refuse what is configured have not read all they know
	for _, found in ipairs(modules) do
		local noted = family.options(found, GLOBAL);
		for name in pairs(noted and noted.options or {}) do known[name] = true; end
		unsure[found] = noted and not noted.values;
	end
	each_option(function (host, name, value)
		if known[name] then return; end
		local meant, owner = nearest(name, known), owner_of(name, modules);
		if not meant and not owner or unsure[owner] then return; end
		findings.add("warning", {
			about = name, host = host ~= GLOBAL and host or nil;
			what = meant and ("No module reads this option; %s was meant."):format(meant)
				or ("mod_%s has no such option."):format(owner.name);
			why = "An option that nobody reads has no effect, and Prosody says nothing of it.";
			line = meant and line(meant, value) or "-- take out "..name;
			place = family.place(host);
		});
	end);
end

-- ---- What the modules themselves complain about ----

local function stands_below(host, name)
	return name == nil or config.rawget(host, name) ~= nil;
end

local function impossible(findings, modules)
	for _, found in ipairs(modules) do
		local told = set.new();
		for _, host in ipairs(found.hosts) do
			local noted = family.options(found, host);
			for _, complaint in ipairs(noted and noted.complaints or {}) do
				if not told:contains(complaint.text) then
					told:add(complaint.text);
					findings.add("error", { about = "mod_"..found.name, what = complaint.text,
						host = stands_below(host, complaint.option) and host or nil,
						why = noted.values and "The module works with its default instead. Its README lists what the option may be."
							or "The module is not loaded. Its README lists what the option may be." });
				end
			end
		end
	end
end

-- ---- Set for a module that is not there ----

-- A host of its own: where users have accounts, mod_webchat is not loaded
local WEBCHAT = 'VirtualHost "guest.example.org"\n\tauthentication = "anonymous"\n\tmodules_enabled = { "webchat" }';

local function without_module(findings, modules)
	local told = set.new();
	each_option(function (host, name)
		local owner = owner_of(name, modules);
		local where = host ~= GLOBAL and not (owner and owner.is_global) and host or nil;
		if not owner or told:contains(owner.name..host) or family.has(owner.name, where) then return; end
		told:add(owner.name..host);
		local driver, is_webchat = owner.name:match("^storage_(.+)"), owner.name == "webchat";
		findings.add("warning", {
			about = name, host = where;
			what = ("It is set, but mod_%s is not enabled%s."):format(owner.name, where and " there" or "");
			why = "The option has no effect.";
			line = driver and line("storage", driver) or is_webchat and WEBCHAT
				or ("modules_enabled = { %q; --[[ and what you had ]] }"):format(owner.name);
			place = is_webchat and "In the configuration, with the option below" or family.place(host);
		});
	end);
end

-- ---- Below a host, where nobody looks for it ----

local function misplaced(findings, modules)
	each_option(function (host, name, value)
		local owner = owner_of(name, modules);
		local is_global = owner and owner.is_global and family.has(owner.name) or name == ALL_QUEUES and family.has "smacks"
			or (name == "unbound" or name == "use_dane") and family.has "s2s_auth_native";
		if host == GLOBAL or not is_global then return; end
		findings.add("warning", {
			about = name, host = host;
			what = "It stands below a host, and is read for the whole server.";
			why = "It has no effect there.";
			line = line(name, value); place = family.place(GLOBAL);
		});
	end);
end

-- ---- Contradictions ----

-- The limits that one for all queues should not be below: of what, option, how many of these it should hold, and
-- the value; that of an account means nothing unless it is configured
local smaller_limits = {
	{ "each of them", "smacks_max_queue_bytes", 128, function (values) return values.queue_limits.bytes; end };
	{ "those of each account", "smacks_max_account_bytes", 16, function (values, host)
		return config.get(host, "smacks_max_account_bytes") and values.max_account_bytes or 0;
	end };
};

local function queue_limits(findings, modules)
	local smacks, told = family.enabled(modules, "smacks"), false;
	for _, host in ipairs(smacks and smacks.hosts or {}) do
		local values = family.options(smacks, host).values;
		for _, smaller in ipairs(values and smaller_limits or {}) do
			local what, option, factor, get = table.unpack(smaller);
			local is_own = stands_below(host, option) or stands_below(host, ALL_QUEUES);
			local one, all = get(values, host), values.max_total_bytes;
			if all < one and (is_own or not told) then -- else somebody has complained already
				told = told or not is_own;
				findings.add("error", {
					about = ALL_QUEUES, host = is_own and host or nil;
					what = ("All queues together may hold %d bytes, and %s %d (%s)."):format(all, what, one, option);
					why = "One account can fill the memory that is meant for all of them.";
					line = line(ALL_QUEUES, one * factor); place = family.place(GLOBAL);
				});
				break;
			end
		end
	end
end

local function left_over_sql(findings, modules)
	if not family.enabled(modules, "storage_native") or config.get(GLOBAL, "sql") == nil then return; end
	for _, host in ipairs(family.hosts()) do
		for driver in family.drivers(host) do
			if driver:match("^sql") then return; end
		end
	end
	findings.add("advice", {
		about = "sql";
		what = "A database is described, but no host stores anything in it.";
		why = "It is left over from before storage = \"native\". Once all is imported it only misleads.";
		line = "-- take out sql";
	});
end

local function two_judges(findings, modules)
	local ours = family.enabled(modules, "s2s_auth_native");
	for _, host in ipairs(ours and ours.hosts or {}) do
		if family.has("s2s_auth_dane_in", host) then
			findings.add("warning", {
				about = "s2s_auth_dane_in", host = host;
				what = "It is enabled beside mod_s2s_auth_native, which does the same and more.";
				why = "Two modules ask DNS, and which one has judged a certificate depends on their order.";
				line = "-- take \"s2s_auth_dane_in\" out of modules_enabled";
			});
			return;
		end
	end
end

local function nobody_to_judge(findings)
	-- They are global modules, and see the streams of every host
	if family.has "s2s_auth_certs" or family.has "s2s_auth_native" then return; end
	for _, host in ipairs(family.hosts()) do
		if family.has("s2s", host) and config.get(host, "s2s_secure_auth") == true then
			findings.add("error", {
				about = "s2s_secure_auth", host = host;
				what = "Valid certificates are demanded of other servers, but no module examines them.";
				why = "No other server is let in, and none is reached.";
				line = 'modules_enabled = { "s2s_auth_native"; --[[ and what you had ]] }'; place = family.place(GLOBAL);
			});
			return;
		end
	end
end

local function webchat_among_accounts(findings, modules)
	local webchat = family.enabled(modules, "webchat");
	for _, host in ipairs(webchat and webchat.hosts or {}) do
		local is_refused = not family.options(webchat, host).values; -- for another reason, which has been told
		if config.get(host, "authentication") ~= "anonymous" and not is_refused then
			findings.add("error", {
				about = "authentication", host = host;
				what = "mod_webchat is enabled on a host that is not anonymous.";
				why = "It is not loaded there: it serves visitors without an account, on a VirtualHost of their own.";
				line = WEBCHAT; place = "In the configuration, instead of where it is enabled now";
			});
		end
	end
end

local function no_statistics(findings)
	if not family.has("http_openmetrics") then return; end
	local provider = config.get(GLOBAL, "statistics");
	if provider ~= "internal" then
		findings.add("error", {
			about = "statistics";
			what = "mod_http_openmetrics is enabled, but Prosody counts nothing.";
			why = "The endpoint answers \"No statistics provider configured\".";
			line = 'statistics = "internal"\nstatistics_interval = "manual"'; place = family.place(GLOBAL);
		});
	elseif config.get(GLOBAL, "statistics_interval") ~= "manual" then
		findings.add("advice", {
			about = "statistics_interval";
			what = "Gauges are renewed at an interval of Prosody's own, not when they are read.";
			why = "What Prometheus sees is up to a minute old, and many points are the same.";
			line = 'statistics_interval = "manual"'; place = family.place(GLOBAL);
		});
	end
end

local RULES = { unknown, impossible, without_module, misplaced, queue_limits, left_over_sql, two_judges, nobody_to_judge,
	webchat_among_accounts, no_statistics };

return function (findings, modules)
	for _, rule in ipairs(RULES) do rule(findings, modules); end
end
