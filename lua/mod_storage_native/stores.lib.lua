-- Stores as import and export read and write them, whatever the driver. All methods raise faults.lib.lua's where they cannot
-- read; those that write return what the driver's return.
--
--   tables      get(user) -> table or nil, set(user, table)
--   archives    items(user) -> iterator of { id = or nil, stanza =, when =, with = }, or of { id = or nil, bad = reason }
--               for an item that cannot be read while those after it can
--               append(user, id, stanza, when, with); find(user, query) where caps.total is set
--   both        users()
--               refuses(table or item) -> reason, key | nil: what would be written and not read again. Optional
--               unfit(user) -> reason | nil: why nothing of this user can be written. Optional
--               exact: tables are read back as they were written; checks: stanzas that it reads are good ones

local faults = module:require "faults";
local files = module:require "files";
local rows = module:require "rows";

-- What drivers say of an archive that is empty
local EMPTY = { ["item-not-found"] = true, ["no 227 user element found"] = true };

local function nothing() end

-- ---- Any driver ----

local keyval, archive = {}, {};
keyval.__index, archive.__index = keyval, archive;

-- To mod_storage_xep0227, a file that is not XML is one that is not there.
local function check_file(driver_store, user)
	if not user or not driver_store._get_user_xml then return; end
	local xml, text = driver_store:_get_user_xml(user, driver_store.host);
	if xml or not text then return; end
	error({ reason = ("the user's file is not well-formed as XML: %s; mend or remove it, and run it again"):format(text) }, 0);
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
			iterator = nothing; -- it may give the same error for ever
			return { bad = ("%s; those after it cannot be read"):format(faults.of(id).reason) };
		end
		return id ~= nil and { id = id, stanza = stanza, when = when, with = with } or nil;
	end
end

function archive:append(...)
	return self.driver_store:append(...);
end

local function users(self)
	return self.driver_store:users();
end
keyval.users, archive.users = users, users;

-- ---- The native driver, which goes on behind a damaged message and reports its id ----

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
		if id then return { id = id, bad = "the message is damaged in the store" }; end
		local item = held;
		held = nil;
		return item;
	end
end

-- ---- Opening ----

local function open_any(driver_store, typ, database)
	local class = typ == "keyval" and keyval or database and native or archive;
	return setmetatable({ driver_store = driver_store, caps = driver_store.caps, database = database,
		exact = database ~= nil }, class);
end

-- driver_store: what the driver has opened. database: that of the native driver
return function (driver_store, driver, driver_name, host, store, typ, database)
	if driver_name == "internal" then return files(driver_store, host, store, typ); end
	if driver_name == "sql" then return rows(driver_store, host, store, typ, driver); end
	return open_any(driver_store, typ, driver_name == "native" and database or nil);
end
