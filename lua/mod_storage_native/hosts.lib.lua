-- The hosts of the configuration, and their storage drivers as Prosody would load them

local config = require "core.configmanager";
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

-- The driver of each name, on the host; or nil, the name that cannot be loaded. To be called once for each host, and
-- its result be kept: the hosts of prosodyctl share their events, so storagemanager knows but the drivers loaded last.
function hosts.drivers(host, names)
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
