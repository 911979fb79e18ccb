-- TLSA records (RFC 6698), and whether a certificate chain matches them. Each combination of usage, selector and matching type
-- has to match by itself, because a peer may support only this one (RFC 7671 section 8.1).

local array = require "util.array";
local hashes = require "util.hashes";
local to_hex = require "util.hex".encode;

local certs = module:require "native"("certs");
local hosts = module:require "hosts";

local DIGITS = 64; -- of hexadecimal data on a line

local dane = {};

-- ---- Records ----

function dane.combination(record)
	return ("%d %d %d"):format(record.usage, record.selector, record.match);
end

function dane.key(record)
	return dane.combination(record).." "..to_hex(record.data);
end

-- The record for JSON
function dane.to_json(record)
	return { name = record.name, ttl = record.ttl, usage = record.usage, selector = record.selector, match = record.match,
		data = to_hex(record.data) };
end

function dane.list_to_json(records)
	return array.map(records, dane.to_json);
end

local function wrap(hex)
	if #hex <= DIGITS then return hex; end
	local lines = {};
	for i = 1, #hex, DIGITS do lines[#lines + 1] = "\t"..hex:sub(i, i + DIGITS - 1); end
	return "(\n"..table.concat(lines, "\n").." )";
end

-- The record for a zone file (RFC 1035 section 5), each line behind `indent`. record = { name =, ttl =, usage =, selector =,
-- match =, data = binary }
function dane.text(record, indent)
	local text = ("%s. %d IN TLSA %d %d %d %s"):format(record.name, record.ttl, record.usage, record.selector, record.match,
		wrap(to_hex(record.data)));
	return indent and text:gsub("[^\n]+", indent.."%0") or text;
end

-- The records of an answer: { { usage =, selector =, match =, data = }, ... }
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
		groups[name].known = groups[name].known or certs.usable(record);
		table.insert(groups[name].records, record);
	end
	table.sort(list, function (a, b) return a.name < b.name; end);
	return list;
end

-- ---- Chains ----

-- Verifies a chain with the authorities that Prosody trusts, at a time, or now. reference = { service =, names = { domains } }
function dane.verify(chain, reference, records, time)
	local authorities = hosts.authorities();
	local verdict, condition, text = chain:verify {
		tlsa = records, references = reference.names, service = reference.service,
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

-- Whether a peer that has only these records accepts the chain; and the verdict
function dane.accepts(chain, reference, records)
	local verdict = dane.verify(chain, reference, records);
	return verdict.dane == "match" and verdict.chain == "valid" and verdict.identity == "valid", verdict;
end

-- ---- Keys ----

local MATCHES = { [0] = function (spki) return spki; end, hashes.sha256, hashes.sha512 };

-- Whether a record is about the key of the server's certificate (usages 1 and 3, selector 1)
function dane.is_about_key(record)
	return record.selector == 1 and (record.usage == 1 or record.usage == 3);
end

-- The data of such a record for a key, given as SubjectPublicKeyInfo; nil for an unknown matching type
function dane.key_data(spki, match)
	local digest = MATCHES[match];
	return digest and digest(spki);
end

-- The chain in a PEM text, or else the SubjectPublicKeyInfo of its private or public key, or of its certificate request; or nil
function dane.parse(pem)
	return certs.parse(pem) or certs.public_key(pem) or nil;
end

function dane.is_chain(parsed)
	return type(parsed) == "userdata";
end

-- Whether a record matches a certificate of a chain, even if the chain is invalid; or the key, as of dane.parse()
function dane.matches(parsed, records)
	if dane.is_chain(parsed) then
		return dane.verify(parsed, { service = "xmpp-server", names = {} }, records).matches or false;
	end
	for _, record in ipairs(records) do
		if dane.is_about_key(record) and dane.key_data(parsed, record.match) == record.data then return true; end
	end
	return false;
end

return dane;
