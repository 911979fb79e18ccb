-- To be included in the global section of prosody.cfg.lua, in place of its plugin_paths. Enables nothing.

-- Where modules are looked for before Prosody's own: ours, and Debian's place for an administrator's
plugin_paths = { "/usr/lib/prosody-native", "/usr/local/lib/prosody/modules" }

-- The root key of DNSSEC, without which DNS proves nothing (package dns-root-data)
unbound = { trustfile = "/usr/share/dns/root.key" }
