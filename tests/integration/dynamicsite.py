"""A Prosody whose domain is in a zone with dynamic updates, an optional ACME server, and an operator's
commands, which see a clock that the test sets forward."""
import base64
import hashlib
import re
import shutil
import ssl
import subprocess

import bed
import suite
import test_certs_check
from acme import Acme
from clock import Clock
from dynamic import Dynamic
from authority import openssl
from strictpeer import Listener, StrictPeer, key_digest
from workplace import Workplace

HOST, TTL = "good.lab", 3600
NAME_SERVER, AUTHORITY = 30, 31  # the last numbers of their addresses
USER, GROUP = "nobody", "nogroup"
END = "-----END CERTIFICATE-----"
MANUAL = bed.PROJECT / "docs/CERTIFICATES.md"


class Site(test_certs_check.Site):
	"""go() starts everything."""

	def __init__(self, version, program="nsupdate"):
		super().__init__(version)
		self.https = bed.Port()
		self.ports.append(self.https)
		self.authority = None
		self.modules.append("bosh")
		self.options.update(https_ports=[self.https.number], https_interfaces=[self.address])
		self.certificate = self.good(tlsa=[], zone=self._zone())
		for port in self.places:
			self.zone.records.append(f"_{port}._tcp.xmpp.{HOST}. {TTL} IN TLSA {self.certificate.tlsa(3, 1, 1)}")
		self.name_server = Dynamic(self.lab.directory, self.lab.address(NAME_SERVER), self.zone)
		self.lab.zone("lab").records += self.name_server.ds()
		self.clock = Clock(self.directory / "clock")
		self.workplace = Workplace(self.directory / "workplace", {"example.org": HOST})
		launcher = bed.PROSODIES / f"prosody-{version}/prosodyctl"
		self.workplace.wrap("prosodyctl", f'{self.clock.prefix()} exec {launcher} --config {self.config} "$@"')
		self.options["certs_dns_update"] = {"server": self.name_server.address, "key": self.name_server.key_file(program),
			"program": shutil.which(program)}

	def _zone(self):
		self.zone = self.child("good", {"ns": NAME_SERVER})
		self.zone.add("", "A", self.lab.web_address)
		return self.zone

	def with_authority(self):
		"""Starts the ACME server; Prosody trusts its certificates."""
		self.authority = Acme(self.lab, AUTHORITY, self.name_server.address)
		trusted = self.directory / "trusted.pem"
		trusted.write_text(self.lab.public.file.read_text() + self.authority.root.read_text())
		self.options["ssl"] = {"cafile": trusted}
		self.workplace.acme(self.authority)
		return self

	def as_user_without_rights(self):
		"""Prosody runs as one, as it should; `prosodyctl` called by root becomes that user. Before go()."""
		self.options.update(run_as_root=False, prosody_user=USER, prosody_group=GROUP)
		self.run_by = ["setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups", "--pdeathsig=KILL"]
		self.lab.directory.chmod(0o755)
		for path in (self.directory, *self.directory.rglob("*"), self.options["certs_dns_update"]["key"]):
			shutil.chown(path, USER, GROUP)
		self.workplace.here.chmod(0o755)
		return self

	def peer(self):
		return StrictPeer(self.name_server.address, f"_{{}}._tcp.xmpp.{HOST}", self.address, self.listeners(), HOST, self.clock)

	def run(self, script, status=0):
		return self.workplace.run(script, status)

	def discard(self):
		super().discard()
		for server in (self.authority, self.name_server):
			if server:
				server.stop()

	# --- observing ---

	def published(self):
		"""The TLSA records at each port, on the name server."""
		def ask(port):
			answer = subprocess.run(["dig", "+short", f"@{self.name_server.address}", f"_{port}._tcp.xmpp.{HOST}", "TLSA"],
				stdout=subprocess.PIPE, text=True, check=True).stdout
			return {re.sub(r"(\S+ \S+ \S+) (\S+) (\S+)", r"\1 \2\3", line).lower() for line in answer.splitlines()}
		return [ask(port) for port in self.places]

	def installed(self):
		return (self.directory / f"certs/{HOST}.crt").read_text()

	def exchange(self):
		"""Files beside the certificate while it is replaced."""
		return self.directory / f"certs/.{HOST}.crt.switch"

	def request(self):
		"""The request for a certificate of the next key, PEM, or nothing."""
		try:
			return (self.directory / f"data/mod_certs/renew/{HOST}.crt/next.csr").read_text()
		except FileNotFoundError:
			return ""

	def next_records(self):
		"""The record of the next key, if that exists."""
		if not (request := self.request()):
			return set()
		key = openssl("req", "-noout", "-pubkey", data=request).decode()
		return {f"3 1 1 {hashlib.sha256(base64.b64decode(key.split('-----')[2])).hexdigest()}"}

	def sign(self, request, name):
		"""A chain for a request, PEM, as an authority issues it; returns its file."""
		file, issuer = self.directory / f"{name}.pem", self.lab.intermediate
		file.write_bytes(openssl("x509", "-req", "-copy_extensions", "copy", "-days", "30", "-CA", issuer.alone,
			"-CAkey", issuer.key, data=request) + issuer.alone.read_bytes())
		return file

	def served(self):
		"""The certificate that is served, DER, by port; HTTPS among them."""
		return {listener.port: listener.certificate(self.address, HOST) for listener in self.listeners(https=True)}

	def listeners(self, https=False):
		ways = [*zip(self.places, ("client", "server", None, None)), *([(self.https.number, None)] if https else [])]
		return [Listener(*way) for way in ways]

	def assert_accepted(self):
		"""openssl's own DANE accepts each service with the published records."""
		for port, records, way in zip(self.places, self.published(), ("xmpp", "xmpp-server", None, None)):
			words = [word for record in records for word in ("-dane_tlsa_rrdata", record)]
			words += ["-starttls", way, "-xmpphost", HOST] if way else []
			printed = openssl("s_client", "-connect", f"{self.address}:{port}", "-servername", HOST, "-verify_return_error",
				"-brief", "-dane_ee_no_namechecks", "-dane_tlsa_domain", f"xmpp.{HOST}", *words, errors=True).decode()
			assert "Verification: OK" in printed and "DANE TLSA 3 1 1" in printed, printed


def leaf_of(chain):
	"""The first certificate of a chain, DER."""
	return ssl.PEM_cert_to_DER_cert(chain[chain.index("-----BEGIN CERTIFICATE"):chain.index(END) + len(END)])


def key_of(chain):
	"""The SHA-256 of the key of the first certificate of a chain."""
	return key_digest(leaf_of(chain))


def tlsa_of(chain):
	return f"3 1 1 {key_of(chain).hex()}"


def from_manual(begin):
	"""The block of code in the manual whose first line (or second, below "#!/bin/sh") begins with this."""
	for block in re.findall(r"^```\w*\n(.*?)^```", MANUAL.read_text(), re.M | re.S):
		if block.removeprefix("#!/bin/sh\n").startswith(begin):
			return block
	raise AssertionError(f"the manual has no block that begins with {begin!r}")


def behaviour(name, once=True, time_limit=suite.TIME_LIMIT, **settings):
	return suite.on_versions(f"certificate renewal: {name}", lambda version, _: Site(version, **settings), once=once,
		time_limit=time_limit)
