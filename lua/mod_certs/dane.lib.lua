-- Published TLSA records beside a chain of certificates: each combination of usage, selector and matching type has to
-- match by itself, for a peer may know that one alone (RFC 7671 section 8.1)

local hashes = require "util.hashes";
local to_hex = require "util.hex".encode;

local certs = module:require "native"("certs");
local hosts = module:require "hosts";

local dane = {};

function dane.combination(record)
	return ("%d %d %d"):format(record.usage, record.selector, record.match);
end

function dane.key(record)
	return dane.combination(record).." "..to_hex(record.data);
end

-- Records of an answer: { { usage =, selector =, match =, data = }, ... }
function dane.records_of(answer)
	local list = {};
	for i, record in ipairs(answer.records) do list[i] = record.tlsa; end
	return list;
end

-- { { name = "3 1 1", usage =, selector =, match =, known =, records = { ... } }, ... } in order
function dane.combinations(records)
	local groups, list = {}, {};
	for _, record in ipairs(records) do
		local name = dane.combination(record);
		if not groups[name] then
			groups[name] = { name = name, usage = record.usage, selector = record.selector, match = record.match,
				known = false, records = {} };
			list[#list + 1] = groups[name];
		end
		groups[name].known = groups[name].known
			or certs.usable(record.usage, record.selector, record.match, record.data);
		table.insert(groups[name].records, record);
	end
	table.sort(list, function (a, b) return a.name < b.name; end);
	return list;
end

-- certs.verify with the authorities that Prosody trusts, at a time, or now. place = { service =, references = { domains } }
function dane.verify(pem, place, records, time)
	local authorities = hosts.authorities();
	local verdict, condition, text = certs.verify {
		chain = pem, tlsa = records, references = place.references, service = place.service,
		cafile = authorities.cafile, capath = authorities.capath, time = time or os.time(),
	};
	return verdict or { chain = "invalid", identity = "invalid", errors = { [0] = { text or condition } } };
end

-- The errors of a verdict as one text, or nil
function dane.errors(verdict)
	local depths, texts, seen = {}, {}, {};
	for depth in pairs(verdict.errors or {}) do depths[#depths + 1] = depth; end
	table.sort(depths);
	for _, depth in ipairs(depths) do
		for _, text in ipairs(verdict.errors[depth]) do
			if not seen[text] then texts[#texts + 1] = text; end
			seen[text] = true;
		end
	end
	if texts[1] then return table.concat(texts, ", "); end
	return verdict.identity == "invalid" and "no name matches" or nil;
end

-- Whether a peer that knows these records alone accepts the chain; and the verdict
function dane.accepts(pem, place, records)
	local verdict = dane.verify(pem, place, records);
	return verdict.dane == "match" and verdict.chain == "valid" and verdict.identity == "valid", verdict;
end

-- ---- Keys alone ----

local MATCHES = { [0] = function (spki) return spki; end, hashes.sha256, hashes.sha512 };

-- Whether a record is that of a key, given as SubjectPublicKeyInfo
local function is_of_key(spki, record)
	local digest = MATCHES[record.match];
	return record.selector == 1 and (record.usage == 1 or record.usage == 3) and digest and digest(spki) == record.data;
end

-- Whether some record is that of a certificate of the chain, whatever else is wrong with it. pem: a chain; or a key alone, a
-- private or public one, or a request for a certificate
function dane.matches(pem, records)
	if certs.names(pem) then
		return dane.verify(pem, { service = "xmpp-server", references = {} }, records).matches or false;
	end
	local spki = certs.public_key(pem);
	for _, record in ipairs(spki and records or {}) do
		if is_of_key(spki, record) then return true; end
	end
	return false;
end

return dane;
