-- Records as they stand in a zone file (RFC 1035 section 5)

local idna = require "util.encodings".idna;
local to_hex = require "util.hex".encode;

local DIGITS = 64; -- of hexadecimal data on one line

local zone = {};

zone.TTL = 3600; -- seconds: what is wrong, or replaced, is forgotten within the hour

-- A domain as it stands in DNS, in A-labels; or nil, if it is none
function zone.to_ascii(name)
	local ascii = idna.to_ascii(name);
	return ascii and ascii:lower() or nil;
end

local function wrapped(hex)
	if #hex <= DIGITS then return hex; end
	local lines = {};
	for i = 1, #hex, DIGITS do lines[#lines + 1] = "\t"..hex:sub(i, i + DIGITS - 1); end
	return "(\n"..table.concat(lines, "\n").." )";
end

function zone.tlsa_name(target, port)
	return ("_%d._tcp.%s"):format(port, target);
end

-- record = { name =, ttl =, usage =, selector =, match =, data = binary }
function zone.tlsa(record)
	return ("%s. %d IN TLSA %d %d %d %s"):format(record.name, record.ttl, record.usage, record.selector, record.match,
		wrapped(to_hex(record.data)));
end

-- Direct TLS has a service label of its own (XEP-0368).
function zone.srv_name(domain, service, tls)
	return ("_%s._tcp.%s"):format(tls == "direct" and service:gsub("^xmpp", "xmpps") or service, domain);
end

-- record = { domain =, ttl =, service =, tls =, port =, target = }
function zone.srv(record)
	return ("%s. %d IN SRV 0 5 %d %s."):format(zone.srv_name(record.domain, record.service, record.tls), record.ttl,
		record.port, record.target);
end

return zone;
