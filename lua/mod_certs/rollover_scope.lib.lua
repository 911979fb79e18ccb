-- The scope of a rollover: the hosts that use the certificate file or will use it, the names with TLSA records where they are
-- served, and what all listeners there serve

local array = require "util.array";

local dns = module:require "dns";
local files = module:require "files";
local hosts = module:require "hosts";
local probe = module:require "probe";
local selection = module:require "selection";
local uses = module:require "uses";

local DEPTH = 2; -- of subdirectories that certmanager searches

local scope = {};
local scope_mt = { __index = scope };

-- ---- Hosts that will get the new certificate by its names ----

-- Whether certmanager indexes the names in a file at this path
local function is_indexed(path)
	local directory = selection.directory():gsub("/*$", "/");
	local below = path:sub(1, #directory) == directory and path:sub(#directory + 1);
	if not below or select(2, below:gsub("/", "")) > DEPTH or below:find("^%.[^/]*/") or below:find("/%.[^/]*/") then return false; end
	local name = below:match("[^/]*$");
	return name:find("%.crt$") ~= nil or name:find("fullchain", 1, true) ~= nil;
end

-- "exact" or "wildcard" if the index finds a certificate for a host by its names; or nil
local function match_of(chain, host)
	local ascii, found = dns.to_ascii(host) or host, nil;
	local wildcard = ascii:gsub("^[^.]+%.", "*.");
	for _, name in ipairs(chain:names() or {}) do
		local value = name.type == "DNS-ID" and name.value:lower();
		if value == ascii then return "exact"; end
		if value == wildcard then found = "wildcard"; end
	end
	return found;
end

-- Whether Prosody may select the new certificate for a host that has another one now
local function may_replace(chain, host, list)
	local match = match_of(chain, host);
	if not match then return false; end
	for _, candidate in ipairs(selection.candidates(host)) do
		local own = selection.has(list, candidate.certificate) and files.read_chain(candidate.certificate);
		if own and (match == "exact" or match_of(own, host) ~= "exact") then return true; end
	end
	return false;
end

-- ---- Hosts that used the file ----

local function has_use(list, host, service, tls)
	for _, use in ipairs(list or {}) do
		if use.service == service and use.tls == tls then
			for _, name in ipairs(use.hosts) do
				if name == host then return true; end
			end
		end
	end
	return false;
end

-- path: the file; chain: the new one; former: the uses before the file was replaced, or nil. The field `newcomers` =
-- { [host] = true } collects hosts that will get another certificate than they have now.
function scope.new(path, chain, former)
	return setmetatable({ path = path, chain = chain, former = former, indexed = is_indexed(path), newcomers = {} }, scope_mt);
end

-- Whether a host uses the file at a port (or nil), and the certificates that Prosody has for it there
function scope:is_user(host, service, tls, port)
	local list = selection.of(host, service, tls, port);
	if selection.has(list, self.path) then return true, list; end
	if not list[1] then return has_use(self.former, host, service, tls), list; end
	if self.indexed and may_replace(self.chain, host, list) then
		self.newcomers[host] = true;
		return true, list;
	end
	return false, list;
end

-- As of uses.of(): what Prosody uses the file for; and its former uses that have no other certificate now
function scope:uses()
	local list = uses.of(self.path);
	for _, use in ipairs(self.former or {}) do
		local left = { service = use.service, tls = use.tls, port = use.port, hosts = array(), nameless = false };
		for _, name in ipairs(use.hosts) do
			local known = use.service ~= "https" and hosts.find(name);
			if known and not selection.of(name, use.service, use.tls, use.port)[1] then left.hosts:push(name); end
		end
		if left.hosts[1] then list:push(left); end
	end
	return list;
end

-- ---- Names with TLSA records ----

-- The entry of a target's TLSA records, new if there is none yet
local function rrset_of(rrsets, target)
	local name = target.tlsa.canonname or target.tlsa_name;
	if not rrsets[name] then
		rrsets[name] = {
			name = name, bare = not dns.usable(target.tlsa) or not target.tlsa.records[1], secure = false, ttl = 0,
			users = {}, others = {}, listeners = {}, neighbours = {}, kept = {}, published = {}, needed = {}, superfluous = {},
			unknown = {}, replies = {}, problems = {}, warnings = {},
		};
		rrsets[#rrsets + 1] = rrsets[name];
	end
	return rrsets[name];
end

-- Adds a host at one target, with the certificates that Prosody has for it there.
function scope:add_target(rrsets, domain, srv, target)
	local rrset = rrset_of(rrsets, target);
	local is_user, list = self:is_user(domain.host, srv.service, srv.tls, target.port);
	table.insert(is_user and rrset.users or rrset.others, { host = domain.host, srv = srv, target = target, certificates = list,
		reference = { service = srv.service, names = { domain.host, target.name } } });
	rrset.secure = rrset.secure or dns.is_dane(srv, target);
end

-- ---- Failed lookups ----

local function add_target_problems(problems, target)
	for _, kind in ipairs { "AAAA", "A" } do
		local answer = target.answers[kind];
		if not dns.usable(answer) then problems:push(dns.problem(target.name.." "..kind, answer)); end
	end
	if not target.addresses[1] then problems:push(target.name.." has no known address"); end
	if not dns.usable(target.tlsa) then problems:push(dns.problem(target.tlsa_name, target.tlsa)); end
end

function scope:problems(domains, rrsets)
	local problems = array();
	for _, domain in ipairs(domains) do
		for _, srv in ipairs(domain.services) do
			if not dns.usable(srv.answer) and self:is_user(domain.host, srv.service, srv.tls) then
				problems:push(dns.problem(srv.name, srv.answer));
			end
		end
	end
	for _, rrset in ipairs(rrsets) do
		for _, user in ipairs(rrset.users) do add_target_problems(problems, user.target); end
	end
	return problems:unique();
end

-- ---- Listeners ----

-- The hosts and targets of rrsets, as probe.all() takes them
local function to_probe(rrsets)
	local domains, by_host = {}, {};
	local function add(party)
		local domain = by_host[party.host];
		if not domain then
			domain = { host = party.host, services = {} };
			by_host[party.host] = domain;
			domains[#domains + 1] = domain;
		end
		table.insert(domain.services, setmetatable({ targets = { party.target } }, { __index = party.srv }));
	end
	for _, rrset in ipairs(rrsets) do
		for _, party in ipairs(rrset.users) do add(party); end
		for _, party in ipairs(rrset.others) do add(party); end
	end
	return domains;
end

-- Adds one listener as seen by the peers of one host, once for each type of key.
local function add_replies(list, party, address, reply)
	local name = probe.name(party.srv, party.target, address);
	local chains = reply.chains or { { text = reply.err } };
	for _, each in ipairs(chains) do
		list[#list + 1] = { name = chains[2] and ("%s (%s)"):format(name, each.key_type) or name, host = party.host, address = address,
			reference = party.reference, chain = each.chain, leaf = each.leaf, pem = each.pem, text = each.text };
	end
end

local function add_listeners(list, parties, get)
	for _, party in ipairs(parties) do
		for _, address in ipairs(party.target.addresses) do
			add_replies(list, party, address, get(party.host, party.srv, party.target, address));
		end
	end
end

-- ---- Other certificates of Prosody ----

local function add_files(kept, list, path)
	for _, each in ipairs(list) do
		local chain = not files.same(each.certificate, path) and files.read_chain(each.certificate);
		if chain then kept[#kept + 1] = chain; end
	end
end

-- Of hosts whose SRV records are not known, and which may therefore be anywhere
function scope:stray_files(domains)
	local kept = {};
	for _, domain in ipairs(domains) do
		for _, srv in ipairs(domain.services) do
			if not dns.usable(srv.answer) then
				add_files(kept, select(2, self:is_user(domain.host, srv.service, srv.tls)), self.path);
			end
		end
	end
	return kept;
end

-- ---- Together ----

local function has_tlsa(services)
	for _, srv in ipairs(services) do
		for _, target in ipairs(srv.targets) do
			if target.tlsa.records[1] then return true; end
		end
	end
	return false;
end

-- A host with its services; without any if it is not meant to be in DNS
local function look_up(host)
	local services, domain = dns.services_of(host);
	if domain and dns.unpublished(domain, services) and not has_tlsa(services) then services = {}; end
	return { host = host.name, services = services };
end

-- Returns { rrsets }, { texts of problems }. An rrset is a name that has TLSA records, or (bare) might have some:
-- { name =, bare =, secure = a peer uses its records, users = and others = { { host =, reference = for dane.accepts() }, ... },
--   listeners = of the users: { { name =, host =, address =, reference =, pem =, chain = and leaf =, or text = why not }, ... },
--   neighbours = the same of the others, kept = { chains in other files of the hosts there } }, and the fields of
-- rollover_records.lib.lua.
function scope:find()
	local rrsets, domains, used = {}, {}, {};
	for i, host in ipairs(hosts.list()) do
		domains[i] = look_up(host);
		for _, srv in ipairs(domains[i].services) do
			for _, target in ipairs(srv.targets) do self:add_target(rrsets, domains[i], srv, target); end
		end
	end
	for _, rrset in ipairs(rrsets) do
		if rrset.users[1] then used[#used + 1] = rrset; end
	end
	local get, stray = probe.all(to_probe(used)), self:stray_files(domains);
	for _, rrset in ipairs(used) do
		add_listeners(rrset.listeners, rrset.users, get);
		add_listeners(rrset.neighbours, rrset.others, get);
		table.move(stray, 1, #stray, 1, rrset.kept);
		for _, parties in ipairs { rrset.users, rrset.others } do
			for _, party in ipairs(parties) do add_files(rrset.kept, party.certificates, self.path); end
		end
	end
	return used, self:problems(domains, used);
end

return scope;
