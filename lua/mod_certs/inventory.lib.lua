-- Every certificate of the configuration: which host has it, for which service

local certificates = module:require "certificates";
local files = module:require "files";
local hosts = module:require "hosts";
local ports = module:require "ports";

local inventory = {};

-- "clients, direct TLS on port 5223"
function inventory.describe(service, tls, port)
	return hosts.PEOPLE[service]..(tls == "direct" and (", direct TLS on port %d"):format(port) or ", STARTTLS");
end

-- Calls visit(pair, description, alternatives) for each certificate of a host: pair = { certificate =, key =, password = }, and
-- alternatives as of certificates.of()
function inventory.of_host(host, visit)
	local function look(service, tls, port)
		if not host.services[service] then return; end
		local list, alternatives = certificates.of(host.name, service, tls, port);
		for _, pair in ipairs(list) do visit(pair, inventory.describe(service, tls, port), alternatives); end
	end
	for _, service in ipairs(hosts.SERVICES) do look(service, "starttls"); end
	for _, listener in ipairs(ports.list()) do
		if listener.tls == "direct" then look(listener.service, "direct", listener.port); end
	end
end

-- The pairs of all hosts with this file, one for each key
function inventory.pairs_of(path)
	local list, seen = {}, {};
	for _, host in ipairs(hosts.list()) do
		inventory.of_host(host, function (pair)
			local key = pair.key or "";
			if not seen[key] and files.same(pair.certificate, path) then list[#list + 1] = pair; end
			seen[key] = seen[key] or files.same(pair.certificate, path);
		end);
	end
	return list;
end

-- Whether a list of certificates.of() has this file
function inventory.has(list, path)
	for _, pair in ipairs(list) do
		if files.same(pair.certificate, path) then return true; end
	end
	return false;
end

return inventory;
