-- prosodyctl mod_certs check [HOST...]: compares DNS, DNSSEC and TLSA records with the certificates that are served. Exit status
-- 0 no problems, 1 errors, 3 warnings only.

local array = require "util.array";
local json = require "util.json";
local nameprep = require "util.encodings".stringprep.nameprep;

local check_dns = module:require "check_dns";
local check_dnssec = module:require "check_dnssec";
local check_served = module:require "check_served";
local dns = module:require "dns";
local hosts = module:require "hosts";
local probe = module:require "probe";
local terminal = module:require "terminal";

local DAYS = 14; -- before a certificate expires
local COLOURS = { ok = "green", warning = "yellow", error = "red" };
local ORDER = { ok = 0, warning = 1, error = 2 };
local STATUS = { ok = 0, warning = 3, error = 1 };

-- ---- The report: rows that are ok, a warning or an error ----

-- report.host is the host that the next rows are about. Further fields: rows, counts and worst state; days = of warning before
-- the expiry; served = as of probe.all().
local report = {};
local report_mt = { __index = report };

local function new_report(days)
	return setmetatable({ rows = array(), counts = { ok = 0, warning = 0, error = 0 }, worst = "ok", seen = {}, days = days,
		host = nil, served = nil }, report_mt);
end

-- state: "ok", "warning" or "error"; check: the kind of row; subject: the record, address or certificate. Strangers may have
-- written parts of the text, so that all of it is made printable, for the terminal as for JSON.
function report:add(state, check, subject, format, ...)
	self.rows:push { state = state, host = terminal.printable(self.host), check = check, subject = terminal.printable(subject),
		text = terminal.printable(format:format(...)) };
	self.counts[state] = self.counts[state] + 1;
	if ORDER[state] > ORDER[self.worst] then self.worst = state; end
end

-- Whether these words come for the first time for this host
function report:first(...)
	local key = table.concat({ self.host, ... }, "\0");
	local seen = self.seen[key];
	self.seen[key] = true;
	return not seen;
end

local function print_report(self)
	local checks, subjects, last = 0, 0, nil;
	for _, row in ipairs(self.rows) do
		checks, subjects = math.max(checks, #row.check), math.max(subjects, #row.subject);
	end
	local format = "  %s  %-"..checks.."s  %-"..subjects.."s  %s";
	for _, row in ipairs(self.rows) do
		if row.host ~= last then
			terminal.print("%s%s", last and "\n" or "", terminal.style("bold", row.host));
			last = row.host;
		end
		terminal.print(format, terminal.style(COLOURS[row.state], ("%-7s"):format(row.state)), row.check, row.subject, row.text);
	end
	local counts = self.counts;
	terminal.print("\n%d ok, %s, %s", counts.ok, terminal.plural(counts.warning, "warning"), terminal.plural(counts.error, "error"));
end

-- ---- Domains ----

-- The named hosts, which may be of other servers; or all of the configuration. Or nil, text.
local function hosts_for(names)
	if not names[1] then
		local list = hosts.list();
		if not list[1] then return nil, "no host is configured"; end
		return list;
	end
	local list = {};
	for i, name in ipairs(names) do
		local prepared = nameprep(name);
		if not prepared or prepared == "" then return nil, "invalid host name: "..name; end
		list[i] = hosts.find_any(prepared);
		list[i].named = true;
	end
	return list;
end

-- { host = name, configured = as of hosts.list(), ascii = A-labels or nil, services = as of dns.services_of(), unpublished =
-- { state, text } or nil }. A host that is named on the command line is expected to be published.
local function look_up(host)
	local domain = { host = host.name, configured = host };
	domain.services, domain.ascii = dns.services_of(host);
	if domain.ascii and not host.named then
		local state, text = dns.unpublished(domain.ascii, domain.services);
		if state then domain.services, domain.unpublished = {}, { state, text }; end
	end
	return domain;
end

-- Several services may have the same target: its records are reported once.
local function check_target(self, domain, srv, target, certificates)
	if self:first(target.name) then check_dns.addresses(self, target); end
	if self:first(target.tlsa_name) then
		check_dns.tlsa(self, srv, target);
		if target.tlsa.records[1] then check_dns.name_servers(self, target.tlsa, target.tlsa_name, "TLSA"); end
	end
	for _, address in ipairs(target.addresses) do
		local chains = check_served.listener(self, domain.configured, srv, target, address);
		table.move(chains, 1, #chains, #certificates + 1, certificates);
	end
end

local function check_domain(self, domain)
	local certificates = {};
	self.host = domain.host;
	if not domain.ascii then return self:add("error", "name", domain.host, "invalid domain name"); end
	if domain.unpublished then
		return self:add(domain.unpublished[1], "published", domain.host, "%s", domain.unpublished[2]);
	end
	check_served.configuration(self, domain.configured);
	for _, srv in ipairs(domain.services) do
		check_dns.srv(self, srv);
		if srv.answer.records[1] then check_dns.name_servers(self, srv.answer, srv.name, "SRV"); end
		for _, target in ipairs(srv.targets) do check_target(self, domain, srv, target, certificates); end
	end
	check_dnssec.check(self, domain.services);
	check_dns.caa(self, domain.ascii, certificates);
end

return function (names, flags)
	local days = tonumber(flags.days or DAYS);
	if not days or days < 0 then return 2, "--days must be a number of days"; end
	local list, text = hosts_for(names);
	if not list then return 1, text; end
	local self, domains = new_report(days), {};
	for i, host in ipairs(list) do domains[i] = look_up(host); end
	self.served = probe.all(domains);
	check_dns.resolver(self);
	for _, domain in ipairs(domains) do check_domain(self, domain); end
	if flags.json then
		terminal.print("%s", json.encode { state = self.worst, checks = self.rows });
	else
		print_report(self);
	end
	return STATUS[self.worst];
end
