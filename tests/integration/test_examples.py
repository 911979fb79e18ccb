"""The configurations in examples/, unchanged: each is started, checked by the tools, and used.

Only values that cannot be the same on a test machine are replaced: directories, among them the trust anchor's,
and explicit ports. HEAD sets those defaults of Prosody that have to differ.
"""
import http.client
import re
import ssl
import subprocess
import sys

import bed
import mam
import nginx
import suite
import xmpp
from test_native import findings
from webchatsite import MUC, Visitor, condition, enter, join

sys.path.insert(0, str(bed.PROJECT / "tests/lab"))
from authority import Authority  # noqa: E402  pylint: disable=wrong-import-position

EXAMPLES = bed.PROJECT / "examples"
NAMES = ("home", "public", "support-desk")
HOST, GUESTS, ROOMS, UPLOADS, WEB = (p + "example.org" for p in ("", "guest.", "rooms.", "upload.", "www."))
SUPPORT = f"support@{ROOMS}"
MAKE_ROOM = f'muc:create("{SUPPORT}", {{ persistent = true }})'
ROOT_KEY = ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n"

# Warnings that are allowed in the log
EXPECTED = {"home": [], "public": [], "support-desk": [f"webchat_default_room does not exist, .*{re.escape(MAKE_ROOM)}"]}
ANYWHERE = ["DNS answers cannot be validated now",  # on a machine without a network
	"\tReceived SIGTERM$"]  # at the end

HEAD = """\
run_as_root = true
interfaces = {{ "127.0.0.1" }}
local_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {server.port} }}
s2s_ports = {{ {server.s2s_port} }}
http_ports = {{ {server.http_port} }}
https_ports = {{ {server.https_port} }}
data_path = "{server.directory}/data"
admin_socket = "{server.directory}/sock"
ssl = {{ cafile = "{server.authority.file}" }}
Include "{server.example}"
"""


# --- an example, started, and its users ---

class Trusting:
	"""The common part of transports with TLS. The certificate must be valid for this name."""
	name, authority = HOST, None

	def encrypt(self):
		context = ssl.create_default_context(cafile=self.authority.file)
		self.sock = context.wrap_socket(self.sock, server_hostname=self.name)


class Encrypted(Trusting, xmpp.SocketTransport):
	"""Direct TLS."""

	def __init__(self, port):
		super().__init__(port)
		self.encrypt()


class DirectTls(xmpp.Tcp, Encrypted):
	"""A client's stream inside TLS (XEP-0368)."""


class WebSocket(xmpp.WebSocket, Encrypted):
	"""To nginx."""
	name = WEB

	def __init__(self, port):
		super().__init__(port, WEB)


class StartTls(Trusting, xmpp.Tcp):
	"""A client's stream, encrypted by STARTTLS first."""

	def open(self, host):
		super().open(host)
		features = self.receive()
		assert features.find("starttls", "required") and not features.child("mechanisms"), features
		self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
		assert self.receive().name == "proceed"
		self.encrypt()
		super().open(host)


class Example(bed.Prosody):
	"""A Prosody with an example for its configuration."""

	def __init__(self, version, name):
		self.name = name
		self.more_ports = [bed.Port() for _ in range(3)]
		self.https_port, _, self.direct_port = (port.number for port in self.more_ports)
		super().__init__(version, host=HOST, options={"storage": "native"}, start=False)
		self.ports += self.more_ports
		self.example, self.logfile = self.directory / f"{name}.cfg.lua", self.directory / "prosody.log"
		self.authority = Authority(self.directory, "authority")
		self.install(HOST, HOST, ROOMS, UPLOADS)
		(self.directory / "root.key").write_text(ROOT_KEY)
		self.start()

	def install(self, name, *domains):
		"""A certificate and its key, at the paths of the example."""
		certificate = self.authority.issue(name, [f"DNS:{domain}" for domain in domains])
		certificate.file.rename(self.directory / f"certs/{name}.crt")
		certificate.key.rename(self.directory / f"certs/{name}.key")

	def rewrite_config(self):
		self.example.write_text(self.here((EXAMPLES / self.example.name).read_text()))
		super().rewrite_config()

	def _config(self):
		return HEAD.format(server=self)

	def here(self, text):
		"""A file of the examples, with this machine's paths and ports."""
		for place in ("/run/prosody", "/var/log/prosody", "/usr/share/dns", "/etc/nginx"):
			text = text.replace(place, str(self.directory))
		text = text.replace("/usr/local/lib/prosody-native", str(bed.PROJECT / "lua"))
		ports = {"5280": self.http_port, "5223": self.direct_port, "5270": self.more_ports[1].number}
		return re.sub(r"\b(5280|5223|5270)\b", lambda written: str(ports[written[0]]), text)

	def complaints(self):
		"""Warnings and errors in the log, except the expected ones."""
		expected = [*EXPECTED[self.name], *ANYWHERE]
		return [line for line in self.log().splitlines()
			if re.search(r"\t(warn|error)\t|[Tt]raceback", line) and not any(re.search(p, line) for p in expected)]

	def finish(self):
		super().finish()
		assert not self.complaints(), self.complaints()

	def connect(self, user, transport=StartTls, port=None):
		return self.client(transport, port or self.port, xmpp.Client, user, bed.PASSWORD, HOST)

	def client(self, transport, port, kind, *words):
		"""A client whose transport trusts only the server's authority."""
		trusting = type(transport.__name__, (transport,), {"authority": self.authority})
		client = kind(trusting(port), *words)
		self.clients.append(client)
		return client

	def authenticated(self, user, transport=StartTls, port=None):
		return super().authenticated(user, transport, port)

	def login(self, name, transport=StartTls, resource=None, port=None):
		return super().login(name, transport, resource, port)

	def prosodyctl(self, *words):
		"""Runs a command that must not fail; returns its output."""
		launcher = bed.PROSODIES / f"prosody-{self.version}/prosodyctl"
		done = subprocess.run([launcher, "--config", self.config, *words], timeout=30, stdin=subprocess.DEVNULL,
			stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
		assert done.returncode == 0, done.stdout
		return done.stdout

	def get(self, path, port=None, host="localhost", encrypted=False, method="GET", body=None, **headers):
		"""A response, with the whole body in .body."""
		connection = http.client.HTTPConnection("127.0.0.1", port or self.http_port, timeout=xmpp.READ_TIMEOUT)
		connection.connect()
		if encrypted:
			context = ssl.create_default_context(cafile=self.authority.file)
			connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
		connection.request(method, path, body, {"Host": host, **headers})
		response = connection.getresponse()
		response.body = response.read().decode()
		connection.close()
		return response


def behaviour(name, *examples):
	"""Runs the test on each of these examples, or on all."""
	def register(function):
		for example in examples or NAMES:
			suite.on_versions(f"examples: {example}: {name}", lambda version, _, example=example: Example(version, example))(function)
		return function
	return register


# --- all of them ---

@behaviour("it starts, without warnings in the log")
def starts(server):
	assert not server.complaints(), server.complaints()
	mapped = server.lua("return io.open('/proc/self/maps'):read('a')")
	assert "mod_smacks/smacks.so" in mapped and "mod_storage_native/store.so" in mapped
	assert ("mod_s2s_auth_native/certs.so" in mapped) == (server.name != "support-desk")


@behaviour("the tools do not find problems")
def checks(server):
	assert set(findings(server, None)) <= {("error", "DNS")}  # on a machine whose resolver strips signatures
	said = server.prosodyctl("check", "config")
	assert re.findall(r"deprecated|obsolete|You (?:have|need)|Error|orphan|unreferenced", said) == [], said


@behaviour("a message reaches its addressee, and both archives")
def message(server):
	alice, bob = server.login("alice").available(), server.login("bob").available()
	alice.enable()
	alice.chat(bob.bare_jid, "hello")
	assert bob.message().body == "hello"
	for client in (alice, bob):
		assert mam.query(client, max=10).bodies == ["hello"]
	assert server.prosodyctl("mod_storage_native", "check").endswith("no problems\n")


@behaviour("users create rooms, and their messages are archived", "home", "public")
def room(server):
	alice, place = server.login("alice").available(), f"family@{ROOMS}"
	enter(alice, "Alice", place)
	alice.ask(f"<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='{mam.FORM}' type='submit'/></query>",
		"set", place)
	alice.chat(place, "dinner is ready", "groupchat")
	alice.until("message")
	assert mam.query(alice, place, max=10).bodies[-1:] == ["dinner is ready"]


@behaviour("a file is uploaded and fetched over https", "home", "public")
def upload(server):
	slot = server.login("alice").ask("<request xmlns='urn:xmpp:http:upload:0' filename='cat.txt' size='4'/>", to=UPLOADS)
	put, fetch = (slot.find("slot", name) for name in ("put", "get"))
	base = f"https://{UPLOADS}:{server.https_port}"
	assert put["url"].startswith(base) and fetch["url"].startswith(base), slot
	headers = {header["name"]: header.text for header in put.all("header")}
	answer = server.get(put["url"].removeprefix(base), server.https_port, UPLOADS, True, "PUT", "meow", **headers)
	assert answer.status == 201, answer.body
	assert server.get(fetch["url"].removeprefix(base), server.https_port, UPLOADS, True).body == "meow"


@behaviour("metrics are exposed, also those of mod_native", "public", "support-desk")
def metrics(server):
	server.login("alice").enable()
	text = server.get("/metrics").body
	assert re.search(rf'^prosody_mod_smacks__streams{{.*host="{HOST}".*}} 1', text, re.M), text
	assert re.search(r"^prosody_mod_storage_native__size_bytes [1-9]", text, re.M), text


# --- the public server ---

@behaviour("clients may use direct TLS", "public")
def direct(server):
	alice = server.login("alice", DirectTls, port=server.direct_port)
	assert alice.features.child("sm", xmpp.SM3)


@behaviour("only invited users can register", "public")
def registration(server):
	stranger = server.connect("stranger")
	stranger.open()
	answer = stranger.ask("<query xmlns='jabber:iq:register'><username>mallory</username>"
		"<password>secret</password></query>", "set")
	assert answer["type"] == "error", answer


# --- the support desk ---

class Site(nginx.Nginx):
	"""nginx with support-desk.nginx.conf."""

	def __init__(self, server):
		server.install(WEB, WEB)
		self.plain_port, port = nginx.port(), nginx.port()
		blocks = server.here((EXAMPLES / "support-desk.nginx.conf").read_text())
		blocks = re.sub(r"listen \[::\].*;", "", blocks)
		for written, number in ((80, self.plain_port), (443, port)):
			blocks = re.sub(rf"listen {written}\b", f"listen 127.0.0.1:{number}", blocks)
		super().__init__(server, blocks, port)
		self.server = server

	def __enter__(self):
		super().__enter__()
		return self

	def get(self, path):
		return self.server.get(path, self.port, WEB, encrypted=True)


@behaviour("the page and its files are served", "support-desk")
def page(server):
	for name in ("", "app.js", "config.json", "converse/converse.min.js"):
		assert server.get(f"/support/{name}", host=WEB).status == 200, name


@behaviour("nginx serves the page over https only, and does not expose metrics", "support-desk")
def site(server):
	with Site(server) as nginx_site:
		assert "app.js" in nginx_site.get("/support/").body
		assert nginx_site.get("/support").getheader("Location").endswith("/support/")
		assert nginx_site.get("/metrics").status == 404
		plain = server.get("/support/", nginx_site.plain_port, WEB)
		assert (plain.status, plain.getheader("Location")) == (301, f"https://{WEB}/support/")


@behaviour("a visitor meets the staff in the room, through nginx", "support-desk")
def visit(server):
	server.prosodyctl("register", "lead", HOST, bed.PASSWORD)  # an account in `admins`
	lead = server.authenticated("lead").bind().available()
	server.shell(MAKE_ROOM)
	assert join(lead, "Lead", SUPPORT).child("x", f"{MUC}#user").child("item")["affiliation"] == "owner"
	assert lead.until("message").child("subject")
	with Site(server) as nginx_site:
		visitor = server.client(WebSocket, nginx_site.port, Visitor, "", "", GUESTS)
		visitor.open()
		visitor.authenticate()
		enter(visitor.bind().available(), "Visitor", SUPPORT)
		visitor.chat(SUPPORT, "my printer is on fire", "groupchat")
		assert lead.until("message").body == "my printer is on fire"
		assert condition(join(visitor, "Visitor", f"other@{ROOMS}"))[0] == "item-not-found"
