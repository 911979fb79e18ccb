-- prosodyctl mod_native check. Exit status 0 no problems, 1 errors, 3 warnings only.

local array = require "util.array";
local json = require "util.json";

local family = module:require "family";
local format_table = module:require "table";
local machine = module:require "machine";
local new_findings = module:require "findings";
local plugins = module:require "plugins";
local protection = module:require "protection";
local settings = module:require "settings";
local terminal = module:require "terminal";

local STATUS = { ok = 0, warning = 3, error = 1 };
local COLUMNS = { { title = "module" }, { title = "hosts" }, { title = "shared objects" } };
local NAMED = 3; -- hosts; of more only the number is told

local check = {};

-- ---- What there is ----

local function field(name, key)
	local ok, library = pcall(require, name);
	return ok and library[key] or nil;
end

-- LMDB is linked by the store alone.
local function lmdb_version(modules)
	for _, found in ipairs(modules) do
		local open = found.name == "storage_native" and package.loadlib(found.objects[1].path, "luaopen_store");
		if open then return open().lmdb:match("%d[%d.]*"); end
	end
end

-- Array of { name =, version = } of what is installed
local function versions(modules)
	local list = array();
	local function add(name, version)
		version = version and tostring(version):match("%d[%w.]*") or version;
		if version then list:push { name = name, version = version }; end
	end
	list:push { name = "Prosody", version = prosody.version };
	add("Lua", _VERSION);
	add("OpenSSL", field("util.hashes", "_LIBCRYPTO_VERSION"));
	add("LMDB", lmdb_version(modules));
	add("libexpat", field("lxp", "_EXPAT_VERSION"));
	add("libunbound", field("lunbound", "_LIBVER"));
	return list;
end

function check.collect()
	local modules, findings = family.modules(), new_findings();
	plugins(findings, modules);
	settings(findings, modules);
	protection(findings);
	machine(findings, modules);
	return { versions = versions(modules), modules = modules, findings = findings };
end

-- ---- Telling it ----

local function hosts_as_text(found)
	local count = #found.hosts;
	if count == 0 then return "-"; end
	if count <= NAMED then return table.concat(found.hosts, ", "); end
	if not found.is_everywhere then return ("%d hosts"):format(count); end
	local all = #family.hosts();
	return count == all and ("all %d hosts"):format(count) or ("%d of %d hosts"):format(count, all);
end

local function objects_as_text(found)
	local names = {};
	for i, object in ipairs(found.objects) do
		names[i] = object.name..(object.error and " (cannot be loaded)" or "");
	end
	return names[1] and table.concat(names, ", ") or "-";
end

function check.summary(report)
	return report.findings.summary();
end

function check.as_text(report)
	local heads, rows = {}, {};
	for i, entry in ipairs(report.versions) do heads[i] = entry.name.." "..entry.version; end
	for i, found in ipairs(report.modules) do
		rows[i] = { "mod_"..found.name, hosts_as_text(found), objects_as_text(found) };
	end
	local parts = { table.concat(heads, ", ").."\n", ("modules in %s\n%s"):format(family.directory, format_table(COLUMNS, rows)) };
	if report.findings.list[1] then parts[#parts + 1] = report.findings.as_text(); end
	return table.concat(parts, "\n");
end

local function as_json(report)
	local modules, found_list = array(), array();
	local named = {};
	for _, entry in ipairs(report.versions) do named[entry.name] = entry.version; end
	for _, found in ipairs(report.modules) do
		local objects = array();
		for _, object in ipairs(found.objects) do
			objects:push { name = object.name, loads = object.error == nil, error = object.error };
		end
		modules:push { name = found.name, hosts = array(found.hosts), path = found.path, objects = objects };
	end
	for _, finding in ipairs(report.findings.list) do found_list:push(finding); end
	return json.encode { state = report.findings.state(), versions = named, modules = modules, findings = found_list };
end

function check.run(_, flags)
	local report = check.collect();
	if flags.json then
		terminal.print("%s", as_json(report));
	else
		terminal.print("%s\n%s", check.as_text(report), check.summary(report));
	end
	return STATUS[report.findings.state()];
end

return check;
