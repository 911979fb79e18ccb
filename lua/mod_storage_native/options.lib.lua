-- The options of this module as data. option_reader.lib.lua describes a row; the table in README.md is made of them.

return { prefix = "storage_native_",
	{ name = "storage_native_sync", type = "one_of", values = { "group", "commit", "none" }, default = "group", scope = "server",
		text = "When a write becomes durable: `\"group\"`, `\"commit\"` or `\"none\"`, see below." };
	{ name = "storage_native_sync_interval", type = "number", default = 0.1, least = 0.001, scope = "server",
		text = "Seconds. With `\"group\"`: the longest time from the end of a turn to the request to sync it to the disk." };
	{ name = "storage_native_path", type = "path", base = "data", default = "native", scope = "server",
		text = "Directory of the store, relative to Prosody's data directory. It is created if it is missing; the directory above "
			.."it must exist." };
	{ name = "storage_native_max_size", type = "number", default = 0, default_text = "0 (1 TiB)", least = 0, scope = "server",
		text = "Largest size of the data file in bytes. Once it is reached, writes fail with a clear error; reads and deletions go "
			.."on, and so do writes once there is room. Less than 4 MiB is of little use, see [Limits](#limits)." };
	{ name = "storage_native_verify", type = "boolean", default = true, scope = "server",
		text = "Check the structure of the whole file when the server starts: about 0.3 s for each GiB that is in memory, "
			.."otherwise as fast as the disk reads. A damaged page can make LMDB read and write anywhere; turn this off only "
			.."where starting takes too long." };
};
