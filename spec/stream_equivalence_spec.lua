-- The native parser of streams and Prosody's own get the same bytes, at any cuts: their callbacks get the same values.

local helper = require "spec.helper";
local lxp = require "lxp";
local streams = require "spec.stream_helper";

local random = math.random;

local function choose(list) return list[random(#list)]; end

--- Input: mostly well-formed

local NAMES = { "message", "iq", "presence", "body", "x", "stream:features", "stream:error", "p:q", "\195\164", "a.-_1", "foo" };
local SPACES = { "jabber:client", "jabber:server", "urn:x", "urn:y", "", "http://etherx.jabber.org/streams" };
local TEXTS = {
	"hello", " ", "\n", "\r\n", "\r", "&amp;", "&lt;&gt;", "&#65;&#x42;", "]", "]]", ">", "\"'", "\226\130\172",
	"\240\159\152\128",
	"<![CDATA[<a>&]]>", "<![CDATA[]]]]>", "<![CDATA[]]>", ("y"):rep(300),
};
local BROKEN = {
	"<!-- a - b > c -->", "<!-->-->", "<?pi a > b?>", "<!DOCTYPE a>", "<!DOCTYPE a [<!ENTITY b 'c'>]>",
	"&undefined;", "&", "]]>", "\0", "\1", "\255",
	"<", "< a/>", "<a b=c/>", "<a b='<'/>", "<a b='1' b='2'/>",
	"<a 'b'/>", "<u:a/>", "<a xmlns:u=''/>", "</a>", "</stream:stream>", "\192\128",
	"<?xml version='1.0'?>", "<a", "<![CDAT[", "&#0;", "&#xD800;", "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
	"<a b='&undefined;'/>",
};
local HEADS = {
	"", "<?xml version='1.0'?>",
	"<?xml version=\"1.0\" encoding='utf-8' standalone='no'?>", "\n", "\239\187\191", "<?xml version='1.0' encoding='UTF-8'?>\n",
};
local BROKEN_HEADS = {
	"<?xml version='1.1'?>", "<?xml version='1.0' encoding='iso-8859-1'?>", "<!-- -->", "<!DOCTYPE a [",
	"x", "<?xml version='1.0' encoding='nonsense'?>",
	"<?xml?>", "<foo/>", "<foo>", "\22\3\1\2", "GET / HTTP/1.1\r\n\r\n",
};

local function attributes()
	local list, seen = {}, {};
	for _ = 1, random(0, 3) do
		local key = choose { "to", "from", "id", "xml:lang", "xml:id", "xml:foo", "xmlns:p", "p:z", "\195\164" };
		if not seen[key] then
			seen[key] = true;
			local value = choose { "", "a>b", "&amp;", "&#10;", "a/b", "\t \n", "en", ("v"):rep(100) };
			if key:find("^xmlns") then value = choose { "urn:p", "urn:x" }; end
			local quote = choose { "'", "\"" };
			list[#list + 1] = choose { " ", "\n", "  " }..key..choose { "=", " = " }..quote..value..quote;
		end
	end
	if random(4) == 1 then list[#list + 1] = " xmlns='"..choose(SPACES).."'"; end
	return table.concat(list);
end

local function element(depth, broken)
	if random() < broken then return choose(BROKEN); end
	local name = depth == 1 and choose { "message", "iq", "presence", "foo", "stream:features", "stream:error", "p:q" } or choose(NAMES);
	local prefix = name:find("^p:") and " xmlns:p='urn:q'" or "";
	local attr = attributes();
	if prefix ~= "" then attr = attr:gsub("%s+xmlns:p%s*=%s*(['\"]).-%1", ""); end
	if attr:find("p:z", 1, true) and not attr:find("xmlns:p", 1, true) and prefix == "" then prefix = " xmlns:p='urn:r'"; end
	if random(4) == 1 then return "<"..name..prefix..attr..choose { "/>", " />" }; end
	local content = {};
	for _ = 1, random(0, depth < 5 and 4 or 1) do
		content[#content + 1] = random(3) > 1 and depth < 6 and element(depth + 1, broken) or choose(TEXTS);
	end
	return "<"..name..prefix..attr..">"..table.concat(content).."</"..name..choose { ">", " >" };
end

local function header(setup)
	local tag, ns = setup.stream_tag or "stream", setup.stream_ns or "http://etherx.jabber.org/streams";
	local lang = choose { "", " xml:lang='de'", " xml:lang=''" };
	local default = setup.default_ns and " xmlns='"..setup.default_ns.."'" or "";
	if ns == "" then return "<"..tag..lang..">", "</"..tag..">"; end
	if random(4) == 1 then
		return "<"..tag.." xmlns='"..ns.."' xmlns:stream='http://etherx.jabber.org/streams'"..lang..">", "</"..tag..">";
	end
	return "<stream:"..tag..default.." xmlns:stream='"..ns.."'"..lang..">", "</stream:"..tag..">";
end

-- Between two stanzas. Only the last test needs `decided`: expat counts "]" and "\r" once it has the next byte, which the native
-- parser holds back if a tag begins with it.
local DECIDED = { "hello", " ", "\n", "&amp;", ">", "<![CDATA[x]]>", "\226\130\172" };

local function document(setup, broken, decided)
	local parts = { random() < broken and choose(BROKEN_HEADS) or choose(HEADS) };
	local opening, closing = header(setup);
	parts[#parts + 1] = opening;
	for _ = 1, random(0, 5) do parts[#parts + 1] = random(4) == 1 and choose(decided and DECIDED or TEXTS) or element(1, broken); end
	if random(3) == 1 then parts[#parts + 1] = closing; end
	return table.concat(parts);
end

local function mutate(bytes)
	local at = random(#bytes + 1);
	local byte = choose { "", "<", ">", "&", "'", "\"", "]", "!", "?", "-", "/", "\0", " ", "x" };
	return bytes:sub(1, at - 1)..byte..bytes:sub(at + random(0, 1));
end

-- Whatever is incomplete ends here, in an error
local TAIL = "'>\">-->;?>]]>]]>";

--- Cuts

-- Whether expat leaves an incomplete token alone until it has twice as many bytes. Newer ones do, and stall Prosody's parser.
local function defers()
	local found = false;
	local parser = lxp.new { StartElement = function () found = true; end };
	parser:parse("<a b='incomplete");
	parser:parse("'>");
	return not found;
end

-- If expat defers, a chunk is at least as long as all before it: the two parsers are compared where Prosody's does not stall
local growth = defers() and 1 or 0;

local function cut(bytes)
	local chunks, at = {}, 1;
	local most = choose { 1, 3, 20, 200, 100000 };
	while at <= #bytes do
		local last = at - 1 + random(most) + growth * at;
		if #bytes - last < growth * last then last = #bytes; end
		chunks[#chunks + 1] = bytes:sub(at, last);
		at = last + 1;
	end
	return chunks;
end

--- Streams

local SETUPS = {
	{ default_ns = "jabber:client" },
	{ default_ns = "jabber:server" },
	{ default_ns = "jabber:component:accept" },
	{ default_ns = "jabber:client"; stream_ns = "http://jabber.org/protocol/httpbind"; stream_tag = "body" },
	{ default_ns = "xmpp:prosody.im/admin"; stream_ns = "xmpp:prosody.im/admin" },
	{ stream_ns = "" }, {}, { default_ns = "" },
	{ default_ns = "jabber:client"; error_tag = "features" },
	{ default_ns = "jabber:client"; without = { streamopened = true } },
	{ default_ns = "jabber:client"; without = { streamclosed = true } },
};

-- Makes what callbacks do the same for both parsers: it depends on the number of the event alone
local function with_acts(setup)
	local acts = {};
	for _ = 1, 20 do acts[#acts + 1] = random(8); end
	return setmetatable({
		act = function (event, self)
			local act = acts[#self.events] or 0;
			if act == 1 and event[1] == "handlestanza" then streams.restart(self); end
			if act == 2 then streams.swap(self, "session "..#self.events); end
			if act == 3 and event[1] ~= "handlestanza" and event[2] ~= "parse-error" then self.stream:reset(); end
			if act == 4 then self.stream:set_stanza_size_limit(100000, 3); end
			if act == 5 then self.stream:set_stanza_size_limit(100000); end
			if act == 6 then self.session.notopen = true; end
		end;
	}, { __index = setup });
end

local function play(setup, chunks)
	local self = streams.open(setup);
	for _, chunk in ipairs(chunks) do
		if not self:feed(chunk) then break; end
	end
	return self.events;
end

local function both(setup, chunks, idle)
	return play(setup, chunks), streams.with_native(idle, play, setup, chunks);
end

-- Without the results of feed() but for the last: an error in an incomplete tag may be found only when the tag ends
local function callbacks_and_end(events)
	local list, last = {}, nil;
	for _, event in ipairs(events) do
		if event[1] == "fed" then last = event; else list[#list + 1] = event; end
	end
	list[#list + 1] = last;
	return list;
end

-- Bytes outside of the document's element, where a restart leaves some: which of these expat reports depends on the cuts
local OUTSIDE = { ["syntax error"] = true, ["junk after document element"] = true, ["not well-formed (invalid token)"] = true };

local function without_text_outside(events)
	local last = events[#events];
	if last and OUTSIDE[last.err] then last.err = "outside"; end
	return events;
end

describe("A native stream and one of Prosody", function ()
	setup(function () math.randomseed(helper.seed); end);

	it("call back with the same values during the same call of feed(), wherever well-formed bytes are cut", function ()
		for _ = 1, helper.tries(500, 100000) do
			local setup = choose(SETUPS);
			local bytes = document(setup, 0);
			local stock, native = both(setup, cut(bytes), random(0, 2));
			streams.assert_same(stock, native, bytes);
		end
	end);

	it("find the same errors after the same callbacks in broken bytes", function ()
		for _ = 1, helper.tries(1000, 200000) do
			local setup = choose(SETUPS);
			local bytes = document(setup, choose { 0, 0.05, 0.3 });
			if random(2) == 1 then bytes = mutate(bytes); end
			local stock, native = both(setup, cut(bytes..TAIL), random(0, 2));
			streams.assert_same(callbacks_and_end(stock), callbacks_and_end(native), bytes);
		end
	end);

	it("behave the same if callbacks restart the stream, move it to another session, or change its limits", function ()
		for _ = 1, helper.tries(1000, 200000) do
			local setup = with_acts(choose(SETUPS));
			local bytes = document(setup, choose { 0, 0.05 })..document(setup, choose { 0, 0.05 });
			local stock, native = both(setup, cut(bytes..TAIL), random(0, 2));
			streams.assert_same(without_text_outside(callbacks_and_end(stock)),
				without_text_outside(callbacks_and_end(native)), bytes);
		end
	end);

	-- Without the callbacks that a setup leaves out: a stream that does not open has no stanzas, and all text is between them
	it("find a stanza too large during the same call of feed()", function ()
		for _ = 1, helper.tries(500, 100000) do
			local setup = setmetatable({ limit = random(50, 1000); without = false }, { __index = choose(SETUPS) });
			local bytes = document(setup, 0, true);
			local stock, native = both(setup, cut(bytes), random(0, 2));
			streams.assert_same(stock, native, bytes);
		end
	end);
end);
