-- The hosts and components of the configuration, and whom they trust

local config = require "core.configmanager";
local to_ascii = require "util.encodings".idna.to_ascii;
local resolve_path = require "util.paths".resolve_relative_path;
local set = require "util.set";

local DEFAULT_CAPATH = "/etc/ssl/certs"; -- Prosody's

local hosts = {};

hosts.SERVICES = { "xmpp-client", "xmpp-server" };
hosts.PEOPLE = { ["xmpp-client"] = "clients", ["xmpp-server"] = "servers", https = "web clients" };

-- Whether a module is not loaded for a host, by the configuration
local function is_disabled(name, of_host)
	local function has(host, option) return set.new(config.rawget(host, option) or {}):contains(of_host); end
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

-- The one of this name, in Unicode or in A-labels; or nil
function hosts.find(name)
	local ascii = to_ascii(name);
	for _, host in ipairs(hosts.list()) do
		if host.name == name or ascii and to_ascii(host.name) == ascii then return host; end
	end
end

-- That one, or one of another server, which is taken to have every service: its kind is "domain"
function hosts.find_any(name)
	return hosts.find(name) or { name = name, kind = "domain", services = { ["xmpp-client"] = true, ["xmpp-server"] = true } };
end

-- Its name on the web
function hosts.web_name(name)
	return config.get(name, "https_host") or config.get(name, "http_host") or name;
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

return hosts;
