-- prosodyctl mod_certs explain: the report about one certificate chain, as a table for JSON and as text

local array = require "util.array";
local idna = require "util.encodings".idna;

local files = module:require "files";
local hosts = module:require "hosts";
local format_table = module:require "table";
local terminal = module:require "terminal";

local printable, style = terminal.printable, terminal.style;

local DAY = 86400;
local MAX_NAMES = 100; -- of one certificate: comparing takes quadratic time

local explain_report = {};

-- ---- Names ----

-- A domain that matches the name if it is well-formed; "*" stands for any label
local function own_domain(name)
	if name.type == "SRV-ID" then return name.value:match("^_[^.]+%.(.+)$") or name.value; end
	return (name.value:gsub("^%*%.", "any."));
end

-- The services that each name is valid for, with its own domain, and why not for others
local function describe_names(chain, names)
	local list = array();
	for i = 1, math.min(#names, MAX_NAMES) do
		local name = names[i];
		local described = { type = name.type, value = printable(name.value), fault = name.fault, services = array() };
		for _, service in ipairs(hosts.SERVICES) do
			local _, compared = chain:identity(own_domain(name), service);
			local own = compared and compared[i];
			if own and own.matched then described.services:push(service); end
			described.reason = name.fault or own and own.reason;
		end
		list:push(described);
	end
	return list;
end

-- ---- Hosts ----

local function is_similar(value, domain)
	value = value:lower();
	local ascii = idna.to_ascii(domain) or domain;
	local parent = ascii:match("%.(.+)$");
	return value:find(ascii, 1, true) or value:find(domain, 1, true) or parent and value == "*."..parent;
end

-- The name that matches, or else the first that is similar, with the reason; or nil
local function nearest(compared, domain)
	local near;
	for _, name in ipairs(compared or {}) do
		if name.matched then return name; end
		if not near and is_similar(name.value, domain) then near = name; end
	end
	return near;
end

-- host = { name =, kind =, services = those that it has, asked = the certificate must be valid for all of them }
local function compare_host(chain, host)
	local result = { name = host.name, kind = host.kind, asked = host.asked or false };
	for _, service in ipairs(hosts.SERVICES) do
		local matches, compared = chain:identity(host.name, service);
		local near = nearest(compared, host.name);
		result[service] = {
			wanted = host.services[service] or false; matches = matches == true;
			type = near and near.type; name = near and printable(near.value);
			reason = near and near.reason or "no name for this domain";
		};
	end
	return result;
end

-- ---- The chain ----

-- Without DANE and names
local function verify(chain)
	local authorities = hosts.authorities();
	local verdict, condition, text = chain:verify {
		references = {}, service = "xmpp-server", time = os.time(),
		cafile = authorities.cafile, capath = authorities.capath,
	};
	if verdict then return verdict; end
	return nil, ("cannot use the authorities in %s: %s"):format(authorities.cafile or authorities.capath, text or condition);
end

local function describe_certificate(info, depth, errors)
	return {
		depth = depth, subject = info.subject, issuer = info.issuer, serial = info.serial,
		not_before = info.not_before, not_after = info.not_after, key_type = info.key.type, key_bits = info.key.bits,
		authority = info.authority, self_issued = info.self_issued, sha256 = info.sha256, spki_sha256 = info.spki_sha256,
		errors = array(errors or {}),
	};
end

-- ---- Problems ----

local function find_problems(report)
	local problems, leaf, now = array(), report.certificates[1], os.time();
	if leaf.not_after and leaf.not_after < now then problems:push("the certificate has expired"); end
	if leaf.not_before and leaf.not_before > now then problems:push("the certificate is not valid yet"); end
	if report.chain ~= "valid" then problems:push("the chain does not lead to a trusted authority"); end
	if report.names_fault then problems:push("unusable names: "..report.names_fault); end
	local asked, serves = false, false;
	for _, host in ipairs(report.hosts) do
		for _, service in ipairs(hosts.SERVICES) do
			local result = host[service];
			asked, serves = asked or host.asked, serves or result.matches;
			if host.asked and result.wanted and not result.matches then
				problems:push(("the certificate is not valid for %s of %s"):format(hosts.LABELS[service], host.name));
			end
		end
	end
	for _, name in ipairs(report.names) do serves = serves or name.services[1] ~= nil; end
	asked = asked or report.uses[1] ~= nil;
	if not asked and not serves then problems:push("the certificate is not valid for any XMPP domain"); end
	return problems;
end

-- On the web hosts may have other names.
local function find_web_problems(chain, uses, problems)
	for _, use in ipairs(uses) do
		for _, name in ipairs(use.service == "https" and use.hosts or {}) do
			if not chain:identity(name, "https") then problems:push("the certificate is not valid for web clients of "..name); end
		end
	end
end

-- list: hosts, as compare_host() takes them; uses: as of uses.of(). Returns the report, or nil, text.
function explain_report.make(pem, list, uses)
	local chain, leaf = files.parse_chain(pem);
	if not chain then return nil, leaf; end
	local names, fault, text = chain:names();
	if not names then return nil, text; end
	local report = { hosts = array(), certificates = array(), names = describe_names(chain, names),
		names_total = #names, names_fault = fault, uses = uses };
	for _, host in ipairs(list) do report.hosts:push(compare_host(chain, host)); end
	local verdict, err = verify(chain);
	if not verdict then return nil, err; end
	report.chain = verdict.chain;
	for i = 1, #chain do
		local info, _, why = chain:describe(i);
		if not info then return nil, why; end
		report.certificates:push(describe_certificate(info, i - 1, verdict.errors[i - 1]));
	end
	report.days_left = leaf.not_after and (leaf.not_after - os.time()) // DAY;
	report.problems = find_problems(report);
	find_web_problems(chain, uses, report.problems);
	return report;
end

-- ---- Text ----

local function date(time)
	return time and os.date("!%Y-%m-%d %H:%M", time) or "unreadable date";
end

local function validity(certificate)
	local now, from, to = os.time(), certificate.not_before, certificate.not_after;
	local text = ("%s to %s UTC"):format(date(from), date(to));
	if to and to < now then return text..", "..style("red", ("expired %.1f days ago"):format((now - to) / DAY)); end
	if from and from > now then return text..", "..style("red", "not valid yet"); end
	return text..(to and (", %.1f days left"):format((to - now) / DAY) or "");
end

local function print_certificate(certificate)
	terminal.print("%2d  %s", certificate.depth, style("bold", certificate.subject));
	local function line(title, text) terminal.print("    %-10s  %s", title, text); end
	line("issued by", certificate.self_issued and "itself" or certificate.issuer);
	line("valid", validity(certificate));
	line("key", ("%s, %s"):format(certificate.key_type ~= "" and certificate.key_type or "unknown",
		terminal.plural(certificate.key_bits, "bit")));
	line("serial", certificate.serial);
	line("SHA-256", certificate.sha256);
	line("of the key", certificate.spki_sha256);
	for _, text in ipairs(certificate.errors) do line("error", style("red", text)); end
end

-- The services that a name is valid for, or why there are none
local function validity_of(name)
	local words = {};
	for i, service in ipairs(name.services) do words[i] = hosts.LABELS[service]; end
	return words[1] and table.concat(words, " and ") or "nothing: "..(name.reason or "not a domain");
end

local function print_names(report)
	if report.names_fault then terminal.print("names  %s", style("red", report.names_fault)); end
	local rows = {};
	for i, name in ipairs(report.names) do rows[i] = { name.type, name.value, validity_of(name) }; end
	if not rows[1] then return terminal.print("The certificate has no names; the subject's common name does not count."); end
	io.stdout:write(format_table({ { title = "type" }, { title = "name" }, { title = "valid for" } }, rows));
	if report.names_total > #rows then terminal.print("... and %d more", report.names_total - #rows); end
end

local function answer(result)
	if result.matches then return "yes"; end
	return result.wanted and "no" or "-";
end

local function reason_for(result)
	if not result.name then return result.reason; end
	if result.matches then return ("%s %s"):format(result.type, result.name); end
	return ("%s %s: %s"):format(result.type, result.name, result.reason);
end

local function print_hosts(report)
	local rows = {};
	for i, host in ipairs(report.hosts) do
		local reasons, row = {}, { printable(host.name) };
		for _, service in ipairs(hosts.SERVICES) do
			local result = host[service];
			row[#row + 1] = answer(result);
			local reason = reason_for(result);
			if reasons[#reasons] ~= reason and (result.wanted or result.matches) then reasons[#reasons + 1] = reason; end
		end
		row[#row + 1] = table.concat(reasons, "; ");
		rows[i] = row;
	end
	if not rows[1] then return; end
	terminal.print("");
	io.stdout:write(format_table({ { title = "host" }, { title = "clients" }, { title = "servers" },
		{ title = "reason" } }, rows));
end

local function print_uses(report)
	local rows = {};
	for i, use in ipairs(report.uses) do
		local names = {};
		for _, name in ipairs(use.hosts) do names[#names + 1] = printable(name); end
		if use.nameless then names[#names + 1] = "clients without SNI"; end
		rows[i] = { hosts.describe(use.service, use.tls, use.port), table.concat(names, ", ") };
	end
	if rows[1] then io.stdout:write("\n", format_table({ { title = "used for" }, { title = "hosts" } }, rows)); end
end

function explain_report.print(report)
	for _, source in ipairs(report.source) do terminal.print("%s", style("bold", source)); end
	terminal.print("");
	for _, certificate in ipairs(report.certificates) do print_certificate(certificate); end
	terminal.print("");
	print_names(report);
	print_hosts(report);
	print_uses(report);
	terminal.print("");
	for _, problem in ipairs(report.problems) do terminal.print("%s %s", style("red", "problem:"), problem); end
	if not report.problems[1] then terminal.print("%s", style("green", "no problems")); end
	terminal.print("");
end

return explain_report;
