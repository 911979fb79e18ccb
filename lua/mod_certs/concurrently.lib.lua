-- Many conversations over sockets at once, each a function that waits where it would block

local socket = require "socket";

local LIMIT = 50; -- conversations at a time

local concurrently = {};

-- Within a conversation: waits until a socket can be read from ("read") or written to ("write"). False: until the
-- deadline, in seconds as of socket.gettime().
function concurrently.wait(conn, direction, deadline)
	return coroutine.yield({ conn = conn, direction = direction, deadline = deadline });
end

-- Lets a conversation go on to its next wait, which it adds to `waits`.
local function resume(waits, thread, ready)
	local ok, wait = coroutine.resume(thread, ready);
	if not ok then error(wait, 0); end
	if wait then
		wait.thread = thread;
		table.insert(waits, wait);
	end
end

-- The sockets that are ready, as keys of `read` and `write`; none where the next deadline came first
local function select_ready(waits)
	local sets, deadline = { read = {}, write = {} }, math.huge;
	for _, wait in ipairs(waits) do
		table.insert(sets[wait.direction], wait.conn);
		deadline = math.min(deadline, wait.deadline);
	end
	local readable, writable = socket.select(sets.read, sets.write, math.max(0, deadline - socket.gettime()));
	return { read = readable, write = writable };
end

-- Returns when all functions have returned. They must not fail.
function concurrently.run(functions)
	local waits, started = {}, 0;
	while true do
		while #waits < LIMIT and started < #functions do
			started = started + 1;
			resume(waits, coroutine.create(functions[started]));
		end
		if not waits[1] then return; end
		local ready, before = select_ready(waits), waits;
		local now = socket.gettime();
		waits = {};
		for _, wait in ipairs(before) do
			local is_ready = ready[wait.direction][wait.conn] ~= nil;
			if is_ready or wait.deadline <= now then
				resume(waits, wait.thread, is_ready);
			else
				table.insert(waits, wait);
			end
		end
	end
end

return concurrently;
