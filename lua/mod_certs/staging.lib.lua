-- What a renewal keeps below the data directory, mod_certs/renew/NAME/: nobody else may read it, and a crash leaves either
-- the old or the new text of a file. NAME is the path of the certificate that Prosody uses, within its directory of
-- certificates or from the root.
--
--   incoming.pem   chain and key that were handed in, not looked at yet
--   new.pem        chain and key that are to be installed
--   next.key       the key that is published ahead
--   next.csr       the request for a certificate of it
--   state.json     since when what has been seen

local json = require "util.json";
local lfs = require "lfs";
local pposix = require "util.pposix";
local socket = require "socket";

local certificates = module:require "certificates";
local disk = module:require "native"("file");
local paths = module:require "paths";

local PRIVATE_UMASK = "077";
local WAIT = 0.1; -- seconds between two looks at the lock

local staging = {};

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
	local base = certificates.directory().."/";
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
	return nil, ("%s: %s; where prosodyctl --root was used once, it has to be used always"):format(path, paths.reason(err));
end

local slot = {};
local slot_mt = { __index = slot };

-- The text of one of the files above, or nil
function slot:load(name)
	local file = io.open(self.path.."/"..name, "rb");
	if not file then return nil; end
	local text = file:read("a");
	file:close();
	return text;
end

-- Replaces it, durably. Returns true, or nil, text.
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

-- What was handed in takes the place of what was to be installed: one rename, so that nothing is lost when the next one
-- is handed in at the same time.
function slot:adopt()
	return os.rename(self.path.."/incoming.pem", self.path.."/new.pem");
end

-- The small facts, a table; empty where the file is missing or cannot be read
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

-- Whether there is anything to do, now or later. The directory stays: somebody may be handing in a certificate.
function slot:is_busy()
	return self:has "incoming.pem" or self:has "new.pem" or self:has "next.key";
end

-- The slot of a certificate file: { file =, name = for people, path = of its directory }
function staging.of(file)
	local name = name_of(file);
	return setmetatable({ file = file, name = name, path = root().."/"..encode(name) }, slot_mt);
end

-- Those with something to do, in order
function staging.list()
	local list, directory = {}, root();
	if lfs.attributes(directory, "mode") ~= "directory" then return list; end
	for entry in lfs.dir(directory) do
		if entry:sub(1, 1) ~= "." and lfs.attributes(directory.."/"..entry, "mode") == "directory" then
			local name = decode(entry);
			local found = staging.of(name:sub(1, 1) == "/" and name or certificates.directory().."/"..name);
			if found:is_busy() then list[#list + 1] = found; end
		end
	end
	table.sort(list, function (a, b) return a.name < b.name; end);
	return list;
end

-- ---- The lock ----

-- One call works at a time; the lock goes with the process. Returns it, false if another call has it, or nil, text.
-- patience: seconds to wait for it
function staging.lock(patience)
	local deadline = socket.gettime() + patience;
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

return staging;
