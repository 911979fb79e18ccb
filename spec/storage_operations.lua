-- Operations on the storage driver with random parts, each compared with a model that consists of Lua
-- tables; and a log of them. storage_property_spec.lua makes sequences of them.

local generate = require "spec.generate";
local model = require "spec.storage_model";
local storage = require "spec.storage_helper";

local HOST = {}; -- stands for the nil user in the model
local USERS = { "juliet", "romeo", "", HOST };
local STORES = { "archive", "muc_log" };
local WITHS = { "a@x", "a@x/1", "a@x/2", "b@x", "b@x/1", "", ("w"):rep(600) .. "/1" };
local ASKED_WITHS = { "a@x", "a@x/1", "b@x", "b@x/2", "c@x", "", ("w"):rep(600), ("w"):rep(600) .. "/1" };
local KEYS = { "", "current", "a", "a\0", ("k"):rep(600) .. "1", ("k"):rep(600) .. "2" };
local FIELDS = { "", "a", "b", "1", 1, 2, 1.5, true, false, ("f"):rep(600) .. "1", ("f"):rep(600) .. "2" };

local function name_of(user)
	return user ~= HOST and user or nil;
end

-- A world: the driver, its content according to the model, and a log. Its fields:
--   bed, archives, keyvals, maps  the driver and its stores, by name
--   lists, tables                 their content, by store and user
--   clock                         the time of the last message, unless that went astray
--   issued                        the body of the message that each id was given to
local world = {};
world.__index = world;

--- An empty world. options:
--   astray  how the clock goes: 0, only forward; 1, now and then astray; 2, anywhere; 3, wrong for a while
--   many    at most so many messages are appended by one operation
--   loop    writes wait for the end of a turn of the event loop
local function new_world(options)
	local self = setmetatable({ bed = storage.new { loop = options.loop }, options = options, lists = {}, tables = {},
		issued = {}, old_ids = {}, log = {}, clock = 1000, count = 0 }, world);
	for _, store in ipairs(STORES) do
		self.lists[store], self.tables[store] = {}, {};
		for _, user in ipairs(USERS) do self.lists[store][user] = {}; end
	end
	self:open();
	return self;
end

function world:open()
	self.archives, self.keyvals, self.maps = {}, {}, {};
	for _, store in ipairs(STORES) do
		self.archives[store] = self.bed:open(store, "archive");
		self.keyvals[store] = self.bed:open(store, "keyval");
		self.maps[store] = self.bed:open(store, "map");
	end
end

-- Ids are random: the log calls one by the body of its message.
function world:describe(value)
	if type(value) == "table" then
		local parts = {};
		for key, part in pairs(value) do
			table.insert(parts, ("[%s]=%s"):format(self:describe(key), self:describe(part)));
		end
		table.sort(parts);
		return value == HOST and "nil" or "{ " .. table.concat(parts, ", ") .. " }";
	elseif self.issued[value] then
		return ("id of %s"):format(self.issued[value]);
	end
	return type(value) == "string" and ("%q"):format(#value > 40 and value:sub(1, 4) .. ".." .. value:sub(-2) or value) or tostring(value);
end

function world:note(store, operation, ...)
	local arguments = table.pack(...);
	for i = 1, arguments.n do arguments[i] = self:describe(arguments[i]); end
	table.insert(self.log, ("%s %s(%s)"):format(store or "", operation, table.concat(arguments, ", ")));
end

function world:check(what, expected, got)
	if expected ~= got then
		error(("%s: expected %s, got %s"):format(what, self:describe(expected), self:describe(got)), 0);
	end
end

function world:check_item(what, expected, id, stanza, when, with)
	self:check(what .. ", id", expected.id, id);
	self:check(what .. ", when", expected.when, when);
	self:check(what .. ", type of when", storage.whole_seconds and "integer" or math.type(when), math.type(when));
	self:check(what .. ", with", expected.with, with);
	self:check(what .. ", stanza", expected.xml, storage.xml(stanza));
end

-- Compares the results of find() with those of the model before. meanwhile is called now and then
-- between messages, if it is given.
function world:check_page(page, expected_total, iterator, total, meanwhile)
	if not page then
		self:check("find", nil, iterator);
		return self:check("error of find", expected_total, total);
	end
	self:check("total", expected_total, total);
	local n = 0;
	for id, stanza, when, with in iterator do
		n = n + 1;
		if not page[n] then error(("find gives %s beyond the end"):format(self:describe(id)), 0); end
		self:check_item("find, item " .. n, page[n], id, stanza, when, with);
		if meanwhile and n % 7 == 1 then meanwhile(); end
	end
	self:check("number of items", #page, n);
end

-- ---- Random parts ----

function world:message(random)
	self.count = self.count + 1;
	if random:below(20) == 1 then return generate.new(random:below(1000), { depth = 3 }):stanza(), tostring(self.count); end
	local stanza = storage.message(self.count, { type = "chat", id = ("i"):rep(random:below(30)) });
	if random:below(50) == 1 then stanza:tag("large"):text(("x"):rep(random:below(20000))):up(); end
	return stanza, tostring(self.count);
end

local function any_with(random)
	return random:below(4) == 1 and "a@x/" .. random:below(60) or random:one_of(WITHS);
end

-- The time of a clock that is set now and then, often to a wrong time.
function world:time_of_wrong_clock(random)
	if random:below(30) == 1 then self.wrong_by = random:one_of { 0, 0, 100, -100, 86400, -86400, 1000000 }; end
	self.clock = self.clock + random:below(3) - 1;
	return self.clock + (self.wrong_by or 0);
end

function world:time(random)
	if self.options.astray == 3 then return self:time_of_wrong_clock(random); end
	local step = random:below(3 + self.options.astray);
	if step <= 3 then
		self.clock = self.clock + step - 1;
	elseif step == 4 then
		return self.clock + random:below(400) - 200;
	else
		self.clock = 1000 + random:below(200);
	end
	return random:below(6) == 1 and self.clock + random:below(7) / 8 or self.clock;
end

function world:any_id(random, list)
	if random:below(30) == 1 then return "unknown"; end
	if #self.old_ids > 0 and random:below(20) == 1 then return random:one_of(self.old_ids); end
	return #list > 0 and random:one_of(list).id or random:one_of(KEYS);
end

function world:ids(random, list)
	local ids = {};
	for i = 1, random:below(random:below(3) == 1 and 60 or 6) - 1 do
		ids[i] = random:below(60) > 1 and #list > 0 and random:one_of(list).id or self:any_id(random, list);
	end
	return ids;
end

function world:any_time(random, list)
	local time = #list > 0 and random:one_of(list).when or self.clock;
	return time + random:one_of { 0, 0, 0, 1, -1, 0.125, -0.125, 50, -50 };
end

function world:query(random, list, chances)
	chances = chances or 4;
	local function chance(n) return random:below(n) == 1; end
	return {
		start = chance(chances) and self:any_time(random, list) or nil;
		["end"] = chance(chances) and self:any_time(random, list) or nil;
		with = chance(chances) and random:one_of(ASKED_WITHS) or nil;
		key = chance(4 * chances) and self:any_id(random, list) or nil;
		ids = chance(3 * chances) and self:ids(random, list) or nil;
		before = chance(2 * chances) and self:any_id(random, list) or nil;
		after = chance(2 * chances) and self:any_id(random, list) or nil;
		reverse = chance(2) or nil;
	};
end

function world:find_query(random, list)
	local query = self:query(random, list);
	query.limit = random:below(2) == 1 and random:one_of { 0, 1, 2, 5, 10, 50, 1000 } or nil;
	query.total = random:below(2) == 1 or nil;
	return query;
end

-- ---- Operations on archives ----

local operations = {};

function world:append(random, store, user, key)
	local list = self.lists[store][user];
	local stanza, number = self:message(random);
	local when, with = self:time(random), any_with(random);
	self:note(store, "append", user, key, number, when, with);
	local id, err = self.archives[store]:append(name_of(user), key, stanza, when, with);
	if not id then error(("append: %s"):format(err), 0); end
	if key then
		self:check("id of append", key, id);
		local old = model.position(list, key);
		if old then table.remove(list, old); end
	else
		if self.issued[id] then error(("append gives the %s again"):format(self:describe(id)), 0); end
		table.insert(self.old_ids, id);
		self.issued[id] = number;
	end
	table.insert(list, { id = id, when = storage.whole_seconds and math.floor(when) or when, with = with,
		xml = storage.xml(stanza), body = stanza:get_child_text("body") });
end

function operations.append(self, random, store, user)
	self:append(random, store, user);
end

function operations.append_many(self, random, store, user)
	for _ = 1, random:below(self.options.many) do self:append(random, store, user); end
end

function operations.append_key(self, random, store, user)
	self:append(random, store, user, random:one_of(KEYS));
end

function operations.append_own_id(self, random, store, user)
	self:append(random, store, user, self:any_id(random, self.lists[store][user]));
end

function operations.find(self, random, store, user)
	local list = self.lists[store][user];
	local query = self:find_query(random, list);
	self:note(store, "find", user, query);
	local page, total = model.find(list, query);
	self:check_page(page, total, self.archives[store]:find(name_of(user), query));
end

function operations.find_everything(self, _, store, user)
	self:note(store, "find", user);
	self:check_page(self.lists[store][user], nil, self.archives[store]:find(name_of(user)));
end

function operations.append_while_iterating(self, random, store, user)
	local list = self.lists[store][user];
	local query = self:find_query(random, list);
	query.limit = nil;
	local page, total = model.find(list, query);
	self:note(store, "find and append", user, query);
	local iterator, got_total = self.archives[store]:find(name_of(user), query);
	self:check_page(page, total, iterator, got_total, function () self:append(random, store, user); end);
end

function operations.walk(self, random, store, user)
	local list = self.lists[store][user];
	local query = self:query(random, list);
	query.limit, query.total, query.ids = random:one_of { 1, 5, 20, 50, 100 }, true, nil;
	local bound = query.reverse and "before" or "after";
	for _ = 1, 8 do
		self:note(store, "page", user, query);
		local page, total = model.find(list, query);
		self:check_page(page, total, self.archives[store]:find(name_of(user), query));
		if not page or #page == 0 then break; end
		query[bound] = page[#page].id;
	end
end

function operations.get(self, random, store, user)
	local list = self.lists[store][user];
	local id = self:any_id(random, list);
	self:note(store, "get", user, id);
	local stanza, when, with = self.archives[store]:get(name_of(user), id);
	local position = model.position(list, id);
	if position then
		self:check_item("get", list[position], id, stanza, when, with);
	else
		self:check("get", nil, stanza);
		self:check("error of get", "item-not-found", when);
	end
end

function operations.set(self, random, store, user)
	local list = self.lists[store][user];
	local id, stanza, number = self:any_id(random, list), self:message(random);
	local when = random:below(2) == 1 and self:any_time(random, list) or nil;
	local with = random:below(3) == 1 and any_with(random) or nil;
	self:note(store, "set", user, id, number, when, with);
	local ok, err = self.archives[store]:set(name_of(user), id, stanza, when, with);
	local position = model.position(list, id);
	self:check("set", position and true or nil, ok);
	if not position then return self:check("error of set", "item-not-found", err); end
	local item = list[position];
	item.when = when and (storage.whole_seconds and math.floor(when) or when) or item.when;
	item.with = with or item.with;
	item.xml, item.body = storage.xml(stanza), stanza:get_child_text("body");
end

function world:delete(store, user, query)
	self:note(store, "delete", user, query);
	local count, err = self.archives[store]:delete(name_of(user), query);
	local expected, expected_err = model.delete(self.lists[store][user], query);
	self:check("delete", expected, count);
	if not expected then self:check("error of delete", expected_err, err); end
end

function operations.delete(self, random, store, user)
	self:delete(store, user, self:query(random, self.lists[store][user], 2));
end

function operations.delete_one(self, random, store, user)
	self:delete(store, user, { key = self:any_id(random, self.lists[store][user]) });
end

function operations.delete_holes(self, random, store, user)
	self:delete(store, user, { ids = self:ids(random, self.lists[store][user]) });
end

function operations.delete_front(self, random, store, user)
	local list = self.lists[store][user];
	if #list > 0 then self:delete(store, user, { before = list[random:below(math.min(#list, 50))].id }); end
end

function operations.delete_tail(self, random, store, user)
	local list = self.lists[store][user];
	if #list > 0 then self:delete(store, user, { after = list[#list + 1 - random:below(math.min(#list, 10))].id }); end
end

function operations.truncate(self, random, store, user)
	local list = self.lists[store][user];
	local query = random:below(3) == 1 and self:query(random, list) or { reverse = random:below(4) == 1 or nil };
	query.truncate = random:below(#list + 2) - 1;
	self:delete(store, user, query);
end

function operations.delete_of_all(self, random, store)
	local query = { ["end"] = self.clock - random:below(100), with = random:below(3) == 1 and random:one_of(ASKED_WITHS) or nil };
	self:note(store, "delete", true, query);
	local expected = 0;
	for user, list in pairs(self.lists[store]) do
		expected = expected + (user ~= HOST and model.delete(list, query) or 0);
	end
	self:check("delete of all users'", expected, self.archives[store]:delete(true, query));
end

-- A long range, so that its messages are erased later.
function operations.delete_many(self, random, store, user)
	local list = self.lists[store][user];
	if #list == 0 then return; end
	local first = random:below(#list);
	local last = list[math.min(#list, first + 50 + random:below(200))];
	self:delete(store, user, { after = list[first].id, before = random:below(2) == 1 and last.id ~= list[first].id and last.id or nil,
		with = random:below(2) == 1 and random:one_of(ASKED_WITHS) or nil });
end

function operations.erase(self, random)
	local limit = random:below(3) == 1 and 100000 or random:below(1000);
	self:note(nil, "erase", limit);
	self.bed:erase(limit);
end

function operations.summary(self, random, store, user)
	local list = self.lists[store][user];
	local query = self:query(random, list);
	query.reverse = nil;
	self:note(store, "summary", user, query);
	local summary, err = self.archives[store]:summary(name_of(user), query);
	local page, expected_err = model.find(list, query);
	if not page then
		self:check("summary", nil, summary);
		return self:check("error of summary", expected_err, err);
	end
	local expected = { counts = {}, earliest = {}, latest = {}, body = {} };
	for _, item in ipairs(page) do
		local with = item.with;
		expected.counts[with] = (expected.counts[with] or 0) + 1;
		expected.earliest[with] = math.min(expected.earliest[with] or item.when, item.when);
		expected.latest[with] = math.max(expected.latest[with] or item.when, item.when);
		expected.body[with] = item.body or expected.body[with];
	end
	self:check("summary", nil, storage.difference(expected, summary));
end

function operations.dates(self, _, store, user)
	self:note(store, "dates", user);
	local expected, days = {}, {};
	for _, item in ipairs(self.lists[store][user]) do expected[os.date("!%Y-%m-%d", math.floor(item.when))] = true; end
	for _, day in ipairs(self.archives[store]:dates(name_of(user)) or {}) do days[day] = true; end
	self:check("dates", nil, storage.difference(expected, days));
end

function operations.archive_users(self, _, store)
	self:note(store, "users of archive");
	local expected = {};
	for user, list in pairs(self.lists[store]) do
		if user ~= HOST and #list > 0 then table.insert(expected, user); end
	end
	table.sort(expected);
	self:check("users", nil, storage.difference(expected, storage.sorted(self.archives[store]:users())));
end

-- ---- Operations on keyval and map stores ----

local function random_value(random, level)
	local kind = random:below(level == 1 and 6 or 7);
	if kind == 7 and level < 4 then
		local value = {};
		for _ = 1, random:below(4) - 1 do value[random:one_of(FIELDS)] = random_value(random, level + 1); end
		return value;
	end
	return ({ random:below(2) == 1, random:below(1000) - 500, random:below(100) / 8, "text", ("s"):rep(random:below(3000)), "" })[kind] or 0.0;
end

local function copy(value)
	if type(value) ~= "table" then return value; end
	local result = {};
	for key, part in pairs(value) do result[key] = copy(part); end
	return result;
end

-- Sets a field of the model; a user without fields has no table.
function world:set_field(store, user, key, value)
	local fields = self.tables[store][user] or {};
	fields[key] = copy(value);
	self.tables[store][user] = next(fields) ~= nil and fields or nil;
end

function world:check_table(store, user)
	self:check("get", nil, storage.difference(self.tables[store][user], self.keyvals[store]:get(name_of(user))));
end

function operations.keyval_get(self, _, store, user)
	self:note(store, "get", user);
	self:check_table(store, user);
end

function operations.keyval_set(self, random, store, user)
	local value = {};
	for _ = 1, random:below(8) - 2 do value[random:one_of(FIELDS)] = random_value(random, 2); end
	self:note(store, "set", user, value);
	self:check("set", true, (self.keyvals[store]:set(name_of(user), value)));
	self.tables[store][user] = next(value) ~= nil and copy(value) or nil;
	self:check_table(store, user);
end

function operations.map_set(self, random, store, user)
	local key, value = random:one_of(FIELDS), random:below(3) > 1 and random_value(random, 2) or nil;
	self:note(store, "set", user, key, value);
	self:check("set", true, (self.maps[store]:set(name_of(user), key, value)));
	self:set_field(store, user, key, value);
	self:check("get", nil, storage.difference(value, self.maps[store]:get(name_of(user), key)));
	self:check_table(store, user);
end

function operations.map_set_keys(self, random, store, user)
	local map, values = self.maps[store], {};
	for _ = 1, random:below(6) - 1 do
		values[random:one_of(FIELDS)] = random:below(3) > 1 and random_value(random, 2) or map.remove;
	end
	self:note(store, "set_keys", user, values);
	self:check("set_keys", true, (map:set_keys(name_of(user), values)));
	for key, value in pairs(values) do
		if value == map.remove then value = nil; end
		self:set_field(store, user, key, value);
	end
	self:check_table(store, user);
end

function operations.map_get(self, random, store, user)
	local key = random:one_of(FIELDS);
	self:note(store, "get", user, key);
	local fields = self.tables[store][user] or {};
	self:check("get", nil, storage.difference(fields[key], self.maps[store]:get(name_of(user), key)));
end

function operations.map_get_all(self, random, store)
	local key, expected = random:one_of { "a", "b", ("f"):rep(600) .. "1" }, {};
	self:note(store, "get_all", key);
	for user, fields in pairs(self.tables[store]) do
		if user ~= HOST and fields[key] then expected[user] = fields[key]; end
	end
	local got = self.maps[store]:get_all(key) or {};
	for user, value in pairs(got) do
		if value == false then got[user] = nil; end
	end
	self:check("get_all", nil, storage.difference(expected, got));
end

function operations.map_delete_all(self, random, store)
	local key = random:one_of { "a", "b", ("f"):rep(600) .. "1" };
	self:note(store, "delete_all", key);
	self.maps[store]:set(nil, key, nil); -- whether the host's own goes too is nobody's promise
	self:check("delete_all", true, (self.maps[store]:delete_all(key)));
	for _, user in ipairs(USERS) do
		self:set_field(store, user, key, nil);
		self:check_table(store, user);
	end
end

function operations.keyval_users(self, _, store)
	self:note(store, "users of keyval");
	local expected = {};
	for user in pairs(self.tables[store]) do
		if user ~= HOST then table.insert(expected, user); end
	end
	table.sort(expected);
	self:check("users", nil, storage.difference(expected, storage.sorted(self.keyvals[store]:users())));
end

-- ---- Operations on the driver ----

function world:stores_of(users)
	local stores = {};
	for _, store in ipairs(STORES) do
		local used = false;
		for _, user in ipairs(users) do
			used = used or #self.lists[store][user] > 0 or self.tables[store][user] ~= nil;
		end
		if used then table.insert(stores, store); end
	end
	return stores;
end

function operations.stores(self, random, _, user)
	local users, asked = { user }, name_of(user);
	if random:below(3) == 1 then users, asked = { "juliet", "romeo", "" }, true; end
	self:note(nil, "stores", asked);
	self:check("stores", nil, storage.difference(self:stores_of(users), storage.sorted(self.bed:driver():stores(asked))));
end

function operations.purge(self, _, _, user)
	if user == HOST then return; end
	self:note(nil, "purge", user);
	self:check("purge", true, not not self.bed:driver():purge(user));
	for _, store in ipairs(STORES) do
		self.lists[store][user], self.tables[store][user] = {}, nil;
	end
end

--- Unloads the driver and loads it again.
function world:reopen()
	self:note(nil, "reopen");
	self.bed:reopen();
	self:open();
end
operations.reopen = world.reopen;

function operations.compact(self)
	self:note(nil, "compact");
	self.bed:compact();
end

function operations.turn(self)
	self:note(nil, "turn");
	self.bed.turn();
end

--- Compares everything that is stored.
function world:check_everything()
	for _, store in ipairs(STORES) do
		for _, user in ipairs(USERS) do
			operations.find_everything(self, nil, store, user);
			operations.keyval_get(self, nil, store, user);
		end
		operations.archive_users(self, nil, store);
		operations.keyval_users(self, nil, store);
	end
end

--- One operation, the same for the same seed if its data exist.
function world:step(seed, choose)
	local random = generate.new(seed);
	local store = random:below(3) == 1 and random:one_of(STORES) or STORES[1];
	local user = random:below(2) == 1 and random:one_of(USERS) or USERS[1];
	operations[choose(random)](self, random, store, user);
end

return { new_world = new_world };
