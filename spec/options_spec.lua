-- Options as data: checks of values, values in modules, and the rows of every module

local has_period, human = pcall(require, "util.human.io");
local knows_periods = has_period and human.parse_duration ~= nil;

local FOREVER = 0x7FFFFFFF;

local configured, logged;
local stand_in = {
	get_option = function (_, name) return configured[name]; end;
	log = function (_, level, format, ...) table.insert(logged, level..": "..format:format(...)); end;
};
local reader = assert(loadfile("lua/shared/option_reader.lib.lua", "t", setmetatable({ module = stand_in }, { __index = _G })))();

-- The rows of a module, loaded without functions of Lua or Prosody
local function rows_of(path)
	return assert(loadfile(path, "t", {}))();
end

describe("a value of an option", function ()
	local function valid(row, given, expected)
		local value, invalid = reader.check(row, given);
		assert.same(expected, value);
		assert.is_nil(invalid);
	end

	local function invalid(row, given)
		local value, parts = reader.check(row, given);
		assert.is_nil(value);
		assert.equal(1, #parts);
	end

	it("is a number, also as a string", function ()
		valid({ type = "number", least = 0 }, 0.5, 0.5);
		valid({ type = "number", least = 0 }, "0.5", 0.5);
		valid({ type = "integer", least = 0 }, 3.0, 3);
		valid({ type = "integer", least = 0 }, "3", 3);
		valid({ type = "seconds", least = 0 }, 2.7, 2);
		assert.equal("integer", math.type((reader.check({ type = "integer", least = 1 }, 4.0))));
	end);

	it("is checked against its limits, and for being an integer", function ()
		for _, given in ipairs { -1, 0/0, "512MB", true, { 1, 2 }, print } do
			invalid({ type = "number", least = 0 }, given);
			invalid({ type = "integer", least = 0 }, given);
		end
		invalid({ type = "integer", least = 1 }, 1.5);
		invalid({ type = "integer", least = 1, most = 128 }, 0);
		invalid({ type = "integer", least = 1, most = 128 }, 129);
		invalid({ type = "seconds", least = 0 }, "soon");
	end);

	it("is limited to the range that can be calculated with", function ()
		for _, kind in ipairs { "number", "integer" } do
			valid({ type = kind, least = 1 }, math.maxinteger, 0x7FFFFFFFFFFFF);
			valid({ type = kind, least = 1 }, math.huge, 0x7FFFFFFFFFFFF);
		end
		valid({ type = "seconds", least = 0 }, math.huge, FOREVER);
	end);

	it("is a period if Prosody supports periods", function ()
		local row = { type = "seconds", least = 1 };
		if knows_periods then
			valid(row, "10 minutes", 600);
			for _, never in ipairs { "never", false, -1 } do valid(row, never, FOREVER); end
		else
			for _, given in ipairs { "10 minutes", "never", false, -1 } do invalid(row, given); end
		end
	end);

	it("is the time for which data are kept, as this version of Prosody reads it", function ()
		local row, day = { type = "retention" }, 86400;
		for _, never in ipairs { "never", false, -1 } do valid(row, never, math.huge); end
		for given, seconds in pairs { ["1d"] = day, ["2 weeks"] = 14 * day, ["1Y"] = 365.2425 * day } do
			valid(row, given, seconds);
		end
		valid(row, 3600, 3600);
		valid(row, "3600", 3600);
		if knows_periods then valid(row, "2 hours", 7200); end
		for _, given in ipairs { "soon", {}, 0 / 0, true } do invalid(row, given); end
	end);

	it("is true or false", function ()
		for _, yes in ipairs { true, "true", 1 } do valid({ type = "boolean" }, yes, true); end
		for _, no in ipairs { false, "false", 0 } do valid({ type = "boolean" }, no, false); end
		invalid({ type = "boolean" }, "no");
	end);

	it("is one of some strings", function ()
		valid({ type = "one_of", values = { "a", "b" } }, "b", "b");
		invalid({ type = "one_of", values = { "a", "b" } }, "B");
		invalid({ type = "one_of", values = { "a", "b" } }, 1);
		valid({ type = "one_of", values = { "a", false } }, false, false);
		invalid({ type = "one_of", values = { "a", false } }, true);
	end);

	it("is a string, a path or a table", function ()
		valid({ type = "text" }, "Chat", "Chat");
		valid({ type = "text" }, 24, "24");
		invalid({ type = "text" }, { "Chat" });
		valid({ type = "path" }, "native", "native");
		for _, given in ipairs { "", 1, false } do invalid({ type = "path" }, given); end
		valid({ type = "table" }, { server = "192.0.2.1" }, { server = "192.0.2.1" });
		invalid({ type = "table" }, "192.0.2.1");
	end);

	it("is the address of a room", function ()
		valid({ type = "room" }, "Support@Rooms.example", "support@rooms.example");
		for _, given in ipairs { "", "support", "support@rooms.example/nick", "a b@", 1, {} } do invalid({ type = "room" }, given); end
	end);

	it("is a list, of which the valid items are used", function ()
		local strings, others = reader.check({ type = "strings" }, { "a", 1, "b" });
		assert.is_true(strings:contains("a") and strings:contains("b"));
		assert.same({ 1 }, others);
		local hosts, wrong = reader.check({ type = "hosts" }, { "Rooms.example", "a@rooms.example", 1 });
		assert.is_true(hosts:contains("rooms.example"));
		assert.same({ "a@rooms.example", 1 }, wrong);
		valid({ type = "origins" }, { "https://b.example/", "https://a.example:8443" }, { "https://a.example:8443", "https://b.example" });
		valid({ type = "origins" }, "https://a.example", { "https://a.example" });
		local origins;
		origins, wrong = reader.check({ type = "origins" }, { "https://a.example", "a.example" });
		assert.same({ "https://a.example" }, origins);
		assert.same({ "a.example" }, wrong);
	end);
end);

describe("a module's options", function ()
	before_each(function () configured, logged = {}, {}; end);

	local ROWS = {
		{ name = "size", type = "integer", least = 1, default = 7 };
		{ name = "burst", type = "integer", least = 1, most = 128, default_of = "size" };
		{ name = "mode", type = "one_of", values = { "a", "b" }, default = "a" };
		{ name = "room", type = "room" };
		{ name = "own", type = "boolean", default = false, needs = "room" };
		{ name = "origins", type = "origins", default = {} };
		{ name = "directory", type = "path", base = "data", default = "native" };
	};
	local stock_prosody = _G.prosody;

	setup(function () _G.prosody = { paths = { data = "/var/lib/prosody" } }; end);
	teardown(function () _G.prosody = stock_prosody; end);

	it("have their defaults, also that of another option", function ()
		local options = reader.read(ROWS);
		assert.same({ size = 7, burst = 7, mode = "a", own = false, origins = {}, directory = "/var/lib/prosody/native" }, options);
		configured.size = 9;
		assert.equal(9, reader.read(ROWS).burst);
		assert.same({}, logged);
	end);

	it("have their defaults if a value is invalid, and the log names the valid values", function ()
		configured = { size = "512MB", burst = 129, mode = print, room = "x" };
		local options = reader.read(ROWS);
		assert.same({ 7, 7, "a" }, { options.size, options.burst, options.mode });
		assert.is_nil(options.room);
		assert.same({
			'error: Invalid option value: size = "512MB" must be an integer of at least 1; using the default, 7',
			"error: Invalid option value: burst = 129 must be an integer from 1 to 128; using the default, 7",
			'error: Invalid option value: mode = a function must be one of a, b; using the default, "a"',
			'error: Invalid option value: room = "x" must be the address of a room, room@host; ignored',
		}, logged);
	end);

	it("ignore invalid items of lists", function ()
		configured = { origins = { "https://a.example", "x" } };
		assert.same({ "https://a.example" }, reader.read(ROWS).origins);
		assert.same({ 'error: Invalid option value: origins = "x" must be an origin such as https://www.example.org; ignored' }, logged);
	end);

	it("have no effect without the option that they need", function ()
		configured = { own = true };
		assert.is_false(reader.read(ROWS).own);
		assert.same({ "error: Invalid option value: own needs room; ignored" }, logged);
		configured.room = "support@rooms.example";
		assert.is_true(reader.read(ROWS).own);
	end);

	it("cannot be read without a row", function ()
		local options = reader.read(ROWS);
		assert.is_nil(options.room);
		assert.has_error(function () return options.rooms; end, "no option is named rooms");
	end);
end);

describe("the rows of every module", function ()
	local FIELDS = { name = "string", type = "string", scope = "string", text = "string", default_text = "string", default_of = "string",
		needs = "string", base = "string", group = "string", least = "number", most = "number", values = "table" };

	local paths = {};
	for path in io.popen("ls lua/mod_*/options.lib.lua"):lines() do table.insert(paths, path); end

	it("exist", function ()
		assert.equal(7, #paths);
	end);

	for _, path in ipairs(paths) do
		it("are valid plain data: "..path, function ()
			local rows, earlier = rows_of(path), {};
			assert.equal("string", type(rows.prefix));
			for _, row in ipairs(rows) do
				for field, value in pairs(row) do
					assert.is_true(field == "default" or FIELDS[field] == type(value), row.name.." "..field);
				end
				assert.is_true(row.text ~= nil and (row.scope == "host" or row.scope == "server"), row.name);
				assert.is_nil(earlier[row.name]);
				for _, other in pairs { row.default_of, row.needs } do assert.is_true(earlier[other], row.name); end
				if row.default ~= nil then assert.same({ row.default }, { reader.check(row, row.default) }, row.name); end
				reader.check(row, "x"); -- has a type, and the fields that it takes
				earlier[row.name] = true;
			end
		end);
	end
end);
