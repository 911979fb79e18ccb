-- prosodyctl mod_certs check [HOST...]: DNS, DNSSEC, TLSA and the certificates that are served. Exit status 0 all is
-- good, 1 there are errors, 3 there are warnings alone.

local nameprep = require "util.encodings".stringprep.nameprep;

local caa = module:require "caa";
local hosts = module:require "hosts";
local insecurity = module:require "insecurity";
local installed = module:require "installed";
local listeners = module:require "listeners";
local new_findings = module:require "findings";
local new_served = module:require "served".new;
local places = module:require "places";
local published = module:require "published";
local terminal = module:require "terminal";
local unpublished = module:require "unpublished";

local DAYS = 14; -- of warning before a certificate expires

-- Those that are named, also hosts of other servers; or all of the configuration. Or nil, text.
local function hosts_for(names)
	if not names[1] then
		local list = hosts.list();
		if not list[1] then return nil, "there is no host in the configuration"; end
		return list;
	end
	local list = {};
	for i, name in ipairs(names) do
		local prepared = nameprep(name);
		if not prepared or prepared == "" then return nil, name.." is no host name"; end
		list[i] = hosts.find_any(prepared);
		list[i].named = true;
	end
	return list;
end

-- A target that several services have is looked at once. Adds what is served.
local function check_target(findings, domain, place, target, settings, certificates)
	local host = domain.host;
	local function first(what)
		local key = host.."\0"..what;
		local seen = settings.seen[key];
		settings.seen[key] = true;
		return not seen;
	end
	if first(target.name) then published.addresses(findings, host, target); end
	if first(target.tlsa_name) then
		published.tlsa(findings, host, place, target);
		if target.tlsa.records[1] then published.name_servers(findings, host, target.tlsa, target.tlsa_name, "TLSA"); end
	end
	for _, address in ipairs(target.addresses) do
		local chains = listeners.check(findings, host, place, target, address, settings);
		installed.compare(findings, domain.configured, place, target, address, chains);
		table.move(chains, 1, #chains, #certificates + 1, certificates);
	end
end

-- domain = { host = its name, configured = as of hosts.list(), ascii = its A-labels, or nil, places =, unpublished = { state,
-- text } of one that is not published }
local function check_domain(findings, domain, settings)
	local host, certificates = domain.host, {};
	if not domain.ascii then
		findings.add("error", host, "name", host, "is no domain name");
		return;
	end
	if domain.unpublished then
		findings.add(domain.unpublished[1], host, "published", host, "%s", domain.unpublished[2]);
		return;
	end
	installed.check(findings, domain.configured, settings);
	for _, place in ipairs(domain.places) do
		published.srv(findings, host, place);
		if place.srv.records[1] then published.name_servers(findings, host, place.srv, place.name, "SRV"); end
		for _, target in ipairs(place.targets) do check_target(findings, domain, place, target, settings, certificates); end
	end
	insecurity.check(findings, host, domain.places);
	caa.check(findings, host, domain.ascii, certificates);
end

-- A host that is named is meant to be reached.
local function look_up(host)
	local domain = { host = host.name, configured = host };
	domain.places, domain.ascii = places.of_host(host);
	if domain.ascii and not host.named then
		local state, text = unpublished.describe(domain.ascii, domain.places);
		domain.unpublished = state and { state, text };
		if state then domain.places = {}; end -- nobody is asked there
	end
	return domain;
end

return function (names, flags)
	local days = tonumber(flags.days or DAYS);
	if not days or days < 0 then
		terminal.error("--days is a number of days");
		return 2;
	end
	local list, text = hosts_for(names);
	if not list then
		terminal.error("%s", text);
		return 1;
	end
	local findings, domains = new_findings(), {};
	for i, host in ipairs(list) do domains[i] = look_up(host); end
	local settings = { days = days, served = new_served(domains), seen = {} };
	published.resolver(findings);
	for _, domain in ipairs(domains) do check_domain(findings, domain, settings); end
	return findings.finish(flags.json);
end
