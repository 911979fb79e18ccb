-- A home server: one domain for a family. A small board is enough, for ten accounts as for a hundred.
--
-- For Prosody 0.12 and 13.0 with the modules of prosody-native. Replace example.org, and see README.md for the rest.
-- These ports must be reachable from outside: 5222 (clients), 5269 (other servers), 5281 (https, for files).

admins = { "parent@example.org" }

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

	-- Several devices of one person: each sees all messages, also those that came while it was off
	"carbons"; "mam"; "pep"; "bookmarks"; "blocklist"; "private"; "vcard4"; "vcard_legacy";

	-- Phones: a lost connection loses no message, and an inactive phone is not woken up
	"smacks"; "csi_simple"; "ping";
	-- "cloud_notify"; -- push, which iPhones need. Part of Prosody since 13.0; for 0.12 it is a community module

	-- Authenticate other servers: by DANE, public authorities or POSH
	"s2s_auth_native";

	-- Change the password in the client. Accounts are created with `prosodyctl adduser`, not by strangers
	"register"; "time"; "version";

	-- Limit the rate of attacks
	"limits";

	-- `prosodyctl shell`, `prosodyctl mod_native check` and `status`
	"admin_shell"; "native";

	-- Voice and video calls to other networks need a TURN server, for instance coturn; see turn_external_secret
	-- "turn_external";
}
-- turn_external_host = "turn.example.org"
-- turn_external_secret = "the one that coturn has as static-auth-secret"

---------- Storage ----------

-- Everything in one file, below Prosody's data directory in native/. Before you set this, move the existing data:
-- prosodyctl mod_storage_native import --from internal
storage = "native"

-- The archive of a family is small, so it can keep old messages. For messages in rooms see below
archive_expires_after = "never"

---------- Authentication ----------

authentication = "internal_hashed"
c2s_require_encryption = true

-- Other servers must authenticate. DANE needs the trust anchor (package dns-root-data)
s2s_require_encryption = true
s2s_secure_auth = true
unbound = { trustfile = "/usr/share/dns/root.key" }

-- Enough for people, too little for guessing passwords
limits = {
	c2s = { rate = "10kb/s"; burst = "5s" };
	s2sin = { rate = "30kb/s" };
}

---------- Hosts ----------

VirtualHost "example.org"

-- Rooms of the family: persistent, for members only, and not listed
Component "rooms.example.org" "muc"
	name = "Rooms"
	modules_enabled = { "muc_mam" }
	restrict_room_creation = "local"
	muc_room_default_persistent = true
	muc_room_default_members_only = true
	muc_room_default_public = false
	muc_room_default_public_jids = true -- members of a room need it for encryption (OMEMO)
	muc_log_expires_after = "never"

-- Pictures and films: up to 100 MB each, for a year, 20 GB in total
Component "upload.example.org" "http_file_share"
	http_file_share_size_limit = 100 * 1024 * 1024
	http_file_share_daily_quota = 1024 * 1024 * 1024
	http_file_share_global_quota = 20 * 1024 * 1024 * 1024
	http_file_share_expires_after = 365 * 24 * 60 * 60
