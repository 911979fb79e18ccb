#!/usr/bin/env lua5.4
-- options.lua [--write] [DIRECTORY]
--
-- Compares options.lib.lua of each module below DIRECTORY (lua/) with the table of options in its README and with the options
-- that its Lua files read. Prints a line for each difference, and ends with status 1 if there is one. --write rewrites the tables,
-- which stand between <!-- options --> and <!-- end of options -->; <!-- options NAME --> is the table of a group.

local write = arg[1] == "--write";
local directory = arg[write and 2 or 1] or "lua";
local differences = 0;

local function complain(...)
	print(string.format(...));
	differences = differences + 1;
end

local function lines_of(command)
	local list = {};
	for line in io.popen(command:format("'"..directory.."'")):lines() do list[#list + 1] = line; end
	return list;
end

local function read(path)
	local file <close> = assert(io.open(path));
	return file:read("a");
end

-- ---- Tables ----

local function default_as_text(row)
	if row.default_text then return row.default_text; end
	if row.default_of then return ("that of `%s`"):format(row.default_of); end
	if row.default == nil then return "none"; end
	if type(row.default) == "string" then return ('`"%s"`'):format(row.default); end
	return type(row.default) == "table" and "`{}`" or tostring(row.default);
end

local function table_of(rows, group)
	local list = { "| option | default | effect |", "|---|---|---|" };
	for _, row in ipairs(rows) do
		if row.group == group then
			list[#list + 1] = ("| `%s` | %s | %s |"):format(row.name, default_as_text(row), row.text);
		end
	end
	return table.concat(list, "\n");
end

local function compare_readme(path, rows)
	local text, shown = read(path), {};
	local new = text:gsub("(<!%-%- options ?(%w*) %-%->\n)(.-)(\n<!%-%- end of options %-%->)", function (first, name, old, last)
		local group = name ~= "" and name or nil;
		shown[name] = true;
		local made = table_of(rows, group);
		if made ~= old and not write then complain("%s: the table of options differs from options.lib.lua", path); end
		return first..made..last;
	end);
	for _, row in ipairs(rows) do
		if not shown[row.group or ""] then
			complain("%s: no table for %s", path, row.name);
		end
	end
	if write and new ~= text then
		local file <close> = assert(io.open(path, "w"));
		file:write(new);
	end
end

-- ---- Reading ----

local READING = { "get_option[%w_]*%s*%(?%s*[\"']([%w_]+)", "config%.%w+%s*%([^,()]*,%s*[\"']([%w_]+)", "[%w_]*options%.([%w_]+)" };

local function compare_reading(path, prefixes, known)
	local text = read(path);
	for _, pattern in ipairs(READING) do
		for name in text:gmatch(pattern) do
			for prefix in pairs(prefixes) do
				if name:sub(1, #prefix) == prefix and not known[name] then complain("%s: no row for %s", path, name); end
			end
		end
	end
end

local prefixes, known = {}, {};
for _, path in ipairs(lines_of "ls %s/mod_*/options.lib.lua") do
	local rows = assert(loadfile(path, "t", {}))();
	prefixes[rows.prefix] = true;
	for _, row in ipairs(rows) do known[row.name] = true; end
	compare_readme((path:gsub("[^/]*$", "README.md")), rows);
end
for _, path in ipairs(lines_of "find %s -name '*.lua' ! -name options.lib.lua | sort") do compare_reading(path, prefixes, known); end
os.exit(differences == 0);
