-- Streams with Prosody's own parser and with the native one: records what their callbacks get.

local helper = require "spec.helper";

local plugins = os.getenv("PN_PLUGINS") or "lua";

local stream_helper = {
	native = assert(package.loadlib(plugins.."/mod_stream_native/stream.so", "luaopen_stream"))();
	stanza_mt = helper.st.stanza_mt;
};

local new_stream = require "util.xmppstream".new;

--- The part of the module that replaces the parser; `log` gets its log lines.
function stream_helper.load(log)
	local module = { log = function (_, ...) if log then log[#log + 1] = { ... }; end end };
	return assert(loadfile("lua/mod_stream_native/parser.lib.lua", "t", setmetatable({ module = module }, { __index = _G })))();
end

local part = stream_helper.load();

--- Calls f with the native parser in place of Prosody's.
function stream_helper.with_native(idle, f, ...)
	part.start(stream_helper.native, { stream_native_idle_parsers = idle });
	local results = table.pack(pcall(f, ...));
	part.stop();
	if not results[1] then error(results[2], 0); end
	return table.unpack(results, 2, results.n);
end

local function copy(value, copies)
	if type(value) ~= "table" then return value; end
	copies = copies or {};
	if not copies[value] then
		copies[value] = setmetatable({}, getmetatable(value));
		for k, v in pairs(value) do copies[value][k] = copy(v, copies); end
	end
	return copies[value];
end

--- A stream that records its events. setup: fields of the callbacks; `limit` of bytes; `without` callbacks, a set;
-- `act(event, self)`, which is called in each callback. A session is a table with a field `name`.
function stream_helper.open(setup)
	local self = { events = {}, session = { notopen = true, name = "first" } };
	local function record(name)
		return function (session, ...)
			local event = copy { name, session = session.name, n = select("#", ...), ... };
			self.events[#self.events + 1] = event;
			if name == "streamopened" then self.session.notopen = nil; end
			if setup.act then setup.act(event, self); end
		end;
	end
	local callbacks = {
		default_ns = setup.default_ns; stream_ns = setup.stream_ns; stream_tag = setup.stream_tag; error_tag = setup.error_tag;
	};
	for _, name in ipairs { "streamopened", "streamclosed", "handlestanza", "error" } do
		if not (setup.without and setup.without[name]) then callbacks[name] = record(name); end
	end
	self.stream = new_stream(self.session, callbacks, setup.limit);
	function self.feed(_, bytes)
		local ok, err = self.stream:feed(bytes);
		self.events[#self.events + 1] = { "fed", ok = not not ok, err = err };
		return ok, err;
	end
	return self;
end

--- A new session takes the stream, as when stream management resumes one.
function stream_helper.swap(self, name)
	self.session = { notopen = self.session.notopen, name = name };
	self.stream:set_session(self.session);
end

--- A restart, as after authentication.
function stream_helper.restart(self)
	self.session.notopen = true;
	self.stream:reset();
end

-- A table that was described before is named by its number, so that `tags` are compared with the children
local function describe(value, known)
	if type(value) ~= "table" then return type(value) == "string" and ("%q"):format(value) or tostring(value); end
	if known[value] then return "table "..known[value]; end
	known.n = known.n + 1;
	known[value] = known.n;
	local keys, list = {}, {};
	for k in pairs(value) do keys[#keys + 1] = k; end
	table.sort(keys, function (a, b) return tostring(a) < tostring(b); end);
	for _, k in ipairs(keys) do list[#list + 1] = tostring(k).."="..describe(value[k], known); end
	local mark = getmetatable(value) == stream_helper.stanza_mt and "stanza" or getmetatable(value) and "other" or "";
	return mark.."{"..table.concat(list, ", ").."}";
end

--- An event as text: every field, and whether a table is a stanza.
function stream_helper.describe(value) return describe(value, { n = 0 }); end

--- Fails with the first event that differs.
function stream_helper.assert_same(expected, got, input)
	for i = 1, math.max(#expected, #got) do
		local a, b = stream_helper.describe(expected[i]), stream_helper.describe(got[i]);
		if a ~= b then error(("event %d: expected %s\ngot %s\nof %s"):format(i, a, b, input), 2); end
	end
end

stream_helper.header = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
	.."xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='localhost' xml:lang='de'>";

return stream_helper;
