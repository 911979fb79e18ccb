-- What a rollover has to know from one run to the next: since when all name servers have the records, and the longest
-- TTL that was seen. One small file for each domain below the data directory; DNS and the listeners tell the rest.

local json = require "util.json";
local lfs = require "lfs";

local remembered = {};

local function path_of(domain)
	local directory = prosody.paths.data.."/mod_certs";
	return directory, ("%s/rollover-%s.json"):format(directory, domain);
end

-- { new = SHA-256 of the certificate, spots = { [name of TLSA record] = { since = seconds or nil, ttl = } } }. Another
-- certificate begins anew, and so does a file that cannot be read.
function remembered.load(domain, new)
	local _, path = path_of(domain);
	local file = io.open(path);
	local state = file and json.decode(file:read("a"));
	if file then file:close(); end
	if type(state) == "table" and state.new == new and type(state.spots) == "table" then return state; end
	return { new = new, spots = {} };
end

-- Returns true, or nil, text.
function remembered.save(domain, state)
	local directory, path = path_of(domain);
	lfs.mkdir(prosody.paths.data); -- a server that has never run has none
	lfs.mkdir(directory);
	local file, err = io.open(path..".new", "w");
	if not file then return nil, err; end
	local ok;
	ok, err = file:write(json.encode(state));
	local closed, close_err = file:close();
	if not ok or not closed then return nil, err or close_err; end
	return os.rename(path..".new", path);
end

return remembered;
