-- The hosts and components of the configuration, the certificates that Prosody gives them, and its listeners

local certmanager = require "core.certmanager";
local config = require "core.configmanager";
local lfs = require "lfs";
local to_ascii = require "util.encodings".idna.to_ascii;
local resolve_path = require "util.paths".resolve_relative_path;
local set = require "util.set";

local DEFAULT_CAPATH = "/etc/ssl/certs"; -- Prosody's
local PREFIXES = { ["xmpp-client"] = "c2s", ["xmpp-server"] = "s2s" };

local hosts = {};

hosts.SERVICES = { "xmpp-client", "xmpp-server" };
hosts.PEOPLE = { ["xmpp-client"] = "clients", ["xmpp-server"] = "servers" };

-- In order: { name =, kind = "host" or "component", services = { ["xmpp-client"] = whether clients connect to it, ... } }
function hosts.list()
	local list = {};
	for name in pairs(prosody.hosts) do
		if name ~= "*" then -- the section before the first host
			local component = config.get(name, "component_module") ~= nil;
			local anonymous = config.get(name, "authentication") == "anonymous"
				and not config.get(name, "allow_anonymous_s2s");
			list[#list + 1] = {
				name = name; kind = component and "component" or "host";
				services = { ["xmpp-client"] = not component, ["xmpp-server"] = not anonymous };
			};
		end
	end
	table.sort(list, function (a, b) return a.name < b.name; end);
	return list;
end

-- The one of this name, in Unicode or in A-labels; or nil
function hosts.find(name)
	local ascii = to_ascii(name);
	for _, host in ipairs(hosts.list()) do
		if host.name == name or ascii and to_ascii(host.name) == ascii then return host; end
	end
end

-- ---- Certificates ----

-- Where Prosody looks for certificates
function hosts.directory()
	return resolve_path(prosody.paths.config or ".", config.get("*", "certificates") or "certs");
end

-- What certmanager finds by name. It calls a directory that is missing an error, which is none here.
local function search(name)
	if lfs.attributes(hosts.directory(), "mode") == "directory" then return certmanager.find_host_cert(name); end
	return certmanager.find_cert(config.get(name, "certificate"), name);
end

-- The settings of mod_tls for a host, least first. The context is not made: it needs no key to be read.
local function settings_for(name, service)
	local option, parent = PREFIXES[service].."_ssl", name:match("%.(.*)$");
	local function of_host(key)
		return config.rawget(name, key) or (parent and config.rawget(parent, key));
	end
	return { search(name) or {}, config.get("*", "ssl") or {}, config.rawget("*", option) or {},
		of_host("ssl") or {}, of_host(option) or {} };
end

-- { certificate =, key =, cafile =, capath = }, absolute paths or nil, of "xmpp-client" or "xmpp-server"
function hosts.tls(name, service)
	local found = { capath = DEFAULT_CAPATH };
	for _, settings in ipairs(settings_for(name, service)) do
		for _, key in ipairs { "certificate", "key", "cafile", "capath" } do
			if settings[key] then found[key] = settings[key]; end
		end
	end
	for key, path in pairs(found) do
		found[key] = type(path) == "string" and resolve_path(prosody.paths.config or ".", path) or nil;
	end
	return found;
end

-- Whom Prosody trusts: { cafile =, capath = }
function hosts.authorities()
	local settings = config.get("*", "ssl") or {};
	local base = prosody.paths.config or ".";
	return {
		cafile = settings.cafile and resolve_path(base, settings.cafile) or nil;
		capath = resolve_path(base, settings.capath or DEFAULT_CAPATH);
	};
end

-- ---- Listeners ----

local function as_list(value, default)
	if value == nil then value = default; end
	return type(value) == "table" and value or { value };
end

-- In order: { service =, tls = "starttls" or "direct", port = }
function hosts.listeners()
	local disabled = set.new(config.get("*", "modules_disabled") or {});
	local multiplexed = set.new(config.get("*", "modules_enabled") or {}):contains("net_multiplex");
	local list = {};
	for _, service in ipairs(hosts.SERVICES) do
		local prefix, client = PREFIXES[service], service == "xmpp-client";
		local ports = {
			starttls = set.new(as_list(config.get("*", prefix.."_ports"), client and 5222 or 5269));
			direct = set.new(as_list(config.get("*", prefix.."_direct_tls_ports"), {}));
		};
		if client then ports.direct:include(set.new(as_list(config.get("*", "legacy_ssl_ports"), {}))); end
		if multiplexed then
			ports.starttls:include(set.new(as_list(config.get("*", "ports"), {})));
			ports.direct:include(set.new(as_list(config.get("*", "ssl_ports"), {})));
		end
		for _, tls in ipairs { "starttls", "direct" } do
			for port in ports[tls] do
				if tonumber(port) and not disabled:contains(prefix) then
					list[#list + 1] = { service = service, tls = tls, port = math.tointeger(tonumber(port)) };
				end
			end
		end
	end
	table.sort(list, function (a, b)
		if a.service ~= b.service then return a.service < b.service; end
		if a.tls ~= b.tls then return a.tls > b.tls; end
		return a.port < b.port;
	end);
	return list;
end

return hosts;
