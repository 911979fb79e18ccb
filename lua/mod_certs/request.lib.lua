-- prosodyctl mod_certs request: a private key, and the request for a certificate of it

local json = require "util.json";
local lfs = require "lfs";
local nameprep = require "util.encodings".stringprep.nameprep;

local certificates = module:require "certificates";
local certs = module:require "native"("certs");
local files = module:require "files";
local hosts = module:require "hosts";
local paths = module:require "paths";
local terminal = module:require "terminal";
local to_ascii = module:require "zone".to_ascii;

local NEXT = [==[

What to do next
  1  Have %s signed. An ACME client takes it as it is, for instance
     certbot certonly --csr %s; an authority of your own must copy its names:
     openssl x509 -req -copy_extensions copy -in %s ...
  2  Put the key, and the certificate followed by the authority's intermediate
     certificates, where Prosody looks:
     %s.key
     %s.crt
     readable for the user that Prosody runs as, and for nobody else.
  3  See what you have got, then let Prosody take it:
     prosodyctl mod_certs explain %s.crt
     prosodyctl reload

Public authorities issue DNS names alone: they leave the SRV-IDs out, and a few refuse
the request. The DNS-IDs serve clients and servers as well.]==];

local function fail(status, format, ...)
	terminal.error(format, ...);
	return status;
end

-- A host of any spelling as it stands in DNS, or nil
local function domain_of(name)
	local prepped = nameprep(name);
	local ascii = prepped and to_ascii(prepped);
	local valid = ascii and #ascii <= 253 and ascii:find("^[%w-][%w.-]*$") and not ascii:find("..", 1, true);
	return valid and ascii:find("[^%d.]") and ascii:gsub("%.$", "") or nil;
end

-- Each once, in A-labels; or nil, the name that is none
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
	local csr, place = made.request, certificates.directory().."/"..domains[1];
	terminal.print(NEXT, csr, csr, csr, place, place, place);
end

return function (names, flags)
	local domains, wrong = domains_of(names);
	if not domains then return fail(2, "%s is no domain name", terminal.printable(wrong)); end
	local directory = directory_of(flags);
	if lfs.attributes(directory, "mode") ~= "directory" then
		return fail(1, "%s: %s\n--output names a directory to write to", directory, paths.missing(directory) or "this is no directory");
	end
	local base = directory.."/"..domains[1];
	local made = { key = base..".key", request = base..".csr" };
	for _, path in ipairs { made.key, made.request } do
		if files.exists(path) then return fail(1, "%s exists already", path); end
	end
	local key, request, text = certs.request {
		domains = domains; services = hosts.SERVICES; key = flags.rsa and "rsa" or "ec";
	};
	if not key then return fail(1, "%s", text or request); end
	local ok, err = write(made, key, request);
	if not ok then return fail(1, "%s", err); end
	local kind = flags.rsa and "RSA of 3072 bits" or "ECDSA with P-256";
	if flags.json then
		terminal.print("%s", json.encode({ key = made.key, request = made.request, type = kind, domains = domains,
			services = hosts.SERVICES }));
	else
		print_result(made, kind, domains);
	end
	return 0;
end
