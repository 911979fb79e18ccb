-- Copies the data of one user from a store of one driver to that of another: tables and archives, by the type of the store,
-- each with the methods
--   compare(source, target, user)   "none"; or a state, the progress of an earlier copy; or "other": data of another origin
--   copy(source, target, user, state or nil, write, skip, passed)
--       calls write(item, count, function) for each piece, skip(item, reason, count) for entries that are not copied, and
--       passed(weight) after each item; returns the number of entries in the source
--   count(source, user)                     entries, also those that cannot be read
--   verify(source, target, user, compares)  entries in the target; and key, text of a difference, which is looked for if
--                                           compares is true
-- All raise a fault if they cannot read. source and target are stores of drivers.lib.lua. Data in the target are never
-- changed; missing messages are appended to an archive.

local st = require "util.stanza";

local faults = module:require "faults";
local difference = module:require "difference";

local YEAR_0, YEAR_10000 = -62167219200, 253402300800; -- the range of XEP-0082

local copy = {};

-- Calls a function that reads the target. Its faults name the target.
local function in_target(call, ...)
	local ok, result = faults.protect(call, ...);
	if ok then return result; end
	error({ item = result.item, reason = "cannot read the target: "..result.reason }, 0);
end

-- ---- Tables: they are written as a whole ----

local function size(data)
	local count = 0;
	for _ in pairs(data or {}) do count = count + 1; end
	return count;
end

local function load_table(store, user)
	local data = store:get(user);
	if data == nil then return nil; end
	if type(data) ~= "table" then error({ reason = ("holds a %s instead of a table"):format(type(data)) }, 0); end
	return next(data) ~= nil and data or nil;
end

-- Some drivers read false back as nil.
local function without_false(here, there)
	local rest = {};
	for key, value in pairs(here) do
		if value ~= false or there[key] ~= nil then rest[key] = value; end
	end
	return rest;
end

local keyval = {};
copy.keyval = keyval;

function keyval.count(store, user)
	return size(load_table(store, user));
end

function keyval.compare(source, target, user)
	local here = load_table(source, user);
	local there = here and in_target(load_table, target, user);
	if not there then return "none"; end
	return difference(without_false(here, there), there) and "other" or {};
end

function keyval.copy(source, target, user, state, write, skip)
	local data = load_table(source, user);
	local count = size(data);
	if not data or state then return count; end
	local reason, key = target.unfit and target:unfit(user), nil;
	if not reason and target.refuses then reason, key = target:refuses(data); end
	if reason then
		skip(key, reason, count);
	else
		write(nil, count, function () return target:set(user, data); end);
	end
	return count;
end

function keyval.verify(source, target, user, compares)
	local there = in_target(load_table, target, user) or {};
	local here = compares and target.exact and load_table(source, user) or {};
	for key, value in pairs(here) do
		local text = difference(value, there[key]);
		if text then return size(there), tostring(key), "reads back differently: "..text; end
	end
	return size(there);
end

-- ---- Archives: items are appended in order, under the ids they have ----

local archive = {};
copy.archive = archive;

local function unfit_time(when)
	return type(when) ~= "number" or not (when >= YEAR_0 and when < YEAR_10000);
end

local function unfit(item, seen)
	if item.bad then return item.bad; end
	if item.id and (type(item.id) ~= "string" or item.id == "") then return "invalid id"; end
	if seen[item.id] then return "duplicate id"; end
	if not item.packed and not st.is_stanza(item.stanza) then return "not a stanza"; end
	if unfit_time(item.when) then return ("invalid time: %s"):format(tostring(item.when)); end
	if item.with ~= nil and type(item.with) ~= "string" then return "invalid peer"; end
end

local function unfit_stanza(source, item)
	if source.checks or source.database.use():pack(item.stanza) then return nil; end
	local ok, text = pcall(st.deserialize, st.preserialize(item.stanza));
	return not ok and faults.text_of(text) or nil;
end

-- An iterator of the items that can be copied. Calls skip(name, reason) for the others, and passed(weight) for each item.
local function good_items(source, target, user, skip, passed)
	local seen, number, next_item = {}, 0, source:items(user);
	return function ()
		for item in next_item do
			number = number + 1;
			passed(item.weight or 1);
			item.name = type(item.id) == "string" and item.id ~= "" and item.id or ("item %d"):format(number);
			local reason = unfit(item, seen) or unfit_stanza(source, item) or (target.refuses and target:refuses(item));
			if not reason then
				if item.id then seen[item.id] = true; end
				return item;
			end
			skip(item.name, reason);
		end
	end
end

-- Items of the target. Raises a fault at one that cannot be read: the items missing after it could not be found.
local function target_items(store, user)
	local number, next_item = 0, in_target(store.items, store, user);
	return function ()
		local item = next_item();
		number = number + 1;
		if not item or not item.bad then return item; end
		error({ item = item.id or ("item %d"):format(number), reason = "cannot read the target: "..item.bad }, 0);
	end
end

local function has_total(store)
	return store.caps and store.caps.total;
end

function archive.count(store, user)
	local count = 0;
	for _ in store:items(user) do count = count + 1; end
	return count;
end

local function count_target(store, user)
	if store.count then return in_target(store.count, store, user); end
	if has_total(store) then
		local _, total = store:find(user, { limit = 0, total = true });
		if math.type(total) == "integer" then return total; end
	end
	local count = 0;
	for _ in target_items(store, user) do count = count + 1; end
	return count;
end

local function same_item(a, b)
	if a.id then return a.id == b.id; end
	return tostring(a.stanza) == tostring(b.stanza); -- very old lists have no ids
end

local function last_item(store, user)
	if has_total(store) then
		return in_target(function ()
			local id, stanza = store:find(user, { reverse = true, limit = 1 })();
			return { id = id, stanza = stanza };
		end);
	end
	local last = {};
	for item in target_items(store, user) do last = item; end
	return last;
end

local function ignore() end

-- A state if all items of the target are in the source, in the same order. Items of the source that are missing before the
-- last of them were skipped, or have been deleted since. Else "other".
local function compare_all(source, target, user)
	local next_there, missing, passed, number, last = target_items(target, user), {}, {}, 0, 0;
	local there = next_there();
	for item in good_items(source, target, user, ignore, ignore) do
		if not there then break; end
		number = number + 1;
		if same_item(item, there) then
			table.move(passed, 1, #passed, #missing + 1, missing);
			passed, last, there = {}, number, next_there();
		else
			passed[#passed + 1] = item.name;
		end
	end
	return there and "other" or { copied = last, missing = missing };
end

-- An earlier copy ends with the item that has the same number in the source. Ids do not repeat.
function archive.compare(source, target, user)
	local ok, begun = faults.protect(count_target, target, user);
	if begun == 0 or (not ok and not source:items(user)()) then return "none"; end
	if not ok then error(begun, 0); end
	local number, last = 0, nil;
	for item in good_items(source, target, user, ignore, ignore) do
		number, last = number + 1, item;
		if number == begun then break; end
	end
	if number == 0 then return "none"; end
	if number == begun and same_item(last, last_item(target, user)) then return { copied = begun, missing = {} }; end
	return compare_all(source, target, user);
end

function archive.copy(source, target, user, state, write, skip, passed)
	local count, number = 0, 0;
	local function skip_one(item, reason)
		count = count + 1;
		skip(item, reason, 1);
	end
	local why = target.unfit and source:items(user)() and target:unfit(user);
	for item in good_items(source, target, user, skip_one, passed) do
		count, number = count + 1, number + 1;
		if not why and number > (state and state.copied or 0) then
			write(item.name, 1, function ()
				return target:append(user, item.id, item.packed or item.stanza, item.when, item.with);
			end);
		end
	end
	if why then skip(nil, why, number); end
	return count;
end

-- Only counts: each item was a valid stanza before it was appended.
function archive.verify(_, target, user)
	return count_target(target, user);
end

return copy;
