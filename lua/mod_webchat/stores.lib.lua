-- Stores that keep nothing: what modules open on this host, whatever the driver

local modulemanager = require "core.modulemanager";
local new_id = require "util.id".medium;

local function none() return nil; end
local function done() return true; end

-- One for all types: their methods have no name in common but "get", "set" and "delete"
local store = { caps = {} };
store.get, store.get_all = none, none;
store.set, store.set_keys, store.set_key, store.delete_all, store.close = done, done, done, done, done;
function store:users() return none; end -- luacheck: ignore 212/self
store.items = store.users;
function store:append(_, key) return key or new_id(); end -- luacheck: ignore 212/self
function store:find() return none, 0; end -- luacheck: ignore 212/self
function store:delete() return 0; end -- luacheck: ignore 212/self
function store:summary() return { counts = {} }; end -- luacheck: ignore 212/self
function store:dates() return {}; end -- luacheck: ignore 212/self

-- Modules that write by themselves, and open their store when they are loaded
local writers = { "account_activity", "mam", "offline", "pep", "smacks" };

local stores = {};

module:hook("store-opened", function (event) event.store = store; end, -1000);

-- For those that were loaded, with a real store, before this module was
function stores.reopen()
	for _, name in ipairs(writers) do
		if modulemanager.is_loaded(module.host, name) then modulemanager.reload(module.host, name); end
	end
end

return stores;
