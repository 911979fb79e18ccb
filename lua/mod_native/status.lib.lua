-- prosodyctl mod_native status: the figures of all modules of the server, as the items "native-status" give them, as text and JSON

local array = require "util.array";
local json = require "util.json";
local modulemanager = require "core.modulemanager";

local ask_server = module:require "admin_client";
local format_table = module:require "table";
local hosts = module:require "modules".hosts;
local terminal = module:require "terminal";

local GLOBAL = "*";
local UNITS_OF_TIME = { { 86400, "d" }, { 3600, "h" }, { 60, "min" } };

local status = {};

-- ---- Collecting ----

local function section(item, host)
	local found = { name = item.name, host = host };
	local ok, result = pcall(item.figures);
	if ok then
		found.figures = result;
	else
		found.error = tostring(result);
		module:log("error", "Cannot collect figures of %s on %s: %s", item.name, host, found.error);
	end
	return found;
end

-- Sorted array of { name =, host = "*" for a global module, figures = } or { name =, host =, error = }, without empty ones
local function sections()
	local list = {};
	for _, host in ipairs { GLOBAL, table.unpack(hosts()) } do
		for _, item in ipairs(modulemanager.get_items("native-status", host) or {}) do
			local found = section(item, host);
			if found.error or found.figures[1] then list[#list + 1] = found; end
		end
	end
	table.sort(list, function (a, b)
		if a.name ~= b.name then return a.name < b.name; end
		return a.host < b.host;
	end);
	return list;
end

-- What the server answers
function status.collect()
	return { prosody = prosody.version, uptime = os.time() - prosody.start_time, sections = sections() };
end

-- ---- JSON: { smacks = { ["example.org"] = { live = 3, largest_queues = [ { jid = ... } ] } } } ----

local function rows_by_name(figure)
	local list = array();
	for _, row in ipairs(figure.rows) do
		local named = {};
		for i, column in ipairs(figure.columns) do
			named[column.name] = type(row[i]) == "string" and terminal.printable(row[i]) or row[i];
		end
		list:push(named);
	end
	return list;
end

function status.as_json(answer)
	local all = { server = { prosody = answer.prosody, uptime = answer.uptime } };
	for _, found in ipairs(answer.sections) do
		local values = { error = found.error };
		for _, figure in ipairs(found.figures or {}) do
			values[figure.name] = figure.rows and rows_by_name(figure) or figure.value;
			if figure.limit then values[figure.name.."_limit"] = figure.limit; end
		end
		all[found.name] = all[found.name] or {};
		all[found.name][found.host] = values;
	end
	return json.encode(all).."\n";
end

-- ---- Text ----

local function seconds_as_text(seconds)
	for i, unit in ipairs(UNITS_OF_TIME) do
		if seconds >= unit[1] then
			local text = ("%d %s"):format(seconds // unit[1], unit[2]);
			local next_unit = UNITS_OF_TIME[i + 1];
			return next_unit and text..(" %d %s"):format(seconds % unit[1] // next_unit[1], next_unit[2]) or text;
		end
	end
	return ("%.3g s"):format(seconds);
end

local function value_as_text(value, unit)
	if type(value) == "boolean" then return value and "yes" or "no"; end
	if type(value) ~= "number" then return terminal.printable(tostring(value)); end
	if unit == "bytes" then return terminal.bytes(value); end
	if unit == "seconds" then return seconds_as_text(value); end
	local text = ("%.15g"):format(math.type(value) == "integer" and value or math.floor(value * 10 + 0.5) / 10);
	return unit == "per second" and text.." a second" or text;
end

local function words(name)
	return (name:gsub("_", " "));
end

local function table_as_text(figure)
	local columns, rows = {}, {};
	for i, column in ipairs(figure.columns) do
		local first = figure.rows[1];
		columns[i] = { title = words(column.name), right = first and type(first[i]) == "number" };
	end
	for i, row in ipairs(figure.rows) do
		rows[i] = {};
		for j, column in ipairs(figure.columns) do rows[i][j] = value_as_text(row[j], column.unit); end
	end
	return "    "..format_table(columns, rows):gsub("\n(.)", "\n    %1");
end

-- width: of the longest name of a figure in the section
local function figure_as_text(figure, width)
	local name = words(figure.name);
	if figure.rows and figure.rows[1] then return ("  %s\n%s"):format(name, table_as_text(figure)); end
	local value = figure.rows and "none" or value_as_text(figure.value, figure.unit);
	local limit = figure.limit and " of at most "..value_as_text(figure.limit, figure.unit) or "";
	return ("  %-"..width.."s  %s%s\n"):format(name, value, limit);
end

local function section_as_text(found)
	local lines, width = {}, 0;
	local title = found.host == GLOBAL and found.name or found.name.." on "..found.host;
	lines[1] = terminal.style("bold", title).."\n";
	if found.error then
		lines[2] = "  "..terminal.style("red", terminal.printable(found.error)).."\n";
		return table.concat(lines);
	end
	for _, figure in ipairs(found.figures) do
		width = math.max(width, #figure.name);
	end
	for _, figure in ipairs(found.figures) do lines[#lines + 1] = figure_as_text(figure, width); end
	return table.concat(lines);
end

function status.as_text(answer)
	local texts = { ("Prosody %s, up %s\n"):format(answer.prosody, value_as_text(answer.uptime, "seconds")) };
	for _, found in ipairs(answer.sections) do texts[#texts + 1] = section_as_text(found); end
	if not answer.sections[1] then texts[2] = "No module with figures is loaded.\n"; end
	return table.concat(texts, "\n");
end

function status.run(_, flags)
	local answer, text = ask_server();
	if not answer then
		terminal.error("%s", text);
		return 1;
	end
	io.stdout:write(flags.json and status.as_json(answer) or status.as_text(answer));
	return 0;
end


return status;
