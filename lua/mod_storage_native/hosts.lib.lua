-- The hosts of the configuration, and their storage drivers as Prosody would load them

local config = require "core.configmanager";
local events = require "util.events";
local storagemanager = require "core.storagemanager";

local ITEM_LIMIT = 1 << 53; -- of an archive: what is there is copied, whatever a driver's limit is

local hosts = {};

-- Names, in order
function hosts.names()
	local names = {};
	for host in pairs(prosody.hosts) do
		if host ~= "*" then names[#names + 1] = host; end -- the section before the first host
	end
	table.sort(names);
	return names;
end

-- The driver of each name, on the host; or nil, the name that cannot be loaded
function hosts.drivers(host, names)
	-- prosodyctl gives all hosts the same events: a driver that is loaded for one would be the driver of all
	prosody.hosts[host].events = events.new(); -- luacheck: ignore 122/prosody
	storagemanager.initialize_host(host);
	config.set(host, "storage_archive_item_limit", ITEM_LIMIT);
	local drivers = {};
	for i, name in ipairs(names) do
		drivers[i] = storagemanager.load_driver(host, name);
		if not drivers[i] then return nil, name; end
	end
	return drivers;
end

return hosts;
