-- What can be copied from one driver's store to another's: tables and archives. Each kind has
--   compare(source, target, user)            "none", or how far an earlier copy has come, or "other": data of another origin
--   copy(source, target, user, begun, write) calls write(function) for each piece; returns entries in the source
--   count(store, user)                       entries
-- Nothing that is in the target is ever changed: of an archive what is missing at the end is appended.

local kinds = {};

-- ---- Tables: they are written as a whole ----

local function load_table(store, user)
	local data, text = store:get(user);
	if data == nil and text then error(text, 0); end
	if type(data) ~= "table" or next(data) == nil then return nil; end
	return data;
end

local function equal(a, b)
	if type(a) ~= "table" or type(b) ~= "table" then return a == b; end
	for key, value in pairs(a) do
		if not equal(value, b[key]) then return false; end
	end
	for key in pairs(b) do
		if a[key] == nil then return false; end
	end
	return true;
end

local keyval = {};
kinds.keyval = keyval;

function keyval.count(store, user)
	local count = 0;
	for _ in pairs(load_table(store, user) or {}) do count = count + 1; end
	return count;
end

function keyval.compare(source, target, user)
	local here, there = load_table(source, user), load_table(target, user);
	if not here or not there then return "none"; end
	return equal(here, there) and 1 or "other";
end

function keyval.copy(source, target, user, begun, write)
	local data = load_table(source, user);
	if not data then return 0; end
	local count = 0;
	for _ in pairs(data) do count = count + 1; end
	if begun == 0 then
		write(function () return target:set(user, data); end);
	end
	return count;
end

-- ---- Archives: items are appended in order, under the ids they have ----

local archive = {};
kinds.archive = archive;

-- What drivers say of an archive that is empty
local EMPTY = { ["item-not-found"] = true, ["no 227 user element found"] = true };

local function items(store, user, query)
	local iterator, text = store:find(user, query);
	if not iterator and text and not EMPTY[text] then error(text, 0); end
	return iterator or function () end;
end

function archive.count(store, user)
	if store.caps and store.caps.total then
		local iterator, total = store:find(user, { limit = 0, total = true });
		if not iterator then error(total or "the archive cannot be read", 0); end
		if math.type(total) == "integer" then return total; end
	end
	local count = 0;
	for _ in items(store, user) do count = count + 1; end
	return count;
end

local function same_item(a, b)
	if a.id then return a.id == b.id; end
	return tostring(a.stanza) == tostring(b.stanza); -- very old lists have no ids
end

local function last_item(store, user)
	local id, stanza;
	if store.caps and store.caps.total then
		id, stanza = items(store, user, { reverse = true, limit = 1 })();
	else
		for next_id, next_stanza in items(store, user) do id, stanza = next_id, next_stanza; end
	end
	return { id = id, stanza = stanza };
end

-- An earlier copy ends with the item that has the same number in the source. Ids do not repeat.
function archive.compare(source, target, user)
	local begun, number, last = archive.count(target, user), 0, nil;
	if begun == 0 then return "none"; end
	for id, stanza in items(source, user) do
		number, last = number + 1, { id = id, stanza = stanza };
		if number == begun then break; end
	end
	if number == 0 then return "none"; end
	return number == begun and same_item(last, last_item(target, user)) and begun or "other";
end

function archive.copy(source, target, user, begun, write)
	local count = 0;
	for id, stanza, when, with in items(source, user) do
		count = count + 1;
		if count > begun then
			write(function () return target:append(user, id or nil, stanza, when, with); end);
		end
	end
	return count;
end

return kinds;
