-- The handlers that see a message on its way to the session of an occupant on this server, and what they do with it.
--
-- Known are those of Prosody's own modules, and ours in their place, for a message of type "groupchat" to the full JID of a session.
-- If any other module has a handler, nobody knows, and the message has to take its usual way.

local EVENT = "message/full";

local getinfo, getupvalue = debug.getinfo, debug.getupvalue;

local prosodys = prosody.paths.plugins:match("[^;]+$"):gsub("/+$", ""); -- the last folder is Prosody's own
local ours = module:get_directory():match("^(.*)/");

-- Files, and folders of files, with the handlers that are known, by module
local files = {
	message = { [prosodys.."/mod_message.lua"] = true };
	blocklist = { [prosodys.."/mod_blocklist.lua"] = true };
	carbons = { [prosodys.."/mod_carbons.lua"] = true, [ours.."/mod_stream_native/carbons.lib.lua"] = true };
	mam = { [prosodys.."/mod_mam/mod_mam.lua"] = true, [ours.."/mod_mam/"] = true };
};

local handlers = {};

local function is_of(host, name, handler)
	local loaded = host.modules[name];
	return loaded and loaded.module.event_handlers:get(host.events, EVENT, handler);
end

local function name_of(host, handler)
	local file = getinfo(handler, "S").source:gsub("^@", ""):gsub("//+", "/");
	for name, known in pairs(files) do
		if (known[file] or known[file:match("^.*/")]) and is_of(host, name, handler) then return name; end
	end
end

-- The handlers up to mod_message's, which sends, by the names of their modules; nil if one is not known
local function identify(host, list)
	local known = {};
	for _, handler in ipairs(list) do
		local name = name_of(host, handler);
		if not name or known[name] then return nil; end
		known[name] = handler;
		if name == "message" then return known; end
	end
	return nil;
end

local function upvalue(func, name)
	for i = 1, 255 do
		local found, value = getupvalue(func, i);
		if found == name then return value; end
		if not found then return nil; end
	end
end

-- Whether a wrapper or a debug hook sees the events of a host: util.events keeps them in upvalues
local function is_watched(events, name)
	local wrappers, fire = upvalue(events.fire_event, "wrappers"), upvalue(events.fire_event, "_fire_event");
	if not wrappers or not fire then return true; end
	return wrappers[name] or upvalue(events.fire_event, "global_wrappers") or upvalue(fire, "active_debug_hook");
end

local identified = setmetatable({}, { __mode = "k" }); -- list of handlers -> table of identify(), or false

-- The handlers that the host has now; nil if they are not known. util.events makes a new list whenever they change.
function handlers.of(host)
	local list = host.events.get_handlers(EVENT);
	if not list or is_watched(host.events, EVENT) then return nil; end
	local known = identified[list];
	if known == nil then
		known = identify(host, list) or false;
		identified[list] = known;
	end
	return known or nil;
end

-- What a module decides for the stanza, and why, by an event that others may hook. nil if there are others.
local function ask(host, event, stanza)
	local list = host.events.get_handlers(event);
	if not list or #list > 1 or is_watched(host.events, event) then return nil; end
	local data = { stanza = stanza };
	return host.events.fire_event(event, data), data.reason;
end

local ignores = {};

-- Archives no messages of rooms, but removes ids that claim to be from the account
function ignores.mam(host, stanza, room_jid)
	for _, tag in ipairs(stanza.tags) do
		if tag.name == "stanza-id" and tag.attr.by ~= room_jid then return false; end
	end
	return ask(host, "archive-should-store", stanza) == false;
end

-- Copies no messages of rooms, but removes <private/>
function ignores.carbons(host, stanza)
	local should, reason = ask(host, "carbons-should-copy", stanza);
	return should == false and reason ~= "private";
end

-- Whether handlers.of(host) leave the stanza as it is. mod_blocklist's is not asked: it decides for each occupant.
function handlers.ignore(known, host, stanza, room_jid)
	for name, does_ignore in pairs(ignores) do
		if known[name] and not does_ignore(host, stanza, room_jid) then return false; end
	end
	return true;
end

return handlers;
