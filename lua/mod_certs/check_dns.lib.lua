-- prosodyctl mod_certs check: the records in DNS. Each function adds rows to the report (check.lib.lua).

local dane = module:require "dane";
local dns = module:require "dns";
local unbound = module:require "unbound";

local SIGNED_DAYS = 3; -- a signature that expires sooner has missed a renewal

local check_dns = {};

-- ---- Answers ----

-- The state of a row, and a text about the DNSSEC state of an answer
local function describe(answer)
	if answer.state == "bogus" then return "error", "bogus: "..answer.reason; end
	if answer.state == "failed" then return "error", "no answer: "..answer.reason; end
	local days = dns.signed_days(answer);
	if not days then return "ok", answer.state; end
	return days < SIGNED_DAYS and "warning" or "ok", ("%s, signed for %.1f more days"):format(answer.state, days);
end

-- text: the content of the answer
local function add_answer(report, check, name, answer, text)
	local state, dnssec = describe(answer);
	report:add(state, check, name, "%s", dns.usable(answer) and text.."; "..dnssec or dnssec);
end

function check_dns.resolver(report)
	report.host = "resolver";
	local anchor, text = dns.anchor();
	report:add(anchor and "ok" or "warning", "trust anchor", "unbound", "%s", anchor or text);
	if not anchor then return; end -- nothing is validated
	local answer = dns.find(".", "NS");
	if not dns.usable(answer) and unbound.asks_resolvconf((unbound.settings())) then
		answer.reason = answer.reason.."; unbound = { resolvconf = false } asks name servers directly, not the resolvers of resolv.conf";
	end
	add_answer(report, "validation", ".", answer, "name servers of the root");
end

-- ---- SRV ----

local function describe_targets(srv)
	local list = {};
	for _, target in ipairs(srv.targets) do
		list[#list + 1] = ("%s:%d (priority %d, weight %d)"):format(target.name, target.port, target.priority, target.weight);
	end
	return table.concat(list, ", ");
end

function check_dns.srv(report, srv)
	local text = describe_targets(srv);
	if srv.refused and srv.tls ~= "direct" then -- for direct TLS it means that there is only STARTTLS
		return report:add("warning", "SRV", srv.name, "target \".\": the domain does not have this service");
	elseif srv.refused then
		text = "target \".\": not offered";
	elseif srv.answer.canonname then
		text = ("%s, through the alias %s"):format(text, srv.answer.canonname);
	elseif srv.implied then
		text = ("no record, default %s"):format(text);
	elseif not srv.targets[1] then
		text = "no record, not offered";
	end
	add_answer(report, "SRV", srv.name, srv.answer, text);
end

-- ---- Addresses ----

function check_dns.addresses(report, target)
	local any = false;
	for _, kind in ipairs { "AAAA", "A" } do
		local answer, list = target.answers[kind], {};
		for i, record in ipairs(answer.records) do list[i] = record[kind:lower()]; end
		any = any or list[1] ~= nil;
		if list[1] or not dns.usable(answer) then add_answer(report, kind, target.name, answer, table.concat(list, ", ")); end
	end
	local alias = target.answers.A.canonname or target.answers.AAAA.canonname;
	if alias then
		report:add("warning", "CNAME", target.name, "alias of %s: the target of an SRV record must not be an alias (RFC 2782)", alias);
	end
	if not any and dns.usable(target.answers.A) and dns.usable(target.answers.AAAA) then
		report:add("error", "A", target.name, "no address");
	end
end

-- ---- TLSA ----

function check_dns.tlsa(report, srv, target)
	local answer = target.tlsa;
	if not dns.usable(answer) or not answer.records[1] then
		return add_answer(report, "TLSA", target.tlsa_name, answer, "no record");
	end
	local names, known = {}, false;
	for i, group in ipairs(dane.combinations(dane.records_of(answer))) do
		names[i] = ("%s%s%s"):format(group.name, #group.records > 1 and (" (%d records)"):format(#group.records) or "",
			group.known and "" or " (unusable)");
		known = known or group.known;
	end
	local text = table.concat(names, ", ");
	if answer.canonname then text = ("%s, through the alias %s"):format(text, answer.canonname); end
	local used, why = dns.is_dane(srv, target);
	if used and known then return add_answer(report, "TLSA", target.tlsa_name, answer, text); end
	report:add("warning", "TLSA", target.tlsa_name, "%s; without effect: %s", text, used and "no usable record" or why);
end

-- ---- Name servers ----

local function text_of(record, kind)
	if kind == "SRV" then
		local srv = record.srv;
		return ("%d %d %d %s"):format(srv.priority, srv.weight, srv.port, srv.target);
	end
	return dane.key(record.tlsa);
end

-- The records of a name server as texts, sorted; a failure is one text, and `wrong`
local function texts_of(answer, kind)
	local failure = dns.failure(answer) or not answer.authoritative and "not authoritative for the zone";
	if failure then return { failure, wrong = true }; end
	local list = {};
	for i, record in ipairs(answer.records) do list[i] = text_of(record, kind); end
	table.sort(list);
	return list;
end

-- Groups name servers with the same records: { { texts =, servers = }, ... }
local function group(replies, kind, fold)
	local groups, list = {}, {};
	for _, reply in ipairs(replies) do
		local texts = texts_of(reply.answer, kind);
		local key = table.concat(texts, "\n");
		if fold then key = key:lower(); end
		if not groups[key] then
			groups[key] = { texts = texts, servers = {} };
			list[#list + 1] = groups[key];
		end
		table.insert(groups[key].servers, ("%s (%s)"):format(reply.server, reply.address));
	end
	return list;
end

-- The records that not all groups have
local function describe_groups(groups)
	local counts, descriptions = {}, {};
	for _, each in ipairs(groups) do
		for _, text in ipairs(each.texts) do counts[text] = (counts[text] or 0) + 1; end
	end
	for i, each in ipairs(groups) do
		local own = {};
		for _, text in ipairs(each.texts) do
			if counts[text] < #groups then own[#own + 1] = text; end
		end
		descriptions[i] = ("%s: %s"):format(table.concat(each.servers, ", "),
			own[1] and table.concat(own, ", ") or each.texts[1] and "nothing more" or "no record");
	end
	return table.concat(descriptions, "; ");
end

-- Looks at an alias in the zone that has the records.
function check_dns.name_servers(report, answer, name, kind)
	local replies, zone = dns.ask_all(answer.canonname or name, kind);
	local answered = {};
	local function add(state, ...) report:add(state, "name server", kind.." "..name, ...); end
	for _, reply in ipairs(replies) do
		if reply.answer then
			answered[#answered + 1] = reply;
		else
			add("warning", "%s (%s) does not answer", reply.server, reply.address);
		end
	end
	if not answered[1] then return add("warning", "no name server answers"); end
	local groups = group(answered, kind);
	if #groups > 1 and #group(answered, kind, true) == 1 then
		add("warning", "name servers differ in letter case only; %s", describe_groups(groups));
	elseif #groups > 1 then
		add("error", "name servers differ; %s", describe_groups(groups));
	elseif groups[1].texts.wrong then
		add("error", "%s: %s", table.concat(groups[1].servers, ", "), groups[1].texts[1]);
	else
		add("ok", "%d of %s, identical", #answered, zone);
	end
end

-- ---- CAA (RFC 8659). A record names an authority by its domain, which a certificate does not have: both are shown. ----

-- The records of the domain, or of the nearest parent that has any (section 3); a failure ends the search.
local function climb(domain)
	local name = domain;
	while true do
		local answer, parent = dns.find(name, "CAA"), name:match("%.(.+)$");
		if answer.records[1] or not dns.usable(answer) or not parent then return name, answer; end
		name = parent;
	end
end

-- Whether the records forbid every authority to issue. For wildcards issuewild overrides issue (section 4.3).
local function forbids_all(answer, wildcard)
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

-- The domain of the request for a certificate, and whether it was a wildcard
local function requested_name(certificate, host, domain)
	local _, names = certificate.chain:identity(host, certificate.service);
	for _, name in ipairs(names or {}) do
		local parent = name.matched and name.value:match("^%*%.(.+)$");
		if parent then return parent, true; end
	end
	return domain, false;
end

-- The issuer, and whether Prosody trusts it, or trusted it before the certificate expired
local function issuer_of(certificate)
	local info, now = certificate.chain:describe(), os.time();
	local time = math.min(now, (info.not_after or now) - 1);
	local verdict = dane.verify(certificate.chain, { service = certificate.service, names = {} }, nil, time);
	return info.self_issued and "itself" or info.issuer, verdict.chain == "valid" and not info.self_issued;
end

-- question = { name =, wildcard =, issuer =, trusted = }, the last three only with a certificate
local function check_caa(report, question)
	local name, answer = climb(question.name);
	local subject, list = answer.records[1] and name or question.name, {};
	for i, record in ipairs(answer.records) do list[i] = ("%s \"%s\""):format(record.caa.tag, record.caa.value); end
	local text = list[1] and table.concat(list, ", ") or "no record, any authority may issue";
	if dns.usable(answer) and question.trusted and forbids_all(answer, question.wildcard) then
		report:add("warning", "CAA", subject, "no authority may issue: the certificate of %s cannot be renewed: %s", question.issuer, text);
	else
		add_answer(report, "CAA", subject, answer, question.issuer and ("%s; issued by %s"):format(text, question.issuer) or text);
	end
end

-- certificates: { { chain =, service = }, ... } that are served for the host; domain: its A-labels
function check_dns.caa(report, domain, certificates)
	if not certificates[1] then return check_caa(report, { name = domain }); end
	for _, certificate in ipairs(certificates) do
		local name, wildcard = requested_name(certificate, report.host, domain);
		local issuer, trusted = issuer_of(certificate);
		if report:first("CAA", name, tostring(wildcard), tostring(trusted), issuer) then
			check_caa(report, { name = name, wildcard = wildcard, issuer = issuer, trusted = trusted });
		end
	end
end

return check_dns;
