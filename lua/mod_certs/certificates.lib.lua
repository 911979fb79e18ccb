-- Which certificates Prosody serves: those that it finds by a host's name, and those that the options *_ssl name

local array = require "util.array";
local config = require "core.configmanager";
local certmanager = require "core.certmanager";
local lfs = require "lfs";
local resolve_path = require "util.paths".resolve_relative_path;

local candidates = module:require "candidates";
local files = module:require "files";
local hosts = module:require "hosts";
local permissions = module:require "permissions";
local ports = module:require "ports";

local STARTTLS_OPTIONS = { ["xmpp-client"] = "c2s_ssl", ["xmpp-server"] = "s2s_ssl" };
-- Prosody 13.0 hands a port with direct TLS only the certificate and the key of a host's settings.
local PAIR_OF_HOST = pcall(require, "net.tls_luasec");
local FIELDS = { "certificate", "key", "password", "certificates" };

local certificates = { directory = candidates.directory };

-- ---- Settings ----

-- Settings, least first, as one
local function merge(settings)
	local merged = {};
	for _, each in ipairs(settings) do
		for _, field in ipairs(FIELDS) do
			if each[field] ~= nil then merged[field] = each[field]; end
		end
	end
	return merged;
end

-- The certificates of settings that have been merged: { { certificate =, key =, password = }, ... } with paths, the key may
-- be nil. No context is made: that would need the keys. LuaSec loads `certificates`, one of each type of key, and nothing
-- else where they are set; Prosody does not change their paths, and works in the data directory. A table as `certificate`
-- is nothing to Prosody.
local function chosen(merged)
	local list, base = {}, prosody.paths.config or ".";
	local several = type(merged.certificates) == "table";
	if several then base = lfs.currentdir(); end
	for _, each in ipairs(several and merged.certificates or { merged }) do
		if type(each) == "table" and type(each.certificate) == "string" then
			list[#list + 1] = { certificate = resolve_path(base, each.certificate), password = each.password,
				key = type(each.key) == "string" and resolve_path(base, each.key) or nil };
		end
	end
	return list;
end

-- Calls `make` with each certificate that may be found for a host, or with {}. Returns an array of its results, each once.
local function for_each_candidate(name, make)
	local alternatives, seen = {}, {};
	local found = candidates.of(name);
	for _, candidate in ipairs(found[1] and found or { {} }) do
		local list, paths = make(candidate), {};
		for i, each in ipairs(list) do paths[i] = each.certificate; end
		local key = table.concat(paths, "\0");
		if not seen[key] then alternatives[#alternatives + 1] = list; end
		seen[key] = true;
	end
	return alternatives;
end

-- ---- STARTTLS: mod_tls ----

local function of_host(name, service)
	local option, parent = STARTTLS_OPTIONS[service], name:match("%.(.*)$");
	local function own(key)
		return config.rawget(name, key) or (parent and config.rawget(parent, key)) or {};
	end
	return for_each_candidate(name, function (found)
		return chosen(merge { found, config.get("*", "ssl") or {}, config.rawget("*", option) or {}, own "ssl", own(option) });
	end);
end

-- ---- Direct TLS: portmanager ----

-- Of a service by itself: NAME_certificate, which may be a table by port, or a file of the service's name. Any certificate
-- in the directory comes before that; which one is open.
local function search_service(listener)
	if candidates.any() then return {}; end
	local option = config.get("*", listener.name.."_certificate");
	if type(option) == "table" then option = option[listener.port] or option.default; end
	return certmanager.find_cert(option, listener.name) or {};
end

local function settings_of_port(listener)
	local all, port = config.get("*", "ssl") or {}, listener.port;
	local own = config.get("*", listener.prefix.."ssl") or all;
	return { search_service(listener), all, all[port] or {}, own, own[port] or {} };
end

-- Those who name a host (SNI) get its certificate. What is set for a port alone comes after what is found by name.
local function of_host_at(name, listener)
	local of_port = merge(settings_of_port(listener));
	return for_each_candidate(name, function (found)
		local merged = merge { of_port, found, config.get(name, listener.name.."_ssl") or {} };
		if PAIR_OF_HOST then merged.certificates = of_port.certificates; end
		return chosen(merged);
	end);
end

-- ---- Together ----

local function alternatives_of(name, service, tls, port)
	local listener = tls == "direct" and ports.find(service, tls, port);
	if listener then return of_host_at(name, listener); end
	return of_host(name, service);
end

-- The certificates that a host's clients or servers get; of direct TLS at this port, or at another one of the configuration
-- where it is none of them. An array of { certificate = path, key = path or nil, password = } that is empty where there is
-- none. Several: of each type of key one, or Prosody's choice is open; then there is a second result, the array of
-- alternatives, each of which is such an array.
function certificates.of(name, service, tls, port)
	local alternatives, list, seen = alternatives_of(name, service, tls, port), {}, {};
	for _, alternative in ipairs(alternatives) do
		for _, each in ipairs(alternative) do
			if not seen[each.certificate] then list[#list + 1] = each; end
			seen[each.certificate] = true;
		end
	end
	return list, alternatives[2] and alternatives or nil;
end

-- A text that says that one is taken by chance, and how to choose; or nil. alternatives: as of certificates.of()
function certificates.choice(name, alternatives)
	if not alternatives then return nil; end
	local paths = {};
	for i, alternative in ipairs(alternatives) do
		local list = {};
		for j, each in ipairs(alternative) do list[j] = each.certificate; end
		paths[i] = list[1] and table.concat(list, " with ") or "none";
	end
	return ("Prosody takes any one of these for %s, at each start or reload perhaps another: %s. All of them fit the host. "
		.."Leave one below %s; or name the one to take in the host's section, ssl = { certificate = ..., key = ... }; or "
		.."serve a key of each type, ssl = { certificates = { { certificate = ..., key = ... }, ... } }")
		:format(name, table.concat(paths, ", "), candidates.directory());
end

-- Where Prosody would find a certificate by a file's name, for a host or the domains above it
local function places_for(name)
	local directory = candidates.directory();
	local list = { directory };
	while name do
		list[#list + 1] = ("%s/%s.crt"):format(directory, name);
		list[#list + 1] = ("%s/%s/fullchain.pem"):format(directory, name);
		name = name:match("%.(.+)$");
	end
	return list;
end

-- Whether options that name certificates have a form that Prosody takes nothing from
local function is_misspelt(name)
	if type(config.get(name, "certificate")) == "table" then return true; end
	for _, section in ipairs { name, "*" } do
		for _, option in ipairs { "ssl", "c2s_ssl", "s2s_ssl" } do
			local settings = config.rawget(section, option) or {};
			if type(settings.certificate) == "table" or settings.certificates and not chosen(settings)[1] then return true; end
		end
	end
	return false;
end

-- A text about a host that Prosody finds no certificate for. One that is there, and closed to Prosody, looks the same to it.
function certificates.missing(name)
	local text = ("Prosody finds no certificate for %s in %s"):format(name, candidates.directory());
	if is_misspelt(name) then
		return text.."; several are ssl = { certificates = { { certificate = ..., key = ... }, ... } }, a table as certificate is none";
	end
	for _, path in ipairs(places_for(name)) do
		local closed = permissions.closed(path);
		if closed then return text..": "..closed; end
	end
	return text;
end

-- ---- What a file is used for ----

local function has(list, path)
	for _, each in ipairs(list) do
		if files.same(each.certificate, path) then return true; end
	end
	return false;
end

-- Adds who gets, or may get, this file by `find`, a function of a host's name, if anybody does.
local function add_use(uses, use, path, find)
	for _, host in ipairs(hosts.list()) do
		local is_used = false;
		for _, alternative in ipairs(host.services[use.service] and find(host.name) or {}) do
			is_used = is_used or has(alternative, path);
		end
		if is_used then use.hosts:push(host.name); end
	end
	if use.hosts[1] or use.nameless then uses:push(use); end
end

local function add_direct_use(uses, listener, path)
	local use = { service = listener.service, tls = "direct", port = listener.port, hosts = array(),
		nameless = has(chosen(merge(settings_of_port(listener))), path) };
	add_use(uses, use, path, function (name) return of_host_at(name, listener); end);
end

-- Only what the option https_ssl says: whether there is any HTTPS is up to other modules.
local function add_web_use(uses, listener, path)
	local all = config.get("*", "https_ssl") or {};
	local use = { service = "https", tls = "direct", port = listener.port, hosts = array(),
		nameless = has(chosen(merge { all, all[listener.port] or {} }), path) };
	for _, host in ipairs(hosts.list()) do
		local own = config.get(host.name, "https_ssl") or {};
		if has(chosen(own), path) then use.hosts:push(hosts.web_name(host.name)); end
	end
	if use.hosts[1] or use.nameless then uses:push(use); end
end

-- { { service = "xmpp-client", "xmpp-server" or "https", tls =, port = of direct TLS, hosts = { names }, nameless = those
-- who name no host (SNI) get it too }, ... }
function certificates.uses(path)
	local uses = array();
	for _, service in ipairs(hosts.SERVICES) do
		add_use(uses, { service = service, tls = "starttls", hosts = array(), nameless = false }, path, function (name)
			return of_host(name, service);
		end);
	end
	for _, listener in ipairs(ports.list()) do
		if listener.tls == "direct" then add_direct_use(uses, listener, path); end
	end
	for _, listener in ipairs(ports.https()) do add_web_use(uses, listener, path); end
	return uses;
end

-- ---- The key of a file ----

-- Every certificate that Prosody may use
local function all()
	local list = {};
	local function add(found)
		for _, each in ipairs(found) do list[#list + 1] = each; end
	end
	for _, host in ipairs(hosts.list()) do
		for _, service in ipairs(hosts.SERVICES) do
			for _, alternative in ipairs(of_host(host.name, service)) do add(alternative); end
		end
		for _, listener in ipairs(ports.list()) do
			for _, alternative in ipairs(listener.tls == "direct" and of_host_at(host.name, listener) or {}) do add(alternative); end
		end
		add(chosen(config.get(host.name, "https_ssl") or {}));
	end
	for _, listener in ipairs(ports.list()) do
		if listener.tls == "direct" then add(chosen(merge(settings_of_port(listener)))); end
	end
	local web = config.get("*", "https_ssl") or {};
	for _, listener in ipairs(ports.https()) do add(chosen(merge { web, web[listener.port] or {} })); end
	return list;
end

-- The path of the private key that Prosody uses with a certificate; or nil, text
function certificates.key(path)
	local key, used;
	for _, each in ipairs(all()) do
		if files.same(each.certificate, path) then
			used = true;
			if key and each.key and key ~= each.key and not files.same(key, each.key) then
				return nil, ("%s: Prosody uses it with two private keys, %s and %s"):format(path, key, each.key);
			end
			key = key or each.key;
		end
	end
	if key then return key; end
	return nil, ("%s: Prosody %s"):format(path, used and "has no private key for it" or "does not use this certificate");
end

return certificates;
