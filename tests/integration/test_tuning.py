"""Settings of our modules for the whole server if they are not configured."""
import ssl

import bed
import certsite
import xmpp
from steps import EVERY_TRANSPORT
from suite import behaviour
from test_s2s import IN, OUT, both

STARTTLS = "urn:ietf:params:xml:ns:xmpp-tls"
NO_SMACKS = {"modules_disabled": ["tls", "s2s", "smacks"]}
STORAGE = {"storage": "native"}

# LuaSec hides a socket's options: they are read through a second object with the same descriptor
READ_OPTION = """;
	local probe = require "socket".tcp();
	probe:setfd(conn:getfd());
	local is_set = probe:getoption("tcp-nodelay");
	probe:setfd(-1);
	return tostring(is_set)"""


def sends_at_once(server, find_connection):
	"""Whether TCP_NODELAY is set on the connection that `find_connection`, Lua, leaves in `conn`."""
	answer = server.lua(find_connection + READ_OPTION)
	assert answer in ("true", "false"), answer
	return answer == "true"


def client_sends_at_once(server, client):
	if isinstance(client.transport, xmpp.Bosh):
		client.transport.poll()
		server.wait_until(client, "s.requests[1]")
	return sends_at_once(server, f"""
		local session = prosody.full_sessions[{bed.lua(client.jid)}];
		local conn = session.requests and session.requests[1].conn or session.conn""")


def reload_config(server, **options):
	"""With these options changed; None removes one."""
	server.options = {name: value for name, value in {**server.options, **options}.items() if value is not None}
	server.rewrite_config()
	server.lua("prosody.reload_config()")


# --- Nagle's algorithm ---

@behaviour("nagle: data for a client are sent at once", over=EVERY_TRANSPORT)
def client_data_leave_at_once(server, transport):
	assert client_sends_at_once(server, server.login("alice", transport))


@behaviour("nagle: also with mod_storage_native only", options={**STORAGE, **NO_SMACKS})
def storage_native_alone_disables_nagle(server):
	assert client_sends_at_once(server, server.login("alice"))


@behaviour("nagle: without our modules Prosody's default applies", options=NO_SMACKS)
def without_our_modules_nagle_is_stock(server):
	assert not client_sends_at_once(server, server.login("alice"))


@behaviour("nagle: data for another server are sent at once, in both directions", federation=True)
def server_data_leave_at_once(servers):
	both(servers)
	for way, server, here, there in (OUT, servers.a, "a.test", "b.test"), (IN, servers.b, "b.test", "a.test"):
		assert sends_at_once(server, way.format(a=here, b=there) + "; local conn = s.conn"), way


@behaviour("nagle: the operator's setting is used", options={"network_settings": {"nagle": True}, **STORAGE})
def a_configured_nagle_is_obeyed(server):
	assert not client_sends_at_once(server, server.login("alice"))


@behaviour("nagle: a setting of false is used, too", options={"network_settings": {"nagle": False}, **NO_SMACKS})
def nagle_configured_as_false_is_obeyed(server):
	assert client_sends_at_once(server, server.login("alice"))


@behaviour("nagle: the other network settings are unchanged", options={"network_settings": {"read_timeout": 3600}})
def other_network_settings_stay(server):
	assert client_sends_at_once(server, server.login("alice"))
	assert server.lua("""
		return tostring(rawget(require "core.configmanager".get("*", "network_settings"), "nagle"))""") == "nil"
	assert int(server.lua("""
		for i = 1, 60 do
			local name, value = debug.getupvalue(require "net.server".set_config, i);
			if name == "cfg" then return value.read_timeout; end
		end""")) == 3600


@behaviour("nagle: a reload of the configuration keeps the setting, and applies a new one")
def reloading_the_configuration_obeys_it(server):
	reload_config(server)
	assert client_sends_at_once(server, server.login("alice"))
	reload_config(server, network_settings={"nagle": True})
	assert not client_sends_at_once(server, server.login("bob"))
	reload_config(server, network_settings={"read_timeout": 3600})
	assert client_sends_at_once(server, server.login("carol"))


@behaviour("nagle: a reload of the module applies it as well", options={"network_settings": {"nagle": True}})
def reloading_the_module_obeys_it(server):
	server.shell("module", "reload", "smacks", server.host)
	assert not client_sends_at_once(server, server.login("alice"))
	reload_config(server, network_settings=None)
	server.shell("module", "reload", "smacks", server.host)
	reload_config(server)
	assert client_sends_at_once(server, server.login("bob"))


@behaviour("nagle: another network backend is left alone", options={"network_backend": "select"})
def other_backends_are_left_alone(server):
	alice = server.login("alice")
	reload_config(server, network_settings={"read_timeout": 3600})
	alice.ping()
	server.kill()  # Prosody's own shutdown does not always end


class Tls(xmpp.Tcp):
	def encrypt(self):
		context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
		context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
		self.sock = context.wrap_socket(self.sock)


def encrypted_client(site, port, is_direct):
	"""A client that has logged in over TLS."""
	client = xmpp.Client(Tls(port), site.account("alice"), bed.PASSWORD, site.host)
	site.clients.append(client)
	if not is_direct:
		client.open()
		client.send(f"<starttls xmlns='{STARTTLS}'/>")
		assert client.next().name == "proceed"
	client.transport.encrypt()
	return client.login()


@certsite.behaviour("nagle: also with direct TLS and with STARTTLS")
def encrypted_streams_leave_at_once(site):
	direct_port, _ = site.direct_ports()
	site.modules += ["roster", "smacks"]
	site.install(site.issue(f"DNS:{site.host}"))
	site.start()
	for port, is_direct in (site.port, False), (direct_port, True):
		client = encrypted_client(site, port, is_direct)
		assert site.session(client, "s.secure") == "true"
		assert client_sends_at_once(site, client)


# --- The collector ---

LINE = "Garbage is collected when memory has doubled"
PROSODYS, OURS = 104, 200  # Lua keeps multiples of 4; Prosody's default is 105


def threshold(server):
	return int(server.lua("""
		local threshold = collectgarbage("setpause", 200);
		collectgarbage("setpause", threshold);
		return tostring(threshold)"""))


def mode(server):
	return server.lua("""
		local mode = collectgarbage("incremental");
		collectgarbage(mode);
		return mode""")


@behaviour("collector: it runs less often if it is not configured, and the log says so once",
	options=STORAGE, components={"rooms.prosody.test": "muc", "more.prosody.test": "muc"})
def the_collector_runs_less_often(server):
	server.shell("module", "reload", "smacks", server.host)
	reload_config(server)
	assert (threshold(server), mode(server)) == (OURS, "incremental")
	assert server.log().count(LINE) == 1


@behaviour("collector: also with mod_storage_native only", options={**STORAGE, **NO_SMACKS})
def storage_native_alone_tunes_the_collector(server):
	assert threshold(server) == OURS and server.log().count(LINE) == 1


@behaviour("collector: without our modules Prosody's default applies", options=NO_SMACKS)
def without_our_modules_the_collector_is_stock(server):
	assert (threshold(server), mode(server)) == (PROSODYS, "incremental")


@behaviour("collector: the operator's threshold is kept", options={"gc": {"threshold": 152}, **STORAGE})
def a_configured_threshold_stays(server):
	assert threshold(server) == 152 and LINE not in server.log()


@behaviour("collector: Prosody's default can be configured", options={"gc": {"threshold": 105}, **STORAGE})
def the_stock_collector_can_be_chosen(server):
	assert threshold(server) == PROSODYS and LINE not in server.log()


@behaviour("collector: the operator's mode is kept", options={"gc": {"mode": "generational"}, **STORAGE})
def a_configured_mode_stays(server):
	assert mode(server) == "generational" and LINE not in server.log()


@behaviour("collector: the setting of another module is kept")
def a_choice_of_another_module_stays(server):
	server.lua("collectgarbage('setpause', 300)")
	server.shell("module", "reload", "smacks", server.host)
	assert threshold(server) == 300
