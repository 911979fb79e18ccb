-- The options of README.md, checked once

local jid = require "util.jid";

local option = module:require "option";

-- What is wrong is told of, and never ends the loading: without this module nobody is let in.
local function room(name)
	local given = module:get_option_string(name);
	local prepped = jid.prep(given);
	local node, _, resource = jid.split(prepped);
	if given and (not node or resource) then
		module:log("error", "%s = %q is not the address of a room: write it as room@host", name, given);
		return nil;
	end
	return prepped;
end

-- An origin as Content Security Policy writes it (CSP3, section 2.3.1), of the web alone; nil for anything else
local function origin(given)
	local text = type(given) == "string" and given:lower():gsub("/$", "") or "";
	local host = text:match("^https?://([^:]+)$") or text:match("^https?://([^:]+):%d+$") or text:match("^https?://([^:]+):%*$");
	return host and host:gsub("^%*%.", ""):match("^[%w-.]+$") and text or nil;
end

-- In order, so that the header is always the same
local function origins(name)
	local list = {};
	for given in module:get_option_set(name, {}) do
		local value = origin(given);
		if value then
			list[#list+1] = value;
		else
			module:log("error", "%s: %s is not an origin, and left out: write it as https://www.example.org", name, tostring(given));
		end
	end
	table.sort(list);
	return list;
end

local messages, burst = option.integer("webchat_messages_per_minute", 60, 1), option.integer("webchat_message_burst", 20, 1);
local room_hosts = module:get_option_set("webchat_room_hosts");

local default_room = room("webchat_default_room");

-- Its agents are those of the default room
local function room_per_visitor(name)
	local is_wanted = option.boolean(name, false);
	if is_wanted and not default_room then
		module:log("error", "%s needs webchat_default_room, whose owners, admins and members are the agents. It is left out", name);
	end
	return is_wanted and default_room ~= nil;
end

return {
	title = module:get_option_string("webchat_title", "Chat");
	default_room = default_room;
	room_per_visitor = room_per_visitor("webchat_room_per_visitor");
	room_hosts = room_hosts and room_hosts / jid.prep; -- nil: every MUC component of this server
	stylesheet = module:get_option_string("webchat_stylesheet");
	converse_path = module:get_option_string("webchat_converse_path", module:get_directory() .. "/converse/dist");
	frame_ancestors = origins("webchat_frame_ancestors");
	-- What a visitor may cost, a network, and all visitors together. A minute's, unless it says otherwise
	visitor = {
		messages = option.integer("webchat_visitor_messages_per_minute", messages, 1);
		burst = option.integer("webchat_visitor_message_burst", burst, 1);
		seconds = option.number("webchat_visitor_seconds_per_minute", 3, 0.001); -- of the server's time
		bytes = option.integer("webchat_visitor_bytes_per_minute", 4194304, 65536); -- received from the visitor
		refusals = option.integer("webchat_refusals_per_minute", 300, 1);
	};
	network = {
		sessions = option.integer("webchat_sessions_per_address", 10, 1); -- at once
		logins = option.integer("webchat_logins_per_minute", 20, 1);
		messages = messages, burst = burst;
		seconds = option.number("webchat_seconds_per_minute", 6, 0.001);
		bytes = option.integer("webchat_bytes_per_minute", 16777216, 65536);
		refusals = option.integer("webchat_refusals_per_minute", 300, 1);
	};
	total = {
		sessions = option.integer("webchat_max_visitors", 500, 1);
		logins = option.integer("webchat_total_logins_per_minute", 300, 1);
		messages = option.integer("webchat_total_messages_per_minute", 3000, 1);
		burst = option.integer("webchat_total_message_burst", 1000, 1);
		seconds = option.number("webchat_total_seconds_per_minute", 30, 0.001);
	};
	requests = option.integer("webchat_visitor_requests_at_once", 10, 1); -- to occupants, that have no answer yet
	network_requests = option.integer("webchat_requests_at_once", 40, 1);
	page = option.integer("webchat_max_page_size", 50, 1); -- results
	unread = option.integer("webchat_max_unread_bytes", 1048576, 65536); -- that wait for a visitor
	rooms = option.integer("webchat_rooms_per_address", 20, 1);
	message_size = option.integer("webchat_max_message_size", 8192, 512); -- bytes of a stanza
	ipv6_prefix = option.integer("webchat_ipv6_prefix", 56, 1, 128); -- bits
	private_networks = option.boolean("webchat_private_networks", false); -- whether visitors come from them, without a proxy
	-- seconds
	own_room_time = option.seconds("webchat_own_room_time", 600, 1);
	bar_time = option.seconds("webchat_bar_time", 86400, 1);
	hibernation_time = option.seconds("webchat_hibernation_time", 60, 1);
};
