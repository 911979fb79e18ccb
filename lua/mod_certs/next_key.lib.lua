-- The next key of a certificate: created in advance, and its TLSA records published alongside those of the key in use (RFC 7671
-- section 8.1), so that a certificate for it can be installed as soon as it is issued

local certs = module:require "native"("certs");
local dane = module:require "dane";
local dns = module:require "dns";
local history = module:require "rollover_history";
local hosts = module:require "hosts";
local selection = module:require "selection";
local uses = module:require "uses";

local next_key = {};

-- ---- The key and its request ----

-- { key = PEM, request = PEM, public = SubjectPublicKeyInfo in DER }; or nil if there is none
function next_key.load(slot)
	local key = slot:load "next.key";
	local public = key and certs.public_key(key);
	return public and { key = key, request = slot:load "next.csr", public = public } or nil;
end

-- "*.example.org" and the like in A-labels; or nil
local function domain_of(name)
	local star, rest = name:match("^(%*?%.?)(.*)$");
	local domain = (star == "" or star == "*.") and dns.to_ascii(rest);
	return domain and star..domain or nil;
end

-- The domains of the request: the hosts that use the file, and the names of the certificate in use
local function domains_of(file, names)
	local list, seen = {}, {};
	local function add(name)
		local domain = domain_of(name);
		if domain and not seen[domain] then list[#list + 1] = domain; end
		if domain then seen[domain] = true; end
	end
	for _, name in ipairs(uses.hosts(uses.of(file))) do add(name); end
	for _, name in ipairs(names) do
		if name.type == "DNS-ID" and not name.fault then add(name.value); end
	end
	return list;
end

-- Authorities that omit SRV-IDs may refuse a request with them: requested only if the certificate in use has some.
local function services_of(names)
	for _, name in ipairs(names) do
		if name.type == "SRV-ID" then return hosts.SERVICES; end
	end
	return {};
end

-- Creates the request for a key, or for a new key of the type in use. Returns key, request as PEM; or nil, text.
local function request(file, in_use, key)
	local names = in_use.chain:names() or {};
	local made, csr, text = certs.request {
		domains = domains_of(file, names), services = services_of(names), key = in_use.leaf.key.type == "RSA" and "rsa" or "ec",
		private_key = key,
	};
	if not made then return nil, text or csr; end
	return made, csr;
end

-- Creates key and request unless there are both. in_use: the pair in use, as of keypair.parse(). Returns as load(); or nil, text.
-- The request always belongs to the key: it is removed first, and written last.
function next_key.make(slot, in_use)
	local own = next_key.load(slot);
	if own and in_use.chain:fits(own.key) then own = nil; end -- it is in use now
	if own and own.request then return own; end
	local key, csr = request(slot.file, in_use, own and own.key);
	if not key then return nil, csr; end
	local ok, err = true, nil;
	if not own then
		slot:remove "next.csr";
		ok, err = slot:save("next.key", key);
	end
	if ok then ok, err = slot:save("next.csr", csr); end
	if not ok then return nil, err; end
	return next_key.load(slot);
end

-- ---- Its records ----

-- Whether a host uses the file for a service
local function is_used(host, srv, port, file)
	return selection.has(selection.of(host, srv.service, srv.tls, port), file);
end

-- The names with TLSA records where the file is served; and texts about failed lookups
local function names_of(file)
	local names, problems, seen = {}, {}, {};
	local function visit(host, srv, target)
		if not is_used(host, srv, target.port, file) then return; end
		if not dns.usable(target.tlsa) then
			problems[#problems + 1] = dns.problem(target.tlsa_name, target.tlsa);
		elseif target.tlsa.records[1] then
			local name = target.tlsa.canonname or target.tlsa_name;
			if not seen[name] then names[#names + 1] = name; end
			seen[name] = true;
		end
	end
	for _, host in ipairs(hosts.list()) do
		for _, srv in ipairs((dns.services_of(host))) do
			if not dns.usable(srv.answer) and is_used(host.name, srv, nil, file) then
				problems[#problems + 1] = dns.problem(srv.name, srv.answer);
			end
			for _, target in ipairs(srv.targets) do visit(host.name, srv, target); end
		end
	end
	return names, problems;
end

-- The records of a key to publish alongside those of a name server: one for each combination about a key
local function records_for(answer, public)
	local list = {};
	for _, group in ipairs(dane.combinations(dane.records_of(answer))) do
		if group.known and dane.is_about_key(group) then
			list[#list + 1] = { usage = group.usage, selector = group.selector, match = group.match,
				data = dane.key_data(public, group.match) };
		end
	end
	return list;
end

local function has(answer, record)
	for _, each in ipairs(dane.records_of(answer)) do
		if dane.key(each) == dane.key(record) then return true; end
	end
	return false;
end

-- Adds to `wanted` the records of the key at one name, by key: { name =, ttl =, lacking = a name server does not have it, ... }.
local function look_up(name, public, wanted, problems)
	local replies, failures = dns.ask_authoritative(name, "TLSA");
	local ttl = 0;
	table.move(failures, 1, #failures, #problems + 1, problems);
	for _, reply in ipairs(replies) do
		ttl = math.max(ttl, reply.answer.ttl or 0);
		for _, record in ipairs(records_for(reply.answer, public)) do
			local id = name.." "..dane.key(record);
			wanted[id] = wanted[id] or record;
			wanted[id].name, wanted[id].ttl = name, ttl;
			wanted[id].lacking = wanted[id].lacking or not has(reply.answer, record);
		end
	end
end

-- Returns { records = those of the key, lacking = those that a name server does not have, problems = }.
function next_key.examine(slot, own)
	local names, problems = names_of(slot.file);
	local result, wanted = { records = {}, lacking = {}, problems = problems }, {};
	for _, name in ipairs(names) do look_up(name, own.public, wanted, problems); end
	for id, record in pairs(wanted) do
		record.id = id;
		table.insert(result.records, record);
	end
	table.sort(result.records, function (a, b) return a.id < b.id; end);
	for _, record in ipairs(result.records) do
		if record.lacking then table.insert(result.lacking, record); end
	end
	return result;
end

-- When every cache has the records of a result, by the history of the file; without a history it counts from now.
function next_key.ends(slot, result)
	local known_names, now, ends = history.load(slot.file).spots, os.time(), 0;
	for _, record in ipairs(result.records) do
		local known = known_names[record.name] or {};
		local since = type(known.seen) == "table" and known.seen[dane.key(record)] or now;
		ends = math.max(ends, since + 2 * math.max(record.ttl, known.ttl or 0));
	end
	return ends;
end

return next_key;
