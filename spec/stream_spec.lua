-- util.xmppstream with the native parser: streams, stanzas and errors, and the parser's coming and going.

local helper = require "spec.helper";
local streams = require "spec.stream_helper";

local header = streams.header;
local new_stream = require "util.xmppstream".new;

local SETUP = { default_ns = "jabber:client" };

local function names(events)
	local list = {};
	for _, event in ipairs(events) do
		if event[1] ~= "fed" then list[#list + 1] = event[1]; end
	end
	return table.concat(list, " ");
end

local function stanzas(events)
	local list = {};
	for _, event in ipairs(events) do
		if event[1] == "handlestanza" then list[#list + 1] = event[2]; end
	end
	return list;
end

local function open(setup)
	local self = streams.open(setup or SETUP);
	assert(self:feed(header));
	return self;
end

describe("A native stream", function ()
	local part, so, log;

	local function start(idle) part.start(so, { stream_native_idle_parsers = idle or 256 }); end

	before_each(function ()
		log, so = {}, streams.native;
		part = streams.load(log);
		start();
	end);
	after_each(function () part.stop(); end);

	it("opens with the attributes of its start tag", function ()
		local self = open();
		assert.same({ "streamopened", session = "first", n = 1, {
			xmlns = "http://etherx.jabber.org/streams", version = "1.0", to = "localhost", ["xml:lang"] = "de",
		} }, self.events[1]);
	end);

	it("passes a stanza on as a table of util.stanza", function ()
		local self = open();
		self:feed("<message to='a'><body>h&amp;i</body><x xmlns='urn:x'><y/>z</x></message>");
		local expected = helper.st.message({ to = "a", ["xml:lang"] = "de" }):text_tag("body", "h&i")
			:tag("x", { xmlns = "urn:x" }):tag("y", { xmlns = "urn:x" }):up():text("z"):up();
		expected.last_add = nil;
		helper.assert_same_stanza(expected, stanzas(self.events)[1]);
	end);

	it("gives a stanza the language of the stream, unless it has its own", function ()
		local self = open();
		self:feed("<iq/><iq xml:lang='fr'/><iq xml:lang=''/>");
		local langs = {};
		for i, stanza in ipairs(stanzas(self.events)) do langs[i] = stanza.attr["xml:lang"]; end
		assert.same({ "de", "fr", "" }, langs);
	end);

	it("delivers a stanza with its last byte, wherever it is cut", function ()
		local stanza = "<message to='u1@localhost/r' type='chat' id='8c1f0a52-4d0e'><body>0123456789</body></message>";
		for at = 1, #stanza - 1 do
			local self = open();
			self:feed(stanza:sub(1, at));
			assert.equal("streamopened", names(self.events));
			self:feed(stanza:sub(at + 1));
			assert.equal("streamopened handlestanza", names(self.events), at);
		end
	end);

	it("rejects comments, processing instructions, document types and other encodings", function ()
		for _, xml in ipairs {
			header.."<!-- -->", header.."<?a?>", "<!DOCTYPE a>", "<!DOCTYPE a [", "<?xml version='1.0' encoding='latin1'?>", "<?xml version='1.1'?>",
		} do
			local self = streams.open(SETUP);
			assert.falsy(self:feed(xml), xml);
			local event = self.events[#self.events - 1];
			assert.same({ "error", session = "first", n = 3, "parse-error", "restricted-xml", "Restricted XML, see RFC 6120 section 11.1." }, event);
		end
	end);

	it("rejects UTF-16, which is not XMPP", function ()
		local self = streams.open(SETUP);
		local _, err = self:feed("\255\254<\0s\0>\0");
		assert.equal("not well-formed (invalid token)", err);
	end);

	it("reports elements of jabber:client that are not stanzas, and goes on", function ()
		local self = open();
		self:feed("<foo/><iq/>");
		assert.equal("streamopened error handlestanza handlestanza", names(self.events));
		assert.equal("invalid-top-level-element", self.events[3][2]);
	end);

	it("reports another element in the place of the stream", function ()
		local self = streams.open(SETUP);
		self:feed("<html>");
		assert.same({ "error", session = "first", n = 2, "no-stream", "html" }, self.events[1]);
	end);

	it("limits the children of a stanza", function ()
		local self = open();
		if self.stream.set_stanza_size_limit then self.stream:set_stanza_size_limit(1000, 2); end
		self:feed("<iq><a/><b></b><c/></iq>");
		local limited = names(self.events):find("error", 1, true);
		-- Only 0.12, as Debian has it, passes the second limit on
		assert.equal(limited and "streamopened error" or "streamopened handlestanza", names(self.events));
	end);

	it("rejects a stanza that is nested too deeply for any server", function ()
		local self = open { default_ns = "jabber:client", limit = 100 * 1024 * 1024 };
		assert.truthy(self:feed("<iq>"..("<a>"):rep(399999)));
		assert.falsy(self:feed("<a>"));
		assert.equal("resource-constraint", self.events[#self.events - 1][3]);
	end);

	it("passes a deep stanza on", function ()
		local self = open { default_ns = "jabber:client", limit = 100 * 1024 * 1024 };
		local stanza;
		-- Without a copy of the stanza, which would recurse
		local session = { notopen = true };
		local stream = new_stream(session, {
			default_ns = "jabber:client", streamopened = function () session.notopen = nil; end,
			handlestanza = function (_, s) stanza = s; end,
		}, 100 * 1024 * 1024);
		assert(stream:feed(header..("<iq>"):rep(37000)..("</iq>"):rep(37000)));
		local depth = 0;
		while stanza do depth, stanza = depth + 1, stanza.tags[1]; end
		assert.equal(37000, depth);
		assert.equal("streamopened", names(self.events));
	end);

	it("goes on behind a callback that raises, and raises its error in the end", function ()
		local count = 0;
		local self = open { default_ns = "jabber:client", act = function (event)
			if event[1] ~= "handlestanza" then return; end
			count = count + 1;
			if count <= 2 then error("error "..count, 0); end
		end };
		local ok, err = pcall(self.feed, self, "<iq id='1'/><iq id='2'/><iq id='3'/>");
		assert.same({ false, "error 1" }, { ok, err });
		assert.equal(3, count);
		assert.truthy(self:feed("<iq id='4'/>"));
		assert.equal("4", stanzas(self.events)[4].attr.id);
	end);

	it("refuses bytes from a callback of its own", function ()
		local results;
		local self = open { default_ns = "jabber:client", act = function (event, self)
			if event[1] == "handlestanza" and not results then results = { self.stream:feed("<iq/>") }; end
		end };
		self:feed("<iq/><iq/>");
		assert.same({ nil, "parser suspended" }, { results[1], results[2] });
		assert.equal(2, #stanzas(self.events));
	end);

	it("goes on after a restart in a callback", function ()
		local self = open { default_ns = "jabber:client", act = function (event, self)
			if event[1] == "handlestanza" and event[2].name == "iq" then streams.restart(self); end
		end };
		self:feed("<iq/>");
		self:feed(header.."<message/>");
		assert.equal("streamopened handlestanza streamopened handlestanza", names(self.events));
	end);

	it("calls back with the session that took the stream", function ()
		local self = open();
		streams.swap(self, "resumed");
		self:feed("<iq/>");
		assert.equal("resumed", self.events[3].session);
	end);

	it("rests between two stanzas without the memory of a parser", function ()
		for _, idle in ipairs { 0, 1 } do
			part.stop();
			start(idle);
			local first, second = open(), open();
			for i = 1, 3 do
				for _, self in ipairs { first, second } do
					assert.truthy(self:feed("<iq><stream:a id='"..i.."'/>"));
					assert.truthy(self:feed("</iq>"));
				end
			end
			assert.truthy(first:feed("</stream:stream>"));
			assert.equal("streamopened handlestanza handlestanza handlestanza streamclosed", names(first.events));
			assert.falsy(second:feed("</stream:streams>"));
			assert.equal("http://etherx.jabber.org/streams", stanzas(second.events)[3].tags[1].attr.xmlns);
		end
	end);

	it("survives the collector at any time", function ()
		local mode = collectgarbage("generational");
		for i = 1, helper.tries(30, 300) do
			local self = open();
			self:feed("<message><body>"..i.."</body></mess");
			if i % 3 == 0 then collectgarbage(); end
			self:feed("age>");
			assert.equal(1, #stanzas(self.events));
		end
		collectgarbage(mode);
	end);

	describe("when the module is loaded or unloaded", function ()
		it("goes on with the native parser until its next restart, and then with Prosody's", function ()
			local self = open();
			streams.swap(self, "resumed");
			part.stop();
			self:feed("<iq id='1'/>");
			streams.restart(self);
			self:feed("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'><iq id='2'/>");
			local list = stanzas(self.events);
			assert.same({ "1", "2", "de" }, { list[1].attr.id, list[2].attr.id, list[2].attr["xml:lang"] });
			streams.swap(self, "again");
			self:feed("<iq/>");
			assert.equal("again", self.events[#self.events - 1].session);
			start(); -- after_each stops it
			streams.restart(self);
			self:feed(header.."<iq id='3'/>");
			assert.equal("3", stanzas(self.events)[4].attr.id);
		end);

		it("takes over streams that began with Prosody's parser only as they are", function ()
			part.stop();
			local self = open();
			start();
			self:feed("<iq id='1'/>");
			streams.restart(self);
			self:feed(header.."<iq id='2'/>");
			part.stop();
			streams.restart(self);
			self:feed(header.."<iq id='3'/>");
			assert.equal(3, #stanzas(self.events));
			start();
		end);

		it("gives Prosody its own functions back", function ()
			part.stop();
			local function upvalue(name)
				for i = 1, 100 do
					local found, value = debug.getupvalue(new_stream, i);
					if found == name then return value; end
				end
			end
			assert.equal(require "lxp".new, upvalue("new_parser"));
			assert.equal(require "util.xmppstream".new_sax_handlers, upvalue("new_sax_handlers"));
			start();
			assert.not_equal(require "lxp".new, upvalue("new_parser"));
		end);
	end);
end);
