-- An anonymous webchat: a page with Converse.js for the rooms of this server, and what keeps its visitors to those
-- rooms. README.md lists options, log lines, limits and metrics.

if module:get_option_string("authentication") ~= "anonymous" then
	error("mod_webchat serves visitors without an account: enable it on a VirtualHost of its own that has"
		.. " authentication = \"anonymous\"", 0);
end

module:require "guard"; -- before anything that may fail

local jid_host = require "util.jid".host;
local modulemanager = require "core.modulemanager";
local timer = require "util.timer";

local PRUNING_INTERVAL = 60; -- seconds

local options = module:require "option_reader".read(module:require "options");
local metrics = module:require "metrics";
local rooms = module:require "rooms" (options);
local urls = module:require "urls";
local costs = module:require "costs";
local networks = module:require "networks" (options);
local visitors = module:require "visitors" (options, metrics, networks, costs);
local ending = module:require "ending";
local refusal = module:require "refusal" (metrics, networks, visitors, ending);
local bars = module:require "bars" (metrics, networks);
local asked = module:require "asked" (options, visitors);
local gate = module:require "gate" (visitors, costs, refusal, ending);
local has_unread = module:require "unread" (options, refusal, ending);

local stores = module:require "stores";
module:require "fence" (options, rooms, visitors, bars, refusal, gate, asked, has_unread);
local obstacle = module:require "logins" (options, networks, visitors, bars, metrics, refusal, costs, ending);
module:require "resumption" (options, rooms, visitors, bars, refusal, obstacle);
local bans = module:require "bans" (options, rooms, networks, visitors, bars);
module:require "nicknames" (rooms, refusal);
module:require "returning" (rooms, visitors);
module:require "voice" (rooms, refusal);
local own_rooms = options.webchat_room_per_visitor and module:require "ownrooms" (options, rooms, visitors, bars, bans, refusal);
module:require "page" (options, rooms, urls);
module:require "discovery" (rooms, urls);
local remove_commands = module:require "shell" (module:require "admin" (options, rooms, networks, visitors, bars, ending));

module:add_timer(PRUNING_INTERVAL, function ()
	visitors.prune();
	bars.prune();
	return PRUNING_INTERVAL;
end);

-- Once everything has been loaded, the rooms too
module:add_timer(0, function ()
	for host in options.webchat_room_hosts or function () end do
		if not rooms.is_host(host) then module:log("warn", "webchat_room_hosts: %s is no MUC component of this server", host); end
	end
	local room = options.webchat_default_room;
	if not room or rooms.find(room) then return; end
	local host = jid_host(room);
	if not rooms.is_host(host) then
		module:log("warn", "The default room %s is on a host that visitors may not enter: add %s to webchat_room_hosts", room, host);
		return;
	end
	module:log("warn", "The default room %s does not exist, and visitors cannot create it: join it with a client, or run"
		.. " prosodyctl shell 'muc:create(\"%s\", { persistent = true })'", room, room);
end);

local function each_session(callback)
	local sessions = {}; -- some may end meanwhile
	for _, user in pairs(prosody.hosts[module.host].sessions) do
		for _, session in pairs(user.sessions) do table.insert(sessions, session); end
	end
	for _, session in ipairs(sessions) do callback(session); end
end

function module.load()
	each_session(function (session)
		visitors.add(session);
		gate.watch(session);
	end);
	if not module.reloading then stores.reopen(); end
end

local function close_all()
	each_session(function (session) ending.now(session, "policy-violation", "The webchat is closed"); end);
end

-- Nobody stays without the fence; nor when it is torn down to be put up again, and that fails
function module.unload()
	remove_commands();
	each_session(gate.unwatch);
	if not module.reloading then
		close_all();
		if own_rooms then own_rooms.destroy_all(); end
		return;
	end
	timer.add_task(0, function ()
		if not modulemanager.is_loaded(module.host, module.name) then close_all(); end
	end);
end

function module.save()
	return { bars = bars.save(), visitors = visitors.save(), own_rooms = own_rooms and own_rooms.save() };
end

function module.restore(saved)
	bars.restore(saved.bars);
	visitors.restore(saved.visitors);
	if own_rooms and saved.own_rooms then own_rooms.restore(saved.own_rooms); end
end
