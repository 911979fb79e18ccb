-- Whether Prosody takes the modules from here, and their shared objects can be loaded

local config = require "core.configmanager";

local family = module:require "family";
local nearest = module:require "spelling";

local SHORTEST = 5; -- letters: what is no module at all may be meant for a short name, too

local function shadowed(findings, found)
	if found.is_ours or not found.hosts[1] then return; end
	findings.add("error", {
		about = "mod_"..found.name;
		what = ("Prosody takes it from %s."):format(found.path or "nowhere");
		why = "Directories of plugin_paths are searched in order: another module of this name comes first.";
		line = ("plugin_paths = { %q; --[[ and what you had, behind it ]] }"):format(family.directory);
		place = family.place "*";
	});
end

local function broken_objects(findings, found)
	for _, object in ipairs(found.objects) do
		if object.error then
			findings.add(found.hosts[1] and "error" or "warning", {
				about = "mod_"..found.name;
				what = ("%s cannot be loaded: %s"):format(object.path, object.error);
				why = "It is missing, or was built for another machine, or a library that it needs is not installed.";
				line = "make && make install PLUGINDIR="..family.directory; place = "In the directory of the sources, where it is not a package";
			});
		end
	end
end

local function in_order(names)
	local list = {};
	for name in names do list[#list + 1] = name; end
	table.sort(list);
	return list;
end

-- Modules that are enabled under a name that is nearly that of one of ours
local function misspelt(findings, modules)
	local known = {};
	for _, found in ipairs(modules) do known[found.name] = true; end
	for _, host in ipairs { "*", table.unpack(family.hosts()) } do
		for _, name in ipairs(config.rawget(host, "modules_enabled") or {}) do
			local meant = type(name) == "string" and not family.path_of(name) and nearest(name, known, SHORTEST);
			if meant then
				findings.add("error", { about = name, host = host ~= "*" and host or nil,
					what = ("There is no mod_%s; %s was meant."):format(name, meant), why = "It is not loaded.",
					line = ("modules_enabled = { %q; --[[ and what you had ]] }"):format(meant), place = family.place(host) });
			end
		end
	end
end

local function unknown_drivers(findings)
	local told = {};
	for _, host in ipairs(family.hosts()) do
		for _, name in ipairs(in_order(family.drivers(host))) do
			if name ~= "null" and not told[name] and not family.path_of("storage_"..name) then
				told[name] = true;
				local section = config.rawget(host, "storage") and host or "*";
				findings.add("error", { about = "storage", host = section ~= "*" and section or nil,
					what = ("There is no storage driver %q."):format(name),
					why = "Nothing is stored by it, and nobody can log in whose account it should have.",
					line = name:lower():find("nat", 1, true) and 'storage = "native"' or nil, place = family.place(section) });
			end
		end
	end
end

local function not_asked(findings)
	if family.has "native" then return; end
	findings.add("advice", {
		about = "mod_native";
		what = "It is not enabled in the server.";
		why = "prosodyctl mod_native status has nobody to ask, and the admin shell does not have its commands.";
		line = 'modules_enabled = { "native"; --[[ and what you had ]] }';
		place = family.place "*";
	});
end

return function (findings, modules)
	for _, found in ipairs(modules) do
		shadowed(findings, found);
		broken_objects(findings, found);
	end
	misspelt(findings, modules);
	unknown_drivers(findings);
	not_asked(findings);
end
