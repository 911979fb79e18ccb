-- The metrics of the stock module, under its names

local function histogram(name, unit, description, buckets)
	return module:metric("histogram", name, unit, description, {}, { buckets = buckets }):with_labels();
end

-- A table for each histogram: Prosody adds a last bucket to it
local function counts() return { 0, 1, 2, 4, 8, 16, 32 }; end

return {
	-- queued - dropped - acked is the number of unacked stanzas
	queued = module:measure("tx_queued_stanzas", "counter");
	dropped = histogram("tx_dropped_stanzas", "", "number of stanzas in a queue which got dropped", counts());
	acked = histogram("tx_acked_stanzas", "", "number of items acked per ack received", counts());
	-- attempts to resume a session that had expired
	resumption_expired = module:measure("session_resumption_expired", "counter");
	resumption_age = histogram("resumption_age", "seconds",
		"time the session had been hibernating at the time of a resumption",
		{ 0, 1, 12, 60, 360, 900, 1440, 3600, 14400, 86400 });
	expired = module:measure("sessions_expired", "counter");
	started = module:measure("sessions_started", "counter");
};
