-- What a rollover keeps between runs: the former chains of the certificate file and their uses, since when all name servers have
-- each record, and the longest TTL. One JSON file for each certificate file below the data directory; the rest comes from DNS and
-- the listeners.

local json = require "util.json";
local lfs = require "lfs";
local sha256 = require "util.hashes".sha256;

local MAX_HELD = 3; -- chains
local DIGITS = 8; -- of the digest that distinguishes paths with the same file name

local history = {};

-- The path of the history of a certificate file, and its directory
function history.path(file)
	local directory = prosody.paths.data.."/mod_certs";
	return ("%s/rollover-%s-%s.json"):format(directory, file:match("[^/]*$"), sha256(file, true):sub(1, DIGITS)), directory;
end

local function is_held(held)
	for _, each in ipairs(held) do
		if type(each) ~= "table" or type(each.chain) ~= "string" or type(each.uses) ~= "table" then return false; end
	end
	return true;
end

-- { held = { { chain = PEM, uses = as of uses.of() }, ... }, former contents, the latest last,
-- spots = { [name of TLSA records] = { ttl = the longest, seen = { [key of record] = since when all name servers have it } } } }.
-- An unreadable history is treated as empty.
function history.load(path)
	local file = io.open((history.path(path)));
	local state = file and json.decode(file:read("a"));
	if file then file:close(); end
	if type(state) ~= "table" or type(state.held) ~= "table" or type(state.spots) ~= "table" or not is_held(state.held) then
		return { held = {}, spots = {} };
	end
	return state;
end

-- Adds a content of the file, or updates the uses if it is the latest one. index: position, nil for the latest
function history.add(state, chain, uses, index)
	local last = state.held[#state.held];
	if last and last.chain == chain then
		last.uses = uses;
	else
		table.insert(state.held, index or #state.held + 1, { chain = chain, uses = uses });
	end
	while state.held[MAX_HELD + 1] do table.remove(state.held, 1); end
end

-- The entry of a name, new if there is none
function history.rrset(state, name)
	local known = state.spots[name];
	if type(known) ~= "table" or type(known.ttl) ~= "number" or type(known.seen) ~= "table" then
		known = { ttl = 0, seen = {} };
		state.spots[name] = known;
	end
	return known;
end

-- Returns true, or nil, text.
function history.save(path, state)
	local name, directory = history.path(path);
	lfs.mkdir(prosody.paths.data); -- missing if the server has never run
	lfs.mkdir(directory);
	local file, err = io.open(name..".new", "w");
	if not file then return nil, err; end
	local ok;
	ok, err = file:write(json.encode(state));
	local closed, close_err = file:close();
	if not ok or not closed then return nil, err or close_err; end
	return os.rename(name..".new", name);
end

return history;
