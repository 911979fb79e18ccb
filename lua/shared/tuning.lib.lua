-- Sets network_settings and gc to better values than Prosody's defaults, unless the configuration sets them. Safe to run for several
-- modules and hosts.

local config = require "core.configmanager";

local GLOBAL = "*";
local PROSODYS_THRESHOLD, THRESHOLD = 105, 200; -- memory, in percent of what was in use, at which a collection begins

-- Lua 5.4 stores a quarter of the threshold.
local function as_kept(threshold) return threshold // 4 * 4; end

-- The last packet of our modules' writes in one turn is small. With Nagle's algorithm it waits for the acknowledgement of the
-- packet before it, which clients delay by 40 ms.
local function send_at_once(server)
	local settings = config.get(GLOBAL, "network_settings") or {};
	if type(settings) ~= "table" or rawget(settings, "nagle") ~= nil then return; end -- raw: Prosody's defaults are behind it
	local ours = { nagle = false };
	for name, value in pairs(settings) do ours[name] = value; end
	server.set_config(ours);
end

-- Prosody collects garbage whenever memory has grown by 5 %, which takes about half of a busy server's CPU time. The generational
-- mode has drawbacks too: a full collection stops the server, and Lua before 5.4.5 begins one at the wrong times.
local function collect_less_often()
	if _VERSION ~= "Lua 5.4" or config.get(GLOBAL, "gc") ~= nil then return; end
	local threshold = collectgarbage("setpause", THRESHOLD);
	if threshold == as_kept(PROSODYS_THRESHOLD) then
		module:log("info", "Garbage is collected when memory has doubled, as with 'gc = { threshold = %d }': "
			.."set 'gc' in the configuration for another choice, { threshold = %d } for Prosody's own", THRESHOLD, PROSODYS_THRESHOLD);
	elseif threshold ~= as_kept(THRESHOLD) then
		collectgarbage("setpause", threshold); -- set by another module
	end
end

if prosody.process_type == "prosody" then
	collect_less_often();
	local server = require "net.server";
	if server.get_backend() == "epoll" then -- other backends lack the setting
		local function apply() send_at_once(server); end
		apply();
		module:hook_global("config-reloaded", apply, -1); -- after Prosody, which takes the settings as they are written
	end
end
