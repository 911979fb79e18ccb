-- A public server: thousands of accounts, most of them on phones that come and go, federation with everybody who can
-- prove who they are. What a stranger can make the server hold has a limit everywhere.
--
-- For Prosody 0.12 and 13.0 with the modules of prosody-native. Replace example.org, and see README.md for the rest.
-- From outside have to be reached: 5222 and 5223 (clients), 5269 and 5270 (other servers), 5281 (https, for files).
-- Publish SRV records for 5223 (_xmpps-client) and 5270 (_xmpps-server); `prosodyctl mod_certs tlsa` prints those, and
-- the TLSA records by which other servers recognise this one.

admins = { "admin@example.org" }

---------- Where things are ----------

-- The native modules come first: mod_smacks is to be found here, and not where Prosody has its own of that name.
plugin_paths = { "/usr/local/lib/prosody-native" }

pidfile = "/run/prosody/prosody.pid"
certificates = "certs" -- beside this file: example.org.crt and .key, which have to name all three hosts below

log = {
	info = "/var/log/prosody/prosody.log";
	error = "/var/log/prosody/prosody.err";
}

---------- What the server can do ----------

modules_enabled = {
	-- What every server needs
	"roster"; "saslauth"; "tls"; "disco"; "dialback";

	-- Several devices of one person
	"carbons"; "mam"; "pep"; "bookmarks"; "blocklist"; "private"; "vcard4"; "vcard_legacy";

	-- Phones
	"smacks"; "csi_simple"; "ping";
	-- "cloud_notify"; -- push, which iPhones need. Prosody has it since 13.0; for 0.12 it is a community module

	-- Who the other server is: DANE in both directions, public authorities, POSH
	"s2s_auth_native";

	-- Accounts: by invitation, so that spammers have to find somebody who invites them. `prosodyctl shell help invite`
	-- tells how, or on 0.12 `prosodyctl mod_invites generate example.org`. Names of deleted accounts are not given away
	"register"; "invites"; "invites_adhoc"; "invites_register"; "watchregistrations"; "tombstones"; "mimicking";

	"limits"; "announce"; "server_contact_info"; "time"; "uptime"; "version";

	-- `prosodyctl shell`, `prosodyctl mod_native check` and `status`; figures for Prometheus at /metrics
	"admin_shell"; "native"; "http_openmetrics";
}

-- Encrypted from the first byte: gets through networks that let only https pass, and saves a phone a round trip
c2s_direct_tls_ports = { 5223 }
s2s_direct_tls_ports = { 5270 }

allow_registration = true
registration_invite_only = true

contact_info = {
	abuse = { "mailto:abuse@example.org", "xmpp:abuse@example.org" };
	admin = { "mailto:admin@example.org", "xmpp:admin@example.org" };
}

---------- Memory ----------

-- A phone without a network for an hour is the rule. Its session waits for it, and what comes meanwhile waits in a queue
smacks_hibernation_time = 12 * 60 * 60
-- The queues of one account may hold this much; beyond it its fullest session ends, and messages go to the archive
smacks_max_account_bytes = 8 * 1024 * 1024
-- All queues together may hold this much; beyond it sessions of the account that holds most end. This is the bound for
-- floods of messages to phones that are away: a quarter of the machine's memory is a good value
smacks_max_total_bytes = 1024 * 1024 * 1024
-- Who does not acknowledge what it was sent is asked, so that queues of those that are there stay short
smacks_max_unacked_stanzas = 50

-- What Prosody reads at once: from clients, from other servers
c2s_stanza_size_limit = 256 * 1024
s2s_stanza_size_limit = 512 * 1024

---------- Storage ----------

-- Everything in one file, below Prosody's data directory in native/. What is there already is moved before this is set:
-- prosodyctl mod_storage_native import --from sql
storage = "native"
-- The file grows up to here, and not until the disk is full; then new messages are refused, and reading goes on
storage_native_max_size = 200 * 1024 * 1024 * 1024

-- What is not kept cannot be lost, and need not be handed out. Long enough for a device that was off for a holiday
archive_expires_after = "4w"
-- And what one account can fill in that time
storage_archive_item_limit = 100000

---------- Who may come in ----------

authentication = "internal_hashed"
c2s_require_encryption = true

-- Other servers have to prove who they are: a certificate that DNS (DANE), a public authority or POSH vouches for.
-- Nobody is exempted. With use_dane = true `prosodyctl mod_native check` calls it an error when DNS proves nothing
s2s_require_encryption = true
s2s_secure_auth = true
use_dane = true
unbound = { trustfile = "/usr/share/dns/root.key" } -- package dns-root-data

-- Bytes a second that are read from one connection; more is read later, not refused
limits = {
	c2s = { rate = "10kb/s"; burst = "5s" };
	s2sin = { rate = "60kb/s"; burst = "5s" };
}

---------- Metrics ----------

-- Collected when Prometheus asks, at http://127.0.0.1:5280/metrics. Nobody else is answered, over https neither
statistics = "internal"
statistics_interval = "manual"
http_ports = { 5280 }
http_interfaces = { "127.0.0.1" }

---------- Hosts ----------

VirtualHost "example.org"

Component "rooms.example.org" "muc"
	name = "Rooms"
	modules_enabled = { "muc_mam" }
	-- Rooms are made by accounts of this server. Without it any server's users may
	restrict_room_creation = "local"
	muc_log_expires_after = "4w"
	max_history_messages = 50

Component "upload.example.org" "http_file_share"
	http_file_share_size_limit = 50 * 1024 * 1024
	http_file_share_daily_quota = 200 * 1024 * 1024 -- of one account
	http_file_share_global_quota = 500 * 1024 * 1024 * 1024
	http_file_share_expires_after = 28 * 24 * 60 * 60 -- with the messages that name them
