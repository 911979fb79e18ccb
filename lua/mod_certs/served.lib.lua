-- The certificates that the listeners of a domain serve, each fetched once

local fetch = module:require "fetch";

local served = {};

-- get(host, place, target, address) -> { pem = } or { err =, reached = }
function served.new()
	local known = {};
	return function (host, place, target, address)
		local key = table.concat({ host, place.service, place.tls, address, target.port }, " ");
		if not known[key] then
			local pem, err, reached = fetch.chain {
				address = address, port = target.port, tls = place.tls, service = place.service, domain = host,
			};
			known[key] = { pem = pem, err = err, reached = reached };
		end
		return known[key];
	end;
end

-- "[::1]:5269 xmpp-server, direct TLS"
function served.name(place, target, address)
	local shown = address:find(":", 1, true) and "["..address.."]" or address;
	return ("%s:%d %s%s"):format(shown, target.port, place.service, place.tls == "direct" and ", direct TLS" or "");
end

return served;
