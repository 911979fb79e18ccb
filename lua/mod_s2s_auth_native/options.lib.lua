-- The options of this module as data. option_reader.lib.lua describes a row; the table in README.md is made of them.

return { prefix = "s2s_native_",
	{ name = "use_dane", type = "boolean", default_text = "true if lua-unbound is installed", scope = "server",
		text = "`false` turns DNS proofs off, in both directions." };
	{ name = "s2s_native_posh", type = "boolean", default = true, scope = "server",
		text = "Ask `https://DOMAIN/.well-known/posh/xmpp-server.json` where neither DNS nor a public authority proves anything." };
	{ name = "s2s_native_dns_timeout", type = "number", default = 30, least = 1, scope = "server",
		text = "Seconds to wait for one DNS answer; at least 1." };
};
