-- Whether Prosody takes the modules from here, and their shared objects can be loaded

local family = module:require "family";

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
				line = "make && make install PLUGINDIR="..family.directory; place = "In the directory of the sources";
			});
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
	not_asked(findings);
end
