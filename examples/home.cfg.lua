-- A home server: one domain and a family on it. Ten accounts or a hundred make no difference; a small board is enough.
--
-- For Prosody 0.12 and 13.0 with the modules of prosody-native. Replace example.org, and see README.md for the rest.
-- From outside have to be reached: 5222 (clients), 5269 (other servers), 5281 (https, for files).

admins = { "parent@example.org" }

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

	-- Several devices of one person: all see all messages, and what was said while they were off
	"carbons"; "mam"; "pep"; "bookmarks"; "blocklist"; "private"; "vcard4"; "vcard_legacy";

	-- Phones: a connection that breaks loses nothing, and a phone in a pocket is left asleep
	"smacks"; "csi_simple"; "ping";
	-- "cloud_notify"; -- push, which iPhones need. Prosody has it since 13.0; for 0.12 it is a community module

	-- Who the other server is: proven by DANE, public authorities or POSH
	"s2s_auth_native";

	-- Changing one's password in the client. Accounts are made with `prosodyctl adduser`, not by strangers
	"register"; "time"; "version";

	-- Against those who try what the door holds
	"limits";

	-- `prosodyctl shell`, `prosodyctl mod_native check` and `status`
	"admin_shell"; "native";

	-- Voice and video calls out of the house need a TURN server, coturn for instance; see turn_external_secret
	-- "turn_external";
}
-- turn_external_host = "turn.example.org"
-- turn_external_secret = "the one that coturn has as static-auth-secret"

---------- Storage ----------

-- Everything in one file, below Prosody's data directory in native/. What is there already is moved before this is set:
-- prosodyctl mod_storage_native import --from internal
storage = "native"

-- A family likes to find old messages and pictures; the archive of a family is small. Messages in rooms: see below
archive_expires_after = "never"

---------- Who may come in ----------

authentication = "internal_hashed"
c2s_require_encryption = true

-- Other servers have to prove who they are. The trust anchor (package dns-root-data) lets DNS prove it, too
s2s_require_encryption = true
s2s_secure_auth = true
unbound = { trustfile = "/usr/share/dns/root.key" }

-- Enough for people, too little for who guesses passwords all night
limits = {
	c2s = { rate = "10kb/s"; burst = "5s" };
	s2sin = { rate = "30kb/s" };
}

---------- Hosts ----------

VirtualHost "example.org"

-- Rooms: the family's own. They stay when everybody has left, are for their members, and are not listed
Component "rooms.example.org" "muc"
	name = "Rooms"
	modules_enabled = { "muc_mam" }
	restrict_room_creation = "local"
	muc_room_default_persistent = true
	muc_room_default_members_only = true
	muc_room_default_public = false
	muc_room_default_public_jids = true -- which members of a room need for encryption (OMEMO)
	muc_log_expires_after = "never"

-- Pictures and films: up to 100 MB each, for a year, 20 GB in all
Component "upload.example.org" "http_file_share"
	http_file_share_size_limit = 100 * 1024 * 1024
	http_file_share_daily_quota = 1024 * 1024 * 1024
	http_file_share_global_quota = 20 * 1024 * 1024 * 1024
	http_file_share_expires_after = 365 * 24 * 60 * 60
