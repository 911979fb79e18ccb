-- wait(session, promise): waits in the session's thread, as async.wait_for does.
--
-- Prosody pauses the connection meanwhile. When it goes on it waits for the socket to become readable, which it
-- never does for bytes that LuaSocket or OpenSSL have read ahead: those are handled here.

local async = require "util.async";
local timer = require "util.timer";

local function soon(func) timer.add_task(0, func); end

local function read_on(session)
	local conn, thread = session.conn, session.thread;
	if session.destroyed or not conn or not thread or thread.state ~= "ready" then return; end
	-- _wantread is net.server_epoll's. While it is not set, the connection is paused, and will be resumed.
	local socket = conn._wantread and conn:socket();
	if socket and socket:dirty() then conn:onreadable(); end
end

return function (session, awaited)
	local result, err = async.wait_for(awaited);
	-- In the turn after the next: util.async takes one to go on with what waits behind this in the thread
	soon(function () soon(function () read_on(session); end); end);
	return result, err;
end
