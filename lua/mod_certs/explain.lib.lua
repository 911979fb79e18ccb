-- prosodyctl mod_certs explain: the certificates in a file, or those that a server sends

local array = require "util.array";
local json = require "util.json";
local nameprep = require "util.encodings".stringprep.nameprep;

local certificates = module:require "certificates";
local examine = module:require "examine";
local fetch = module:require "fetch";
local files = module:require "files";
local hosts = module:require "hosts";
local print_report = module:require "explanation";
local lookup = module:require "lookup";
local places = module:require "places";
local permissions = module:require "permissions";
local ports = module:require "ports";
local paths = module:require "paths";
local served = module:require "served";
local terminal = module:require "terminal";
local zone = module:require "zone";

-- What is usual on a port; others are tried after it
local USUAL = {
	{ port = 5222, service = "xmpp-client", tls = "starttls" }, { port = 5269, service = "xmpp-server", tls = "starttls" },
	{ port = 5223, service = "xmpp-client", tls = "direct" }, { port = 5270, service = "xmpp-server", tls = "direct" },
};
local MAX_PORT = 65535;

local function fail(status, format, ...)
	terminal.error(format, ...);
	return status;
end

-- ---- Which hosts it is compared with ----

-- One that must be served: for these services, or for those that it has
local function asked_host(name, services)
	local host = hosts.find_any(name);
	return { name = host.name, kind = host.kind, services = services or host.services, asked = true };
end

-- Configured hosts, and the asked one among them
local function with_configured(asked)
	local list = { asked };
	for _, host in ipairs(hosts.list()) do
		if host.name ~= asked.name then list[#list + 1] = host; end
	end
	return list;
end

-- Those that Prosody gives a file are asked for, for the services that it is given for
local function users_in(uses)
	local list, services = hosts.list(), {};
	for _, use in ipairs(uses) do
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

-- ---- Sources: { titles = texts, pem =, hosts =, uses = of a file, as of certificates.uses() } ----

local function from_file(path, domain)
	local pem, err = files.read(path);
	if not pem then return nil, err; end
	local uses = certificates.uses(path);
	return { titles = array { terminal.printable(path) }, pem = pem, uses = uses,
		hosts = domain and with_configured(asked_host(domain)) or users_in(uses) };
end

-- Ways to talk to a port that nobody has described: the likely ones first
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
	add(ports.list(), true);
	add(USUAL, true);
	add(USUAL, false);
	return ways;
end

-- Where DNS says that the domain's services are. Returns an array of ways, and texts of what could not be looked up.
local function published_ways(domain)
	local ways, failures = {}, {};
	local function add(place, guessed)
		for _, target in ipairs(place.targets) do
			table.insert(ways, { target = target.name, port = target.port, service = place.service, tls = place.tls,
				guessed = guessed, published = served.promise_of(place) });
		end
		if not lookup.usable(place.srv) then table.insert(failures, ("%s SRV: %s"):format(place.name, place.srv.reason)); end
	end
	for _, service in ipairs(hosts.SERVICES) do
		local starttls = places.of_service(zone.to_ascii(domain), service, "starttls");
		local direct = places.of_service(zone.to_ascii(domain), service, "direct");
		if not (starttls.implied and direct.srv.records[1]) then add(starttls, starttls.implied); end
		add(direct);
	end
	return ways, failures;
end

-- Addresses, IPv6 first; or nil, text
local function addresses_of(name)
	if fetch.is_address(name) then return { name }; end
	local list, answers = lookup.addresses(zone.to_ascii(name) or name);
	if list[1] then return list; end
	for _, kind in ipairs { "AAAA", "A" } do
		if not lookup.usable(answers[kind]) then return nil, ("%s %s: %s"):format(name, kind, answers[kind].reason); end
	end
	return nil, name.." has no address";
end

-- Asks one target, at its first address that answers. Returns chains; or nil, text, how far it went, as of fetch.chains(), and
-- the chain of a service that is not XMPP.
local function ask(way, domain)
	local addresses, text = addresses_of(way.target);
	local furthest, other;
	for _, address in ipairs(addresses or {}) do
		local reply = fetch.chains { {
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
	return ("%s:%d, %s, %s"):format(way.target, way.port, hosts.PEOPLE[way.service],
		way.tls == "direct" and "direct TLS" or "STARTTLS");
end

-- Merges servers that send the same chain. Without a service: no XMPP is spoken there.
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

-- Which type of key is said where there is one of each.
local function add_chains(sources, chains, way, domain)
	for _, each in ipairs(chains) do
		local title = describe_way(way)..(chains[2] and (", asked for %s"):format(each.key_type) or "");
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
	if other then add_source(sources, other, ("%s:%d, TLS, but no XMPP"):format(name, port), domain); end
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
	if not ways[1] and not failures[1] then failures[1] = "DNS says that "..domain.." has no XMPP service"; end
	return sources, failures;
end

-- Adds what is open in the configuration about a host.
local function add_choices(failures, domain)
	local host, seen = hosts.find(domain), {};
	local function add(service, tls, port)
		local _, alternatives = certificates.of(host.name, service, tls, port);
		local text = certificates.choice(host.name, alternatives);
		if text and not seen[text] then table.insert(failures, text); end
		seen[text or ""] = true;
	end
	for _, service in ipairs(host and hosts.SERVICES or {}) do
		if host.services[service] then add(service, "starttls"); end
	end
	for _, listener in ipairs(host and ports.list() or {}) do
		if host.services[listener.service] and listener.tls == "direct" then add(listener.service, listener.tls, listener.port); end
	end
end

-- ---- The command ----

-- HOST and PORT of what may be either or both, PORT "" where there is none; or nil
local function host_in(name)
	local host, port = name:match("^%[(.-)%]:?(%d*)$");
	if not host then host, port = name:match("^([^:/]+):?(%d*)$"); end
	return host, port;
end

local function is_host(host)
	local domain = host and nameprep(host);
	return host and fetch.is_address(host) or domain and zone.to_ascii(domain) ~= nil;
end

-- Returns sources, failures; or nil, text, if nobody can be asked so
local function from_host(host, port, domain)
	local is_address = fetch.is_address(host);
	if is_address and port == "" then return nil, "an address needs a port"; end
	if is_address and not domain then return nil, "it may have many certificates, --domain tells whom to ask for"; end
	local number = tonumber(port);
	if number and (number < 1 or number > MAX_PORT) then return nil, "a port is a number from 1 to "..MAX_PORT; end
	domain = domain or nameprep(host);
	if not domain or not zone.to_ascii(domain) then return nil, "no domain name"; end
	local sources, failures;
	if number then sources, failures = from_port(host, number, domain); else sources, failures = from_domain(domain); end
	add_choices(failures, domain);
	return sources, failures;
end

-- Returns sources, failures; or nil, text, if it was called wrongly
local function sources_of(name, domain)
	local path = paths.absolute(name);
	if files.is_file(path) then
		local source, err = from_file(path, domain);
		return { source }, { err };
	end
	local host, port = host_in(name);
	local closed = paths.hidden(path);
	if closed and not is_host(host) then return {}, { closed }; end
	if not host then return nil, "no HOST or HOST:PORT, and no file: "..(paths.missing(path) or "it is something else"); end
	local sources, failures = from_host(host, port, domain);
	if closed and sources and not sources[1] then table.insert(failures, closed); end -- a file may have been meant
	return sources, failures;
end

-- What to do about a file that is closed to Prosody, for people
local function print_ways_out(name)
	local ok, path = pcall(paths.absolute, name);
	local closed = ok and permissions.closed(path);
	if closed then io.stderr:write(terminal.printable(closed), "\n"); end
end

return function (names, flags)
	local domain = flags.domain and nameprep(flags.domain);
	if flags.domain and not domain then return fail(2, "%s: no domain name", terminal.printable(flags.domain)); end
	local sources, failures = sources_of(names[1], domain);
	if not sources then return fail(2, "%s: %s", terminal.printable(names[1]), failures); end
	local reports, good = array(), true;
	for _, source in ipairs(sources) do
		local report, err = examine(source.pem, source.hosts, source.uses or array(), hosts.authorities());
		if report then
			report.source = source.titles;
			reports:push(report);
			if not flags.json then print_report(report); end
			good = good and not report.problems[1];
		else
			failures[#failures + 1] = ("%s: %s"):format(source.titles[1], err);
		end
	end
	for i, text in ipairs(failures) do failures[i] = terminal.printable(text); end -- servers have written parts of them
	if flags.json then terminal.print("%s", json.encode({ reports = reports, failures = array(failures) })); end
	for _, text in ipairs(failures) do terminal.error("%s", text); end
	if not sources[1] then print_ways_out(names[1]); end
	return good and not failures[1] and 0 or 1;
end
