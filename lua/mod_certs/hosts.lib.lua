-- The configuration: hosts and components, the ports where Prosody listens for them, and the authorities that it trusts

local config = require "core.configmanager";
local to_ascii = require "util.encodings".idna.to_ascii;
local resolve_path = require "util.paths".resolve_relative_path;
local set = require "util.set";

local DEFAULT_CAPATH = "/etc/ssl/certs"; -- Prosody's

-- Prosody's network services, the prefix of their options, and their ports without NAME_ports
local XMPP = {
	{ name = "c2s", prefix = "c2s_", service = "xmpp-client", tls = "starttls", default = 5222 },
	{ name = "c2s_direct_tls", prefix = "c2s_direct_tls_", service = "xmpp-client", tls = "direct" },
	{ name = "legacy_ssl", prefix = "legacy_ssl_", service = "xmpp-client", tls = "direct" },
	{ name = "s2s", prefix = "s2s_", service = "xmpp-server", tls = "starttls", default = 5269 },
	{ name = "s2s_direct_tls", prefix = "s2s_direct_tls_", service = "xmpp-server", tls = "direct" },
};
local MULTIPLEX = { -- of mod_net_multiplex
	{ name = "multiplex", prefix = "", service = "xmpp-client", tls = "starttls" },
	{ name = "multiplex", prefix = "", service = "xmpp-server", tls = "starttls" },
	{ name = "multiplex_ssl", prefix = "ssl_", service = "xmpp-client", tls = "direct" },
	{ name = "multiplex_ssl", prefix = "ssl_", service = "xmpp-server", tls = "direct" },
};
local HTTPS = { name = "https", prefix = "https_", service = "https", tls = "direct", default = 5281 };
local MODULES = { ["xmpp-client"] = "c2s", ["xmpp-server"] = "s2s" };

local hosts = {};

hosts.SERVICES = { "xmpp-client", "xmpp-server" };
hosts.LABELS = { ["xmpp-client"] = "clients", ["xmpp-server"] = "servers", https = "web clients" };

-- ---- Hosts ----

-- Whether the configuration disables a module for a host
local function is_disabled(name, module_name)
	local function has(host, option) return set.new(config.rawget(host, option) or {}):contains(module_name); end
	return has(name, "modules_disabled") or has("*", "modules_disabled") and not has(name, "modules_enabled");
end

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
				services = {
					["xmpp-client"] = not component and not is_disabled(name, "c2s");
					["xmpp-server"] = not anonymous and not is_disabled(name, "s2s");
				};
			};
		end
	end
	table.sort(list, function (a, b) return a.name < b.name; end);
	return list;
end

-- The host of this name, in Unicode or in A-labels; or nil
function hosts.find(name)
	local ascii = to_ascii(name);
	for _, host in ipairs(hosts.list()) do
		if host.name == name or ascii and to_ascii(host.name) == ascii then return host; end
	end
end

-- The same; a host of another server is assumed to have every service, and its kind is "domain"
function hosts.find_any(name)
	return hosts.find(name) or { name = name, kind = "domain", services = { ["xmpp-client"] = true, ["xmpp-server"] = true } };
end

function hosts.web_name(name)
	return config.get(name, "https_host") or config.get(name, "http_host") or name;
end

-- { cafile =, capath = }
function hosts.authorities()
	local settings = config.get("*", "ssl") or {};
	local base = prosody.paths.config or ".";
	return {
		cafile = settings.cafile and resolve_path(base, settings.cafile) or nil;
		capath = resolve_path(base, settings.capath or DEFAULT_CAPATH);
	};
end

-- ---- Ports ----

-- Adds the listeners of one network service: the fields above, and `port`.
local function add_listeners(list, network)
	local option = config.get("*", network.prefix.."ports") or network.default;
	for port in set.new(type(option) == "table" and option or { option }) do
		if tonumber(port) then
			table.insert(list, setmetatable({ port = math.tointeger(tonumber(port)) }, { __index = network }));
		end
	end
end

local function in_order(list)
	table.sort(list, function (a, b)
		if a.service ~= b.service then return a.service < b.service; end
		if a.tls ~= b.tls then return a.tls > b.tls; end
		return a.port < b.port;
	end);
	return list;
end

-- In order: { service = "xmpp-client" or "xmpp-server", tls = "starttls" or "direct", port =, name = Prosody's, prefix = }
function hosts.listeners()
	local enabled = set.new(config.get("*", "modules_enabled") or {});
	local disabled = set.new(config.get("*", "modules_disabled") or {});
	local list = {};
	for _, networks in ipairs { XMPP, enabled:contains("net_multiplex") and MULTIPLEX or {} } do
		for _, network in ipairs(networks) do
			if not disabled:contains(MODULES[network.service]) then add_listeners(list, network); end
		end
	end
	return in_order(list);
end

-- The same for HTTPS, which Prosody opens when a module needs it: service = "https"
function hosts.https_listeners()
	local list = {};
	add_listeners(list, HTTPS);
	return in_order(list);
end

-- The listener of a service at a port, or else the first listener of that service; or nil
function hosts.listener(service, tls, port)
	local first;
	for _, listener in ipairs(hosts.listeners()) do
		if listener.service == service and listener.tls == tls then
			if listener.port == port then return listener; end
			first = first or listener;
		end
	end
	return first;
end

-- Where a certificate can differ: STARTTLS of each service, and each port with direct TLS. { service =, tls =, port = or nil }
function hosts.endpoints()
	local list = {};
	for _, service in ipairs(hosts.SERVICES) do list[#list + 1] = { service = service, tls = "starttls" }; end
	for _, listener in ipairs(hosts.listeners()) do
		if listener.tls == "direct" then list[#list + 1] = listener; end
	end
	return list;
end

-- "clients, direct TLS on port 5223"
function hosts.describe(service, tls, port)
	return hosts.LABELS[service]..(tls == "direct" and (", direct TLS on port %d"):format(port) or ", STARTTLS");
end

return hosts;
