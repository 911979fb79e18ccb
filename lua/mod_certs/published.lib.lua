-- prosodyctl mod_certs check: what is in DNS. Each function adds rows to findings.

local dane = module:require "dane";
local lookup = module:require "lookup";
local places = module:require "places";

local SIGNED_DAYS = 3; -- a signature that ends sooner has missed a renewal

local published = {};

-- State of a row and text about the DNSSEC state of an answer
local function describe(answer)
	if answer.state == "bogus" then return "error", "bogus: "..answer.reason; end
	if answer.state == "failed" then return "error", "no answer: "..answer.reason; end
	local days = lookup.signed_days(answer);
	if not days then return "ok", answer.state; end
	return days < SIGNED_DAYS and "warning" or "ok", ("%s, signed for %.1f more days"):format(answer.state, days);
end

-- A row about an answer; `text` says what is in it.
function published.add_answer(findings, host, check, name, answer, text)
	local state, dnssec = describe(answer);
	findings.add(state, host, check, name, "%s", lookup.usable(answer) and text.."; "..dnssec or dnssec);
end

function published.resolver(findings)
	local anchor, text = lookup.anchor();
	findings.add(anchor and "ok" or "warning", "resolver", "trust anchor", "unbound", "%s", anchor or text);
	if not anchor then return; end -- nothing is validated
	local answer = lookup.find(".", "NS");
	if not lookup.usable(answer) and lookup.asks_resolvconf() then
		answer.reason = answer.reason.."; with resolvconf = false in the option unbound, name servers are asked without those of resolv.conf";
	end
	published.add_answer(findings, "resolver", "validation", ".", answer, "name servers of the root");
end

-- ---- SRV ----

local function describe_targets(place)
	local list = {};
	for _, target in ipairs(place.targets) do
		list[#list + 1] = ("%s:%d (priority %d, weight %d)"):format(target.name, target.port, target.priority, target.weight);
	end
	return table.concat(list, ", ");
end

function published.srv(findings, host, place)
	if place.refused and place.tls == "direct" then -- which is how to say that there is STARTTLS alone
		published.add_answer(findings, host, "SRV", place.name, place.srv, "the target \".\" says that it is not offered");
	elseif place.refused then
		findings.add("warning", host, "SRV", place.name, "the target \".\" says that there is no such service");
	elseif place.srv.canonname then
		published.add_answer(findings, host, "SRV", place.name, place.srv, ("%s, by way of the alias %s")
			:format(describe_targets(place), place.srv.canonname));
	elseif place.implied then
		published.add_answer(findings, host, "SRV", place.name, place.srv, ("no record, %s is used"):format(describe_targets(place)));
	elseif not place.targets[1] then
		published.add_answer(findings, host, "SRV", place.name, place.srv, "no record, not offered");
	else
		published.add_answer(findings, host, "SRV", place.name, place.srv, describe_targets(place));
	end
end

-- ---- Addresses ----

function published.addresses(findings, host, target)
	local any = false;
	for _, kind in ipairs { "AAAA", "A" } do
		local answer, list = target.answers[kind], {};
		for i, record in ipairs(answer.records) do list[i] = record[kind:lower()]; end
		any = any or list[1] ~= nil;
		if list[1] or not lookup.usable(answer) then
			published.add_answer(findings, host, kind, target.name, answer, table.concat(list, ", "));
		end
	end
	local alias = target.answers.A.canonname or target.answers.AAAA.canonname;
	if alias then
		findings.add("warning", host, "CNAME", target.name, "is an alias of %s, which a target must not be (RFC 2782)", alias);
	end
	if not any and lookup.usable(target.answers.A) and lookup.usable(target.answers.AAAA) then
		findings.add("error", host, "A", target.name, "there is no address");
	end
end

-- ---- TLSA ----

function published.tlsa(findings, host, place, target)
	local answer = target.tlsa;
	if not lookup.usable(answer) or not answer.records[1] then
		return published.add_answer(findings, host, "TLSA", target.tlsa_name, answer, "no record");
	end
	local names, known = {}, false;
	for i, group in ipairs(dane.combinations(dane.records_of(answer))) do
		names[i] = ("%s%s%s"):format(group.name, #group.records > 1 and (" (%d records)"):format(#group.records) or "",
			group.known and "" or " (cannot be used)");
		known = known or group.known;
	end
	local text = table.concat(names, ", ");
	if answer.canonname then text = ("%s, by way of the alias %s"):format(text, answer.canonname); end
	local used, why = places.is_dane(place, target);
	if used and known then return published.add_answer(findings, host, "TLSA", target.tlsa_name, answer, text); end
	findings.add("warning", host, "TLSA", target.tlsa_name, "%s; without effect: %s", text,
		used and "none can be used" or why);
end

-- ---- Name servers ----

local function text_of(record, kind)
	if kind == "SRV" then
		local srv = record.srv;
		return ("%d %d %d %s"):format(srv.priority, srv.weight, srv.port, srv.target);
	end
	return dane.key(record.tlsa);
end

-- What a name server has, as texts in order; what is no answer is one text, and `wrong`
local function texts_of(answer, kind)
	local failure = lookup.failure(answer) or not answer.authoritative and "it is not its zone";
	if failure then return { failure, wrong = true }; end
	local list = {};
	for i, record in ipairs(answer.records) do list[i] = text_of(record, kind); end
	table.sort(list);
	return list;
end

-- Those that have the same are one group: { { texts =, servers = }, ... }
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

-- What some have, and others have not
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

-- Of an alias those of the zone where the records are
function published.name_servers(findings, host, answer, name, kind)
	local replies, zone = lookup.ask_all(answer.canonname or name, kind);
	local heard, subject = {}, kind.." "..name;
	for _, reply in ipairs(replies) do
		if reply.answer then
			heard[#heard + 1] = reply;
		else
			findings.add("warning", host, "name server", subject, "%s (%s) does not answer", reply.server, reply.address);
		end
	end
	if not heard[1] then
		findings.add("warning", host, "name server", subject, "no name server can be asked");
		return;
	end
	local groups = group(heard, kind);
	if #groups > 1 and #group(heard, kind, true) == 1 then
		findings.add("warning", host, "name server", subject, "differ in letter case alone; %s", describe_groups(groups));
	elseif #groups > 1 then
		findings.add("error", host, "name server", subject, "differ; %s", describe_groups(groups));
	elseif groups[1].texts.wrong then
		findings.add("error", host, "name server", subject, "%s: %s", table.concat(groups[1].servers, ", "), groups[1].texts[1]);
	else
		findings.add("ok", host, "name server", subject, "%d of %s, all alike", #heard, zone);
	end
end

return published;
