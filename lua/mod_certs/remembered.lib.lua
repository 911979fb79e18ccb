-- What a replacement has to know from one run to the next: the chain that is replaced, who used its file, since when all name
-- servers have each record, and the longest TTL that was seen. One small file for each certificate file below the data
-- directory; DNS and the listeners tell the rest.

local json = require "util.json";
local lfs = require "lfs";
local sha256 = require "util.hashes".sha256;

local DIGITS = 8; -- of the digest that tells paths with one name apart

local remembered = {};

-- Where the note about a file is
function remembered.path(file)
	local directory = prosody.paths.data.."/mod_certs";
	return ("%s/rollover-%s-%s.json"):format(directory, file:match("[^/]*$"), sha256(file, true):sub(1, DIGITS)), directory;
end

local function is_state(state)
	return type(state) == "table" and type(state.new) == "string" and type(state.spots) == "table"
		and (state.old == nil or type(state.old) == "string") and (state.uses == nil or type(state.uses) == "table");
end

-- { new = SHA-256 of the new certificate, old = chain that it replaces, PEM, or nil, uses = what that was used for, as of
-- certificates.uses(), spots = { [name of TLSA records] = { ttl = the longest, seen = { [key of record] = since when all
-- name servers have it } } } }. Another certificate begins without old and uses, and a file that cannot be read with nothing.
function remembered.load(path, new)
	local file = io.open((remembered.path(path)));
	local state = file and json.decode(file:read("a"));
	if file then file:close(); end
	if not is_state(state) then return { new = new, spots = {} }; end
	if state.new ~= new then return { new = new, spots = state.spots }; end
	return state;
end

-- The part of a name, made where there is none
function remembered.spot(state, name)
	local known = state.spots[name];
	if type(known) ~= "table" or type(known.ttl) ~= "number" or type(known.seen) ~= "table" then
		known = { ttl = 0, seen = {} };
		state.spots[name] = known;
	end
	return known;
end

-- Returns true, or nil, text.
function remembered.save(path, state)
	local name, directory = remembered.path(path);
	lfs.mkdir(prosody.paths.data); -- a server that has never run has none
	lfs.mkdir(directory);
	local file, err = io.open(name..".new", "w");
	if not file then return nil, err; end
	local ok;
	ok, err = file:write(json.encode(state));
	local closed, close_err = file:close();
	if not ok or not closed then return nil, err or close_err; end
	return os.rename(name..".new", name);
end

return remembered;
