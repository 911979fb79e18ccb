-- Hosts, their storage drivers, and the stores and users of a driver, as import and export see them.
--
-- Stores have the same methods with every driver. All raise faults of faults.lib.lua if they cannot read; those that write
-- return the results of the driver.
--
--   tables      get(user) -> table or nil, set(user, table)
--   archives    items(user) -> iterator of { id = or nil, stanza =, when =, with = }, or of { id = or nil, bad = reason }
--               for an item that cannot be read while later ones can; with weight = if that is not 1. If `packs` is set, an
--               item may have packed = instead of a stanza: a string for append() of the native driver
--               append(user, id, stanza, when, with); find(user, query) where caps.total is set
--               count(user) where a query for the total is not exact. Optional
--   both        users()
--               weight(user) -> number: of the entries together, for an estimate of the time. Optional
--               transaction(call) -> true, or false, text: runs call() and commits its writes together, or writes nothing
--               and, if call() has raised an error, rolls back. call() may be run twice. Optional
--               refuses(table or item) -> reason, key | nil: a value that would not be read back. Optional
--               unfit(user) -> reason | nil: why the target can hold nothing of this user. Optional
--               exact: tables are read back as they were written; checks: every stanza that it reads is valid

local config = require "core.configmanager";
local storagemanager = require "core.storagemanager";

local faults = module:require "faults";
local internal = module:require "internal";
local sql = module:require "sql";

local ITEM_LIMIT = 1 << 53; -- of an archive: everything is copied, whatever the limit of a driver

-- Stores of Prosody's own modules, for drivers that cannot list theirs
local KEYVALS = {
	"account_activity", "account_details", "account_flags", "account_roles", "accounts", "accounts_cleanup",
	"archive_cleanup", "archive_prefs", "auth_tokens", "blocklist", "cloud_notify", "config", "cron", "invite_token",
	"lastlog2", "muc_log_cleanup", "pep", "persistent", "private", "privacy", "pubsub_nodes", "roles", "roster",
	"skeletons", "smacks_h", "state", "tombstones", "upload_stats", "vcard", "vcard_muc",
};
local ARCHIVES = { "archive", "muc_log", "offline", "uploads" };

-- What drivers return for an empty archive
local EMPTY = { ["item-not-found"] = true, ["no 227 user element found"] = true };

local function nothing() end

local drivers = {};

-- ---- Names ----

-- Whether a name matches; "pep_*" stands for all that begin with "pep_".
function drivers.matches(pattern, name)
	if pattern:sub(-1) ~= "*" then return name == pattern; end
	return name:sub(1, #pattern - 1) == pattern:sub(1, -2);
end

-- The name under which a store is listed: each node of PEP or PubSub has a store, which would make an endless list.
function drivers.group_name(store)
	if store == "pubsub_nodes" then return store; end
	return (store:gsub("^(pep_).*", "%1*"):gsub("^(pubsub_).*", "%1*"));
end

-- ---- Hosts ----

-- The names of the hosts of the configuration, in order
function drivers.hosts()
	local names = {};
	for host in pairs(prosody.hosts) do
		if host ~= "*" then names[#names + 1] = host; end -- the global section
	end
	table.sort(names);
	return names;
end

-- The driver of each name, on the host; or nil, the name that cannot be loaded. To be called once for each host: the hosts
-- of prosodyctl share their events, so storagemanager only knows the drivers that were loaded last.
function drivers.load(host, names)
	storagemanager.initialize_host(host);
	config.set(host, "storage_archive_item_limit", ITEM_LIMIT);
	config.set(host, "storage_native_offline_limit", 0);
	local loaded = {};
	for i, name in ipairs(names) do
		loaded[i] = storagemanager.load_driver(host, name);
		if not loaded[i] then return nil, name; end
	end
	return loaded;
end

-- ---- Any driver ----

local keyval, archive = {}, {};
keyval.__index, archive.__index = keyval, archive;

-- mod_storage_xep0227 takes a file that is not XML for a missing one.
local function check_file(driver_store, user)
	if not user or not driver_store._get_user_xml then return; end
	local xml, text = driver_store:_get_user_xml(user, driver_store.host);
	if xml or not text then return; end
	error({ reason = ("the user's file is not well-formed XML: %s; repair or remove it, and run the command again"):format(text) }, 0);
end

function keyval:get(user)
	check_file(self.driver_store, user);
	local data, condition, text = self.driver_store:get(user);
	if data == nil and condition then faults.raise(condition, text); end
	return data;
end

function keyval:set(user, data)
	return self.driver_store:set(user, data);
end

function archive:find(user, query)
	check_file(self.driver_store, user);
	local iterator, condition, text = self.driver_store:find(user, query);
	if not iterator and condition and not EMPTY[condition] then faults.raise(condition, text); end
	return iterator or nothing, condition; -- with an iterator, the total
end

function archive:items(user)
	local iterator = self:find(user);
	return function ()
		local ok, id, stanza, when, with = pcall(iterator);
		if not ok then
			iterator = nothing; -- it might raise the same error for ever
			return { bad = ("%s; later ones cannot be read"):format(faults.of(id).reason) };
		end
		return id ~= nil and { id = id, stanza = stanza, when = when, with = with } or nil;
	end
end

function archive:append(...)
	return self.driver_store:append(...);
end

function archive:weight(user)
	if not (self.caps and self.caps.total) then return nil; end
	local _, total = self:find(user, { limit = 0, total = true });
	return math.type(total) == "integer" and total or nil;
end

function keyval:users()
	return self.driver_store:users();
end
archive.users = keyval.users;

-- ---- The native driver, which continues after a damaged message and reports its id ----

local native = setmetatable({}, archive);
native.__index = native;

function native:items(user)
	local damaged = {};
	self.database.on_damaged = function (id) damaged[#damaged + 1] = id; end
	local next_item = archive.items(self, user);
	local held;
	return function ()
		held = held or next_item();
		local id = table.remove(damaged, 1);
		if id then return { id = id, bad = "the message is damaged in the database" }; end
		local item = held;
		held = nil;
		return item;
	end
end

function native:append(user, id, stanza, when, with)
	local packed = type(stanza) == "string";
	return self.driver_store[packed and "append_packed" or "append"](self.driver_store, user, id, stanza, when, with);
end

-- driver_store: a store that the driver has opened. database: of the native driver
function drivers.open_store(driver_store, driver, driver_name, host, store, typ, database)
	if driver_name == "internal" then return internal.open(driver_store, host, store, typ, database); end
	if driver_name == "sql" then return sql.open(driver_store, host, store, typ, driver, database); end
	local is_native = driver_name == "native";
	local class = typ == "keyval" and keyval or is_native and native or archive;
	return setmetatable({ driver_store = driver_store, caps = driver_store.caps, database = database, exact = is_native }, class);
end

-- ---- Stores and users. Drivers do not list everything themselves: stores() of most knows no archives ----

local function collect(iterator, state, value)
	local list = {};
	for name in iterator, state, value do
		if type(name) == "string" and name ~= "" then list[#list + 1] = name; end
	end
	return list;
end

-- All values of an iterating method
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

-- Listers return an array of names of key-value stores, and one of archives.
local listers = {};

function listers.native(driver)
	local function both(typ)
		return joined(all(driver, "stores", true, typ), all(driver, "stores", nil, typ));
	end
	return both "keyval", both "archive";
end

function listers.internal(_, host)
	local names = internal.stores(host);
	return names, names;
end

function listers.sql(driver, host)
	return joined(all(driver, "stores", true), all(driver, "stores", nil)), sql.archives(host);
end

-- Nodes have archives of their own, which a key-value store lists.
local function nodes_of(driver, store, prefix)
	local archives, nodes = {}, driver:open(store, "keyval");
	for _, user in ipairs(nodes and drivers.users(nodes) or {}) do
		for node in pairs(nodes:get(user or nil) or {}) do archives[#archives + 1] = prefix..node; end
	end
	return archives;
end

local function is_archive(name)
	for _, known in ipairs(ARCHIVES) do
		if name == known then return true; end
	end
	return name ~= "pubsub_nodes" and (name:match("^pep_") or name:match("^pubsub_")) ~= nil;
end

local function list_any(driver)
	local names, keyvals, archives = KEYVALS, {}, joined(ARCHIVES);
	if driver.stores then
		local ok, of_host = pcall(all, driver, "stores", nil); -- some have no stores of the host itself
		names = joined(all(driver, "stores", true), ok and of_host or {});
	end
	for _, name in ipairs(names) do
		table.insert(is_archive(name) and archives or keyvals, name);
	end
	return keyvals, joined(archives, nodes_of(driver, "pep", "pep_"), nodes_of(driver, "pubsub_nodes", "pubsub_"));
end

-- Returns an array of { store =, type = }. Accounts come first: mod_storage_xep0227 puts everything into them.
function drivers.stores(name, driver, host)
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
function drivers.users(store)
	local users = store.users and all(store, "users") or {};
	table.sort(users);
	users[#users + 1] = false;
	return users;
end

return drivers;
