"""Runs an unpacked Prosody on loopback for the length of a test.

	with Prosody("13.0", options={"smacks_hibernation_time": 2}) as server:
		alice = server.login("alice")

Each server has free ports and its own data directory below build/. It ends with the process that started it, however that
process ends.
"""
import atexit
import ctypes
import hashlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import xmpp
from proxy import Proxy

PROJECT = pathlib.Path(__file__).resolve().parents[2]
BUILD = PROJECT / "build"
TEST_MODULES = PROJECT / "tests/integration/modules"
PROSODIES = pathlib.Path(os.environ.get("PROSODIES", BUILD)).resolve()  # where tests/setup has unpacked them
VERSIONS = [v for v in ("0.12", "13.0") if (PROSODIES / f"prosody-{v}/prosodyctl").exists()]

HOST = "prosody.test"
PASSWORD = "secret"
START_TIMEOUT = 20
STOP_TIMEOUT = 20
IDLE_TIMEOUT = 5
LONG_CODE = 2000

MODULES = ["roster", "saslauth", "disco", "ping", "carbons", "offline", "smacks", "bosh", "websocket",
	"admin_shell"]

OPTIONS = {
	"run_as_root": True,
	"daemonize": False,
	"storage": "internal",
	"archive_expires_after": "30y",  # else old messages expire a second after the start; 0.12 with "never" counts no messages
	"muc_log_expires_after": "30y",
	"authentication": "internal_plain",
	"allow_unencrypted_plain_auth": True,
	"c2s_require_encryption": False,
	"consider_websocket_secure": True,
	"consider_bosh_secure": True,
	"bosh_max_inactivity": 5,  # longer than the time that a client waits for the login of another one
	"https_ports": [],
	"c2s_direct_tls_ports": [],
	"legacy_ssl_ports": [],
	"s2s_direct_tls_ports": [],
	"s2s_require_encryption": False,
	"s2s_secure_auth": False,
	"interfaces": ["127.0.0.1"],
	"local_interfaces": ["127.0.0.1"],
	"use_ipv6": False,
}


def lua(value):
	"""A Python value as a Lua literal."""
	if isinstance(value, bool):
		return "true" if value else "false"
	if isinstance(value, (int, float)):
		return str(value)
	if isinstance(value, dict):
		return "{ " + "; ".join(f"[{lua(k)}] = {lua(v)}" for k, v in value.items()) + " }"
	if isinstance(value, (list, tuple)):
		return "{ " + "; ".join(map(lua, value)) + " }"
	text = str(value)
	return '"' + "".join(c if c.isalnum() or c in " ./:@_-" else f"\\u{{{ord(c):x}}}" for c in text) + '"'


class Port:
	"""A free port, reserved for as long as this object lives.

	The socket is bound and never listens. Linux lets Prosody bind and listen as well because both sockets have SO_REUSEADDR;
	another Port binds without it, and fails."""

	def __init__(self):
		while True:
			self.number = random.randrange(20000, 32000)  # outgoing connections take theirs from above
			self.socket = socket.socket()
			try:
				self.socket.bind(("127.0.0.1", self.number))
				break
			except OSError:
				self.socket.close()
		self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def end_with_parent():
	"""Asks the kernel to kill this process when its parent ends."""
	pr_set_pdeathsig = 1
	ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def wait_for(condition, what, timeout=8):
	"""Poll until condition() is true, and return its value. A test waits for an event, never for a duration."""
	deadline = time.monotonic() + timeout
	while time.monotonic() < deadline:
		result = condition()
		if result:
			return result
		time.sleep(0.01)
	raise xmpp.Timeout(f"timeout after {timeout} s: {what}")


class AdminSocket:
	"""Prosody's admin socket: runs Lua, returns its result as text."""

	def __init__(self, path):
		self.sock = socket.socket(socket.AF_UNIX)
		self.sock.settimeout(xmpp.READ_TIMEOUT)
		self.sock.connect(str(path))
		self.parser = xmpp.Parser()
		self.sock.sendall(f"<stream:stream xmlns='xmpp:prosody.im/admin' xmlns:stream='{xmpp.STREAMS}'>".encode())

	def run(self, code):
		self.sock.sendall(f"<repl-input>{xmpp.escape(code)}</repl-input>".encode())
		while True:
			while not self.parser.ready:
				data = self.sock.recv(65536)
				if not data:
					raise xmpp.Closed("admin socket closed")
				self.parser.feed(data)
			element = self.parser.ready.popleft()
			if element.name == "repl-result":
				if element["type"] == "error":
					raise RuntimeError(element.text)
				return element.text.removeprefix("Result: ")

	def close(self):
		self.sock.close()


class Prosody:
	"""One server. `modules` are loaded besides MODULES; `components` maps a JID to its section:
	{"rooms.prosody.test": "muc"} or {"push.prosody.test": {"component_secret": "x"}}."""
	log_level = "debug"

	def __init__(self, version, modules=(), options=None, components=None, stock_smacks=False,
			host=HOST, s2s_peers=None, s2s_port=None, start=True):
		if not stock_smacks and not (PROJECT / "lua/mod_smacks/mod_smacks.lua").exists():
			raise RuntimeError("lua/mod_smacks/mod_smacks.lua is missing: Prosody would take its own")
		self.version, self.host, self.stock_smacks = version, host, stock_smacks
		self.modules = MODULES + list(modules)
		self.options = dict(options or {})
		self.components = dict(components or {})
		self.s2s_peers = s2s_peers
		self.ports = [Port(), Port(), Port(), s2s_port or Port()]
		self.port, self.http_port, self.component_port, self.s2s_port = (p.number for p in self.ports)
		parent = BUILD / "bed"
		parent.mkdir(parents=True, exist_ok=True)
		self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"{version}-", dir=parent))
		(self.directory / "certs").mkdir()  # Prosody logs an error if it is missing
		self.config, self.logfile = self.directory / "prosody.cfg.lua", self.directory / "log"
		self.process = self.admin = None
		self.run_by = []  # a command that runs the launcher
		self.clients, self.announced, self.accounts = [], [], 0
		self.mark = 0
		if start:
			self.start()

	# --- running it ---

	def start(self):
		"""Start, or start again on the same data and ports."""
		self.rewrite_config()
		launcher = PROSODIES / f"prosody-{self.version}/prosody"
		with open(self.directory / "output", "ab") as output:
			self.process = subprocess.Popen([*self.run_by, launcher, "-F", "--config", self.config],
				stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
				cwd=self.directory, preexec_fn=end_with_parent)
		atexit.register(self.discard)
		wait_for(self._answers, f"Prosody {self.version} listens", START_TIMEOUT)
		return self

	def rewrite_config(self):
		"""Write the configuration file from the current modules, options and components."""
		self.config.write_text(self._config())

	def _answers(self):
		if self.process.poll() is not None:
			raise RuntimeError(f"Prosody {self.version} ended at start:\n{self.log()[-3000:]}"
				+ (self.directory / "output").read_text()[-3000:])
		try:
			return self.lua("true")  # answered once everything is loaded
		except OSError:
			self._close_admin()  # a late answer must not be taken for the answer to the next question
			return False

	def kill(self):
		"""End the process at once, as a power cut would."""
		self._close_admin()
		if self.process and self.process.poll() is None:
			self.process.kill()
			self.process.wait()

	def discard(self):
		"""Kill, and remove the data."""
		self.kill()
		self.close_clients()
		for port in self.ports:
			port.socket.close()
		atexit.unregister(self.discard)
		shutil.rmtree(self.directory, ignore_errors=True)

	def terminate(self):
		"""Send SIGTERM, and wait until the process ends."""
		self._wait_until_idle()
		self.process.terminate()
		deadline = time.monotonic() + STOP_TIMEOUT
		while self.process.poll() is None:
			if time.monotonic() > deadline:
				where = self._where()
				self.kill()
				raise xmpp.Timeout(f"Prosody {self.version} did not stop, its threads are in {where}")
			try:
				self.process.wait(2)
			except subprocess.TimeoutExpired:
				self._wake()
		self._close_admin()

	def _wait_until_idle(self):
		"""0.12 handles a signal anywhere, also within a TLS handshake, which then raises an error. A server that sleeps has
		handled all that it was sent, and a dead one is a zombie. A server that stays busy gets the signal nevertheless."""
		status = pathlib.Path(f"/proc/{self.process.pid}/stat")
		deadline = time.monotonic() + IDLE_TIMEOUT
		while status.read_text().rpartition(")")[2].split()[0] not in "SZ" and time.monotonic() < deadline:
			time.sleep(0.01)

	def _wake(self):
		"""0.12 handles a signal anywhere, also between the check whether to quit and the wait for its
		sockets, and then waits for ever. SIGSTOP and SIGCONT end the wait, see epoll_wait(2)."""
		self.process.send_signal(signal.SIGSTOP)
		self.process.send_signal(signal.SIGCONT)

	def _where(self):
		"""The kernel function that each thread of the server waits in; 0 for a running thread."""
		return [(task / "wchan").read_text() for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()]

	def settle(self):
		"""Wait until the server has handled the input of its clients: 0.12 obeys a signal at once, even while it closes sessions,
		and then fails."""
		for _ in range(2):
			self.lua("true")

	def finish(self):
		"""Terminate, and check that the log has no errors."""
		self.close_clients()
		if self.stock_smacks:
			self.kill()  # stock mod_smacks logs tracebacks when the server stops
		elif self.process.poll() is None:
			self.settle()
			self.terminate()
		self.assert_no_traceback()

	def stop(self):
		"""Finish, and remove the data."""
		try:
			self.finish()
		finally:
			self.discard()

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.stop()

	def _config(self):
		plugins = [] if self.stock_smacks else [PROJECT / "lua"]
		settings = {**OPTIONS,
			"pidfile": self.directory / "pid",
			"data_path": self.directory / "data",
			"admin_socket": self.directory / "sock",
			"plugin_paths": [*plugins, TEST_MODULES],
			"log": {self.log_level: self.logfile},
			"c2s_ports": [self.port],
			"http_ports": [self.http_port],
			"component_ports": [self.component_port],
			"s2s_ports": [self.s2s_port],
			"modules_enabled": self.modules,
			"modules_disabled": ["tls", "s2s"],
			**self.options}
		if self.s2s_peers is not None:
			settings["modules_enabled"] = [*self.modules, "s2s", "dialback", "test_peers"]
			settings["modules_disabled"] = [m for m in settings["modules_disabled"] if m != "s2s"]
			settings["test_peers"] = self.s2s_peers
		lines = [f"{name} = {lua(value)}" for name, value in settings.items()]
		lines.append(f"VirtualHost {lua(self.host)}")
		for jid, section in self.components.items():
			module = f" {lua(section)}" if isinstance(section, str) else ""
			lines.append(f"Component {lua(jid)}{module}")
			if not module:
				lines += [f"{name} = {lua(value)}" for name, value in section.items()]
		return "\n".join(lines) + "\n"

	# --- looking inside ---

	def log(self):
		return self.logfile.read_text(errors="replace") if self.logfile.exists() else ""

	def expect_log(self, pattern):
		"""Wait for a log line of this test that matches. Matching errors do not fail the test."""
		self.announced.append(pattern)
		return wait_for(lambda: re.search(pattern, self.log()[self.mark:]), f"log line /{pattern}/")

	def assert_no_traceback(self):
		"""No error and no traceback was logged since the last call, except expected ones."""
		lines = self.log()[self.mark:]
		self.mark, announced, self.announced = self.mark + len(lines), self.announced, []
		# continuation lines of a log message have no date
		bad = [line for line in re.split(r"\n(?=\w{3} \d\d )", lines)
			if re.search(r"\terror\t|[Tt]raceback", line) and not any(re.search(p, line) for p in announced)]
		assert not bad, f"Prosody {self.version} logged:\n" + "\n".join(bad)

	def lua(self, code):
		"""Run Lua in the server. Returns its result as text."""
		if not self.admin:
			self.admin = AdminSocket(self.directory / "sock")
		return self.admin.run(">" + (code if len(code) < LONG_CODE else self._in_a_file(code)))

	def _in_a_file(self, code):
		"""Prosody limits elements on its admin socket to 10 000 bytes."""
		file = self.directory / "code.lua"
		file.write_text(code)
		return f"return assert(loadfile({lua(str(file))}, 't', _ENV))()"

	def session(self, client, expression):
		"""The value of an expression about a client's session `s`, such as "s.hibernating"."""
		return self.lua(f"local s = prosody.full_sessions[{lua(client.jid)}]; return tostring({expression})")

	def wait_until(self, client, expression):
		"""Wait until an expression about a session is true."""
		wait_for(lambda: self.session(client, f"({expression}) and true") == "true", expression)

	def wait_hibernating(self, client):
		"""Over BOSH this takes bosh_max_inactivity: the wait for that is cut short."""
		self.wait_until(client, "s and (s.hibernating or s.inactive_timer and s.inactive_timer:reschedule(0) and nil)")

	def wait_gone(self, client):
		self.wait_until(client, "not s")

	def shell(self, *words):
		"""prosodyctl shell WORDS..."""
		launcher = PROSODIES / f"prosody-{self.version}/prosodyctl"
		done = subprocess.run([launcher, "--config", self.config, "shell", *words], timeout=30,
			stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
		if done.returncode:
			raise RuntimeError(f"prosodyctl shell {' '.join(words)}: {done.stdout}")
		return done.stdout

	def _close_admin(self):
		if self.admin:
			self.admin.close()
			self.admin = None

	# --- its users ---

	def account(self, name):
		"""Create an account. Returns its unique user name."""
		self.accounts += 1
		user = f"{name}{self.accounts}"
		if "storage" in self.options:
			made = self.lua("return tostring(require 'core.usermanager'.create_user("
				f"{lua(user)}, {lua(PASSWORD)}, {lua(self.host)}))")
			assert made == "true", made
			return user
		accounts = self.directory / "data" / self.host.replace(".", "%2e") / "accounts"
		accounts.mkdir(parents=True, exist_ok=True)
		(accounts / f"{user}.dat").write_text(f'return {{ ["password"] = {lua(PASSWORD)}; }};\n')
		return user

	def connect(self, user, transport="tcp", port=None):
		"""A client of this user that has connected only."""
		port = port or (self.port if transport == "tcp" else self.http_port)
		make = {"tcp": xmpp.Tcp, "websocket": xmpp.WebSocket, "bosh": xmpp.Bosh}[transport]
		client = xmpp.Client(make(port), user, PASSWORD, self.host)
		self.clients.append(client)
		return client

	def authenticated(self, user, transport="tcp", port=None):
		"""An authenticated client, ready to bind or resume."""
		client = self.connect(user, transport, port)
		client.open()
		client.authenticate()
		return client

	def login(self, name, transport="tcp", resource=None, port=None):
		"""A client of a new account, bound."""
		return self.authenticated(self.account(name), transport, port).bind(resource)

	def again(self, client, transport="tcp", resource=None):
		"""Another client of the same account, bound."""
		return self.authenticated(client.user, transport).bind(resource)

	def resume(self, client, transport="tcp", h=None):
		"""A new connection that resumes the client's session."""
		new = self.authenticated(client.user, transport)
		new.resumed = new.resume(client, h)
		return new

	def close_clients(self):
		for client in self.clients:
			try:
				client.transport.disconnect()
			except OSError:
				pass
		self.clients = []


class Component(xmpp.Client):
	"""An external component (XEP-0114), connected."""

	def __init__(self, server, jid):
		super().__init__(xmpp.ComponentTransport(server.component_port), "", PASSWORD, jid)
		server.clients.append(self)
		self.jid = jid
		self.transport.open(jid)
		secret = hashlib.sha1((self.transport.parser.root["id"] + PASSWORD).encode()).hexdigest()
		self.send(f"<handshake>{secret}</handshake>")
		answer = self.next()
		assert answer.name == "handshake", answer


class Federation:
	"""Two servers that find each other without DNS: .a serves a.test, .b serves b.test. Their streams pass through the proxies
	.to_a and .to_b."""

	def __init__(self, version_a, version_b, **settings):
		port_a, port_b = Port(), Port()
		self.to_a, self.to_b = Proxy(port_a.number), Proxy(port_b.number)
		settings["s2s_peers"] = {"a.test": self.to_a.port, "b.test": self.to_b.port}
		self.a = Prosody(version_a, host="a.test", s2s_port=port_a, **settings)
		self.b = Prosody(version_b, host="b.test", s2s_port=port_b, **settings)

	def log(self):
		return f"--- a.test\n{self.a.log()}--- b.test\n{self.b.log()}"

	def finish(self):
		self.a.finish()
		self.b.finish()

	def discard(self):
		self.a.discard()
		self.b.discard()
		self.to_a.stop()
		self.to_b.stop()
