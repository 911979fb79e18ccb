-- pack() and pack_xml(): stanzas of other drivers, without Prosody's own parser

local helper = require "spec.helper";
local storage = require "spec.storage_helper";
local generate = require "spec.generate";
local parse_xml = require "util.xml".parse;

local st = helper.st;
local native = assert(package.loadlib((os.getenv("PN_PLUGINS") or "lua").."/mod_storage_native/store.so", "luaopen_store"))();

describe("a stanza of another driver", function ()
	local bed, db, archive, number;

	before_each(function ()
		bed = storage.new();
		db = assert(native.open { directory = bed.directory.."/another", metatable = st.stanza_mt });
		archive, number = assert(db:archive("host.test", "archive")), 0;
	end);
	after_each(function ()
		db:close();
		bed:close();
	end);

	-- The stanza that the archive has after a packed one was appended
	local function stored(packed)
		number = number + 1;
		local id = assert(archive:append("user", "id"..number, packed, 1700000000, nil, 0));
		local _, stanza = assert(archive:find("user", { key = id }))();
		return stanza;
	end

	local function refused(method, value, expected)
		local result, condition, text = db[method](db, value);
		assert.is_nil(result);
		assert.equal(expected, condition);
		assert.is_string(text);
	end

	it("is packed as XML to the same as util.xml reads", function ()
		local generator = generate.new(helper.seed + 11);
		for _ = 1, helper.tries(300, 5000) do
			local xml = tostring(generator:stanza());
			local ok, expected = pcall(parse_xml, xml); -- raises at some names
			local packed, condition = db:pack_xml(xml);
			if ok and expected then
				assert.equal("string", type(packed), xml);
				helper.assert_same_stanza(expected, stored(packed));
			else
				assert.is_nil(packed, xml);
				assert.is_string(condition);
			end
		end
	end);

	it("keeps its namespaces as util.xml does", function ()
		for _, xml in ipairs {
			"<message xmlns='jabber:client'><body>hi</body><x xmlns='urn:x'><y/><z xmlns=''><a/></z></x></message>",
			"<message><body xmlns='jabber:client'/></message>",
			"<p:message xmlns:p='urn:p' p:k='1' k='2'><p:x/><x/></p:message>",
			"<message xml:lang='en' xml:other='o'>1&amp;2&#51;\n<![CDATA[<4>]]>5</message>",
			" <message/>\n",
		} do
			helper.assert_same_stanza(parse_xml(xml), stored(assert(db:pack_xml(xml))));
		end
	end);

	it("is refused as XML that util.xml refuses, or reads by its declaration", function ()
		for xml, condition in pairs {
			[""] = "not-well-formed", ["<a"] = "not-well-formed", ["<a/><b/>"] = "not-well-formed", ["x"] = "not-well-formed",
			["<a>\1</a>"] = "not-well-formed", ["<a>\255</a>"] = "not-well-formed", ["<p:a/>"] = "not-well-formed",
			["<!DOCTYPE a><a/>"] = "restricted-xml", ["<a><!-- --></a>"] = "restricted-xml", ["<a><?p?></a>"] = "restricted-xml",
			["<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"] = "restricted-xml", ["<a>&b;</a>"] = "restricted-xml",
			["<?xml version='1.0' encoding='ISO-8859-1'?><a>\255</a>"] = "restricted-xml",
		} do
			refused("pack_xml", xml, condition);
		end
	end);

	it("is packed as a table to the same as util.stanza deserializes", function ()
		local generator = generate.new(helper.seed + 12);
		for _ = 1, helper.tries(300, 5000) do
			local serialized = st.preserialize(generator:stanza());
			local ok, stanza = pcall(st.deserialize, serialized); -- raises at some names
			if ok then
				helper.assert_same_stanza(stanza, stored(assert(db:pack(stanza))));
				helper.assert_same_stanza(stanza, stored(assert(db:pack(serialized))));
			else
				assert.is_nil((db:pack(serialized)));
			end
		end
	end);

	it("is refused as a table that util.stanza refuses", function ()
		local function message(text, attr) return { name = "message", attr = attr or {}, text }; end
		for _, text in ipairs { "\0", "\1", "\31", "\255", "\192\128", "\237\160\128", "\244\144\128\128", "\226\130", "\239\191\191" } do
			refused("pack", message(text), "not-well-formed");
			refused("pack", message("x", { a = text }), "not-well-formed");
			refused("pack", message("x", { [text] = "a" }), "not-well-formed");
			refused("pack", { name = text, attr = {} }, "not-well-formed");
		end
		for _, name in ipairs { "", "a b", "<", ">", "&", "'", '"', "\1" } do
			refused("pack", { name = name, attr = {} }, "not-well-formed");
			refused("pack", message("x", { [name] = "a" }), "not-well-formed");
		end
		refused("pack", message("x", { a = 5 }), "unsupported-datatype");
		refused("pack", { name = "a", attr = { ["urn:x|b"] = "old" } }, "not-well-formed"); -- deserialize() changes the name
		for _, value in ipairs { {}, { name = "a" }, { attr = {} }, { name = 1, attr = {} }, message(5), message "x" } do
			if value.name ~= "message" or value[1] == 5 then refused("pack", value, "unsupported-datatype"); end
		end
		assert.is_string(db:pack(message("\t\n\r\127\194\128\226\130\172\240\159\152\128", { ["urn:x\1b"] = "c" })));
	end);

	it("is appended only if it was packed", function ()
		for _, bytes in ipairs { "", "\0", "\1", "\1\1", assert(db:pack(st.message())):sub(1, -2) } do
			local id, condition = archive:append("user", nil, bytes, 1700000000, nil, 0);
			assert.is_nil(id);
			assert.equal("storage-corrupt", condition);
		end
		assert.has_error(function () archive:append("user", nil, 5, 1700000000, nil, 0); end);
	end);
end);
