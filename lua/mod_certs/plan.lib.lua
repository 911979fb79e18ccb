-- Where one certificate file is served: the names with TLSA records that it concerns, who uses the file there, who else is
-- there, and what all of them serve.

local certs = module:require "native"("certs");
local files = module:require "files";
local hosts = module:require "hosts";
local lookup = module:require "lookup";
local places = module:require "places";
local served = module:require "served";
local unpublished = module:require "unpublished";

local plan = {};

-- ---- In DNS ----

-- One host at one place, as an argument of dane.accepts()
local function about(host, place, target)
	return { service = place.service, references = { host, target.name } };
end

-- The spot of a target, new where there is none yet
local function spot_of(spots, target)
	local name = target.tlsa.canonname or target.tlsa_name;
	if not spots[name] then
		spots[name] = {
			name = name, bare = not lookup.usable(target.tlsa) or not target.tlsa.records[1], secure = false, ttl = 0,
			users = {}, others = {}, listeners = {}, neighbours = {}, kept = {}, published = {}, needed = {}, superfluous = {},
			unknown = {}, replies = {}, problems = {}, warnings = {},
		};
		spots[#spots + 1] = spots[name];
	end
	return spots[name];
end

-- A host at one target, with the certificates that Prosody has for it there
local function add_target(spots, domain, place, target, who)
	local spot = spot_of(spots, target);
	local is_user, list = who(domain.host, place.service, place.tls, target.port);
	local party = { host = domain.host, place = place, target = target, about = about(domain.host, place, target),
		certificates = list };
	table.insert(is_user and spot.users or spot.others, party);
	spot.secure = spot.secure or places.is_dane(place, target);
end

-- Spots with a user, in the order of the hosts
local function in_use(spots)
	local list = {};
	for _, spot in ipairs(spots) do
		if spot.users[1] then list[#list + 1] = spot; end
	end
	return list;
end

-- ---- What is not known ----

local function add_target_problems(problems, target)
	for _, kind in ipairs { "AAAA", "A" } do
		local answer = target.answers[kind];
		if not lookup.usable(answer) then
			problems[#problems + 1] = ("%s %s: %s, %s"):format(target.name, kind, answer.state, answer.reason);
		end
	end
	if not target.addresses[1] then problems[#problems + 1] = target.name.." has no address that is known"; end
	if not lookup.usable(target.tlsa) then
		problems[#problems + 1] = ("%s: %s, %s"):format(target.tlsa_name, target.tlsa.state, target.tlsa.reason);
	end
end

local function add_place_problem(problems, place)
	problems[#problems + 1] = ("%s: %s, %s"):format(place.name, place.srv.state, place.srv.reason);
end

-- Each once: hosts share targets.
local function problems_of(domains, spots, who)
	local list, once, seen = {}, {}, {};
	for _, domain in ipairs(domains) do
		for _, place in ipairs(domain.places) do
			if not lookup.usable(place.srv) and who(domain.host, place.service, place.tls) then add_place_problem(list, place); end
		end
	end
	for _, spot in ipairs(spots) do
		for _, party in ipairs(spot.users) do add_target_problems(list, party.target); end
	end
	for _, text in ipairs(list) do
		if not seen[text] then once[#once + 1] = text; end
		seen[text] = true;
	end
	return once;
end

-- ---- What is served ----

-- Only the targets of these spots are asked.
local function to_fetch(spots)
	local domains, by_host = {}, {};
	local function add(party)
		local domain = by_host[party.host];
		if not domain then
			domain = { host = party.host, places = {} };
			by_host[party.host] = domain;
			domains[#domains + 1] = domain;
		end
		table.insert(domain.places, setmetatable({ targets = { party.target } }, { __index = party.place }));
	end
	for _, spot in ipairs(spots) do
		for _, party in ipairs(spot.users) do add(party); end
		for _, party in ipairs(spot.others) do add(party); end
	end
	return domains;
end

-- One listener as one host's peers find it, once for each type of key
local function add_replies(list, party, address, reply)
	local name = served.name(party.place, party.target, address);
	local function add(pem, key_type)
		local leaf, _, text = nil, nil, reply.err;
		if pem then leaf, _, text = certs.names(pem); end
		list[#list + 1] = { name = key_type and ("%s (%s)"):format(name, key_type) or name, host = party.host, address = address,
			about = party.about, pem = leaf and pem, sha256 = leaf and leaf.sha256, text = text };
	end
	local chains = reply.chains or {};
	if not chains[2] then return add(reply.pem); end
	for _, each in ipairs(chains) do add(each.pem, each.key_type); end
end

local function add_listeners(list, parties, get)
	for _, party in ipairs(parties) do
		for _, address in ipairs(party.target.addresses) do
			add_replies(list, party, address, get(party.host, party.place, party.target, address));
		end
	end
end

-- ---- Other certificates that Prosody has ----

local function add_files(kept, list, path)
	for _, each in ipairs(list) do
		local pem = not files.same(each.certificate, path) and files.read(each.certificate);
		if pem then kept[#kept + 1] = pem; end
	end
end

-- Of hosts whose places DNS does not tell: they may be anywhere
local function stray_files(domains, who, path)
	local kept = {};
	for _, domain in ipairs(domains) do
		for _, place in ipairs(domain.places) do
			if not lookup.usable(place.srv) then
				local _, list = who(domain.host, place.service, place.tls);
				add_files(kept, list, path);
			end
		end
	end
	return kept;
end

local function add_kept(spot, stray, path)
	table.move(stray, 1, #stray, 1, spot.kept);
	for _, parties in ipairs { spot.users, spot.others } do
		for _, party in ipairs(parties) do add_files(spot.kept, party.certificates, path); end
	end
end

-- ---- Together ----

local function has_tlsa(list)
	for _, place in ipairs(list) do
		for _, target in ipairs(place.targets) do
			if target.tlsa.records[1] then return true; end
		end
	end
	return false;
end

-- A host with its places; without any, if nobody is meant to reach it by DNS
local function look_up(host)
	local list, domain = places.of_host(host);
	if domain and unpublished.describe(domain, list) and not has_tlsa(list) then list = {}; end
	return { host = host.name, places = list };
end

-- path: the file. who(host, service, tls, port) -> whether the host uses it there, certificates as of certificates.of(); port may
-- be nil. Returns { spots }, problems. A spot is a name that has TLSA records, or (bare) might have some:
-- { name =, bare =, secure = some peer uses its records, users = and others = parties { host =, about = },
--   listeners = of the users: { { name =, host =, address =, about =, pem = and sha256 =, or text = why not }, ... },
--   neighbours = the same of the others, kept = { chains in other files of the hosts that are there } }, and what records.lib.lua
-- fills in.
function plan.of(path, who)
	local spots, domains = {}, {};
	for i, host in ipairs(hosts.list()) do
		domains[i] = look_up(host);
		for _, place in ipairs(domains[i].places) do
			for _, target in ipairs(place.targets) do add_target(spots, domains[i], place, target, who); end
		end
	end
	spots = in_use(spots);
	local get, stray = served.new(to_fetch(spots)), stray_files(domains, who, path);
	for _, spot in ipairs(spots) do
		add_listeners(spot.listeners, spot.users, get);
		add_listeners(spot.neighbours, spot.others, get);
		add_kept(spot, stray, path);
	end
	return spots, problems_of(domains, spots, who);
end

return plan;
