-- What happens when queues hold more than the options allow

local hibernating = module:shared "/*/smacks/hibernating"; -- session -> function that ends it

return function (options, metrics, queues, fail)
	local limits = {};

	-- A connected session lets go of its oldest stanzas, which were written to its socket
	local function release(session, reason, drop)
		local queue = session.outgoing_stanza_queue;
		if queue:resumable() then
			session.log("warn", "%s reached with %d stanzas (%d bytes) unacked: the oldest, which were sent, are released, "
				.."and the session is not resumable until the client has acknowledged them", reason, queue:held(), queue:bytes());
		end
		drop(queue);
	end

	function limits.release_sent(session)
		release(session, "Queue limit", function (queue) queue:shed(); end);
	end

	-- The other end of release: the acks have caught up
	function limits.note_ack(session)
		local queue = session.outgoing_stanza_queue;
		if queue.released > 0 and queue:resumable() then
			session.log("info", "Acks have caught up with %d stanzas that had been released, the session is resumable again", queue.released);
			queue.released = 0;
		end
	end

	-- Nothing that falls out of a hibernating session's queue has reached the client
	function limits.release_unsent(session)
		local queue = session.outgoing_stanza_queue;
		if queue:resumable() then
			session.log("warn", "Queue limit reached while hibernating, with %d stanzas (%d bytes): the oldest are stored offline, "
				.."left to the archive or bounced, and the session is no longer resumable", queue:held(), queue:bytes());
		end
		local count = queue:shed(function (stanza) fail(session, stanza); end);
		metrics.dropped:sample(count);
	end

	local function largest_hibernating()
		local largest, largest_bytes = nil, 0;
		for session in pairs(hibernating) do
			local queue = session.outgoing_stanza_queue; -- nil if the session ended after its host's module
			local bytes = queue and queue:bytes() or 0;
			if bytes > largest_bytes then largest, largest_bytes = session, bytes; end
		end
		return largest, largest_bytes;
	end

	local function is_over_total()
		return queues.total_bytes() > options.max_total_bytes;
	end

	local is_enforcing = false; -- ending a session sends stanzas, which lead here again

	-- session has just queued a stanza
	function limits.enforce_total(session)
		if is_enforcing or not is_over_total() then return; end
		is_enforcing = true;
		local largest, bytes = largest_hibernating();
		while largest and is_over_total() do
			largest.log("warn", "All queues together exceed smacks_max_total_bytes (%d), ending this session, "
				.."with %d bytes the largest that hibernates", options.max_total_bytes, bytes);
			hibernating[largest](largest);
			largest, bytes = largest_hibernating();
		end
		is_enforcing = false;
		if is_over_total() and session.outgoing_stanza_queue and not session.hibernating then
			release(session, "smacks_max_total_bytes", function (queue)
				while is_over_total() and queue:drop_oldest() do end -- luacheck: ignore 542
			end);
		end
	end

	return limits;
end
