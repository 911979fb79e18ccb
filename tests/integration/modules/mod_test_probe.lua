-- Writes down what other modules can see: each event of a message path at many priorities, with all fields of its stanza and
-- metatables, and each stanza that passes a filter. A line is a group, a tab, and a dump; only lines of the same group have an
-- order, because Prosody walks through sessions and occupants in any order. Options: test_probe_file, test_probe_priorities.
-- Pings of the test, which have an id that begins with "sync", are not written down.
module:set_global();

local filters = require "util.filters";
local stanza_mt = require "util.stanza".stanza_mt;

local file = assert(io.open(module:get_option_string("test_probe_file"), "w"));
-- None of them is another module's: Prosody calls handlers of the same priority in any order
local priorities = module:get_option("test_probe_priorities",
	{ 10000, 1.25, 0.25, -0.25, -0.75, -1.25, -2.25, -10000 });
file:setvbuf("full", 65536);

local EVENTS = {
	"archive-message-added", "archive-should-store", "carbons-should-copy", "csi-flushing", "csi-is-stanza-important",
	"csi-client-active", "csi-client-inactive", "delivery/failure", "message/offline/broadcast", "message/offline/handle",
	"message/offline/count", "muc-add-history", "muc-broadcast-message", "muc-broadcast-presence", "muc-build-occupant-presence",
	"muc-get-history", "muc-invite", "muc-message-is-historic", "muc-occupant-groupchat", "muc-occupant-joined",
	"muc-occupant-left", "muc-occupant-pre-join", "muc-occupant-session-new", "muc-private-message", "muc-subject-change",
	"pep-publish-item", "pre-resource-bind", "pre-resource-unbind", "presence/initial", "resource-bind", "resource-unbind",
	"roster-item-removed", "roster-load", "route/remote",
};
for _, kind in ipairs { "message", "presence", "iq" } do
	for _, to in ipairs { "bare", "full", "host", "self" } do
		table.insert(EVENTS, kind.."/"..to);
		table.insert(EVENTS, "pre-"..kind.."/"..to);
	end
end

-- Fields of sessions that differ from one connection to the next, or belong to stream management alone
local PRIVATE = { id = true, streamid = true, ip = true, sid = true, conntimes = true, rid = true, start_time = true,
	since = true, starttime = true, last_activity = true, opened = true, lastactivity = true, last_requested_h = true };
local STREAM_MANAGEMENT = { "smacks", "stanza", "ack", "handled_", "hibernating", "resumption" };

local function sorted(map)
	local keys = {};
	for key in pairs(map) do table.insert(keys, key); end
	table.sort(keys, function (a, b) return tostring(a) < tostring(b); end);
	return keys;
end

local function quoted(text)
	return '"'..text:gsub('[%c"\\]', function (c) return ("\\%02x"):format(c:byte()); end)..'"';
end

local function label(session)
	return ("%s %s"):format(session.type or "?",
		session.full_jid or session.username or (session.from_host or "?")..">"..(session.to_host or session.host or "?"));
end

local function is_private(key)
	for _, word in ipairs(STREAM_MANAGEMENT) do
		if key:find(word, 1, true) then return true; end
	end
	return PRIVATE[key];
end

-- All fields of a session: texts and booleans with their values
local function fields(session)
	local found = {};
	for _, key in ipairs(sorted(session)) do
		local value = session[key];
		if type(value) ~= "string" and type(value) ~= "boolean" then value = type(value); end
		if not is_private(tostring(key)) then table.insert(found, tostring(key).."="..tostring(value)); end
	end
	return table.concat(found, " ");
end

local dump;

local function dump_table(value, depth)
	if rawget(value, "send") or rawget(value, "conn") then return "("..label(value)..")"; end
	if rawget(value, "_jid_nick") then return "(room "..value.jid..")"; end
	if depth > 4 then return "{...}"; end
	local found = {};
	for _, key in ipairs(sorted(value)) do
		table.insert(found, dump(key, depth + 1).."="..dump(value[key], depth + 1));
	end
	return (getmetatable(value) and "object" or "").."{ "..table.concat(found, ", ").." }";
end

local KNOWN = { name = true, attr = true, tags = true, last_add = true };

-- Elements whose children come in any order
local UNORDERED = { query = true, x = true, field = true, set = true, blocklist = true, command = true, always = true, never = true };

local function dump_children(stanza, depth)
	local found, tags = {}, 0;
	for i, child in ipairs(stanza) do
		found[i] = dump(child, depth + 1);
		if type(child) == "table" then
			tags = tags + 1;
			if stanza.tags[tags] ~= child then found[i] = found[i].."!not in tags"; end
		end
	end
	if #stanza.tags ~= tags then table.insert(found, "!more tags: "..#stanza.tags); end
	local invitation = stanza.name == "message" and stanza:find("{http://jabber.org/protocol/muc#user}x/invite");
	local request = stanza.name == "field" and not stanza.attr.type; -- its ids would be sorted
	if UNORDERED[stanza.name] and not request or invitation then table.sort(found); end
	return table.concat(found);
end

local function dump_stanza(stanza, depth)
	local text = { "<", tostring(stanza.name) };
	for _, name in ipairs(sorted(stanza.attr)) do
		table.insert(text, (" %s=%s"):format(name:gsub("\1", "|"), quoted(tostring(stanza.attr[name]))));
	end
	if getmetatable(stanza.attr) then table.insert(text, " !attr has a metatable"); end
	for _, key in ipairs(sorted(stanza)) do
		if type(key) == "string" and not KNOWN[key] then
			table.insert(text, (" !%s=%s"):format(key, dump(stanza[key], depth + 1)));
		end
	end
	if rawget(stanza, "last_add") and #stanza.last_add > 0 then table.insert(text, " !last_add="..#stanza.last_add); end
	return table.concat(text)..">"..dump_children(stanza, depth).."</>";
end

function dump(value, depth)
	if type(value) == "string" then return quoted(value); end
	if type(value) ~= "table" then return type(value) == "function" and "function" or tostring(value); end
	if getmetatable(value) == stanza_mt then return dump_stanza(value, depth); end
	return dump_table(value, depth);
end

local function is_sync(stanza)
	return type(stanza) == "table" and stanza.attr and stanza.attr.id and stanza.attr.id:find("^sync");
end

local function write(group, line)
	file:write(group, "\t", line, "\n");
end

-- A client's end is sent to all nicknames that it has had, in any order: the first stanza ends its presence in the room
local LEFT = "muc-occupant-left";
local shown = setmetatable({}, { __mode = "k" }); -- the last dump of each event

local function on_event(host, name, priority, event)
	if type(event) ~= "table" or is_sync(event.stanza) or event.origin and event.origin.type == "admin" then return; end
	local attr = event.stanza and event.stanza.attr or {};
	local found = {};
	for _, key in ipairs(sorted(event)) do
		if key ~= "stanza" or name ~= LEFT then table.insert(found, tostring(key).."="..dump(event[key], 1)); end
	end
	if name:find("resource%-") then table.insert(found, "fields: "..fields(event.session)); end
	local text = table.concat(found, " ");
	local from = name == LEFT and event.nick or attr.from or event.session and label(event.session);
	write(("%s %s %s>%s"):format(host, name, from, name ~= LEFT and attr.to),
		("%s %s"):format(priority, shown[event] == text and "same" or text));
	shown[event] = text;
end

function module.add_host(host_module)
	for _, name in ipairs(EVENTS) do
		for _, priority in ipairs(priorities) do
			host_module:hook(name, function (event) on_event(host_module.host, name, priority, event); end, priority);
		end
	end
end

-- Acks come at any time, features in any order
local UNWRITTEN = { r = true, a = true, enable = true, enabled = true, features = true, ["stream:features"] = true };

local function filter(name, priority)
	return function (stanza, session)
		if type(stanza) == "table" and session.type ~= "admin" and not is_sync(stanza) and not UNWRITTEN[stanza.name] then
			local from = stanza.attr.from; -- presence of a room's occupants comes in any order
			write(("%s %s %s>%s"):format(name, label(session), from, stanza.attr.to), ("%g %s"):format(priority, dump(stanza, 1)));
		end
		return stanza;
	end
end

local function add_filters(session)
	for _, name in ipairs { "stanzas/in", "stanzas/out" } do
		for _, priority in ipairs { 1500, 0, -1500 } do
			filters.add_filter(session, name, filter(name, priority), priority);
		end
	end
end

filters.add_filter_hook(add_filters);
function module.unload() filters.remove_filter_hook(add_filters); file:close(); end

-- Lines that were written so far are in the file when it returns
function module.environment.flush() file:flush(); end
