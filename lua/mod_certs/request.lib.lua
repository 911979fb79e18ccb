-- prosodyctl mod_certs request: creates a private key, and a certificate signing request for it

local json = require "util.json";
local lfs = require "lfs";
local nameprep = require "util.encodings".stringprep.nameprep;

local certs = module:require "native"("certs");
local dns = module:require "dns";
local files = module:require "files";
local hosts = module:require "hosts";
local paths = module:require "paths";
local selection = module:require "selection";
local terminal = module:require "terminal";

local NEXT = [==[

Next steps
  1  Have %s signed. An ACME client accepts it, for instance
     certbot certonly --csr %s; your own authority must copy the names:
     openssl x509 -req -copy_extensions copy -in %s ...
  2  Install the key, and the certificate followed by the authority's intermediate
     certificates:
     %s.key
     %s.crt
     Both must be readable for Prosody's user, and for nobody else.
  3  Check the certificate, then reload Prosody:
     prosodyctl mod_certs explain %s.crt
     prosodyctl reload

Public authorities issue certificates with DNS-IDs only: they omit the SRV-IDs, and a few
refuse the request. A DNS-ID is valid for clients and servers.]==];

-- A host in A-labels, or nil
local function domain_of(name)
	local prepped = nameprep(name);
	local ascii = prepped and dns.to_ascii(prepped);
	local valid = ascii and #ascii <= 253 and ascii:find("^[%w-][%w.-]*$") and not ascii:find("..", 1, true);
	return valid and ascii:find("[^%d.]") and ascii:gsub("%.$", "") or nil;
end

-- Each once, in A-labels; or nil, the invalid name
local function domains_of(names)
	local domains, seen = {}, {};
	for _, name in ipairs(names) do
		local domain = domain_of(name);
		if not domain then return nil, name; end
		if not seen[domain] then domains[#domains + 1] = domain; end
		seen[domain] = true;
	end
	return domains;
end

local function directory_of(flags)
	return (paths.absolute(flags.output or "."):gsub("/%.?$", ""));
end

-- Both files, or neither
local function write(made, key, request)
	local ok, err = files.write_private(made.key, key);
	if not ok then return nil, err; end
	ok, err = files.write_private(made.request, request);
	if not ok then
		os.remove(made.key);
		return nil, err;
	end
	return true;
end

local function print_result(made, kind, domains)
	terminal.print("%s  private key, %s", made.key, kind);
	terminal.print("%s  request for", made.request);
	for _, domain in ipairs(domains) do terminal.print("  DNS-ID  %s", domain); end
	for _, domain in ipairs(domains) do
		for _, service in ipairs(hosts.SERVICES) do terminal.print("  SRV-ID  _%s.%s", service, domain); end
	end
	local csr, place = made.request, selection.directory().."/"..domains[1];
	terminal.print(NEXT, csr, csr, csr, place, place, place);
end

return function (names, flags)
	local domains, wrong = domains_of(names);
	if not domains then return 2, "invalid domain name: "..terminal.printable(wrong); end
	local directory = directory_of(flags);
	if lfs.attributes(directory, "mode") ~= "directory" then
		return 1, ("%s: %s\n--output must be a directory"):format(directory, paths.missing(directory) or "not a directory");
	end
	local base = directory.."/"..domains[1];
	local made = { key = base..".key", request = base..".csr" };
	for _, path in ipairs { made.key, made.request } do
		if files.exists(path) then return 1, path..": file exists"; end
	end
	local key, request, text = certs.request {
		domains = domains; services = hosts.SERVICES; key = flags.rsa and "rsa" or "ec";
	};
	if not key then return 1, text or request; end
	local ok, err = write(made, key, request);
	if not ok then return 1, err; end
	local kind = flags.rsa and "RSA of 3072 bits" or "ECDSA with P-256";
	if flags.json then
		terminal.print("%s", json.encode({ key = made.key, request = made.request, type = kind, domains = domains,
			services = hosts.SERVICES }));
	else
		print_result(made, kind, domains);
	end
	return 0;
end
