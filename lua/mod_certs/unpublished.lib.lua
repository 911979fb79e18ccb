-- Hosts of the configuration that nobody is meant to reach by DNS: internal components, test hosts

local lookup = module:require "lookup";

-- Domains that the public DNS never has: RFC 6761, 6762, 7686, 8375, 9476, and ICANN's "internal"
local RESERVED = { "alt", "example", "home.arpa", "internal", "invalid", "local", "localhost", "onion", "test" };
local LOOPBACK = "localhost"; -- has an address that DNS does not need (RFC 6761 section 6.3)

local unpublished = {};

local function is_below(domain, top)
	return domain == top or domain:sub(-#top - 1) == "."..top;
end

-- Whether a domain is of no public zone. One label alone is the name of a machine.
local function is_reserved(domain)
	for _, top in ipairs(RESERVED) do
		if is_below(domain, top) then return true; end
	end
	return not domain:find(".", 1, true);
end

-- Whether no place has a record or an address. A failed lookup counts as one, but for reserved domains, which resolvers may refuse.
local function is_absent(domain, all, reserved)
	for _, place in ipairs(all) do
		if place.srv.records[1] or place.refused then return false; end
		if not lookup.usable(place.srv) and not reserved then return false; end
		for _, target in ipairs(is_below(domain, LOOPBACK) and {} or place.targets) do
			if target.addresses[1] then return false; end
			for _, answer in pairs(target.answers) do
				if not lookup.usable(answer) and not reserved then return false; end
			end
		end
	end
	return true;
end

-- The state and the text of a row about a host that is not published; or nil. domain: A-labels; all: its places
function unpublished.describe(domain, all)
	local reserved = is_reserved(domain);
	if not all[1] then return "ok", "neither clients nor other servers connect to it, by the configuration"; end
	if not is_absent(domain, all, reserved) then return nil; end
	if reserved then return "ok", "not published: a name that the public DNS does not have"; end
	return "warning", "not published: there is neither an SRV record nor an address. That is right for a host that nobody else is to "
		.."reach; otherwise DNS lacks "..all[1].name;
end

return unpublished;
