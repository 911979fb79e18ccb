-- Where a domain's services are, as Prosody's resolver answers: SRV records and addresses

local idna = require "util.encodings".idna;
local socket = require "socket";

local is_address = module:require "fetch".is_address;

local HOST_NAME = "^[%w_.-]+$";

local targets = {};

-- As Prosody itself does
local has_unbound, unbound = pcall(require, "net.unbound");
local resolver = has_unbound and unbound.dns or require "net.dns";

local function lookup(name, kind)
	local answer, err = resolver.lookup(name, kind);
	if not answer then
		if not has_unbound then return {}; end -- the other one does not tell what is missing from what has failed
		return nil, ("%s %s: %s"):format(name, kind, err or "no answer");
	end
	if answer.bogus then return nil, ("%s %s: bogus, %s"):format(name, kind, answer.bogus); end
	if (answer.rcode or 0) ~= 0 and answer.rcode ~= 3 then
		return nil, ("%s %s: %s"):format(name, kind, (answer.status or "error "..answer.rcode):upper());
	end
	return answer;
end

function targets.to_ascii(name)
	local ascii = idna.to_ascii(name);
	return ascii and ascii:lower() or nil;
end

-- The SRV records of a service in the order of trying: { { target =, port =, priority =, weight = }, ... }, empty
-- where there are none; a target "." says that there is no such service. Or nil, text.
-- service: "xmpp-client" or "xmpp-server"; tls: "starttls" or "direct" (XEP-0368).
function targets.srv(domain, service, tls)
	local label = tls == "direct" and service:gsub("^xmpp", "xmpps") or service;
	local name = ("_%s._tcp.%s"):format(label, targets.to_ascii(domain));
	local answer, err = lookup(name, "SRV");
	if not answer then return nil, err; end
	local records = {};
	for i, record in ipairs(answer) do
		local srv = record.srv;
		local target = srv.target:lower():gsub("(.)%.$", "%1");
		if not target:find(HOST_NAME) then return nil, ("%s SRV: %s is no host name"):format(name, target); end
		records[i] = { target = target, port = srv.port, priority = srv.priority, weight = srv.weight };
	end
	table.sort(records, function (a, b)
		if a.priority ~= b.priority then return a.priority < b.priority; end
		if a.weight ~= b.weight then return a.weight > b.weight; end
		return a.target..":"..a.port < b.target..":"..b.port;
	end);
	return records;
end

-- What the system knows: names of /etc/hosts
local function local_addresses(name)
	local found = {};
	for _, info in ipairs(socket.dns.getaddrinfo(name) or {}) do found[#found + 1] = info.addr; end
	return found;
end

-- Addresses, IPv6 first; or nil, text
function targets.addresses(name)
	if is_address(name) then return { name }; end
	local found, failure = {}, nil;
	for _, kind in ipairs { "AAAA", "A" } do
		local answer, err = lookup(targets.to_ascii(name) or name, kind);
		failure = failure or err;
		for _, record in ipairs(answer or {}) do found[#found + 1] = record[kind:lower()]; end
	end
	if not found[1] and not name:find(".", 1, true) then found = local_addresses(name); end
	if found[1] then return found; end
	return nil, failure or ("%s has no address"):format(name);
end

return targets;
