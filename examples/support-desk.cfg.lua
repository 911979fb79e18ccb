-- A support desk: visitors of a web site ask in the browser, without an account, and the staff answers with XMPP clients.
-- nginx serves the web site, and forwards the chat to Prosody: see support-desk.nginx.conf.
--
-- For Prosody 0.12 and 13.0 with the modules of prosody-native and Converse.js (`make webchat`). Replace example.org,
-- and see README.md for the rest. Port 5222, for the staff's clients, and nginx must be reachable from outside.
--
-- Create the support room once, when the server runs; until then the log warns that it does not exist:
-- prosodyctl shell 'muc:create("support@rooms.example.org", { persistent = true })'
-- The accounts in admins own it. Make other members of the staff owners, who may kick and ban, with
-- prosodyctl shell webchat agent guest.example.org support@rooms.example.org agent@example.org

admins = { "lead@example.org" }

---------- Paths ----------

-- The native modules come first, so that this mod_smacks and mod_mam are loaded, and not Prosody's own of the same names.
plugin_paths = { "/usr/local/lib/prosody-native" }

pidfile = "/run/prosody/prosody.pid"
certificates = "certs" -- beside this file: example.org.crt and .key, for the staff's clients

log = {
	info = "/var/log/prosody/prosody.log";
	error = "/var/log/prosody/prosody.err";
}

---------- Modules ----------

modules_enabled = {
	"roster"; "saslauth"; "tls"; "disco"; "ping"; "time"; "version";

	-- The staff's devices: carbons, archive, bookmarks of rooms
	"carbons"; "mam"; "pep"; "bookmarks"; "private"; "blocklist"; "vcard4"; "vcard_legacy";

	-- A visitor whose network changes stays in the room; a member of the staff loses nothing
	"smacks"; "csi_simple";

	"register"; -- the staff changes its passwords. Accounts are created with `prosodyctl adduser`
	"limits";

	-- `prosodyctl shell`, `prosodyctl mod_native check` and `status`; metrics for Prometheus at /metrics, also of the visitors
	"admin_shell"; "native"; "http_openmetrics";
}

-- Visitors come through the browser, so there is no federation
modules_disabled = { "s2s" }

---------- HTTP ----------

-- Only nginx connects: http on loopback, without https
http_ports = { 5280 }
http_interfaces = { "127.0.0.1" }
https_ports = {}
-- The proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted. Without it Prosody would not know the networks of
-- visitors, bans would have no effect, and connections would not count as encrypted
trusted_proxies = { "127.0.0.1", "::1" }

-- Collected when Prometheus requests http://127.0.0.1:5280/metrics, which nginx does not forward
statistics = "internal"
statistics_interval = "manual"

---------- Storage and memory ----------

-- Everything in one file, below Prosody's data directory in native/. Of visitors, only
-- their messages in archived rooms are stored
storage = "native"
archive_expires_after = "4w"

-- Strangers may fill queues: a small limit for each, and one for all
smacks_max_account_bytes = 512 * 1024
smacks_max_total_bytes = 128 * 1024 * 1024

---------- Authentication ----------

authentication = "internal_hashed"
c2s_require_encryption = true
limits = { c2s = { rate = "10kb/s"; burst = "5s" } }

---------- Hosts ----------

-- The staff
VirtualHost "example.org"

-- The visitors. The host does not need DNS records or a certificate: browsers connect to nginx, with the web site's certificate
VirtualHost "guest.example.org"
	authentication = "anonymous"
	modules_enabled = { "webchat" }
	-- They do not have accounts that could store data
	modules_disabled = { "mam", "pep", "bookmarks", "private", "blocklist", "vcard4", "vcard_legacy", "register" }
	http_host = "www.example.org" -- the Host header that nginx forwards
	http_external_url = "https://www.example.org/"
	http_paths = { webchat = "/support" }
	webchat_title = "Example support"
	webchat_default_room = "support@rooms.example.org"
	webchat_room_hosts = { "rooms.example.org" }
	-- webchat_room_per_visitor = true -- a room for each visitor and the agents; the room above is then for the agents alone
	-- webchat_frame_ancestors = { "https://shop.example.org" } -- other sites that show the chat in a frame
	-- webchat_stylesheet = "/etc/prosody/support.css" -- :root { --accent: #0a7d4f }
	-- An office behind one address counts as one network: raise this if many of your visitors share an address
	webchat_sessions_per_address = 10
	webchat_bar_time = 24 * 60 * 60 -- duration of a ban

-- The rooms. Messages are archived for a week, so that returning visitors and agents find them; all visitors can read them
Component "rooms.example.org" "muc"
	name = "Support"
	modules_enabled = { "muc_mam" }
	restrict_room_creation = true -- to the accounts in admins,
	component_admins_as_room_owners = true -- which own all rooms
	muc_log_expires_after = "1w"
	max_history_messages = 20
