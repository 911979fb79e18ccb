-- The types of stores: keyval and map, which share their data, keyval+, which is both, and archive.
--
-- A store is { host =, store = its name, kind = "keyval" or "archive", anonymous = whether nothing is stored, limits = those of the
-- host, which a reload of the configuration changes }.

local async = require "util.async";
local datetime = require "util.datetime";
local is_stanza = require "util.stanza".is_stanza;
local now = require "util.time".now;
local timer = require "util.timer";

local SLICE = 200; -- messages that are removed at once, which takes a few milliseconds
local IDS = 48; -- ids that are deleted by one call, which looks up all of them
local IDS_PAUSE = 20; -- so many calls take a few milliseconds

local database;
local types = {};

-- The space of a store in the open database, which may be another than before
local function get_space(store, for_writing)
	if for_writing and store.anonymous then
		return nil, "not-allowed", "nothing is stored for anonymous users";
	end
	local handle, condition, text = database.use();
	if not handle then return nil, condition, text; end
	local limit = store.limits.host_size;
	if store.handle ~= handle or store.limit ~= limit then
		store.space, condition, text = handle[store.kind](handle, store.host, store.store, limit);
		store.handle, store.limit = handle, limit;
	end
	return store.space, condition, text;
end

local function read(store, method, ...)
	local space, condition, text = get_space(store);
	if not space then return nil, condition, text; end
	local result, second, detail = space[method](space, ...);
	if result == nil and second then return database.failed("read from %s", second, detail); end
	return result, second;
end

-- An array of names as an iterator
function types.iterate(names)
	local i = 0;
	return function ()
		i = i + 1;
		return names[i];
	end
end

local function users(store)
	local names, condition, text = read(store, "users");
	if not names then error(text or condition, 0); end
	return types.iterate(names);
end

-- ---- keyval, map ----

local methods = { remove = {}, users = users };

local function write(store, method, ...)
	local space, condition, text = get_space(store, true);
	if not space then return nil, condition, text; end
	local ok;
	ok, condition, text = space[method](space, ...);
	database.schedule_erase();
	return database.wrote(ok, condition, text, store.host);
end

local function check_key(name, key)
	if type(key) == "string" and key ~= "" then return true; end
	return nil, name.." only supports non-empty string keys";
end

function methods:get(user)
	return read(self, "get", user);
end

function methods:set(user, data)
	return write(self, "set", user, data);
end

function methods:get_key(user, key)
	return read(self, "get_key", user, key);
end

function methods:set_key(user, key, value)
	if value == self.remove then value = nil; end
	return write(self, "set_key", user, key, value);
end

function methods:set_keys(user, values)
	return write(self, "set_keys", user, values, self.remove);
end

function methods:get_all(key)
	local ok, err = check_key("get_all", key);
	if not ok then return nil, err; end
	return read(self, "get_all", key);
end

function methods:delete_all(key)
	local ok, err = check_key("delete_all", key);
	if not ok then return nil, err; end
	return write(self, "delete_all", key);
end

local function class(names)
	local index = { remove = methods.remove };
	for name, method in pairs(names) do index[name] = methods[method]; end
	return { __index = index };
end

types.keyval = class { get = "get", set = "set", users = "users" };
types.map = class {
	get = "get_key", set = "set_key", set_keys = "set_keys",
	get_all = "get_all", delete_all = "delete_all", users = "users",
};
types["keyval+"] = class {
	get = "get", set = "set", items = "users",
	get_key = "get_key", set_key = "set_key", set_keys = "set_keys",
	get_key_from_all = "get_all", delete_key_from_all = "delete_all",
};

-- ---- archive ----

-- For mod_mam: counting costs as much as reading a message, and find() returns item-not-found for any id that is unknown
local archive = { users = users, counts_fast = true, finds_unknown_ids = true };
types.archive = { __index = archive };

-- The most messages of a user, 0: no limit
function archive:quota()
	return self.store == "offline" and self.limits.offline or self.limits.archive;
end

-- Import appends stanzas that the database has packed.
function archive:append_packed(user, key, stanza, when, with)
	local space, condition, text = get_space(self, true);
	if not space then return nil, condition, text; end
	when = when or now();
	if database.whole_seconds then when = math.floor(when); end
	local id;
	id, condition, text = space:append(user, key, stanza, when, with, self:quota());
	return database.wrote(id, condition, text, self.host);
end

function archive:append(user, key, stanza, when, with)
	if not is_stanza(stanza) then return nil, "unsupported-datatype"; end
	return self:append_packed(user, key, stanza, when, with);
end

function archive:set(user, id, stanza, when, with)
	if not is_stanza(stanza) then return nil, "unsupported-datatype"; end
	local space, condition, text = get_space(self); -- an anonymous user has no message that could be set
	if not space then return nil, condition, text; end
	if when and database.whole_seconds then when = math.floor(when); end
	local ok;
	ok, condition, text = space:set(user, id, stanza, when, with);
	return database.wrote(ok, condition, text, self.host);
end

function archive:find(user, query)
	return read(self, "find", user, query);
end

-- A page as encoded results of XEP-0313, see page() of modules/archive/lua_page.c
function archive:page(user, query, size, to, from, query_id, without_to)
	return read(self, "page", user, query, size, to, from, query_id, without_to);
end

function archive:get(user, id)
	if type(id) ~= "string" then return nil, "item-not-found"; end
	local items, condition, text = self:find(user, { key = id });
	if not items then return nil, condition, text; end
	local found, stanza, when, with = items();
	if not found then return nil, "item-not-found"; end
	return stanza, when, with;
end

-- Lets the event loop run, where the caller can wait
local function pause()
	local ready = async.ready and async.ready();
	if not ready then return; end
	local wait, done = async.waiter();
	timer.add_task(0, done);
	wait();
end

-- All users of the store, a slice at a time. Skips damaged archives.
local function delete_from_all(self, query)
	local count, skipped, position = 0, 0, nil;
	repeat
		local space, condition, text = get_space(self, true);
		if not space then return nil, condition, text; end
		local deleted, next_position, detail = space:delete_all(query, position, SLICE);
		local ok;
		ok, condition, text = database.wrote(deleted, not deleted and next_position or nil, detail);
		if not ok then return nil, condition, text; end
		count, position, skipped = count + deleted, next_position, skipped + detail;
		if position then pause(); end
	until not position;
	if skipped == 0 then return count; end
	return database.failed("delete from all archives in %s", "storage-corrupt",
		("skipped %d damaged archives, deleted %d messages from the others; run prosodyctl mod_storage_native check")
			:format(skipped, count));
end

local function delete_from_user(self, user, query)
	local count, more = 0, true;
	while more do
		local space, condition, text = get_space(self, true);
		if not space then return nil, condition, text; end
		local deleted, rest, detail = space:delete(user, query, SLICE);
		local ok;
		ok, condition, text = database.wrote(deleted, not deleted and rest or nil, detail);
		if not ok then return nil, condition, text; end
		count, more = count + deleted, rest;
	end
	return count;
end

local function has_many_ids(query)
	local ids = query and query.ids;
	return type(ids) == "table" and #ids > IDS and not query.truncate;
end

-- A few ids at a time
local function delete_ids(self, user, query)
	local count, part = 0, {};
	for name, value in pairs(query) do part[name] = value; end
	for i = 0, (#query.ids - 1) // IDS do
		part.ids = table.move(query.ids, i * IDS + 1, math.min((i + 1) * IDS, #query.ids), 1, {});
		local deleted, condition, text = delete_from_user(self, user, part);
		if not deleted then return nil, condition, text; end
		count = count + deleted;
		if i % IDS_PAUSE == IDS_PAUSE - 1 then pause(); end
	end
	return count;
end

function archive:delete(user, query)
	local count, condition, text;
	if user == true then
		count, condition, text = delete_from_all(self, query);
	elseif has_many_ids(query) then
		count, condition, text = delete_ids(self, user, query);
	else
		count, condition, text = delete_from_user(self, user, query);
	end
	database.schedule_erase();
	return count, condition, text;
end

function archive:summary(user, query)
	local items, condition, text = self:find(user, query);
	if not items then return nil, condition, text; end
	local summary = { counts = {}, earliest = {}, latest = {}, body = {} };
	for _, stanza, when, with in items do
		with = with or "";
		summary.counts[with] = (summary.counts[with] or 0) + 1;
		summary.earliest[with] = math.min(summary.earliest[with] or when, when);
		summary.latest[with] = math.max(summary.latest[with] or when, when);
		summary.body[with] = stanza:get_child_text("body") or summary.body[with];
	end
	return summary;
end

function archive:dates(user)
	local days, condition, text = read(self, "dates", user);
	if not days then return nil, condition, text; end
	table.sort(days);
	local dates = {};
	for i, day in ipairs(days) do
		if day ~= days[i - 1] then dates[#dates + 1] = datetime.date(day); end
	end
	return dates;
end

return function (opened)
	database = opened;
	return types;
end
