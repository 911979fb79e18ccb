-- open() of store.so: its options; copies

local storage = require "spec.storage_helper";
local native = assert(package.loadlib((os.getenv("PN_PLUGINS") or "lua").."/mod_storage_native/store.so", "luaopen_store"))();

local TYPES = {
	directory = "string", max_bytes = "integer", interval = "integer", verify = "boolean", anew = "boolean", reads_all = "boolean",
	metatable = "table", damaged = "function", whole_seconds = "boolean",
};

local VALUES = {
	{ "a string", "string" }, { "1", "string" }, { 1, "integer" }, { 1.5, "number" }, { -1, "negative" }, { true, "boolean" },
	{ false, "boolean" }, { {}, "table" }, { print, "function" }, { coroutine.create(print), "thread" }, { io.stdout, "userdata" },
};

describe("open", function ()
	local bed, handle;

	before_each(function () bed = storage.new(); end);
	after_each(function ()
		if handle then handle:close(); end
		handle = nil;
		bed:close();
	end);

	local function options()
		return {
			directory = bed.directory.."/another", max_bytes = 2^30 | 0, interval = 100, verify = true, anew = false, reads_all = true,
			metatable = {}, damaged = function () end, whole_seconds = false,
		};
	end

	it("takes options of the right types, and requires only the directory", function ()
		handle = assert(native.open(options()));
		handle:close();
		handle = assert(native.open { directory = bed.directory.."/another" });
	end);

	for name, wanted in pairs(TYPES) do
		it("raises where "..name.." has another type", function ()
			for _, case in ipairs(VALUES) do
				local value, is = case[1], case[2];
				if is ~= wanted then
					local given = options();
					given[name] = value;
					local ok, err = pcall(native.open, given);
					assert.is_false(ok, ("%s = %s"):format(name, tostring(value)));
					assert.matches("field '"..name.."' must be", err, 1, true);
				end
			end
		end);
	end

	it("raises without a directory, or with one that has a NUL", function ()
		assert.has_error(function () native.open {}; end);
		assert.has_error(function () native.open { directory = "a\0b" }; end);
		assert.has_error(function () native.open("directory"); end);
	end);
end);

describe("a copy", function ()
	local bed, handle;

	before_each(function ()
		bed = storage.new();
		handle = assert(native.open { directory = bed.directory.."/another" });
	end);
	after_each(function ()
		handle:close();
		bed:close();
	end);

	it("cannot be used once it is closed", function ()
		local copy = assert(handle:copy(bed.directory.."/copy"));
		local more, done, total;
		repeat more, done, total = copy:step(); until not more;
		assert.equal(total, done);
		copy:close();
		assert.has_error(function () copy:step(); end);
	end);
end);
