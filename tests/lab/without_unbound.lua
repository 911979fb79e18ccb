-- Run before everything else in a Prosody, by LUA_INIT: lua-unbound is missing, and what the system's
-- file names as its name server is another one.

package.preload.lunbound = function () error("module 'lunbound' not found"); end

local open, resolv_conf = io.open, os.getenv("TEST_RESOLV_CONF");
io.open = function (path, ...) -- luacheck: ignore 122
	return open(path == "/etc/resolv.conf" and resolv_conf or path, ...);
end
