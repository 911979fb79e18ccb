-- Reads the options that a module describes as data, in its options.lib.lua:
--
--   local options = module:require "option_reader".read(module:require "options");
--   options.smacks_hibernation_time
--
-- options.lib.lua returns an array of rows. Its field `prefix` begins the names of the module's own options. A row:
--   name          of the option
--   type          a key of `types` below
--   least, most   of a number; most may be absent
--   values        of one_of: an array of strings
--   default       nil: the option has no default
--   default_of    name of an earlier option whose value is the default
--   default_text  the default as the README shows it, in Markdown
--   base          of a path: the key of prosody.paths that a relative path starts from
--   needs         name of an earlier option without which this one has no effect
--   scope         "host": may be set for each host; "server": has to be in the global section
--   group         of a table of its own in the README
--   text          the effect as the README describes it, in Markdown

local jid = require "util.jid";
local resolve_path = require "util.paths".resolve_relative_path;
local serialize = require "util.serialization".new { preset = "oneline", fatal = false, fallback = function (value)
	return "a "..type(value); -- a function has no text
end };
local set = require "util.set";

local has_human, human = pcall(require, "util.human.io");
local parse_period = has_human and human.parse_duration; -- "10 minutes", since Prosody 13.0

local MAX_INTEGER = 0x7FFFFFFFFFFFF; -- can be multiplied by 1000 and is exact as a float
local MAX_SECONDS = 0x7FFFFFFF;

local reader = {};

-- ---- Types: parse(given, row) -> value, or nil; must(row) -> a text about valid values ----

local types = {};

local function in_range(number, row)
	return number and number >= row.least and number <= (row.most or math.huge) and number or nil;
end

local function range(noun)
	return function (row)
		return row.most and ("%s from %.14g to %.14g"):format(noun, row.least, row.most)
			or ("%s of at least %.14g"):format(noun, row.least);
	end;
end

types.number = { must = range "a number", parse = function (given, row)
	local number = tonumber(given);
	return in_range(number and math.min(number, MAX_INTEGER), row);
end };

types.integer = { must = range "an integer", parse = function (given, row)
	local number = tonumber(given);
	return in_range(number and math.tointeger(math.min(number, MAX_INTEGER)), row);
end };

-- As Prosody 13.0 reads periods: "never", false and negative numbers are for ever
local function period(given)
	local seconds = type(given) == "string" and parse_period(given) or tonumber(given);
	local is_never = given == "never" or given == false or seconds and seconds < 0;
	return is_never and MAX_SECONDS or seconds;
end

types.seconds = {
	must = function (row)
		return ("a number of seconds of at least %d%s"):format(row.least, parse_period and ' or a period such as "10 minutes"' or "");
	end;
	parse = function (given, row)
		local seconds = parse_period and period(given) or tonumber(given);
		return seconds and seconds >= row.least and math.floor(math.min(seconds, MAX_SECONDS)) or nil;
	end;
};

-- How long data are kept, as each version of Prosody reads it: on 0.12 days, weeks, months and years; on 13.0 any period. math.huge:
-- for ever
local DAY = 86400;
local UNITS = { d = DAY, w = 7 * DAY, m = 31 * DAY, y = 365.2425 * DAY };

local function parse_retention(text)
	if parse_period then return parse_period(text) or human.parse_duration_lax(text); end
	local number, unit = text:lower():match("(%d+)%s*([dwmy]?)");
	return number and tonumber(number) * (UNITS[unit] or 1);
end

types.retention = {
	must = function () return 'a period such as "4 weeks", or "never"'; end;
	parse = function (given)
		if given == "never" or given == false then return math.huge; end
		local seconds = type(given) == "string" and parse_retention(given) or tonumber(given);
		if not seconds or seconds ~= seconds then return nil; end
		return seconds < 0 and math.huge or seconds;
	end;
};

local BOOLEANS = { [true] = true; ["true"] = true; [1] = true; [false] = false; ["false"] = false; [0] = false };
types.boolean = {
	must = function () return "true or false"; end;
	parse = function (given) return BOOLEANS[given]; end;
};

types.one_of = {
	must = function (row)
		local names = {};
		for i, value in ipairs(row.values) do names[i] = tostring(value); end
		return "one of "..table.concat(names, ", ");
	end;
	parse = function (given, row)
		if set.new(row.values):contains(given) then return given; end
		return nil;
	end;
};

types.text = {
	must = function () return "a string"; end;
	parse = function (given) return (type(given) == "string" or type(given) == "number") and tostring(given) or nil; end;
};

types.path = {
	must = function () return "a path"; end;
	parse = function (given) return type(given) == "string" and given ~= "" and given or nil; end;
};

types.table = {
	must = function () return "a table"; end;
	parse = function (given) return type(given) == "table" and given or nil; end;
};

types.room = {
	must = function () return "the address of a room, room@host"; end;
	parse = function (given)
		local prepped = type(given) == "string" and jid.prep(given) or nil;
		local node, _, resource = jid.split(prepped);
		return node and not resource and prepped or nil;
	end;
};

types.strings = {
	is_list = true, collect = set.new;
	must = function () return "a string"; end;
	parse = function (given) return type(given) == "string" and given or nil; end;
};

-- is_list: parse() gets one item after another, `collect` the parsed items
types.hosts = {
	is_list = true, collect = set.new;
	must = function () return "a host name"; end;
	parse = function (given)
		local prepped = type(given) == "string" and jid.prep(given) or nil;
		return prepped and jid.host(prepped) == prepped and prepped or nil;
	end;
};

-- Origins of web pages as Content Security Policy has them: CSP3, section 2.3.1
types.origins = {
	is_list = true;
	collect = function (list)
		table.sort(list);
		return list;
	end;
	must = function () return "an origin such as https://www.example.org"; end;
	parse = function (given)
		local text = type(given) == "string" and given:lower():gsub("/$", "") or "";
		local host = text:match("^https?://([^:]+)$") or text:match("^https?://([^:]+):%d+$") or text:match("^https?://([^:]+):%*$");
		return host and host:gsub("^%*%.", ""):match("^[%w-.]+$") and text or nil;
	end;
};

-- ---- Checking ----

-- Returns the value of an option that is configured as `given`, nil if it is invalid; and an array of its invalid parts, nil if
-- there are none. The value of a list has its valid items.
function reader.check(row, given)
	local kind = types[row.type];
	if not kind.is_list then
		local value = kind.parse(given, row);
		if value == nil then return nil, { given }; end
		return value;
	end
	local items, invalid = {}, {};
	for _, item in ipairs(type(given) == "table" and given or { given }) do
		local value = kind.parse(item, row);
		if value then table.insert(items, value); else table.insert(invalid, item); end
	end
	return kind.collect(items), invalid[1] ~= nil and invalid or nil;
end

-- "x = 5 must be true or false; using the default, true"
local function describe(row, invalid, value)
	local instead = (value == nil or types[row.type].is_list) and "ignored" or "using the default, "..serialize(value);
	return ("%s = %s must be %s; %s"):format(row.name, serialize(invalid), types[row.type].must(row), instead);
end

-- Returns a table of all values by name. get(name) gives the configured value; report(row, text) is called for each invalid one.
function reader.values(rows, get, report)
	local values = {};
	for _, row in ipairs(rows) do
		local given, value, invalid = get(row.name), nil, nil;
		if given ~= nil then value, invalid = reader.check(row, given); end
		if value == nil then value = row.default; end
		if value == nil and row.default_of then value = values[row.default_of]; end
		for _, part in ipairs(invalid or {}) do report(row, describe(row, part, value)); end
		if value and row.needs and values[row.needs] == nil then
			report(row, ("%s needs %s; ignored"):format(row.name, row.needs));
			value = row.default;
		end
		if value and row.base then value = resolve_path(prosody.paths[row.base], value); end
		values[row.name] = value;
	end
	return values;
end

-- The rows of the scope, for a module that reads each scope by itself.
function reader.of_scope(rows, scope)
	local list = {};
	for _, row in ipairs(rows) do
		if row.scope == scope then list[#list + 1] = row; end
	end
	return list;
end

-- The options of this module, or of another one: of a host, for a module that all hosts share. Reading an option without a row is
-- an error.
function reader.read(rows, of)
	of = of or module;
	local values = reader.values(rows, function (name) return of:get_option(name); end, function (_, text)
		of:log("error", "Invalid option value: %s", text);
	end);
	local known = {};
	for _, row in ipairs(rows) do known[row.name] = true; end
	return setmetatable(values, { __index = function (_, name)
		if not known[name] then error(("no option is named %s"):format(name), 2); end
	end });
end

return reader;
