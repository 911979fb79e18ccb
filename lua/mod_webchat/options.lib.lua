-- The options of this module as data. option_reader.lib.lua describes a row; the tables in README.md are made of them.

return { prefix = "webchat_",
	{ name = "webchat_title", type = "text", default = "Chat", scope = "host", text = "Heading of the page." };
	{ name = "webchat_default_room", type = "room", scope = "host", text = "Room that opens where the address names none." };
	{ name = "webchat_room_hosts", type = "hosts", default_text = "every MUC component of this server", scope = "host",
		text = "Hosts whose rooms visitors may enter: `{ \"rooms.example.org\" }`." };
	{ name = "webchat_stylesheet", type = "path", scope = "host",
		text = "Path of a CSS file that is added to the page; `:root { --accent: #0a7d4f }` colours the entrance and the room." };
	{ name = "webchat_converse_path", type = "path", default_text = "`converse/dist` in the module's folder", scope = "host",
		text = "Path of a `dist` folder of Converse.js 14." };
	{ name = "webchat_frame_ancestors", type = "origins", default = {}, scope = "host",
		text = "Origins whose pages may show the chat in a frame, beside the page's own: "
			.."`{ \"https://www.example.org\", \"https://*.example.net:8443\" }`." };
	{ name = "webchat_room_per_visitor", type = "boolean", default = false, needs = "webchat_default_room", scope = "host",
		text = "Each visitor gets a [room of their own](#a-room-for-each-visitor), whose agents are the owners, admins and members "
			.."of `webchat_default_room`." };
	{ name = "webchat_own_room_time", type = "seconds", default = 600, least = 1, scope = "host",
		text = "Seconds for which such a room is kept after the visitor has left." };
	{ name = "webchat_rooms_per_address", type = "integer", default = 20, least = 1, scope = "host",
		text = "Rooms that the visitors of a network are in, counted for each of them." };
	{ name = "webchat_max_message_size", type = "integer", default = 8192, least = 512, scope = "host",
		text = "Bytes of a stanza." };
	{ name = "webchat_max_page_size", type = "integer", default = 50, least = 1, scope = "host",
		text = "Results in one page of an archive; a longer page is cut to this." };
	{ name = "webchat_max_unread_bytes", type = "integer", default = 1048576, default_text = "1048576 (1 MiB)", least = 65536,
		scope = "host",
		text = "Bytes that wait for a visitor: in the connection's write buffer, or without an ack (XEP-0198). A visitor with more, "
			.."connected or not, is disconnected." };
	{ name = "webchat_ipv6_prefix", type = "integer", default = 56, least = 1, most = 128, scope = "host",
		text = "Bits of an IPv6 address that are one network, 1 to 128." };
	{ name = "webchat_private_networks", type = "boolean", default = false, scope = "host",
		text = "`true` where visitors come from private addresses themselves, in an intranet, and not through a proxy: see "
			.."[proxies](#proxies)." };
	{ name = "webchat_bar_time", type = "seconds", default = 86400, least = 1, scope = "host",
		text = "Seconds for which a moderator's ban bars a network." };
	{ name = "webchat_hibernation_time", type = "seconds", default = 60, least = 1, scope = "host",
		text = "Seconds for which a visitor whose connection is cut may resume the session." };

	{ name = "webchat_sessions_per_address", type = "integer", default = 10, least = 1, scope = "host", group = "limits",
		text = "Visitors of a network at once." };
	{ name = "webchat_max_visitors", type = "integer", default = 500, least = 1, scope = "host", group = "limits",
		text = "All visitors at once." };
	{ name = "webchat_logins_per_minute", type = "integer", default = 20, least = 1, scope = "host", group = "limits",
		text = "Logins from a network in a minute." };
	{ name = "webchat_total_logins_per_minute", type = "integer", default = 300, least = 1, scope = "host", group = "limits",
		text = "All logins in a minute." };
	{ name = "webchat_messages_per_minute", type = "integer", default = 60, least = 1, scope = "host", group = "limits",
		text = "Messages of a network in a minute, in the long run." };
	{ name = "webchat_visitor_messages_per_minute", type = "integer", default_of = "webchat_messages_per_minute", least = 1,
		scope = "host", group = "limits",
		text = "The same of one visitor." };
	{ name = "webchat_total_messages_per_minute", type = "integer", default = 3000, least = 1, scope = "host", group = "limits",
		text = "The same of all visitors." };
	{ name = "webchat_message_burst", type = "integer", default = 20, least = 1, scope = "host", group = "limits",
		text = "Messages of a network at once." };
	{ name = "webchat_visitor_message_burst", type = "integer", default_of = "webchat_message_burst", least = 1,
		scope = "host", group = "limits",
		text = "The same of one visitor." };
	{ name = "webchat_total_message_burst", type = "integer", default = 1000, least = 1, scope = "host", group = "limits",
		text = "The same of all visitors." };
	{ name = "webchat_seconds_per_minute", type = "number", default = 6, least = 0.001, scope = "host", group = "limits",
		text = "Seconds of the server's time that a network may use in a minute." };
	{ name = "webchat_visitor_seconds_per_minute", type = "number", default = 3, least = 0.001, scope = "host", group = "limits",
		text = "The same for one visitor." };
	{ name = "webchat_total_seconds_per_minute", type = "number", default = 30, least = 0.001, scope = "host", group = "limits",
		text = "The same for all visitors." };
	{ name = "webchat_bytes_per_minute", type = "integer", default = 16777216, default_text = "16777216 (16 MiB)", least = 65536,
		scope = "host", group = "limits",
		text = "Bytes received from a network in a minute." };
	{ name = "webchat_visitor_bytes_per_minute", type = "integer", default = 4194304, default_text = "4194304 (4 MiB)", least = 65536,
		scope = "host", group = "limits",
		text = "The same from one visitor." };
	{ name = "webchat_requests_at_once", type = "integer", default = 40, least = 1, scope = "host", group = "limits",
		text = "Requests of a network to occupants that have no answer yet." };
	{ name = "webchat_visitor_requests_at_once", type = "integer", default = 10, least = 1, scope = "host", group = "limits",
		text = "The same of one visitor." };
	{ name = "webchat_refusals_per_minute", type = "integer", default = 300, least = 1, scope = "host", group = "limits",
		text = "Refusals in a minute: of stanzas of one visitor, or of logins from a network." };
};
