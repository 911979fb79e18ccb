-- prosodyctl mod_certs check [HOST...]: DNS, DNSSEC, TLSA and the certificates that are served. Exit status 0 all is
-- good, 1 there are errors, 3 there are warnings alone.

local nameprep = require "util.encodings".stringprep.nameprep;

local hosts = module:require "hosts";
local listeners = module:require "listeners";
local new_findings = module:require "findings";
local new_served = module:require "served".new;
local places = module:require "places";
local published = module:require "published";
local terminal = module:require "terminal";

local DAYS = 14; -- of warning before a certificate expires

local EVERY_SERVICE = { ["xmpp-client"] = true, ["xmpp-server"] = true };

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
		list[i] = hosts.find(prepared) or { name = prepared, services = EVERY_SERVICE };
	end
	return list;
end

-- A target that several services have is looked at once.
local function check_target(findings, host, place, target, settings)
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
		listeners.check(findings, host, place, target, address, settings);
	end
end

local function check_host(findings, host, settings)
	local list, domain = places.of_host(host);
	if not domain then
		findings.add("error", host.name, "name", host.name, "is no domain name");
		return;
	end
	for _, place in ipairs(list) do
		published.srv(findings, host.name, place);
		if place.srv.records[1] then published.name_servers(findings, host.name, place.srv, place.name, "SRV"); end
		for _, target in ipairs(place.targets) do check_target(findings, host.name, place, target, settings); end
	end
	published.caa(findings, host.name, domain);
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
	local findings = new_findings();
	local settings = { days = days, served = new_served(), seen = {} };
	published.anchor(findings);
	for _, host in ipairs(list) do check_host(findings, host, settings); end
	return findings.finish(flags.json);
end
