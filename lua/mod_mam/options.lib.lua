-- The options of this module as data. option_reader.lib.lua describes a row; the table in README.md is made of them.

return { prefix = "mam_",
	{ name = "mam_native", type = "boolean", default = true, scope = "host",
		text = "`false` loads Prosody's own module instead of this one." };
	{ name = "archive_expires_after", type = "retention", default = 604800, default_text = "`\"1w\"`", scope = "host",
		text = "How long messages are kept, such as `\"4w\"`, `\"1y\"`, on 13.0 also `\"2 months\"`, or a number of seconds. `\"never\"`: for "
			.."ever." };
	{ name = "default_archive_policy", type = "one_of", values = { "always", "roster", "never", true, false }, default = "always",
		default_text = "`true`", scope = "host",
		text = "What is archived for users who have set no preferences: `true` or `\"always\"`, `false` or `\"never\"`, or `\"roster\"`: "
			.."messages from and to contacts in the roster." };
	{ name = "mam_smart_enable", type = "boolean", default = false, scope = "host",
		text = "Archive messages of a user only once one of their clients has queried the archive or the preferences." };
	{ name = "dont_archive_namespaces", type = "strings", default_text = "chat states", scope = "host",
		text = "Elements of these namespaces are left out of archived messages. A message with no other elements is not archived." };
	{ name = "max_archive_query_results", type = "integer", default = 50, least = 0, scope = "host",
		text = "The most messages of a page. A client that names no number gets 20." };
	{ name = "mam_include_total", type = "boolean", default_text = "true, see text", scope = "host",
		text = "Tell how many messages match a query. With storage other than `native` the default is false if messages are kept for "
			.."ever." };
	{ name = "archive_store", type = "text", default = "archive", scope = "host",
		text = "Name of the archive's store. Preferences are in the store of this name with `_prefs`." };
	{ name = "storage_archive_item_limit", type = "integer", default_text = "that of the driver", least = 0, scope = "host",
		text = "The most messages of a user. Beyond that the oldest hundredth is deleted." };
	{ name = "archive_cleanup_date_cache_size", type = "integer", default = 1000, least = 1, scope = "host",
		text = "Users for whom the module remembers that a message of the day was noted for expiry. Storage `native` needs no such note." };
};
