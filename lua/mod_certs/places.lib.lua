-- Where a domain's services are, by DNS: SRV records, their targets, addresses and TLSA records (RFC 7673, XEP-0368)

local lookup = module:require "lookup";
local to_ascii = module:require "targets".to_ascii;
local zone = module:require "zone";

local DEFAULT_PORTS = { ["xmpp-client"] = 5222, ["xmpp-server"] = 5269 };

local places = {};

-- Of service and kind of TLS, in the order of trying (RFC 2782; weights are shown, not drawn)
local function sort_targets(list)
	table.sort(list, function (a, b)
		if a.priority ~= b.priority then return a.priority < b.priority; end
		if a.weight ~= b.weight then return a.weight > b.weight; end
		return a.name..":"..a.port < b.name..":"..b.port;
	end);
	return list;
end

local function new_target(name, port, srv)
	local addresses, answers = lookup.addresses(name);
	local tlsa_name = zone.tlsa_name(name, port);
	return {
		name = name, port = port, priority = srv.priority, weight = srv.weight,
		addresses = addresses, answers = answers,
		tlsa_name = tlsa_name, tlsa = lookup.find(tlsa_name, "TLSA"),
	};
end

-- Whether a peer may use the TLSA records of a target; or false, and why not
function places.is_dane(place, target)
	if target.tlsa.state ~= "secure" then return false, "the TLSA record is "..target.tlsa.state; end
	if place.srv.state ~= "secure" then return false, "the SRV record is "..place.srv.state; end
	for _, kind in ipairs { "AAAA", "A" } do
		local answer = target.answers[kind];
		if answer.records[1] and answer.state ~= "secure" then return false, "the address is "..answer.state; end
	end
	return true;
end

-- One service: { service =, tls =, name = of the SRV record, srv = answer, refused = the target is ".",
-- implied = there is no record, the domain itself is used, targets = { ... } }
function places.of_service(domain, service, tls)
	local label = tls == "direct" and service:gsub("^xmpp", "xmpps") or service;
	local name = ("_%s._tcp.%s"):format(label, domain);
	local place = { service = service, tls = tls, name = name, srv = lookup.find(name, "SRV"), targets = {} };
	if not lookup.usable(place.srv) then return place; end
	for _, record in ipairs(place.srv.records) do
		local srv = record.srv;
		if srv.target == "." then
			place.refused = true;
		else
			place.targets[#place.targets + 1] = new_target(srv.target:lower(), srv.port, srv);
		end
	end
	if not place.srv.records[1] and tls == "starttls" then
		place.implied = true;
		place.targets[1] = new_target(domain, DEFAULT_PORTS[service], { priority = 0, weight = 0 });
	end
	sort_targets(place.targets);
	return place;
end

-- All of a host; host = { name =, services = { ["xmpp-client"] =, ["xmpp-server"] = } }. Second result: its A-labels
function places.of_host(host)
	local domain, list = to_ascii(host.name), {};
	for _, service in ipairs { "xmpp-client", "xmpp-server" } do
		for _, tls in ipairs(domain and host.services[service] and { "starttls", "direct" } or {}) do
			list[#list + 1] = places.of_service(domain, service, tls);
		end
	end
	return list, domain;
end

return places;
