-- prosodyctl mod_certs check: who may issue certificates (CAA, RFC 8659), beside who has issued those that are served. A
-- record names an authority by its domain, which a certificate does not have: the two are shown, for people to compare.

local certs = module:require "native"("certs");
local dane = module:require "dane";
local lookup = module:require "lookup";
local add_answer = module:require "published".add_answer;

local caa = {};

-- The records of the domain, or of the nearest above it that has any (section 3); a failure ends the search, as it has to.
local function climb(domain)
	local name = domain;
	while true do
		local answer, parent = lookup.find(name, "CAA"), name:match("%.(.+)$");
		if answer.records[1] or not lookup.usable(answer) or not parent then return name, answer; end
		name = parent;
	end
end

-- Whether the records let nobody issue. Wildcards go by issuewild where there is any (section 4.3).
local function is_shut(answer, wildcard)
	local tag, restricted = "issue", false;
	for _, record in ipairs(answer.records) do
		if wildcard and record.caa.tag:lower() == "issuewild" then tag = "issuewild"; end
	end
	for _, record in ipairs(answer.records) do
		if record.caa.tag:lower() == tag then
			if record.caa.value:find("^%s*[^;%s]") then return false; end
			restricted = true;
		end
	end
	return restricted;
end

-- What an authority was asked for: a domain, and whether as a wildcard
local function name_in(certificate, host, domain)
	local _, names = certs.identity(certificate.pem, host, certificate.service);
	for _, name in ipairs(names or {}) do
		local parent = name.matched and name.value:match("^%*%.(.+)$");
		if parent then return parent, true; end
	end
	return domain, false;
end

-- The issuer, and whether Prosody trusts it, or did as long as the certificate was valid
local function issuer_of(certificate)
	local info, now = certs.chain(certificate.pem)[1], os.time();
	local time = math.min(now, (info.not_after or now) - 1);
	local verdict = dane.verify(certificate.pem, { service = certificate.service, references = {} }, nil, time);
	return info.self_issued and "itself" or info.issuer, verdict.chain == "valid" and not info.self_issued;
end

local function text_of(answer)
	local list = {};
	for i, record in ipairs(answer.records) do list[i] = ("%s \"%s\""):format(record.caa.tag, record.caa.value); end
	return list[1] and table.concat(list, ", ") or "no record, any authority may issue";
end

local function check_name(findings, host, question)
	local name, answer = climb(question.name);
	local subject, text = answer.records[1] and name or question.name, text_of(answer);
	if lookup.usable(answer) and question.trusted and is_shut(answer, question.wildcard) then
		findings.add("warning", host, "CAA", subject, "no authority may issue, so the certificate of %s cannot be renewed: %s",
			question.issuer, text);
	else
		add_answer(findings, host, "CAA", subject, answer,
			question.issuer and ("%s; issued by %s"):format(text, question.issuer) or text);
	end
end

-- certificates: { { pem =, service = }, ... } that are served for the host; domain: its A-labels
function caa.check(findings, host, domain, certificates)
	if not certificates[1] then return check_name(findings, host, { name = domain }); end
	local seen = {};
	for _, certificate in ipairs(certificates) do
		local name, wildcard = name_in(certificate, host, domain);
		local issuer, trusted = issuer_of(certificate);
		local key = ("%s %s %s %s"):format(name, wildcard, trusted, issuer);
		if not seen[key] then
			check_name(findings, host, { name = name, wildcard = wildcard, issuer = issuer, trusted = trusted });
		end
		seen[key] = true;
	end
end

return caa;
