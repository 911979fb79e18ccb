-- Include this file in the global section of prosody.cfg.lua, in place of plugin_paths. It does not enable modules.

-- Directories that are searched before Prosody's own modules: ours, and Debian's directory for the administrator
plugin_paths = { "/usr/lib/prosody-native", "/usr/local/lib/prosody/modules" }

-- The root key of DNSSEC, without which DNS answers cannot be validated (package dns-root-data)
unbound = { trustfile = "/usr/share/dns/root.key" }
