-- Which stores a storage driver has on a host, and who has data in them. Drivers do not tell it all
-- by themselves: stores() of most knows nothing of archives.

local lfs = require "lfs";
local datamanager = require "core.storagemanager".olddm;

local paths = module:require "paths";

local NOTHING = "No such file or directory";

-- What Prosody's own modules open, for drivers that cannot list anything
local KEYVALS = {
	"account_activity", "account_details", "account_flags", "account_roles", "accounts", "accounts_cleanup",
	"archive_cleanup", "archive_prefs", "auth_tokens", "blocklist", "cloud_notify", "config", "cron", "invite_token",
	"lastlog2", "muc_log_cleanup", "pep", "persistent", "private", "privacy", "pubsub_nodes", "roles", "roster",
	"skeletons", "smacks_h", "state", "tombstones", "upload_stats", "vcard", "vcard_muc",
};
local ARCHIVES = { "archive", "muc_log", "offline", "uploads" };

local function collect(iterator, state, value)
	local list = {};
	for name in iterator, state, value do
		if type(name) == "string" and name ~= "" then list[#list + 1] = name; end
	end
	return list;
end

-- Everything an iterating method gives
local function all(object, method, ...)
	local iterator, state, value = object[method](object, ...);
	if not iterator then error(("%s: %s"):format(method, value or state), 0); end
	return collect(iterator, state, value);
end

local function joined(...)
	local list = {};
	for _, part in ipairs { ... } do table.move(part, 1, #part, #list + 1, list); end
	return list;
end

local catalogue = {};

-- ---- Stores: each lister gives arrays of names of key-value stores and of archives ----

local listers = {};

function listers.native(driver)
	local function both(typ)
		return joined(all(driver, "stores", true, typ), all(driver, "stores", nil, typ));
	end
	return both "keyval", both "archive";
end

-- Whether a host has a directory. Raises a text where that is not to be seen, or something else is in its place.
local function has_directory(path)
	if not lfs.symlinkattributes(path, "mode") and paths.missing(path) == NOTHING then return false; end
	local reason = paths.missing(path) or lfs.attributes(path, "mode") ~= "directory" and "it is not a directory";
	if reason then error(("%s: %s"):format(path, reason), 0); end
	return true;
end

-- A directory for each store, and files of the host's own data beside them
function listers.internal(_, host)
	local directory = datamanager.getpath(nil, host, "x"):match("^(.*)/");
	if not has_directory(directory) then return {}, {}; end
	local names = collect(datamanager.stores(true, host));
	for file in lfs.dir(directory) do
		local name = file:match("^(.+)%.dat$") or file:match("^(.+)%.list$");
		if name then names[#names + 1] = datamanager.path_decode(name); end
	end
	return names, names;
end

-- The driver lists one of its two tables.
function listers.sql(driver, host)
	local archives = {};
	for _, engine in pairs(module:shared("/*/sql/connections")) do
		local ok, rows = engine:transaction(function ()
			return engine:select([[SELECT DISTINCT "store" FROM "prosodyarchive" WHERE "host"=?;]], host);
		end);
		if not ok then error("cannot list the archives: "..tostring(rows), 0); end
		for row in rows do archives[#archives + 1] = row[1]; end
	end
	return joined(all(driver, "stores", true), all(driver, "stores", nil)), archives;
end

-- Nodes have archives of their own; which, is in a key-value store.
local function nodes_of(driver, store, prefix)
	local archives, nodes = {}, driver:open(store, "keyval");
	for _, user in ipairs(nodes and catalogue.users(nodes) or {}) do
		for node in pairs(nodes:get(user or nil) or {}) do archives[#archives + 1] = prefix..node; end
	end
	return archives;
end

local function is_archive(name)
	for _, archive in ipairs(ARCHIVES) do
		if name == archive then return true; end
	end
	return name ~= "pubsub_nodes" and (name:match("^pep_") or name:match("^pubsub_")) ~= nil;
end

local function list_any(driver)
	local names, keyvals, archives = KEYVALS, {}, joined(ARCHIVES);
	if driver.stores then
		local ok, of_host = pcall(all, driver, "stores", nil); -- some have nothing of a host's own
		names = joined(all(driver, "stores", true), ok and of_host or {});
	end
	for _, name in ipairs(names) do
		table.insert(is_archive(name) and archives or keyvals, name);
	end
	return keyvals, joined(archives, nodes_of(driver, "pep", "pep_"), nodes_of(driver, "pubsub_nodes", "pubsub_"));
end

-- Returns an array of { store =, type = }; accounts come first, for mod_storage_xep0227 puts everything into them.
function catalogue.stores(name, driver, host)
	local keyvals, archives = (listers[name] or list_any)(driver, host);
	local list, seen = {}, {};
	local function add(names, typ)
		for _, store in ipairs(names) do
			if not seen[typ..store] then
				seen[typ..store] = true;
				list[#list + 1] = { store = store, type = typ };
			end
		end
	end
	add(keyvals, "keyval");
	add(archives, "archive");
	table.sort(list, function (a, b)
		if (a.store == "accounts") ~= (b.store == "accounts") then return a.store == "accounts"; end
		if a.store ~= b.store then return a.store < b.store; end
		return a.type < b.type;
	end);
	return list;
end

-- Returns an array of the users of a store, and false for the host itself
function catalogue.users(store)
	local users = store.users and all(store, "users") or {};
	table.sort(users);
	users[#users + 1] = false;
	return users;
end

return catalogue;
