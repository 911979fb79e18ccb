-- Generates stanzas, the same ones from the same seed on every version of Lua.

local element = require "spec.helper".element;

local NAMES = { "message", "presence", "iq", "body", "query", "item", "x", "a.-_1", "\u{e4}" };
local KEYS = { "to", "from", "id", "type", "k", "xml:lang", "xml:space", "urn:p\1k", "urn:q\1k", "urn:<&'\1l" };
local SPACES = { "", "jabber:client", "jabber:server", "urn:x", "urn:y", "urn:&<'\">", "urn:xmpp:delay" };
local VALID = { "a", "Zz 09", "'", "\"", "<", ">", "&", "&amp;", "]]>", "\t", "\n", "\r", "\r\n", " ", "\127",
	"\u{80}", "\u{e9}", "\u{7ff}", "\u{800}", "\u{20ac}", "\u{d7ff}", "\u{e000}", "\u{fffd}",
	"\u{10000}", "\u{1f600}", "\u{10ffff}" };
local INVALID = { "\0", "\1", "\8", "\11", "\31", "\128", "\191", "\192\128", "\195", "\224\128\128",
	"\237\160\128", "\239\191\190", "\240\159\152", "\244\144\128\128", "\255" };

local generator = {};
generator.__index = generator;

--- A generator of its own sequence. options:
--   attributes  at most so many for each element; default 4
--   depth       at most; default 5
--   children    at most so many for each element; default 5
local function new(seed, options)
	options = options or {};
	return setmetatable({
		state = seed * 0x9e3779b97f4a7c15;
		attributes = options.attributes or 4;
		depth = options.depth or 5;
		children = options.children or 5;
	}, generator);
end

--- An integer from 1 to n. (SplitMix64)
function generator:below(n)
	self.state = self.state + 0x9e3779b97f4a7c15;
	local z = self.state;
	z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ~ (z >> 27)) * 0x94d049bb133111eb;
	z = z ~ (z >> 31);
	return (z >> 1) % n + 1;
end

function generator:one_of(list)
	return list[self:below(#list)];
end

--- Characters of XML, those that need escaping or are long more often than others.
function generator:text()
	local parts = {};
	for i = 1, self:below(8) - 1 do
		parts[i] = self:one_of(VALID);
	end
	return table.concat(parts);
end

--- Bytes that are not characters of XML, between some that are.
function generator:invalid_text()
	return self:text() .. self:one_of(INVALID) .. self:one_of({ "", "z", "<", "\u{1f600}" });
end

function generator:attr()
	local attr = {};
	for _ = 1, self:below(self.attributes + 1) - 1 do
		local kind = self:below(6);
		if kind == 1 then
			attr.xmlns = self:one_of(SPACES);
		elseif kind == 2 then
			attr[self:one_of(KEYS)] = self:one_of({ 0, 1, -7, math.maxinteger, math.mininteger, 1.0, 0.5, -1e300 });
		else
			attr[self:one_of(KEYS)] = self:text();
		end
	end
	return attr;
end

--- A stanza that is well-formed XML once it is encoded.
function generator:stanza(level)
	level = level or 1;
	local children = {};
	for i = 1, self:below(self.children + 1) - 1 do
		if level < self.depth and self:below(2) == 1 then
			children[i] = self:stanza(level + 1);
		else
			children[i] = self:text();
		end
	end
	return element(self:one_of(NAMES), self:attr(), children);
end

--- A stanza with invalid bytes in one place: an attribute or a text, anywhere.
function generator:invalid_stanza()
	local stanza = self:stanza();
	local place = stanza;
	while #place.tags > 0 and self:below(3) > 1 do
		place = self:one_of(place.tags);
	end
	if self:below(2) == 1 then
		place.attr[self:one_of({ "to", "k", "urn:p\1k" })] = self:invalid_text();
	else
		table.insert(place, self:invalid_text());
	end
	return stanza;
end

return { new = new };
