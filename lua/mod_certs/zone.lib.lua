-- Records as they stand in a zone file (RFC 1035 section 5)

local to_hex = require "util.hex".encode;

local DIGITS = 64; -- of hexadecimal data on one line

local zone = {};

zone.TTL = 3600; -- seconds: what is wrong, or replaced, is forgotten within the hour

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

-- record = { domain =, ttl =, service =, tls =, port =, target = }
function zone.srv(record)
	local label = record.tls == "direct" and record.service:gsub("^xmpp", "xmpps") or record.service;
	return ("_%s._tcp.%s. %d IN SRV 0 5 %d %s."):format(label, record.domain, record.ttl, record.port, record.target);
end

return zone;
