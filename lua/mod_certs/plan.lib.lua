-- Where one certificate file is served: the names with TLSA records that it concerns, who uses the file there, who else is
-- there, and what all of them serve.

local certificates = module:require "certificates";
local certs = module:require "native"("certs");
local files = module:require "files";
local hosts = module:require "hosts";
local lookup = module:require "lookup";
local places = module:require "places";
local served = module:require "served";

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
			users = {}, others = {}, listeners = {}, neighbours = {}, published = {}, needed = {}, superfluous = {}, unknown = {},
			replies = {}, problems = {}, warnings = {}, added = false,
		};
		spots[#spots + 1] = spots[name];
	end
	return spots[name];
end

local function add_target(spots, domain, place, target, is_user)
	local spot = spot_of(spots, target);
	local party = { host = domain.host, place = place, target = target, about = about(domain.host, place, target) };
	table.insert(is_user(domain.host, place, target) and spot.users or spot.others, party);
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
local function problems_of(domains, spots, is_user)
	local list, once, seen = {}, {}, {};
	for _, domain in ipairs(domains) do
		for _, place in ipairs(domain.places) do
			if not lookup.usable(place.srv) and is_user(domain.host, place) then add_place_problem(list, place); end
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
		table.insert(domain.places, { service = party.place.service, tls = party.place.tls, targets = { party.target } });
	end
	for _, spot in ipairs(spots) do
		for _, party in ipairs(spot.users) do add(party); end
		for _, party in ipairs(spot.others) do add(party); end
	end
	return domains;
end

-- One listener as one host's peers find it
local function listener_of(party, address, reply)
	local listener = {
		name = served.name(party.place, party.target, address), host = party.host, address = address, about = party.about,
		text = reply.err,
	};
	local leaf, _, text = nil, nil, nil;
	if reply.pem then leaf, _, text = certs.names(reply.pem); end
	listener.pem, listener.sha256 = leaf and reply.pem, leaf and leaf.sha256;
	listener.text = listener.text or text;
	return listener;
end

local function add_listeners(list, parties, get)
	for _, party in ipairs(parties) do
		for _, address in ipairs(party.target.addresses) do
			list[#list + 1] = listener_of(party, address, get(party.host, party.place, party.target, address));
		end
	end
end

-- What the others are given, whether they serve it now or not
local function add_files(spot)
	spot.kept = {};
	for _, party in ipairs(spot.others) do
		local path = certificates.of(party.host, party.place.service, party.place.tls, party.target.port);
		local pem = path and files.read(path);
		if pem then table.insert(spot.kept, pem); end
	end
end

-- ---- Together ----

-- uses(host, service, tls, port): whether a host gets the file there. Returns { spots }, problems. A spot is a name that has
-- TLSA records, or (bare) might have some:
-- { name =, bare =, secure = some peer uses its records, users = and others = parties,
--   listeners = of the users: { { name =, host =, address =, about =, pem = and sha256 =, or text = why not }, ... },
--   neighbours = the same of the others, kept = { chains in the files of others } }, and what records.lib.lua fills in.
function plan.of(uses)
	local spots, domains = {}, {};
	local function is_user(host, place, target)
		return uses(host, place.service, place.tls, target and target.port);
	end
	for i, host in ipairs(hosts.list()) do
		domains[i] = { host = host.name, places = (places.of_host(host)) };
		for _, place in ipairs(domains[i].places) do
			for _, target in ipairs(place.targets) do add_target(spots, domains[i], place, target, is_user); end
		end
	end
	spots = in_use(spots);
	local get = served.new(to_fetch(spots));
	for _, spot in ipairs(spots) do
		add_listeners(spot.listeners, spot.users, get);
		add_listeners(spot.neighbours, spot.others, get);
		add_files(spot);
	end
	return spots, problems_of(domains, spots, is_user);
end

return plan;
