-- An anonymous webchat: serves a page with Converse.js for the rooms of this server, and restricts its visitors to these
-- rooms. README.md documents options, log lines, limits and metrics.

if module:get_option_string("authentication") ~= "anonymous" then
	error("mod_webchat serves visitors without an account: enable it on a VirtualHost of its own that has"
		.. " authentication = \"anonymous\"", 0);
end

local modulemanager = require "core.modulemanager";
local new_id = require "util.id".medium;
local timer = require "util.timer";

local BEFORE_OTHERS, AFTER_OTHERS = 1000, -1000; -- priorities
local PRUNE_INTERVAL = 60; -- seconds

--- Guard: without this module anonymous users could reach every user of the server. Logins are rejected while the module is
--- not loaded: it failed to load, was unloaded, or a reload failed. Its own hooks are gone then, so this handler belongs to
--- the host, and stays as long as the server runs. It is set before anything below can fail.

local name, host = module.name, prosody.hosts[module.host];

local function guard(event)
	if modulemanager.is_loaded(host.host, name) or host.users.name ~= "anonymous" then return; end
	local session = event.session;
	session.log("info", "Rejecting login: mod_%s is not loaded", name);
	event.error = { type = "cancel", condition = "service-unavailable", text = "The chat is closed" };
	return false;
end

if host.webchat_guard then host.events.remove_handler("pre-resource-bind", host.webchat_guard); end
host.webchat_guard = guard; -- luacheck: ignore 122/prosody
host.events.add_handler("pre-resource-bind", guard, BEFORE_OTHERS);

--- Libraries: each is a table, and finds the others in this one when start(webchat) is called. start() hooks events.

local webchat = { options = module:require "option_reader".read(module:require "options") };
local LIBRARIES = {
	"rooms"; -- that visitors may enter
	"networks"; -- IP addresses, or prefixes of them, to which limits and bars apply
	"budgets"; -- token buckets
	"visitors"; -- the present visitors, their networks and budgets
	"refusals"; -- errors, log lines, disconnecting
	"bars"; -- of networks, by admins and by bans in rooms
	"limits"; -- on stanzas, server time, bytes
	"firewall"; -- which stanzas pass
	"logins"; -- logging in, resuming and replacing sessions
	"nicknames"; -- which ones visitors may have
	"visitor_rooms"; -- a room for each visitor
	"http"; -- the page and its URLs
	"admin"; -- commands
};
for _, library in ipairs(LIBRARIES) do webchat[library] = module:require(library); end
for _, library in ipairs(LIBRARIES) do
	if webchat[library].start then webchat[library].start(webchat); end
end

local bars, limits, refusals, visitors = webchat.bars, webchat.limits, webchat.refusals, webchat.visitors;
local visitor_rooms = webchat.visitor_rooms;

module:add_timer(PRUNE_INTERVAL, function ()
	visitors.prune();
	bars.prune();
	return PRUNE_INTERVAL;
end);

--- Storage: modules that open a store on this host get one that keeps nothing, whatever the storage driver

local function nothing() return nil; end
local function done() return true; end

-- One for all types of store: they share no method names but "get", "set" and "delete"
local null_store = { caps = {} };
null_store.get, null_store.get_all = nothing, nothing;
null_store.set, null_store.set_keys, null_store.set_key, null_store.delete_all, null_store.close = done, done, done, done, done;
function null_store:users() return nothing; end -- luacheck: ignore 212/self
null_store.items = null_store.users;
function null_store:append(_, key) return key or new_id(); end -- luacheck: ignore 212/self
function null_store:find() return nothing, 0; end -- luacheck: ignore 212/self
function null_store:delete() return 0; end -- luacheck: ignore 212/self
function null_store:summary() return { counts = {} }; end -- luacheck: ignore 212/self
function null_store:dates() return {}; end -- luacheck: ignore 212/self

module:hook("store-opened", function (event) event.store = null_store; end, AFTER_OTHERS);

-- Modules that write without being asked by a client, and open their store when they are loaded
local WRITERS = { "account_activity", "mam", "offline", "pep", "smacks" };

-- Those that were loaded before this module have opened a real store
local function reload_writers()
	for _, writer in ipairs(WRITERS) do
		if modulemanager.is_loaded(module.host, writer) then modulemanager.reload(module.host, writer); end
	end
end

--- Loading, reloading, unloading

function module.load()
	for _, session in ipairs(visitors.sessions()) do
		visitors.add(session);
		limits.watch(session);
	end
	if not module.reloading then reload_writers(); end
end

local function disconnect_all()
	for _, session in ipairs(visitors.sessions()) do
		refusals.disconnect(session, "policy-violation", "The webchat is closed");
	end
end

-- No visitor stays connected without the firewall: neither after an unload, nor after a reload that fails
function module.unload()
	webchat.admin.remove_shell_commands();
	for _, session in ipairs(visitors.sessions()) do limits.unwatch(session); end
	if not module.reloading then
		disconnect_all();
		visitor_rooms.destroy_all();
		return;
	end
	timer.add_task(0, function ()
		if not modulemanager.is_loaded(module.host, module.name) then disconnect_all(); end
	end);
end

function module.save()
	return { bars = bars.save(), visitors = visitors.save(), visitor_rooms = visitor_rooms.save() };
end

function module.restore(saved)
	bars.restore(saved.bars);
	visitors.restore(saved.visitors);
	visitor_rooms.restore(saved.visitor_rooms);
end
