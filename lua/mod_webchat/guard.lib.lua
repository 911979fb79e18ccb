-- Nobody comes in while the module is not there to keep visitors to the rooms: it failed to load, was unloaded, or a reload
-- has failed. What it hooks as a module is gone then, so this hooks the host, for as long as the server runs.

local modulemanager = require "core.modulemanager";

local BEFORE_OTHERS = 1000; -- priority

local name, host = module.name, prosody.hosts[module.host];

local function guard(event)
	if modulemanager.is_loaded(host.host, name) or host.users.name ~= "anonymous" then return; end
	local session = event.session;
	session.log("info", "Nobody is let in: mod_%s is not loaded", name);
	event.error = { type = "cancel", condition = "service-unavailable", text = "The chat is closed" };
	return false;
end

if host.webchat_guard then host.events.remove_handler("pre-resource-bind", host.webchat_guard); end
host.webchat_guard = guard; -- luacheck: ignore 122/prosody
host.events.add_handler("pre-resource-bind", guard, BEFORE_OTHERS);
