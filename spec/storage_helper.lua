-- Hosts with a storage driver in busted, opened through Prosody's own core.storagemanager.
--
--   PN_STORAGE   driver; default native. Prosody's own show the differences that the specs detect
--   PN_PLUGINS   plugin path that holds the driver; default lua

local helper = require "spec.helper";
local lfs = require "lfs";

local prosody_lib = os.getenv("PROSODY_LIB") or "/usr/lib/prosody";

rawset(_G, "CFG_SOURCEDIR", prosody_lib);
rawset(_G, "CFG_PLUGINDIR", (os.getenv("PN_PLUGINS") or "lua") .. ";" .. prosody_lib .. "/modules/");

local function read_version()
	local file = assert(io.open(prosody_lib .. "/prosody.version"));
	local version = file:read("l");
	file:close();
	return version;
end

-- The state that the core expects from util.startup
prosody = {
	arg = {};
	config_loaded = true;
	core_post_stanza = function () end;
	core_route_stanza = function () end;
	events = require "util.events".new();
	full_sessions = {};
	bare_sessions = {};
	hosts = {};
	paths = { data = "." };
	version = read_version();
};

local config = require "core.configmanager";
local hostmanager = require "core.hostmanager";
local modulemanager = require "core.modulemanager";
local server = require "net.server";
local storagemanager = require "core.storagemanager";
local set_data_path = require "util.datamanager".set_data_path;
local timer = require "util.timer";

-- Do not load the default modules of hosts.
config.set("*", "modules_disabled", { "presence", "message", "iq", "offline", "c2s", "s2s", "s2s_auth_certs" });

local storage = {
	driver_name = os.getenv("PN_STORAGE") or "native";
	--- True on Prosody 0.12, where archives do not have fractions of a second.
	whole_seconds = prosody.version:match("^0%.") ~= nil;
};

local function new_directory()
	local name = os.tmpname();
	os.remove(name);
	assert(lfs.mkdir(name));
	return name;
end

local function remove_tree(path)
	if lfs.symlinkattributes(path, "mode") == "directory" then
		for name in lfs.dir(path) do
			if name ~= "." and name ~= ".." then
				remove_tree(path .. "/" .. name);
			end
		end
	end
	assert(os.remove(path));
end

local bed = {};
bed.__index = bed;

--- Hosts over a fresh data directory. There can be one bed at a time: close() it.
-- options:
--   hosts   their names; default { "example.com" }
--   config  options, over storage = the driver
--   loop    simulates a server whose event loop runs: writes wait for turn(); otherwise a process
--           without one, such as prosodyctl
function storage.new(options)
	options = options or {};
	local self = setmetatable({
		directory = new_directory();
		hosts = options.hosts or { "example.com" };
		module_name = "storage_" .. storage.driver_name;
		settings = {};
	}, bed);
	prosody.paths.data = self.directory;
	prosody.process_type = options.loop and "prosody" or "prosodyctl";
	prosody.start_time = options.loop and os.time() or nil;
	set_data_path(self.directory);
	self:set("storage", storage.driver_name);
	for name, value in pairs(options.config or {}) do
		self:set(name, value);
	end
	for _, host in ipairs(self.hosts) do
		assert(hostmanager.activate(host, {}));
	end
	self:load();
	return self;
end

--- Sets an option, of one host or globally. Drivers read theirs when they are loaded: see reopen().
function bed:set(name, value, host)
	table.insert(self.settings, { host = host or "*", name = name });
	config.set(host or "*", name, value);
end

function bed:load()
	for _, host in ipairs(self.hosts) do
		assert(modulemanager.load(host, self.module_name));
	end
	if prosody.start_time then
		self.turn();
	end
end

--- A step of a compaction: begins one, goes on with it, or ends it. Only with the driver native.
function bed:compact()
	if storage.driver_name ~= "native" then return; end
	if not self.compaction then
		-- The handle of the driver, if that is open: a process opens a database once
		local native = package.loadlib((os.getenv("PN_PLUGINS") or "lua").."/mod_storage_native/store.so", "luaopen_store")();
		self.compacted = assert(native.open { directory = self.directory.."/native", interval = 1 });
		assert(self.compacted:verify()); -- as tools do: a new process knows nothing of the file
		self.compaction = assert(self.compacted:compact(false));
		return;
	end
	local more, why, text = self.compaction:step();
	assert(more ~= nil, text or why);
	if not more and assert(self.compaction:switch()) then self:end_compaction(); end
end

function bed:end_compaction()
	if not self.compaction then return; end
	self.compaction:close();
	self.compacted:close();
	self.compaction, self.compacted = nil, nil;
end

function bed:unload()
	self:end_compaction();
	for _, host in ipairs(self.hosts) do
		assert(modulemanager.unload(host, self.module_name));
	end
	if modulemanager.get_module("*", self.module_name) then -- the part that hosts share
		assert(modulemanager.unload("*", self.module_name));
	end
end

--- Unloads the driver, and loads it again.
function bed:reopen()
	self:unload();
	self:load();
end

--- A store of a host, by default the first. type: nil, "keyval", "map", "archive", "keyval+"
function bed:open(store, type, host)
	return assert(storagemanager.open(host or self.hosts[1], store, type));
end

local loop = coroutine.wrap(server.loop);

--- Lets Prosody's event loop run: timers that are due, then descriptors that are ready, until a timer
-- stops it again.
function bed.turn()
	timer.add_task(0.001, coroutine.yield);
	loop();
end

--- Turns until condition() is true, and fails after ten seconds.
function bed:wait_until(condition)
	local deadline = os.time() + 10;
	while not condition() do
		assert(os.time() <= deadline, "waited in vain");
		self.turn();
	end
end

--- The driver of a host, by default the first.
function bed:driver(host)
	return storagemanager.load_driver(host or self.hosts[1], storage.driver_name);
end

--- Erases some of the records that are deleted, as a server does in the background.
function bed:erase(limit)
	local path = (os.getenv("PN_PLUGINS") or "lua").."/mod_storage_native/store.so";
	local native = assert(package.loadlib(path, "luaopen_store"))();
	local db = assert(native.open { directory = self.directory.."/native" }); -- the one that is open
	assert(db:erase(limit) ~= nil);
	db:close();
end

function bed:close()
	self:unload();
	for _, host in ipairs(self.hosts) do
		assert(hostmanager.deactivate(host));
	end
	for _, setting in ipairs(self.settings) do
		config.set(setting.host, setting.name, nil);
	end
	remove_tree(self.directory);
end

--- The values of an iterator, each once, in byte order.
function storage.sorted(iterator, state, first)
	local list, seen = {}, {};
	for value in iterator, state, first do
		assert(not seen[value], "given twice: " .. tostring(value));
		seen[value] = true;
		table.insert(list, value);
	end
	table.sort(list);
	return list;
end

--- A message; `number` becomes its body.
function storage.message(number, attr)
	return helper.st.message(attr or { type = "chat" }, tostring(number));
end

--- Appends messages 1 to n, message i at the time 1000 + i. Returns their ids.
function storage.fill(archive, user, n)
	local ids = {};
	for i = 1, n do
		ids[i] = assert(archive:append(user, nil, storage.message(i), 1000 + i, "a@example.com"));
	end
	return ids;
end

--- Fails unless a call has returned nil and this condition; without a condition, any text.
function storage.assert_refused(condition, ok, err)
	assert(not ok, "not refused");
	assert(condition and err == condition or not condition and type(err) == "string", err);
end

--- A stanza as XML that is the same for the same stanza: attributes in order, and no empty text.
function storage.xml(stanza)
	return (helper.canonical(tostring(stanza)):gsub("<([^/>][^>]*[^/>])></[^>]*>", "<%1/>"));
end

--- The results of find(): a list of { id, stanza, when, with }, and the total if there is one.
function storage.items(iterator, total)
	local list = {};
	assert(iterator, total);
	for id, stanza, when, with in iterator do
		table.insert(list, { id = id, stanza = stanza, when = when, with = with });
	end
	return list, total;
end

--- The bodies in the results of find(), "1 2 3", and the total if there is one.
function storage.bodies(iterator, total)
	local list = {};
	for i, item in ipairs((storage.items(iterator, total))) do
		list[i] = item.stanza:get_child_text("body") or "-";
	end
	return table.concat(list, " "), total;
end

--- Nil if two values are the same with all their types, or the path to a difference.
function storage.difference(a, b, path)
	path = path or "value";
	if math.type(a) ~= math.type(b) or type(a) ~= type(b) then
		return ("%s: %s (%s) and %s (%s)"):format(path, a, math.type(a) or type(a), b, math.type(b) or type(b));
	elseif type(a) == "number" then
		return ("%a"):format(a) ~= ("%a"):format(b) and ("%s: %.17g and %.17g"):format(path, a, b) or nil;
	elseif type(a) ~= "table" then
		return a ~= b and ("%s: %q and %q"):format(path, a, b) or nil;
	elseif getmetatable(a) ~= getmetatable(b) then
		return path .. ": metatables";
	end
	for key, value in pairs(a) do
		local difference = storage.difference(value, b[key], ("%s[%s]"):format(path, tostring(key):sub(1, 40)));
		if difference then return difference; end
	end
	for key in pairs(b) do
		if a[key] == nil then return ("%s[%s]: not expected"):format(path, tostring(key):sub(1, 40)); end
	end
end

--- Fails, with the first difference, unless two values are the same with all their types.
function storage.assert_same_value(expected, got)
	local difference = storage.difference(expected, got);
	if difference then error(difference, 2); end
end

return storage;
