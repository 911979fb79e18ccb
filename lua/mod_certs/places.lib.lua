-- Where a domain's services are, by DNS: SRV records, their targets, addresses and TLSA records (RFC 7673, XEP-0368)

local lookup = module:require "lookup";
local zone = module:require "zone";

local places = {};

places.DEFAULT_PORTS = { ["xmpp-client"] = 5222, ["xmpp-server"] = 5269 }; -- where there is no SRV record

-- Of service and kind of TLS, in the order of trying (RFC 2782; weights are shown, not drawn)
local function sort_targets(list)
	table.sort(list, function (a, b)
		if a.priority ~= b.priority then return a.priority < b.priority; end
		if a.weight ~= b.weight then return a.weight > b.weight; end
		return a.name..":"..a.port < b.name..":"..b.port;
	end);
	return list;
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

-- One service of a domain in A-labels: { service =, tls =, name = of the SRV record, srv = answer, refused = the target is
-- ".", implied = there is no record, the domain itself is used, targets = { { name =, port =, priority =, weight = }, ... } }
function places.of_service(domain, service, tls)
	local name = zone.srv_name(domain, service, tls);
	local place = { service = service, tls = tls, name = name, srv = lookup.find(name, "SRV"), targets = {} };
	if not lookup.usable(place.srv) then return place; end
	for _, record in ipairs(place.srv.records) do
		local srv = record.srv;
		if srv.target == "." then
			place.refused = true;
		else
			table.insert(place.targets, { name = srv.target:lower(), port = srv.port, priority = srv.priority,
				weight = srv.weight });
		end
	end
	if not place.srv.records[1] and tls == "starttls" then
		place.implied = true;
		place.targets[1] = { name = domain, port = places.DEFAULT_PORTS[service], priority = 0, weight = 0 };
	end
	sort_targets(place.targets);
	return place;
end

local function look_up(target)
	target.addresses, target.answers = lookup.addresses(target.name);
	target.tlsa_name = zone.tlsa_name(target.name, target.port);
	target.tlsa = lookup.find(target.tlsa_name, "TLSA");
end

-- All of a host, and of each target `addresses`, `answers`, `tlsa_name` and `tlsa`. Second result: its A-labels.
-- host = { name =, services = { ["xmpp-client"] =, ["xmpp-server"] = } }
function places.of_host(host)
	local domain, list = zone.to_ascii(host.name), {};
	for _, service in ipairs { "xmpp-client", "xmpp-server" } do
		for _, tls in ipairs(domain and host.services[service] and { "starttls", "direct" } or {}) do
			local place = places.of_service(domain, service, tls);
			for _, target in ipairs(place.targets) do look_up(target); end
			list[#list + 1] = place;
		end
	end
	return list, domain;
end

return places;
