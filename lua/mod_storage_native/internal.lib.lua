-- The stores of mod_storage_internal, read and written as files. The driver itself refuses a list with one damaged record
-- (0.12), or ends there without an error (13.0). It gives no reason for a failure, and rewrites the whole archive for each
-- item that comes with an id.

local lfs = require "lfs";
local datamanager = require "core.storagemanager".olddm;
local datetime = require "util.datetime";
local serialize = require "util.serialization".serialize;
local st = require "util.stanza";

local faults = module:require "faults";
local paths = module:require "paths";
local records = module:require "records";

local ENOENT = 2;
local NOTHING = "No such file or directory";
local TOO_LONG = "File name too long";
local EMPTY = "the file is empty, its data are lost; restore it from a backup, or remove it, and run the command again";
local REPAIR = "; repair or remove it, and run the command again";

local function fail(path, reason, hint)
	error({ reason = ("%s: %s%s"):format(path, reason, hint or REPAIR) }, 0);
end

-- The content of a file, or nil if there is no file. Raises a fault if it cannot be read, or has 0 bytes: Prosody removes a
-- file that has become empty, so that is the trace of a crash.
local function read_file(path)
	local file, text, code = io.open(path, "rb");
	if not file then
		if text:find(TOO_LONG, 1, true) then return nil; end -- no such file can exist
		if code == ENOENT and not lfs.symlinkattributes(path, "mode") then return nil; end
		fail(path, paths.reason(text));
	end
	local content;
	content, text = file:read("a");
	file:close();
	if not content then fail(path, paths.reason(text)); end
	if content == "" then fail(path, EMPTY, ""); end
	return content;
end

local function longest_name(path)
	local longest = 0;
	for name in path:gmatch("[^/]+") do longest = math.max(longest, #name); end
	return longest;
end

-- Creates a directory, unless it exists. Returns a text if that fails.
local function make_directory(directory)
	if lfs.attributes(directory, "mode") then return nil; end
	local ok, text = lfs.mkdir(directory);
	return not ok and ("%s: %s"):format(directory, paths.explain(text)) or nil;
end

-- Creates the directories of a user's file. Returns why such a file cannot exist, or nil. The driver writes PATH~ first.
local function unfit(self, user)
	local path = datamanager.getpath(user, self.host, self.store, self.extension, true);
	local directory = path:match("^(.*)/");
	local text = make_directory(directory:match("^(.*)/")) or make_directory(directory);
	if not text then text = select(2, lfs.symlinkattributes(path.."~")); end
	if not text or text:find(NOTHING, 1, true) then return nil; end
	if not text:find(TOO_LONG, 1, true) then return faults.of(text, true).reason; end
	return ("%s (%d bytes): internal cannot hold it"):format(TOO_LONG, longest_name(path));
end

-- ---- Tables ----

local keyval = { extension = "dat", unfit = unfit };
keyval.__index = keyval;

function keyval:get(user)
	local path = datamanager.getpath(user, self.host, self.store);
	local content = read_file(path);
	if not content then return nil; end
	local data, text = records.read_table(content);
	if not data then fail(path, text); end
	return data;
end

function keyval:set(user, data)
	return datamanager.store_raw(datamanager.getpath(user, self.host, self.store, nil, true),
		"return "..serialize(data)..";\n");
end

-- ---- Archives ----

local archive = { extension = "list", unfit = unfit, checks = true };
archive.__index = archive;

-- An item is the stanza, preserialized, with these beside it. database: packs the stanza, or nil
local function take_apart(item, database)
	if type(item) ~= "table" or type(item.name) ~= "string" or type(item.attr) ~= "table" then
		error("not a stanza", 0);
	end
	local id, when, with = item.key, item.when or datetime.parse(item.attr.stamp), item.with;
	item.key, item.when, item.with = nil, nil, nil;
	item.attr.stamp, item.attr.stamp_legacy = nil, nil;
	-- items without an id are compared by their stanzas
	local packed = database and id ~= nil and database:pack(item) or nil;
	return { id = id, packed = packed, stanza = not packed and st.deserialize(item) or nil, when = when, with = with };
end

local function read_item(item, database, path, line)
	local id = type(item) == "table" and type(item.key) == "string" and item.key or nil;
	local ok, result = pcall(take_apart, item, database);
	if ok then return result; end
	return { id = id, bad = ("%s, line %d: %s"):format(path, line(), faults.text_of(result)) };
end

-- An iterator of items, see drivers.lib.lua
function archive:items(user)
	local path = datamanager.getpath(user, self.host, self.store, "list");
	local next_part = records.split(read_file(path) or "");
	local database = self.packs and self.database.use() or nil;
	local queue, first = {}, 1;

	local function read_part(text, line)
		local items, bad = records.read(text, line);
		queue, first = {}, 1;
		for i, item in ipairs(items) do queue[i] = read_item(item, database, path, line); end
		if bad then queue[#queue + 1] = { bad = ("%s, %s"):format(path, bad) }; end
		if queue[1] then queue[1].weight = #text; end
	end

	return function ()
		while not queue[first] do
			local text, line = next_part();
			if not text then return nil; end
			read_part(text, line);
		end
		first = first + 1;
		return queue[first - 1];
	end
end

-- No item with the same id may exist.
function archive:append(user, id, stanza, when, with)
	if not id then return self.driver_store:append(user, nil, stanza, when, with); end
	local item = st.preserialize(st.clone(stanza));
	item.key, item.when, item.with = id, when, with;
	item.attr.stamp = datetime.datetime(when);
	return datamanager.list_append(user, self.host, self.store, item);
end

local function users(self)
	return self.driver_store:users();
end
keyval.users, archive.users = users, users;

local function weight(self, user)
	return lfs.attributes(datamanager.getpath(user, self.host, self.store, self.extension), "size") or 0;
end
keyval.weight, archive.weight = weight, weight;

local types = { keyval = keyval, archive = archive };

-- Whether a host has a directory. Raises a text if that cannot be seen, or it is something else.
local function has_directory(path)
	if not lfs.symlinkattributes(path, "mode") and paths.missing(path) == NOTHING then return false; end
	local reason = paths.missing(path) or lfs.attributes(path, "mode") ~= "directory" and "it is not a directory";
	if reason then error(("%s: %s"):format(path, reason), 0); end
	return true;
end

local internal = {};

-- A store that the driver has opened. database: of the native driver
function internal.open(driver_store, host, name, typ, database)
	return setmetatable({ driver_store = driver_store, host = host, store = name, exact = true, database = database }, types[typ]);
end

-- The names of all stores of a host: it has a directory for each, and beside them files of the host's own data.
function internal.stores(host)
	local directory = datamanager.getpath(nil, host, "x"):match("^(.*)/");
	if not has_directory(directory) then return {}; end
	local names = {};
	for name in datamanager.stores(true, host) do names[#names + 1] = name; end
	for file in lfs.dir(directory) do
		local name = file:match("^(.+)%.dat$") or file:match("^(.+)%.list$");
		if name then names[#names + 1] = datamanager.path_decode(name); end
	end
	return names;
end

return internal;
