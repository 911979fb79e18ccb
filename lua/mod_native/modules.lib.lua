-- The modules of this project: their paths, shared objects and options, and the hosts that enable them

local config = require "core.configmanager";
local lfs = require "lfs";
local modulemanager = require "core.modulemanager";
local pluginloader = require "util.pluginloader";
local set = require "util.set";

local excluded = module:require "excluded";
local values_of = module:require "option_reader".values;

local GLOBAL = "*";

-- objects: shared objects; protects_all: once loaded, it serves every host, whichever host's list names it; is_tool: it is a
-- command of prosodyctl that needs not be enabled
local MODULES = {
	{ name = "smacks", objects = { "smacks" } };
	{ name = "mam", objects = { "mam" } };
	{ name = "muc_mam", objects = {} };
	{ name = "storage_native", objects = { "store" } };
	{ name = "s2s_auth_native", objects = { "certs" }, protects_all = true };
	{ name = "certs", objects = { "certs", "dns", "file" }, is_tool = true };
	{ name = "stream_native", objects = { "stream" } };
	{ name = "webchat", objects = {} };
	{ name = "native", objects = {} };
};

local modules = {};

-- The directory that belongs into plugin_paths
modules.directory = module:get_directory():match("^(.*)/[^/]+/?$") or "..";

-- ---- Hosts ----

-- The enabled hosts of the configuration, sorted
function modules.hosts()
	local hosts = {};
	for host in pairs(prosody.hosts) do
		if host ~= GLOBAL and config.get(host, "enabled") ~= false then hosts[#hosts + 1] = host; end
	end
	table.sort(hosts);
	return hosts;
end

-- Names of the storage drivers of a host, as storagemanager reads them
function modules.drivers(host)
	local storage = config.get(host, "storage");
	if type(storage) == "string" then return set.new { storage }; end
	local names = set.new { config.get(host, "default_storage") or "internal" }; -- for stores that are not named
	for _, name in pairs(type(storage) == "table" and storage or {}) do
		if type(name) == "string" then names:add(name); end
	end
	return names;
end

-- Hosts whose activation loads a module
function modules.loaded_with(name)
	local found = {};
	for _, host in ipairs(modules.hosts()) do
		if modulemanager.get_modules_for_host(host):contains(name) then found[#found + 1] = host; end
	end
	return found;
end

local function protects_all(name)
	for _, known in ipairs(MODULES) do
		if known.name == name then return known.protects_all; end
	end
end

-- Returns a function that tells whether a host has a module, also as a storage driver.
local function enabled_on(name)
	local driver = name:match("^storage_(.+)");
	if driver then return function (host) return modules.drivers(host):contains(driver); end; end
	if not protects_all(name) then
		return function (host) return modulemanager.get_modules_for_host(host):contains(name); end;
	end
	local is_loaded = modules.loaded_with(name)[1] ~= nil;
	return function (host) return is_loaded and not excluded(name, host); end;
end

-- Hosts that have a module
function modules.hosts_with(name)
	local found, is_enabled = {}, enabled_on(name);
	for _, host in ipairs(modules.hosts()) do
		if is_enabled(host) then found[#found + 1] = host; end
	end
	return found;
end

-- Why a module that protects every host does not protect this one, or nil
modules.excluded = excluded;

local function global_set(option)
	return set.new(config.get(GLOBAL, option) or {});
end

-- Whether the global section enables a module
function modules.is_global(name)
	return global_set("modules_enabled"):contains(name) and not global_set("modules_disabled"):contains(name);
end

-- Whether a host has a module; without a host: whether any host has it, or the global section names it
function modules.has(name, host)
	if host then return enabled_on(name)(host); end
	return global_set("modules_enabled"):contains(name) or modules.hosts_with(name)[1] ~= nil;
end

-- ---- Files ----

-- The path of the module that Prosody finds by this name, or nil
function modules.path_of(name)
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

-- The rows of options.lib.lua, empty if the file does not exist; or empty, text if the file is invalid
local function load_options(directory)
	local path = directory.."/options.lib.lua";
	if not lfs.attributes(path) then return {}; end
	local load, err = loadfile(path, "t", {});
	local ok, rows = pcall(load or error, err);
	if ok and type(rows) == "table" then return rows; end
	return {}, ok and path..": not a table" or tostring(rows);
end

-- Array of the installed modules: { name =, protects_all =, is_tool =, directory =, path = where Prosody loads it from,
-- is_ours = whether that is `directory`, hosts =, objects = { { name =, path =, error = } }, options = rows, options_error = }
function modules.installed()
	local list = {};
	for _, known in ipairs(MODULES) do
		local directory = ("%s/mod_%s"):format(modules.directory, known.name);
		if lfs.attributes(directory, "mode") == "directory" then
			local path = modules.path_of(known.name);
			local found = { name = known.name, protects_all = known.protects_all, is_tool = known.is_tool, directory = directory,
				path = path, objects = {}, hosts = modules.hosts_with(known.name),
				is_ours = path ~= nil and same_directory(path:match("^(.*)/"), directory) };
			for i, object in ipairs(known.objects) do found.objects[i] = load_object(directory, object); end
			found.options, found.options_error = load_options(directory);
			list[#list + 1] = found;
		end
	end
	return list;
end

-- The installed module of this name where a host has it enabled, or nil
function modules.enabled(installed, name)
	for _, found in ipairs(installed) do
		if found.name == name and found.hosts[1] then return found; end
	end
end

-- ---- Configuration ----

-- The options of a module by name, as it reads them for a host. report(row, text) is called for each invalid value, if given.
function modules.values(found, host, report)
	return values_of(found.options, function (name) return config.get(host, name); end, report or function () end);
end

-- Where a line for a host belongs
function modules.place(host)
	if host == GLOBAL then return "In the global section of the configuration"; end
	return ("Below VirtualHost or Component %q"):format(host);
end

-- A host of its own: mod_webchat is not loaded where users have accounts
modules.WEBCHAT_HOST = 'VirtualHost "guest.example.org"\n\tauthentication = "anonymous"\n\tmodules_enabled = { "webchat" }';

-- The line that enables a module
function modules.enabling(name)
	return ("modules_enabled = { %q; --[[ and your other modules ]] }"):format(name);
end

return modules;
