-- The options of this module as data. option_reader.lib.lua describes a row; the table in README.md is made of them.

return { prefix = "smacks_",
	{ name = "smacks_max_queue_size", type = "integer", least = 1, scope = "host",
		text = "Stanzas in the queue of one session beyond which the client is asked for an acknowledgement, whatever "
			.."`smacks_max_unacked_stanzas` says. The stock module drops stanzas beyond 500; this one drops none. At least 1." };
	{ name = "smacks_hibernation_time", type = "seconds", default = 600, least = 0, scope = "host",
		text = "Seconds for which a session waits for its client to return. On 13.0 also a period such as `\"10 minutes\"`. "
			.."A client that asks for less in `<enable max=.../>` gets less." };
	{ name = "smacks_enabled_s2s", type = "boolean", default = true, scope = "host",
		text = "Stream management with other servers." };
	{ name = "smacks_s2s_resend", type = "boolean", default = false, scope = "host",
		text = "When a stream to another server is lost, send its unacknowledged stanzas again on a new stream instead of "
			.."answering them with errors. The other server may then get a stanza twice." };
	{ name = "smacks_max_unacked_stanzas", type = "integer", default = 0, least = 0, scope = "host",
		text = "Ask for an acknowledgement once more than this many stanzas are unacknowledged." };
	{ name = "smacks_max_inactive_unacked_stanzas", type = "integer", default = 256, least = 0, scope = "host",
		text = "The same while the client is inactive (XEP-0352)." };
	{ name = "smacks_max_ack_delay", type = "seconds", default = 30, least = 0, scope = "host",
		text = "Seconds without an answer to such a request after which `smacks-ack-delayed` is fired, for push modules and "
			.."others. 0: never. On 13.0 also a period." };
	{ name = "smacks_max_old_sessions", type = "integer", default = 10, least = 0, scope = "host",
		text = "Ended sessions of one account whose counters are kept for their clients to ask for." };
	{ name = "smacks_max_hibernated_sessions", type = "integer", default = 10, least = 0, scope = "host",
		text = "Sessions of one account that may hibernate. Beyond that the session that has hibernated longest ends." };
	{ name = "smacks_max_queue_bytes", type = "integer", default = 4 * 1024 * 1024, default_text = "4194304 (4 MiB)", least = 1,
		scope = "host",
		text = "Bytes in the queue of one session beyond which the client is asked for an acknowledgement: those of its stanzas, "
			.."64 for each, and 64 more for a message while the account has other sessions." };
	{ name = "smacks_max_account_bytes", type = "integer", default = 32 * 1024 * 1024, default_text = "33554432 (32 MiB)", least = 1,
		scope = "host",
		text = "Bytes that the queues of one account, or of one other server, may hold together." };
	{ name = "smacks_max_total_bytes", type = "integer", default = 512 * 1024 * 1024, default_text = "536870912 (512 MiB)", least = 1,
		scope = "server",
		text = "Bytes that all queues of the server may hold together. Set it in the global section." };
};
