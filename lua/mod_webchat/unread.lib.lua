-- Bounds the memory that a visitor takes who reads or acknowledges nothing

local ENOUGH = 16; -- stanzas that wait for an ack, from which on they are weighed

local sizes = setmetatable({}, { __mode = "k" }); -- stanza -> bytes

local function size_of(stanza)
	sizes[stanza] = sizes[stanza] or #tostring(stanza);
	return sizes[stanza];
end

local function sum(parts)
	local bytes = 0;
	for _, part in ipairs(parts) do bytes = bytes + #part; end
	return bytes;
end

-- A string, or several: an array on 0.12, a buffer with a length on 13.0
local function buffered(buffer)
	if not buffer then return 0; end
	return type(buffer) == "table" and buffer[1] and sum(buffer) or #buffer;
end

-- Stanzas that wait for an ack, in this project's mod_smacks or Prosody's
local function unacked(queue)
	if not queue then return 0; end
	if queue.bytes then return queue:bytes(); end
	if queue:count_unacked() < ENOUGH then return 0; end
	local bytes = 0;
	for _, stanza in queue:resume() do bytes = bytes + size_of(stanza); end
	return bytes;
end

return function (options, refusal, ending)

	-- Returns whether it is too much, which ends the visitor. The buffer and the queue may hold the same stanzas.
	return function (session)
		if session.webchat_ending then return true; end
		local conn = session.conn;
		local bytes = math.max(unacked(session.outgoing_stanza_queue),
			session.send_buffer and sum(session.send_buffer) or conn and buffered(conn.writebuffer) or 0);
		if bytes <= options.webchat_max_unread_bytes then return false; end
		refusal.count(session, "unread", ("%d bytes wait to be read"):format(bytes));
		ending.soon(session, "resource-constraint", "Too much waits for you to be read");
		return true;
	end;
end
