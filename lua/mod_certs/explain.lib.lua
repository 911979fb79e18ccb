-- prosodyctl mod_certs explain: the certificates in a file, or those that a server sends

local array = require "util.array";
local json = require "util.json";
local nameprep = require "util.encodings".stringprep.nameprep;

local dns = module:require "dns";
local explain_report = module:require "explain_report";
local files = module:require "files";
local hosts = module:require "hosts";
local paths = module:require "paths";
local probe = module:require "probe";
local selection = module:require "selection";
local terminal = module:require "terminal";
local uses = module:require "uses";

-- Well-known ports; other kinds of listeners are tried after these
local USUAL = {
	{ port = 5222, service = "xmpp-client", tls = "starttls" }, { port = 5269, service = "xmpp-server", tls = "starttls" },
	{ port = 5223, service = "xmpp-client", tls = "direct" }, { port = 5270, service = "xmpp-server", tls = "direct" },
};
local MAX_PORT = 65535;

-- ---- Hosts that a certificate is compared with ----

-- A host that the certificate must be valid for, for these services or else all that it has
local function asked_host(name, services)
	local host = hosts.find_any(name);
	return { name = host.name, kind = host.kind, services = services or host.services, asked = true };
end

-- That host, and the other configured hosts
local function with_configured(asked)
	local list = { asked };
	for _, host in ipairs(hosts.list()) do
		if host.name ~= asked.name then list[#list + 1] = host; end
	end
	return list;
end

-- All configured hosts. The certificate must be valid for those that use the file, for the services that use it.
local function with_users(used)
	local list, services = hosts.list(), {};
	for _, use in ipairs(used) do
		for _, name in ipairs(use.service ~= "https" and use.hosts or {}) do
			services[name] = services[name] or {};
			services[name][use.service] = true;
		end
	end
	for _, host in ipairs(list) do
		host.asked = services[host.name] ~= nil;
		host.services = services[host.name] or host.services;
	end
	return list;
end

-- ---- Sources: { titles = texts, pem =, hosts =, uses = of a file, as of uses.of() } ----

local function from_file(path, domain)
	local pem, err = files.read(path);
	if not pem then return nil, err; end
	local used = uses.of(path);
	return { titles = array { terminal.printable(path) }, pem = pem, uses = used,
		hosts = domain and with_configured(asked_host(domain)) or with_users(used) };
end

-- The kinds of listeners that may be at a port, the likely ones first: { target =, port =, service =, tls = }
local function ways_of(target, port)
	local ways, seen = {}, {};
	local function add(list, likely)
		for _, way in ipairs(list) do
			local key = way.service..way.tls;
			if not seen[key] and (way.port == port or not likely) then
				seen[key] = true;
				ways[#ways + 1] = { target = target, port = port, service = way.service, tls = way.tls };
			end
		end
	end
	add(hosts.listeners(), true);
	add(USUAL, true);
	add(USUAL, false);
	return ways;
end

-- The listeners of a domain by DNS. Returns an array of ways, and texts about failed lookups.
local function published_ways(domain)
	local ways, failures = {}, {};
	local function add(srv, guessed)
		for _, target in ipairs(srv.targets) do
			table.insert(ways, { target = target.name, port = target.port, service = srv.service, tls = srv.tls,
				guessed = guessed, published = probe.promise(srv) });
		end
		if not dns.usable(srv.answer) then table.insert(failures, ("%s SRV: %s"):format(srv.name, srv.answer.reason)); end
	end
	for _, service in ipairs(hosts.SERVICES) do
		local starttls = dns.srv(dns.to_ascii(domain), service, "starttls");
		local direct = dns.srv(dns.to_ascii(domain), service, "direct");
		if not (starttls.implied and direct.answer.records[1]) then add(starttls, starttls.implied); end
		add(direct);
	end
	return ways, failures;
end

-- Addresses, IPv6 first; or nil, text
local function addresses_of(name)
	if probe.is_address(name) then return { name }; end
	local list, answers = dns.addresses(dns.to_ascii(name) or name);
	if list[1] then return list; end
	for _, kind in ipairs { "AAAA", "A" } do
		if not dns.usable(answers[kind]) then return nil, ("%s %s: %s"):format(name, kind, answers[kind].reason); end
	end
	return nil, name.." has no address";
end

-- Asks the first address of a target that answers. Returns chains; or nil, text, and `reached` and `other` as of probe.chains().
local function ask(way, domain)
	local addresses, text = addresses_of(way.target);
	local furthest, other;
	for _, address in ipairs(addresses or {}) do
		local reply = probe.chains { {
			address = address, port = way.port, tls = way.tls, service = way.service, domain = domain, published = way.published,
		} }[1];
		if reply.pem then return reply.chains; end
		if reply.reached or not furthest then
			text, furthest, other = ("%s: %s"):format(address, reply.err), reply.reached, reply.other;
		end
	end
	return nil, text, furthest, other;
end

local function describe_way(way)
	return ("%s:%d, %s, %s"):format(way.target, way.port, hosts.LABELS[way.service],
		way.tls == "direct" and "direct TLS" or "STARTTLS");
end

-- Merges listeners that send the same chain. service: nil if the listener does not speak XMPP
local function add_source(sources, pem, title, domain, service)
	local source = sources[pem];
	if not source then
		local asked = asked_host(domain, {});
		source = { titles = array(), pem = pem, asked = asked,
			hosts = asked.kind == "domain" and { asked } or with_configured(asked) };
		sources[pem] = source;
		sources[#sources + 1] = source;
	end
	source.titles:push(title);
	if service then source.asked.services[service] = true; end
end

local function add_chains(sources, chains, way, domain)
	for _, each in ipairs(chains) do
		local title = describe_way(way)..(chains[2] and (", %s key"):format(each.key_type) or "");
		add_source(sources, each.pem, title, domain, way.service);
	end
end

local function from_port(name, port, domain)
	local sources, failures, other = {}, {}, nil;
	for _, way in ipairs(ways_of(name, port)) do
		local chains, text, reached, foreign = ask(way, domain);
		if chains then
			add_chains(sources, chains, way, domain);
			return sources, {};
		end
		if not reached then return {}, { ("%s:%d: %s"):format(name, port, text) }; end
		failures[#failures + 1] = describe_way(way)..": "..text;
		other = other or foreign;
		if reached == "stream" then return {}, { failures[#failures] }; end
	end
	if other then add_source(sources, other, ("%s:%d, TLS, but not XMPP"):format(name, port), domain); end
	return sources, failures;
end

local function from_domain(domain)
	local sources = {};
	local ways, failures = published_ways(domain);
	local guesses = {};
	for _, way in ipairs(ways) do
		local chains, text = ask(way, domain);
		if chains then
			add_chains(sources, chains, way, domain);
		else
			local list = way.guessed and guesses or failures;
			list[#list + 1] = describe_way(way)..": "..text;
		end
	end
	if not sources[1] then table.move(guesses, 1, #guesses, #failures + 1, failures); end
	if not ways[1] and not failures[1] then failures[1] = "DNS has no XMPP service for "..domain; end
	return sources, failures;
end

-- Adds texts about an ambiguous selection of certificates for a host.
local function add_ambiguities(failures, domain)
	local host, texts = hosts.find(domain), array();
	for _, endpoint in ipairs(host and selection.of_host(host) or {}) do
		texts:push(selection.ambiguity(host.name, endpoint.alternatives));
	end
	for _, text in ipairs(texts:unique()) do table.insert(failures, text); end
end

-- ---- The command ----

-- HOST and PORT of an argument, PORT "" if it has none; or nil
local function host_in(name)
	local host, port = name:match("^%[(.-)%]:?(%d*)$");
	if not host then host, port = name:match("^([^:/]+):?(%d*)$"); end
	return host, port;
end

local function is_host(host)
	local domain = host and nameprep(host);
	return host and probe.is_address(host) or domain and dns.to_ascii(domain) ~= nil;
end

-- Returns sources, failures; or nil, text for wrong arguments
local function from_host(host, port, domain)
	local is_address = probe.is_address(host);
	if is_address and port == "" then return nil, "missing port: [ADDRESS]:PORT"; end
	if is_address and not domain then return nil, "an address may have several certificates: give the host with --domain"; end
	local number = tonumber(port);
	if number and (number < 1 or number > MAX_PORT) then return nil, "the port must be a number from 1 to "..MAX_PORT; end
	domain = domain or nameprep(host);
	if not domain or not dns.to_ascii(domain) then return nil, "invalid domain name"; end
	local sources, failures;
	if number then sources, failures = from_port(host, number, domain); else sources, failures = from_domain(domain); end
	add_ambiguities(failures, domain);
	return sources, failures;
end

-- The same for a file, too
local function sources_of(name, domain)
	local path = paths.absolute(name);
	if files.is_file(path) then
		local source, err = from_file(path, domain);
		return { source }, { err };
	end
	local host, port = host_in(name);
	local closed = paths.hidden(path);
	if closed and not is_host(host) then return {}, { closed }; end
	if not host then return nil, "neither a file nor HOST or HOST:PORT: "..(paths.missing(path) or "not a regular file"); end
	local sources, failures = from_host(host, port, domain);
	if closed and sources and not sources[1] then table.insert(failures, closed); end -- a file may have been meant
	return sources, failures;
end

-- Explains how to make a file readable for Prosody's user.
local function print_remedies(name)
	local ok, path = pcall(paths.absolute, name);
	local closed = ok and files.closed(path);
	if closed then io.stderr:write(terminal.printable(closed), "\n"); end
end

return function (names, flags)
	local domain = flags.domain and nameprep(flags.domain);
	if flags.domain and not domain then return 2, "invalid domain name: "..terminal.printable(flags.domain); end
	local sources, failures = sources_of(names[1], domain);
	if not sources then return 2, ("%s: %s"):format(terminal.printable(names[1]), failures); end
	local reports, good = array(), true;
	for _, source in ipairs(sources) do
		local report, err = explain_report.make(source.pem, source.hosts, source.uses or array());
		if report then
			report.source = source.titles;
			reports:push(report);
			if not flags.json then explain_report.print(report); end
			good = good and not report.problems[1];
		else
			failures[#failures + 1] = ("%s: %s"):format(source.titles[1], err);
		end
	end
	for i, text in ipairs(failures) do failures[i] = terminal.printable(text); end -- parts come from servers
	if flags.json then terminal.print("%s", json.encode({ reports = reports, failures = array(failures) })); end
	for _, text in ipairs(failures) do terminal.error("%s", text); end
	if not sources[1] then print_remedies(names[1]); end
	return good and not failures[1] and 0 or 1;
end
