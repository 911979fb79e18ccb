-- A public server: thousands of accounts, most of them on phones with unstable connections, and federation with all servers
-- that can authenticate. Everything that strangers can store on the server has a limit.
--
-- For Prosody 0.12 and 13.0 with the modules of prosody-native. Replace example.org, and see README.md for the rest.
-- These ports must be reachable from outside: 5222 and 5223 (clients), 5269 and 5270 (other servers), 5281 (https, for files).
-- Publish SRV records for 5223 (_xmpps-client) and 5270 (_xmpps-server); `prosodyctl mod_certs tlsa` prints those, and
-- the TLSA records by which other servers authenticate this one.

admins = { "admin@example.org" }

---------- Paths ----------

-- The native modules come first, so that this mod_smacks and mod_mam are loaded, and not Prosody's own of the same names.
plugin_paths = { "/usr/local/lib/prosody-native" }

pidfile = "/run/prosody/prosody.pid"
certificates = "certs" -- beside this file: example.org.crt and .key, with the names of all three hosts below

log = {
	info = "/var/log/prosody/prosody.log";
	error = "/var/log/prosody/prosody.err";
}

---------- Modules ----------

modules_enabled = {
	-- Needed by every server
	"roster"; "saslauth"; "tls"; "disco"; "dialback";

	-- Several devices of one person
	"carbons"; "mam"; "pep"; "bookmarks"; "blocklist"; "private"; "vcard4"; "vcard_legacy";

	-- Phones
	"smacks"; "csi_simple"; "ping";
	-- "cloud_notify"; -- push, which iPhones need. Part of Prosody since 13.0; for 0.12 it is a community module

	-- Authenticate other servers: by DANE in both directions, public authorities or POSH
	"s2s_auth_native";

	-- Accounts: by invitation, so that spammers need somebody who invites them: see `prosodyctl shell help invite`, on 0.12
	-- `prosodyctl mod_invites generate example.org`. Names of deleted accounts cannot be registered again
	"register"; "invites"; "invites_adhoc"; "invites_register"; "watchregistrations"; "tombstones"; "mimicking";

	"limits"; "announce"; "server_contact_info"; "time"; "uptime"; "version";

	-- `prosodyctl shell`, `prosodyctl mod_native check` and `status`; metrics for Prometheus at /metrics
	"admin_shell"; "native"; "http_openmetrics";
}

-- Direct TLS passes networks that allow only https, and saves a phone a round trip
c2s_direct_tls_ports = { 5223 }
s2s_direct_tls_ports = { 5270 }

allow_registration = true
registration_invite_only = true

contact_info = {
	abuse = { "mailto:abuse@example.org", "xmpp:abuse@example.org" };
	admin = { "mailto:admin@example.org", "xmpp:admin@example.org" };
}

---------- Memory ----------

-- Phones are often offline for an hour. Their sessions hibernate, and stanzas wait in a queue
smacks_hibernation_time = 12 * 60 * 60
-- Limit for the queues of one account; above it the account's largest session ends, and its messages go to the archive
smacks_max_account_bytes = 8 * 1024 * 1024
-- Limit for all queues together; above it sessions of the largest account end. It bounds the memory that floods of messages
-- to offline phones can take: a quarter of the machine's memory is a good value
smacks_max_total_bytes = 1024 * 1024 * 1024
-- Above this number of unacknowledged stanzas a client is asked for an ack, so that the queues of connected clients stay short
smacks_max_unacked_stanzas = 50

-- The largest stanza from a client, and from another server
c2s_stanza_size_limit = 256 * 1024
s2s_stanza_size_limit = 512 * 1024

---------- Storage ----------

-- Everything in one file, below Prosody's data directory in native/. Before you set this, move the existing data:
-- prosodyctl mod_storage_native import --from sql
storage = "native"
-- The largest size of the file, so that it does not fill the disk. Beyond it writes fail, and reads still work
storage_native_max_size = 200 * 1024 * 1024 * 1024

-- Deleted messages cannot leak. Long enough for a device that was off during a holiday
archive_expires_after = "4w"
-- The largest number of messages in the archive of one account
storage_archive_item_limit = 100000

---------- Authentication ----------

authentication = "internal_hashed"
c2s_require_encryption = true

-- Other servers must authenticate, without exceptions: DANE, a public authority or POSH must prove their certificates.
-- With use_dane = true `prosodyctl mod_native check` reports an error if DNS answers cannot be validated
s2s_require_encryption = true
s2s_secure_auth = true
use_dane = true
unbound = { trustfile = "/usr/share/dns/root.key" } -- package dns-root-data

-- Bytes per second from one connection; the excess is delayed, not refused
limits = {
	c2s = { rate = "10kb/s"; burst = "5s" };
	s2sin = { rate = "60kb/s"; burst = "5s" };
}

---------- Metrics ----------

-- Collected when Prometheus requests http://127.0.0.1:5280/metrics. Only loopback may request it, also over https
statistics = "internal"
statistics_interval = "manual"
http_ports = { 5280 }
http_interfaces = { "127.0.0.1" }

---------- Hosts ----------

VirtualHost "example.org"

Component "rooms.example.org" "muc"
	name = "Rooms"
	modules_enabled = { "muc_mam" }
	-- Only accounts of this server create rooms. Without this, users of all servers may
	restrict_room_creation = "local"
	muc_log_expires_after = "4w"
	max_history_messages = 50

Component "upload.example.org" "http_file_share"
	http_file_share_size_limit = 50 * 1024 * 1024
	http_file_share_daily_quota = 200 * 1024 * 1024 -- per account
	http_file_share_global_quota = 500 * 1024 * 1024 * 1024
	http_file_share_expires_after = 28 * 24 * 60 * 60 -- as long as the messages that link to them
