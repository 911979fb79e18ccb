-- The stores of mod_storage_sql. Beyond the driver, this names the row that cannot be read, and refuses values that the driver
-- would write but could not read back.

-- luacheck: ignore 212/self

local json = require "util.json";
local is_stanza = require "util.stanza".is_stanza;
local parse_xml = require "util.xml".parse;

local difference = module:require "difference";
local faults = module:require "faults";

local REPAIR = "; repair or remove it, and run the command again";

-- The driver shares its connections with other hosts by this table.
local function engines()
	return pairs(module:shared("/*/sql/connections"));
end

-- Rows of a query; none if it fails: it only completes the report of another failure
local function select_rows(...)
	local list = {};
	for _, engine in engines() do
		local ok, rows = engine:transaction(engine.select, engine, ...);
		if ok then
			for row in rows do list[#list + 1] = row; end
		end
	end
	return list;
end

local connected = setmetatable({}, { __mode = "k" });

-- To be called after each use of the driver, with the text of a failure or nil. Without a connection everything fails.
local function check_connection(text)
	for _, engine in engines() do
		if engine.conn then
			connected[engine] = true;
		elseif text and connected[engine] then
			faults.stop(("the connection to the database is lost: %s"):format(tostring(text)), true);
		end
	end
end

-- To be called after each write. LuaDBI gives no reason for a failed commit; all statements have succeeded before it, so the
-- item is not at fault.
local function check_written(ok, text)
	check_connection(not ok and text or nil);
	if not ok and text == "commit failed" then
		faults.stop("the database did not commit; check whether its disk is full or read-only", true);
	end
end

-- ---- Tables ----

local keyval = {};
keyval.__index = keyval;

function keyval:bad_key(user)
	local map = self.driver:open(self.store, "map");
	local rows = select_rows([[SELECT "key" FROM "prosody" WHERE "host"=? AND "user"=? AND "store"=?;]],
		self.host, user or "", self.store);
	for _, row in ipairs(rows) do
		local value, text = map:get(user, row[1]);
		if value == nil and text then return row[1]; end
	end
end

function keyval:get(user)
	local data, text = self.driver_store:get(user);
	if data == nil and text then
		check_connection(text);
		local key, fault = self:bad_key(user), faults.of(text);
		local which = key == "" and " with an empty key" or key and " with this key" or "";
		error({ item = key, reason = ("the row%s in the table prosody: %s%s"):format(which, fault.reason, REPAIR) }, 0);
	end
	check_connection();
	return data;
end

-- The first number of a value that JSON and SQL do not have, with the way to it
local function not_finite(value, path)
	if type(value) == "number" and (value ~= value or math.abs(value) == math.huge) then
		return path..(value ~= value and "NaN" or tostring(value));
	end
	for key, member in pairs(type(value) == "table" and value or {}) do
		local found = not_finite(key, path) or not_finite(member, ("%s%s: "):format(path, tostring(key)));
		if found then return found; end
	end
end

local function read_back(value)
	if is_stanza(value) then return parse_xml(tostring(value)); end
	if type(value) == "table" then return json.decode(json.encode(value)); end
	if type(value) == "number" then return tonumber(tostring(value)); end
	return value;
end

local function unfit(value)
	if type(value) == "string" and value:find("\0", 1, true) then return "SQL cannot store a text with a zero byte"; end
	local number = not_finite(value, "");
	return number and ("SQL cannot store this number: %s"):format(number) or difference(value, read_back(value));
end

-- Why the driver could not read a table back, and the key; nil where it can. The driver writes a row for each key that is
-- a string, and one for all other keys.
function keyval:refuses(data)
	local others = {};
	for key, value in pairs(data) do
		if type(key) ~= "string" or key == "" then
			others[key] = value;
		else
			local why = unfit(value);
			if why then return why, key; end
		end
	end
	return unfit(others);
end

function keyval:set(user, data)
	local ok, text = self.driver_store:set(user, data);
	check_written(ok, text);
	return ok, text;
end

-- ---- Archives ----

local archive = { caps = { total = true }, checks = true };
archive.__index = archive;

-- The name of the item that is the n-th of an archive
function archive:describe(user, n)
	local row = select_rows([[SELECT "key", "sort_id" FROM "prosodyarchive" WHERE "host"=? AND "user"=? AND "store"=?
		ORDER BY "sort_id" LIMIT 1 OFFSET ]]..(n - 1)..";", self.host, user or "", self.store)[1];
	if row then return row[1], ("the row with the sort_id %s in the table prosodyarchive: "):format(row[2]); end
	return nil, "";
end

function archive:find(user, query)
	local iterator, text = self.driver_store:find(user, query);
	check_connection(not iterator and text or nil);
	if not iterator then faults.raise(text); end
	return iterator, text; -- the total
end

function archive:items(user)
	local iterator, n = self:find(user), 0;
	return function ()
		n = n + 1;
		local ok, id, stanza, when, with = pcall(iterator); -- continues after a row that it cannot read
		if not ok then
			local fault = faults.of(id);
			local key, where = self:describe(user, n);
			return { id = key, bad = where..fault.reason };
		end
		return id ~= nil and { id = id, stanza = stanza, when = when, with = with } or nil;
	end
end

function archive:refuses(item)
	local ok, stanza, text = pcall(parse_xml, tostring(item.stanza));
	if ok and stanza then return nil; end
	return ("it is not well-formed XML: %s"):format(ok and text or faults.text_of(stanza));
end

function archive:append(...)
	local id, text = self.driver_store:append(...);
	check_written(id, text);
	return id, text;
end

local function users(self)
	return self.driver_store:users();
end
keyval.users, archive.users = users, users;

local types = { keyval = keyval, archive = archive };

local sql = {};

-- A store that the driver has opened
function sql.open(driver_store, host, name, typ, driver)
	return setmetatable({ driver_store = driver_store, driver = driver, host = host, store = name, exact = true }, types[typ]);
end

-- The names of the archives of a host: the driver lists only one of its two tables.
function sql.archives(host)
	local names = {};
	for _, engine in engines() do
		local ok, rows = engine:transaction(function ()
			return engine:select([[SELECT DISTINCT "store" FROM "prosodyarchive" WHERE "host"=?;]], host);
		end);
		if not ok then error("cannot list the archives: "..tostring(rows), 0); end
		for row in rows do names[#names + 1] = row[1]; end
	end
	return names;
end

return sql;
