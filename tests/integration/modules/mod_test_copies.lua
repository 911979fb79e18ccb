-- Marks messages of rooms on their way to an occupant, as any module may, at the stage that a test names: start(stage), stop().
-- A mark bears the "to" of the copy. encoded counts the messages with a body that were encoded.
local filters = require "util.filters";
local st = require "util.stanza";

local events = prosody.hosts[module.host].events;

local function is_copy(stanza)
	return st.is_stanza(stanza) and stanza.name == "message" and stanza.attr.type == "groupchat" and stanza:get_child("body");
end

local function mark(stanza)
	if is_copy(stanza) then stanza:tag("mark", { xmlns = "urn:test:mark", to = stanza.attr.to }):up(); end
end

local function mark_event(event) mark(event.stanza); end

local function hook(object, name, priority, handler)
	object.add_handler(name, handler or mark_event, priority);
	return function () object.remove_handler(name, handler or mark_event); end;
end

local function wrap_events(name)
	local function wrapper(handlers, event_name, event)
		if event_name == "message/full" then mark(event.stanza); end
		return handlers(event_name, event);
	end
	events.add_wrapper(name, wrapper);
	return function () events.remove_wrapper(name, wrapper); end;
end

local function with_sessions(visit)
	local undo = {};
	for _, session in pairs(prosody.full_sessions) do table.insert(undo, visit(session)); end
	return function () for _, f in ipairs(undo) do f(); end end;
end

local function filter(kind, priority, callback)
	return with_sessions(function (session)
		filters.add_filter(session, kind, callback, priority);
		return function () filters.remove_filter(session, kind, callback); end;
	end);
end

local function filter_stanza(stanza)
	if not is_copy(stanza) then return stanza; end
	stanza = st.clone(stanza);
	mark(stanza);
	return stanza;
end

local function mark_bytes(bytes)
	return (tostring(bytes):gsub("(<message [^>]-to='([^']*)'.-)(</message>)", "%1<mark xmlns='urn:test:mark' to='%2'/>%3"));
end

local function wrap_send(name, change)
	return with_sessions(function (session)
		local send = session[name];
		session[name] = function (data) return send(change(data)); end;
		return function () session[name] = send; end;
	end);
end

local function replace_method(name)
	local room_mt = prosody.hosts[module:get_option_string("test_rooms")].modules.muc.room_mt;
	local method = room_mt[name];
	rawset(room_mt, name, function (room, ...)
		for _, argument in ipairs { ... } do mark(argument); end
		return method(room, ...);
	end);
	return function () rawset(room_mt, name, method); end;
end

local stages = {
	["first handler"] = function () return hook(events, "message/full", 200); end;
	["last handler"] = function () return hook(events, "message/full", -0.9); end;
	["handler that replaces the stanza"] = function ()
		return hook(events, "message/full", -0.9, function (event) event.stanza = filter_stanza(event.stanza); end);
	end;
	["decision to archive"] = function () return hook(events, "archive-should-store", 5); end;
	["decision to copy"] = function () return hook(events, "carbons-should-copy", 5); end;
	["wrapped event"] = function () return wrap_events("message/full"); end;
	["wrapped events"] = function () return wrap_events(false); end;
	["debug hook"] = function ()
		events.set_debug_hook(function (handler, name, event)
			if name == "message/full" then mark(event.stanza); end
			return handler(event);
		end);
		return function () events.set_debug_hook(nil); end;
	end;
	["first filter"] = function () return filter("stanzas/out", 10, filter_stanza); end;
	["last filter"] = function () return filter("stanzas/out", -1500, filter_stanza); end;
	["filter of bytes"] = function () return filter("bytes/out", 0, mark_bytes); end;
	["wrapped send"] = function () return wrap_send("send", filter_stanza); end;
	["wrapped rawsend"] = function () return wrap_send("rawsend", mark_bytes); end;
	["route of the room"] = function () return replace_method("route_stanza"); end;
};

local stop_stage;
function module.environment.start(stage) stop_stage = stages[stage](); end
function module.environment.stop() stop_stage(); end

-- Counts calls of Prosody's serialiser and of stream management's
module.environment.encoded = 0;
local function counting(encode)
	return function (stanza)
		if is_copy(stanza) then module.environment.encoded = module.environment.encoded + 1; end
		return encode(stanza);
	end;
end

function module.environment.count()
	st.stanza_mt.__tostring = counting(st.stanza_mt.__tostring);
	local smacks = prosody.hosts[module.host].modules.smacks;
	smacks.encode = counting(smacks.encode);
	for _, session in pairs(prosody.full_sessions) do
		local queue = session.outgoing_stanza_queue;
		if queue then
			local native = queue.enqueue.native; -- the same for all queues
			native.encode = counting(native.encode);
			return;
		end
	end
end
