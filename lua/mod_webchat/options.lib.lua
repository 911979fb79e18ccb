-- The options of README.md, checked once

local jid = require "util.jid";

local function number(name, default, least)
	local value = module:get_option_number(name, default);
	if value >= least then return value; end
	module:log("warn", "%s = %g is too small, %g is taken: set it to at least %g", name, value, default, least);
	return default;
end

local function room(name)
	local given = module:get_option_string(name);
	local prepped = jid.prep(given);
	local node, _, resource = jid.split(prepped);
	if given and (not node or resource) then
		error(("%s = %q is not the address of a room: write it as room@host"):format(name, given), 0);
	end
	return prepped;
end

local room_hosts = module:get_option_set("webchat_room_hosts");

return {
	title = module:get_option_string("webchat_title", "Chat");
	default_room = room("webchat_default_room");
	room_hosts = room_hosts and room_hosts / jid.prep; -- nil: every MUC component of this server
	stylesheet = module:get_option_string("webchat_stylesheet");
	converse_path = module:get_option_string("webchat_converse_path", module:get_directory() .. "/converse/dist");
	-- of one address, an IPv4 address or an IPv6 /64
	sessions = number("webchat_sessions_per_address", 10, 1);
	logins_per_minute = number("webchat_logins_per_minute", 20, 1);
	rooms = number("webchat_rooms_per_address", 20, 1);
	messages_per_minute = number("webchat_messages_per_minute", 60, 1);
	message_burst = number("webchat_message_burst", 20, 1);
	message_size = number("webchat_max_message_size", 8192, 512); -- bytes of a stanza
	-- seconds
	bar_time = number("webchat_bar_time", 86400, 1);
	hibernation_time = number("webchat_hibernation_time", 60, 1);
};
