-- The option `unbound` as Prosody's net.unbound reads it

local config = require "core.configmanager";

local ANCHOR_OPTIONS = { "trust-anchor:", "trust-anchor-file:", "trusted-keys-file:", "auto-trust-anchor-file:" }; -- libunbound's

local unbound = { ROOT_KEY = "/usr/share/dns/root.key" }; -- of the package dns-root-data

-- Returns the settings with the defaults of Prosody and of lua-unbound; and lua-unbound, nil if it is not installed and Prosody uses
-- the system's resolver.
function unbound.settings()
	local installed, lunbound = pcall(require, "lunbound");
	local settings = { hoststxt = false };
	for name, value in pairs(config.get("*", "unbound") or {}) do settings[name] = value; end
	for name, value in pairs(installed and lunbound.config or { resolvconf = true }) do
		if settings[name] == nil then settings[name] = value; end
	end
	return settings, installed and lunbound or nil;
end

-- The trust anchor: a string, or nil
function unbound.anchor(settings)
	local found = settings.trustfile or (settings.trusted and "option unbound: trusted");
	for _, name in ipairs(ANCHOR_OPTIONS) do found = found or (settings.options or {})[name]; end
	return found;
end

-- Whether the resolvers in resolv.conf are used, which can be bypassed, and not one that was chosen for Prosody
function unbound.asks_resolvconf(settings)
	return settings.resolvconf and not settings.forward;
end

return unbound;
