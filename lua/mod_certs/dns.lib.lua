-- DNS through a validating resolver with Prosody's settings: answers, name servers, and the services of a domain

local idna = require "util.encodings".idna;
local new_ip = require "util.ip".new_ip;
local socket = require "socket";

local native = module:require "native"("dns");
local unbound = module:require "unbound";

local ANCHOR_PACKAGE = "dns-root-data";
local RCODES = { [1] = "FORMERR", [2] = "SERVFAIL", [3] = "NXDOMAIN", [4] = "NOTIMP", [5] = "REFUSED" };
local NXDOMAIN = 3;
local DNS_PORT = 53;
local DAY = 86400;
local WRAP = 1 << 32; -- times of signatures count modulo this (RFC 4034 section 3.1.5)
-- Domains that the public DNS never has: RFC 6761, 6762, 7686, 8375, 9476, and ICANN's "internal"
local RESERVED = { "alt", "example", "home.arpa", "internal", "invalid", "local", "localhost", "onion", "test" };
local LOOPBACK = "localhost"; -- has an address that DNS does not need (RFC 6761 section 6.3)

local dns = {};

dns.DEFAULT_PORTS = { ["xmpp-client"] = 5222, ["xmpp-server"] = 5269 }; -- without an SRV record

-- ---- The resolver ----

local resolver;

local function get_resolver()
	if not resolver then
		local ok, made = pcall(native.new, (unbound.settings()));
		resolver = ok and made or { failure = made };
	end
	return resolver;
end

-- The trust anchor as a text; or nil, and how to configure one
function dns.anchor()
	local settings, installed = unbound.settings();
	if not installed then return nil, "lua-unbound is not installed: Prosody cannot validate DNS answers"; end
	local found = unbound.anchor(settings);
	if not found then
		return nil, ([[no answer is ever secure; install %s and add: unbound = { trustfile = "%s" }]])
			:format(ANCHOR_PACKAGE, unbound.ROOT_KEY);
	end
	if settings.trustfile then
		local file, err = io.open(settings.trustfile);
		if not file then return nil, err; end
		file:close();
	end
	return found;
end

-- ---- Answers ----

-- The failure that a name server reports, or nil
function dns.failure(answer)
	if answer.rcode == 0 or answer.rcode == NXDOMAIN then return nil; end
	return RCODES[answer.rcode] or "RCODE "..answer.rcode;
end

local function state_of(answer)
	if answer.bogus then return "bogus"; end
	if dns.failure(answer) then return "failed"; end
	return answer.secure and "secure" or "insecure";
end

local function failed(text)
	return { state = "failed", reason = text, records = {}, signatures = {} };
end

-- Always returns an answer: as of resolver:lookup(), with `state` "secure", "insecure", "bogus" or "failed", and `reason` for the
-- last two. A bogus answer keeps its records, which must not be relied on.
function dns.find(name, kind)
	local use = get_resolver();
	if use.failure then return failed(use.failure); end
	local answer, condition, text = use:lookup(name, kind);
	if not answer then
		return failed(condition == "internal-server-error" and "invalid name, or unreadable answer" or text);
	end
	answer.state = state_of(answer);
	answer.reason = answer.bogus or dns.failure(answer);
	return answer;
end

function dns.usable(answer)
	return answer.state == "secure" or answer.state == "insecure";
end

-- A text about an answer that is not usable
function dns.problem(name, answer)
	return ("%s: %s, %s"):format(name, answer.state, answer.reason);
end

-- Days until the first signature of an answer expires, or nil
function dns.signed_days(answer)
	local first;
	for _, signature in ipairs(answer.signatures) do
		local left = (signature.expiration - os.time()) % WRAP;
		if left >= WRAP // 2 then left = left - WRAP; end
		first = math.min(first or left, left);
	end
	return first and first / DAY;
end

-- The addresses of a name, IPv6 first; and both answers by type
function dns.addresses(name)
	local list, answers = {}, {};
	for _, kind in ipairs { "AAAA", "A" } do
		local answer = dns.find(name, kind);
		answers[kind] = answer;
		for _, record in ipairs(answer.bogus and {} or answer.records) do
			list[#list + 1] = new_ip(record[kind:lower()]).addr;
		end
	end
	return list, answers;
end

-- ---- Name servers ----

-- The zone that has a name, and its name servers; or nil
function dns.zone(name)
	while true do
		local answer = dns.find(name, "NS");
		if answer.records[1] and not answer.canonname then
			local servers = {};
			for i, record in ipairs(answer.records) do servers[i] = record.ns:lower(); end
			table.sort(servers);
			return name, servers;
		end
		if name == "." then return nil; end
		name = name:match("%.(.+)$") or ".";
	end
end

local silent = {}; -- addresses that did not answer: the timeout is paid once

local function ask(address, name, kind)
	if silent[address] then return nil; end
	local answer = native.ask(address, name, kind);
	silent[address] = not answer;
	return answer;
end

local function has_route(address)
	local conn = address:find(":", 1, true) and socket.udp6() or socket.udp4();
	local ok = conn:setpeername(address, DNS_PORT);
	conn:close();
	return ok ~= nil;
end

-- The addresses that this machine has a route to; all, if there are none
local function reachable(addresses)
	local list = {};
	for _, address in ipairs(addresses) do
		if has_route(address) then list[#list + 1] = address; end
	end
	return list[1] and list or addresses;
end

-- The answers of each name server of the zone: { { server =, address =, answer = or nil }, ... }, zone
function dns.ask_all(name, kind)
	local zone, servers = dns.zone(name);
	local replies = {};
	for _, server in ipairs(servers or {}) do
		local addresses = reachable((dns.addresses(server)));
		for _, address in ipairs(addresses) do
			replies[#replies + 1] = { server = server, address = address, answer = ask(address, name, kind) };
		end
		if not addresses[1] then replies[#replies + 1] = { server = server, address = "no address" }; end
	end
	return replies, zone;
end

-- The replies that are authoritative; and an array of texts about other name servers
function dns.ask_authoritative(name, kind)
	local good, problems, replies = {}, {}, dns.ask_all(name, kind);
	for _, reply in ipairs(replies) do
		local answer = reply.answer;
		if answer and not dns.failure(answer) and answer.authoritative then
			good[#good + 1] = reply;
		else
			problems[#problems + 1] = ("%s: no authoritative answer from %s (%s)"):format(name, reply.server, reply.address);
		end
	end
	if not replies[1] then problems[1] = name..": cannot find its name servers"; end
	return good, problems;
end

-- ---- Names and records of services ----

-- A domain in A-labels; or nil
function dns.to_ascii(name)
	local ascii = idna.to_ascii(name);
	return ascii and ascii:lower() or nil;
end

function dns.tlsa_name(target, port)
	return ("_%d._tcp.%s"):format(port, target);
end

-- Direct TLS has a service label of its own (XEP-0368).
function dns.srv_name(domain, service, tls)
	return ("_%s._tcp.%s"):format(tls == "direct" and service:gsub("^xmpp", "xmpps") or service, domain);
end

-- An SRV record for a zone file. record = { domain =, ttl =, service =, tls =, port =, target = }
function dns.srv_text(record)
	return ("%s. %d IN SRV 0 5 %d %s."):format(dns.srv_name(record.domain, record.service, record.tls), record.ttl,
		record.port, record.target);
end

-- By priority (RFC 2782). Weights are shown, not drawn.
local function sort_targets(list)
	table.sort(list, function (a, b)
		if a.priority ~= b.priority then return a.priority < b.priority; end
		if a.weight ~= b.weight then return a.weight > b.weight; end
		return a.name..":"..a.port < b.name..":"..b.port;
	end);
	return list;
end

-- The SRV records of one service of a domain in A-labels (RFC 6120 section 3.2, XEP-0368): { service =, tls =, name =, answer =,
-- refused = the target is ".", implied = there is no record, so that the domain itself is the target, targets = { { name =,
-- port =, priority =, weight = }, ... } }
function dns.srv(domain, service, tls)
	local name = dns.srv_name(domain, service, tls);
	local srv = { service = service, tls = tls, name = name, answer = dns.find(name, "SRV"), targets = {} };
	if not dns.usable(srv.answer) then return srv; end
	for _, record in ipairs(srv.answer.records) do
		local data = record.srv;
		if data.target == "." then
			srv.refused = true;
		else
			table.insert(srv.targets, { name = data.target:lower(), port = data.port, priority = data.priority, weight = data.weight });
		end
	end
	if not srv.answer.records[1] and tls == "starttls" then
		srv.implied = true;
		srv.targets[1] = { name = domain, port = dns.DEFAULT_PORTS[service], priority = 0, weight = 0 };
	end
	sort_targets(srv.targets);
	return srv;
end

-- dns.srv() for each service of a host, with `addresses`, `answers`, `tlsa_name` and `tlsa` of each target. Second result: its
-- A-labels, or nil. host = { name =, services = { ["xmpp-client"] =, ["xmpp-server"] = } }
function dns.services_of(host)
	local domain, list = dns.to_ascii(host.name), {};
	for _, service in ipairs { "xmpp-client", "xmpp-server" } do
		for _, tls in ipairs(domain and host.services[service] and { "starttls", "direct" } or {}) do
			local srv = dns.srv(domain, service, tls);
			for _, target in ipairs(srv.targets) do
				target.addresses, target.answers = dns.addresses(target.name);
				target.tlsa_name = dns.tlsa_name(target.name, target.port);
				target.tlsa = dns.find(target.tlsa_name, "TLSA");
			end
			list[#list + 1] = srv;
		end
	end
	return list, domain;
end

-- Whether a peer may use the TLSA records of a target (RFC 7673 section 3); or false, and why not
function dns.is_dane(srv, target)
	if target.tlsa.state ~= "secure" then return false, "the TLSA record is "..target.tlsa.state; end
	if srv.answer.state ~= "secure" then return false, "the SRV record is "..srv.answer.state; end
	for _, kind in ipairs { "AAAA", "A" } do
		local answer = target.answers[kind];
		if answer.records[1] and answer.state ~= "secure" then return false, "the address is "..answer.state; end
	end
	return true;
end

-- ---- Hosts that are not published: internal components, test hosts ----

local function is_below(domain, top)
	return domain == top or domain:sub(-#top - 1) == "."..top;
end

-- Whether a domain is not in any public zone. A single label is the name of a machine.
local function is_reserved(domain)
	for _, top in ipairs(RESERVED) do
		if is_below(domain, top) then return true; end
	end
	return not domain:find(".", 1, true);
end

-- Whether no service has a record or an address. A failed lookup counts as a record, except for reserved domains, for which
-- resolvers may refuse to answer.
local function is_absent(domain, services, reserved)
	for _, srv in ipairs(services) do
		if srv.answer.records[1] or srv.refused then return false; end
		if not dns.usable(srv.answer) and not reserved then return false; end
		for _, target in ipairs(is_below(domain, LOOPBACK) and {} or srv.targets) do
			if target.addresses[1] then return false; end
			for _, answer in pairs(target.answers) do
				if not dns.usable(answer) and not reserved then return false; end
			end
		end
	end
	return true;
end

-- The state and the text of a check about a host that is not published; or nil. domain: A-labels
function dns.unpublished(domain, services)
	local reserved = is_reserved(domain);
	if not services[1] then return "ok", "configured without clients and servers"; end
	if not is_absent(domain, services, reserved) then return nil; end
	if reserved then return "ok", "not published: the public DNS does not have this name"; end
	return "warning", "not published: no SRV record and no address. This is right for a host that only this server uses; otherwise "
		.."DNS lacks "..services[1].name;
end

return dns;
