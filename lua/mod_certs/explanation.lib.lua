-- The report of a certificate for people

local format_table = module:require "table";
local hosts = module:require "hosts";
local terminal = module:require "terminal";

local printable, style = terminal.printable, terminal.style;

local DAY = 86400;

local function date(time)
	return time and os.date("!%Y-%m-%d %H:%M", time) or "an absurd date";
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

-- What a name serves, or why it does not serve anything
local function reach(name)
	local words = {};
	for i, service in ipairs(name.services) do words[i] = hosts.PEOPLE[service]; end
	return words[1] and table.concat(words, " and ") or "nothing: "..(name.reason or "no domain");
end

local function print_names(report)
	if report.names_fault then terminal.print("names  %s", style("red", report.names_fault)); end
	local rows = {};
	for i, name in ipairs(report.names) do rows[i] = { name.type, name.value, reach(name) }; end
	if not rows[1] then return terminal.print("It has no names; the subject's common name does not count."); end
	io.stdout:write(format_table({ { title = "type" }, { title = "name" }, { title = "serves" } }, rows));
	if report.names_total > #rows then terminal.print("... and %d more", report.names_total - #rows); end
end

local function answer(result)
	if result.matches then return "yes"; end
	return result.wanted and "no" or "-";
end

local function because(result)
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
			local reason = because(result);
			if reasons[#reasons] ~= reason and (result.wanted or result.matches) then reasons[#reasons + 1] = reason; end
		end
		row[#row + 1] = table.concat(reasons, "; ");
		rows[i] = row;
	end
	if not rows[1] then return; end
	terminal.print("");
	io.stdout:write(format_table({ { title = "host" }, { title = "clients" }, { title = "servers" },
		{ title = "because" } }, rows));
end

-- What Prosody uses the file for
local function print_uses(report)
	local rows = {};
	for i, use in ipairs(report.uses) do
		local names = {};
		for _, name in ipairs(use.hosts) do names[#names + 1] = printable(name); end
		if use.nameless then names[#names + 1] = "whoever names no host"; end
		rows[i] = { hosts.PEOPLE[use.service]..(use.tls == "direct" and (", direct TLS on port %d"):format(use.port) or ", STARTTLS"),
			table.concat(names, ", ") };
	end
	if rows[1] then io.stdout:write("\n", format_table({ { title = "used for" }, { title = "hosts" } }, rows)); end
end

return function (report)
	for _, source in ipairs(report.source) do terminal.print("%s", style("bold", source)); end
	terminal.print("");
	for _, certificate in ipairs(report.certificates) do print_certificate(certificate); end
	terminal.print("");
	print_names(report);
	print_hosts(report);
	print_uses(report);
	terminal.print("");
	for _, problem in ipairs(report.problems) do terminal.print("%s %s", style("red", "problem:"), problem); end
	if not report.problems[1] then terminal.print("%s", style("green", "nothing is wrong")); end
	terminal.print("");
end
