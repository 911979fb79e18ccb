-- Stanzas of smacks.so, compared with Prosody's own util.stanza and util.xmppstream.

local helper = require "spec.helper";
local generate = require "spec.generate";
local datetime = require "util.datetime";

local st, element = helper.st, helper.element;
local native = helper.native("smacks");
local encode, decode, splice, delay = native.encode, native.decode, native.splice, native.delay;

local function decoded(xml)
	return assert(decode(xml, st.stanza_mt));
end

-- Checks the results of a failed call.
local function assert_refused(expected_condition, result, condition, text)
	assert.is_nil(result);
	assert.equal(expected_condition, condition);
	assert.is_string(text);
end

-- Checks every guarantee for one stanza.
local function check(stanza)
	local xml = encode(stanza);
	assert.equal(helper.canonical(tostring(stanza)), helper.canonical(xml));
	helper.assert_same_stanza(helper.parse(tostring(stanza)), decoded(xml));
end

local function chain(depth)
	local stanza = element("leaf", {}, { "text" });
	for level = depth - 1, 1, -1 do
		stanza = element("a", { level = tostring(level) }, { stanza });
	end
	return stanza;
end

describe("encode", function ()
	it("writes the same as tostring(), except the order of attributes", function ()
		local generator = generate.new(helper.seed + 1);
		for _ = 1, helper.tries(1000, 20000) do
			local stanza = generator:stanza();
			assert.equal(helper.canonical(tostring(stanza)), helper.canonical(encode(stanza)));
		end
	end);

	it("writes the same bytes as tostring() if elements have one attribute", function ()
		local generator = generate.new(helper.seed + 2, { attributes = 1 });
		for _ = 1, helper.tries(1000, 20000) do
			local stanza = generator:stanza();
			assert.equal(tostring(stanza), (encode(stanza)));
		end
	end);

	it("writes the same as tostring() if text and attributes are not XML", function ()
		local generator = generate.new(helper.seed + 3);
		for _ = 1, helper.tries(500, 10000) do
			local stanza = generator:invalid_stanza();
			assert.equal(helper.canonical(tostring(stanza)), helper.canonical(encode(stanza)));
		end
	end);

	it("writes every byte as tostring() does", function ()
		for byte = 0, 255 do
			local stanza = element("a", { b = string.char(byte) }, { string.char(byte) });
			assert.equal(tostring(stanza), (encode(stanza)));
		end
	end);

	it("writes numbers in attributes as tostring() does", function ()
		for _, number in ipairs { 0, -1, 1.0, -0.0, 1e15, 1e100, 0.1, math.pi, math.huge, -math.huge, 0/0,
			math.maxinteger, math.mininteger, 2^53, 1e-300 } do
			local stanza = element("a", { b = number });
			assert.equal(tostring(stanza), (encode(stanza)));
		end
	end);

	it("compares numbers as xmlns with the parent's", function ()
		for _, pair in ipairs { { 5, 7 }, { 5, 5 }, { 1.5, 1.5 }, { "urn:x", 5 }, { 5, "urn:x" } } do
			local stanza = element("a", { xmlns = pair[1] }, { element("b", { xmlns = pair[2] }, { element("c") }) });
			assert.equal(tostring(stanza), (encode(stanza)));
		end
	end);

	it("leaves out an xmlns only if the parent has the same of its own", function ()
		local spaces = { false, "", "urn:x", "urn:y" };
		for _, outer in ipairs(spaces) do
			for _, middle in ipairs(spaces) do
				for _, inner in ipairs(spaces) do
					local stanza = element("a", { xmlns = outer or nil }, {
						element("b", { xmlns = middle or nil }, { element("c", { xmlns = inner or nil }) });
					});
					assert.equal(tostring(stanza), (encode(stanza)));
					check(stanza);
				end
			end
		end
	end);

	it("takes any table that has a name and attr", function ()
		assert.equal("<a b='c'>d<e/></a>", (encode({ name = "a", attr = { b = "c" }, "d", { name = "e", attr = {} } })));
	end);

	it("takes stanzas of util.stanza", function ()
		local message = st.message({ to = "a@b", type = "chat" }, "hi & <bye>"):tag("x", { xmlns = "urn:x" })
			:tag("y", { xmlns = "urn:x", ["urn:z\1k"] = "'" }):text("\u{1f600}");
		check(message);
		check(st.reply(message));
		check(st.error_reply(message, "cancel", "item-not-found", "no \"such\" item"));
		check(st.deserialize(st.preserialize(message)));
		check(st.clone(message));
	end);

	it("does not change the stanza", function ()
		local stanza = generate.new(4):stanza();
		local copy = st.clone(stanza);
		encode(stanza);
		helper.assert_same_stanza(copy, stanza);
	end);

	it("says whether the stanza has a delay", function ()
		local function delayed(...) return (select(3, encode(element("message", {}, { ... })))); end
		assert.is_true(delayed(element("body"), element("delay", { xmlns = "urn:xmpp:delay" })));
		assert.is_false(delayed());
		assert.is_false(delayed(element("delay", { xmlns = "urn:other" })));
		assert.is_false(delayed(element("delay")));
		assert.is_false(delayed(element("x", {}, { element("delay", { xmlns = "urn:xmpp:delay" }) })));
	end);

	describe("raises for", function ()
		local looped = element("a");
		looped[1] = element("b", {}, { looped });
		local malformed = {
			["no table"] = "<a/>";
			["nothing"] = nil;
			["an empty table"] = {};
			["an element without a name"] = { attr = {} };
			["a name that is a table"] = { name = {}, attr = {} };
			["an element without attr"] = { name = "a" };
			["attr that is a string"] = { name = "a", attr = "b" };
			["a boolean attribute"] = element("a", { b = true });
			["an attribute that is a table"] = element("a", { b = {} });
			["a boolean as the name of an attribute"] = element("a", { [true] = "b" });
			["a table as the name of an attribute"] = element("a", { [{}] = "b" });
			["a boolean child"] = element("a", {}, { true });
			["a child that is a function"] = element("a", {}, { print });
			["a child without a name"] = { name = "a", attr = {}, { attr = {} } };
			["a broken element deep inside"] = element("a", {}, { "x", element("b", {}, { element("c", { d = false }) }) });
		};
		for description, stanza in pairs(malformed) do
			it(description, function ()
				assert.has_error(function () encode(stanza); end);
				assert.equal("<a/>", (encode(element("a")))); -- nothing is left of the failed call
			end);
		end

		it("no argument", function ()
			assert.has_error(function () encode(); end);
		end);
	end);
end);

describe("decode", function ()
	it("builds the same stanzas as Prosody's stream parser", function ()
		local generator = generate.new(helper.seed + 11);
		for _ = 1, helper.tries(750, 15000) do
			check(generator:stanza());
		end
	end);

	it("is the reverse of encode for its own results", function ()
		local generator = generate.new(helper.seed + 12);
		for _ = 1, helper.tries(250, 5000) do
			local stanza = decoded(encode(generator:stanza()));
			local again = decoded(encode(stanza));
			assert.equal(helper.canonical(tostring(stanza)), helper.canonical(encode(again)));
		end
	end);

	it("rejects invalid XML, as Prosody's stream parser does", function ()
		local generator = generate.new(helper.seed + 13);
		for _ = 1, helper.tries(500, 10000) do
			local xml = encode(generator:invalid_stanza());
			assert_refused("not-well-formed", decode(xml, st.stanza_mt));
			assert.is_nil((helper.parse(xml)));
		end
	end);

	it("takes names of the xml namespace, which encode writes so that a client can read them", function ()
		local attribute = decoded("<a xml:b='c'/>");
		helper.assert_same_stanza(helper.parse("<a xml:b='c'/>"), attribute);
		assert.is_nil((helper.parse(tostring(attribute)))); -- Prosody's own would end the client's stream
		assert.equal("<a xml:b='c'/>", (encode(attribute)));
		helper.assert_same_stanza(attribute, decoded((encode(attribute))));

		local child = decoded("<a><xml:b/></a>");
		helper.assert_same_stanza(helper.parse("<a><xml:b/></a>"), child);
		assert.is_nil((helper.parse(tostring(child))));
		assert.equal("<a><b/></a>", (encode(child)));
	end);

	it("stores a namespace once for any number of elements", function ()
		local ns = "urn:"..("x"):rep(100000);
		local xml = "<a xmlns='"..ns.."'>"..("<b/>"):rep(20000).."</a>";
		collectgarbage();
		local before = collectgarbage("count");
		local stanza = decoded(xml);
		assert.equal(ns, stanza[20000].attr.xmlns);
		collectgarbage();
		assert.is_true(collectgarbage("count") - before < 20000);
		assert.equal(xml, (encode(stanza)));
	end);

	it("refuses a long namespace that thousands of attributes would copy", function ()
		local attributes = {};
		for i = 1, 3000 do attributes[i] = " n:a"..i.."=''"; end
		local xml = "<a xmlns:n='urn:"..("x"):rep(100000).."'"..table.concat(attributes).."/>";
		local stanza, condition = decode(xml, st.stanza_mt);
		assert.is_nil(stanza);
		-- some versions of expat have a limit of their own, and report it as lack of memory
		assert.is_true(condition == "policy-violation" or condition == "resource-constraint");
	end);

	it("takes 500 children", function ()
		local children = {};
		for i = 1, 500 do
			children[i] = i % 3 == 0 and "text " .. i or element("item", { xmlns = "urn:x", n = tostring(i) }, { "t" });
		end
		check(element("query", { xmlns = "urn:x" }, children));
	end);

	it("takes a depth of 200", function ()
		check(chain(200));
	end);

	it("takes a depth of 90000", function ()
		local deep = chain(90000);
		local xml = encode(deep);
		assert.equal(xml, (encode(decoded(xml))));
	end);

	it("takes 1 MB of text", function ()
		check(element("message", {}, { element("body", {}, { ("x"):rep(1024 * 1024) }) }));
		check(element("message", {}, { element("body", {}, { ("\u{1f600}<&>"):rep(256 * 1024 // 4) .. "\n" }) }));
		check(element("message", { id = ("'<\u{20ac}"):rep(200000) }));
	end);

	it("sets the metatable of every element", function ()
		local mt = {};
		local stanza = decode("<a>b<c><d/></c></a>", mt);
		assert.equal(mt, getmetatable(stanza));
		assert.equal(mt, getmetatable(stanza.tags[1].tags[1]));
	end);

	it("does not call metamethods", function ()
		local function refuse() error("called"); end
		local mt = { __index = refuse, __newindex = refuse, __len = refuse };
		assert.is_table((decode("<a b='c'>d<e xmlns='f'/></a>", mt)));
	end);

	it("refuses restricted XML", function ()
		for _, xml in ipairs { "<a><!-- --></a>", "<?b?><a/>", "<a>&b;</a>", "<?xml version='1.0'?><a/>" } do
			assert_refused("restricted-xml", decode(xml, st.stanza_mt));
		end
	end);

	it("refuses anything but one element", function ()
		for _, xml in ipairs { "", " ", "a", "<a/><b/>", "<a/> ", "<a>", "</stream:stream>", "<a/></stream:stream>",
			"<!DOCTYPE a><a/>" } do
			assert_refused("not-well-formed", decode(xml, st.stanza_mt));
		end
	end);

	it("has limits that may be reached but not exceeded", function ()
		local xml = "<a><b/><b><c/></b></a>";
		for limit, least in pairs { bytes = #xml, depth = 3, elements = 4 } do
			assert.is_table((decode(xml, st.stanza_mt, { [limit] = least })));
			assert_refused("policy-violation", decode(xml, st.stanza_mt, { [limit] = least - 1 }));
		end
	end);

	it("raises for wrong arguments", function ()
		for _, arguments in ipairs {
			{ n = 0 }, { "<a/>" }, { {}, st.stanza_mt }, { "<a/>", "mt" }, { nil, st.stanza_mt, n = 2 },
			{ "<a/>", st.stanza_mt, "limits" }, { "<a/>", st.stanza_mt, { depth = "x" } },
			{ "<a/>", st.stanza_mt, { depth = 0 } }, { "<a/>", st.stanza_mt, { bytes = -1 } },
			{ "<a/>", st.stanza_mt, { elements = 1.5 } }, { "<a/>", st.stanza_mt, { bytes = 2^40 // 1 | 0 } },
		} do
			assert.has_error(function () decode(table.unpack(arguments, 1, arguments.n)); end);
		end
	end);
end);

describe("splice", function ()
	it("adds a delay as st:tag('delay') does", function ()
		local generator = generate.new(helper.seed + 21);
		for i = 1, 1000 do
			local stanza = generator:stanza();
			local from, time = "h@" .. generator:text(), 1700000000 + i;
			local xml, at = encode(stanza);
			local got = assert(splice(xml, at, assert(delay(from, time))));
			local want = st.clone(stanza);
			want:add_direct_child(element("delay", { xmlns = "urn:xmpp:delay", from = from, stamp = datetime.datetime(time) }));
			helper.assert_same_stanza(helper.parse(tostring(want)), decoded(got));
		end
	end);

	it("adds a child to a stanza without children", function ()
		local xml, at = encode(element("presence", { to = "a" }));
		assert.equal("<presence to='a'><b/></presence>", splice(xml, at, "<b/>"));
	end);

	it("refuses every offset but that of encode", function ()
		for _, stanza in ipairs { element("a", { b = "c" }, { element("a") }), element("a", { b = "/>" }) } do
			local xml, at = encode(stanza);
			for offset = 0, #xml do
				if offset == at then
					assert.is_string((splice(xml, offset, "<x/>")));
				else
					assert_refused("internal-server-error", splice(xml, offset, "<x/>"));
				end
			end
		end
	end);

	it("raises for wrong arguments", function ()
		for _, arguments in ipairs { { n = 0 }, { "<a/>" }, { "<a/>", 2 }, { "<a/>", -1, "<b/>" }, { "<a/>", 5, "<b/>" },
			{ "<a/>", 1.5, "<b/>" }, { {}, 2, "<b/>" }, { "<a/>", 2, {} } } do
			assert.has_error(function () splice(table.unpack(arguments, 1, arguments.n)); end);
		end
	end);
end);

describe("delay", function ()
	it("writes the time as util.datetime does", function ()
		for _, time in ipairs { 0, 1, 86399, 951782400, 1709164800, 1700000000, 4102444800, 253402300799 } do
			assert.equal("<delay xmlns='urn:xmpp:delay' from='a@b' stamp='" .. datetime.datetime(time) .. "'/>",
				delay("a@b", time));
		end
	end);

	it("refuses times that cannot be written", function ()
		for _, time in ipairs { 253402300800, math.maxinteger, math.mininteger } do
			assert_refused("internal-server-error", delay("a@b", time));
		end
		assert.equal(delay("a@b", 0), delay("a@b", 0)); -- nothing is left of the failed calls
	end);

	it("raises for wrong arguments", function ()
		for _, arguments in ipairs { { n = 0 }, { "a@b" }, { nil, 0, n = 2 }, { "a@b", "now" }, { "a@b", 0.5 }, { {}, 0 } } do
			assert.has_error(function () delay(table.unpack(arguments, 1, arguments.n)); end);
		end
	end);
end);
