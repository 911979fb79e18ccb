-- The options of this module as data. option_reader.lib.lua describes a row; the table in README.md is made of them.

return { prefix = "certs_",
	{ name = "certs_dns_update", type = "table", scope = "server",
		text = "How `renew` sends dynamic updates: `server`, an address or name; `port`, 53; `zone`, where it is not the one that "
			.."DNS tells; `key`, a file with the TSIG key in the form that the program reads, none: updates are not signed; "
			.."`program`, a name or a path: `nsupdate`, or else `knsupdate`." };
	{ name = "certs_dns_command", type = "path", scope = "server",
		text = "A program that publishes the records instead. `certs_dns_update` takes precedence." };
	{ name = "certs_dns_timeout", type = "integer", default = 60, least = 1, scope = "server",
		text = "Seconds after which such a program is ended." };
};
