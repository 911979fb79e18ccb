-- prosodyctl mod_certs: certificates and DANE. See README.md.

module:set_global();

-- Loads a command when it is run. It returns the exit status, and the text of an error.
local function in_file(name)
	return function (names, options)
		local status, text = module:require(name)(names, options);
		if text then module:require "terminal".error("%s", text); end
		return status;
	end
end

function module.command(arg)
	return module:require "command"(arg, {
		{
			usage = "explain FILE|HOST[:PORT] [--domain DOMAIN] [--json]";
			help = "shows a certificate, the hosts and services that it is valid for, and why not for others";
			run = in_file "explain";
		};
		{
			usage = "request HOST... [--rsa] [--output DIRECTORY] [--json]";
			help = "creates a private key and a certificate signing request for these hosts";
			run = in_file "request";
		};
		{
			usage = "tlsa HOST|FILE [--domain DOMAIN] [--usage N] [--selector N] [--match N] [--ttl SECONDS] [--json]";
			help = "prints the TLSA records to publish, for a zone file";
			run = in_file "tlsa";
		};
		{
			usage = "check [HOST...] [--days N] [--json]";
			help = "compares DNS with the certificates that are served; exit status 3 for warnings only";
			run = in_file "check";
		};
		{
			usage = "rollover HOST|FILE --new FILE [--key FILE] [--keep FILE...] [--json]";
			help = "shows the steps to replace a certificate, so that no peer refuses it, and the current step";
			run = in_file "rollover";
		};
		{
			usage = "renew [HOST|FILE] [--new FILE|-] [--key FILE] [--request] [--dry-run] [--json]";
			help = "takes a new certificate from an ACME client through these steps: publish, wait, install, reload;\n"
				.."without a name continues all renewals in progress";
			run = in_file "renew";
		};
	});
end
