-- Puts the native parser of streams into util.xmppstream.
--
-- Every module has its own reference to new() of util.xmppstream, so the function stays. Two of its upvalues are replaced:
-- new_sax_handlers, which makes the handlers of a session, and new_parser, which is lxp.new. The sessions that exist share
-- both: their next reset() calls the new_parser of that time with the handlers that they have. So lxp gets handlers that the
-- native new_sax_handlers made after an unload, and the native new_parser gets handlers for lxp after a load.

local st = require "util.stanza";
local xmppstream = require "util.xmppstream";

-- Streams outlive the module, and with them convert(): it has no reference to the module's environment
local getupvalue, setupvalue, huge, pairs, rawget = debug.getupvalue, debug.setupvalue, math.huge, pairs, rawget;

local ns_separator = xmppstream.ns_separator;
local xmlns_streams = "http://etherx.jabber.org/streams";

local upvalues = {}; -- of new(): their numbers, by name
for i = 1, huge do
	local name = getupvalue(xmppstream.new, i);
	if not name then break; end
	upvalues[name] = i;
end

local function get(name) return select(2, getupvalue(xmppstream.new, upvalues[name])); end
local function set(name, value) setupvalue(xmppstream.new, upvalues[name], value); end

local stock = {}; -- the values that are replaced, by name
local native, pool;

--- Callbacks: a table of a module

local function stream_error(_, e, stanza)
	error("XML stream error: "..tostring(e)..(stanza and ": "..tostring(stanza) or ""), 2);
end

local function read_callbacks(callbacks)
	local stream_ns = callbacks.stream_ns or xmlns_streams;
	local stream_tag = callbacks.stream_tag or "stream";
	return {
		callbacks = callbacks;
		default_ns = callbacks.default_ns;
		stream_tag = stream_ns ~= "" and stream_ns..ns_separator..stream_tag or stream_tag;
		error_tag = stream_ns..ns_separator..(callbacks.error_tag or "error");
		streamopened = callbacks.streamopened;
		streamclosed = callbacks.streamclosed;
		handlestanza = callbacks.handlestanza;
		error = callbacks.error or stream_error;
	};
end

local function same(a, b)
	for k, v in pairs(a) do if b[k] ~= v then return false; end end
	for k in pairs(b) do if a[k] == nil then return false; end end
	return true;
end

local kinds; -- by the table of callbacks, weak: { fields =, kind = }

-- A module may change its callbacks: sessions keep those that they began with
local function kind_of(callbacks)
	local fields, known = read_callbacks(callbacks), kinds[callbacks];
	if known and same(known.fields, fields) then return known.kind; end
	local kind = native.kind(pool, st.stanza_mt, fields);
	kinds[callbacks] = { fields = fields; kind = kind };
	return kind;
end

--- Handlers: a table that both parsers accept

-- lxp refuses unknown keys. It knows this one and never calls it: notations are declared in a document type, which XMPP
-- prohibits (RFC 6120, section 11.1), and which is rejected before its first declaration.
local STREAM = "NotationDecl";

local converted = setmetatable({}, { __mode = "k" }); -- streams whose handlers are Prosody's own now: their meta

-- Called when lxp looks for a handler, because the session was reset after an unload
local function convert(handlers, key)
	local stream = rawget(handlers, STREAM);
	if not stream then return nil; end
	local session, callbacks, progress = stream:arguments();
	local made, meta = stock.new_sax_handlers(session, callbacks, progress);
	for i = 1, huge do
		local name = getupvalue(made.StartElement, i);
		if name == "stream_lang" then setupvalue(made.StartElement, i, stream:get_lang()); end
		if not name then break; end
	end
	if meta.set_max_elements then meta.set_max_elements(stream:get_max_elements()); end
	converted[stream] = meta;
	handlers[STREAM] = nil;
	for name, handler in pairs(made) do handlers[name] = handler; end
	return made[key];
end

local handlers_mt = { __index = convert };

--- The two functions

local function new_sax_handlers(session, callbacks, progress)
	local stream = kind_of(callbacks):stream(session, progress);
	return setmetatable({ [STREAM] = stream }, handlers_mt), {
		reset = function () return (converted[stream] or stream):reset(); end;
		set_session = function (_, new_session)
			local meta = converted[stream];
			if meta then return meta.set_session(nil, new_session); end
			stream:set_session(new_session);
		end;
		set_max_elements = function (max_elements)
			local meta = converted[stream];
			if not meta then return stream:set_max_elements(max_elements); end
			if meta.set_max_elements then return meta.set_max_elements(max_elements); end
		end;
	};
end

local function new_parser(handlers, ...)
	local stream = rawget(handlers, STREAM);
	if stream then return stream:parser(); end
	return stock.new_parser(handlers, ...);
end

local replacements = { new_sax_handlers = new_sax_handlers; new_parser = new_parser };

local function start(so, options)
	native, pool = so, so.pool(options.stream_native_idle_parsers);
	kinds = setmetatable({}, { __mode = "k" });
	for name in pairs(replacements) do
		if not upvalues[name] then
			error(("util.xmppstream of this version of Prosody has no %s, so its parser cannot be replaced"):format(name), 0);
		end
	end
	for name, replacement in pairs(replacements) do
		stock[name] = get(name);
		set(name, replacement);
	end
end

-- Another module may have put its own functions there: they go on with ours below them
local function stop()
	for name, replacement in pairs(replacements) do
		if get(name) == replacement then
			set(name, stock[name]);
		else
			module:log("warn", "Parser of streams stays: another module has replaced %s", name);
		end
	end
end

return { start = start; stop = stop };
