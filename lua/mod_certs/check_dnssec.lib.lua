-- prosodyctl mod_certs check: why an answer is insecure, by following the chain of trust from the anchor down to the name (RFC
-- 4035 section 5.2)

local dns = module:require "dns";
local unbound = module:require "unbound";

-- By IANA's numbers. A resolver treats a zone as unsigned if it supports none of its DS records (RFC 4035 section 5.2).
local ALGORITHMS = { [5] = "RSASHA1", [7] = "RSASHA1-NSEC3-SHA1", [8] = "RSASHA256", [10] = "RSASHA512",
	[13] = "ECDSAP256SHA256", [14] = "ECDSAP384SHA384", [15] = "ED25519", [16] = "ED448" };
local DIGESTS = { [1] = "SHA-1", [2] = "SHA-256", [4] = "SHA-384" };

local check_dnssec = {};

-- The name and its parents, from the top, without the root
local function ancestors_of(name)
	local list = {};
	while name and name ~= "" and name ~= "." do
		table.insert(list, 1, name);
		name = name:match("^[^.]*%.(.+)$");
	end
	return list;
end

local function is_zone(name)
	local answer = dns.find(name, "NS");
	return answer.records[1] ~= nil and not answer.canonname;
end

local function is_secure_zone(name)
	local answer = dns.find(name, "DNSKEY");
	return answer.state == "secure" and answer.records[1] ~= nil;
end

local function describe_number(names, number, kind)
	return names[number] and ("%s %s"):format(kind, names[number]) or ("unknown %s %d"):format(kind, number);
end

local function describe_delegation(answer)
	local list = {};
	for i, record in ipairs(answer.records) do
		list[i] = ("key %d: %s, %s"):format(record.ds.key_tag, describe_number(ALGORITHMS, record.ds.algorithm, "algorithm"),
			describe_number(DIGESTS, record.ds.digest, "digest"));
	end
	return table.concat(list, "; ");
end

-- The name or parent that the option domain-insecure excludes from validation, or nil
local function excluded_by(name)
	local excluded = (unbound.settings().options or {})["domain-insecure:"];
	for _, above in ipairs(excluded and ancestors_of(name) or {}) do
		if above == excluded:lower():gsub("%.$", "") then return above; end
	end
end

-- The state and the text of the gap in the chain of trust between a secure zone and a child zone; or nil if the child is secure
local function gap_between(parent, zone)
	local delegation = dns.find(zone, "DS");
	if not dns.usable(delegation) then
		return "warning", ("cannot look up the DS records of %s: %s"):format(zone, delegation.reason);
	elseif delegation.records[1] then
		if is_secure_zone(zone) then return nil; end
		return "warning", ("the resolver does not support any DS record of the zone %s (%s)"):format(zone,
			describe_delegation(delegation));
	elseif dns.find(zone, "DNSKEY").records[1] then
		return "warning", ("the zone %s is signed, but its parent %s has no DS record for it: send the DS record to the "
			.."registrar, or to the operator of %s"):format(zone, parent, parent);
	end
	return "ok", ("the zone %s is not signed: its parent %s has no DS record for it, and it has no DNSKEY record")
		:format(zone, parent);
end

-- Why an answer about a name is insecure: the zone where the chain of trust ends, the state of a row, and a text
local function cause_of(name)
	local anchor, missing = dns.anchor();
	if not anchor then return ".", "ok", "no trust anchor is configured: "..missing; end
	local excluded = excluded_by(name);
	if excluded then return excluded, "warning", "the option unbound excludes the zone from validation (domain-insecure)"; end
	local parent = is_secure_zone(".") and "." or nil; -- the lowest zone that is secure
	for _, above in ipairs(ancestors_of(name)) do
		if not parent then
			parent = is_secure_zone(above) and above or nil;
		elseif is_zone(above) then
			local state, text = gap_between(parent, above);
			if state then return above, state, text; end
			parent = above;
		end
	end
	if not parent then return ".", "warning", "the trust anchor does not cover this name, or the resolver does not validate"; end
	return parent, "ok", ("the zone %s is secure, but its proof about %s is not: NSEC3 with opt-out, or with more iterations than "
		.."resolvers accept"):format(parent, name);
end

-- Adds one row for each cause of insecure answers about a host's services.
function check_dnssec.check(report, services)
	local function add(name, answer)
		if answer.state ~= "insecure" then return; end
		local zone, state, text = cause_of(name);
		if zone ~= "." and answer.canonname and is_secure_zone(zone) then zone, state, text = cause_of(answer.canonname); end
		if report:first("DNSSEC", text) then report:add(state, "DNSSEC", zone, "insecure: %s", text); end
	end
	for _, srv in ipairs(services) do
		add(srv.name, srv.answer);
		for _, target in ipairs(srv.targets) do
			for _, kind in ipairs { "AAAA", "A" } do add(target.name, target.answers[kind]); end
			add(target.tlsa_name, target.tlsa);
		end
	end
end

return check_dnssec;
