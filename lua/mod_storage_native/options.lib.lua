-- The options of README.md that hold for the whole server, read once when the module is loaded

local paths = require "util.paths";

local option = module:require "option";

local MAX_MILLISECONDS = 0x7FFFFFFF;
local NONE_INTERVAL = 30; -- seconds: what the operating system does by itself, more or less

local function milliseconds(seconds)
	return math.max(1, math.floor(math.min(seconds * 1000, MAX_MILLISECONDS)));
end

local sync = option.one_of("storage_native_sync", "group", { "group", "commit", "none" });
local interval = option.number("storage_native_sync_interval", 0.1, 0.001);
if sync == "none" then interval = NONE_INTERVAL; end

return {
	directory = paths.resolve_relative_path(prosody.paths.data,
		module:get_option_string("storage_native_path", "native"));
	-- ms between a commit and its fdatasync, 0: each commit waits for it
	interval = sync == "commit" and 0 or milliseconds(interval);
	max_bytes = math.floor(option.number("storage_native_max_size", 0, 0)); -- 0: what can be mapped
	verify = option.boolean("storage_native_verify", true);
};
