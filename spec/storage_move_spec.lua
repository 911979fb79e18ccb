-- import and export: reading damaged files, comparing values, and faults that stop them

require "spec.helper";

local function load_lib(name, libs, shared)
	local module = {
		require = function (_, lib) return assert(libs and libs[lib], lib); end;
		shared = function () return shared; end;
	};
	local environment = setmetatable({ module = module }, { __index = _G });
	return assert(loadfile("lua/mod_storage_native/"..name..".lib.lua", "t", environment))();
end

describe("records", function ()
	local records = load_lib "records";

	-- The results of reading a list: items by their name, and reasons
	local function read(text)
		local found = {};
		for part, line in records.split(text) do
			local items, reason = records.read(part, line);
			for _, item in ipairs(items) do found[#found + 1] = item.name; end
			if reason then found[#found + 1] = reason; end
		end
		return found;
	end

	local function record(name)
		return ('item({\n\t["name"] = "%s";\n\t["attr"] = {\n\t\t["id"] = "1";\n\t};\n});\n'):format(name);
	end

	it("are split at their boundaries", function ()
		assert.same({}, read "");
		assert.same({ "a" }, read(record "a"));
		assert.same({ "a", "b", "c" }, read(record "a"..record "b"..record "c"));
		assert.same({ "a", "b" }, read 'item({ name = "a" });\nitem({ name = "b" });');
		assert.same({ "a", "b" }, read 'item{ name = "a" } item{ name = "b" }');
		assert.same({ "a", "b" }, read("\n \n"..record "a".."\n\n"..record "b".."\t\n"));
	end);

	it("are all read except a torn one, at any position", function ()
		local whole = record "torn";
		for length = 1, #whole - 3 do -- bytes missing after ")" do not matter
			local torn = whole:sub(1, length);
			for _, rest in ipairs { "", record "b", record "b"..record "c" } do
				local found = read(record "a"..torn..rest);
				assert.equal("a", found[1], torn);
				assert.matches("^line %d+: ", found[2], 1, torn);
				assert.equal(2 + select(2, rest:gsub("name", "")), #found, torn);
			end
		end
	end);

	it("are not found in the text of a message", function ()
		local body = 'item({name=[[forged]]}); item({ item(';
		local torn = ('item({\n\t["name"] = "%s'):format(body);
		assert.same({ "a", "line 8: unfinished string near <eof>", "b" }, read(record "a"..torn..record "b"));
	end);

	it("that were never written consist of zeros", function ()
		assert.same({ "a", "line 7: zeros instead of a record" }, read(record "a"..("\0"):rep(9)));
		assert.same({ "a", "line 7: zeros instead of a record", "b" }, read(record "a"..("\0"):rep(9)..record "b"));
	end);

	it("have the line number of an error", function ()
		assert.same({ "a", "line 9: unexpected symbol near '='", "b" },
			read(record "a"..'item({\n\tname = "x";\n\t= 1;\n});\n'..record "b"));
		assert.same({ "a", "line 7: no item" }, read(record "a".."local x = 1;\n"));
		assert.same({ "a", "line 7: attempt to call a nil value (global 'os')" }, read(record "a".."os();\n"));
	end);

	it("of tables return a table, or a reason", function ()
		assert.same({ 1, x = {} }, records.read_table "return { 1, x = {} };");
		for text, reason in pairs {
			["return {"] = "^line 1: unexpected symbol", ["return 1"] = "^holds a number", [""] = "^holds a nil",
			["\n\nreturn x.y"] = "^line 3: attempt to index", ["\27Lua"] = "^line 1: .*binary chunk",
			["return { f = f() }"] = "^line 1: attempt to call",
		} do
			local value, why = records.read_table(text);
			assert.is_nil(value);
			assert.matches(reason, why);
		end
	end);
end);

describe("a difference", function ()
	local difference = load_lib "difference";
	local st = require "util.stanza";

	it("is nil between equal values", function ()
		for _, value in ipairs { 1, "a", true, false, 1/0, -1/0, 0/0, { a = { 0/0, { b = 1/0 } } }, {} } do
			assert.is_nil(difference(value, value));
		end
		assert.is_nil(difference(0/0, -(0/0)));
		assert.is_nil(difference(1, 1.0));
		assert.is_nil(difference({ x = { 1, 2 } }, { x = { 1, 2 } }));
		assert.is_nil(difference(st.message({ id = "1" }, "hi"), st.message({ id = "1" }, "hi")));
	end);

	it("is nil within the digits that SQL keeps", function ()
		assert.is_nil(difference(0.1 + 0.2, 0.3));
		assert.is_nil(difference({ 1700000000.123456 }, { tonumber(tostring(1700000000.123456)) }));
		assert.is_string(difference(1 << 60, (1 << 60) + 1));
		assert.is_string(difference(0.3, 0.30001));
	end);

	it("is reported with its path", function ()
		assert.equal("1 became 2", difference(1, 2));
		assert.equal('"1" became 1', difference("1", 1));
		assert.equal("a: b: false became nil", difference({ a = { b = false } }, { a = {} }));
		assert.equal("a: nil became 1", difference({}, { a = 1 }));
		assert.equal("a: a table became NaN", difference({ a = {} }, { a = 0/0 }):gsub("-?nan", "NaN"));
		assert.is_string(difference(st.message({ id = "1" }), st.message({ id = "2" })));
	end);
end);

describe("faults", function ()
	local faults = load_lib "faults";

	local function kind_of(err, writing)
		local ok, result = pcall(faults.of, err, writing);
		return ok and "fault" or (result.again and "stop, again" or "stop");
	end

	it("affect one item, unless they affect all", function ()
		assert.equal("fault", kind_of "/data/a.dat: Is a directory");
		assert.equal("stop, again", kind_of "Error preparing statement handle: database is locked");
		assert.equal("stop", kind_of "file is not a database");
		assert.equal("fault", kind_of("/data/a.dat: Input/output error", false));
		assert.equal("stop, again", kind_of("/data/a.dat: Input/output error", true));
		assert.equal("stop, again", kind_of("/data/a.dat~: No space left on device", true));
	end);

	it("do not stop the run because of data of a user", function ()
		assert.equal("fault", kind_of("unfinished string near '\"No space left on device'", true));
		assert.equal("fault", kind_of("Duplicate entry 'database is locked' for key 'x'", true));
	end);

	it("have a text without the position in Prosody's source", function ()
		assert.equal("wrong", faults.of("/usr/lib/prosody/util/x.lua:12: wrong").reason);
		assert.equal("for people", faults.of({ condition = "x", text = "for people" }).reason);
		assert.equal("k", faults.of({ item = "k", reason = "r" }).item);
	end);

	it("are separated from the results of a function", function ()
		assert.same({ true, 5 }, { faults.protect(function (a, b) return a + b; end, 2, 3) });
		assert.same({ false, { reason = "no" } }, { faults.protect(error, "no", 0) });
		assert.has_error(function () faults.protect(faults.stop, "all", true); end, { stop = true, text = "all", again = true });
	end);

	it("of the native store say whether another run helps", function ()
		for condition, again in pairs { ["disk-full"] = true, ["storage-full"] = true, ["storage-corrupt"] = false, ["io-error"] = false } do
			local _, stop = pcall(faults.refused, condition, "text");
			assert.same({ stop = true, text = "text", again = again }, stop);
		end
		local _, stop = pcall(faults.raise, "storage-busy", "text");
		assert.is_true(stop.stop);
		local _, fault = pcall(faults.raise, "storage-corrupt", "text");
		assert.same({ reason = "text" }, fault);
	end);
end);

describe("a store of SQL", function ()
	local libs = { difference = load_lib "difference", faults = load_lib "faults" };
	local engine, driver_store, store;

	before_each(function ()
		engine = { conn = {}, transaction = function () return false, "gone"; end };
		driver_store = {
			get = function () return { a = 1 }; end;
			set = function () return true; end;
		};
		local driver = { open = function () return { get = function () end }; end };
		store = load_lib("sql", libs, { engine }).open(driver_store, "host.test", "roster", "keyval", driver);
	end);

	local function fail(text)
		driver_store.get = function () return nil, text; end
		driver_store.set = function () return false, text; end
	end

	it("stops the run when the connection is lost", function ()
		assert.same({ a = 1 }, store:get "user");
		fail "server closed the connection";
		engine.conn = nil;
		for _, method in ipairs { "get", "set" } do
			local ok, err = pcall(store[method], store, "user", {});
			assert.is_false(ok);
			assert.same({ stop = true, again = true,
				text = "the connection to the database is lost: server closed the connection" }, err);
		end
	end);

	it("fails alone while the connection exists", function ()
		store:set("user", {});
		fail "Incorrect string value";
		local ok, err = pcall(store.get, store, "user");
		assert.is_false(ok);
		assert.matches("^the row in the table prosody: Incorrect string value; repair", err.reason);
		assert.same({ false, "Incorrect string value" }, { store:set("user", {}) });
	end);

	it("does not consider an unused connection lost", function ()
		engine.conn = nil;
		fail "no such row";
		assert.is_nil(select(2, pcall(store.get, store, "user")).stop);
	end);

	describe("runs writes together", function ()
		local own, calls;

		before_each(function ()
			calls = {};
			function own(_, call)
				table.insert(calls, "begin");
				local ok, text = pcall(call);
				table.insert(calls, ok and "commit" or "roll back");
				return ok, text;
			end
			engine.transaction = own;
			driver_store.users = function () return engine:transaction(error); end;
			driver_store.set = function (_, _, data) return engine:transaction(function ()
				table.insert(calls, data);
				if data == "bad" then error("refused", 0); end
			end); end;
		end);

		it("in one transaction", function ()
			assert.is_true((store:transaction(function ()
				store:set("user", "a");
				store:set("user", "b");
			end)));
			assert.same({ "begin", "a", "b", "commit" }, calls);
			store:set("user", "c");
			assert.same({ "begin", "a", "b", "commit", "begin", "c", "commit" }, calls);
		end);

		it("which an error rolls back", function ()
			local results;
			assert.same({ false, "stop here" }, { store:transaction(function ()
				results = { store:set("user", "bad") };
				error("stop here", 0);
			end) });
			assert.same({ false, "refused" }, results);
			assert.same({ "begin", "bad", "roll back" }, calls);
			assert.equal(own, engine.transaction);
		end);

		it("and without the statement that has failed", function ()
			engine.prepared = { "failed" };
			store:transaction(function () end);
			assert.same({ "failed" }, engine.prepared);
			store:transaction(function () error "refused"; end);
			assert.same({}, engine.prepared);
		end);

		it("and stops the run if they cannot be committed", function ()
			engine.transaction = function () return false, "commit failed"; end;
			local ok, err = pcall(store.transaction, store, function () end);
			assert.is_false(ok);
			assert.is_true(err.stop and err.again);
			assert.matches("^the database did not commit; check", err.text);
		end);
	end);

	it("rejects data that could not be read back", function ()
		assert.is_nil(store:refuses { a = 1, b = "x", c = { 1, { d = false } }, [false] = { e = 1.5 }, [2] = "y", big = 1 << 62 });
		for key, value in pairs { a = 1/0, b = -1/0, c = { d = { 0/0 } }, e = "\0", f = { [1/0] = 1 }, g = { h = print } } do
			local reason, name = store:refuses { good = 1, [key] = value };
			assert.is_string(reason);
			assert.equal(key, name);
		end
		local reason, name = store:refuses { [false] = { a = 1/0 } };
		assert.equal("SQL cannot store this number: false: a: inf", reason);
		assert.is_nil(name);
	end);
end);

describe("the progress of a copy", function ()
	local progress;

	before_each(function ()
		local terminal = { progress = function () return { visible = true, update = function () end, finish = function () end }; end };
		progress = load_lib("estimate", { terminal = terminal })("Copying");
	end);

	it("is an estimate from the share that was passed", function ()
		progress:expect(function () return 300; end);
		progress:expect(function () return 100; end);
		progress:begin("a");
		for _ = 1, 5 do progress:wrote(); end
		progress:passed(100);
		assert.equal("a  5 written  25 %", progress:state(0.5));
		assert.equal("a  5 written  0/s  25 %  0:30 left", progress:state(10));
		assert.equal("a  5 written  0/s  25 %  3:00:03 left", progress:state(3601));
		progress:passed(400); -- the source has grown
		assert.equal("a  5 written  1/s  100 %  0:00 left", progress:state(5));
	end);

	it("has no estimate if the source cannot count", function ()
		progress:expect(function () return 300; end);
		progress:expect(function () return nil; end);
		progress:expect(function () return 300; end);
		progress:begin("a");
		progress:passed(1);
		assert.equal("a  0 written  0/s", progress:state(5));
	end);

	it("has no estimate if there is nothing to count", function ()
		assert.equal("  0 written", progress:state(0));
	end);
end);
