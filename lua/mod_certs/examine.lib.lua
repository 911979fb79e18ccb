-- What a chain of certificates says, whom it serves, and what is wrong with it: a table for people and for JSON

local array = require "util.array";
local idna = require "util.encodings".idna;

local certs = module:require "native"("certs");
local hosts = module:require "hosts";
local printable = module:require "terminal".printable;

local DAY = 86400;
local MAX_NAMES = 100; -- of one certificate: each is compared with all

-- ---- Names ----

-- A domain that the name would serve if it were well-formed; "*" stands for any label
local function own_domain(name)
	if name.type == "SRV-ID" then return name.value:match("^_[^.]+%.(.+)$") or name.value; end
	return (name.value:gsub("^%*%.", "any."));
end

-- Which services each name serves, of its own domain, and why not others
local function describe_names(pem, names)
	local list = array();
	for i = 1, math.min(#names, MAX_NAMES) do
		local name = names[i];
		local described = { type = name.type, value = printable(name.value), fault = name.fault, services = array() };
		for _, service in ipairs(hosts.SERVICES) do
			local _, compared = certs.identity(pem, own_domain(name), service);
			local own = compared and compared[i];
			if own and own.matched then described.services:push(service); end
			described.reason = name.fault or own and own.reason;
		end
		list:push(described);
	end
	return list;
end

-- ---- Hosts ----

local function names_it(value, domain)
	value = value:lower();
	local ascii = idna.to_ascii(domain) or domain;
	local parent = ascii:match("%.(.+)$");
	return value:find(ascii, 1, true) or value:find(domain, 1, true) or parent and value == "*."..parent;
end

-- The name that matches, or the one that comes nearest, with the reason; nil if none is for the domain
local function nearest(compared, domain)
	local near;
	for _, name in ipairs(compared or {}) do
		if name.matched then return name; end
		if not near and names_it(name.value, domain) then near = name; end
	end
	return near;
end

-- host = { name =, kind =, services = which are wanted, asked = of these hosts it must serve the wanted ones }
local function compare_host(pem, host)
	local result = { name = host.name, kind = host.kind, asked = host.asked or false };
	for _, service in ipairs(hosts.SERVICES) do
		local matches, compared = certs.identity(pem, host.name, service);
		local near = nearest(compared, host.name);
		result[service] = {
			wanted = host.services[service] or false; matches = matches == true;
			type = near and near.type; name = near and printable(near.value);
			reason = near and near.reason or "no name is for this domain";
		};
	end
	return result;
end

-- ---- The chain ----

-- Without DANE and without names: who the chain leads to. Names are compared one by one above.
local function verify(pem, authorities)
	local verdict, condition, text = certs.verify {
		chain = pem, references = {}, service = "xmpp-server", time = os.time(),
		cafile = authorities.cafile, capath = authorities.capath,
	};
	if verdict then return verdict; end
	return nil, ("authorities in %s: %s"):format(authorities.cafile or authorities.capath, text or condition);
end

local function describe_certificate(info, depth, errors)
	return {
		depth = depth, subject = info.subject, issuer = info.issuer, serial = info.serial,
		not_before = info.not_before, not_after = info.not_after, key_type = info.key.type, key_bits = info.key.bits,
		authority = info.authority, self_issued = info.self_issued, sha256 = info.sha256, spki_sha256 = info.spki_sha256,
		errors = array(errors or {}),
	};
end

-- ---- What is wrong ----

local function find_problems(report)
	local problems, leaf, now = array(), report.certificates[1], os.time();
	if leaf.not_after and leaf.not_after < now then problems:push("the certificate has expired"); end
	if leaf.not_before and leaf.not_before > now then problems:push("the certificate is not valid yet"); end
	if report.chain ~= "valid" then problems:push("the chain does not lead to a trusted authority"); end
	if report.names_fault then problems:push("the names cannot be used: "..report.names_fault); end
	local asked, serves = false, false;
	for _, host in ipairs(report.hosts) do
		for _, service in ipairs(hosts.SERVICES) do
			local result = host[service];
			asked, serves = asked or host.asked, serves or result.matches;
			if host.asked and result.wanted and not result.matches then
				problems:push(("it does not serve %s of %s"):format(hosts.PEOPLE[service], host.name));
			end
		end
	end
	for _, name in ipairs(report.names) do serves = serves or name.services[1] ~= nil; end
	asked = asked or report.uses[1] ~= nil;
	if not asked and not serves then problems:push("it serves no XMPP domain"); end
	return problems;
end

-- What it is used for on the web, where hosts may have other names
local function find_web_problems(pem, uses, problems)
	for _, use in ipairs(uses) do
		for _, name in ipairs(use.service == "https" and use.hosts or {}) do
			if not certs.identity(pem, name, "https") then problems:push("it does not serve web clients of "..name); end
		end
	end
end

-- list: hosts, as compare_host() takes them; uses: as of certificates.uses(). Returns the report, or nil, text.
return function (pem, list, uses, authorities)
	local leaf, condition, text = certs.names(pem);
	if not leaf then return nil, text or condition; end
	local infos;
	infos, condition, text = certs.chain(pem);
	if not infos then return nil, text or condition; end
	local report = { hosts = array(), certificates = array(), names = describe_names(pem, leaf.names),
		names_total = #leaf.names, names_fault = leaf.fault, uses = uses };
	for _, host in ipairs(list) do report.hosts:push(compare_host(pem, host)); end
	local verdict, err = verify(pem, authorities);
	if not verdict then return nil, err; end
	report.chain = verdict.chain;
	for i, info in ipairs(infos) do
		report.certificates:push(describe_certificate(info, i - 1, verdict.errors[i - 1]));
	end
	report.days_left = infos[1].not_after and (infos[1].not_after - os.time()) // DAY;
	report.problems = find_problems(report);
	find_web_problems(pem, uses, report.problems);
	return report;
end
