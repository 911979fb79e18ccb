-- prosodyctl mod_native check: collects the findings of all checks, and prints them as text or JSON

local array = require "util.array";
local json = require "util.json";

local format_table = module:require "table";
local modules = module:require "modules";
local terminal = module:require "terminal";

local CHECKS = { "check_modules", "check_options", "check_s2s", "check_machine" };
local STATUS = { ok = 0, warning = 3, error = 1 };
local COLOURS = { error = "red", warning = "yellow", advice = "green" };
local ORDER = { "error", "warning", "advice" };
local COLUMNS = { { title = "module" }, { title = "hosts" }, { title = "shared objects" } };
local NAMED = 3; -- hosts; of more than these only the number is shown
local INDENT, WIDTH = "         ", 100;

local check = {};

-- ---- Findings ----

-- An array, and its counts by severity. findings.add(severity, finding), where a finding is
-- { about = module, option or part of the machine, host = nil for all, what =, why =, line = what to write, which may be absent,
-- place = where the line belongs, "In the configuration" if absent }
local function new_findings()
	local findings = { counts = { error = 0, warning = 0, advice = 0 } };
	function findings.add(severity, finding)
		finding.severity = severity;
		for _, key in ipairs { "about", "host", "what", "why" } do
			finding[key] = finding[key] and terminal.printable(finding[key]);
		end
		findings[#findings + 1] = finding;
		findings.counts[severity] = findings.counts[severity] + 1;
	end
	return findings;
end

-- ---- Versions ----

local function field(name, key)
	local ok, library = pcall(require, name);
	return ok and library[key] or nil;
end

-- Only the store links LMDB and libzstd.
local function store_library(installed, name)
	for _, found in ipairs(installed) do
		local open = found.name == "storage_native" and package.loadlib(found.objects[1].path, "luaopen_store");
		if open then return open()[name]:match("%d[%d.]*"); end
	end
end

-- Array of { name =, version = } of the installed libraries
local function versions(installed)
	local list = array();
	local function add(name, version)
		version = version and tostring(version):match("%d[%w.]*") or version;
		if version then list:push { name = name, version = version }; end
	end
	list:push { name = "Prosody", version = prosody.version };
	add("Lua", _VERSION);
	add("OpenSSL", field("util.hashes", "_LIBCRYPTO_VERSION"));
	add("LMDB", store_library(installed, "lmdb"));
	add("libzstd", store_library(installed, "zstd"));
	add("libexpat", field("lxp", "_EXPAT_VERSION"));
	add("libunbound", field("lunbound", "_LIBVER"));
	return list;
end

-- ---- The report ----

function check.collect()
	local installed, findings = modules.installed(), new_findings();
	for _, name in ipairs(CHECKS) do module:require(name)(findings, installed); end
	return { versions = versions(installed), modules = installed, findings = findings };
end

-- The worst severity; "ok" where there is only advice
function check.state(report)
	local counts = report.findings.counts;
	return counts.error > 0 and "error" or counts.warning > 0 and "warning" or "ok";
end

function check.summary(report)
	local counts = report.findings.counts;
	return ("%s, %s, %d %s of advice"):format(terminal.plural(counts.error, "error"), terminal.plural(counts.warning, "warning"),
		counts.advice, counts.advice == 1 and "piece" or "pieces");
end

-- ---- Text ----

-- Breaks a text into indented lines of at most WIDTH letters
local function wrapped(text)
	local lines, line = {}, "";
	for word in text:gmatch("%S+") do
		if line ~= "" and #line + 1 + #word > WIDTH then
			lines[#lines + 1], line = line, word;
		else
			line = line == "" and word or line.." "..word;
		end
	end
	lines[#lines + 1] = line;
	return table.concat(lines, "\n"..INDENT);
end

local function finding_as_text(finding)
	local about = finding.host and finding.about.." on "..finding.host or finding.about;
	local text = ("%s  %s\n%s%s\n%s%s\n"):format(
		terminal.style(COLOURS[finding.severity], ("%-7s"):format(finding.severity)), terminal.style("bold", about),
		INDENT, wrapped(finding.what), INDENT, terminal.style("dim", wrapped(finding.why)));
	if not finding.line then return text; end
	return ("%s%s%s:\n%s    %s\n"):format(text, INDENT, finding.place or "In the configuration", INDENT,
		(finding.line:gsub("\n", "\n"..INDENT.."    ")));
end

local function hosts_as_text(found)
	local count = #found.hosts;
	if count == 0 then return "-"; end
	if count <= NAMED then return table.concat(found.hosts, ", "); end
	if not found.protects_all then return ("%d hosts"):format(count); end
	local all = #modules.hosts();
	return count == all and ("all %d hosts"):format(count) or ("%d of %d hosts"):format(count, all);
end

local function objects_as_text(found)
	local names = {};
	for i, object in ipairs(found.objects) do
		names[i] = object.name..(object.error and " (cannot be loaded)" or "");
	end
	return names[1] and table.concat(names, ", ") or "-";
end

function check.as_text(report)
	local heads, rows = {}, {};
	for i, entry in ipairs(report.versions) do heads[i] = entry.name.." "..entry.version; end
	for i, found in ipairs(report.modules) do
		rows[i] = { "mod_"..found.name, hosts_as_text(found), objects_as_text(found) };
	end
	local parts = { table.concat(heads, ", ").."\n", ("modules in %s\n%s"):format(modules.directory, format_table(COLUMNS, rows)) };
	for _, severity in ipairs(ORDER) do
		for _, finding in ipairs(report.findings) do
			if finding.severity == severity then parts[#parts + 1] = finding_as_text(finding); end
		end
	end
	return table.concat(parts, "\n");
end

-- ---- JSON ----

local function as_json(report)
	local list, named = array(), {};
	for _, entry in ipairs(report.versions) do named[entry.name] = entry.version; end
	for _, found in ipairs(report.modules) do
		local objects = array();
		for _, object in ipairs(found.objects) do
			objects:push { name = object.name, loads = object.error == nil, error = object.error };
		end
		list:push { name = found.name, hosts = array(found.hosts), path = found.path, objects = objects };
	end
	return json.encode { state = check.state(report), versions = named, modules = list,
		findings = array():append(report.findings) };
end

function check.run(_, flags)
	local report = check.collect();
	if flags.json then
		terminal.print("%s", as_json(report));
	else
		terminal.print("%s\n%s", check.as_text(report), check.summary(report));
	end
	return STATUS[check.state(report)];
end

return check;
