-- Options of this module, and those of Prosody's own modules that it has to obey.

local resolve_path = require "util.paths".resolve_relative_path;

local option = module:require "option";

local function path_of(path)
	return type(path) == "string" and resolve_path(prosody.paths.config or ".", path) or nil;
end

local tls = module:get_option("s2s_ssl", module:get_option("ssl", {}));
local secure_auth = module:get_option_boolean("s2s_secure_auth", false);

return {
	-- nil: where the resolver can validate
	use_dane = option.boolean("use_dane");
	posh = option.boolean("s2s_native_posh", true);
	dns_timeout = option.number("s2s_native_dns_timeout", 30, 1);
	use_ipv4 = module:get_option_boolean("use_ipv4", true);
	use_ipv6 = module:get_option_boolean("use_ipv6", true);
	-- The policy, as mod_s2s reads it
	secure_auth = secure_auth;
	secure_domains = module:get_option_set("s2s_secure_domains", {});
	insecure_domains = module:get_option_set("s2s_insecure_domains", {});
	-- Whom to trust where the stream's own TLS configuration is not known
	tls = { cafile = path_of(tls.cafile); capath = path_of(tls.capath) };
};
