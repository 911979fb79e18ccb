-- The functions of util.stanza in stream.so, compared with those that they replace.

local helper = require "spec.helper";
local generate = require "spec.generate";

local st, element = helper.st, helper.element;
local plugins = os.getenv("PN_PLUGINS") or "lua";
local native = assert(package.loadlib(plugins .. "/mod_stream_native/stream.so", "luaopen_stream"))();

local NAMES = { "top_tag", "tostring", "clone", "tag", "text" };
local stock = { top_tag = st.stanza_mt.top_tag, tostring = st.stanza_mt.__tostring, clone = st.clone,
	tag = st.stanza_mt.tag, text = st.stanza_mt.text, add_direct_child = st.stanza_mt.add_direct_child };

local passed_on = 0; -- calls that ours left to the replaced functions
local counting = { add_direct_child = stock.add_direct_child };
for _, name in ipairs(NAMES) do
	counting[name] = function (...)
		passed_on = passed_on + 1;
		return stock[name](...);
	end
end
local ours = native.stanza_functions(st.stanza_mt, stock);
local counted = native.stanza_functions(st.stanza_mt, counting);

-- Calls fn while tostring() is `functions`': stock's top_tag() calls whatever is there, and so does ours.
local function with(functions, fn, ...)
	st.stanza_mt.__tostring = functions.tostring;
	local results = table.pack(pcall(fn, ...));
	st.stanza_mt.__tostring = stock.tostring;
	return results;
end

-- A table as text that shows fields in the order of next(), metatables, and which tables are the same. Fields of an element
-- are sorted: their order shows nowhere.
local function dump(value, seen)
	if type(value) ~= "table" then return ("%s %q"):format(math.type(value) or type(value), tostring(value)); end
	if seen[value] then return "table " .. seen[value]; end
	seen.count = (seen.count or 0) + 1;
	seen[value] = seen.count;
	local parts, is_element = {}, rawget(value, "attr") ~= nil;
	for key, field in next, value do
		if not is_element then table.insert(parts, dump(key, seen) .. " = " .. dump(field, seen)); end
	end
	if is_element then
		local keys = {};
		for key in next, value do table.insert(keys, key); end
		table.sort(keys, function (a, b) return tostring(a) < tostring(b); end);
		for _, key in ipairs(keys) do table.insert(parts, tostring(key) .. " = " .. dump(rawget(value, key), seen)); end
	end
	local mt = getmetatable(value);
	return ("%d%s #%d { %s }"):format(seen[value], mt == st.stanza_mt and "stanza" or tostring(mt), rawlen(value),
		table.concat(parts, "; "));
end

-- Whether two values have a table in common other than the metatables
local function shares_tables(a, b)
	local tables = {};
	local function collect(value)
		if type(value) ~= "table" or tables[value] then return; end
		tables[value] = true;
		for _, field in next, value do collect(field); end
	end
	local function find(value, visited)
		if type(value) ~= "table" or visited[value] then return false; end
		visited[value] = true;
		if tables[value] then return true; end
		for _, field in next, value do
			if find(field, visited) then return true; end
		end
		return false;
	end
	collect(a);
	return find(b, {});
end

local function as_text(results)
	local parts = { tostring(results[1]) };
	for i = 2, results.n do parts[i] = dump(results[i], {}); end
	return table.concat(parts, ", ");
end

local CALLS = { { "tostring" }, { "top_tag" }, { "clone" }, { "clone", true }, { "clone", false } };

-- Checks that all functions give the same, errors included
local function check(stanza, ...)
	local before = dump(stanza, {});
	for _, call in ipairs(CALLS) do
		local name, argument = call[1], call[2];
		local expected = as_text(with(stock, stock[name], stanza, argument, ...));
		assert.equal(expected, as_text(with(ours, ours[name], stanza, argument, ...)));
	end
	assert.equal(before, dump(stanza, {}));
end

-- Checks the same, and that ours did it all
local function check_own(stanza)
	check(stanza);
	passed_on = 0;
	for _, call in ipairs(CALLS) do with(counted, counted[call[1]], stanza, call[2]); end
	assert.equal(0, passed_on);
end

-- A generator whose attributes are strings
local function generator_of_strings(seed, options)
	local generator = generate.new(seed, options);
	local one_of = generator.one_of;
	function generator:one_of(list) -- luacheck: ignore 212/self
		local value = one_of(self, list);
		return type(value) == "number" and tostring(value) or value;
	end
	return generator;
end

-- Ways to make a stanza that is not as util.stanza makes it. Each takes an element of it and a random number.
local function proxy(of) return setmetatable({}, { __index = of }); end
local TWISTS = {
	function (e) e.attr.k = 5; end,
	function (e) e.attr.k = 5.5; end,
	function (e) e.attr.xmlns = 7; end,
	function (e) e.attr.k = true; end,
	function (e) e.attr.k = {}; end,
	function (e) e.attr[1] = "v"; end,
	function (e) e.attr[true] = "v"; end,
	function (e) e.attr["a b"] = "v"; end,
	function (e) e.attr["\1"] = "v"; end,
	function (e) e.attr["\1a"] = "v"; end,
	function (e) e.attr["a\1b\1c"] = "v"; end,
	function (e) e.attr["http://www.w3.org/XML/1998/namespace\1id"] = "v"; end,
	function (e) e.attr.xmlns = "http://www.w3.org/XML/1998/namespace"; end,
	function (e) e.attr = nil; end,
	function (e) e.attr = false; end,
	function (e) e.attr = "text"; end,
	function (e) e.attr = setmetatable({}, { __index = { xmlns = "urn:x" } }); end,
	function (e) e.attr = setmetatable({ a = "b" }, { __pairs = function () return next, { c = "d" }, nil; end }); end,
	function (e) e.attr = setmetatable({ a = "b" }, {}); end,
	function (e) e.name = nil; end,
	function (e) e.name = false; end,
	function (e) e.name = 5; end,
	function (e) e.name = ""; end,
	function (e) e.name = {}; end,
	function (e) e.tags = nil; end,
	function (e) e.tags = {}; end,
	function (e) table.insert(e.tags, element("z")); end,
	function (e) table.insert(e.tags, 1, element("z")); end,
	function (e) table.remove(e.tags); end,
	function (e) e.tags = setmetatable(e.tags, {}); end,
	function (e) e.namespaces = { p = "urn:p", q = "urn:q", r = "urn:r" }; end,
	function (e) e.namespaces = {}; end,
	function (e) e.namespaces = false; end,
	function (e) e.namespaces = "text"; end,
	function (e) e.namespaces = setmetatable({ p = "urn:p" }, {}); end,
	function (e) e.last_add = { e }; end,
	function (e) e.other = "field"; end,
	function (e) table.insert(e, 5); end,
	function (e) table.insert(e, 5.5); end,
	function (e) table.insert(e, true); end,
	function (e) table.insert(e, {}); end,
	function (e) table.insert(e, { attr = {}, tags = {} }); end,
	function (e) table.insert(e, { name = "plain", attr = {} }); end,
	function (e) table.insert(e, element("unlisted")); end,
	function (e) local plain = { name = "plain", attr = {}, tags = {} }; table.insert(e, plain); table.insert(e.tags, plain); end,
	function (e) local p = proxy(element("y", { a = "b" }, { "text" })); table.insert(e, p); table.insert(e.tags, p); end,
	function (e) e[#e + 2] = "behind a nil"; end,
	function (e, n) if #e > 0 then e[n % #e + 1] = nil; end end,
	function (e) setmetatable(e, nil); end,
	function (e) setmetatable(e, { __index = st.stanza_mt }); end,
	function (e) setmetatable(e, { __index = st.stanza_mt, __len = function () return 0; end }); end,
};

describe("stanza functions", function ()
	it("give what util.stanza gives, byte for byte, of any stanza", function ()
		local generator = generator_of_strings(helper.seed + 11, { attributes = 12 });
		for _ = 1, helper.tries(700, 40000) do check_own(generator:stanza()); end
	end);

	it("give the same of text and attributes that are not XML", function ()
		local generator = generator_of_strings(helper.seed + 12);
		for _ = 1, helper.tries(300, 10000) do check_own(generator:invalid_stanza()); end
	end);

	it("give the same, or raise the same error, of stanzas that util.stanza does not make", function ()
		local generator = generate.new(helper.seed + 13);
		for n = 1, helper.tries(1500, 80000) do
			local stanza = generator:stanza();
			local place = stanza;
			while #place.tags > 0 and generator:below(3) > 1 do place = generator:one_of(place.tags); end
			TWISTS[n % #TWISTS + 1](place, generator:below(100));
			check(stanza);
		end
	end);

	it("give the same with namespaces", function ()
		local stanza = element("a", {}, { element("b", { ["urn:p\1k"] = "v" }), "text" });
		stanza.namespaces = { p = "urn:p", q = "urn:q", r = "urn:r", s = "urn:s" };
		stanza.tags[1].namespaces = { p = "urn:p" };
		check_own(stanza);
		assert.is_nil(ours.clone(element("a")).namespaces);
	end);

	it("give the same of the stanzas of util.stanza", function ()
		local message = st.message({ to = "a@b", type = "chat", id = "1", from = "c@d/e", ["xml:lang"] = "en" }, "hi & <bye>")
			:tag("x", { xmlns = "urn:x" }):tag("y", { xmlns = "urn:x", ["urn:z\1k"] = "'" }):text("\u{1f600}");
		for _, stanza in ipairs { message, st.reply(message), st.error_reply(message, "cancel", "item-not-found", "no \"such\" item"),
			st.deserialize(st.preserialize(message)), st.clone(message), st.stanza("a"), st.iq { type = "get", id = "x" } } do
			check_own(stanza);
		end
	end);

	it("give the same for every number of children, and of attributes", function ()
		for n = 0, 70 do
			local attr, children = {}, {};
			for i = 1, n do
				attr["key" .. i] = "v" .. i;
				children[i] = i % 3 == 0 and "text" or element("c");
			end
			check_own(element("a", attr));
			check_own(element("a", {}, children));
		end
	end);

	it("raise the errors of util.stanza for wrong arguments", function ()
		for _, value in ipairs { 5, "text", true, {}, print, coroutine.create(print), io.stdout, setmetatable({}, {}) } do check(value); end
		check(nil);
		local ok, text = pcall(ours.clone, "text");
		assert.is_false(ok);
		assert.matches("^[^:]*stanza%.lua:%d+: bad argument to clone: expected stanza, got string$", text);
		ok, text = pcall(ours.top_tag);
		assert.is_false(ok);
		assert.matches("bad argument to clone: expected stanza, got nil$", text);
	end);

	it("ignore further arguments", function ()
		check(element("a", { b = "c" }, { "text" }), 5, {});
	end);

	it("give the same through tostring() and methods", function ()
		local stanza = element("a", { b = "c" }, { element("d") });
		with(ours, function ()
			st.stanza_mt.top_tag = ours.top_tag;
			assert.equal("<a b='c'><d/></a>", tostring(stanza));
			assert.equal("<a b='c'>", stanza:top_tag());
			assert.equal("<a b='c'><d/></a>", ("%s"):format(stanza));
			st.stanza_mt.top_tag = stock.top_tag;
		end);
		st.stanza_mt.top_tag = stock.top_tag;
	end);

	it("share no table between a stanza and its clone", function ()
		local generator = generator_of_strings(helper.seed + 14);
		for _ = 1, helper.tries(200, 2000) do
			local stanza = generator:stanza();
			stanza.namespaces = { p = "urn:p" };
			assert.is_false(shares_tables(stanza, ours.clone(stanza)));
			assert.is_false(shares_tables(stanza, ours.clone(stanza, true)));
		end
		local stanza = element("a", {}, { element("b") });
		assert.is_true(shares_tables(stanza, { stanza.tags[1] }));
	end);

	it("give clones that can be changed as others", function ()
		local changed = {};
		for name, clone in pairs { stock = stock.clone, ours = ours.clone } do
			local stanza = clone(st.message({ to = "a@b" }, "text"):tag("x", { xmlns = "urn:x" }):up());
			stanza:tag("y"):text("z"):up():text("end"):maptags(function (tag) return tag.name ~= "body" and tag or nil; end);
			stanza:add_child(st.stanza("last")):remove_children("x", "urn:x");
			changed[name] = dump(stanza, {});
		end
		assert.equal(changed.stock, changed.ours);
	end);

	it("handle deep nesting without C stack", function ()
		for _, depth in ipairs { 100, 199, 200, 201, 1000, 20000 } do
			local stanza = element("leaf", { x = "y" }, { "text" });
			for _ = 2, depth do stanza = element("a", { l = "1" }, { stanza }); end
			assert.equal(stock.tostring(stanza), ours.tostring(stanza));
			local clone = ours.clone(stanza);
			assert.equal(stock.tostring(stanza), stock.tostring(clone));
			assert.equal(getmetatable(clone.tags[1]), st.stanza_mt);
		end
		local stanza = element("leaf");
		for _ = 2, 300000 do stanza = element("a", {}, { stanza }); end
		for _, name in ipairs { "tostring", "clone" } do
			local ok, text = pcall(ours[name], stanza);
			assert.is_false(ok);
			assert.matches("stack overflow", text);
		end
	end);

	it("leave a stanza that contains itself to util.stanza", function ()
		local stanza = element("a");
		stanza[1], stanza.tags[1] = stanza, stanza;
		for _, name in ipairs { "tostring", "clone" } do
			local ok, text = pcall(ours[name], stanza);
			assert.is_false(ok);
			assert.is_string(text);
		end
		assert.equal("<a>", with(ours, ours.top_tag, stanza)[2]);
	end);

	it("give top_tag() as somebody else's tostring() has it", function ()
		local function theirs() return "<theirs/>"; end
		assert.equal("<theirs>", with({ tostring = theirs }, ours.top_tag, element("a"))[2]);
	end);

	it("take only a table of functions", function ()
		assert.has_error(function () native.stanza_functions(nil, stock); end);
		assert.has_error(function () native.stanza_functions(st.stanza_mt, nil); end);
		assert.has_error(function () native.stanza_functions(st.stanza_mt, { top_tag = print, tostring = print }); end,
			"replaced.clone is not a function");
	end);
end);

-- Steps that build a stanza: each takes the stanza, a set of functions, and a random number
local ARGUMENTS = {
	names = { "body", "x", "a.b-c", "\u{e4}", "a:b", "", "a b", "a<", "a'", "a\1b", "a\0", "\255", "a\t", "a\21", 5, true, {} };
	texts = { "text", "\u{1f600} <&>'\"", "a\nb\tc\r", "", " ", "\0", "\1", "\21", "\31", "\127", "\255", "\u{fffe}", "\u{fdd0}",
		"\xed\xa0\x80", "\xf5\x80\x80\x80", ("long "):rep(100), 5, 5.5, true, {} };
};
local ATTRS = {
	function () return nil; end,
	function () return {}; end,
	function (text) return { k = text }; end,
	function (text) return { xmlns = "urn:x", ["urn:y\1z"] = text, a = "b" }; end,
	function (text, name) return type(name) == "string" and { [name] = "v", l = text } or { l = "v" }; end,
	function () return { 1 }; end,
	function () return { [true] = "v" }; end,
	function () return { ["a\1"] = "v", ["\1b"] = "w", ["a\1b\1c"] = "x" }; end,
	function () return setmetatable({ a = "b" }, { __pairs = function () return next, { c = "d" }, nil; end }); end,
	function () return "text"; end,
	function () return false; end,
};
local NAMESPACES = { false, {}, { p = "urn:p" }, "text" };

-- A function that does the same random step to a stanza with any set of functions
local function random_step(generator)
	local name, text = generator:one_of(ARGUMENTS.names), generator:one_of(ARGUMENTS.texts);
	local kind, attr, namespaces = generator:below(10), generator:one_of(ATTRS), generator:one_of(NAMESPACES);
	if kind <= 4 then return function (stanza, f) return f.tag(stanza, name, attr(text, name)); end; end
	if kind == 5 then return function (stanza, f) return f.tag(stanza, name, attr(text, name), namespaces); end; end
	if kind <= 7 then return function (stanza, f) return f.text(stanza, text); end; end
	if kind == 8 then return function (stanza) return stanza:up(); end; end
	if kind == 9 then return function (stanza) return stanza:add_child(st.stanza("child")); end; end
	return function (stanza) return stanza:reset(); end;
end

-- Stanzas that are not as util.stanza makes them
local ODD = {
	function (s) s.last_add = {}; end,
	function (s) s.last_add = false; end,
	function (s) s.last_add = "text"; end,
	function (s) s.last_add = { "text" }; end,
	function (s) s.last_add = { {} }; end,
	function (s) s.last_add = setmetatable({ s }, {}); end,
	function (s) s.tags = nil; end,
	function (s) s.tags = setmetatable({}, {}); end,
	function (s) s.add_direct_child = function (self, child) self.added = child; end; end,
	function (s) setmetatable(s, nil); end,
	function (s) setmetatable(s, { __index = st.stanza_mt }); end,
	function (s) setmetatable(s, { __index = st.stanza_mt, __newindex = function () error("frozen"); end }); end,
};

describe("tag() and text()", function ()
	-- Applies the steps, and returns the stanza and the results as text
	local function build(functions, steps, odd)
		local stanza, results = st.message({ to = "a@b" }), {};
		if odd then odd(stanza); end
		for i, step in ipairs(steps) do
			local ok, result = pcall(step, stanza, functions);
			results[i] = ok and tostring(rawequal(result, stanza)) or tostring(result):gsub("0x%x+", "address");
		end
		return dump(stanza, {}):gsub("0x%x+", "address") .. "\n" .. table.concat(results, "\n");
	end

	local function compare(generator, odd)
		local steps = {};
		for i = 1, generator:below(12) do steps[i] = random_step(generator); end
		assert.equal(build(stock, steps, odd), build(ours, steps, odd));
	end

	it("build what util.stanza builds, or raise the same errors, from any arguments", function ()
		local generator = generate.new(helper.seed + 21);
		for _ = 1, helper.tries(2000, 100000) do compare(generator); end
	end);

	it("do the same to stanzas that util.stanza does not make", function ()
		local generator = generate.new(helper.seed + 22);
		for n = 1, helper.tries(1000, 40000) do compare(generator, ODD[n % #ODD + 1]); end
	end);

	it("handle ordinary calls themselves", function ()
		passed_on = 0;
		local stanza = st.message({ to = "a@b" });
		counted.tag(stanza, "x", { xmlns = "urn:x", ["urn:y\1z"] = "<\u{e4}>" });
		counted.text(counted.tag(stanza, "y", nil, { p = "urn:p" }), "text \u{1f600}");
		counted.text(stanza:up(), "more");
		counted.tag(stanza:reset(), "z");
		assert.equal(0, passed_on);
		assert.equal("<message to='a@b'><x", tostring(stanza):match("^<message to='a@b'><x"));
		assert.equal("z", stanza.tags[2].name);
	end);

	it("take missing arguments as util.stanza does", function ()
		for _, name in ipairs { "tag", "text" } do
			for _, arguments in ipairs { {}, { st.stanza("a") }, { "text" }, { {}, "b" }, { st.stanza("a"), "b", nil, nil, "more" } } do
				local function results(functions)
					return as_text(table.pack(pcall(functions[name], table.unpack(arguments, 1, 5))));
				end
				local expected = results(stock):gsub("table: 0x%x+", "table");
				for _, argument in ipairs(arguments) do
					if st.is_stanza(argument) then argument[1], argument.tags, argument.last_add = nil, {}, nil; end
				end
				assert.equal(expected, (results(ours):gsub("table: 0x%x+", "table")));
			end
		end
	end);

	it("call another module's add_direct_child()", function ()
		local added = 0;
		function st.stanza_mt.add_direct_child(self, child)
			added = added + 1;
			return stock.add_direct_child(self, child);
		end
		ours.text(ours.tag(st.stanza("a"), "b"), "c");
		st.stanza_mt.add_direct_child = stock.add_direct_child;
		assert.equal(2, added);
		local without = { top_tag = stock.top_tag, tostring = stock.tostring, clone = stock.clone, tag = stock.tag, text = stock.text };
		assert.equal("<a><b>c</b></a>", tostring(native.stanza_functions(st.stanza_mt, without).text(st.stanza("a"):tag("b"), "c")));
	end);
end);
