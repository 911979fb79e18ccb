-- Options as the READMEs describe them

local has_period, human = pcall(require, "util.human.io");
local knows_periods = has_period and human.parse_duration ~= nil;

describe("options", function ()
	local configured, told;
	local stand_in = {
		get_option = function (_, name) return configured[name]; end;
		log = function (_, level, format, ...) table.insert(told, level..": "..format:format(...)); end;
	};
	local option = assert(loadfile("lua/shared/option.lib.lua", "t", setmetatable({ module = stand_in }, { __index = _G })))();

	before_each(function () configured, told = {}, {}; end);

	-- What an option is that is configured as `value`; with `complaint` the log has that line, else nothing
	local function check(expected, kind, value, complaint, default, ...)
		configured, told = { x = value }, {};
		assert.equal(expected, option[kind]("x", default, ...));
		assert.same({ complaint and "error: Option 'x' cannot be "..complaint }, told);
	end

	it("have their default where they are not set", function ()
		for kind, default in pairs { number = 1.5, integer = 7, seconds = 60, boolean = true, one_of = "a" } do
			check(default, kind, nil, nil, default, kind == "one_of" and { "a" } or 1);
		end
		check(nil, "integer", nil, nil, nil, 1);
	end);

	it("are numbers, also as text", function ()
		check(0.5, "number", 0.5, nil, 1, 0);
		check(0.5, "number", "0.5", nil, 1, 0);
		check(3, "integer", 3.0, nil, 1, 0);
		check(3, "integer", "3", nil, 1, 0);
		check(2, "seconds", 2.7, nil, 1, 0);
		check("integer", "integer", nil, nil, "integer", 0);
		configured.x = 4.0;
		assert.equal("integer", math.type(option.integer("x", 1, 1)));
	end);

	it("have their default where they are too small, no number, or not whole", function ()
		check(7, "number", -1, "-1: it has to be a number of at least 0.5. The default is used, 7", 7, 0.5);
		check(7, "number", 0/0, "(0/0): it has to be a number of at least 0. The default is used, 7", 7, 0);
		check(7, "integer", "512MB", '"512MB": it has to be an integer of at least 1. The default is used, 7', 7, 1);
		check(7, "integer", 1.5, "1.5: it has to be an integer of at least 1. The default is used, 7", 7, 1);
		check(7, "integer", true, "true: it has to be an integer of at least 1. The default is used, 7", 7, 1);
		check(7, "integer", { 1, 2 }, "{ 1; 2 }: it has to be an integer of at least 1. The default is used, 7", 7, 1);
		check(nil, "integer", 0, "0: it has to be an integer of at least 1. It is left out", nil, 1);
		check(7, "integer", 129, "129: it has to be an integer from 1 to 128. The default is used, 7", 7, 1, 128);
		check(600, "seconds", "soon", '"soon": it has to be a number of seconds, at least 0'
			..(knows_periods and ', or a period like "10 minutes"' or "")..". The default is used, 600", 600, 0);
		if not knows_periods then
			check(600, "seconds", -5, "-5: it has to be a number of seconds, at least 0. The default is used, 600", 600, 0);
		end
		check(7, "integer", print, "a function: it has to be an integer of at least 1. The default is used, 7", 7, 1);
	end);

	it("have an end to what they can be", function ()
		check(0x7FFFFFFF, "seconds", math.huge, nil, 1, 0);
		assert.equal(0x7FFFFFFFFFFFF, option.integer("y", 0x7FFFFFFFFFFFF, 1));
		check(0x7FFFFFFFFFFFF, "integer", math.maxinteger, nil, 1, 1);
		check(0x7FFFFFFFFFFFF, "integer", math.huge, nil, 1, 1);
		check(0x7FFFFFFFFFFFF, "number", math.huge, nil, 1, 1);
	end);

	it("may be periods where Prosody knows them", function ()
		configured.x = "10 minutes";
		assert.equal(knows_periods and 600 or 60, option.seconds("x", 60, 1));
		assert.equal(knows_periods and 0 or 1, #told);
		for _, never in ipairs { "never", false, -1 } do
			configured.x = never;
			assert.equal(knows_periods and 0x7FFFFFFF or 60, option.seconds("x", 60, 1));
		end
	end);

	it("are true or false", function ()
		for _, yes in ipairs { true, "true", 1 } do check(true, "boolean", yes, nil, false); end
		for _, no in ipairs { false, "false", 0 } do check(false, "boolean", no, nil, true); end
		check(true, "boolean", "no", '"no": it has to be true or false. The default is used, true', true);
		check(nil, "boolean", "no", '"no": it has to be true or false. It is left out', nil);
	end);

	it("are one of some texts", function ()
		check("b", "one_of", "b", nil, "a", { "a", "b" });
		check("a", "one_of", "B", '"B": it has to be one of a, b. The default is used, "a"', "a", { "a", "b" });
	end);
end);
