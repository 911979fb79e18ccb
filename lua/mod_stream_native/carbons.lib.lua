-- Spares mod_carbons the work for messages of which nobody gets a carbon copy (XEP-0280): a test before its handlers

local jid_bare = require "util.jid".bare;

local debug_sinks = module:require "debug_sinks";
local upvalues = module:require "upvalues";

local xmlns_carbons = "urn:xmpp:carbons:2";
local PRIORITY = -0.5;
local DECISION = "carbons-should-copy";

-- Events that mod_carbons hooks; whether the local user is the sender
local EVENTS = {
	["pre-message/host"] = true, ["pre-message/bare"] = true, ["pre-message/full"] = true,
	["message/bare"] = false, ["message/full"] = false,
};
-- mod_carbons's message_handler() of Prosody 0.12 and 13.0: its upvalues in the order of their use, and its length. Another version
-- may decide otherwise, and is left alone.
local KNOWN = { upvalues = "jid_bare bare_sessions full_sessions _ENV xmlns_carbons st xmlns_forward", lines = 77 };

local full_sessions, bare_sessions = prosody.full_sessions, prosody.bare_sessions;

local carbons = {};
local replaced = {}; -- host -> array of { module = mod_carbons there, event =, stock =, ours = }

local function is_known(handler, is_sent)
	local decide = handler;
	if is_sent then decide = upvalues.get(handler, "message_handler"); end
	if type(decide) ~= "function" then return false; end
	local info = debug.getinfo(decide, "S");
	return upvalues.names(decide) == KNOWN.upvalues and info.lastlinedefined - info.linedefined + 1 == KNOWN.lines;
end

-- mod_carbons's handlers by their event; nil if one is missing, unknown, or not alone
local function find_handlers(stock, events)
	local found = {};
	for object, event, handler in stock.event_handlers:iter(nil, nil, nil) do
		if object == events and (EVENTS[event] ~= nil or event == DECISION) then
			if found[event] then return nil; end
			found[event] = handler;
		end
	end
	for event, is_sent in pairs(EVENTS) do
		local handler = found[event];
		if not handler or not is_known(handler, is_sent) or events._event_map[event][handler] ~= PRIORITY then return nil; end
	end
	return found[DECISION] and found;
end

-- Whether a session of the user gets a carbon copy, as mod_carbons decides it
local function is_wanted(user, target, is_sent)
	local top_priority = false;
	if not is_sent and not target then
		local top_resources = user.top_resources;
		top_priority = top_resources and top_resources[1].priority;
	end
	for _, session in pairs(user.sessions) do
		if session.want_carbons and session ~= target and (is_sent or session.priority ~= top_priority) then return true; end
	end
	return false;
end

-- Whether mod_carbons would do anything but log: copy a message, or remove <private/>
local function has_work(event, is_sent)
	local stanza = event.stanza;
	local attr = stanza.attr;
	local user = bare_sessions[jid_bare(is_sent and attr.from or attr.to)];
	if not user then return false; end
	local target = event.origin;
	if not is_sent then target = full_sessions[attr.to]; end
	return is_wanted(user, target, is_sent) or not is_sent and stanza:get_child("private", xmlns_carbons) ~= nil;
end

local function make_handler(stock, decision, events, is_sent)
	local get_handlers = events.get_handlers;
	return function (event)
		local deciders = get_handlers(DECISION);
		local is_alone = deciders and deciders[1] == decision and not deciders[2]; -- others may decide or look on
		if debug_sinks[1] or not is_alone or has_work(event, is_sent) then return stock(event); end
	end
end

-- Unloading mod_carbons removes our handlers, because they are hooked in its name
local function replace(host)
	local loaded = prosody.hosts[host].modules.carbons;
	if not loaded then return; end
	local stock, events = loaded.module, prosody.hosts[host].events;
	local handlers = find_handlers(stock, events);
	if not handlers then
		module:context(host):log("info", "mod_carbons is not the one that is known: leaving it as it is");
		return;
	end
	replaced[host] = {};
	for event, is_sent in pairs(EVENTS) do
		local ours = make_handler(handlers[event], handlers[DECISION], events, is_sent);
		stock:unhook(event, handlers[event]);
		stock:hook(event, ours, PRIORITY);
		table.insert(replaced[host], { module = stock, event = event, stock = handlers[event], ours = ours });
	end
end

local function forget(host)
	replaced[host] = nil;
end

local function watch(host)
	local function on_change(event)
		if event.module ~= "carbons" then return; end
		forget(host);
		replace(host);
	end
	for _, name in ipairs { "module-loaded", "module-reloaded", "module-unloaded" } do
		module:context(host):hook(name, on_change);
	end
	if not replaced[host] then replace(host); end
end

function carbons.start()
	if not debug_sinks then return; end -- mod_carbons logs
	for host in pairs(prosody.hosts) do watch(host); end
	module:hook_global("host-activated", watch);
	module:hook_global("host-deactivated", forget);
end

function carbons.stop()
	for host, list in pairs(replaced) do
		local events = prosody.hosts[host] and prosody.hosts[host].events;
		for _, one in ipairs(list) do
			local map = events and events._event_map[one.event];
			if map and map[one.ours] then
				one.module:unhook(one.event, one.ours);
				one.module:hook(one.event, one.stock, PRIORITY);
			end
		end
		replaced[host] = nil;
	end
end

function carbons.figures()
	local count = 0;
	for _ in pairs(replaced) do count = count + 1; end
	return { { name = "carbons_hosts", value = count } };
end

return carbons;
