-- Options as the READMEs describe them, alike on all versions of Prosody: what an option cannot be is told of in the log,
-- with what it may be, and the default is used.

local serialize = require "util.serialization".new { preset = "oneline", fatal = false, fallback = function (value)
	return "a "..type(value); -- which no text stands for
end };

local has_human, human = pcall(require, "util.human.io");
local parse_period = has_human and human.parse_duration; -- "10 minutes", since Prosody 13.0

local MAX_INTEGER = 0x7FFFFFFFFFFFF; -- whatever is counted; and may be multiplied
local MAX_SECONDS = 0x7FFFFFFF;

local option = {};

-- The value, where `read` makes one of it; else the default. may: what the option may be
local function get(name, default, read, may)
	local given = module:get_option(name);
	if given == nil then return default; end
	local value = read(given);
	if value ~= nil then return value; end
	module:log("error", "Option '%s' cannot be %s: it has to be %s. %s", name, serialize(given), may,
		default == nil and "It is left out" or "The default is used, "..serialize(default));
	return default;
end

-- A number of at least `least`
function option.number(name, default, least)
	return get(name, default, function (given)
		local number = tonumber(given);
		return number and number >= least and math.min(number, MAX_INTEGER) or nil;
	end, ("a number of at least %.14g"):format(least));
end

-- `most` may be left out
function option.integer(name, default, least, most)
	return get(name, default, function (given)
		local number = tonumber(given);
		number = number and math.tointeger(math.min(number, MAX_INTEGER));
		return number and number >= least and number <= (most or MAX_INTEGER) and number or nil;
	end, (most and "an integer from %d to %d" or "an integer of at least %d"):format(least, most));
end

local function period(given)
	local seconds = type(given) == "string" and parse_period(given) or tonumber(given);
	local is_never = given == "never" or given == false or seconds and seconds < 0;
	return is_never and MAX_SECONDS or seconds;
end

-- An integer; where Prosody knows periods one of those too, "10 minutes", and as there "never" or less than 0 is for ever
function option.seconds(name, default, least)
	return get(name, default, function (given)
		local seconds = parse_period and period(given) or tonumber(given);
		return seconds and seconds >= least and math.floor(math.min(seconds, MAX_SECONDS)) or nil;
	end, ("a number of seconds, at least %d%s"):format(least, parse_period and ', or a period like "10 minutes"' or ""));
end

local BOOLEANS = { [true] = true; ["true"] = true; [1] = true; [false] = false; ["false"] = false; [0] = false };

function option.boolean(name, default)
	return get(name, default, function (given) return BOOLEANS[given]; end, "true or false");
end

-- One of some texts
function option.one_of(name, default, values)
	return get(name, default, function (given)
		for _, value in ipairs(values) do
			if value == given then return value; end
		end
	end, "one of "..table.concat(values, ", "));
end

return option;
