-- The certificates that the listeners of domains serve, each fetched once, and all at the same time

local fetch = module:require "fetch";
local zone = module:require "zone";

local served = {};

-- Whose word it is that STARTTLS, or direct TLS, is spoken at a place, and which record would tell the other
function served.promise_of(place)
	local own = place.name:match("^_[^.]+%._tcp%.(.*)$");
	return { promise = place.implied and "without an SRV record peers expect" or place.name.." promises",
		instead = zone.srv_name(own, place.service, place.tls == "direct" and "starttls" or "direct") };
end

local function key_of(host, place, target, address)
	return table.concat({ host, place.service, place.tls, address, target.port }, " ");
end

-- domains: array of { host =, places = as of places.of_host() }. Returns get(host, place, target, address) -> a reply of
-- fetch.chains().
function served.new(domains)
	local targets, numbers = {}, {};
	for _, domain in ipairs(domains) do
		for _, place in ipairs(domain.places) do
			for _, target in ipairs(place.targets) do
				for _, address in ipairs(target.addresses) do
					targets[#targets + 1] = {
						address = address, port = target.port, tls = place.tls, service = place.service, domain = domain.host,
						published = served.promise_of(place),
					};
					numbers[key_of(domain.host, place, target, address)] = #targets;
				end
			end
		end
	end
	local replies = fetch.chains(targets);
	return function (...) return replies[numbers[key_of(...)]]; end;
end

-- "[::1]:5269 xmpp-server, direct TLS"
function served.name(place, target, address)
	local shown = address:find(":", 1, true) and "["..address.."]" or address;
	return ("%s:%d %s%s"):format(shown, target.port, place.service, place.tls == "direct" and ", direct TLS" or "");
end

return served;
