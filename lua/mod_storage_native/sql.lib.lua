-- The stores of mod_storage_sql. Beyond the driver, this names the row that cannot be read, and refuses values that the driver
-- would write but could not read back.

-- luacheck: ignore 212/self

local json = require "util.json";
local is_stanza = require "util.stanza".is_stanza;
local parse_xml = require "util.xml".parse;

local difference = module:require "difference";
local faults = module:require "faults";

local PAGE = 1000; -- rows that are read at once: an archive may be larger than the memory
local VALUES = { string = true, boolean = true, number = true, json = true }; -- types of values that are not stanzas

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

-- Runs call() while transaction() of every connection is another function.
local function replace_transaction(replacement, call)
	local before = {};
	for _, engine in engines() do
		before[engine] = { rawget(engine, "transaction") };
		engine.transaction = replacement;
	end
	local ok, err = pcall(call);
	for engine, saved in pairs(before) do engine.transaction = saved[1]; end
	if not ok then error(err, 0); end
end

-- The connection that a store of the driver uses: another host may have another one.
local function engine_of(driver_store)
	local used;
	local function note(engine)
		used = engine;
		return false, "not run";
	end
	pcall(replace_transaction, note, function () driver_store:users(); end);
	return assert(used, "the driver uses no connection that it shares");
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

-- ---- Tables and archives ----

local store = {};

function store:users()
	return self.driver_store:users();
end

function store:connection()
	self.engine = self.engine or engine_of(self.driver_store);
	return self.engine;
end

local function nested(_, call, ...)
	return pcall(call, ...);
end

-- The driver commits after each write. Within this function its transactions are a part of one.
function store:transaction(call)
	local engine = self:connection();
	local ok, text = engine:transaction(function ()
		replace_transaction(nested, call);
		return true;
	end);
	-- The driver keeps a statement that has failed, and LuaDBI reports the failure once more for the next row.
	if not ok then engine.prepared = {}; end
	check_written(ok, text);
	return ok, text;
end

-- Rows of a query on the store's own connection
function store:select(...)
	local engine = self:connection();
	local ok, rows = engine:transaction(engine.select, engine, ...);
	check_connection(not ok and rows or nil);
	if not ok then faults.raise(rows); end
	return rows;
end

-- The number of a user's rows in a table, which some databases return as a text
function store:count_rows(name, user)
	local query = ([[SELECT COUNT(*) FROM "%s" WHERE "host"=? AND "user"=? AND "store"=?;]]):format(name);
	return math.tointeger(tonumber(self:select(query, self.host, user or "", self.store)()[1]));
end

-- ---- Tables ----

local keyval = setmetatable({}, { __index = store });
keyval.__index = keyval;

function keyval:weight(user)
	return self:count_rows("prosody", user);
end

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

local archive = setmetatable({ caps = { total = true }, checks = true }, { __index = store });
archive.__index = archive;

function archive:find(user, query)
	local iterator, text = self.driver_store:find(user, query);
	check_connection(not iterator and text or nil);
	if not iterator then faults.raise(text); end
	return iterator, text; -- the total
end

-- The driver's own count is one of its memory, which includes appends that were rolled back.
function archive:count(user)
	return self:count_rows("prosodyarchive", user);
end
archive.weight = archive.count;

local ROWS = [[SELECT %s, "key", "type", "value", %s, "with" FROM "prosodyarchive"
	WHERE "host"=? AND "user"=? AND "store"=?%s ORDER BY "sort_id" LIMIT ]]..PAGE..";";

-- LuaDBI reads integers of SQLite with 32 bits, but floats with 64.
local function wide(column)
	return (([[CASE typeof("?") WHEN 'integer' THEN "?" + 0.0 ELSE "?" END]]):gsub("%?", column));
end

-- An iterator of rows: sort_id, key, type, value, when, with
function archive:rows(user)
	local is_sqlite = self:connection().params.driver == "SQLite3";
	local sort_id, when = is_sqlite and wide "sort_id" or '"sort_id"', is_sqlite and wide "when" or '"when"';
	local last, count = nil, PAGE; -- of the page

	local function next_page()
		if count < PAGE then return function () end; end
		count = 0;
		local query = ROWS:format(sort_id, when, last and ' AND "sort_id">?' or "");
		return last and self:select(query, self.host, user or "", self.store, last)
			or self:select(query, self.host, user or "", self.store);
	end

	local page = next_page();
	return function ()
		local row = page();
		if not row then
			page = next_page();
			row = page();
		end
		if row then last, count = row[1], count + 1; end
		return row;
	end
end

-- The item of a row. The driver would parse each stanza to a table, which takes most of the time of an import.
local function item_of(row, database)
	local item = { id = row[2], when = row[5], with = row[6] };
	if row[3] ~= "xml" then
		if VALUES[row[3]] then return item; end -- not a stanza
		item.bad = "Unhandled value type: "..tostring(row[3]);
	else
		item.packed = database and database:pack_xml(row[4]) or nil;
		if item.packed then return item; end
		local ok, stanza, text = pcall(parse_xml, row[4]);
		item.stanza = ok and stanza or nil;
		item.bad = not item.stanza and faults.text_of(ok and text or stanza) or nil;
	end
	item.bad = item.bad and ("the row with the sort_id %d in the table prosodyarchive: %s"):format(row[1], item.bad);
	return item;
end

function archive:items(user)
	local next_row, database = self:rows(user), self.packs and self.database.use() or nil;
	return function ()
		local row = next_row();
		return row and item_of(row, database);
	end
end

function archive:refuses(item)
	local xml = tostring(item.stanza);
	if self.database.use():pack_xml(xml) then return nil; end
	local ok, stanza, text = pcall(parse_xml, xml);
	if ok and stanza then return nil; end
	return ("it is not well-formed XML: %s"):format(ok and text or faults.text_of(stanza));
end

function archive:append(...)
	local id, text = self.driver_store:append(...);
	check_written(id, text);
	return id, text;
end

local types = { keyval = keyval, archive = archive };

local sql = {};

-- A store that the driver has opened. database: of the native driver
function sql.open(driver_store, host, name, typ, driver, database)
	return setmetatable({ driver_store = driver_store, driver = driver, host = host, store = name, exact = true,
		database = database }, types[typ]);
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
