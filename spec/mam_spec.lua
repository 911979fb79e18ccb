-- Libraries of mod_mam: times, forms, the decision what to archive, ids, preferences as XML, encoded pages

local helper = require "spec.helper";
local storage = require "spec.storage_helper";

local st, now = helper.st, os.time();

-- A library as a module loads it
local library;
function library(name)
	local loaded;
	local stand_in = {
		host = "example.org";
		require = function (_, other) return library(other); end;
		get_directory = function () return ((os.getenv("PN_LIBDIR") or "lua/mod_smacks"):gsub("mod_smacks", "mod_mam")); end;
	};
	for _, folder in ipairs { "lua/shared/", "lua/mod_mam/" } do
		local path = folder..name..".lib.lua";
		local file = io.open(path);
		if file then
			file:close();
			loaded = assert(loadfile(path, "t", setmetatable({ module = stand_in }, { __index = _G })))();
		end
	end
	return loaded;
end
local decision = library "decision";
local mam_query = library "mam_query";
local prefs_xml = library "mamprefsxml";
local root = library "stanza_root";
local stanza_id = library "stanza_id";
local xmpp_time = library "xmpp_time";

describe("a time of XEP-0082", function ()
	local function at(text, seconds)
		assert.equal(seconds, xmpp_time.parse(text), text);
	end

	it("is read at any date of the calendar, also before 1970", function ()
		at("1970-01-01T00:00:00Z", 0);
		at("1969-12-31T23:59:59Z", -1);
		at("0000-03-01T00:00:00Z", -62162035200);
		at("2000-02-29T12:00:00Z", 951825600);
		at("9999-12-31T23:59:59Z", 253402300799);
		for _ = 1, helper.tries(200, 20000) do
			local seconds = math.random(-62135596800, 253402300799);
			at(os.date("!%Y-%m-%dT%H:%M:%SZ", seconds):gsub("^%d+", function (year) return ("%04d"):format(year); end), seconds);
		end
	end);

	it("may have a fraction, a zone, a leap second, and the old form without hyphens", function ()
		at("1970-01-01T00:00:00.25Z", 0.25);
		at("1969-12-31T23:59:59.75Z", -0.25);
		at("1970-01-01T02:00:00+02:00", 0);
		at("1969-12-31T18:30:00-05:30", 0);
		at("2016-12-31T23:59:60Z", 1483228800);
		at("19700101T00:00:01", 1);
	end);

	it("must exist", function ()
		for _, text in ipairs {
			"", "now", "1970-01-01", "1970-13-01T00:00:00Z", "1970-00-01T00:00:00Z", "1970-02-29T00:00:00Z", "1900-02-29T00:00:00Z",
			"1970-01-32T00:00:00Z", "1970-01-00T00:00:00Z", "1970-01-01T24:00:00Z", "1970-01-01T00:60:00Z", "1970-01-01T00:00:61Z",
			"1970-01-01T00:00:00.Z", "1970-01-01T00:00:00X", "1970-01-01T00:00:00+25:00", "1970-01-01T00:00:00+2", "970-01-01T00:00:00Z",
			"1970-01-01T00:00:00Z ", "1970-01-01T00:00:00.5.5Z",
		} do
			assert.is_nil(xmpp_time.parse(text), text);
		end
	end);
end);

describe("a query", function ()
	local form = mam_query.form({ full_id_range = true, ids = true }, true);
	local small = mam_query.form({});

	local function parse(xml, layout)
		return mam_query.parse(helper.parse("<query xmlns='urn:xmpp:mam:2' queryid='q'>"..xml.."</query>"), layout or form, 50);
	end

	local function submit(fields)
		return "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>"..fields.."</x>";
	end

	local function set(xml) return "<set xmlns='http://jabber.org/protocol/rsm'>"..xml.."</set>"; end

	it("without anything selects the first 20 messages", function ()
		assert.same({ id = "q", max = 20, reverse = false, newest_first = false }, parse "");
		assert.same({ id = "q", max = 20, reverse = false, newest_first = false }, parse(submit ""..set ""));
	end);

	it("has the fields of the form, and what the set says comes first", function ()
		local fields = "";
		for name, value in pairs {
			with = "A@b/C", start = "1970-01-01T00:00:01Z", ["end"] = "1970-01-01T00:00:02Z", ["before-id"] = "x", ["after-id"] = "y",
			ids = "z", ["include-groupchat"] = "0",
		} do
			fields = fields..("<field var='%s'><value>%s</value></field>"):format(name, value);
		end
		local expected = { id = "q", with = "a@b/C", start = 1, ["end"] = 2, before = "x", after = "y", ids = { "z" }, no_groupchat = true,
			max = 20, reverse = false, newest_first = false };
		assert.same(expected, parse(submit(fields)));
		expected.before, expected.after, expected.max, expected.reverse, expected.newest_first = "1", "2", 7, true, true;
		assert.same(expected, parse(submit(fields)..set "<before>1</before><after>2</after><max> 7 </max>".."<flip-page/>"));
		expected.before = "x"; -- an empty <before/> is the last page
		assert.same(expected, parse(submit(fields)..set "<before/><after>2</after><max>7</max>".."<flip-page/>"));
	end);

	it("must not have fields that the archive lacks", function ()
		for _, name in ipairs { "before-id", "after-id", "ids", "include-groupchat", "unknown" } do
			local query, err = parse(submit(("<field var='%s'><value>1</value></field>"):format(name)), small);
			assert.same({ nil, "feature-not-implemented" }, { query, err.condition });
		end
	end);

	it("may have a field without a value, and text for people", function ()
		assert.is_nil(parse(submit "<field var='with'/><field type='fixed'><value>a</value><value>b</value></field>").with);
	end);

	it("has no more than the most messages", function ()
		assert.equal(50, parse(set "<max>51</max>").max);
		assert.equal(50, parse(set "<max>123456789012345678901234567890</max>").max);
		assert.equal(0, parse(set "<max>0</max>").max);
		for _, max in ipairs { "", "-1", "1.5", "0x10", "1e1", "one" } do
			local query, err = parse(set("<max>"..max.."</max>"));
			assert.same({ nil, "bad-request" }, { query, err.condition });
		end
	end);
end);

describe("the decision", function ()
	local function assert_decides(should, reason, xml, attr)
		assert.same({ should, reason }, { decision.decide(helper.parse("<message "..(attr or "").." to='a@b/c'>"..xml.."</message>")) });
	end

	it("is that of the hint or content with the highest rank, whatever the order", function ()
		local ranked = {
			{ "hint", "<no-store xmlns='urn:xmpp:hints'/>", false }, { "hint", "<store xmlns='urn:xmpp:hints'/>", true },
			{ "body", "<body>x</body>", true }, { "subject", "<subject/>", true },
			{ "encrypted", "<encryption xmlns='urn:xmpp:eme:0'/>", true }, { "receipt", "<x xmlns='urn:xmpp:receipts'/>", true },
			{ "marker", "<x xmlns='urn:xmpp:chat-markers:0'/>", true }, { "invite", "<x xmlns='jabber:x:conference'/>", true },
			{ "jingle call", "<x xmlns='urn:xmpp:jingle-message:1'/>", true }, { "default", "<x xmlns='y'/>", false },
		};
		for i, high in ipairs(ranked) do
			for j = i, #ranked do
				assert_decides(high[3], high[1], high[2]..ranked[j][2]);
				assert_decides(high[3], high[1], ranked[j][2]..high[2]);
			end
		end
	end);

	it("depends on the type first", function ()
		for _, kind in ipairs { "headline", "groupchat" } do
			assert_decides(false, kind, "<body>x</body><store xmlns='urn:xmpp:hints'/>", "type='"..kind.."'");
		end
		assert_decides(true, "bounce", "", "type='error'");
		assert.is_false((decision.decide(helper.parse "<message type='error' to='a@b'><body>x</body></message>")));
		assert.is_false((decision.decide(helper.parse "<message type='error'><body>x</body></message>")));
	end);
end);

describe("the examination of a message", function ()
	local states = { ["http://jabber.org/protocol/chatstates"] = true };

	it("counts children to leave out, and finds ids of archives", function ()
		local message = helper.parse("<message><body>x</body>text<active xmlns='http://jabber.org/protocol/chatstates'/>"
			.."<paused xmlns='http://jabber.org/protocol/chatstates'/></message>");
		assert.same({ 3, 2, 3, false }, { decision.examine(message, states) });
		assert.same({ 3, 0, 3, false }, { decision.examine(message) });
		message:tag("stanza-id", { xmlns = "urn:xmpp:sid:0" });
		assert.same({ 3, 2, 4, true }, { decision.examine(message, states) });
		local stripped = root.copy_without_namespaces(message, states);
		assert.same({ 3, 0, 2, true }, { decision.examine(stripped, states) });
		assert.equal("<message xml:lang='en'><body>x</body>text<stanza-id xmlns='urn:xmpp:sid:0'/></message>",
			(tostring(stripped):gsub("^<message.->", "<message xml:lang='en'>")));
		assert.equal(4, #message.tags);
	end);

	it("reads tables that are not stanzas as far as it can", function ()
		for _, broken in ipairs {
			{}, { tags = 1, attr = 1 }, { tags = { 1, {}, { name = {}, attr = {} }, { name = "body", attr = { xmlns = {} } } }, attr = {} },
			{ tags = { { name = "x", attr = { xmlns = "http://jabber.org/protocol/muc#user" }, tags = { 1, {}, { name = 1 } } } } },
		} do
			assert.equal(10, (decision.examine(broken, states)));
			pcall(root.copy, broken); -- raises an error if there is no table of attributes
		end
		assert.has_error(function () decision.examine("x"); end);
		assert.has_error(function () root.copy(nil); end);
	end);

	it("survives collections at any time", function ()
		local message = helper.parse "<message><body>x</body><y xmlns='z'/></message>";
		for _ = 1, helper.tries(200, 5000) do
			collectgarbage("step");
			local copy = root.copy_with(message, st.stanza("new"));
			assert.is_true(root.is_unchanged(copy, message));
			assert.equal(tostring(message), tostring(root.copy(message)));
		end
	end);
end);

describe("ids of archives", function ()
	local message = helper.parse("<message><stanza-id xmlns='urn:xmpp:sid:0' by='a@example.org' id='1'/>"
		.."<stanza-id xmlns='urn:xmpp:sid:0' by='A@EXAMPLE.org' id='2'/><stanza-id xmlns='urn:xmpp:sid:0' by='a@example.org/r' id='3'/>"
		.."<stanza-id xmlns='urn:xmpp:sid:0' by='b@example.org' id='4'/><stanza-id xmlns='urn:xmpp:sid:0' id='5'/>"
		.."<stanza-id xmlns='other' by='a@example.org' id='6'/><stanza-id xmlns='urn:xmpp:sid:0' by='example.org' id='7'/></message>");

	local function ids(stanza)
		local list = {};
		for _, tag in ipairs(stanza.tags) do list[#list + 1] = tag.attr.id; end
		assert.equal(#stanza.tags, #stanza);
		return table.concat(list);
	end

	it("are removed if they name the owner, and the stanza is not changed", function ()
		assert.equal("34567", ids(stanza_id.strip(message, "a", "example.org")));
		assert.equal("123567", ids(stanza_id.strip(message, "b", "example.org")));
		assert.equal("123456", ids(stanza_id.strip(message, nil, "example.org")));
		assert.equal("1234567", ids(message));
		local plain = st.message({ to = "a" }):tag("stanza-id"):up();
		assert.equal(plain, stanza_id.strip(plain, "a", "example.org"));
	end);

	it("make a copy necessary whoever they name: later handlers change what they get, and rooms give one stanza to all", function ()
		local before = tostring(message);
		local copy = stanza_id.strip(message, "c", "example.org");
		assert.equal(before, tostring(copy));
		copy:maptags(function () return nil; end);
		assert.equal(before, tostring(message));
	end);

	it("are added to a copy, which is recognised until somebody changes it", function ()
		local stanza = st.message({ to = "a" }):text("x"):tag("y"):up():text("z");
		local before = tostring(stanza);
		local changes = {
			function (marked) marked:tag("more"); end; function (marked) marked.attr.id = "1"; end; function (marked) marked.attr.to = nil; end;
			function (marked) marked.attr.to = "b"; end; function (marked) marked[1] = "w"; end; function (marked) marked.name = "iq"; end;
			function (marked) marked:maptags(function (tag) return tag.name ~= "y" and tag or nil; end); end;
		};
		for _, change in ipairs(changes) do
			local marked = stanza_id.add(stanza, "a@example.org", "7");
			assert.equal("7", stanza_id.get(marked, "a@example.org"));
			assert.is_true(stanza_id.is_unchanged(marked, stanza));
			change(marked);
			assert.is_false(stanza_id.is_unchanged(marked, stanza));
			assert.equal(before, tostring(stanza));
		end
	end);

	it("and other children are copied with their root", function ()
		local copy = root.copy_without(message, function (child) return child.attr.xmlns == "other"; end);
		assert.equal("123457", ids(copy));
		assert.equal(tostring(message), tostring(root.copy(message)));
		assert.equal(message[1], root.copy(message)[1]);
	end);
end);

describe("preferences as XML", function ()
	local prefs = { [false] = "roster", ["a@b"] = true, ["a@b/c"] = false, ["d@e"] = false };

	it("are read as they are written", function ()
		assert.same(prefs, prefs_xml.fromstanza(prefs_xml.tostanza(prefs)));
		assert.same(prefs, prefs_xml.parse(prefs_xml.tostanza(prefs)));
	end);

	it("of clients must be valid, those of modules are read as far as they are", function ()
		local xml = helper.parse "<prefs xmlns='urn:xmpp:mam:2'><always><jid>@</jid><jid>A@b</jid><jid><x/></jid></always></prefs>";
		assert.same({ ["a@b"] = true }, prefs_xml.fromstanza(xml));
		assert.equal("bad-request", (select(2, prefs_xml.parse(xml))));
		xml.attr.default = "always";
		assert.equal("jid-malformed", (select(2, prefs_xml.parse(xml))));
	end);
end);

describe("a page of encoded results", function ()
	local bed, archive;
	before_each(function ()
		bed = storage.new();
		archive = bed:open("archive", "archive");
	end);
	after_each(function () bed:close(); end);

	-- As mod_mam makes them of stanzas
	local function expected(found, to, from, id)
		local list = {};
		for key, stanza, when in found do
			stanza.attr.xmlns = "jabber:client";
			local text = st.message({ to = to, from = from }):tag("result", { xmlns = "urn:xmpp:mam:2", queryid = id, id = key })
				:tag("forwarded", { xmlns = "urn:xmpp:forward:0" })
				:tag("delay", { xmlns = "urn:xmpp:delay", stamp = require "util.datetime".datetime(when) }):up():add_child(stanza);
			list[#list + 1] = tostring(text:reset());
		end
		return list;
	end

	local function parsed(list)
		local stanzas = {};
		for i, xml in ipairs(list) do stanzas[i] = helper.parse(xml); end
		return stanzas;
	end

	it("has the results that the stanzas would be, their ids and the total", function ()
		for i = 1, 20 do
			local message = st.message({ type = "chat", from = "b@c/"..i, ["xml:lang"] = "de" }, "text <"..i.."> & '\"")
				:tag("x", { xmlns = "y", ["ns\1name"] = "value" }):tag("z"):text("\u{e4}"):up():up();
			assert(archive:append("a", nil, message, now + i * 0.1, "b@c"));
		end
		for _, query in ipairs { {}, { reverse = true }, { with = "b@c" }, { start = now + 1, ["end"] = now + 1.5 }, { with = "nobody" } } do
			for _, size in ipairs { 0, 1, 19, 20, 21 } do
				query.limit, query.total = size, true;
				local found, total = archive:find("a", query);
				local results = assert(archive:page("a", query, size, "a@d/'e", nil, "<q>"));
				assert.equal(total, results.total);
				assert.equal(total > size, results.more);
				local wanted = expected(found, "a@d/'e", nil, "<q>");
				assert.same(parsed(wanted), parsed(results));
				for i, stanza in ipairs(parsed(results)) do assert.equal(results.ids[i], stanza.tags[1].attr.id); end
				assert.equal(#results.ids, #wanted);
			end
		end
	end);

	it("is empty for an empty archive, and refuses ids that are unknown", function ()
		assert.same({ ids = {}, more = false, total = 0 }, archive:page("a", {}, 20));
		for _, query in ipairs { { after = "x" }, { before = "x" }, { ids = { "x" } } } do
			local results, condition = archive:page("a", query, 20);
			assert.same({ nil, "item-not-found" }, { results, condition });
		end
	end);

	it("raises for arguments of a wrong type", function ()
		assert.has_error(function () archive:page("a", {}, -1); end);
		assert.has_error(function () archive:page("a", {}, 5, {}); end);
		assert.has_error(function () archive:page("a", { start = "x" }, 5); end);
	end);
end);
