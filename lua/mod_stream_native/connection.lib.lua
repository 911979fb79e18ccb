-- Switches Nagle's algorithm off for connections that exist when the module is loaded. For later ones, also those with direct TLS,
-- tuning.lib.lua has changed the default of the network backend.

local config = require "core.configmanager";
local server = require "net.server";
local socket = require "socket";

local UNOPENED = -1; -- as LuaSocket has it
local LISTS = { "/*/c2s/sessions", "/*/s2s/sessions", "/*/component/sessions" }; -- connection -> session

local connection = {};

-- LuaSec's objects have no options, so a second object with the same descriptor sets it
local function send_at_once(conn)
	local fd = conn.getfd and conn:getfd();
	local handle = socket.tcp();
	if type(fd) == "number" and fd >= 0 and handle:getfd() == UNOPENED then
		handle:setfd(fd);
		handle:setoption("tcp-nodelay", true); -- fails for other sockets than TCP
		handle:setfd(UNOPENED);
	end
	handle:close();
end

local function is_configured()
	local settings = config.get("*", "network_settings");
	return type(settings) == "table" and rawget(settings, "nagle") ~= nil;
end

function connection.start()
	module:require "tuning";
	if server.get_backend() ~= "epoll" or is_configured() then return; end
	for _, list in ipairs(LISTS) do
		for conn in pairs(module:shared(list)) do send_at_once(conn); end
	end
end

function connection.stop() end -- what the operator would set: it stays

return connection;
