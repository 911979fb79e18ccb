-- Which certificate Prosody serves: what it finds by a host's name, and what the options *_ssl say

local array = require "util.array";
local certmanager = require "core.certmanager";
local config = require "core.configmanager";
local lfs = require "lfs";
local resolve_path = require "util.paths".resolve_relative_path;

local files = module:require "files";
local hosts = module:require "hosts";
local ports = module:require "ports";

local STARTTLS_OPTIONS = { ["xmpp-client"] = "c2s_ssl", ["xmpp-server"] = "s2s_ssl" };

local certificates = {};

-- Where Prosody looks for certificates
function certificates.directory()
	return resolve_path(prosody.paths.config or ".", config.get("*", "certificates") or "certs");
end

-- Certmanager calls a directory that is missing an error, which is none here.
local function has_directory()
	return lfs.attributes(certificates.directory(), "mode") == "directory";
end

-- What certmanager finds by name
local function search(name)
	if has_directory() then return certmanager.find_host_cert(name); end
	return certmanager.find_cert(config.get(name, "certificate"), name);
end

local function resolved(path)
	return type(path) == "string" and resolve_path(prosody.paths.config or ".", path) or nil;
end

-- The paths of the certificate and of its key in settings, least first; or nil. No context is made: that would need the key.
local function path_in(settings)
	local path, key;
	for _, each in ipairs(settings) do path, key = each.certificate or path, each.key or key; end
	return resolved(path), resolved(key);
end

-- ---- STARTTLS: mod_tls ----

local function of_host(name, service)
	local option, parent = STARTTLS_OPTIONS[service], name:match("%.(.*)$");
	local function own(key)
		return config.rawget(name, key) or (parent and config.rawget(parent, key)) or {};
	end
	return path_in { search(name) or {}, config.get("*", "ssl") or {}, config.rawget("*", option) or {}, own "ssl", own(option) };
end

-- ---- Direct TLS: portmanager ----

local indexed; -- whether there is any certificate in the directory

-- Of a service by itself: NAME_certificate, which may be a table by port, or a file of the service's name. Any certificate
-- in the directory comes before that; which one is open.
local function search_service(listener)
	if indexed == nil then indexed = has_directory() and next(certmanager.index_certs(certificates.directory())) ~= nil; end
	if indexed then return {}; end
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
	local settings = settings_of_port(listener);
	table.insert(settings, search(name) or {});
	table.insert(settings, config.get(name, listener.name.."_ssl") or {});
	return path_in(settings);
end

-- ---- Together ----

-- The path of the certificate that a host's clients or servers get; of direct TLS at this port, or at another one of
-- the configuration where it is none of them. Or nil.
function certificates.of(name, service, tls, port)
	local listener = tls == "direct" and ports.find(service, tls, port);
	if listener then return of_host_at(name, listener); end
	return of_host(name, service);
end

-- ---- What a file is used for ----

-- Adds who gets this file by `find`, a function of a host's name, if anybody does.
local function add_use(uses, use, path, find)
	for _, host in ipairs(hosts.list()) do
		if host.services[use.service] and files.same(find(host.name), path) then use.hosts:push(host.name); end
	end
	if use.hosts[1] or use.nameless then uses:push(use); end
end

local function add_direct_use(uses, listener, path)
	local use = { service = listener.service, tls = "direct", port = listener.port, hosts = array(),
		nameless = files.same(path_in(settings_of_port(listener)), path) };
	add_use(uses, use, path, function (name) return of_host_at(name, listener); end);
end

-- Only what the option https_ssl says: whether there is any HTTPS is up to other modules.
local function add_web_use(uses, listener, path)
	local all = config.get("*", "https_ssl") or {};
	local use = { service = "https", tls = "direct", port = listener.port, hosts = array(),
		nameless = files.same(path_in { all, all[listener.port] or {} }, path) };
	for _, host in ipairs(hosts.list()) do
		local own = config.get(host.name, "https_ssl") or {};
		if files.same(path_in { own }, path) then use.hosts:push(hosts.web_name(host.name)); end
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

-- Every certificate that Prosody uses, and its key, as arrays of two paths; some may be nil
local function all_pairs()
	local list = {};
	local function add(...) list[#list + 1] = table.pack(...); end
	for _, host in ipairs(hosts.list()) do
		for _, service in ipairs(hosts.SERVICES) do
			if host.services[service] then add(of_host(host.name, service)); end
		end
		for _, listener in ipairs(ports.list()) do
			if listener.tls == "direct" then add(of_host_at(host.name, listener)); end
		end
		add(path_in { config.get(host.name, "https_ssl") or {} });
	end
	for _, listener in ipairs(ports.list()) do
		if listener.tls == "direct" then add(path_in(settings_of_port(listener))); end
	end
	local web = config.get("*", "https_ssl") or {};
	for _, listener in ipairs(ports.https()) do add(path_in { web, web[listener.port] or {} }); end
	return list;
end

-- The path of the private key that Prosody uses with a certificate; or nil, text
function certificates.key(path)
	local key;
	for _, found in ipairs(all_pairs()) do
		if files.same(found[1], path) then
			if not found[2] then return nil, path..": Prosody has no private key for it"; end
			if key and key ~= found[2] and not files.same(key, found[2]) then
				return nil, ("%s: Prosody uses it with two private keys, %s and %s"):format(path, key, found[2]);
			end
			key = key or found[2];
		end
	end
	if not key then return nil, path..": Prosody does not use this certificate"; end
	return key;
end

return certificates;
