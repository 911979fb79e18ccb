-- Which hosts the replacement of a certificate file concerns: those that Prosody gives it to, those that lose it because the new
-- certificate does not name them, and those that get it because the new one names them.

local array = require "util.array";

local candidates = module:require "candidates";
local certificates = module:require "certificates";
local certs = module:require "native"("certs");
local files = module:require "files";
local hosts = module:require "hosts";
local inventory = module:require "inventory";
local to_ascii = module:require "zone".to_ascii;

local DEPTH = 2; -- of directories below that of the certificates that certmanager goes into

local drawn = {};

-- ---- What is found by its names ----

-- Whether certmanager looks at the names in a file at this path
local function is_indexed(path)
	local directory = candidates.directory():gsub("/*$", "/");
	local below = path:sub(1, #directory) == directory and path:sub(#directory + 1);
	if not below or select(2, below:gsub("/", "")) > DEPTH or below:find("^%.[^/]*/") or below:find("/%.[^/]*/") then return false; end
	local name = below:match("[^/]*$");
	return name:find("%.crt$") ~= nil or name:find("fullchain", 1, true) ~= nil;
end

-- "exact" or "wildcard" where the index has a leaf for a host, as certmanager reads it; or nil
local function named_by(leaf, host)
	local ascii, found = to_ascii(host) or host, nil;
	local wildcard = ascii:gsub("^[^.]+%.", "*.");
	for _, name in ipairs(leaf.names) do
		local value = name.type == "DNS-ID" and name.value:lower();
		if value == ascii then return "exact"; end
		if value == wildcard then found = "wildcard"; end
	end
	return found;
end

-- Whether Prosody may take the new certificate for a host that has another one now: by its names
local function is_taken(leaf, host, list)
	local named = named_by(leaf, host);
	if not named then return false; end
	for _, candidate in ipairs(candidates.of(host)) do
		local pem = inventory.has(list, candidate.certificate) and files.read(candidate.certificate);
		local own = pem and certs.names(pem);
		if own and (named == "exact" or named_by(own, host) ~= "exact") then return true; end
	end
	return false;
end

-- ---- Who used it ----

local function had(uses, host, service, tls)
	for _, use in ipairs(uses or {}) do
		if use.service == service and use.tls == tls then
			for _, name in ipairs(use.hosts) do
				if name == host then return true; end
			end
		end
	end
	return false;
end

-- ---- Together ----

-- about = { path =, leaf = of the new certificate, former = uses before the file was replaced, or nil }. Returns who(host, service,
-- tls, port), as plan.of() wants it, and { [host] = true } of those that get another certificate than they have now.
function drawn.new(about)
	local indexed, newcomers = is_indexed(about.path), {};
	return function (host, service, tls, port)
		local list = certificates.of(host, service, tls, port);
		if inventory.has(list, about.path) then return true, list; end
		if not list[1] then return had(about.former, host, service, tls), list; end
		if indexed and is_taken(about.leaf, host, list) then
			newcomers[host] = true;
			return true, list;
		end
		return false, list;
	end, newcomers;
end

-- What Prosody gives the file to, and those that had it and get none now
function drawn.uses(path, former)
	local uses = certificates.uses(path);
	for _, use in ipairs(former or {}) do
		local left = { service = use.service, tls = use.tls, port = use.port, hosts = array(), nameless = false };
		for _, name in ipairs(use.hosts) do
			local known = use.service ~= "https" and hosts.find(name);
			if known and not certificates.of(name, use.service, use.tls, use.port)[1] then left.hosts:push(name); end
		end
		if left.hosts[1] then uses:push(left); end
	end
	return uses;
end

return drawn;
