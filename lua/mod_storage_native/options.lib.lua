-- The options of README.md that hold for the whole server, read once when the module is loaded

local paths = require "util.paths";

local SYNC_MODES = { group = true, commit = true, none = true };
local NONE_INTERVAL = 30; -- seconds: what the operating system does by itself, more or less

local function enum(name, default, values)
	local value = module:get_option_string(name, default);
	if values[value] then return value; end
	module:log("error", "Option '%s' cannot be '%s', using '%s'", name, value, default);
	return default;
end

local function number(name, default, min)
	local value = module:get_option_number(name, default);
	if value == nil then return default; end -- no number: Prosody has logged it
	if value >= min then return value; end
	module:log("error", "Option '%s' must be at least %g, using the default", name, min);
	return default;
end

local function milliseconds(seconds)
	return math.max(1, math.floor(seconds * 1000));
end

local sync = enum("storage_native_sync", "group", SYNC_MODES);
local interval = number("storage_native_sync_interval", 0.1, 0.001);
if sync == "none" then interval = NONE_INTERVAL; end

return {
	directory = paths.resolve_relative_path(prosody.paths.data,
		module:get_option_string("storage_native_path", "native"));
	-- ms between a commit and its fdatasync, 0: each commit waits for it
	interval = sync == "commit" and 0 or milliseconds(interval);
	max_bytes = math.floor(number("storage_native_max_size", 0, 0)); -- 0: what can be mapped
	verify = module:get_option_boolean("storage_native_verify", true);
};
