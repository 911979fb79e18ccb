-- Metrics: those of the stock module under its names, and the size of a host's queues, also for mod_native

local LARGEST = 5; -- queues that are named

local host = prosody.hosts[module.host];

local smacks;

local function histogram(name, unit, description, buckets)
	return module:metric("histogram", name, unit, description, {}, { buckets = buckets }):with_labels();
end

-- A table for each histogram: Prosody adds a last bucket to it
local function counts() return { 0, 1, 2, 4, 8, 16, 32 }; end

local metrics = {
	-- queued - dropped - acked is the number of unacked stanzas
	queued = module:measure("tx_queued_stanzas", "counter");
	dropped = histogram("tx_dropped_stanzas", "", "number of stanzas in a queue which got dropped", counts());
	acked = histogram("tx_acked_stanzas", "", "number of items acked per ack received", counts());
	-- attempts to resume an expired session
	resumption_expired = module:measure("session_resumption_expired", "counter");
	resumption_age = histogram("resumption_age", "seconds",
		"time the session had been hibernating at the time of a resumption",
		{ 0, 1, 12, 60, 360, 900, 1440, 3600, 14400, 86400 });
	expired = module:measure("sessions_expired", "counter");
	started = module:measure("sessions_started", "counter");
};

--- What queues hold

-- Calls visit(queue, state, name) for each stream that has a queue
local function each_queue(visit)
	for _, user in pairs(host.sessions or {}) do -- a component has none
		for _, session in pairs(user.sessions) do
			local queue = session.outgoing_stanza_queue;
			if queue then visit(queue, session.hibernating and "hibernating" or "live", session.full_jid); end
		end
	end
	for peer, session in pairs(host.s2sout or {}) do
		if session.outgoing_stanza_queue then visit(session.outgoing_stanza_queue, "server", peer); end
	end
end

local function count()
	local sums = { streams = { live = 0, hibernating = 0, server = 0 }, stanzas = 0, bytes = 0 };
	each_queue(function (queue, state)
		sums.streams[state] = sums.streams[state] + 1;
		sums.stanzas = sums.stanzas + queue:held();
		sums.bytes = sums.bytes + queue:bytes();
	end);
	return sums;
end

local function largest()
	local rows = {};
	each_queue(function (queue, state, name)
		if queue:held() > 0 then rows[#rows + 1] = { name, state, queue:held(), queue:bytes() }; end
	end);
	table.sort(rows, function (a, b)
		if a[4] ~= b[4] then return a[4] > b[4]; end
		return a[1] < b[1];
	end);
	return table.move(rows, 1, LARGEST, 1, {});
end

local streams = module:metric("gauge", "streams", "", "Streams with stream management", { "state" });
local stanzas = module:metric("gauge", "held_stanzas", "", "Unacknowledged stanzas", {}):with_labels();
local bytes = module:metric("gauge", "held", "bytes", "Bytes of unacknowledged stanzas", {}):with_labels();
local limit = module:metric("gauge", "limit", "bytes", "Maximum bytes of all queues of the server", {}):with_labels();

module:hook_global("stats-update", function ()
	local sums = count();
	for state, number in pairs(sums.streams) do streams:with_labels(state):set(number); end
	stanzas:set(sums.stanzas);
	bytes:set(sums.bytes);
	limit:set(smacks.options.smacks_max_total_bytes);
end);

module:add_item("native-status", {
	name = "smacks";
	figures = function ()
		local sums = count();
		if not host.sessions and sums.streams.server == 0 then return {}; end
		return {
			{ name = "live", value = sums.streams.live };
			{ name = "hibernating", value = sums.streams.hibernating };
			{ name = "server_streams", value = sums.streams.server };
			{ name = "held_stanzas", value = sums.stanzas };
			{ name = "held_bytes", value = sums.bytes, unit = "bytes" };
			{ name = "all_hosts_bytes", value = smacks.queue.total_bytes(), unit = "bytes", limit = smacks.options.smacks_max_total_bytes };
			{ name = "largest_queues", rows = largest(), columns = {
				{ name = "jid" }, { name = "state" }, { name = "stanzas" }, { name = "bytes", unit = "bytes" } } };
		};
	end;
});

return function (parts)
	smacks = parts;
	return metrics;
end
