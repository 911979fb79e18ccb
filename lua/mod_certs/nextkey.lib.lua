-- The next key of a certificate: made ahead, and published ahead beside the one in use (RFC 7671 section 8.1), so that a
-- certificate for it can be installed as soon as it is issued.

local hashes = require "util.hashes";

local certificates = module:require "certificates";
local certs = module:require "native"("certs");
local dane = module:require "dane";
local files = module:require "files";
local hosts = module:require "hosts";
local lookup = module:require "lookup";
local places = module:require "places";
local zone = module:require "zone";

local SPKI = 1; -- the selector of records that are about the key
local END_ENTITY = { [1] = true, [3] = true }; -- usages that are about the server's own certificate
local DIGESTS = {
	[0] = function (der) return der; end;
	[1] = hashes.sha256;
	[2] = hashes.sha512;
};

local nextkey = {};

-- ---- The key and its request ----

-- { key = PEM, request = PEM, public = SubjectPublicKeyInfo in DER }; or nil where there is none
function nextkey.load(slot)
	local key = slot:load "next.key";
	local public = key and certs.public_key(key);
	return public and { key = key, request = slot:load "next.csr", public = public } or nil;
end

-- What it must be asked for: the hosts that Prosody uses the file for, and the names of the certificate in use
local function domains_of(file, leaf)
	local list, seen = {}, {};
	local function add(name)
		local domain = zone.to_ascii(name);
		if domain and not seen[domain] then list[#list + 1] = domain; end
		if domain then seen[domain] = true; end
	end
	for _, use in ipairs(certificates.uses(file)) do
		for _, name in ipairs(use.hosts) do add(name); end
	end
	for _, name in ipairs(leaf.names) do
		if name.type == "DNS-ID" and not name.fault then add(name.value:gsub("^%*%.", "\0")); end
	end
	for i, domain in ipairs(list) do list[i] = domain:gsub("^%z", "*."); end
	return list;
end

-- Authorities that leave SRV-IDs out may refuse a request with them: they are asked for where they were issued before.
local function services_of(leaf)
	for _, name in ipairs(leaf.names) do
		if name.type == "SRV-ID" then return hosts.SERVICES; end
	end
	return {};
end

-- Makes the request for a key, or for a new key of the kind in use. Returns key, request as PEM; or nil, text.
local function request(file, leaf, key)
	local made, csr, text = certs.request {
		domains = domains_of(file, leaf), services = services_of(leaf), key = leaf.key.type == "RSA" and "rsa" or "ec",
		private_key = key,
	};
	if not made then return nil, text or csr; end
	return made, csr;
end

-- Takes care that there are both. in_use: the pair in use, as of pair.read(). Returns what load() does; or nil, text. A request
-- is of the key beside it, at any moment: it goes first, and comes last.
function nextkey.make(slot, in_use)
	local own = nextkey.load(slot);
	if own and certs.fits(in_use.chain, own.key) then own = nil; end -- it has come into use
	if own and own.request then return own; end
	local key, csr = request(slot.file, in_use.leaf, own and own.key);
	if not key then return nil, csr; end
	local ok, err = true, nil;
	if not own then
		slot:remove "next.csr";
		ok, err = slot:save("next.key", key);
	end
	if ok then ok, err = slot:save("next.csr", csr); end
	if not ok then return nil, err; end
	return nextkey.load(slot);
end

-- ---- Its records ----

-- Whether a host's peers get the file there
local function is_given(host, place, target, file)
	for _, each in ipairs((certificates.of(host, place.service, place.tls, target.port))) do
		if files.same(each.certificate, file) then return true; end
	end
	return false;
end

-- The names with TLSA records where the file is served; and texts why some are not known
local function names_of(file)
	local names, problems, seen = {}, {}, {};
	local function visit(host, place, target)
		if not is_given(host, place, target, file) then return; end
		if not lookup.usable(target.tlsa) then
			problems[#problems + 1] = ("%s: %s, %s"):format(target.tlsa_name, target.tlsa.state, target.tlsa.reason);
		elseif target.tlsa.records[1] then
			local name = target.tlsa.canonname or target.tlsa_name;
			if not seen[name] then names[#names + 1] = name; end
			seen[name] = true;
		end
	end
	for _, host in ipairs(hosts.list()) do
		for _, place in ipairs((places.of_host(host))) do
			for _, target in ipairs(place.targets) do visit(host.name, place, target); end
		end
	end
	return names, problems;
end

-- The records of the key that one name server lacks: one for each combination about a key that it has
local function lacking_in(answer, public, lacking)
	local there, published = {}, dane.records_of(answer);
	for _, record in ipairs(published) do there[dane.key(record)] = true; end
	for _, group in ipairs(dane.combinations(published)) do
		if group.known and group.selector == SPKI and END_ENTITY[group.usage] then
			local record = { usage = group.usage, selector = SPKI, match = group.match, data = DIGESTS[group.match](public) };
			if not there[dane.key(record)] then lacking[dane.key(record)] = record; end
		end
	end
end

-- What the name servers have of the key at one name: { name =, ttl =, lacking = { records by key }, unsure = text or nil }
local function look_at(name, public)
	local spot = { name = name, ttl = 0, lacking = {} };
	local replies = lookup.ask_all(name, "TLSA");
	for _, reply in ipairs(replies) do
		local answer = reply.answer;
		if not answer or lookup.failure(answer) or not answer.authoritative then
			spot.unsure = ("%s: %s (%s) does not tell what it has"):format(name, reply.server, reply.address);
		else
			spot.ttl = math.max(spot.ttl, answer.ttl or 0);
			lacking_in(answer, public, spot.lacking);
		end
	end
	if not replies[1] then spot.unsure = name..": its name servers are not to be found"; end
	return spot;
end

-- Notes in seen[name] = { since =, ttl = } since when a name is complete. Returns until when caches may not know all.
local function note(seen, spot, now)
	local known = seen[spot.name] or { ttl = 0 };
	seen[spot.name] = known;
	known.ttl = math.max(known.ttl, spot.ttl);
	if next(spot.lacking) then
		known.since = nil;
	elseif not spot.unsure then
		known.since = math.min(known.since or now, now);
	end
	return (known.since or now) + 2 * known.ttl;
end

-- What was seen of a key before, { key = its digest, spots = as of note() }: that, or nothing yet where it is about another key
local function about(own, seen)
	local digest = hashes.sha256(own.public, true);
	if type(seen) == "table" and seen.key == digest and type(seen.spots) == "table" then return seen; end
	return { key = digest, spots = {} };
end

-- seen: what this returned the last time, or nil. Returns { add = records to publish, ends = when every cache knows the key,
-- problems =, seen = for the next time }.
function nextkey.examine(slot, own, seen)
	local now = os.time();
	seen = about(own, seen);
	local names, problems = names_of(slot.file);
	local result = { add = {}, ends = now, problems = problems, seen = seen };
	for _, name in ipairs(names) do
		local spot = look_at(name, own.public);
		problems[#problems + 1] = spot.unsure;
		result.ends = math.max(result.ends, note(seen.spots, spot, now));
		for _, record in pairs(spot.lacking) do
			record.name, record.ttl = name, spot.ttl;
			table.insert(result.add, record);
		end
	end
	table.sort(result.add, function (a, b) return a.name.." "..dane.key(a) < b.name.." "..dane.key(b); end);
	return result;
end

return nextkey;
