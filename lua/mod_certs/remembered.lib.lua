-- What a replacement has to know from one run to the next: the chains that its file has held, who used it then, since when all
-- name servers have each record, and the longest TTL that was seen. One small file for each certificate file below the data
-- directory; DNS and the listeners tell the rest.

local json = require "util.json";
local lfs = require "lfs";
local sha256 = require "util.hashes".sha256;

local MAX_HELD = 3; -- chains
local DIGITS = 8; -- of the digest that tells paths with one name apart

local remembered = {};

-- Where the note about a file is
function remembered.path(file)
	local directory = prosody.paths.data.."/mod_certs";
	return ("%s/rollover-%s-%s.json"):format(directory, file:match("[^/]*$"), sha256(file, true):sub(1, DIGITS)), directory;
end

local function is_held(held)
	for _, each in ipairs(held) do
		if type(each) ~= "table" or type(each.chain) ~= "string" or type(each.uses) ~= "table" then return false; end
	end
	return true;
end

-- { held = { { chain = PEM, uses = as of certificates.uses() }, ... }, what the file has held, the latest last,
-- spots = { [name of TLSA records] = { ttl = the longest, seen = { [key of record] = since when all name servers have it } } } }.
-- A note that cannot be read is an empty one.
function remembered.load(path)
	local file = io.open((remembered.path(path)));
	local state = file and json.decode(file:read("a"));
	if file then file:close(); end
	if type(state) ~= "table" or type(state.held) ~= "table" or type(state.spots) ~= "table" or not is_held(state.held) then
		return { held = {}, spots = {} };
	end
	return state;
end

-- Adds what the file holds now, unless it is what it held the last time: then the uses are brought up to date. index: where
-- in the order, nil for the latest
function remembered.add(state, chain, uses, index)
	local last = state.held[#state.held];
	if last and last.chain == chain then
		last.uses = uses;
	else
		table.insert(state.held, index or #state.held + 1, { chain = chain, uses = uses });
	end
	while state.held[MAX_HELD + 1] do table.remove(state.held, 1); end
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
