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
local remembered = module:require "remembered";
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

-- "*.example.org" and the like in A-labels; or nil
local function domain_of(name)
	local star, rest = name:match("^(%*?%.?)(.*)$");
	local domain = (star == "" or star == "*.") and zone.to_ascii(rest);
	return domain and star..domain or nil;
end

-- What it must be asked for: the hosts that Prosody uses the file for, and the names of the certificate in use
local function domains_of(file, leaf)
	local list, seen = {}, {};
	local function add(name)
		local domain = domain_of(name);
		if domain and not seen[domain] then list[#list + 1] = domain; end
		if domain then seen[domain] = true; end
	end
	for _, use in ipairs(certificates.uses(file)) do
		for _, name in ipairs(use.hosts) do add(name); end
	end
	for _, name in ipairs(leaf.names) do
		if name.type == "DNS-ID" and not name.fault then add(name.value); end
	end
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
			if not lookup.usable(place.srv) and is_given(host.name, place, {}, file) then
				problems[#problems + 1] = ("%s: %s, %s"):format(place.name, place.srv.state, place.srv.reason);
			end
			for _, target in ipairs(place.targets) do visit(host.name, place, target); end
		end
	end
	return names, problems;
end

-- The records of a key beside those that one name server has: one for each combination about a key
local function records_for(answer, public)
	local list = {};
	for _, group in ipairs(dane.combinations(dane.records_of(answer))) do
		if group.known and group.selector == SPKI and END_ENTITY[group.usage] then
			list[#list + 1] = { usage = group.usage, selector = SPKI, match = group.match, data = DIGESTS[group.match](public) };
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

-- Adds to `wanted` the records of the key at one name, by key: { name =, ttl =, lacking = whether some name server does not have
-- it, ... }; and to problems why that is not known.
local function look_at(name, public, wanted, problems)
	local replies, ttl = lookup.ask_all(name, "TLSA"), 0;
	if not replies[1] then problems[#problems + 1] = name..": its name servers are not to be found"; end
	for _, reply in ipairs(replies) do
		local answer = reply.answer;
		if not answer or lookup.failure(answer) or not answer.authoritative then
			problems[#problems + 1] = ("%s: %s (%s) does not tell what it has"):format(name, reply.server, reply.address);
		else
			ttl = math.max(ttl, answer.ttl or 0);
			for _, record in ipairs(records_for(answer, public)) do
				local id = name.." "..dane.key(record);
				wanted[id] = wanted[id] or record;
				wanted[id].name, wanted[id].ttl = name, ttl;
				wanted[id].lacking = wanted[id].lacking or not has(answer, record);
			end
		end
	end
end

-- Returns { records = those of the key, lacking = those of them that some name server does not have, problems = }.
function nextkey.examine(slot, own)
	local names, problems = names_of(slot.file);
	local result, wanted = { records = {}, lacking = {}, problems = problems }, {};
	for _, name in ipairs(names) do look_at(name, own.public, wanted, problems); end
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

-- When every cache has the records of a result, by what replacement.examine() has noted about the file; now, where it has noted
-- nothing yet, is its beginning.
function nextkey.ends(slot, result)
	local spots, now, ends = remembered.load(slot.file).spots, os.time(), 0;
	for _, record in ipairs(result.records) do
		local known = spots[record.name] or {};
		local since = type(known.seen) == "table" and known.seen[dane.key(record)] or now;
		ends = math.max(ends, since + 2 * math.max(record.ttl, known.ttl or 0));
	end
	return ends;
end

return nextkey;
