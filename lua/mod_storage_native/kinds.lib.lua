-- What can be copied from one driver's store to another's: tables and archives, each with the methods
--   compare(source, target, user)   "none", or a state: how far an earlier copy has come; or "other": data of another origin
--   copy(source, target, user, state or nil, write, left_out)
--       calls write(item, count, function) for each piece, and left_out(item, reason, count) for entries that are not copied;
--       returns how many entries the source has
--   count(source, user)                     entries, also those that cannot be read
--   verify(source, target, user, compares)  entries in the target; and key, text where it gives back something else: that is
--                                           looked at if compares is true
-- All raise a fault where they cannot read. source and target are of stores.lib.lua. Nothing that is in the target is ever
-- changed: of an archive what is missing at the end is appended.

local st = require "util.stanza";

local faults = module:require "faults";
local difference = module:require "difference";

local YEAR_0, YEAR_10000 = -62167219200, 253402300800; -- what XEP-0082 can write

local kinds = {};

-- Calls a function that reads the target. Its faults say so.
local function in_target(call, ...)
	local ok, result = faults.protect(call, ...);
	if ok then return result; end
	error({ item = result.item, reason = "cannot be read in the target: "..result.reason }, 0);
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

-- Some drivers give back nothing for false.
local function without_false(here, there)
	local copy = {};
	for key, value in pairs(here) do
		if value ~= false or there[key] ~= nil then copy[key] = value; end
	end
	return copy;
end

local keyval = {};
kinds.keyval = keyval;

function keyval.count(store, user)
	return size(load_table(store, user));
end

function keyval.compare(source, target, user)
	local here = load_table(source, user);
	local there = here and in_target(load_table, target, user);
	if not there then return "none"; end
	return difference(without_false(here, there), there) and "other" or {};
end

function keyval.copy(source, target, user, state, write, left_out)
	local data = load_table(source, user);
	local count = size(data);
	if not data or state then return count; end
	local reason, key = target.unfit and target:unfit(user), nil;
	if not reason and target.refuses then reason, key = target:refuses(data); end
	if reason then
		left_out(key, reason, count);
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
		if text then return size(there), tostring(key), "it is read back differently: "..text; end
	end
	return size(there);
end

-- ---- Archives: items are appended in order, under the ids they have ----

local archive = {};
kinds.archive = archive;

local function unfit_time(when)
	return type(when) ~= "number" or not (when >= YEAR_0 and when < YEAR_10000);
end

local function unfit(item, seen)
	if item.bad then return item.bad; end
	if item.id and (type(item.id) ~= "string" or item.id == "") then return "its id is not a name"; end
	if seen[item.id] then return "its id is that of an earlier one"; end
	if not st.is_stanza(item.stanza) then return "it is not a stanza"; end
	if unfit_time(item.when) then return ("its time is %s"):format(tostring(item.when)); end
	if item.with ~= nil and type(item.with) ~= "string" then return "its peer is not a name"; end
end

local function unfit_stanza(source, item)
	if source.checks then return nil; end
	local ok, text = pcall(st.deserialize, st.preserialize(item.stanza));
	return not ok and faults.text_of(text) or nil;
end

-- An iterator of the items that can be copied. Calls left_out(name, reason) for others.
local function good_items(source, target, user, left_out)
	local seen, number, next_item = {}, 0, source:items(user);
	return function ()
		for item in next_item do
			number = number + 1;
			item.name = type(item.id) == "string" and item.id ~= "" and item.id or ("item %d"):format(number);
			local reason = unfit(item, seen) or unfit_stanza(source, item) or (target.refuses and target:refuses(item));
			if not reason then
				if item.id then seen[item.id] = true; end
				return item;
			end
			left_out(item.name, reason);
		end
	end
end

-- Items of the target. Raises a fault at one that cannot be read: what is missing after it could not be known.
local function target_items(store, user)
	local number, next_item = 0, in_target(store.items, store, user);
	return function ()
		local item = next_item();
		number = number + 1;
		if not item or not item.bad then return item; end
		error({ item = item.id or ("item %d"):format(number), reason = "cannot be read in the target: "..item.bad }, 0);
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

-- The state where all of the target's items are in the source, in the same order, but not all of the source's before the last
-- of them: those were left out, or deleted since. Else "other".
local function compare_all(source, target, user)
	local next_there, missing, passed, number, last = target_items(target, user), {}, {}, 0, 0;
	local there = next_there();
	for item in good_items(source, target, user, ignore) do
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
	for item in good_items(source, target, user, ignore) do
		number, last = number + 1, item;
		if number == begun then break; end
	end
	if number == 0 then return "none"; end
	if number == begun and same_item(last, last_item(target, user)) then return { copied = begun, missing = {} }; end
	return compare_all(source, target, user);
end

function archive.copy(source, target, user, state, write, left_out)
	local count, number = 0, 0;
	local function skip(item, reason)
		count = count + 1;
		left_out(item, reason, 1);
	end
	local why = target.unfit and source:items(user)() and target:unfit(user);
	for item in good_items(source, target, user, skip) do
		count, number = count + 1, number + 1;
		if not why and number > (state and state.copied or 0) then
			write(item.name, 1, function ()
				return target:append(user, item.id, item.stanza, item.when, item.with);
			end);
		end
	end
	if why then left_out(nil, why, number); end
	return count;
end

-- The count is enough: an item was read as a stanza before it was appended.
function archive.verify(_, target, user)
	return count_target(target, user);
end

return kinds;
