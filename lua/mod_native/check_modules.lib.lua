-- Modules: whether Prosody loads ours and their shared objects, and related configuration

local config = require "core.configmanager";

local modules = module:require "modules";
local nearest = module:require "spelling";

local GLOBAL = "*";
local SHORTEST = 5; -- letters: a name that no module has may be meant for a short one, too

-- ---- Files ----

local function shadowed(findings, found)
	if found.is_ours or not found.hosts[1] then return; end
	findings.add("error", {
		about = "mod_"..found.name;
		what = found.path and ("Prosody loads it from %s."):format(found.path) or "Prosody does not find it.";
		why = "Prosody searches the directories of plugin_paths in order. Another module of this name comes first.";
		line = ("plugin_paths = { %q; --[[ and your other directories after it ]] }"):format(modules.directory);
		place = modules.place(GLOBAL);
	});
end

local function broken_objects(findings, found)
	for _, object in ipairs(found.objects) do
		if object.error then
			findings.add(found.hosts[1] and "error" or "warning", {
				about = "mod_"..found.name;
				what = ("Cannot load %s: %s"):format(object.path, object.error);
				why = "The file is missing, or was built for another machine, or a library that it needs is not installed.";
				line = "make && make install PLUGINDIR="..modules.directory; place = "In the source directory, if it is not from a package";
			});
		end
	end
end

local function files(findings, installed)
	for _, found in ipairs(installed) do
		shadowed(findings, found);
		broken_objects(findings, found);
	end
end

-- ---- Names ----

-- Names in modules_enabled that are nearly those of our modules
local function misspelt(findings, installed)
	local known = {};
	for _, found in ipairs(installed) do known[found.name] = true; end
	for _, host in ipairs { GLOBAL, table.unpack(modules.hosts()) } do
		for _, name in ipairs(config.rawget(host, "modules_enabled") or {}) do
			local meant = type(name) == "string" and not modules.path_of(name) and nearest(name, known, SHORTEST);
			if meant then
				findings.add("error", { about = name, host = host ~= GLOBAL and host or nil,
					what = ("There is no mod_%s; did you mean %s?"):format(name, meant), why = "Prosody does not load it.",
					line = modules.enabling(meant), place = modules.place(host) });
			end
		end
	end
end

local function sorted(names)
	local list = {};
	for name in names do list[#list + 1] = name; end
	table.sort(list);
	return list;
end

local function unknown_drivers(findings)
	local reported = {};
	for _, host in ipairs(modules.hosts()) do
		for _, name in ipairs(sorted(modules.drivers(host))) do
			if name ~= "null" and not reported[name] and not modules.path_of("storage_"..name) then
				reported[name] = true;
				local section = config.rawget(host, "storage") and host or GLOBAL;
				findings.add("error", { about = "storage", host = section ~= GLOBAL and section or nil,
					what = ("There is no storage driver %q."):format(name),
					why = "Its stores cannot be read or written: users whose accounts it should hold cannot log in.",
					line = name:lower():find("nat", 1, true) and 'storage = "native"' or nil, place = modules.place(section) });
			end
		end
	end
end

-- ---- What belongs to them ----

local function native_disabled(findings)
	if modules.has "native" then return; end
	findings.add("advice", {
		about = "mod_native";
		what = "The module is not enabled in the server.";
		why = "`prosodyctl mod_native status` gets no answer, and the admin shell lacks its commands.";
		line = modules.enabling "native"; place = modules.place(GLOBAL);
	});
end

local function unused_sql(findings, installed)
	if not modules.enabled(installed, "storage_native") or config.get(GLOBAL, "sql") == nil then return; end
	for _, host in ipairs(modules.hosts()) do
		for driver in modules.drivers(host) do
			if driver:match("^sql") then return; end
		end
	end
	findings.add("advice", {
		about = "sql";
		what = "A database is configured, but no host stores data in it.";
		why = "It is left from before storage = \"native\", and misleads once everything is imported.";
		line = "-- remove sql";
	});
end

local function webchat_with_accounts(findings, installed)
	local webchat = modules.enabled(installed, "webchat");
	for _, host in ipairs(webchat and webchat.hosts or {}) do
		if config.get(host, "authentication") ~= "anonymous" and not webchat.options_error then
			findings.add("error", {
				about = "authentication", host = host;
				what = "mod_webchat is enabled on a host that is not anonymous.";
				why = "It is not loaded there: it serves visitors without an account, on a VirtualHost of their own.";
				line = modules.WEBCHAT_HOST; place = "In the configuration, instead of where it is enabled now";
			});
		end
	end
end

local function no_statistics(findings)
	if not modules.has("http_openmetrics") then return; end
	if config.get(GLOBAL, "statistics") ~= "internal" then
		findings.add("error", {
			about = "statistics";
			what = "mod_http_openmetrics is enabled, but Prosody collects no statistics.";
			why = "The endpoint answers \"No statistics provider configured\".";
			line = 'statistics = "internal"\nstatistics_interval = "manual"'; place = modules.place(GLOBAL);
		});
	elseif config.get(GLOBAL, "statistics_interval") ~= "manual" then
		findings.add("advice", {
			about = "statistics_interval";
			what = "Gauges are updated at an interval of Prosody's own, not when they are read.";
			why = "Prometheus sees values that are up to a minute old, and many equal points.";
			line = 'statistics_interval = "manual"'; place = modules.place(GLOBAL);
		});
	end
end

local RULES = { files, misspelt, unknown_drivers, native_disabled, unused_sql, webchat_with_accounts, no_statistics };

return function (findings, installed)
	for _, rule in ipairs(RULES) do rule(findings, installed); end
end
