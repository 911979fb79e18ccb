-- Handlers on every host: virtual hosts and components, also those that are activated later. They belong to the global module,
-- and Prosody removes them with it.

local excluded = module:require "excluded";

local handlers = {}; -- { event, handler, priority }
local known = {}; -- by host: { events =, left_out = }

local hosts = {};

local function attach(host)
	local events = prosody.hosts[host].events;
	local why = excluded(module.name, host);
	if why then module:log("info", "Not protecting %s: %s", host, why); end
	known[host] = { events = events, left_out = why ~= nil };
	for _, hook in ipairs(handlers) do module:hook_object_event(events, hook[1], hook[2], hook[3]); end
end

local function detach(host)
	local events = known[host] and known[host].events;
	known[host] = nil;
	for _, hook in ipairs(events and handlers or {}) do module:unhook_object_event(events, hook[1], hook[2]); end
end

-- Calls the handler for this event of any host. It has to look whether the host is protected, by the session: a stanza comes to
-- the host that it names.
function hosts.hook(event, handler, priority)
	handlers[#handlers + 1] = { event, handler, priority };
end

-- True also for a name that is not a host of this server
function hosts.is_protected(host)
	return not (known[host] and known[host].left_out);
end

-- Whether our side of a stream is protected; it is if the peer has not named a host yet
function hosts.protects(session)
	local host;
	if session.direction == "outgoing" then host = session.from_host; else host = session.to_host; end
	return host == nil or hosts.is_protected(host);
end

-- Attaches the handlers; no handler can be added later.
function hosts.begin()
	for host in pairs(prosody.hosts) do attach(host); end
	module:hook_global("host-activated", attach, 1000); -- before modules are loaded on it
	module:hook_global("host-deactivated", detach);
	-- A host without that event, or whose event ended in an error of another module
	module:hook_global("s2sout-connected", function (event)
		local host = event.session.from_host;
		if not known[host] and prosody.hosts[host] then attach(host); end
	end, 1000);
end

return hosts;
