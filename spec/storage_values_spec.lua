-- Values in stores: every Lua value that can be serialized, with its type; stanzas in archives.

local helper = require "spec.helper";
local generate = require "spec.generate";
local storage = require "spec.storage_helper";

local st, element = helper.st, helper.element;
local assert_same_value = storage.assert_same_value;

local bed, keyval, map;
before_each(function ()
	bed = storage.new();
	keyval, map = bed:open("things"), bed:open("things", "map");
end);
after_each(function () bed:close(); end);

-- In a map, in a keyval, inside of a table; at once and after a reload
local function assert_kept(value)
	assert(map:set("in a map", "key", value));
	assert(keyval:set("in a keyval", { key = value, other = { list = { value, value } } }));
	for _ = 1, 2 do
		assert_same_value(value, map:get("in a map", "key"));
		assert_same_value({ key = value }, keyval:get("in a map"));
		assert_same_value({ key = value, other = { list = { value, value } } }, keyval:get("in a keyval"));
		assert_same_value(value, map:get("in a keyval", "key"));
		bed:reopen();
		keyval, map = bed:open("things"), bed:open("things", "map");
	end
end

local function nested(depth)
	local value = {};
	for _ = 2, depth do value = { value }; end
	return value;
end

describe("a stored value comes back as it was:", function ()
	it("true and false", function ()
		assert_kept(true);
		assert_kept(false);
	end);

	it("integers", function ()
		for _, value in ipairs { 0, 1, -1, 127, 128, -128, -129, 255, 256, 65536, 2^31 | 0, 2^53 | 0, 2^53 + 1 | 0,
			math.maxinteger, math.mininteger } do
			assert_kept(value);
		end
	end);

	it("floats, also integer values, infinity and negative zero", function ()
		for _, value in ipairs { 0.0, -0.0, 1.0, 0.1, -1.5, 1e15, 2.0^53, 2.0^63, 1e300, 5e-324, 1700000000.123456,
			math.pi, math.huge, -math.huge } do
			assert_kept(value);
		end
	end);

	it("a float that is not a number", function ()
		assert(map:set("user", "key", 0/0));
		local value = map:get("user", "key");
		assert.equal("float", math.type(value));
		assert.is_true(value ~= value);
	end);

	it("strings of any bytes", function ()
		for _, value in ipairs { "", "a", "\0", "\0\0a\0", "1", "true", "nil", "\255\254", "\u{1f600}", "]]>", "\r\n",
			"<message/>" } do
			assert_kept(value);
		end
		local all = {};
		for byte = 0, 255 do all[byte + 1] = string.char(byte); end
		assert_kept(table.concat(all));
	end);

	it("strings of any length", function ()
		for _, length in ipairs { 127, 128, 255, 256, 511, 512, 2000, 4096, 65535, 65536, 1000000 } do
			assert_kept(("s"):rep(length));
		end
	end);

	it("tables, empty ones and lists with gaps among them", function ()
		assert_kept {};
		assert_kept { {}, { {} } };
		assert_kept { "a", "b", "c" };
		assert_kept { 1, nil, 3, [100] = 4 };
		assert_kept { [0] = "zero", [-1] = "minus one", [1.5] = "between" };
		assert_kept { list = { 1, 2.0, "3" }, map = { a = { b = { c = false } } } };
	end);

	it("keys of tables with their types", function ()
		local value = { [1] = "integer", ["1"] = "string", [1.5] = "float", ["1.5"] = "string", [true] = "boolean",
			["true"] = "string", [false] = "boolean", [""] = "empty", ["\0"] = "nul", [math.huge] = "infinite",
			[math.mininteger] = "least", [2.0^63] = "large", [("k"):rep(3000)] = "long" };
		assert_kept(value);
		assert(keyval:set("user", value));
		assert_same_value(value, keyval:get("user"));
	end);

	it("tables of tables, a hundred deep", function ()
		assert_kept(nested(100));
	end);

	it("tables with thousands of entries", function ()
		local value = {};
		for n = 1, 3000 do
			value[n] = n;
			value["key" .. n] = { n };
		end
		assert_kept(value);
	end);

	it("a table that is referenced twice, as two tables", function ()
		local shared = { a = 1 };
		assert(keyval:set("user", { shared, shared, more = { shared } }));
		local got = keyval:get("user");
		assert_same_value({ { a = 1 }, { a = 1 }, more = { { a = 1 } } }, got);
		got[1].a = 2;
		assert.equal(1, got[2].a);
	end);

	it("stanzas, as stanzas", function ()
		local stanza = st.message({ to = "a@b", ["xml:lang"] = "en" }, "hello")
			:tag("x", { xmlns = "urn:x", ["urn:y\1attr"] = "v" }):text("mixed "):tag("b"):up():text(" text"):up();
		map:set("user", "key", stanza);
		helper.assert_same_stanza(stanza, map:get("user", "key"));
		keyval:set("user", { item = stanza, list = { { stanza } } });
		bed:reopen();
		local got = bed:open("things"):get("user");
		helper.assert_same_stanza(stanza, got.item);
		helper.assert_same_stanza(stanza, got.list[1][1]);
		assert.is_true(st.is_stanza(got.item));
		got.item:tag("more"):up();
		helper.assert_same_stanza(stanza, bed:open("things", "map"):get("user", "item"));
	end);

	it("generated stanzas", function ()
		local generator = generate.new(helper.seed + 41);
		for n = 1, 300 do
			local stanza = generator:stanza();
			assert(map:set("user", n, stanza));
			assert.equal(storage.xml(stanza), storage.xml(map:get("user", n)));
		end
	end);

	it("tables that look like stanzas, as tables", function ()
		assert_kept { name = "message", attr = { to = "a@b" }, tags = {}, [1] = "text" };
		assert_kept(st.preserialize(st.message({ to = "a@b" }, "hello")));
	end);
end);

describe("a stanza in an archive", function ()
	local archive;
	before_each(function () archive = bed:open("archive", "archive"); end);

	local function assert_kept_stanza(stanza)
		local id = assert(archive:append("user", nil, stanza, 1, "a@example.com"));
		helper.assert_same_stanza(stanza, (archive:get("user", id)));
		local item = (storage.items(archive:find("user", { reverse = true, limit = 1 })))[1];
		assert.equal(id, item.id);
		helper.assert_same_stanza(stanza, item.stanza);
	end

	it("keeps namespaces, any characters of XML, and text between elements", function ()
		assert_kept_stanza(st.message({ xmlns = "jabber:client", ["urn:a\1k"] = "1", ["urn:b\1k"] = "2", k = "3", ["xml:lang"] = "de" })
			:tag("x", { xmlns = "urn:a" }):tag("y", { xmlns = "urn:b" }):tag("x", { xmlns = "urn:a" }):up():up():up()
			:tag("z", { xmlns = "" }):up());
		assert_kept_stanza(st.message({ id = "<&'\">\t\n\r ]]>" },
			"<&'\">\t\n\r ]]> &amp; \u{7f}\u{80}\u{e9}\u{d7ff}\u{fffd}\u{1f600}\u{10ffff}"));
		assert_kept_stanza(st.message({}, " "));
		assert_kept_stanza(st.message({}, "\u{1f469}\u{200d}\u{1f4bb}\u{1f3f3}\u{fe0f}\u{200d}\u{1f308}"));
		assert_kept_stanza(st.stanza("p"):text("a "):tag("b"):text("bold"):up():text(" c "):tag("i"):up():text("d"));
	end);

	it("may be a presence, an iq, or a payload of PubSub", function ()
		assert_kept_stanza(st.presence { from = "a@example.com/r" });
		assert_kept_stanza(st.iq { type = "get", id = "1" }:tag("query", { xmlns = "jabber:iq:roster" }):up());
		assert_kept_stanza(st.stanza("item", { xmlns = "http://jabber.org/protocol/pubsub", id = "current" })
			:tag("nick", { xmlns = "http://jabber.org/protocol/nick" }):text("n"):up());
	end);

	it("may be large and deep", function ()
		local deep, wide = st.message(), st.message();
		for level = 1, 99 do deep:tag("level", { n = tostring(level) }); end
		assert_kept_stanza(deep:text("leaf"):reset());
		for n = 1, 3000 do wide:tag("item", { id = tostring(n), name = ("n"):rep(80) }):up(); end
		assert_kept_stanza(wide);
		assert_kept_stanza(st.message({ id = ("i"):rep(100000) }, ("0123456789"):rep(30000)));
		bed:reopen();
		local last = storage.items(archive:find("user", { limit = 1, reverse = true }))[1];
		assert.equal(300000, #last.stanza:get_child_text("body"));
	end);

	it("keeps generated content", function ()
		local generator, stanzas = generate.new(helper.seed + 43), {};
		for n = 1, 300 do
			stanzas[n] = generator:stanza();
			assert(archive:append("user", nil, stanzas[n], n, "a@example.com"));
		end
		bed:reopen();
		for n, item in ipairs((storage.items(archive:find("user")))) do
			assert.equal(storage.xml(stanzas[n]), storage.xml(item.stanza));
		end
	end);
end);

describe("a value that cannot be stored", function ()
	local cycle = { a = {} };
	cycle.a.b = cycle;
	local metatable_of_stanzas = element("message", {}, { function () end });

	local values = {
		["a function"] = print;
		["a coroutine"] = coroutine.create(print);
		["a userdata"] = io.stdout;
		["a table that contains itself"] = cycle;
		["a table with a function inside"] = { a = { b = { print } } };
		["a table with a table as key"] = { [{}] = 1 };
		["a table with a function as key"] = { a = { [print] = 1 } };
		["a stanza with a function inside"] = metatable_of_stanzas;
	};

	local function assert_unsupported(ok, err)
		storage.assert_refused("unsupported-datatype", ok, err);
	end

	for name, value in pairs(values) do
		it(("is %s: it is refused, and what was there stays"):format(name), function ()
			local before = { a = 1, b = { 2 }, key = "old" };
			assert(keyval:set("user", before));
			assert_unsupported(keyval:set("user", { a = 2, c = 3, key = value }));
			assert_same_value(before, keyval:get("user"));
			assert_unsupported(map:set("user", "key", value));
			assert_same_value(before, keyval:get("user"));
			assert_unsupported(map:set_keys("user", { a = 2, b = map.remove, c = 3, key = value, z = 4 }));
			assert_same_value(before, keyval:get("user"));
			assert_unsupported(keyval:set("other", { key = value }));
			assert_unsupported(map:set("other", "key", value));
			assert.same({ "user" }, storage.sorted(keyval:users()));
			bed:reopen();
			assert_same_value(before, bed:open("things"):get("user"));
		end);
	end

	it("is refused as a key", function ()
		for _, key in ipairs { print, {}, io.stdout } do
			assert_unsupported(keyval:set("user", { [key] = 1 }));
			assert_unsupported(map:set_keys("user", { a = 1, [key] = 1 }));
			assert_unsupported(map:set("user", key, 1));
		end
		assert.is_nil(keyval:get("user"));
	end);

	it("may be deeper than any stack: it is rejected, or kept", function ()
		assert(keyval:set("user", { a = 1 }));
		local ok, err = keyval:set("user", nested(200000));
		if not ok then
			assert_unsupported(ok, err);
			assert.same({ a = 1 }, keyval:get("user"));
		else
			local depth, value = 0, keyval:get("user");
			while value do depth, value = depth + 1, value[1]; end
			assert.equal(200000, depth);
		end
	end);
end);
