-- The options of this module as data. option_reader.lib.lua describes a row; the table in README.md is made of them.

return { prefix = "muc_mam_",
	{ name = "muc_mam_native", type = "boolean", default = true, scope = "host",
		text = "`false` loads Prosody's own module instead of this one." };
	{ name = "muc_log_expires_after", type = "retention", default = 604800, default_text = "`\"1w\"`", scope = "host",
		text = "How long messages are kept, such as `\"4w\"`, `\"1y\"`, on 13.0 also `\"2 months\"`, or a number of seconds. `\"never\"`: for "
			.."ever." };
	{ name = "muc_log_by_default", type = "boolean", default = true, scope = "host",
		text = "Archive rooms whose owners have not decided." };
	{ name = "muc_log_all_rooms", type = "boolean", default = false, scope = "host",
		text = "Archive all rooms. Owners are not asked." };
	{ name = "muc_log_presences", type = "boolean", default = false, scope = "host",
		text = "Archive also who joins and leaves, for other modules: queries find messages only." };
	{ name = "muc_log_include_total", type = "boolean", default_text = "true, see text", scope = "host",
		text = "Tell how many messages match a query. With storage other than `native` the default is `mam_include_total` if messages are "
			.."kept for ever." };
	{ name = "mam_include_total", type = "boolean", default = false, scope = "host",
		text = "See `muc_log_include_total`." };
	{ name = "max_archive_query_results", type = "integer", default = 50, least = 0, scope = "host",
		text = "The most messages of a page. A client that names no number gets 20." };
	{ name = "max_history_messages", type = "integer", default_text = "that of the room", least = 0, scope = "host",
		text = "The most messages that an occupant gets on joining." };
	{ name = "storage_archive_item_limit", type = "integer", default_text = "that of the driver", least = 0, scope = "host",
		text = "The most messages of a room. Beyond that the oldest hundredth is deleted." };
	{ name = "muc_log_cleanup_date_cache_size", type = "integer", default = 1000, least = 1, scope = "host",
		text = "Rooms for which the module remembers that a message of the day was noted for expiry. Storage `native` needs no such note." };
};
