-- The files of a renewal below the data directory, mod_certs/renew/NAME/. Nobody else can read them, and after a crash each has
-- either the old or the new content. NAME is the path of the certificate that Prosody uses, relative to its directory of
-- certificates or from the root.
--
--   incoming.pem   chain and key as handed in, not examined yet
--   new.pem        chain and key to install
--   next.key       the next key
--   next.csr       the certificate signing request for it
--   state.json     when changes were sent to the name servers, and which records may be removed

local json = require "util.json";
local lfs = require "lfs";
local pposix = require "util.pposix";
local socket = require "socket";

local disk = module:require "native"("file");
local paths = module:require "paths";
local selection = module:require "selection";

local PRIVATE_UMASK = "077";
local WAIT = 0.1; -- seconds between two attempts to lock

local store = {};

local function root()
	return prosody.paths.data.."/mod_certs/renew";
end

-- ---- Names ----

local function encode(path)
	return (path:gsub("[^%w._-]", function (byte) return ("%%%02x"):format(byte:byte()); end):gsub("^%.", "%%2e"));
end

local function decode(name)
	return (name:gsub("%%(%x%x)", function (digits) return string.char(tonumber(digits, 16)); end));
end

-- The name of a certificate for people, and the path of its directory
local function name_of(file)
	local base = selection.directory().."/";
	return file:sub(1, #base) == base and file:sub(#base + 1) or file;
end

-- ---- One renewal ----

local function make_directories(path)
	local before, err = pposix.umask(PRIVATE_UMASK), nil;
	for _, directory in ipairs { prosody.paths.data, prosody.paths.data.."/mod_certs", root(), path } do
		_, err = lfs.mkdir(directory);
	end
	pposix.umask(before);
	if lfs.attributes(path, "mode") == "directory" then return true; end
	return nil, ("%s: %s; after prosodyctl --root was used once, use it always"):format(path, paths.reason(err));
end

local slot = {};
local slot_mt = { __index = slot };

-- The content of one of the files above, or nil
function slot:load(name)
	local file = io.open(self.path.."/"..name, "rb");
	if not file then return nil; end
	local text = file:read("a");
	file:close();
	return text;
end

-- Replaces it durably. Returns true; or nil, text.
function slot:save(name, text)
	local path = self.path.."/"..name;
	local ok, err = make_directories(self.path);
	if not ok then return nil, err; end
	os.remove(path..".part");
	local condition;
	ok, condition, err = disk.write(path..".part", text);
	if ok then ok, condition = os.rename(path..".part", path); end
	if ok then ok, condition, err = disk.sync(self.path); end
	if not ok then return nil, ("%s: %s"):format(path, err or condition); end
	return true;
end

function slot:remove(name)
	os.remove(self.path.."/"..name);
	os.remove(self.path.."/"..name..".part");
end

-- Moves incoming.pem to new.pem, by one rename: a pair that is handed in at the same time is not lost.
function slot:adopt()
	return os.rename(self.path.."/incoming.pem", self.path.."/new.pem");
end

-- The content of state.json, a table; empty if the file is missing or unreadable
function slot:state()
	local state = json.decode(self:load("state.json") or "");
	return type(state) == "table" and state or {};
end

function slot:save_state(state)
	return self:save("state.json", json.encode(state));
end

function slot:has(name)
	return lfs.attributes(self.path.."/"..name, "mode") == "file";
end

-- Whether there is anything to do, now or later. The directory stays: a hook may be about to write into it.
function slot:is_active()
	return self:has "incoming.pem" or self:has "new.pem" or self:has "next.key";
end

-- The slot of a certificate file: { file =, name = for people, path = of its directory }
function store.of(file)
	local name = name_of(file);
	return setmetatable({ file = file, name = name, path = root().."/"..encode(name) }, slot_mt);
end

-- Those with something to do, in order
function store.list()
	local list, directory = {}, root();
	if lfs.attributes(directory, "mode") ~= "directory" then return list; end
	for entry in lfs.dir(directory) do
		if entry:sub(1, 1) ~= "." and lfs.attributes(directory.."/"..entry, "mode") == "directory" then
			local name = decode(entry);
			local found = store.of(name:sub(1, 1) == "/" and name or selection.directory().."/"..name);
			if found:is_active() then list[#list + 1] = found; end
		end
	end
	table.sort(list, function (a, b) return a.name < b.name; end);
	return list;
end

-- ---- The lock ----

-- One call runs at a time; the lock ends with the process. Returns it; false if another call has it; or nil, text.
-- timeout: seconds
function store.lock(timeout)
	local deadline = socket.gettime() + timeout;
	local ok, err = make_directories(root());
	if not ok then return nil, err; end
	local file;
	file, err = io.open(root().."/lock", "a");
	if not file then return nil, err; end
	while not lfs.lock(file, "w") do
		if socket.gettime() >= deadline then
			file:close();
			return false;
		end
		socket.sleep(WAIT);
	end
	return file;
end

return store;
