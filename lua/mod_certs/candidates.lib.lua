-- The certificates that Prosody finds for a host by its name: certmanager's find_host_cert(), which takes the first file of
-- an unordered table where several fit. Another start may take another one.

local certmanager = require "core.certmanager";
local config = require "core.configmanager";
local lfs = require "lfs";
local resolve_path = require "util.paths".resolve_relative_path;

local certs = module:require "native"("certs");
local files = module:require "files";
local permissions = module:require "permissions";

local candidates = {};

-- Where Prosody looks for certificates
function candidates.directory()
	return resolve_path(prosody.paths.config or ".", config.get("*", "certificates") or "certs");
end

-- Certmanager logs that a directory is missing or closed. The one is no error here, the other has a text of its own.
local function make_index()
	local directory = candidates.directory();
	if lfs.attributes(directory, "mode") ~= "directory" or permissions.closed(directory) then return {}; end
	return certmanager.index_certs(directory);
end

local index; -- { [name] = { [path] = { [service or "*"] = true } } }

local function get_index()
	index = index or make_index();
	return index;
end

-- Whether there is any certificate in the directory
function candidates.any()
	return next(get_index()) ~= nil;
end

local function key_of(path)
	return (path:gsub("%.crt$", ".key"):gsub("fullchain", "privkey"));
end

-- A name that the index has for single services alone, by SRV-ID or XmppAddr, is looked for again by file name.
local function find(host)
	if not host then return {}; end
	local found = get_index()[host] or get_index()[(host:gsub("^[^.]+%.", "*."))];
	local list, goes_on = {}, not found;
	for path, services in pairs(found or {}) do
		if services["*"] then
			list[#list + 1] = { certificate = path, key = key_of(path) };
		else
			goes_on = true;
		end
	end
	if goes_on then
		local option = config.get(host, "certificate");
		if type(option) == "table" then return list; end -- certmanager fails
		local by_file = certmanager.find_cert(option, host);
		for _, each in ipairs(by_file and { by_file } or find(host:match("%.(.+)$"))) do list[#list + 1] = each; end
	end
	return list;
end

-- Files with the same chain are the same to everybody.
local function content_of(path)
	local pem = files.read(path);
	local chain, digests = pem and certs.chain(pem), {};
	for i, each in ipairs(chain or {}) do digests[i] = each.sha256; end
	return digests[1] and table.concat(digests) or path;
end

-- Array of { certificate =, key = }, by path: one of them is taken. Several only where their chains differ.
function candidates.of(host)
	local list, different, seen = find(host), {}, {};
	table.sort(list, function (a, b) return a.certificate < b.certificate; end);
	for _, each in ipairs(list) do
		local content = #list > 1 and content_of(each.certificate);
		if not seen[content] then different[#different + 1] = each; end
		seen[content] = true;
	end
	return different;
end

return candidates;
