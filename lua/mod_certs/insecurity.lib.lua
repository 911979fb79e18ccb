-- Why an answer is not secure: where the chain of trust ends, from the trust anchor down to the name (RFC 4035 section 5.2)

local lookup = module:require "lookup";
local unbound = module:require "unbound";

-- By IANA's numbers. Resolvers take a zone for unsigned where they know none of its DS records (RFC 4035 section 5.2).
local ALGORITHMS = { [5] = "RSASHA1", [7] = "RSASHA1-NSEC3-SHA1", [8] = "RSASHA256", [10] = "RSASHA512",
	[13] = "ECDSAP256SHA256", [14] = "ECDSAP384SHA384", [15] = "ED25519", [16] = "ED448" };
local DIGESTS = { [1] = "SHA-1", [2] = "SHA-256", [4] = "SHA-384" };

local insecurity = {};

-- The name and all names above it, from the top, without the root
local function ancestors_of(name)
	local list = {};
	while name and name ~= "" and name ~= "." do
		table.insert(list, 1, name);
		name = name:match("^[^.]*%.(.+)$");
	end
	return list;
end

local function is_zone(name)
	local answer = lookup.find(name, "NS");
	return answer.records[1] ~= nil and not answer.canonname;
end

local function is_secure_zone(name)
	local answer = lookup.find(name, "DNSKEY");
	return answer.state == "secure" and answer.records[1] ~= nil;
end

local function shown(names, number, what)
	return names[number] and ("%s %s"):format(what, names[number]) or ("%s %d, which is unknown"):format(what, number);
end

local function describe_delegation(answer)
	local list = {};
	for i, record in ipairs(answer.records) do
		list[i] = ("key %d: %s, %s"):format(record.ds.key_tag, shown(ALGORITHMS, record.ds.algorithm, "algorithm"),
			shown(DIGESTS, record.ds.digest, "digest"));
	end
	return table.concat(list, "; ");
end

-- The option that makes it so, or nil
local function excluded_by(name)
	local excluded = (unbound.settings().options or {})["domain-insecure:"];
	for _, above in ipairs(excluded and ancestors_of(name) or {}) do
		if above == excluded:lower():gsub("%.$", "") then return above; end
	end
end

-- The gap in the chain of trust from a secure zone to a zone below it: state, text; or nil if that zone is secure too
local function gap_between(parent, zone)
	local delegation = lookup.find(zone, "DS");
	if not lookup.usable(delegation) then
		return "warning", ("the DS records of %s cannot be had: %s"):format(zone, delegation.reason);
	elseif delegation.records[1] then
		if is_secure_zone(zone) then return nil; end
		return "warning", ("the resolver cannot use any DS record that %s has for the zone %s (%s)"):format(parent, zone,
			describe_delegation(delegation));
	elseif lookup.find(zone, "DNSKEY").records[1] then
		return "warning", ("the zone %s is signed, but its parent %s has no DS record for it: give it to the registrar, or to "
			.."the operator of %s"):format(zone, parent, parent);
	end
	return "ok", ("the zone %s is not signed: its parent %s has no DS record for it, and it has no DNSKEY record")
		:format(zone, parent);
end

-- Why an answer for a name is insecure: the zone where trust ends, the state of a row about it, and a text
function insecurity.cause(name)
	local anchor, missing = lookup.anchor();
	if not anchor then return ".", "ok", "no trust anchor is configured: "..missing; end
	local excluded = excluded_by(name);
	if excluded then return excluded, "warning", "the option domain-insecure of Prosody's option unbound takes it out of validation"; end
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
	if not parent then return ".", "warning", "the trust anchor is for no zone above it, or the resolver does not validate"; end
	return parent, "ok", ("the zone %s is secure, and its proof about %s is not: NSEC3 with opt-out, or with more iterations than "
		.."resolvers accept"):format(parent, name);
end

-- Adds one row for each cause of insecure answers about a host's places.
function insecurity.check(findings, host, all)
	local seen = {};
	local function add(name, answer)
		if answer.state ~= "insecure" then return; end
		local zone, state, text = insecurity.cause(name);
		if zone ~= "." and answer.canonname and is_secure_zone(zone) then zone, state, text = insecurity.cause(answer.canonname); end
		if not seen[text] then findings.add(state, host, "DNSSEC", zone, "insecure: %s", text); end
		seen[text] = true;
	end
	for _, place in ipairs(all) do
		add(place.name, place.srv);
		for _, target in ipairs(place.targets) do
			for _, kind in ipairs { "AAAA", "A" } do add(target.name, target.answers[kind]); end
			add(target.tlsa_name, target.tlsa);
		end
	end
end

return insecurity;
