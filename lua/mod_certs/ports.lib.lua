-- Where Prosody listens, by the configuration

local config = require "core.configmanager";
local set = require "util.set";

-- Prosody's network services, the prefix of their options, and the ports they have without NAME_ports
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

local ports = {};

-- Adds the listeners of one network service: with the fields above, and `port`.
local function add(list, network)
	local option = config.get("*", network.prefix.."ports") or network.default;
	for port in set.new(type(option) == "table" and option or { option }) do
		if tonumber(port) then
			table.insert(list, setmetatable({ port = math.tointeger(tonumber(port)) }, { __index = network }));
		end
	end
end

local function before(a, b)
	if a.service ~= b.service then return a.service < b.service; end
	if a.tls ~= b.tls then return a.tls > b.tls; end
	return a.port < b.port;
end

-- In order: { service = "xmpp-client" or "xmpp-server", tls = "starttls" or "direct", port =, name = Prosody's, prefix = }
function ports.list()
	local enabled = set.new(config.get("*", "modules_enabled") or {});
	local disabled = set.new(config.get("*", "modules_disabled") or {});
	local list = {};
	for _, networks in ipairs { XMPP, enabled:contains("net_multiplex") and MULTIPLEX or {} } do
		for _, network in ipairs(networks) do
			if not disabled:contains(MODULES[network.service]) then add(list, network); end
		end
	end
	table.sort(list, before);
	return list;
end

-- The same of HTTPS, which is there when some module wants it: service = "https"
function ports.https()
	local list = {};
	add(list, HTTPS);
	table.sort(list, before);
	return list;
end

-- The listener of a service at a port, or else the first of that service; or nil
function ports.find(service, tls, port)
	local first;
	for _, listener in ipairs(ports.list()) do
		if listener.service == service and listener.tls == tls then
			if listener.port == port then return listener; end
			first = first or listener;
		end
	end
	return first;
end

return ports;
