-- The operator's tool for certificates and DANE: prosodyctl mod_certs. See README.md.

module:set_global();

-- Each is loaded when it is wanted.
local function in_file(name)
	return function (names, options)
		return module:require(name)(names, options);
	end
end

function module.command(arg)
	return module:require "command"(arg, {
		{
			usage = "explain FILE|HOST[:PORT] [--domain DOMAIN] [--json]";
			help = "what a certificate says, which hosts and services it serves, and why it does not";
			run = in_file "explain";
		};
		{
			usage = "request HOST... [--rsa] [--output DIRECTORY] [--json]";
			help = "makes a private key and a request for a certificate of these hosts";
			run = in_file "request";
		};
		{
			usage = "tlsa HOST|FILE [--domain DOMAIN] [--usage N] [--selector N] [--match N] [--ttl SECONDS] [--json]";
			help = "the TLSA records to publish, for a zone file";
			run = in_file "tlsa";
		};
		{
			usage = "check [HOST...] [--days N] [--json]";
			help = "compares what DNS says with what is served; exit status 3 where there are warnings alone";
			run = in_file "check";
		};
		{
			usage = "rollover HOST|FILE --new FILE [--key FILE] [--keep FILE...] [--json]";
			help = "replaces a certificate step by step, so that no peer is ever locked out";
			run = in_file "rollover";
		};
		{
			usage = "renew [HOST|FILE] [--new FILE|-] [--key FILE] [--request] [--dry-run] [--json]";
			help = "takes a new certificate from an ACME client, and goes on with it: DNS, waiting, installing, reloading;\n"
				.."without a name with all that are under way";
			run = in_file "renew";
		};
	});
end
