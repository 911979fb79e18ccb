-- A support desk: visitors of a web site ask in the browser, without an account, and the staff answers with XMPP clients.
-- nginx serves the web site, and passes the chat on: support-desk.nginx.conf is the other half.
--
-- For Prosody 0.12 and 13.0 with the modules of prosody-native and Converse.js (`make webchat`). Replace example.org,
-- and see README.md for the rest. From outside have to be reached: 5222 for the staff's clients, and nginx.
--
-- The support room is made once, when the server runs; until then the log says that it is missing:
-- prosodyctl shell 'muc:create("support@rooms.example.org", { persistent = true })'
-- Those in admins own it. Others of the staff become its owners, who may kick and ban, by
-- prosodyctl shell webchat agent guest.example.org support@rooms.example.org agent@example.org

admins = { "lead@example.org" }

---------- Where things are ----------

-- The native modules come first: mod_smacks is to be found here, and not where Prosody has its own of that name.
plugin_paths = { "/usr/local/lib/prosody-native" }

pidfile = "/run/prosody/prosody.pid"
certificates = "certs" -- beside this file: example.org.crt and .key, for the staff's clients

log = {
	info = "/var/log/prosody/prosody.log";
	error = "/var/log/prosody/prosody.err";
}

---------- What the server can do ----------

modules_enabled = {
	"roster"; "saslauth"; "tls"; "disco"; "ping"; "time"; "version";

	-- The staff's devices: carbons, archive, bookmarks of rooms
	"carbons"; "mam"; "pep"; "bookmarks"; "private"; "blocklist"; "vcard4"; "vcard_legacy";

	-- A visitor whose network changes stays in the room; a member of the staff loses nothing
	"smacks"; "csi_simple";

	"register"; -- the staff changes its passwords. Accounts are made with `prosodyctl adduser`
	"limits";

	-- `prosodyctl shell`, `prosodyctl mod_native check` and `status`; figures for Prometheus at /metrics, of the visitors too
	"admin_shell"; "native"; "http_openmetrics";
}

-- Who asks for support comes through the browser, not from another server: none is spoken to
modules_disabled = { "s2s" }

---------- The web ----------

-- nginx is the only one to ask: http on loopback, and no https of Prosody's own
http_ports = { 5280 }
http_interfaces = { "127.0.0.1" }
https_ports = {}
-- Whose X-Forwarded-For and X-Forwarded-Proto are believed. Without it the networks of visitors would not be known, no ban
-- would bar anybody, and a connection would not count as encrypted
trusted_proxies = { "127.0.0.1", "::1" }

-- Collected when Prometheus asks, at http://127.0.0.1:5280/metrics. nginx does not pass that on
statistics = "internal"
statistics_interval = "manual"

---------- Storage and memory ----------

-- Everything in one file, below Prosody's data directory in native/. Nothing of a visitor is stored but what they write
-- in a room whose messages are
storage = "native"
archive_expires_after = "4w"

-- Strangers may fill queues: a small bound for each, and one for all
smacks_max_account_bytes = 512 * 1024
smacks_max_total_bytes = 128 * 1024 * 1024

---------- Who may come in ----------

authentication = "internal_hashed"
c2s_require_encryption = true
limits = { c2s = { rate = "10kb/s"; burst = "5s" } }

---------- Hosts ----------

-- The staff
VirtualHost "example.org"

-- The visitors. The host needs no DNS record and no certificate: browsers talk to nginx, which has the web site's
VirtualHost "guest.example.org"
	authentication = "anonymous"
	modules_enabled = { "webchat" }
	-- They have no account in which something could be kept
	modules_disabled = { "mam", "pep", "bookmarks", "private", "blocklist", "vcard4", "vcard_legacy", "register" }
	http_host = "www.example.org" -- the name that nginx passes on
	http_external_url = "https://www.example.org/"
	http_paths = { webchat = "/support" }
	webchat_title = "Example support"
	webchat_default_room = "support@rooms.example.org"
	webchat_room_hosts = { "rooms.example.org" }
	-- webchat_room_per_visitor = true -- each visitor alone with the agents, and the room above for the agents alone
	-- webchat_frame_ancestors = { "https://shop.example.org" } -- other sites that show the chat in a frame
	-- webchat_stylesheet = "/etc/prosody/support.css" -- :root { --accent: #0a7d4f }
	-- An office behind one address is one network: raise it where many of your visitors share theirs
	webchat_sessions_per_address = 10
	webchat_bar_time = 24 * 60 * 60 -- for which a ban holds

-- The rooms. What was said is kept for a while, so that who comes back, or comes on duty, finds it; visitors read it, too
Component "rooms.example.org" "muc"
	name = "Support"
	modules_enabled = { "muc_mam" }
	restrict_room_creation = true -- to those in admins,
	component_admins_as_room_owners = true -- who own all rooms
	muc_log_expires_after = "1w"
	max_history_messages = 20
