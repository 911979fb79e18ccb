-- The modules of this project: where they lie, what they bring, who has them enabled, and the options that they read

local config = require "core.configmanager";
local lfs = require "lfs";
local moduleapi = require "core.moduleapi";
local modulemanager = require "core.modulemanager";
local pluginloader = require "util.pluginloader";
local format = require "util.format".format;
local set = require "util.set";

local left_out_because = module:require "everywhere";

local GLOBAL = "*";

-- prefix: of the options that are the module's own, is_global: which it reads for the whole server; is_everywhere: once it is
-- loaded it serves every host, whichever list names it
local MODULES = {
	{ name = "smacks", objects = { "smacks" }, prefix = "smacks_" };
	{ name = "storage_native", objects = { "store" }, prefix = "storage_native_", is_global = true };
	{ name = "s2s_auth_native", objects = { "certs" }, prefix = "s2s_native_", is_global = true, is_everywhere = true };
	{ name = "certs", objects = { "certs", "dns", "file" } };
	{ name = "webchat", objects = {}, prefix = "webchat_" };
	{ name = "native", objects = {} };
};

local family = {};

-- The directory that belongs into plugin_paths
family.directory = module:get_directory():match("^(.*)/[^/]+/?$") or "..";

-- ---- Hosts ----

-- Those of the configuration that are not switched off, in order
function family.hosts()
	local hosts = {};
	for host in pairs(prosody.hosts) do
		if host ~= GLOBAL and config.get(host, "enabled") ~= false then hosts[#hosts + 1] = host; end
	end
	table.sort(hosts);
	return hosts;
end

-- Names of the storage drivers of a host, as storagemanager reads them
function family.drivers(host)
	local storage = config.get(host, "storage");
	if type(storage) == "string" then return set.new { storage }; end
	local names = set.new { config.get(host, "default_storage") or "internal" }; -- for stores that are not named
	for _, name in pairs(type(storage) == "table" and storage or {}) do
		if type(name) == "string" then names:add(name); end
	end
	return names;
end

-- Whether the lists have Prosody load a module with this host
local function is_named(name, host)
	return modulemanager.get_modules_for_host(host):contains(name);
end

-- Hosts whose activation loads a module
function family.loaded_with(name)
	local found = {};
	for _, host in ipairs(family.hosts()) do
		if is_named(name, host) then found[#found + 1] = host; end
	end
	return found;
end

local function is_loaded(name)
	for _, host in ipairs(family.hosts()) do
		if is_named(name, host) then return true; end
	end
	return false;
end

local function is_everywhere(name)
	for _, known in ipairs(MODULES) do
		if known.name == name then return known.is_everywhere; end
	end
end

local function is_enabled(name, host)
	local driver = name:match("^storage_(.+)");
	if driver then return family.drivers(host):contains(driver); end
	if not is_everywhere(name) then return is_named(name, host); end
	return not left_out_because(name, host) and is_loaded(name);
end

-- Hosts that have a module, also as a storage driver
function family.hosts_with(name)
	local found = {};
	if is_everywhere(name) and not is_loaded(name) then return found; end
	for _, host in ipairs(family.hosts()) do
		if is_enabled(name, host) then found[#found + 1] = host; end
	end
	return found;
end

-- Why a module that serves every host does not serve this one, or nil
family.left_out_because = left_out_because;

-- Whether the global section enables a module
function family.is_global(name)
	return set.new(config.get(GLOBAL, "modules_enabled") or {}):contains(name)
		and not set.new(config.get(GLOBAL, "modules_disabled") or {}):contains(name);
end

-- Whether a host has a module, any host where none is named
function family.has(name, host)
	if host then return is_enabled(name, host); end
	return set.new(config.get(GLOBAL, "modules_enabled") or {}):contains(name) or family.hosts_with(name)[1] ~= nil;
end

-- ---- Files ----

-- Where Prosody finds a module: its path, or nil
function family.path_of(name)
	local content, path = pluginloader.load_resource(name);
	return content and path or nil;
end

local function load_object(directory, name)
	local path = ("%s/%s.so"):format(directory, name);
	local open, err = package.loadlib(path, "luaopen_"..name);
	return { name = name, path = path, error = not open and err or nil };
end

local function same_directory(one, other)
	local a, b = lfs.attributes(one), lfs.attributes(other);
	return a ~= nil and b ~= nil and a.dev == b.dev and a.ino == b.ino;
end

-- Array of what there is in family.directory: { name =, prefix =, is_global =, is_everywhere =, hosts =,
-- path = where Prosody takes it from, is_ours =, objects = { { name =, path =, error = } } }
function family.modules()
	local list = {};
	for _, known in ipairs(MODULES) do
		local directory = ("%s/mod_%s"):format(family.directory, known.name);
		if lfs.attributes(directory, "mode") == "directory" then
			local path = family.path_of(known.name);
			local found = { name = known.name, prefix = known.prefix, is_global = known.is_global,
				is_everywhere = known.is_everywhere, directory = directory, path = path, objects = {}, hosts = family.hosts_with(known.name),
				is_ours = path ~= nil and same_directory(path:match("^(.*)/"), directory) };
			for i, object in ipairs(known.objects) do found.objects[i] = load_object(directory, object); end
			list[#list + 1] = found;
		end
	end
	return list;
end

-- The one of family.modules() that has this name, where a host has it enabled; or nil
function family.enabled(modules, name)
	for _, found in ipairs(modules) do
		if found.name == name and found.hosts[1] then return found; end
	end
end

-- ---- Options ----

-- Where an option of a host stands
function family.place(host)
	if host == GLOBAL then return "In the global section of the configuration"; end
	return ("Below VirtualHost or Component %q"):format(host);
end

-- Runs a library of a module, for which `stand_in` is `module`
local function run_lib(found, lib, stand_in)
	local path = ("%s/%s.lib.lua"):format(found.directory, lib);
	local run, err = loadfile(path, "t", setmetatable({ module = stand_in }, { __index = _G }));
	if not run then error(err, 0); end
	return run();
end

-- Stands in for `module` while options.lib.lua of a module is run for a host: notes what is read, and what is
-- complained about.
local function recorder(found, host, noted)
	local stand_in = { name = found.name, host = host, resource_path = found.directory };
	function stand_in:log(level, text, ...) -- luacheck: ignore 212/self
		if level ~= "error" and level ~= "warn" then return; end
		table.insert(noted.complaints, { option = noted.latest, text = format(text, ...) });
	end
	function stand_in:require(lib) -- luacheck: ignore 212/self
		return run_lib(found, lib, stand_in);
	end
	return setmetatable(stand_in, { __index = function (_, method)
		local original = moduleapi[method];
		if not method:match("^get_option") or not original then return original; end
		return function (self, option, ...)
			noted.options[option], noted.latest = true, option;
			return original(self, option, ...);
		end;
	end });
end

-- What a module makes of the configuration of a host: { values =, options = a set of names,
-- complaints = { { text =, option = the one that was read } } }; nil where it has no options, values nil where it refuses to be
-- loaded with them
function family.options(found, host)
	if not lfs.attributes(found.directory.."/options.lib.lua") then return nil; end
	local noted = { options = {}, complaints = {} };
	local stand_in = recorder(found, host, noted);
	local ok, result = pcall(run_lib, found, "options", stand_in);
	if ok then
		noted.values = result;
	elseif not noted.complaints[1] then -- else that is why
		table.insert(noted.complaints, { text = tostring(result) });
	end
	return noted;
end

return family;
