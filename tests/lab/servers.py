"""The servers of the laboratory: four subjects, whose verdicts are tested, and a stock server that
plays all of their peers.

Subjects differ in their policy, strict with s2s_secure_auth = true and lax without it, and in
whether DANE is enabled: strict.lab, lax.lab, strict-off.lab, lax-off.lab. Each has a component beside its
virtual host, rooms.strict.lab and so on.
"""
import hashlib
import json
import re
import shutil

import bed
import xmpp
from lab import Lab
from peers import DIRECT_PORT, OTHER_PORT, PORT, Peer, scenarios

PEER_ADDRESS, FIRST_SUBJECT = 10, 11
START_TIMEOUT = 60
POLICIES = ["strict", "lax"]
MODULES = ["s2s", "tls", "dialback", "saslauth", "admin_shell", "test_streams"]
AUDIT = (r"(?P<session>\w+)\tinfo\tpeer (?P<peer>\S+) \((?P<direction>\w+)\): proof (?P<proof>[\w-]+), record (?P<record>.+?), "
	r"DNS (?P<state>\w+), key (?P<key>\w+)")


def tls(certificate, lab):
	return {"ssl": {"key": certificate.key, "certificate": certificate.file, "cafile": lab.public.file}}


class Server(bed.Prosody):
	"""A Prosody with `hosts` and `components`, {domain: options}, and s2s alone, on an address of its own."""

	def __init__(self, lab, version, address, hosts, options, modules=(), stock=True, components=None):
		super().__init__(version, stock_smacks=stock, start=False, components=components)
		self.address, self.hosts, self.modules = address, hosts, [*MODULES, *modules]
		default = lab.self_signed(f"default-{address}", ["DNS:nobody.lab"])  # ports need one beside the hosts'
		self.options = {
			"s2s_interfaces": [address],
			"s2s_ports": [PORT, OTHER_PORT],
			"s2s_direct_tls_interfaces": [address],
			"s2s_direct_tls_ports": [DIRECT_PORT],
			"s2s_timeout": 12,
			"unbound": lab.unbound(),
			**tls(default, lab),
			"modules_disabled": ["c2s", "iq", "message", "offline", "presence"],
			**options}

	def _config(self):
		plugins = [] if self.stock_smacks else [bed.PROJECT / "lua"]
		settings = {**bed.OPTIONS,
			"pidfile": self.directory / "pid",
			"data_path": self.directory / "data",
			"admin_socket": self.directory / "sock",
			"plugin_paths": [*plugins, bed.PROJECT / "tests/lab/modules"],
			"log": {"debug": self.logfile},
			"c2s_ports": [],
			"modules_enabled": self.modules,
			**self.options}
		lines = [f"{name} = {bed.lua(value)}" for name, value in settings.items()]
		sections = [(f"VirtualHost {bed.lua(domain)}", options) for domain, options in self.hosts.items()]
		sections += [(f'Component {bed.lua(domain)} "test_component"', options) for domain, options in self.components.items()]
		for head, options in sections:
			lines += [head, *(f"{name} = {bed.lua(value)}" for name, value in options.items())]
		return "\n".join(lines) + "\n"

	def start(self):
		try:
			return super().start()
		except xmpp.Timeout:  # a hundred domains, on a busy machine
			bed.wait_for(self._answers, f"Prosody {self.version} listens at last", START_TIMEOUT)
			return self

	def _answers(self):
		"""A late answer would be taken for the answer to the next question."""
		answers = super()._answers()
		if not answers:
			self._close_admin()
		return answers

	def offer_direct_tls(self, peers):
		"""For direct TLS, Prosody finds certificates only in a directory."""
		for peer in peers:
			shutil.copy(peer.certificate.file, self.directory / "certs" / f"{peer.domain}.crt")
			shutil.copy(peer.certificate.key, self.directory / "certs" / f"{peer.domain}.key")

	def streams(self, function, *arguments):
		"""Call a function of mod_test_streams."""
		listed = ", ".join(map(bed.lua, arguments))
		return self.lua(f"return require'core.modulemanager'.get_module('*', 'test_streams').{function}({listed})")

	def outcome(self, direction, here, there):
		"""The result of the latest stream, or None while it is pending."""
		return json.loads(self.streams("outcome", direction, here, there))

	def audit(self, direction, peer, session=None):
		"""The log's fields for the latest stream since the test's beginning, or for this session: proof, record,
		state, key."""
		found = [line.groupdict() for line in re.finditer(AUDIT, self.log()[self.mark:])]
		found = [line for line in found if (line["peer"], line["direction"]) == (peer, direction)
			and session in (None, line["session"])]
		return found[-1] if found else None


class Subject(Server):
	"""A server of ours, for one domain and a component below it: `domains`."""

	def __init__(self, lab, version, number, policy, dane, stock):
		self.policy, self.dane = policy, dane
		self.domain = f"{policy}.lab" if dane else f"{policy}-off.lab"
		self.component = f"rooms.{self.domain}"
		self.domains = [self.domain, self.component]
		address = lab.address(FIRST_SUBJECT + number)
		for domain in self.domains:
			lab.zone("lab").add(domain.removesuffix(".lab"), "A", address)
		certificate = lab.intermediate.issue(self.domain, [f"DNS:{domain}" for domain in self.domains])
		exceptions = [each.domain for each in scenarios if each.listed]
		options = {
			"use_dane": dane,
			"s2s_secure_auth": policy == "strict",
			"s2s_insecure_domains" if policy == "strict" else "s2s_secure_domains": exceptions}
		super().__init__(lab, version, address, {self.domain: tls(certificate, lab)}, options,
			[] if stock else ["s2s_auth_native"], stock, {self.component: tls(certificate, lab)})


class Bed:
	"""The laboratory with every scenario in it, the subjects and their peers."""

	def __init__(self, version, stock):
		self.stock = stock
		self.lab = Lab(bed.BUILD / "lab")
		self.servers, self.judging = [], None
		try:
			self.subjects = [Subject(self.lab, version, number, policy, dane, stock)
				for number, (policy, dane) in enumerate((p, d) for d in (True, False) for p in POLICIES)]
			self.servers += self.subjects
			peers = self._peers()
			self.peers = {peer.domain: peer for peer in peers}
			hosts = {peer.domain: {**tls(peer.certificate, self.lab), **peer.options} for peer in peers}
			self.keys = {peer.domain: hashlib.sha256(peer.certificate.public_key).hexdigest() for peer in peers}
			self.peer = Server(self.lab, version, self.lab.address(PEER_ADDRESS), hosts, {})
			self.peer.offer_direct_tls(peer for peer in peers if peer.has_direct_tls)
			self.servers.append(self.peer)
			self.lab.start()
			for server in self.servers:
				server.start()
		except BaseException:
			self.stop()
			raise

	def _peers(self):
		peers = [Peer(self.lab, each, self.lab.address(PEER_ADDRESS)) for each in scenarios]
		for peer, each in zip(peers, scenarios):
			each.set_up(peer)
		return peers

	def forget(self, domain):
		for server in self.servers:
			server.streams("forget", domain)

	def subject(self, policy, dane):
		return next(each for each in self.subjects if (each.policy, each.dane) == (policy, dane))

	# --- the interface of the test suite ---

	def log(self):
		"""Of the peer, and of the subject that was tested when the test ended."""
		servers = [("peer", self.peer)] + ([(self.judging.domain, self.judging)] if self.judging else [])
		return "".join(f"--- {name}\n{server.log()[server.mark:]}" for name, server in servers)

	def finish(self):
		for server in self.servers:
			server.assert_no_traceback()

	def discard(self):
		"""A test has ended, with any result; the bed serves the next one."""
		for server in self.servers:
			server.mark, server.announced = len(server.log()), []

	def stop(self):
		for server in self.servers:
			server.discard()
		self.lab.stop()
