"""A configuration with certificates, a DNS of its own, and prosodyctl mod_certs."""
import json
import re
import shutil
import socket
import struct
import sys
import threading

import bed
import suite
from terminal import Tool

sys.path.insert(0, str(bed.PROJECT / "tests/lab"))
from authority import Authority  # noqa: E402  pylint: disable=wrong-import-position

HOST, ROOMS, OTHER = "prosody.lab", "rooms.prosody.lab", "other.lab"  # resolvers treat "test" specially
CLIENT, SERVER = "xmpp-client", "xmpp-server"
SRV, A, AAAA = 33, 1, 28
SERVFAIL, NXDOMAIN = 2, 3
TOOL = Tool("mod_certs")
tool, good, bad, on_terminal = TOOL.run, TOOL.good, TOOL.bad, TOOL.on_terminal


# --- DNS, on loopback ---

def labels(name):
	"""A domain name on the wire."""
	return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def read_question(query):
	"""The name and the type of the question, and the offset of its end."""
	name, at = [], 12
	while query[at]:
		name.append(query[at + 1:at + 1 + query[at]].decode())
		at += query[at] + 1
	return ".".join(name).lower(), struct.unpack("!H", query[at + 1:at + 3])[0], at + 5


def shut(sock):
	"""Wakes the thread that waits for this socket, for the last time."""
	try:
		sock.shutdown(socket.SHUT_RDWR)
	except OSError:  # it has no peer, which is reported after the shutdown
		pass


class Resolver:
	"""Answers from .records, {(name, type): [data]}, and SERVFAIL for the names in .broken."""

	def __init__(self, address="127.0.0.1", port=0):
		self.records, self.broken = {}, set()
		self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		self.socket.bind((address, port))
		self.thread = threading.Thread(target=self._serve, daemon=True)
		self.thread.start()

	@property
	def unbound(self):
		"""The value of Prosody's option."""
		return {"resolvconf": False, "hoststxt": False, "forward": f"127.0.0.1@{self.socket.getsockname()[1]}",
			"options": {"do-not-query-localhost:": "no"}}

	def address(self, name, address="127.0.0.1"):
		kind, family = (AAAA, socket.AF_INET6) if ":" in address else (A, socket.AF_INET)
		self.records.setdefault((name, kind), []).append(socket.inet_pton(family, address))

	def srv(self, name, port, target, priority=0):
		data = struct.pack("!3H", priority, 5, port) + labels(target)
		self.records.setdefault((name, SRV), []).append(data)

	def _serve(self):
		while True:
			query, sender = self.socket.recvfrom(4096)
			if not sender:  # the socket has been shut down
				return
			self.socket.sendto(self._answer(query), sender)

	def stop(self):
		shut(self.socket)
		self.thread.join()
		self.socket.close()

	def _answer(self, query):
		name, kind, end = read_question(query)
		data = self.records.get((name, kind), [])
		known = any(known == name for known, _ in self.records)
		code = SERVFAIL if name in self.broken else 0 if known else NXDOMAIN
		answers = b"".join(b"\xc0\x0c" + struct.pack("!2HIH", kind, 1, 60, len(each)) + each for each in data)
		return query[:2] + struct.pack("!5H", 0x8180 | code, 1, len(data), 0, 0) + query[12:end] + answers


# --- a configuration, an optional server, and the tool ---

class Site(bed.Prosody):
	"""A configuration with certificates of a private authority, and a Prosody once start() is called."""

	def __init__(self, version, hosts=(HOST,), options=None, components=None, **settings):
		self.resolver = Resolver()
		super().__init__(version, host=hosts[0], start=False, options={
			"modules_disabled": [], "unbound": self.resolver.unbound, "use_ipv6": True, **(options or {})},
			components=components, **settings)
		self.modules, self.more_hosts, self.host_options = ["saslauth", "tls", "admin_shell"], hosts[1:], {}
		self.ca = Authority(self.directory, "root")
		self.options.setdefault("ssl", {"cafile": self.ca.alone})
		self.resolver.address(self.host)
		self.rewrite_config()

	def _config(self):
		own = "".join(f"{name} = {bed.lua(value)}\n" for name, value in self.host_options.items())
		return (super()._config() + "".join(f"VirtualHost {bed.lua(host)}\n" for host in self.more_hosts)
			+ f"VirtualHost {bed.lua(self.host)}\n{own}")

	def direct_ports(self):
		"""Ports with direct TLS, of clients and of servers: unused ones of the bed."""
		self.options["http_ports"] = []
		self.options["component_ports"] = []
		self.options["c2s_direct_tls_ports"] = [self.http_port]
		self.options["s2s_direct_tls_ports"] = [self.component_port]
		self.rewrite_config()
		return self.http_port, self.component_port

	def install(self, certificate, host=None):
		"""The place where Prosody finds it for this host."""
		name = host or self.host
		shutil.copy(certificate.file, self.directory / f"certs/{name}.crt")
		shutil.copy(certificate.key, self.directory / f"certs/{name}.key")
		return self.directory / f"certs/{name}.crt"

	def issue(self, *names, **settings):
		"""A certificate of the authority, `names` such as "DNS:prosody.lab"."""
		return self.ca.issue(settings.pop("name", "leaf"), names, **settings)

	def finish(self):
		if self.process:
			super().finish()

	def discard(self):
		super().discard()
		if self.resolver:
			self.resolver.stop()
			self.resolver = None

	def log(self):
		return super().log() if self.process else ""


def behaviour(name, once=False, **settings):
	return suite.on_versions(f"certificate tool: {name}", lambda version, _: Site(version, **settings), once=once)


def report_of(site, *words, status=0):
	"""The only report of explain WORDS... --json."""
	output = tool(site, "explain", *words, "--json")
	assert output.status == status, output
	found = json.loads(output.out)
	assert len(found["reports"]) == 1, output
	return found["reports"][0]


def row(text, *cells):
	"""The columns of the table row that begins with these."""
	found = [columns for columns in (re.split(" {2,}", line) for line in text.splitlines())
		if columns[:len(cells)] == list(cells)]
	assert len(found) == 1, (cells, text)
	return found[0][len(cells):]


def host_row(report, name):
	"""Whether it is valid for clients and servers of a host."""
	found = [host for host in report["hosts"] if host["name"] == name]
	assert len(found) == 1, report
	return found[0][CLIENT]["matches"], found[0][SERVER]["matches"]


def zone(text):
	"""The content of a zone file: {name: {record}}, without comments, with joined parentheses."""
	text = re.sub(r"\(([^)]*)\)", lambda match: match[1].replace("\n", "").replace("\t", ""), text)
	found = {}
	for line in text.splitlines():
		if line and not line.startswith(";"):
			name, ttl, record = re.fullmatch(r"(\S+) (\d+) IN (.*)", line).groups()
			assert int(ttl) > 0
			found.setdefault(name, set()).add(record.strip())
	return found
