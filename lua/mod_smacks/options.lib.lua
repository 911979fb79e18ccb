-- The options of README.md, read once when the module is loaded

local option = module:require "option";

return {
	-- What a session's queue should hold; no limit of items unless one is set
	queue_limits = {
		bytes = option.integer("smacks_max_queue_bytes", 4 * 1024 * 1024, 1);
		items = option.integer("smacks_max_queue_size", nil, 1);
	};
	max_account_bytes = option.integer("smacks_max_account_bytes", 32 * 1024 * 1024, 1);
	max_total_bytes = option.integer("smacks_max_total_bytes", 512 * 1024 * 1024, 1);
	resume_timeout = option.seconds("smacks_hibernation_time", 600, 0);
	s2s = option.boolean("smacks_enabled_s2s", true);
	s2s_resend = option.boolean("smacks_s2s_resend", false);
	max_unacked = option.integer("smacks_max_unacked_stanzas", 0, 0);
	max_inactive_unacked = option.integer("smacks_max_inactive_unacked_stanzas", 256, 0);
	delayed_ack_timeout = option.seconds("smacks_max_ack_delay", 30, 0);
	max_hibernating = option.integer("smacks_max_hibernated_sessions", 10, 0);
	max_old_sessions = option.integer("smacks_max_old_sessions", 10, 0);
};
