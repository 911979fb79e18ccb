-- What happens when queues hold more than the options allow. A session's limit asks its client for an
-- ack; those of an account and of the process end sessions, which hand on what they hold.

return function (options, queues, accounts, endings)
	local limits = {};
	local over = {}; -- accounts that may be over smacks_max_account_bytes

	-- To be called when something was queued
	function limits.check(name, total_bytes, account_bytes)
		if account_bytes > options.smacks_max_account_bytes then
			over[name] = true;
			endings.schedule();
		elseif total_bytes > options.smacks_max_total_bytes then
			endings.schedule();
		end
	end

	-- Returns the account to be dealt with next, and the option whose limit it has reached
	local function account_over_limit()
		if queues.total_bytes() > options.smacks_max_total_bytes then return queues.largest(), "smacks_max_total_bytes"; end
		for name in pairs(over) do
			if queues.account_bytes(name) > options.smacks_max_account_bytes then return name, "smacks_max_account_bytes"; end
			over[name] = nil;
		end
	end

	function endings.limit()
		local name, option = account_over_limit();
		local session, bytes = accounts.heaviest(name or "");
		if not session then return false; end
		session.log("warn", "%s is exceeded: of %s, who holds most (%d bytes), the largest session ends, with %d bytes that are "
			.."handed on", option, name, queues.account_bytes(name), bytes);
		accounts.terminate(session, "Too many stanzas are not acknowledged");
		return true;
	end

	-- To be called when a session of the account hibernates: those are limited, and the first to go goes first
	function limits.check_hibernating(name)
		if accounts.count_hibernating(name) <= options.smacks_max_hibernated_sessions then return; end
		endings.add(function ()
			if accounts.count_hibernating(name) <= options.smacks_max_hibernated_sessions then return false; end
			local session = accounts.longest_away(name);
			if not session then return false; end
			session.log("info", "More than %d sessions of %s hibernate (smacks_max_hibernated_sessions): ending the one that does "
				.."for longest", options.smacks_max_hibernated_sessions, name);
			accounts.terminate(session, "Too many sessions hibernate");
			return true;
		end);
	end

	-- Says once that a connected session's queue is over its limits
	function limits.note(session, is_over)
		local queue = session.outgoing_stanza_queue;
		if is_over and not session.smacks_over then
			session.log("info", "Queue limit reached with %d stanzas (%d bytes) unacked, asking for an ack", queue:held(), queue:bytes());
		end
		session.smacks_over = is_over or nil;
	end

	return limits;
end
