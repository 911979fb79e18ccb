-- The options of README.md, read once when the module is loaded

local MAX_SECONDS = 0x7FFFFFFF;

local function integer(name, default, min)
	if module.get_option_integer then return module:get_option_integer(name, default, min); end
	local value = module:get_option_number(name, default);
	if value == nil then return default; end -- none, or no number, which Prosody has logged
	if value < min or value % 1 ~= 0 then
		module:log("error", "Option '%s' must be an integer of at least %d, using the default", name, min);
		return default;
	end
	return math.tointeger(value);
end

local function seconds(name, default)
	local value = module.get_option_period and module:get_option_period(name, default)
		or module:get_option_number(name, default) or default;
	return math.floor(math.min(value, MAX_SECONDS));
end

return {
	-- Limits of a session's queue; no limit of items unless one is set
	queue_limits = {
		bytes = integer("smacks_max_queue_bytes", 4 * 1024 * 1024, 1);
		items = integer("smacks_max_queue_size", nil, 1);
	};
	max_total_bytes = integer("smacks_max_total_bytes", 512 * 1024 * 1024, 1);
	resume_timeout = seconds("smacks_hibernation_time", 600);
	s2s = module:get_option_boolean("smacks_enabled_s2s", true);
	s2s_resend = module:get_option_boolean("smacks_s2s_resend", false);
	max_unacked = integer("smacks_max_unacked_stanzas", 0, 0);
	max_inactive_unacked = integer("smacks_max_inactive_unacked_stanzas", 256, 0);
	delayed_ack_timeout = seconds("smacks_max_ack_delay", 30);
	max_old_sessions = integer("smacks_max_old_sessions", 10, 0);
};
